"""Trainings that go on from a model."""

from __future__ import annotations

import numpy as np

from dask_dl import DeepLearningRegressor

SETTINGS = {"hidden": (8,), "random_state": 3, "n_jobs": 1, "stopping_rounds": 0, "overwrite_with_best_model": False}
COLUMNS = ["a", "b", "level"]


def fit(table, checkpoint=None, columns=COLUMNS, call=None, **given):
    return DeepLearningRegressor(**SETTINGS | given).fit(
        table[[*columns, "y"]], "y", checkpoint=checkpoint, **call or {}
    )


def bits(model):
    network = model.model_.network
    return [network.flat, *network.states]


def assert_same(one, other):
    for mine, theirs in zip(bits(one), bits(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)
