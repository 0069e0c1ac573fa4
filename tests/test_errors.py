"""Errors and warnings: they travel from workers whole, and are caught as what they are."""

from __future__ import annotations

import inspect
import pickle
import warnings

import pytest

from dask_dl import errors
from dask_dl.errors import DaskDLError, DaskDLWarning, ParameterError, warn

RAISED = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)]


@pytest.mark.parametrize("kind", RAISED)
def test_all_survive_pickling(kind):
    again = pickle.loads(pickle.dumps(kind("what was found, and where")))
    assert type(again) is kind and str(again) == "what was found, and where"
    if issubclass(kind, DaskDLError) and kind is not DaskDLError:  # by those who do not know this package, too
        assert issubclass(kind, ValueError | ArithmeticError | RuntimeError | OSError)


def test_mistakes_travel_with_their_error():
    error = ParameterError("two")
    error.mistakes = ("one", "other")
    assert pickle.loads(pickle.dumps(error)).mistakes == ("one", "other") and ParameterError("none").mistakes == ()


def test_a_warning_is_one_of_the_package_unless_it_is_one_already():
    with pytest.warns(DaskDLWarning, match="something") as told:
        warn("something")
    assert told[0].filename == __file__
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warn(FutureWarning("old"))
    assert [w.category for w in seen] == [FutureWarning]
