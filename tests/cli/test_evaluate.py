"""What `dask-dl evaluate` prints and writes: the figures of `evaluate`, and those that `dask-dl predict` prints."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
import tables
from tables import UNSCORED

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.cli import main

SMALL = UNSCORED | {"hidden": (6,), "epochs": 3, "random_state": 1, "n_jobs": 1}
LABELS = {"two": ("7", "007"), "three": ("low", "mid", "high")}


def evaluate(*arguments):
    return main(["evaluate", *map(str, arguments)])


def figures(text):
    """Metrics as they are printed."""
    return dict(re.findall(r"^(\w+) +(-?[\d.e+-]+|nan)$", text, re.MULTILINE))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A table in several files, and models of it."""
    folder = tmp_path_factory.mktemp("place")
    table = tables.make_table(700, labels=LABELS["two"])
    table["three"] = tables.make_table(700, labels=LABELS["three"])["label"]
    (folder / "parts").mkdir()
    for k in range(7):
        table.iloc[100 * k : 100 * k + 100].to_parquet(folder / "parts" / f"{k}.parquet")
    table.to_csv(folder / "t.csv", index=False)
    for name, target in (("two", "label"), ("three", "three")):
        DeepLearningClassifier(**SMALL).fit(table[["a", "b", "level", target]], target).save(folder / f"{name}.zip")
    DeepLearningRegressor(**SMALL).fit(table[["a", "b", "level", "y"]], "y").save(folder / "number.zip")
    return folder, table


@pytest.mark.parametrize("data", ["parts", "t.csv"])
@pytest.mark.parametrize("name", ["two", "three", "number"])
def test_figures_are_those_of_evaluate_and_of_predict(place, tmp_path, capsys, name, data):
    folder, table = place
    common = [folder / f"{name}.zip", folder / data, "--weights", "w"]
    assert evaluate(*common, "--json", tmp_path / "worth.json") == 0
    printed = capsys.readouterr().out
    assert main(["predict", *map(str, common), "--output", str(tmp_path / "o.csv")]) == 0
    predicted = capsys.readouterr().out
    head = re.search(r"^metrics of (\d+) rows by ", printed, re.MULTILINE)
    assert int(head[1]) == np.count_nonzero(table["w"])
    assert printed[head.start() :].partition("\n\nJSON: ")[0] == predicted[predicted.index(head[0]) :].rstrip()
    model = load(folder / f"{name}.zip")
    expected = model.evaluate(table, sample_weight="w")
    assert {*figures(printed)} == {*expected}
    for metric, value in figures(printed).items():
        assert float(value) == pytest.approx(expected[metric], rel=1e-4, nan_ok=True), metric
    written = json.loads((tmp_path / "worth.json").read_text())
    assert written["rows"] == np.count_nonzero(table["w"]) and written["kind"] == expected.kind
    for metric, value in expected.items():
        assert written["metrics"][metric] == (None if np.isnan(value) else pytest.approx(value, rel=1e-6)), metric


def test_two_classes_are_told_with_the_largest_f1(place, tmp_path, capsys):
    folder, table = place
    assert evaluate(folder / "two.zip", folder / "parts", "--target", "label", "--json", tmp_path / "j.json") == 0
    best = load(folder / "two.zip").evaluate(table, "label").max_criteria().loc["max f1"]
    found = re.search(
        r"^largest F1 (\S+), where '7' is predicted from (\S+) on$", capsys.readouterr().out, re.MULTILINE
    )
    assert [float(text) for text in found.groups()] == pytest.approx([best["value"], best["threshold"]], rel=1e-5)
    written = json.loads((tmp_path / "j.json").read_text())
    assert written["largest_f1"] == pytest.approx({"f1": best["value"], "threshold": best["threshold"]})
    assert written["classes"] == ["007", "7"]


def test_a_confusion_matrix_is_told_of_ten_classes_at_most(place, tmp_path, capsys):
    folder, table = place
    load(folder / "two.zip").set_threshold(0.8).save(tmp_path / "wary.zip")
    for model in (folder / "three.zip", folder / "two.zip", tmp_path / "wary.zip"):
        assert evaluate(model, folder / "parts") == 0
        printed = capsys.readouterr().out
        matrix = load(model).evaluate(table).confusion_matrix()
        lines = printed.partition("rows by class (down) and prediction (across)\n")[2].splitlines()
        assert lines[0].split() == [*matrix.columns, "error"]
        for line, label in zip(lines[1:], matrix.index, strict=True):
            row = matrix.loc[label]
            assert line.split() == [label, *map(str, row), f"{1 - row[label] / row.sum():.2%}"]
        wrong = matrix.to_numpy().sum() - np.trace(matrix)
        assert float(figures(printed)["misclassification"]) == pytest.approx(wrong / 700, rel=1e-5)
    many = pd.DataFrame({"a": np.arange(110) % 11 / 11.0, "c": [f"c{k % 11:02}" for k in range(110)]})
    many.to_csv(tmp_path / "many.csv", index=False)
    DeepLearningClassifier(**SMALL).fit(many, "c").save(tmp_path / "many.zip")
    assert evaluate(tmp_path / "many.zip", tmp_path / "many.csv") == 0
    printed = capsys.readouterr().out
    assert "hit_ratio_10" in printed and "rows by class" not in printed


