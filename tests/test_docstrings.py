"""Docstrings: public functions of four or more arguments say in numpydoc's form what they take, return and raise.

Kernels, which have no annotations, give the shape and the dtype of every array that they take.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "dask_dl"
MIN_ARGUMENTS = 4  #: arguments from which on a docstring names them
HEADING = re.compile(r"^Parameters\n-{10}\n", re.MULTILINE)
SECTION = re.compile(r"^(\w+)\n-{3,}$", re.MULTILINE)
ENTRY = re.compile(r"\*{0,2}\w+(, \*{0,2}\w+)* : \S.*")
SEE = re.compile(r"^See `(\w+)\.(\w+)`\.$", re.MULTILINE)  #: an implementation refers to its interface
FRAGMENTS = ("The same",)
#: Words with which a fragment begins, and neither a noun nor a verb.
NOT_FIRST = {"As", "By", "For", "From", "In", "Its", "Of", "On", "Their", "To", "Until", "What", "With", "Without"}
COMPILED = {"kernel", "inlined", "entry"}  #: decorators of `dask_dl.jit`
FIRST_IS_ARRAY = {"span", "load", "store", "fetch_add", "flattened"}  #: functions for kernels that are written as IR
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Documented(NamedTuple):
    where: str  #: "module.py: Class.function"
    arguments: list[str]  #: variable ones with their asterisks
    text: str
    returns: bool  #: or yields
    raised: set[str]  #: what it raises by name


def arguments_of(function: Function) -> list[str]:
    a = function.args
    names = [x.arg for x in (*a.posonlyargs, *a.args)]
    names += [f"*{a.vararg.arg}"] if a.vararg else []
    names += [x.arg for x in a.kwonlyargs]
    names += [f"**{a.kwarg.arg}"] if a.kwarg else []
    return [name for name in names if name not in {"self", "cls"}]


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """Nodes of a function's body, those of functions within it left out."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def returns_something(function: Function) -> bool:
    if function.name == "__init__":
        return False
    if function.returns is not None:
        return ast.unparse(function.returns) not in {"None", "NoReturn", "Never"}
    return any(isinstance(node, ast.Return) and node.value is not None for node in own_nodes(function))


def raised_by(function: Function) -> set[str]:
    raised = [node.exc for node in own_nodes(function) if isinstance(node, ast.Raise) and node.exc is not None]
    return {ast.unparse(error.func if isinstance(error, ast.Call) else error) for error in raised}


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
                where_it_is = f"{where}: {prefix}{part.name}"
                found.append(
                    Documented(where_it_is, arguments_of(part), text, returns_something(part), raised_by(part))
                )

    visit(tree, "")
    return found


@cache
def trees() -> dict[str, ast.Module]:
    paths = sorted(PACKAGE.rglob("*.py"))
    return {str(path.relative_to(PACKAGE)): ast.parse(path.read_text("utf-8")) for path in paths}


@cache
def errors() -> set[str]:
    """Names of the package's exceptions."""
    return {node.name for node in trees()["errors.py"].body if isinstance(node, ast.ClassDef)}


def faults(functions: list[Documented]) -> list[str]:
    by_name = {f.where.split(": ")[1]: f for f in functions}
    wrong = []
    for where, arguments, text, returns, raised in functions:
        if "{parameters}" in text:  # written from the table of parameters, whose tests compare it with the signature
            continue
        if len(arguments) < MIN_ARGUMENTS and not HEADING.search(text):
            continue
        see = SEE.search(text)
        interface = by_name.get(f"{see[1]}.{see[2]}") if see else None
        if not HEADING.search(text):
            if interface is None or not HEADING.search(interface.text):
                wrong.append(f"{where} has no Parameters")
                continue
            if interface.arguments != arguments:
                wrong.append(f"{where} has other arguments than {see[1]}.{see[2]}")
        said = {title for one in (text, interface.text if interface else "") for title in SECTION.findall(one)}
        prose = text.split("\n\nParameters\n---")[0]
        if returns and not said & {"Returns", "Yields"}:
            wrong.append(f"{where} does not say what it returns")
        if (raised & errors() or re.search(r"\braises?\s", prose, re.IGNORECASE)) and "Raises" not in said:
            wrong.append(f"{where} does not say what it raises")
        if HEADING.search(text):
            names, strange = sections(text)
            wrong += [f"{where} lacks {name}" for name in arguments if name not in names]
            wrong += [f"{where} has no {name}" for name in names if name not in arguments]
            wrong += [f"{where} names {name} twice" for name in {n for n in names if names.count(n) > 1}]
            wrong += [f"{where}: no type in {line!r}" for line in strange]
    return wrong


def test_functions_of_many_arguments_say_what_they_take_return_and_raise():
    functions = [f for where, tree in trees().items() for f in public_functions(tree, where)]
    assert sum(len(f.arguments) >= MIN_ARGUMENTS for f in functions) > 100
    assert faults(functions) == []


