"""Saved models become the estimators of their tasks again."""

from __future__ import annotations

import numpy as np
import pytest
from tables import UNSCORED, make_table

from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.errors import ArchiveError
from dask_dl.estimators.loading import ESTIMATORS
from dask_dl.tasks import HEADS


def test_every_task_has_its_estimator():
    assert ESTIMATORS.keys() == HEADS.keys()


@pytest.mark.parametrize("kind", [DeepLearningClassifier, DeepLearningRegressor, DeepLearningAutoEncoder])
def test_an_estimator_comes_back_with_its_parameters_and_the_names_of_columns(kind, tmp_path):
    table = make_table(60)[["a", "b", "y", "label"]]
    target = {DeepLearningClassifier: "label", DeepLearningRegressor: "y"}.get(kind)
    X = table[["a", "b", *([target] if target else [])]]
    model = kind(hidden=(3,), epochs=1, random_state=1, **UNSCORED)
    model.fit(X, target) if target else model.fit(X)
    model.save(tmp_path / "m.zip")
    again = load(tmp_path / "m.zip")
    assert type(again) is kind and (again.hidden, again.client) == ((3,), None)
    assert again.feature_names_in_.tolist() == ["a", "b"]
    np.testing.assert_array_equal(again.model_.network.flat, model.model_.network.flat)


def test_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "m.zip").write_bytes(b"nothing")
    with pytest.raises(ArchiveError):
        load(tmp_path / "m.zip")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.zip")