def test_a_report_is_a_page_on_the_table(place, tmp_path, capsys):
    folder, _ = place
    for _ in range(2):  # a report is replaced, as that of a training is
        assert evaluate(folder / "two.zip", folder / "t.csv", "--report", tmp_path / "r.html") == 0
    assert f"report: {tmp_path / 'r.html'}" in capsys.readouterr().out
    page = (tmp_path / "r.html").read_text()
    assert page.startswith("<!doctype html>") and f"Evaluation on {folder / 't.csv'}" in page
    assert "Gains and lift" in page and "Largest criteria" in page


def test_labels_beyond_the_types_of_csv_stay_apart(place, capsys):
    folder, table = place
    assert evaluate(folder / "two.zip", folder / "t.csv") == 0
    lines = capsys.readouterr().out.partition("(across)\n")[2].splitlines()
    rows = {line.split()[0]: line.split()[1:3] for line in lines[1:]}
    assert {label: sum(map(int, counts)) for label, counts in rows.items()} == table["label"].value_counts().to_dict()


def test_offsets_weights_and_another_name_of_the_target(tmp_path, capsys):
    table = tables.make_table(200)[["a", "w", "y"]].assign(o=lambda t: t["a"] / 2)
    model = DeepLearningRegressor(**SMALL).fit(table[["a", "o", "y"]], "y", offset="o")
    model.save(tmp_path / "m.zip")
    table.rename(columns={"o": "shift", "y": "truth"}).to_csv(tmp_path / "t.csv", index=False)
    common = [tmp_path / "m.zip", tmp_path / "t.csv"]
    assert evaluate(*common, "--target", "truth") == 1
    assert "--offset: the model was trained with offsets" in capsys.readouterr().err
    assert evaluate(*common, "--target", "truth", "--offset", "shift", "--weights", "w") == 0
    expected = model.evaluate(table, "y", sample_weight="w")
    assert float(figures(capsys.readouterr().out)["mae"]) == pytest.approx(expected["mae"], rel=1e-5)


MISTAKES = {
    "no such column": (["--target", "costs"], "has no columns ['costs']"),
    "ignored": (["--ignore", "label"], "--target: {data} has no column 'label'; name the one that holds the truth"),
    "no such folder": (["--report", "{folder}/none/r.html"], "--report: nothing can be written to the folder"),
    "what is read": (["--json", "{data}"], "--json: {data} is {data}, another file of this command"),
    "the model": (["--report", "{folder}/two.zip"], "--report: {folder}/two.zip is {folder}/two.zip, another"),
    "twice": (["--report", "{folder}/r", "--json", "{folder}/r"], "--json: {folder}/r is {folder}/r, another"),
    "a URL": (["--report", "memory://r.html"], "--report: not available for URLs"),
}


@pytest.mark.parametrize(("options", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_before_the_pass(place, capsys, monkeypatch, options, message):
    folder, _ = place
    monkeypatch.setattr("dask_dl.evaluation.reduce_partitions", lambda *_: pytest.fail("the pass has begun"))
    names = {"folder": folder, "data": folder / "t.csv"}
    assert evaluate(folder / "two.zip", folder / "t.csv", *(option.format(**names) for option in options)) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("dask-dl: ") and message.format(**names) in captured.err
    assert captured.out == ""


def test_a_model_that_knows_no_target_asks_for_it(place, tmp_path, capsys):
    folder, table = place
    DeepLearningRegressor(**SMALL).fit(table[["a"]], table["y"]).save(tmp_path / "m.zip")
    assert evaluate(tmp_path / "m.zip", folder / "t.csv") == 1
    assert "--target: the model does not know which column it was trained on" in capsys.readouterr().err
    assert evaluate(tmp_path / "m.zip", folder / "t.csv", "--target", "y", "--quiet") == 0
    assert capsys.readouterr().out == ""


def test_a_target_that_cannot_be_measured_is_an_error(place, tmp_path, capsys):
    folder, table = place
    table.assign(y="?").to_csv(tmp_path / "t.csv", index=False)
    assert evaluate(folder / "number.zip", tmp_path / "t.csv") == 1
    assert "not numbers" in capsys.readouterr().err


@pytest.mark.slow
# Another cluster of this machine may have the port of the dashboard, and distributed leaves the socket to the collector.
@pytest.mark.filterwarnings("ignore:Port 8787 is already in use", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_workers_measure_where_the_rows_lie(place, capsys):
    folder, _ = place
    common = [folder / "two.zip", folder / "parts"]
    assert evaluate(*common) == 0
    here = figures(capsys.readouterr().out)
    assert evaluate(*common, "--workers", "2") == 0
    assert figures(capsys.readouterr().out) == here