#: What follows an array's name, and those of others like it: "a, b (n,) float32", also after a colon.
SHAPE = r"(, \w+)* (: )?\([^()]*\) (u?int\d+|float\d+|of any dtype)"


def kernels_of(trees: dict[str, ast.Module]) -> dict[str, ast.FunctionDef]:
    """Compiled functions by "module.py: name"."""
    return {
        f"{where}: {node.name}": node
        for where, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and COMPILED & {ast.unparse(one) for one in node.decorator_list}
    }


def arrays_of(kernels: dict[str, ast.FunctionDef]) -> dict[str, set[str]]:
    """Arguments that are arrays: those that a kernel indexes, measures, or passes on as such."""
    found = {}
    for where, function in kernels.items():
        indexed = [ast.unparse(node.value) for node in ast.walk(function) if isinstance(node, ast.Subscript)]
        found[where] = {name.removesuffix(".shape") for name in indexed} & set(arguments_of(function))
    while True:
        before = sum(map(len, found.values()))
        for where, function in kernels.items():
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                called = ast.unparse(call.func)
                places = [f"{where.split(': ')[0]}: {called}", *(k for k in kernels if k.endswith(f": {called}"))]
                if target := next((kernels[k] for k in places if k in kernels), None):
                    taken = next(found[k] for k in places if k in kernels)
                    pairs = zip(arguments_of(target), call.args, strict=False)
                    passed = {ast.unparse(given) for name, given in pairs if name in taken}
                else:
                    passed = {ast.unparse(call.args[0])} if called in FIRST_IS_ARRAY else set()
                found[where] |= passed & set(arguments_of(function))
        if sum(map(len, found.values())) == before:
            return found


def arrays_without_shape(kernels: dict[str, ast.FunctionDef]) -> list[str]:
    wrong = []
    for where, names in arrays_of(kernels).items():
        text = ast.get_docstring(kernels[where]) or ""
        wrong += [f"{where}: {name}" for name in sorted(names) if not re.search(rf"(?<![\w.]){name}{SHAPE}", text)]
    return wrong


def test_kernels_give_shape_and_dtype_of_every_array():
    kernels = kernels_of({where: tree for where, tree in trees().items() if where.startswith("kernels/")})
    assert sum(map(len, arrays_of(kernels).values())) > 80
    assert arrays_without_shape(kernels) == []


KERNELS = '''
@kernel
def dot(a, b):
    """Sum of products: a, b (n,) float32."""
    for i in range(a.shape[0]):
        total += a[i] * b[i]

@inlined
def norm(network, v, n):
    """Norm of a vector.

    Parameters
    ----------
    network : Network
    v : (n,) float32
    n : int
    """
    return np.sqrt(dot(v, v)) / network.layers[0]

@entry
def first(cells):
    """First of cells (n,) int64."""
    return load(cells, 0)

def not_compiled(x):
    return x[0]
'''


@pytest.mark.parametrize(
    "old, new, found",
    [
        ("", "", []),
        ("a, b (n,) float32", "a (n,) float32", ["m: dot: b"]),
        ("a, b (n,) float32", "a, b (n,)", ["m: dot: a", "m: dot: b"]),
        ("v : (n,) float32", "v : array", ["m: norm: v"]),
        ("cells (n,) int64", "cells", ["m: first: cells"]),
    ],
)
def test_the_check_finds_arrays_without_shape(old, new, found):
    assert arrays_without_shape(kernels_of({"m": ast.parse(KERNELS.replace(old, new))})) == found


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


def test_files_of_tests_state_their_topic():
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    assert [path.name for path in files if not ast.get_docstring(ast.parse(path.read_text("utf-8")))] == []


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

        Raises
        ------
        SchemaError
        """
        if a:
            raise SchemaError("a")
        return b

class Other:
    def go(self, a, b, c, *d):
        """Go elsewhere. Raises ValueError.

        See `Plan.go`.
        """
        return c
'''


@pytest.mark.parametrize(
    "old, new, fault",
    [
        ("", "", []),
        ("a, b : int", "a : int", ["m: Plan.go lacks b"]),
        ("a, b : int", "a, b, e : int", ["m: Plan.go has no e"]),
        ("a, b : int", "a, b, b : int", ["m: Plan.go names b twice"]),
        ("c : (n,) float32", "c", ["m: Plan.go lacks c", "m: Plan.go: no type in 'c'"]),
        ("Returns\n        -------", "Notes\n        -----",
         ["m: Plan.go does not say what it returns", "m: Other.go does not say what it returns"]),
        ("Raises\n        ------", "Notes\n        -----",
         ["m: Plan.go does not say what it raises", "m: Other.go does not say what it raises"]),
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
