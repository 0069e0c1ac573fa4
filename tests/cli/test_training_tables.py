"""Training and validation tables: columns of the options, categories as in training, partitions that fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cli.tables import QUICK, run

from dask_dl import load, memory
from dask_dl.frame.parquet import RowGroups


def test_numbers_make_a_regressor_and_categorical_ones_a_classifier(folder, tmp_path, capsys):
    common = [folder / "all.csv", *QUICK, "--model", tmp_path / "model.zip", "--overwrite", "--quiet"]
    assert run("train", *common, "--target", "price", "--weights", "w", "--offset", "a") == 0
    assert load(tmp_path / "model.zip").predict(pd.read_csv(folder / "all.csv")).dtype == np.float64
    assert run("train", *common, "--target", "flag", "--categorical", "flag,code") == 0
    model = load(tmp_path / "model.zip")
    assert model.classes_.tolist() == ["0", "1"]
    assert [c.name for c in model.encoder_.categories] == ["code", "who", "label"]
    assert run("predict", tmp_path / "model.zip", folder / "all.csv", "--output", tmp_path / "out", "--quiet") == 0
    assert [*pd.read_parquet(tmp_path / "out")] == ["predict", "p0", "p1"]
    assert capsys.readouterr().out == ""


def test_codes_stay_apart_in_levels_and_classes(coded):
    place, table = coded
    model = load(place / "model.zip")
    levels = {category.name: set(category.levels) for category in model.encoder_.categories}
    assert levels == {name: set(table[name]) for name in ("zip", "version", "big", "label") if name != "label"}
    assert model.classes_.tolist() == ["01", "1"]
    assert "validation_logloss" in model.history_


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_with_other_columns_are_named_by_every_command(folder, tmp_path, capsys, kind):
    table = pd.read_csv(folder / "all.csv")[["a", "code", "price"]]
    (tmp_path / "t").mkdir()
    for k, part in enumerate((table, table.rename(columns={"a": "b"}))):
        getattr(part, f"to_{kind}")(tmp_path / "t" / f"{k}.{kind}", index=False)
    good, model = tmp_path / "t" / f"0.{kind}", tmp_path / "model.zip"
    train = ["--target", "price", *QUICK, "--model", model, "--overwrite", "--quiet"]
    assert run("train", good, *train) == 0
    for command in (
        ["train", tmp_path / "t", *train],
        ["train", good, *train, "--validation", tmp_path / "t"],
        ["predict", model, tmp_path / "t", "--output", tmp_path / "out"],
    ):
        assert run(*command) == 1
        assert f"1.{kind} lacks 'a'" in capsys.readouterr().err
    assert run("train", tmp_path / "t", *train, "--columns", "code") == 0


def test_paths_are_cut_to_what_a_worker_can_read(folder, tmp_path, capsys, monkeypatch):
    # The command line asks with the client that trains; a row group of some kilobytes is then cut.
    asked, n_read = [], []
    limits = memory.PartitionLimits(2000, 2000)
    monkeypatch.setattr(
        "dask_dl.cluster.worker_memory.partition_limits", lambda client, n_readers: asked.append(client) or limits
    )
    read = RowGroups.read
    monkeypatch.setattr(RowGroups, "read", lambda self, columns: n_read.append(self.n_rows) or read(self, columns))
    arguments = ["--target", "price", *QUICK, "--model", tmp_path / "model.zip", "--overwrite", "--quiet"]
    assert run("train", folder / "parts", *arguments) == 0
    assert max(n_read) * 16 <= limits.target
    assert run("train", folder / "all.csv", *arguments, "--validation", folder / "all.csv") == 0
    assert asked == [None, None]
