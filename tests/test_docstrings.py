"""Docstrings: public functions of four or more arguments name each of them, with its type, in numpydoc's form."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "dask_dl"
MIN_ARGUMENTS = 4  #: arguments from which on a docstring names them
HEADING = re.compile(r"^Parameters\n-{10}\n", re.MULTILINE)
ENTRY = re.compile(r"\*{0,2}\w+(, \*{0,2}\w+)* : \S.*")
SEE = re.compile(r"^See `(\w+)\.(\w+)`\.$", re.MULTILINE)  #: an implementation refers to its interface
FRAGMENTS = ("The same",)
#: Words with which a fragment begins, and neither a noun nor a verb.
NOT_FIRST = {"As", "By", "For", "From", "In", "Its", "Of", "On", "Their", "To", "Until", "What", "With", "Without"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Documented(NamedTuple):
    where: str  #: "module.py: Class.function"
    arguments: list[str]  #: variable ones with their asterisks
    text: str


def arguments_of(function: Function) -> list[str]:
    a = function.args
    names = [x.arg for x in (*a.posonlyargs, *a.args)]
    names += [f"*{a.vararg.arg}"] if a.vararg else []
    names += [x.arg for x in a.kwonlyargs]
    names += [f"**{a.kwarg.arg}"] if a.kwarg else []
    return [name for name in names if name not in {"self", "cls"}]


def sections(text: str) -> tuple[list[str], list[str]]:
    """Names of the Parameters section, in order, and lines of it that are no entry."""
    found = HEADING.search(text)
    assert found, "no section"
    names, strange = [], []
    body = re.split(r"\n\n\w+\n-{3,}\n", text[found.end() :])[0]
    for line in body.splitlines():
        if line and not line.startswith(" "):
            if ENTRY.fullmatch(line):
                names += line.split(" : ")[0].split(", ")
            else:
                strange.append(line)
    return names, strange


def public_functions(tree: ast.Module, where: str) -> list[Documented]:
    """Functions of a module and methods of its classes, private ones left out; a constructor has its class's docstring."""
    found = []

    def visit(node: ast.Module | ast.ClassDef, prefix: str) -> None:
        for part in node.body:
            if isinstance(part, ast.ClassDef) and not part.name.startswith("_"):
                visit(part, f"{prefix}{part.name}.")
            elif isinstance(part, Function) and (not part.name.startswith("_") or part.name == "__init__"):
                text = ast.get_docstring(node if part.name == "__init__" else part) or ""
                found.append(Documented(f"{where}: {prefix}{part.name}", arguments_of(part), text))

    visit(tree, "")
    return found


@cache
def trees() -> dict[str, ast.Module]:
    paths = sorted(PACKAGE.rglob("*.py"))
    return {str(path.relative_to(PACKAGE)): ast.parse(path.read_text("utf-8")) for path in paths}


def faults(functions: list[Documented]) -> list[str]:
    by_name = {f.where.split(": ")[1]: f for f in functions}
    wrong = []
    for where, arguments, text in functions:
        if "{parameters}" in text:  # written from the table of parameters, whose tests compare it with the signature
            continue
        if len(arguments) < MIN_ARGUMENTS and not HEADING.search(text):
            continue
        if not HEADING.search(text):
            see = SEE.search(text)
            other = by_name.get(f"{see[1]}.{see[2]}") if see else None
            if other is None or not HEADING.search(other.text):
                wrong.append(f"{where} has no Parameters")
            elif other.arguments != arguments:
                wrong.append(f"{where} has other arguments than {see[1]}.{see[2]}")
            continue
        names, strange = sections(text)
        wrong += [f"{where} lacks {name}" for name in arguments if name not in names]
        wrong += [f"{where} has no {name}" for name in names if name not in arguments]
        wrong += [f"{where} names {name} twice" for name in {n for n in names if names.count(n) > 1}]
        wrong += [f"{where}: no type in {line!r}" for line in strange]
    return wrong


def test_functions_of_many_arguments_name_each_of_them_with_its_type():
    functions = [f for where, tree in trees().items() for f in public_functions(tree, where)]
    assert sum(len(f.arguments) >= MIN_ARGUMENTS for f in functions) > 100
    assert faults(functions) == []


def test_docstrings_begin_with_what_they_are_about():
    begun = []
    for where, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | Function):
                text = ast.get_docstring(node) or ""
                is_fragment = bool(text) and text.split()[0] in NOT_FIRST
                if text.startswith(FRAGMENTS) or is_fragment:
                    begun.append(f"{where}: {getattr(node, 'name', 'the module')}: {text.splitlines()[0]}")
    assert begun == []


GOOD = '''
class Plan:
    def go(self, a, b, c, *d):
        """Go there.

        Parameters
        ----------
        a, b : int
        c : (n,) float32
            Numbers.
        *d : str

        Returns
        -------
        int
        """

class Other:
    def go(self, a, b, c, *d):
        """Go elsewhere. Raises ValueError.

        See `Plan.go`.
        """
'''


@pytest.mark.parametrize(
    "old, new, fault",
    [
        ("", "", []),
        ("a, b : int", "a : int", ["m: Plan.go lacks b"]),
        ("a, b : int", "a, b, e : int", ["m: Plan.go has no e"]),
        ("a, b : int", "a, b, b : int", ["m: Plan.go names b twice"]),
        ("c : (n,) float32", "c", ["m: Plan.go lacks c", "m: Plan.go: no type in 'c'"]),
        ("See `Plan.go`.", "See `Plan.stay`.", ["m: Other.go has no Parameters"]),
        ("See `Plan.go`.", "As `Plan.go`.", ["m: Other.go has no Parameters"]),
        ("class Other:\n    def go(self, a, b, c, *d)", "class Other:\n    def go(self, a, b, c, d)",
         ["m: Other.go has other arguments than Plan.go"]),
        ("Parameters\n        ----------", "Notes\n        -----",
         ["m: Plan.go has no Parameters", "m: Other.go has no Parameters"]),
    ],
)  # fmt: skip
def test_the_check_finds_faults(old, new, fault):
    assert faults(public_functions(ast.parse(GOOD.replace(old, new)), "m")) == fault
