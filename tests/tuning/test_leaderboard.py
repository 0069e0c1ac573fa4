"""The table of candidates."""

from __future__ import annotations

import pandas as pd
import pytest
from tables import make_table

from dask_dl import DeepLearningClassifier
from dask_dl.errors import ParameterError
from dask_dl.tuning.candidates import FAILED, TRAINED, Candidate, Tried
from dask_dl.tuning.leaderboard import leaderboard

TABLE = make_table(300)[["a", "b", "label"]]


@pytest.fixture(scope="module")
def tried():
    models = [
        DeepLearningClassifier(hidden=(4,), epochs=epochs, random_state=1).fit(TABLE, "label").model_
        for epochs in (1, 5)
    ]
    found = [Tried(Candidate(k, {"epochs": n}, {}), TRAINED, models[k], 1.5) for k, n in enumerate((1, 5))]
    return [*found, Tried(Candidate(2, {"epochs": -1, "l1": 0.5}, {}), FAILED, None, 0.0, ParameterError("no"))]


def test_the_best_come_first_and_failures_last(tried):
    table = leaderboard(tried, "logloss")
    values = [one.value("logloss") for one in tried[:2]]
    assert table["logloss"].iloc[:2].tolist() == sorted(values)
    assert table.index[-1] == 2 and table["status"].iloc[-1] == FAILED and table["error"].iloc[-1] == "no"
    by_area = leaderboard(tried, "auc")["auc"].dropna()
    assert by_area.is_monotonic_decreasing and len(by_area) == 2


def test_columns_are_parameters_metrics_and_what_it_took(tried):
    table = leaderboard(tried, "logloss")
    assert list(table.columns[:2]) == ["epochs", "l1"]  # a metric of that name would stand behind its parameter
    assert table.loc[2, "l1"] == 0.5
    assert {"auc", "misclassification", "seconds", "status"} <= set(table.columns)
    assert table.index.name == "candidate"


def test_no_candidate_makes_an_empty_table():
    table = leaderboard([], "logloss")
    assert isinstance(table, pd.DataFrame) and table.empty and "logloss" in table
