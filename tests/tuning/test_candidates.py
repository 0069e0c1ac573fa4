"""Choices of parameters: grids, random ones, and what is no space."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy.stats import loguniform

from dask_dl import parameters
from dask_dl.errors import ParameterError
from dask_dl.tuning.candidates import candidates_of

DEFAULTS = parameters.constructor_defaults()


def validate(chosen):
    return parameters.validate(DEFAULTS | chosen, task="classification")


def found(space, is_random=False, max_models=None, seed=1):
    return candidates_of(space, max_models, seed, validate, is_random=is_random)


def test_a_grid_has_all_combinations():
    space = {"hidden": [[32, 32], [100]], "l1": [0.0, 1e-4]}
    chosen = [candidate.chosen for candidate in found(space)]
    assert len(chosen) == 4
    assert {(tuple(one["hidden"]), one["l1"]) for one in chosen} == {
        ((32, 32), 0.0), ((32, 32), 1e-4), ((100,), 0.0), ((100,), 1e-4)
    }  # fmt: skip
    assert [candidate.number for candidate in found(space)] == [0, 1, 2, 3]
    assert found(space)[0].requested["hidden"] == (32, 32)
    assert len(found(space, max_models=3)) == 3


def test_sub_spaces_are_joined():
    space = [{"adaptive_rate": [True], "rho": [0.9, 0.99]}, {"adaptive_rate": [False], "rate": [0.01, 0.1]}]
    assert len(found(space)) == 4


def test_random_ones_are_different_and_follow_the_seed():
    space = {"l1": [0.0, 1e-5, 1e-4], "l2": [0.0, 1e-5, 1e-4]}
    names = functools.partial(map, lambda candidate: (candidate.chosen["l1"], candidate.chosen["l2"]))
    one, same, other = (list(names(found(space, True, 6, seed))) for seed in (1, 1, 2))
    assert one == same != other
    assert len(set(one)) == 6
    assert len(found(space, True)) == 9


def test_distributions_are_drawn_from():
    candidates = found({"l1": loguniform(1e-6, 1e-3), "hidden": [[5], [6]]}, True, 8)
    assert len({candidate.chosen["l1"] for candidate in candidates}) == 8
    assert all(1e-6 <= candidate.chosen["l1"] <= 1e-3 for candidate in candidates)
    assert all(type(candidate.chosen["l1"]) is float for candidate in candidates)


def test_alike_candidates_are_one():
    space = {"hidden": [[10], (10,), 10], "activation": ["Tanh", "tanh"], "l1": np.array([0.0, 0.0])}
    assert len(found(space)) == 1


def test_rows_of_an_array_are_values():
    chosen = found({"hidden": np.array([[3, 4], [5, 6]])})
    assert [candidate.requested["hidden"] for candidate in chosen] == [(3, 4), (5, 6)]


def test_values_that_are_none_are_kept_with_their_error():
    good, bad = found({"l1": [0.1, -1.0]})
    assert good.error is None
    assert isinstance(bad.error, ParameterError) and "l1" in str(bad.error) and not bad.requested


@pytest.mark.parametrize(
    ("space", "more", "message"),
    [
        ({}, {}, "none is empty"),
        ([], {}, "none is empty"),
        ({"l1": []}, {}, "l1 has no value"),
        ({"l1": 0.1}, {}, "l1 is 0.1; give a list"),
        ({"activation": "tanh"}, {}, "activation is 'tanh'; give a list"),
        ({"units": [3]}, {}, "units"),
        ({"checkpoint_dir": ["a"]}, {}, "checkpoint_dir is the same for all"),
        ({"l1": loguniform(1e-6, 1e-3)}, {}, "without a list of values"),
        ({"l1": loguniform(1e-6, 1e-3)}, {"is_random": True}, "without end: give max_models"),
    ],
)
def test_what_is_no_space_is_refused(space, more, message):
    with pytest.raises(ParameterError, match=message):
        found(space, **more)
