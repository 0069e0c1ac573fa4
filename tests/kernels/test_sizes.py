"""Sizes of what compiles and runs kernels: parameters and lines of a function, lines of a module."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "dask_dl"
PATHS = sorted([*(PACKAGE / "kernels").glob("*.py"), *(PACKAGE / "node").glob("*.py")])
MAX_PARAMETERS, MAX_FUNCTION, MAX_MODULE = 10, 80, 450


def functions():
    for path in PATHS:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield f"{path.relative_to(PACKAGE)}: {node.name}", node


def test_no_function_has_many_parameters():
    counts = {where: len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs) for where, node in functions()}
    assert len(counts) > 100
    assert {where: n for where, n in counts.items() if n > MAX_PARAMETERS} == {}


def test_no_function_and_no_module_is_long():
    lengths = {where: node.end_lineno - node.lineno + 1 for where, node in functions()}
    assert {where: n for where, n in lengths.items() if n > MAX_FUNCTION} == {}
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in PATHS}
    assert {name: n for name, n in lengths.items() if n > MAX_MODULE} == {}
