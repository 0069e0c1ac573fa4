"""The architecture, held by reading the imports: which package may import which, and which packages live where.

A package is a folder or a file directly under `dask_dl`. Imports inside functions and for the type checker count too:
to name another package's type is to know that package.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: package: (the packages it may import, why it may). In the order of the flow: a package sees only packages above its own line.
PACKAGES = {
    # Shared files
    "errors": ("", "anything may fail, and nothing is needed to say so"),
    "wording": ("", "parts of messages, for whatever has something to say"),
    "paths": ("", "what is a URL, for code that opens files"),
    "jit": ("", "Numba's settings, for code that compiles"),
    "memory": ("", "numbers in, bytes out"),
    "distribution": ("", "what is known of a target's distribution, to learn, measure and predict it"),
    "storage": ("errors memory", "a choice by numbers of bytes"),
    "state": ("errors", "values that packages pass to each other, so that they need not know each other"),
    "metrics": ("distribution errors state", "functions of truth and prediction, their names, and how they went"),
    "training_state": (
        "metrics state",
        "how far a training has come, to go on with it, save it and show it",
    ),
    "events": ("errors metrics training_state", "what happens in a training, to show it and act on it"),
    "synonyms": ("", "names of other libraries, as data"),
    "parameters": ("errors metrics synonyms wording", "a wrong parameter is an error, and names the right one"),
    # The user's table becomes blocks of numbers
    "frame": ("distribution errors memory parameters paths state wording", "knows tables, and nothing of networks"),
    # Three layers; each knows the one below, and the lowest knows arrays only
    "kernels": ("errors jit state", "serial arithmetic on plain arrays"),
    "node": ("errors kernels state", "runs kernels on the threads of one machine"),
    "tasks": (
        "distribution errors frame kernels metrics state",
        "everything that depends on what is learned, from the target's column to the answer and its measurement",
    ),
    # What is known of the result, where it trains, and where it goes
    "cluster": (
        "distribution errors frame jit kernels memory metrics node state storage tasks wording",
        "brings blocks, nodes and metrics together, wherever the blocks are; never calls a kernel itself",
    ),
    "checkpoint": ("errors paths state", "puts arrays and JSON into a file, whatever they mean"),
    "documents": (
        "checkpoint distribution errors frame kernels node metrics state tasks",
        "what the JSON of models and checkpoints may say, and what must hold in it",
    ),
    "predictor": (
        "errors frame kernels metrics node state tasks",
        "what a prediction needs of a model, and sends to workers",
    ),
    "model": (
        "checkpoint distribution documents errors frame kernels metrics parameters predictor tasks",
        "the fitted value, and files of it; never trains",
    ),
    "predict": ("errors frame model node predictor", "a model's answers to tables of every kind, by threads"),
    "truth": ("errors frame metrics tasks", "what answers are measured beside"),
    "evaluation": (
        "errors frame metrics model predict predictor tasks truth",
        "a model's answers beside the truth, of tables of every kind",
    ),
    "explain": (
        "errors evaluation frame kernels metrics model node parameters predict predictor state tasks truth wording",
        "reasons of a model's answers, from its weights and from tables of every kind; never trains",
    ),
    "show": (
        "errors events explain frame metrics model parameters wording",
        "progress lines, pictures, the report on a model",
    ),
    # On top: what puts the packages together
    "training": (
        "checkpoint cluster distribution documents errors events frame jit kernels memory metrics model node parameters state storage tasks training_state",  # noqa: E501  # one list
        "one training, put together; it alone sees everything below it",
    ),
    "preflight": (
        "cluster errors events frame kernels memory parameters show storage tasks training wording",
        "a training up to its first round, of which every step is tried, whatever the one before it found",
    ),
    "answer_sample": (
        "errors evaluation frame model predict predictor",
        "a model's answers to some rows of a table, to be drawn",
    ),
    "validation": (
        "cluster distribution errors events frame metrics model predict predictor tasks training",
        "trainings on folds of one table, and their predictions of the rows that they have not seen",
    ),
    "tuning": (
        "checkpoint cluster documents errors events frame metrics model node parameters training validation",
        "trainings with many choices of parameters, on tables that are encoded once",
    ),
    "export": (
        "checkpoint distribution documents errors frame kernels metrics model node parameters tasks",
        "models in the formats of other programs, and from these; never trains",
    ),
    "estimators": (
        "answer_sample cluster errors evaluation events explain export frame memory metrics model node parameters predict predictor show training tuning validation",  # noqa: E501  # one list
        "scikit-learn's face of fit and model",
    ),
    "__init__": ("errors estimators model preflight", "the public names"),
    "demo": ("__init__", "an example: nothing but the public names"),
    "cli": (
        "__init__ checkpoint cluster demo errors estimators evaluation frame metrics model parameters paths show synonyms truth tuning wording",  # noqa: E501  # one list
        "arguments in, files out",
    ),
}

#: third-party package: (the packages of ours that may import it, why no other).
DEPENDENCIES = {
    "dask": ("frame cluster show demo", "collections are read in frame, clusters are spoken to in cluster"),
    "distributed": ("frame cluster show demo", "as dask"),
    "jinja2": ("show", "HTML is made in one place"),
    "llvmlite": ("jit kernels", "as numba"),
    "matplotlib": ("show demo", "an optional dependency"),
    "numba": ("jit kernels", "what is compiled is a kernel"),
    "onnx": ("export", "an optional dependency"),
    "shap": ("show", "an optional dependency"),
    "zarr": ("checkpoint", "the format of the files is known in one place"),
}

#: What kernels may import beside other packages: the language, arrays and the compiler; no threads, no tables, no clusters.
KERNEL_PACKAGES = {
    "__future__",
    "collections",
    "contextlib",
    "dataclasses",
    "enum",
    "functools",
    "math",
    "platform",
    "typing",
}
KERNEL_PACKAGES |= {"llvmlite", "numba", "numpy"}

#: Nothing of these is loaded by `import dask_dl`.
HEAVY = {"dask", "distributed", "jinja2", "matplotlib", "numba", "pandas", "pyarrow", "scipy", "sklearn", "zarr"}

#: Private names that tests may use, and why.
PRIVATE = {
    "_metadata": "of Dask's spans, which the package clears and a test counts",
}

MODULES = sorted((ROOT / "dask_dl").rglob("*.py"))


def module_parts(path):
    return path.relative_to(ROOT).with_suffix("").parts


def imports(source, parts):
    """Dotted names that a module imports, with the line of each; `parts` is the module's own name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            # One dot is the module's own folder, each further one the folder above.
            folder = ".".join(parts[: len(parts) - node.level]) if node.level else ""
            origin = ".".join(filter(None, [folder, node.module]))
            for alias in node.names:
                yield f"{origin}.{alias.name}", node.lineno


