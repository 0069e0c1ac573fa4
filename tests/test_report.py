"""The page on a model: what it says, that it needs nothing else, and that notebooks show it."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.cli import main


class Reader(HTMLParser):
    """Cells and pictures of a page; every tag must be closed."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.cells, self.images, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes)["src"])
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in {"td", "th"}:
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in {"td", "th"}:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(0)
    X = random.normal(size=(300, 3))
    score = X[:, 0] + random.normal(size=300)
    names = np.array(["a <b> & c", "plain", "third"])[np.digitize(score, [-0.5, 0.5])]
    return pd.DataFrame(X, columns=["p", "q", "<r>"]).assign(kind=random.choice(["u", "v"], 300), y=names)


@pytest.fixture(scope="module")
def model(table):
    given = {"hidden": (8,), "epochs": 3, "random_state": 1, "stopping_rounds": 0}
    return DeepLearningClassifier(**given).fit(table, "y", eval_set=table.head(100))


def test_the_page_has_everything_in_one_file(model, tmp_path):
    model.report(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and "http" not in re.sub(r"data:image/png;base64,[^\"]*", "", text)
    page = Reader(text)
    assert len(page.images) == 1 and page.images[0].startswith("data:image/png;base64,iVBOR")
    assert "a <b> & c" in page.cells and "<r>" in page.cells  # escaped: read as text
    for words in ("classification, multinomial", "3.00 epochs", "epochs", "best logloss", "rmse", "u, v", "rectifier"):
        assert any(words in cell for cell in page.cells), words
    assert any("one thread" in part for part in page.text)
    assert "Confusion, training rows" in page.text and "Confusion, validation rows" in page.text


def test_the_confusion_matrix_is_that_of_the_scored_rows(model, table):
    matrix = np.array(model.model_.confusion["validation"])
    held = table.head(100)
    expected = pd.crosstab(held["y"], model.predict(held)).reindex(
        index=model.classes_, columns=model.classes_, fill_value=0
    )
    np.testing.assert_array_equal(matrix, expected)
    assert np.sum(model.model_.confusion["training"]) == 300


def test_numbers_have_no_confusion(table, tmp_path):
    model = DeepLearningRegressor(hidden=(4,), epochs=1).fit(table[["p", "q", "kind"]], "p")
    assert model.model_.confusion == {}
    model.report(tmp_path / "r.html")
    page = Reader((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "regression, gaussian" in page.cells and not any("Confusion" in part for part in page.text)


def test_a_notebook_shows_the_page_of_a_fitted_estimator(model):
    bundle = model._repr_mimebundle_()
    assert bundle["text/plain"] == repr(model)
    Reader(bundle["text/html"])
    assert "Confusion, training rows" in bundle["text/html"]
    assert "dask-dl" not in DeepLearningClassifier()._repr_mimebundle_().get("text/html", "")  # scikit-learn's own


def test_a_model_that_was_loaded_has_the_same_page(model, tmp_path):
    model.save(tmp_path / "m.zip")
    assert load(tmp_path / "m.zip").model_.html() == model.model_.html()


def test_without_matplotlib_the_page_says_what_is_missing(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert 'pip install "dask_dl[plots]"' in model.model_.html() or "pip install" in model.model_.html()
    Reader(model.model_.html())


def test_many_classes_have_no_matrix_and_the_page_says_so():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.normal(size=600), "y": [f"class {k % 60}" for k in range(600)]})
    model = DeepLearningClassifier(hidden=(4,), epochs=1).fit(table, "y")
    assert "60 classes: a confusion matrix is kept for 50 at most" in model.model_.html()


def test_many_columns_are_cut(tmp_path):
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 50)), columns=[f"column {k}" for k in range(50)])
    model = DeepLearningRegressor(hidden=(4,), epochs=1).fit(wide, "column 0")
    page = Reader(model.model_.html())
    assert "and 9 more" in page.cells


def test_the_command_line_writes_a_report(table, tmp_path, capsys):
    table.rename(columns={"<r>": "r"}).to_parquet(tmp_path / "t.parquet")
    given = ["--target", "y", "--model", str(tmp_path / "m.zip"), "--hidden", "4", "--epochs", "1"]
    assert main(["train", str(tmp_path / "t.parquet"), *given, "--report", str(tmp_path / "r.html")]) == 0
    assert f"report: {tmp_path / 'r.html'}" in capsys.readouterr().out
    Reader((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert main(["train", str(tmp_path / "t.parquet"), *given, "--report", str(tmp_path / "no" / "r.html")]) == 1
    assert "--report: nothing can be written" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "t.parquet"), *given, "--report", "memory://r.html"]) == 1
    assert "--report: not available for URLs" in capsys.readouterr().err
