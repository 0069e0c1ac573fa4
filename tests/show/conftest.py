"""A table whose texts need escaping, and a model of it."""

from __future__ import annotations

import pytest
from tables import make_table

from dask_dl import DeepLearningClassifier


@pytest.fixture(scope="module")
def table():
    table = make_table(300, noise=1.0, labels=("a <b> & c", "plain", "third"))[["a", "b", "c", "level", "label"]]
    return table.set_axis(["p", "q", "<r>", "kind", "y"], axis=1)


@pytest.fixture(scope="module")
def model(table):
    given = {"hidden": (8,), "epochs": 3, "random_state": 1, "stopping_rounds": 0}
    return DeepLearningClassifier(**given).fit(table, "y", eval_set=table.head(100))
