"""Sizes that keep a file and a function readable at one go."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median

PACKAGE = Path(__file__).parents[1] / "dask_dl"
MAX_MODULE, MAX_MEDIAN, MAX_FUNCTION = 450, 160, 80


def sizes():
    return {str(path.relative_to(PACKAGE)): len(path.read_text("utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}


def body_lines(function):
    """Lines of a function below its signature and docstring."""
    first = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return function.end_lineno - first[0].lineno + 1 if first else 0


def test_modules_are_short():
    found = sizes()
    assert {name: n for name, n in found.items() if n > MAX_MODULE} == {}
    assert median(found.values()) <= MAX_MEDIAN


def test_functions_are_short():
    long = {
        f"{path.relative_to(PACKAGE)}: {node.name}": n
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (n := body_lines(node)) > MAX_FUNCTION
    }
    assert long == {}
