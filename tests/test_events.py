"""Listeners: a warning reaches each of them once, and the user once, at the user's line."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
import scipy.sparse
from sklearn.exceptions import DataConversionWarning

import dask_dl
from dask_dl import DeepLearningRegressor
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


def texts_of(caught):
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("kind", ["array", "sparse", "dask"])
def test_all_warnings_of_a_fit_reach_listeners_once(told, kind):
    X = np.random.default_rng(0).normal(size=(60, 3)).round(3)
    X[:, 1], y, weight = 0, (X[:, :1] > 0) * 1.0, np.ones((60, 1))
    given = [X, y, weight]
    if kind == "sparse":
        given[0] = scipy.sparse.csr_array(X)
    elif kind == "dask":
        given = [da.from_array(values, chunks=(30, -1)) for values in given]
    X, y, weight = given
    model = DeepLearningRegressor(hidden=(2,), epochs=1, n_jobs=1, rate=0.1, verbose=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y, sample_weight=weight, eval_set=(X, y, weight))
    assert [event.text for event in told] == texts_of(caught)
    assert {warning.filename for warning in caught} == {__file__}
    columns = [warning for warning in caught if warning.category is DataConversionWarning]
    assert len(columns) == 4 and "was passed when a 1d array was expected" in told[0].text
    said = " ".join(texts_of(caught))
    assert all(part in said for part in ("has no effect", "only 0 and 1", "constant"))


def test_warnings_of_a_preparation_reach_listeners_once(told):
    X = np.random.default_rng(0).normal(size=(60, 2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dask_dl.prepare(X, X[:, :1] > 0, task="classification", hidden=(2,)).close()
    assert [event.text for event in told] == texts_of(caught)
    assert [warning.category for warning in caught] == [DataConversionWarning]


def test_what_has_listeners_does_not_warn_past_them():
    past = []
    for path in (*PACKAGE.glob("cluster/*.py"), *PACKAGE.glob("training/*.py"), PACKAGE / "preflight" / "steps.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "dask_dl.errors":
                past += [path.name for name in node.names if name.name == "warn"]
    assert past == []
