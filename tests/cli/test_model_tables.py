"""Tables that a model answers to: target, offsets and categories are found and read as in training."""

from __future__ import annotations

import numpy as np
import pandas as pd
from cli.tables import QUICK, SMALL, make_table, predict, run

from dask_dl import DeepLearningRegressor, load


def test_the_target_is_found_by_its_name_or_as_it_is_said(place, tmp_path, capsys):
    table = make_table(60)
    table.drop(columns="price").to_parquet(tmp_path / "t.parquet")
    table.rename(columns={"price": "cost"}).to_parquet(tmp_path / "u.parquet")
    common = [place / "price.zip", tmp_path / "u.parquet", "--output", tmp_path / "o", "--overwrite"]
    assert predict(place / "price.zip", tmp_path / "t.parquet", "--output", tmp_path / "o") == 0
    assert predict(*common) == 0
    assert predict(place / "price.zip", place / "t.csv", "--ignore", "price", *common[2:]) == 0
    assert "metrics" not in capsys.readouterr().out
    assert predict(*common, "--target", "cost") == 0
    assert "metrics of 60 rows by 'cost'" in capsys.readouterr().out
    assert predict(*common, "--target", "costs") == 1
    assert "no columns ['costs']" in capsys.readouterr().err


def test_offsets_are_read_by_their_name(tmp_path, capsys):
    table = make_table(80)[["a", "w", "price"]]
    model = DeepLearningRegressor(**SMALL).fit(table, "price", offset="w")
    model.save(tmp_path / "m.zip")
    table.to_csv(tmp_path / "t.csv", index=False)
    assert predict(tmp_path / "m.zip", tmp_path / "t.csv", "--output", tmp_path / "o.csv") == 0
    np.testing.assert_allclose(pd.read_csv(tmp_path / "o.csv")["predict"], model.predict(table), rtol=1e-12)
    table.rename(columns={"w": "known"}).to_csv(tmp_path / "u.csv", index=False)
    common = [tmp_path / "m.zip", tmp_path / "u.csv", "--output", tmp_path / "o.csv", "--overwrite"]
    assert predict(*common) == 1
    assert "trained with offsets" in capsys.readouterr().err
    assert predict(*common, "--offset", "known") == 0
    np.testing.assert_allclose(pd.read_csv(tmp_path / "o.csv")["predict"], model.predict(table), rtol=1e-12)


def test_whole_numbers_are_kept_exactly(folder, tmp_path):
    model = tmp_path / "model.zip"
    run("train", folder / "all.csv", "--target", "label", "--columns", "a", *QUICK, "--model", model, "--quiet")
    ids = 2**53 + 1 + np.arange(20)
    pd.DataFrame({"id": ids, "a": 0.5}).to_csv(tmp_path / "ids.csv", index=False)
    assert run("predict", model, tmp_path / "ids.csv", "--output", tmp_path / "out", "--keep", "id", "--quiet") == 0
    assert pd.read_parquet(tmp_path / "out")["id"].tolist() == ids.tolist()


def test_prediction_reads_categories_as_the_model_knows_them(coded, tmp_path):
    place, table = coded
    keep = ["zip", "version", "big", "x", "label"]
    # In this part every zip is a number without leading zeros.
    part = table[table["zip"] != "02134"].reset_index(drop=True)
    part.to_csv(tmp_path / "part.csv", index=False)
    arguments = ["--output", tmp_path / "out", "--keep", ",".join(keep), "--quiet"]
    assert run("predict", place / "model.zip", tmp_path / "part.csv", *arguments) == 0
    found = pd.read_parquet(tmp_path / "out")
    assert found["predict"].tolist() == load(place / "model.zip").predict(part).tolist()
    assert found["version"].tolist() == part["version"].tolist()
    assert found["big"].tolist() == part["big"].tolist()
    assert found["zip"].tolist() == [int(text) for text in part["zip"]]  # as numbers they are the same
    assert found["x"].tolist() == part["x"].tolist()


def test_kept_values_further_down_decide_how_all_are_written(coded, tmp_path, monkeypatch):
    place, table = coded
    monkeypatch.setattr("dask_dl.frame.csv.SAMPLE", 256)
    ids = [*range(1, 120), "007"]
    table.assign(id=ids).to_csv(tmp_path / "t.csv", index=False)
    arguments = ["--output", tmp_path / "out", "--keep", "id", "--quiet"]
    assert run("predict", place / "model.zip", tmp_path / "t.csv", *arguments) == 0
    assert pd.read_parquet(tmp_path / "out")["id"].tolist() == [str(value) for value in ids]
    assert {path.name for path in tmp_path.iterdir()} == {"t.csv", "out"}
