"""Cross-validation: folds, what each training sees, combined metrics, predictions for rows held out."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load, prepare
from dask_dl.errors import ParameterError, SchemaError

SMALL = {"hidden": (6,), "epochs": 2, "random_state": 1, "n_jobs": 2, "stopping_rounds": 0}
KEPT = {"keep_cross_validation_predictions": True, "keep_cross_validation_fold_assignment": True}
#: What a fold's training sees depends on nothing but its own rows.
ALONE = SMALL | {"overwrite_with_best_model": False, "reproducible": True, "score_training_samples": 0}


def make_table(n=240, seed=0):
    random = np.random.default_rng(seed)
    table = pd.DataFrame(random.normal(3, 2, (n, 3)), columns=list("abc"))
    table["level"] = random.choice(["u", "v", "w"], n)
    table["weight"] = random.choice([0.0, 0.5, 1.0, 2.0], n)
    table["fold"] = random.choice(["p", "q", "r"], n)
    table["y"] = table["a"] * 2 + table["b"] + random.normal(size=n)
    table["label"] = np.where(table["y"] > 10, "yes", "no")
    return table


TABLE = make_table()
INPUTS = ["a", "b", "c", "level"]


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


def test_rows_of_a_table_are_read_as_often_as_for_one_training(tmp_path):
    read = []

    def count(frame, k):
        read.append(k)
        return frame

    def table(n):
        parts = [TABLE.iloc[60 * k : 60 * k + 60] for k in range(4)]
        import dask

        return dd.from_delayed([dask.delayed(count)(part, k) for k, part in enumerate(parts)], meta=TABLE)

    with __import__("dask").config.set(scheduler="sync"):
        DeepLearningClassifier(**SMALL).fit(table(1)[[*INPUTS, "label"]], "label")
        once = len(read)
        read.clear()
        DeepLearningClassifier(**SMALL, nfolds=4).fit(table(1)[[*INPUTS, "label"]], "label")
    assert len(read) == once > 0


def test_the_main_model_is_trained_by_the_best_epochs_of_the_folds():
    given = SMALL | {"epochs": 30, "stopping_rounds": 3, "score_each_iteration": True, "hidden": (60,)}
    table = make_table(600)
    noise = np.random.default_rng(0).normal(size=600)  # what is learned of it is over-fitting
    model = DeepLearningRegressor(**given, nfolds=3, train_samples_per_iteration=200).fit(table[["a", "b", "c"]], noise)
    histories = [fold.history_ for fold in model.cross_validation_models_]
    best = [history["epochs"][history["validation_deviance"].idxmin()] for history in histories]
    learned = [fold.model_.record.n_epochs for fold in model.cross_validation_models_]
    assert np.mean(best) < np.mean(learned) - 0.5  # they went on for a while
    assert model.parameters_["epochs"] == pytest.approx(np.mean(best)) and model.parameters_["stopping_rounds"] == 0
    assert model.model_.record.n_epochs == pytest.approx(np.mean(best), abs=0.5)
    assert model.get_params()["epochs"] == 30 and model.model_.record.requested["epochs"] == 30


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


def test_a_validation_table_judges_the_folds():
    held = make_table(90, seed=1)
    model = DeepLearningRegressor(**SMALL, nfolds=2).fit(
        TABLE[["a", "b"]], TABLE["y"], eval_set=(held[["a", "b"]], held["y"])
    )
    for fold in model.cross_validation_models_:
        expected = mean_squared_error(held["y"], fold.predict(held[["a", "b"]])) ** 0.5
        assert fold.metrics_["validation"]["rmse"] == pytest.approx(expected, rel=1e-4)
        assert fold.model_.record.n_rows == 120
    assert {*model.metrics_} == {"training", "validation", "cross_validation"}


def test_as_many_folds_as_rows():
    few = TABLE.head(30)
    model = DeepLearningRegressor(**SMALL, **KEPT, nfolds=30).fit(few[["a", "b"]], few["y"])
    assert sorted(model.cross_validation_fold_assignment_) == list(range(30))
    expected = mean_squared_error(few["y"], model.cross_validation_predictions_["predict"]) ** 0.5
    assert model.metrics_["cross_validation"]["rmse"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["array", "sparse", "dask array", "dataset", "dask"])
def test_tables_of_every_kind(kind):
    X, y = TABLE[["a", "b", "c"]], TABLE["y"]
    frame = DeepLearningRegressor(**ALONE, **KEPT, nfolds=3, sparse=kind == "sparse").fit(X, y)
    given = dict(ALONE, nfolds=3, sparse=kind == "sparse")
    if kind == "dataset":
        with prepare(X, y, task="regression", reproducible=True, score_training_samples=0, random_state=1) as data:
            model = DeepLearningRegressor(**given).fit(data)
            with pytest.raises(ParameterError, match="no Dataset"):
                DeepLearningRegressor(**given, **KEPT).fit(data)
    elif kind == "dask":
        lazy = dd.from_pandas(TABLE[["a", "b", "c", "y"]], npartitions=4)
        model = DeepLearningRegressor(**given, **KEPT).fit(lazy, "y")
        found = model.cross_validation_predictions_
        assert found.divisions == lazy.divisions and found.dtypes.equals(found.compute().dtypes)
        assert model.cross_validation_fold_assignment_.compute().equals(frame.cross_validation_fold_assignment_)
    else:
        values = X.to_numpy()
        table = {"array": values, "sparse": scipy.sparse.csr_matrix(values)}.get(kind)
        if kind == "dask array":
            table, y = dd.from_pandas(X, npartitions=3).to_dask_array(lengths=True), dd.from_pandas(y, npartitions=3)
            y = y.to_dask_array(lengths=True)
        model = DeepLearningRegressor(**given, **KEPT).fit(table, y)
    mine, theirs = model.metrics_["cross_validation"], frame.metrics_["cross_validation"]
    assert mine["rmse"] == pytest.approx(theirs["rmse"], rel=1e-6)
    if kind != "dataset":
        p = model.cross_validation_predictions_
        p = p.compute() if hasattr(p, "compute") else p
        np.testing.assert_allclose(p["predict"], frame.cross_validation_predictions_["predict"], rtol=1e-5)


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


def test_folds_are_in_the_report_and_on_the_command_line(tmp_path, capsys):
    from dask_dl.cli import main

    TABLE.drop(columns=["y", "weight"]).to_csv(tmp_path / "t.csv", index=False)
    base = ["train", tmp_path / "t.csv", "--target", "label", "--hidden", "4", "--epochs", "1", "--overwrite"]
    for more, names in ((["--nfolds", "3"], "123"), (["--folds", "fold"], "pqr")):
        outputs = ["--model", tmp_path / "m.zip", "--report", tmp_path / "r.html"]
        assert main([str(part) for part in (*base, *more, *outputs)]) == 0
        text = capsys.readouterr().out
        assert "3 folds of" in text and "rows held out" in text and ("fold p:" in text or "fold 1:" in text)
        model = load(tmp_path / "m.zip")
        assert [*model.cross_validation_summary_.columns[2:]] == [f"fold {name}" for name in names]
        page = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert "Cross-validation: rows held out, by fold" in page and f"fold {names[2]}" in page
    assert "fold" not in model.encoder_.columns


def test_folds_are_drawn():
    pytest.importorskip("matplotlib").use("agg")
    model = DeepLearningRegressor(**SMALL, nfolds=3).fit(TABLE[["a", "b"]], TABLE["y"])
    ax = model.plot_folds()
    drawn = next(line for line in ax.lines if line.get_marker() == "o")
    np.testing.assert_allclose(drawn.get_ydata(), model.cross_validation_summary_.loc["deviance"].iloc[2:])
    with pytest.raises(AttributeError, match="not cross-validated"):
        DeepLearningRegressor(**SMALL).fit(TABLE[["a", "b"]], TABLE["y"]).plot_folds()


def test_combined_metrics_count_rows_by_their_weights():
    group = np.repeat([0, 1, 2, 3], 60)
    weight = np.where(group == 0, 10.0, 1.0)
    model = DeepLearningRegressor(**SMALL, **KEPT).fit(TABLE[["a", "b"]], TABLE["y"], sample_weight=weight, folds=group)
    p = model.cross_validation_predictions_["predict"]
    expected = mean_squared_error(TABLE["y"], p, sample_weight=weight)
    assert model.metrics_["cross_validation"]["mse"] == pytest.approx(expected, rel=1e-5)
    for k in range(4):
        of_fold = mean_squared_error(TABLE["y"][group == k], p[group == k])
        assert model.cross_validation_summary_.loc["mse", f"fold {k}"] == pytest.approx(of_fold, rel=1e-5)


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


def test_a_dataset_keeps_no_predictions_and_says_so_before_it_trains():
    with prepare(TABLE[["a", "b", "y"]], "y", random_state=1) as data:
        model = DeepLearningRegressor(**SMALL, nfolds=2, keep_cross_validation_predictions=True)
        heard = []
        with pytest.raises(ParameterError, match="no Dataset"):
            model.fit(data, callbacks=[heard.append])
        with pytest.raises(ParameterError, match="no column of folds"):
            DeepLearningRegressor(**SMALL).fit(data, folds=np.arange(240) % 3, callbacks=[heard.append])
        assert heard == []


@pytest.mark.parametrize(
    ("n_threads", "n_jobs", "expected"),
    [(2, 2, [1] * 4 + [2]), (4, None, [1] * 4 + [4]), (3, None, [1] * 5), (8, 2, [1] * 4 + [2]), (8, 1, [1] * 5)],
)
def test_folds_that_are_left_have_all_threads(monkeypatch, n_threads, n_jobs, expected):
    monkeypatch.setattr("joblib.cpu_count", lambda: n_threads)
    model = DeepLearningRegressor(**SMALL | {"n_jobs": n_jobs, "epochs": 0.1}, nfolds=5).fit(make_table(8000), "y")
    assert [fold.model_.record.effective["n_jobs"] for fold in model.cross_validation_models_] == expected
