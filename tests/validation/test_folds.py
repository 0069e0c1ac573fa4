"""Folds: every row is held out once, and what a training of the others sees."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score
from validation.tables import ALONE, INPUTS, KEPT, SMALL, TABLE, make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import ParameterError, SchemaError


@pytest.mark.parametrize("how", ["random", "modulo", "stratified"])
@pytest.mark.parametrize("n", [2, 5])
def test_every_row_is_held_out_once(how, n):
    model = DeepLearningClassifier(**SMALL, **KEPT, nfolds=n, fold_assignment=how).fit(TABLE[INPUTS], TABLE["label"])
    folds = model.cross_validation_fold_assignment_
    sizes = folds.value_counts()
    assert set(folds) == set(range(n)) and sizes.max() - sizes.min() <= (n if how == "stratified" else 1)
    if how == "modulo":
        np.testing.assert_array_equal(folds, np.arange(len(TABLE)) % n)
    if how == "stratified":
        counts = pd.crosstab(folds, TABLE["label"])
        assert (counts.max() - counts.min() <= 1).all()
    p = model.cross_validation_predictions_
    assert list(p.columns) == ["predict", "no", "yes"] and p.index.equals(TABLE.index)
    for k, fold in enumerate(model.cross_validation_models_):
        rows = folds == k
        np.testing.assert_array_equal(p.loc[rows, "yes"], fold.predict_proba(TABLE.loc[rows, INPUTS])[:, 1])
    combined = model.metrics_["cross_validation"]
    assert combined["auc"] == pytest.approx(roc_auc_score(TABLE["label"] == "yes", p["yes"]), rel=1e-6)
    assert combined["logloss"] == pytest.approx(log_loss(TABLE["label"], p[["no", "yes"]]), rel=1e-5)
    summary = model.cross_validation_summary_
    of_folds = [log_loss(TABLE["label"][folds == k], p.loc[folds == k, ["no", "yes"]]) for k in range(n)]
    np.testing.assert_allclose(summary.loc["logloss"].iloc[2:], of_folds, rtol=1e-5)
    assert summary.loc["logloss", "mean"] == pytest.approx(np.mean(of_folds), rel=1e-5)
    assert summary.loc["logloss", "sd"] == pytest.approx(np.std(of_folds, ddof=1), rel=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_fold_trains_as_on_a_table_without_its_rows(weighted):
    """Own means, own deviations and own mean weight: nothing of the rows held out is in the model but its levels."""
    weight = "weight" if weighted else None
    columns = ["a", "b", "c", "y", "fold", *([weight] if weighted else [])]
    model = DeepLearningRegressor(**ALONE).fit(TABLE[columns], "y", folds="fold", sample_weight=weight)
    assert [*model.cross_validation_summary_.columns[2:]] == ["fold p", "fold q", "fold r"]
    for name, fold in zip("pqr", model.cross_validation_models_, strict=True):
        rest = TABLE.loc[TABLE["fold"] != name, columns].drop(columns="fold").reset_index(drop=True)
        alone = DeepLearningRegressor(**ALONE).fit(rest, "y", sample_weight=weight)
        for mine, theirs in zip(fold.encoder_.numbers, alone.encoder_.numbers, strict=True):
            assert (mine.shift, mine.factor) == pytest.approx((theirs.shift, theirs.factor), rel=1e-5)
        assert fold.model_.head.shift == pytest.approx(alone.model_.head.shift, rel=1e-5)
        assert fold.model_.head.factor == pytest.approx(alone.model_.head.factor, rel=1e-5)
        X = TABLE[["a", "b", "c"]]
        # The rounding of the map, and what 150 rows of training make of it.
        np.testing.assert_allclose(fold.predict(X), alone.predict(X), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("judge", "tables"), [("inner", 2), ("holdout", 2), ("training", 1)])
def test_a_fold_is_judged_by_rows_of_its_own_unless_asked(judge, tables):
    given = SMALL | {"overwrite_with_best_model": True, "score_training_samples": 0}
    table = make_table(600)
    model = DeepLearningRegressor(**given, **KEPT, nfolds=2, fold_stopping=judge).fit(table[["a", "b"]], table["y"])
    folds = model.cross_validation_fold_assignment_
    for k, fold in enumerate(model.cross_validation_models_):
        history = fold.model_.record.history
        assert len(history.tables) == tables
        rmse = mean_squared_error(table["y"][folds == k], fold.predict(table.loc[folds == k, ["a", "b"]])) ** 0.5
        if judge == "holdout":
            assert fold.metrics_["validation"]["rmse"] == pytest.approx(rmse, rel=1e-4)
        if judge == "inner":
            n = history.measured["validation"].means.weight
            assert 15 <= n <= 50 and fold.model_.record.n_rows == 300 - n


def test_as_many_folds_as_rows():
    few = TABLE.head(30)
    model = DeepLearningRegressor(**SMALL, **KEPT, nfolds=30).fit(few[["a", "b"]], few["y"])
    assert sorted(model.cross_validation_fold_assignment_) == list(range(30))
    expected = mean_squared_error(few["y"], model.cross_validation_predictions_["predict"]) ** 0.5
    assert model.metrics_["cross_validation"]["rmse"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "call", "error", "message"),
    [
        ({"nfolds": 1}, {}, ParameterError, "nfolds"),
        ({"nfolds": -3}, {}, ParameterError, "nfolds"),
        ({"nfolds": 500}, {}, SchemaError, "240 rows that count"),
        ({"nfolds": 3}, {"folds": "fold"}, ParameterError, "each makes folds"),
        ({"fold_assignment": "modulo"}, {}, ParameterError, "needs nfolds"),
        ({}, {"folds": np.ones(240)}, SchemaError, "two or more are needed"),
        ({}, {"folds": np.where(np.arange(240) < 120, np.nan, 1)}, SchemaError, "fold"),
        ({}, {"folds": TABLE["label"].to_numpy()}, SchemaError, "never see it"),
        ({}, {"folds": "fold", "sample_weight": (TABLE["fold"] != "q").astype(float)}, None, ""),
        (
            {"nfolds": 2, "fold_assignment": "modulo"},
            {"sample_weight": np.arange(240) % 2},
            SchemaError,
            "no row with a target",
        ),
    ],
)
def test_folds_that_are_none(given, call, error, message):
    model = DeepLearningClassifier(**SMALL, **given)
    columns = [
        *INPUTS,
        "label",
        *(["fold"] if call.get("folds") is not None and isinstance(call["folds"], str) else []),
    ]
    if error is None:  # a fold whose rows have no weight is none
        fitted = model.fit(TABLE[columns], "label", **call)
        assert [*fitted.cross_validation_summary_.columns[2:]] == ["fold p", "fold r"]
        return
    with pytest.raises(error, match=message):
        model.fit(TABLE[columns], "label", **call)


@pytest.mark.parametrize("case", ["missing", "an outlier", "an outlier of the target"])
def test_deviations_of_odd_columns_are_those_of_the_cut_table(case):
    table = make_table(400)[["a", "b", "y"]]
    if case == "missing":
        table.loc[np.random.default_rng(0).random(400) < 0.9, "a"] = np.nan
    elif case == "an outlier":
        table.loc[8, "a"] = 1e8
    else:
        table.loc[8, "y"] = 1e8
    model = DeepLearningRegressor(**ALONE, nfolds=4, fold_assignment="modulo").fit(table, "y")
    fold = model.cross_validation_models_[0]  # without row 8
    rest = table[np.arange(400) % 4 != 0].reset_index(drop=True)
    alone = DeepLearningRegressor(**ALONE).fit(rest, "y")
    for mine, theirs in zip(fold.encoder_.numbers, alone.encoder_.numbers, strict=True):
        assert mine.factor == pytest.approx(theirs.factor, rel=1e-2)
    assert fold.model_.head.factor == pytest.approx(alone.model_.head.factor, rel=1e-2)


@pytest.mark.parametrize(("n", "nfolds"), [(10, 10), (5, 5), (6, 3), (3, 3)])
def test_few_rows_are_judged_by_those_that_train(n, nfolds):
    few = TABLE.head(n)
    model = DeepLearningRegressor(**SMALL | {"overwrite_with_best_model": True}, nfolds=nfolds).fit(
        few[["a", "b"]], few["y"]
    )
    assert all(fold.model_.record.history.tables == ("training",) for fold in model.cross_validation_models_)
