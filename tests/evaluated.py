"""A table with a target for each kind of problem, and models that are evaluated on it."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from tables import UNSCORED, make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor

SMALL = UNSCORED | {"hidden": (5,), "epochs": 3, "random_state": 1}
TABLE = make_table(600, gaps=0.1)
TABLE["species"] = make_table(600, labels=("low", "mid", "top"))["label"]
TABLE["row"] = np.arange(600)
TARGETS = {"binomial": "label", "multinomial": "species", "regression": "y"}
INPUTS = ["a", "b", "c", "level"]


@functools.cache
def fitted():
    """A model for each kind; not to be changed."""

    def fit(kind, target):
        estimator = DeepLearningRegressor if kind == "regression" else DeepLearningClassifier
        return estimator(**SMALL).fit(TABLE[[*INPUTS, target]], target)

    return {kind: fit(kind, target) for kind, target in TARGETS.items()}


def same(found, expected, rel=1e-9):
    assert [*found] == [*expected] and found.n_rows == expected.n_rows
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=rel, abs=1e-12, nan_ok=True), name
