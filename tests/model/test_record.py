"""Records of trainings: what was asked for, how far it came, and the metrics of folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from saved import SETTINGS

from dask_dl.metrics.measurement import Means, Measurement, Spread
from dask_dl.model.files import load_model
from dask_dl.model.record import FoldMetrics


@pytest.fixture(scope="module")
def record(model_file):
    return load_model(model_file).record


def test_parameters_that_were_changed_are_named_with_their_defaults(record):
    changed = record.changed_parameters
    assert set(changed) == {*SETTINGS, "categorical_encoding"}
    assert changed["hidden"] == (200, 200) and changed["categorical_encoding"] == "auto"
    of_another_version = replace(record, requested={**record.requested, "curvature": 2})
    assert of_another_version.changed_parameters == changed


def test_epochs_count_what_was_learned_after_the_last_scoring(record):
    assert record.n_epochs == 2
    assert replace(record, n_seen=record.n_seen + record.n_rows // 2).n_epochs == 2.5


def test_metrics_of_folds_have_their_mean_and_deviation():
    nothing = Measurement(Means(1.0, {}), Spread(1.0, 0.0, 0.0))
    table = FoldMetrics(nothing, ("1", "2", "3"), {"rmse": [1.0, 2.0, 6.0], "mae": [0.5, 0.5, 0.5]}).to_pandas()
    assert table.columns.tolist() == ["mean", "sd", "fold 1", "fold 2", "fold 3"]
    np.testing.assert_allclose(table.loc["rmse"], [3, 7**0.5, 1, 2, 6])
    assert table.loc["mae", "sd"] == 0