def package_of(parts):
    """The package that a dotted name of the package belongs to; public names such as `dask_dl.load` are `__init__`'s."""
    if len(parts) > 1 and ((ROOT / "dask_dl" / parts[1]).is_dir() or (ROOT / "dask_dl" / f"{parts[1]}.py").is_file()):
        return parts[1]
    return "__init__"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: ".".join(module_parts(path)[1:]))
def test_module_imports_only_what_its_package_may(path):
    parts = module_parts(path)
    package = package_of(parts)
    assert package in PACKAGES, f"{package} is a new package: say in PACKAGES what it may import, and why"
    allowed = {package, *PACKAGES[package][0].split()}

    wrong = []
    for name, line in imports(path.read_text(encoding="utf-8"), parts):
        top, *_ = name.split(".")
        if top == "dask_dl":
            if (other := package_of(name.split("."))) not in allowed:
                wrong.append(
                    f"line {line}: {package} may not import {other}; it may import {PACKAGES[package][0] or 'no package'}"
                )
        elif top in DEPENDENCIES and package not in DEPENDENCIES[top][0].split():
            packages, reason = DEPENDENCIES[top]
            wrong.append(f"line {line}: {top} is imported in {packages} only: {reason}")
        elif package == "kernels" and top not in KERNEL_PACKAGES:
            wrong.append(f"line {line}: a kernel has no business with {top}")
    assert not wrong, "\n".join([str(path.relative_to(ROOT)), *wrong])


def test_packages_import_no_circle():
    # The modules keep to this table, so what holds of the table holds of them.
    edges = {package: allowed.split() for package, (allowed, _) in PACKAGES.items()}
    assert set().union(*edges.values()) <= set(PACKAGES)
    TopologicalSorter(edges).prepare()  # raises CycleError
    order = list(PACKAGES)
    assert all(order.index(other) < order.index(package) for package in PACKAGES for other in edges[package])


def test_modules_of_a_package_import_no_circle():
    names = {".".join(module_parts(path)): path for path in MODULES if path.name != "__init__.py"}
    edges = {}
    for name, path in names.items():
        found = {imported for imported, _ in imports(path.read_text(encoding="utf-8"), module_parts(path))}
        found |= {imported.rpartition(".")[0] for imported in found}  # of `from module import name`
        edges[name] = {
            other for other in found & set(names) if other != name and other.split(".")[1:2] == name.split(".")[1:2]
        }
    TopologicalSorter(edges).prepare()  # raises CycleError


