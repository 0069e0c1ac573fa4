"""Options of a search, which signatures and docstrings follow."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

from dask_dl import GridSearch
from dask_dl.errors import ParameterError
from dask_dl.tuning.options import OPTIONS, SearchSettings, defaults


def test_the_constructor_has_the_options_of_the_table():
    signature = inspect.signature(GridSearch).parameters
    assert {name: signature[name].default for name in signature if name in OPTIONS} == defaults()
    assert list(signature)[2:] == list(OPTIONS) == list(inspect.signature(SearchSettings).parameters)
    assert all(f"    {name} : " in GridSearch.__doc__ for name in OPTIONS)


def test_values_become_canonical():
    given = defaults() | {"method": "HALVING", "max_models": np.int64(3), "recovery_dir": Path("here"), "min_epochs": 1}
    settings = SearchSettings.of(given)
    assert settings.method == "halving" and settings.recovery_dir == Path("here")
    assert type(settings.max_models) is int and type(settings.min_epochs) is float


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "bayes"}, 'method="bayes": give {"grid", "random", "halving"}'),
        ({"max_models": 0}, "max_models=0"),
        ({"max_models": True}, "max_models=True"),
        ({"max_runtime_secs": -1}, "max_runtime_secs=-1"),
        ({"metric": 3}, "metric=3: give name of a metric or None"),
        ({"reduction_factor": 1}, "reduction_factor=1"),
        ({"min_epochs": 0, "method": "halving"}, "min_epochs=0"),
        ({"min_epochs": 1}, "min_epochs=1 is of method='halving' only"),
        ({"method": "halving", "stopping_rounds": 2}, "stopping_rounds: method='halving' ends by itself"),
        ({"n_jobs": -1}, "n_jobs=-1"),
        ({"recovery_dir": 5}, "recovery_dir=5"),
    ],
)
def test_others_are_refused(given, message):
    import re

    with pytest.raises(ParameterError, match=re.escape(message)):
        SearchSettings.of(defaults() | given)
