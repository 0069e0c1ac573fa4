"""Listeners: a warning reaches each of them once, and the user once, at the user's line."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

import dask_dl
from dask_dl.errors import DaskDLWarning
from dask_dl.events import Listeners, Warned
from dask_dl.training.engine import Outcome
from dask_dl.training.loop import INTERRUPTED

PACKAGE = Path(dask_dl.__file__).parent


def interrupted():
    return Outcome(SimpleNamespace(record=SimpleNamespace(stopped_by=INTERRUPTED, n_epochs=1.5)), None)


@pytest.mark.parametrize(
    "say_it", [lambda tell: tell.warn("It is late."), lambda tell: interrupted().settle(tell)], ids=["warn", "settle"]
)
def test_a_warning_reaches_each_listener_and_the_user_once(say_it):
    one, other = [], []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        say_it(Listeners([one.append, other.append]))
    (warning,) = caught
    assert one == other == [Warned(str(warning.message))]
    assert warning.category is DaskDLWarning and warning.filename == __file__


def test_what_has_listeners_does_not_warn_past_them():
    past = []
    for path in (*PACKAGE.glob("cluster/*.py"), *PACKAGE.glob("training/*.py"), PACKAGE / "preflight" / "steps.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "dask_dl.errors":
                past += [path.name for name in node.names if name.name == "warn"]
    assert past == []
