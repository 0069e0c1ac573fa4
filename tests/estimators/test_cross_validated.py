"""What an estimator keeps of a cross-validation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from validation.tables import INPUTS, SMALL, TABLE

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load, prepare
from dask_dl.errors import ParameterError


def test_a_model_keeps_its_folds_in_its_file(tmp_path):
    model = DeepLearningClassifier(**SMALL, nfolds=3).fit(TABLE[INPUTS], TABLE["label"])
    model.save(tmp_path / "m")
    found = load(tmp_path / "m")
    pd.testing.assert_frame_equal(found.cross_validation_summary_, model.cross_validation_summary_)
    mine, theirs = model.metrics_["cross_validation"], found.metrics_["cross_validation"]
    assert dict(mine) == dict(theirs)
    pd.testing.assert_frame_equal(mine.gains_lift(), theirs.gains_lift())
    for fold in model.cross_validation_models_:  # each is a model like any other
        fold.save(tmp_path / "fold")
        np.testing.assert_array_equal(load(tmp_path / "fold").predict(TABLE[INPUTS]), fold.predict(TABLE[INPUTS]))
    assert not hasattr(model.fit(TABLE[INPUTS], TABLE["label"]).set_params(nfolds=0), "cross_validation_predictions_")
    again = model.fit(TABLE[INPUTS], TABLE["label"])
    assert not hasattr(again, "cross_validation_models_") and not hasattr(again, "cross_validation_summary_")


def test_folds_are_drawn():
    pytest.importorskip("matplotlib").use("agg")
    model = DeepLearningRegressor(**SMALL, nfolds=3).fit(TABLE[["a", "b"]], TABLE["y"])
    ax = model.plot_folds()
    drawn = next(line for line in ax.lines if line.get_marker() == "o")
    np.testing.assert_allclose(drawn.get_ydata(), model.cross_validation_summary_.loc["deviance"].iloc[2:])
    with pytest.raises(AttributeError, match="not cross-validated"):
        DeepLearningRegressor(**SMALL).fit(TABLE[["a", "b"]], TABLE["y"]).plot_folds()


def test_a_dataset_keeps_no_predictions_and_says_so_before_it_trains():
    with prepare(TABLE[["a", "b", "y"]], "y", random_state=1) as data:
        model = DeepLearningRegressor(**SMALL, nfolds=2, keep_cross_validation_predictions=True)
        heard = []
        with pytest.raises(ParameterError, match="no Dataset"):
            model.fit(data, callbacks=[heard.append])
        with pytest.raises(ParameterError, match="no column of folds"):
            DeepLearningRegressor(**SMALL).fit(data, folds=np.arange(240) % 3, callbacks=[heard.append])
        assert heard == []
