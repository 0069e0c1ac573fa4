"""What `dask-dl explain` prints and writes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tables
from tables import UNSCORED

from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.cli import main

SMALL = UNSCORED | {"hidden": (6,), "epochs": 3, "random_state": 1, "n_jobs": 1}


def explain(*arguments):
    return main(["explain", *map(str, arguments)])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A table in several files, and models of it."""
    folder = tmp_path_factory.mktemp("place")
    table = tables.make_table(600)
    (folder / "parts").mkdir()
    for k in range(3):
        table.iloc[200 * k : 200 * k + 200].to_parquet(folder / "parts" / f"{k}.parquet")
    DeepLearningClassifier(**SMALL).fit(table[["a", "b", "level", "label"]], "label").save(folder / "class.zip")
    DeepLearningRegressor(**SMALL).fit(table[["a", "b", "level", "y"]], "y").save(folder / "number.zip")
    DeepLearningAutoEncoder(**SMALL).fit(table[["a", "b"]]).save(folder / "auto.zip")
    return folder, table


def test_the_lines_are_those_of_the_methods(place, tmp_path, capsys):
    folder, table = place
    assert explain(folder / "number.zip", folder / "parts", "--report", tmp_path / "why.html", "--repeats", 2) == 0
    printed = capsys.readouterr().out
    model = load(folder / "number.zip")
    worth = model.permutation_importance(table, n_repeats=2, columns=list(model.importances().index))
    assert f"\ndeviance {worth.attrs['value']:.6g}; worse without\n" in printed
    for name, value in worth["importance"].items():
        (line,) = [line for line in printed.splitlines() if line.startswith(f"{name} ") and "+-" in line]
        assert float(line.split()[1]) == pytest.approx(value, rel=1e-4)
    assert "mean size of contributions" in printed and "share of the importance, by the weights" in printed
    assert f"report: {tmp_path / 'why.html'}" in printed
    assert "What the columns are worth" in (tmp_path / "why.html").read_text("utf-8")


def test_contributions_of_every_row_are_written(place, tmp_path, capsys):
    folder, table = place
    out = tmp_path / "why.parquet"
    assert explain(folder / "class.zip", folder / "parts", "--contributions", out, "--keep", "a,label") == 0
    written = pd.read_parquet(out)
    assert list(written.columns) == ["a", "label", "pa", "b", "level", "BiasTerm"]
    assert written["label"].tolist() == table["label"].tolist()
    assert "(600 rows, " in capsys.readouterr().out
    margins = written.drop(columns=["a", "label"]).sum(axis=1)
    probabilities = load(folder / "class.zip").predict_proba(table)
    np.testing.assert_allclose(margins, np.log(probabilities[:, 1] / probabilities[:, 0]), atol=1e-3)
    assert explain(folder / "class.zip", folder / "parts", "--contributions", out) == 1
    assert "add --overwrite" in capsys.readouterr().err


def test_a_table_without_the_target_is_explained_without_it(place, tmp_path, capsys):
    folder, table = place
    table[["a", "b", "level"]].to_csv(tmp_path / "x.csv", index=False)
    assert explain(folder / "number.zip", tmp_path / "x.csv", "--columns", "a") == 0
    printed = capsys.readouterr().out
    assert "worse without" not in printed and "mean size of contributions" in printed


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("auto.zip", [], "is an autoencoder, whose answers are its inputs"),
        ("number.zip", ["--columns", "q"], "no column 'q'"),
        ("number.zip", ["--metric", "auc"], "metric='auc'"),
        ("number.zip", ["--target", "q"], "no columns ['q']"),
        ("number.zip", ["--keep", "a"], "--keep: columns are kept beside --contributions"),
        ("number.zip", ["--repeats", "0"], "--repeats: 0 is less than 1"),
        ("number.zip", ["--report", "s3://bucket/why.html"], "--report: not available for URLs"),
        ("number.zip", ["--report", "nowhere/why.html"], "nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_words(place, capsys, model, options, message):
    folder, _ = place
    assert explain(folder / model, folder / "parts", *options) == 1
    assert message in capsys.readouterr().err
