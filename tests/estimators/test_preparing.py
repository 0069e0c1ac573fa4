"""Making of datasets: the task, and parameters that are none."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from tables import make_table

import dask_dl
from dask_dl import DeepLearningClassifier
from dask_dl.errors import ParameterError
from dask_dl.frame.target import task_of

SMALL = {"hidden": (5,), "epochs": 2, "n_jobs": 1, "random_state": 3}


@pytest.fixture(scope="module")
def table():
    return make_table(600).drop(columns=["d", "e"]).rename(columns={"w": "weight"})


def test_the_task_follows_from_the_target(table):
    assert task_of(table, "label") == task_of(table.assign(k=True), "k") == "classification"
    assert task_of(table, "y") == task_of(dd.from_pandas(table, npartitions=2), "y") == "regression"
    assert (
        task_of(table, table["label"].astype("category")) == task_of(np.zeros((2, 2)), ["a", "b"]) == "classification"
    )
    assert task_of(np.zeros((2, 2)), 1) == task_of([[1.0, 2.0], [3.0, 4.0]], 1) == "regression"
    assert task_of(table[["a"]], table[["label"]]) == "classification"
    assert task_of(table, pd.to_datetime(table["a"])) == "regression"
    with dask_dl.prepare(table.assign(k=table["label"] == "yes")[["a", "k"]], "k") as data:
        assert data.task == "classification"
    with dask_dl.prepare(table.assign(k=(table["a"] > 0).astype(int))[["b", "k"]], "k", task="classification") as data:
        assert len(DeepLearningClassifier(**SMALL).fit(data).classes_) == 2
    with pytest.raises(ParameterError, match="task is 'ranking'"):
        dask_dl.prepare(table, "y", task="ranking")
    with pytest.raises(ParameterError, match="prepare requires y"):
        dask_dl.prepare(table, None)
    with pytest.raises(ParameterError, match="hiden"):
        dask_dl.prepare(table, "y", hiden=(3,))