def test_every_way_to_import_is_seen():
    source = """
import numpy as np, dask_dl.frame.scan
from . import sibling
from ..state import Rows
def late():
    from dask_dl import load
if TYPE_CHECKING:
    import zarr
"""
    names = {name for name, _ in imports(source, ("dask_dl", "node", "replica"))}
    assert names == {
        "numpy",
        "dask_dl.frame.scan",
        "dask_dl.node.sibling",
        "dask_dl.state.Rows",
        "dask_dl.load",
        "zarr",
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: ".".join(module_parts(path)[1:]))
def test_only_the_package_itself_imports_by_computed_name(path):
    # What import_module is given cannot be read here; the public names, imported when first used, are the one use.
    called = {
        getattr(node.func, "attr", getattr(node.func, "id", None))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    assert package_of(module_parts(path)) == "__init__" or not called & {"import_module", "__import__"}


def test_every_module_is_named_for_what_it_owns():
    vague = {"common", "helper", "helpers", "misc", "util", "utils"}
    assert not [path for path in MODULES if vague & {part.lstrip("_") for part in module_parts(path)}]


def test_the_oracle_is_independent():
    for path in (ROOT / "tests" / "naive").rglob("*.py"):
        names = {name.split(".")[0] for name, _ in imports(path.read_text(encoding="utf-8"), module_parts(path))}
        assert not names & {"dask_dl", "numba"}, path


def private_names(source):
    """Names with one leading underscore that a module or its classes define; IPython's end in another one."""
    defined = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            defined.add(node.id if isinstance(node, ast.Name) else node.attr)
    return {name for name in defined if name.startswith("_") and not name.startswith("__") and not name.endswith("_")}


def private_uses(source, private):
    """Lines that use one of these names: as an attribute, of anything but a test class' own `self`; imported; by `setattr`."""
    tree = ast.parse(source)
    own = {
        id(node)
        for part in ast.walk(tree)
        if isinstance(part, ast.ClassDef)
        for node in ast.walk(part)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    used = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in own:
            used.append((node.lineno, node.attr))
        elif isinstance(node, ast.ImportFrom):
            used += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")).endswith("attr"):
            texts = (each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str))
            used += [(node.lineno, text.rpartition(".")[2]) for text in texts]
    return sorted((line, name) for line, name in used if name in private)


def test_tests_use_no_private_name_of_the_package():
    private = set().union(*(private_names(path.read_text("utf-8")) for path in MODULES))
    assert len(private) > 300
    used = {
        str(path.relative_to(ROOT)): found
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if (found := private_uses(path.read_text("utf-8"), private - PRIVATE.keys()))
    }
    assert used == {}


def test_every_way_to_use_a_private_name_is_seen():
    package = """
_LIMIT = 1
def _look(self):
    self._seen = 1
class _Store:
    def _repr_html_(self): ...
"""
    private = private_names(package)
    assert private == {"_LIMIT", "_look", "_seen", "_Store"}
    test = """
from package import _Store
class Fake:
    def look(self):
        return self._seen
def spy(self):
    self._seen += 1
monkeypatch.setattr(package, "_LIMIT", 3)
monkeypatch.setattr("package._look", spy)
x._replace(a=1)._repr_html_()
"""
    assert private_uses(test, private) == [(2, "_Store"), (7, "_seen"), (8, "_LIMIT"), (9, "_look")]


def test_importing_the_package_loads_nothing_heavy():
    show = "import sys, dask_dl; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "dask_dl" in run.stdout.split()
    assert not HEAVY & set(run.stdout.split())


def modules_named(block):
    """Modules by package in the picture of `design.md`: a label, the names, from column 68 on what they are."""
    found, package = {}, None
    for line in block.splitlines():
        label = line[:13].strip()
        package = label if label.endswith("/") else package
        names = [label] if label and not label.endswith("/") else line[13:68].split()
        found.setdefault("dask_dl/" if names == [label] else package, []).extend(names)
    return found


def test_every_module_is_named_where_the_arrangement_is_described():
    """Each once, and none that is not there."""
    text = (ROOT / "docs/development/design.md").read_text("utf-8")
    named = modules_named(text.split("```")[1].split("\n\n", 1)[1])
    there = {}
    for path in MODULES:
        if not path.name.startswith("__"):
            there.setdefault(f"{path.parent.name}/", []).append(path.stem)
    assert {package: sorted(names) for package, names in named.items()} == there
