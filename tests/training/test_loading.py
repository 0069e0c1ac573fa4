"""The second pass over the tables: where rows are, and which are scored."""

from __future__ import annotations

import dask
import numpy as np
import pytest
from stored import SETTINGS, make_table, small_windows, too_little

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import DaskDLWarning


def test_labels_unseen_in_training_are_left_out_of_validation_and_counted(table):
    train = table[["a", "b"]].assign(y=np.where(table["a"] > 0, "x", "z"))
    valid = train.assign(y=["new"] * 5 + train["y"].tolist()[5:])
    with pytest.warns(DaskDLWarning, match="5 rows of the validation table have labels that training never saw"):
        model = DeepLearningClassifier(hidden=(4,), epochs=1, random_state=1).fit(train, "y", eval_set=valid)
    assert model.history_["validation_classification_error"].iloc[-1] == pytest.approx(1 - model.score(valid[5:], "y"))


@pytest.fixture
def folder(tmp_path):
    """Where scratch goes."""
    with dask.config.set({"temporary-directory": str(tmp_path)}):
        yield tmp_path


def test_the_choice_is_said_with_its_reason(folder, monkeypatch, capsys):
    small_windows(monkeypatch, 20_000)
    too_little(monkeypatch)
    model = DeepLearningRegressor(**SETTINGS, verbose=True).fit(make_table(), "y")
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("storage: "))
    assert (
        line.startswith("storage: disk, in memory it would need up to ")
        and ", limit " in line
        and ", 80% of " in line
        and str(folder) in line
    )
    assert model.parameters_["storage"] == "disk"
