"""The page on a model: what it says, that it needs nothing else, and that notebooks show it."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from show.pages import Reader
from tables import make_table

import dask_dl
from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.cli import main
from dask_dl.errors import DaskDLWarning
from dask_dl.show.progress import duration

DATA = Path(__file__).parents[1] / "data"


def test_the_page_has_everything_in_one_file(model, tmp_path):
    model.report(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and "http" not in text
    page = Reader(text)
    assert "svg" in page.tags and not page.tags & {"img", "script", "link"}
    assert "a <b> & c" in page.cells and "<r>" in page.cells  # escaped: read as text
    for words in ("classification, multinomial", "3.00 epochs", "epochs", "best logloss", "rmse", "u, v", "rectifier"):
        assert any(words in cell for cell in page.cells), words
    assert any("one thread" in part for part in page.text)
    assert "Confusion, training rows" in page.text and "Confusion, validation rows" in page.text


def test_the_confusion_matrix_is_that_of_the_scored_rows(model, table):
    matrix = np.array(model.model_.record.history.measured["validation"].confusion.matrix)
    held = table.head(100)
    expected = pd.crosstab(held["y"], model.predict(held)).reindex(
        index=model.classes_, columns=model.classes_, fill_value=0
    )
    np.testing.assert_array_equal(matrix, expected)
    assert np.sum(model.model_.record.history.measured["training"].confusion.matrix) == 300


def test_the_figures_come_first(model):
    found = Reader(model._repr_html_()).headings
    assert found == [
        "dask_dl classification model", "Metrics", "History", "Network and training", "Importances of columns", "Layers",
        "Confusion, training rows", "Confusion, validation rows", "Hit ratios, training rows",
        "Hit ratios, validation rows", "Columns", "Parameters",
    ]  # fmt: skip


def test_importances_and_layers_are_shown(model):
    html = model._repr_html_()
    assert 'aria-label="importances of columns"' in html
    row = Reader(html).row("2")  # of the table of layers
    assert row[:2] == [f"{model.layer_summary_['units'][2]:,}", "Rectifier"]
    assert "has exploded" not in html


def test_what_is_wrong_with_layers_is_said(model, table):
    begun = [np.full(weights.shape, 900.0) for weights in model.coefs_]
    exploded = DeepLearningClassifier(hidden=(8,), epochs=0, initial_weights=begun).fit(table, "y")
    assert "hidden layer 0 has exploded" in exploded._repr_html_()


def test_facts_of_the_training(model):
    page, last = Reader(model._repr_html_()), model.history_.iloc[-1]
    assert page.row("training table") == ["300 rows"] and page.row("validation table") == ["100 rows"]
    assert page.row("date") == [f"{last['timestamp']:%Y-%m-%d %H:%M:%S}"]
    assert page.row("duration") == [duration(last["duration"])]
    seconds = last["scoring_seconds"]
    assert page.row("scoring") == [f"{seconds:.3g} s, {seconds / last['duration']:.0%} of that time"]
    assert page.row("ended by") == ["epochs"]
    for version in (f"dask_dl {dask_dl.__version__}", f"numpy {np.__version__}", f"python {platform.python_version()}"):
        assert version in page.row("versions")[0].split(", ")


def test_rows_that_do_not_count_are_told_apart(table):
    holes = table.assign(y=table["y"].where(np.arange(300) >= 20), w=np.repeat([0.0, 1.0], 150))
    held = table.head(50).assign(w=1.0, y=["never seen", *table["y"][:49]])
    with pytest.warns(DaskDLWarning, match="1 rows of the validation table"):
        model = DeepLearningClassifier(hidden=(3,), epochs=1).fit(holes, "y", sample_weight="w", eval_set=held)
    page = Reader(model._repr_html_())
    assert page.row("training table") == ["300 rows, 150 of them trained on"]
    assert page.row("validation table") == ["50 rows, 49 of them scored"]
    balanced = DeepLearningClassifier(hidden=(3,), epochs=1, balance_classes=True, max_after_balance_size=3.0)
    page = Reader(balanced.fit(table, "y")._repr_html_())
    assert page.row("training table") == ["300 rows"] and page.row("rows of an epoch") != ["300"]


def test_parameters_that_were_changed_are_marked(table):
    given = {"hidden": (8,), "epochs": 3, "rho": 0.99, "random_state": 1, "initial_biases": [None, np.zeros(3)]}
    page = Reader(DeepLearningClassifier(**given).fit(table, "y")._repr_html_())
    marked = {name: cells for is_changed, (name, *cells) in zip(page.changed, page.rows, strict=True) if is_changed}
    assert marked == {"hidden": ["(8,)", "(200, 200)"], "epochs": ["3.0", "10.0"], "random_state": ["1", "None"]}
    assert page.row("rho") == ["0.99", ""] and page.row("loss") == ["cross_entropy", ""]  # automatic is not asked for
    facts = page.row("changed parameters")[0]
    assert facts == "hidden=(8,), initial_biases=<arrays>, epochs=3.0, random_state=1"
    page = Reader(DeepLearningClassifier().fit(table.head(30), "y")._repr_html_())
    assert page.row("changed parameters") == ["none"] and not any(page.changed)


@pytest.mark.parametrize("name", ["1-classifier", "1-regressor", "2-balanced", "2-hashed"])
def test_what_an_early_file_does_not_know_is_left_out(name):
    page = Reader(load(DATA / f"format-{name}.zip")._repr_html_())
    first = [row[0] for row in page.rows]
    assert not {"training table", "validation table", "versions"} & set(first)
    assert {"date", "duration", "network"} <= set(first)


def test_texts_of_the_user_stay_texts():
    hostile = "</td><script>alert(1)</script><b a='\">&amp;"
    table = pd.DataFrame({hostile: list("uvw") * 20, "x": [hostile, "b", hostile] * 20, "y": [hostile, "q", "r"] * 20})
    model = DeepLearningClassifier(hidden=(3,), epochs=1).fit(table, "y")
    text = model._repr_mimebundle_()["text/html"]
    page = Reader(text)
    assert not page.tags & {"script", "b"} and "<script" not in text
    assert page.cells.count(hostile) >= 2  # a column and a class


def test_criteria_and_gains_are_those_of_the_last_scoring():
    table = make_table(300)
    model = DeepLearningClassifier(hidden=(4,), epochs=2, random_state=1).fit(table, "label", eval_set=table[:99])
    read = Reader(model._repr_html_())
    for name, evaluation in model.metrics_.items():
        assert {f"Largest criteria, {name} rows", f"Gains and lift, {name} rows"} <= {*read.headings}
        best = evaluation.max_criteria().loc["max f1"]
        assert ["max f1", f"{best['threshold']:.6g}", f"{best['value']:.6g}", f"{best['idx']:,.0f}"] in read.rows


def test_numbers_have_no_confusion(table, tmp_path):
    model = DeepLearningRegressor(hidden=(4,), epochs=1).fit(table[["p", "q", "kind"]], "p")
    assert model.model_.record.history.measured["training"].confusion is None
    model.report(tmp_path / "r.html")
    page = Reader((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "regression, gaussian" in page.cells and not any("Confusion" in part for part in page.text)


def test_a_notebook_shows_the_page_of_a_fitted_estimator(model):
    bundle = model._repr_mimebundle_()
    assert bundle["text/plain"] == repr(model) and bundle["text/html"] == model._repr_html_()
    Reader(bundle["text/html"])
    assert "Confusion, training rows" in bundle["text/html"]
    fresh = DeepLearningClassifier()  # scikit-learn's own
    assert "dask-dl" not in fresh._repr_mimebundle_().get("text/html", "") + fresh._repr_html_()


def test_a_model_that_was_loaded_has_the_same_page(model, tmp_path):
    model.save(tmp_path / "m.zip")
    assert load(tmp_path / "m.zip")._repr_html_() == model._repr_html_()


def test_many_classes_have_no_matrix_and_the_page_says_so():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.normal(size=600), "y": [f"class {k % 60}" for k in range(600)]})
    model = DeepLearningClassifier(hidden=(4,), epochs=1).fit(table, "y")
    assert "60 classes: a confusion matrix is kept for 50 at most" in model._repr_html_()


def test_many_columns_are_cut(tmp_path):
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 50)), columns=[f"column {k}" for k in range(50)])
    model = DeepLearningRegressor(hidden=(4,), epochs=1).fit(wide, "column 0")
    page = Reader(model._repr_html_())
    assert "and 9 more" in page.cells


def test_the_command_line_writes_a_report(table, tmp_path, capsys):
    table.rename(columns={"<r>": "r"}).to_parquet(tmp_path / "t.parquet")
    given = ["--target", "y", "--model", str(tmp_path / "m.zip"), "--hidden", "4", "--epochs", "1", "--overwrite"]
    assert main(["train", str(tmp_path / "t.parquet"), *given, "--report", str(tmp_path / "r.html")]) == 0
    assert f"report: {tmp_path / 'r.html'}" in capsys.readouterr().out
    Reader((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert main(["train", str(tmp_path / "t.parquet"), *given, "--report", str(tmp_path / "no" / "r.html")]) == 1
    assert "--report: nothing can be written" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "t.parquet"), *given, "--report", "memory://r.html"]) == 1
    assert "--report: not available for URLs" in capsys.readouterr().err
