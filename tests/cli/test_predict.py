"""What `dask-dl predict` writes and measures."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from cli.tables import QUICK, SMALL, figures, make_table, predict, run

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load


def test_a_model_that_is_not_there_is_named_first(place, tmp_path, capsys):
    assert predict(tmp_path / "none.zip", place / "t.csv", "--output", tmp_path / "o.csv") == 1
    assert capsys.readouterr().err == f"dask-dl: {tmp_path / 'none.zip'}: No such file or directory\n"


@pytest.mark.parametrize("distribution", ["gaussian", "gamma", "huber", "laplace", "classes"])
def test_metrics_are_those_of_a_validation_table(place, tmp_path, capsys, distribution):
    table, held = make_table(300), make_table(700)
    target = "label" if distribution == "classes" else "price"
    columns = ["a", "who", "w", target]
    if distribution == "classes":
        estimator = DeepLearningClassifier(**SMALL)
    else:
        estimator = DeepLearningRegressor(**SMALL, distribution=distribution)
    model = estimator.set_params(score_duty_cycle=0.1).fit(
        table[columns], target, sample_weight="w", eval_set=held[columns]
    )
    model.save(tmp_path / "m.zip")
    expected = model.metrics_["validation"]
    assert predict(tmp_path / "m.zip", place / "parts", "--weights", "w", "--output", tmp_path / "o.csv") == 0
    printed = capsys.readouterr().out
    assert f"metrics of 700 rows by '{target}' of" in printed
    found = figures(printed)
    assert {*found} == {*expected}
    for name, value in expected.items():
        # Of a huber loss each place keeps a sketch of its residuals: pairs in another order, other rounding.
        assert found[name] == pytest.approx(value, rel=1e-4, nan_ok=True), name


def test_rows_without_a_known_target_are_predicted_and_not_measured(place, tmp_path, capsys):
    table = make_table(100)
    table.loc[:9, "label"] = None
    table.loc[10:19, "label"] = "new"
    table.to_csv(tmp_path / "t.csv", index=False)
    assert predict(place / "label.zip", tmp_path / "t.csv", "--output", tmp_path / "o.csv") == 0
    captured = capsys.readouterr()
    assert "metrics of 80 rows by 'label'" in captured.out
    assert "'label' of" in captured.err and "10 of 90 rows have labels that the model has never seen" in captured.err
    truth, answers = table["label"][20:], pd.read_csv(tmp_path / "o.csv", dtype={"predict": "str"})["predict"]
    assert len(answers) == 100
    assert figures(captured.out)["misclassification"] == pytest.approx(np.mean(truth != answers[20:]), rel=1e-5)


@pytest.mark.parametrize(("column", "message"), [("?", "not numbers"), (-1.0, None), (np.inf, "infinite")])
def test_a_target_that_cannot_be_measured_costs_no_prediction(place, tmp_path, capsys, column, message):
    make_table(50).assign(price=column).to_csv(tmp_path / "t.csv", index=False)
    assert predict(place / "price.zip", tmp_path / "t.csv", "--output", tmp_path / "o.csv") == 0
    captured = capsys.readouterr()
    assert len(pd.read_csv(tmp_path / "o.csv")) == 50
    assert ("metrics of" in captured.out) == (message is None)
    if message is not None:
        assert captured.err.startswith("warning: no metrics: ") and message in captured.err


def test_targets_that_a_distribution_forbids_cost_no_prediction(tmp_path, capsys):
    table = make_table(50)[["a", "price"]]
    DeepLearningRegressor(**SMALL, distribution="gamma").fit(table, "price").save(tmp_path / "m.zip")
    table.assign(price=0.0).to_csv(tmp_path / "t.csv", index=False)
    assert predict(tmp_path / "m.zip", tmp_path / "t.csv", "--output", tmp_path / "o.csv") == 0
    captured = capsys.readouterr()
    assert "metrics of" not in captured.out and "distribution 'gamma' allows no zero" in captured.err
    assert len(pd.read_csv(tmp_path / "o.csv")) == 50


def test_a_metric_that_cannot_see_so_many_rows_costs_no_prediction(place, tmp_path, capsys, monkeypatch):
    table = make_table(100)[["a", "label"]]
    DeepLearningClassifier(**SMALL, custom_metric="roc_auc").fit(table, "label").save(tmp_path / "m.zip")
    common = [tmp_path / "m.zip", place / "parts", "--output", tmp_path / "o.csv", "--overwrite"]
    assert predict(*common) == 0
    printed = figures(capsys.readouterr().out)
    assert printed["custom"] == pytest.approx(printed["auc"], rel=1e-4)
    monkeypatch.setattr("dask_dl.metrics.custom.MAX_KEPT_BYTES", 2000)
    assert predict(*common) == 0
    captured = capsys.readouterr()
    assert "metrics of" not in captured.out and "no metrics: custom_metric: a scorer sees all" in captured.err
    assert len(pd.read_csv(tmp_path / "o.csv")) == 700


def test_a_predictor_named_as_the_target_of_classes_costs_no_prediction(place, tmp_path, capsys):
    make_table(40).to_csv(tmp_path / "t.csv", index=False)
    assert predict(place / "label.zip", tmp_path / "t.csv", "--output", tmp_path / "o.csv", "--target", "a") == 0
    captured = capsys.readouterr()
    assert "metrics of" not in captured.out
    assert "no metrics: the target of 'a' of" in captured.err and "is continuous" in captured.err
    assert len(pd.read_csv(tmp_path / "o.csv")) == 40


def test_models_of_earlier_formats_know_no_target():
    model = load("tests/data/format-1-regressor.zip").model_
    assert model.record.target_name is None


def test_a_model_knows_the_column_of_its_target(tmp_path):
    table = make_table(40)[["a", "price"]]
    for fitted, expected in (
        (DeepLearningRegressor(**SMALL).fit(table, "price"), "price"),
        (DeepLearningRegressor(**SMALL).fit(table[["a"]], table["price"]), None),
        (DeepLearningRegressor(**SMALL).fit(table.to_numpy(), 1), "x1"),
    ):
        fitted.save(tmp_path / "m.zip")
        assert load(tmp_path / "m.zip").model_.record.target_name == expected


def test_progress_is_told_while_it_lasts(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dask_dl.cli.model_tables.INTERVAL", 0.0)
    assert predict(place / "price.zip", place / "parts", "--output", tmp_path / "o.csv") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ... ")]
    assert [line.split(" partitions, ")[0] for line in lines] == [f"  ... {k} of 7" for k in range(1, 7)]
    assert re.fullmatch(r"  \.\.\. 6 of 7 partitions, 600 rows, [\d,]+ rows/s, \d+ s left", lines[-1])


def test_quiet_prints_nothing(place, tmp_path, capsys):
    assert predict(place / "price.zip", place / "parts", "--output", tmp_path / "o.csv", "--quiet") == 0
    assert capsys.readouterr().out == ""


def test_a_threshold_decides_between_two_classes(place, tmp_path, capsys):
    options = [place / "label.zip", place / "t.csv", "--output", tmp_path / "p.csv", "--overwrite"]
    model = load(place / "label.zip")
    table = pd.read_csv(place / "t.csv", dtype={"who": str})
    for threshold in ("0.3", "max_f1"):
        assert predict(*options, "--threshold", threshold) == 0
        expected = model.predict(table, threshold=float(threshold) if threshold[0] == "0" else threshold)
        np.testing.assert_array_equal(pd.read_csv(tmp_path / "p.csv", dtype={"predict": str})["predict"], expected)
    assert predict(*options, "--threshold", "f1") == 1 and "max_f1" in capsys.readouterr().err
    options[0] = place / "price.zip"
    assert predict(*options, "--threshold", "0.5") == 1 and "two classes" in capsys.readouterr().err


def test_a_class_that_is_called_as_a_kept_column_has_another_name(folder, tmp_path, capsys):
    model = tmp_path / "model.zip"
    run("train", folder / "all.csv", "--target", "label", "--columns", "a", *QUICK, "--model", model, "--quiet")
    pd.read_csv(folder / "all.csv").rename(columns={"code": "down"}).to_csv(tmp_path / "t.csv", index=False)
    arguments = ["predict", model, tmp_path / "t.csv", "--output", tmp_path / "out", "--quiet"]
    assert run(*arguments, "--keep", "down") == 0
    assert [*pd.read_parquet(tmp_path / "out")] == ["down", "predict", "pdown", "up"]
    assert run(*arguments, "--keep", "predict", "--overwrite") == 1
    assert "'predict' is the name of the answer" in capsys.readouterr().err


def test_failed_predictions_leave_nothing(folder, tmp_path, capsys):
    model = tmp_path / "model.zip"
    run("train", folder / "all.csv", "--target", "price", "--columns", "a,code", *QUICK, "--model", model, "--quiet")
    pd.DataFrame({"a": ["x", "y"]}).to_csv(tmp_path / "bad.csv", index=False)
    assert run("predict", model, tmp_path / "bad.csv", "--output", tmp_path / "out") == 1
    assert "was a number in training" in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {"model.zip", "bad.csv"}
