"""Typed settings: below them no parameter is looked up by its name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import dask_dl
from dask_dl.parameters import TABLE
from dask_dl.training.settings import beside_others

ROOT = Path(dask_dl.__file__).parent
#: Who takes parameters as the user gave them, or shows them.
FACES = {"__init__.py", "cli", "demo.py", "estimators", "parameters", "preflight", "show", "synonyms.py"}
#: Where typed values are made of parameters: file -> why.
MAKERS = {
    "training/settings.py": "settings of a training",
    "distribution.py": "of a training, and of a model that was read",
    "export/mojo_reader.py": "of a model that H2O wrote",
    "export/mojo_writer.py": "of a model, by H2O's names",
    "kernels/optimizers.py": "kind of the optimizer, of a training and of a checkpoint that is read",
    "model/files.py": "what a file says of its own history",
    "model/record.py": "settings of an evaluation, of a model that was read",
}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in FACES)


def look_ups(source):
    """Lines that read a parameter of a mapping by its name."""
    for node in ast.walk(ast.parse(source)):
        name = None
        match node:
            case ast.Subscript(slice=ast.Constant(value=name)):
                pass
            case ast.Call(func=ast.Attribute(attr="get" | "pop" | "setdefault"), args=[ast.Constant(value=name), *_]):
                pass
        if isinstance(name, str) and name in TABLE:
            yield f"{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_parameters_are_looked_up_in_one_place(path):
    found = list(look_ups(path.read_text("utf-8")))
    assert path.relative_to(ROOT).as_posix() in MAKERS or found == []


def test_look_ups_are_found():
    reads = ["e['epochs']", "e['l1'] = 2", "e.get('l2', 0)", "e.pop('seed')"]
    others = ["e['color']", "e[k]", "e.get(k)", "e |= {'storage': 'disk'}", "print('epochs')"]
    assert len(list(look_ups("\n".join(reads)))) == len(reads)
    assert list(look_ups("\n".join(others))) == []


@pytest.mark.parametrize(("n_jobs", "n_beside", "wanted"), [(8, 2, 4), (2, 4, 1), (5, 2, 2), (3, 1, 3)])
def test_trainings_side_by_side_share_threads(n_jobs, n_beside, wanted):
    assert beside_others({"n_jobs": n_jobs, "max_runtime_secs": 0.0}, n_beside, 0.0, None, None)["n_jobs"] == wanted


@pytest.mark.parametrize(
    ("own", "left", "wanted"), [(0.0, 0.0, 0.0), (0.0, 5.0, 5.0), (9.0, 5.0, 5.0), (2.0, 5.0, 2.0), (2.0, 0, 2.0)]
)
def test_trainings_side_by_side_have_the_seconds_that_are_left(own, left, wanted):
    assert beside_others({"n_jobs": 1, "max_runtime_secs": own}, 1, left, None, None)["max_runtime_secs"] == wanted
