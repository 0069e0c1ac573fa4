"""Predictions for the rows that were held out, by the models that did not see them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_squared_error
from validation.tables import INPUTS, KEPT, SMALL, TABLE

from dask_dl import DeepLearningClassifier, DeepLearningRegressor


def test_rows_without_a_target_are_predicted_and_count_in_no_fold():
    table = TABLE[["a", "b", "y"]].copy()
    table.loc[::10, "y"] = np.nan
    model = DeepLearningRegressor(**SMALL, **KEPT, nfolds=3).fit(table, "y")
    used = table["y"].notna()
    p = model.cross_validation_predictions_["predict"]
    assert len(p) == len(table) and p[used].notna().all()
    expected = mean_squared_error(table["y"][used], p[used]) ** 0.5
    assert model.metrics_["cross_validation"]["rmse"] == pytest.approx(expected, rel=1e-5)


def test_offsets_balance_and_several_classes():
    table = TABLE.assign(o=np.log(TABLE["weight"] + 1), count=np.round(TABLE["a"] ** 2))
    model = DeepLearningRegressor(**SMALL, **KEPT, nfolds=3, distribution="poisson")
    model.fit(table[["b", "c", "o", "count"]], "count", offset="o")
    folds = model.cross_validation_fold_assignment_
    for k, fold in enumerate(model.cross_validation_models_):
        rows = table.loc[folds == k, ["b", "c", "o"]]
        found = model.cross_validation_predictions_["predict"][folds == k]
        np.testing.assert_allclose(found, fold.predict(rows), rtol=1e-6)
    classes = pd.cut(table["y"], [-99, 5, 12, 99], labels=["low", "mid", "high"]).astype(str)
    model = DeepLearningClassifier(
        **SMALL, nfolds=3, balance_classes=True, auc_type="macro_ovr", fold_assignment="stratified"
    )
    model.fit(table[INPUTS], classes)
    combined = model.metrics_["cross_validation"]
    assert 0.5 < combined["auc"] <= 1 and combined.confusion_matrix().to_numpy().sum() == len(table)
    assert all(fold.model_.head.correction for fold in model.cross_validation_models_)
