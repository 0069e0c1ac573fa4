"""Cross-validation: trainings of folds, the model of all rows, and combined metrics."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pytest
import scipy.sparse
from sklearn.metrics import mean_squared_error
from validation.tables import ALONE, INPUTS, KEPT, SMALL, TABLE, make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load, prepare
from dask_dl.errors import ParameterError


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


@pytest.mark.parametrize(
    ("n_threads", "n_jobs", "expected"),
    [(2, 2, [1] * 4 + [2]), (4, None, [1] * 4 + [4]), (3, None, [1] * 5), (8, 2, [1] * 4 + [2]), (8, 1, [1] * 5)],
)
def test_folds_that_are_left_have_all_threads(monkeypatch, n_threads, n_jobs, expected):
    monkeypatch.setattr("joblib.cpu_count", lambda: n_threads)
    model = DeepLearningRegressor(**SMALL | {"n_jobs": n_jobs, "epochs": 0.1}, nfolds=5).fit(make_table(8000), "y")
    assert [fold.model_.record.effective["n_jobs"] for fold in model.cross_validation_models_] == expected
