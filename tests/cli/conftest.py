"""Tables, and models of them, for the command line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cli.tables import QUICK, SMALL, ended, make_table, run

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, memory


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A table in several files, a classifier and a regressor."""
    folder = tmp_path_factory.mktemp("place")
    table = make_table(700)
    (folder / "parts").mkdir()
    for k in range(7):
        table.iloc[100 * k : 100 * k + 100].to_parquet(folder / "parts" / f"{k}.parquet")
    table.to_csv(folder / "t.csv", index=False)
    inputs = ["a", "who"]
    DeepLearningClassifier(**SMALL).fit(table[[*inputs, "label"]], "label").save(folder / "label.zip")
    DeepLearningRegressor(**SMALL).fit(table[[*inputs, "price"]], "price").save(folder / "price.zip")
    return folder


@pytest.fixture
def many_partitions(monkeypatch):
    """CSV is read in blocks of a few rows."""
    monkeypatch.setattr("dask_dl.frame.csv.MIN_BLOCK", 2000)
    monkeypatch.setattr("dask_dl.frame.csv.SAMPLE", 2000)
    limits = memory.PartitionLimits(8000, 2**30)
    monkeypatch.setattr("dask_dl.cluster.worker_memory.partition_limits", lambda client: limits)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table as CSV and as a folder of Parquet files, and a part of it to validate with."""
    place = tmp_path_factory.mktemp("tables")
    random = np.random.default_rng(0)
    n = 200
    table = pd.DataFrame(
        {"a": random.normal(size=n), "code": random.integers(0, 4, n), "who": random.choice(["me", "you"], n), "w": 1.0}
    )
    table["flag"] = (table["a"] > 0).astype(int)
    table["label"] = np.where(table["a"] > 0, "up", "down")
    table["price"] = 10 * table["a"] + table["code"]
    table.to_csv(place / "all.csv", index=False)
    (place / "parts").mkdir()
    for k in range(3):
        table.iloc[k * 70 : (k + 1) * 70].to_parquet(place / "parts" / f"{k}.parquet")
    table.tail(50).to_parquet(place / "valid.parquet")
    return place


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    """A table of codes that read as numbers, and a model of it."""
    place = tmp_path_factory.mktemp("codes")
    random = np.random.default_rng(0)
    codes = {"zip": ["02134", "2134", "10001"], "version": ["3.1", "3.10"], "big": [str(2**60), str(2**60 + 1)]}
    table = pd.DataFrame({name: random.choice(values, 120) for name, values in codes.items()})
    table["x"] = random.normal(size=120)
    table["label"] = np.where(table["zip"] == "02134", "01", "1")
    table.to_csv(place / "t.csv", index=False)
    arguments = ["--categorical", "zip,version,big,label", "--validation", place / "t.csv", *QUICK, "--quiet"]
    assert run("train", place / "t.csv", "--target", "label", *arguments, "--model", place / "model.zip") == 0
    return place, table


@pytest.fixture
def shown(capsys, monkeypatch):
    """The help of a command, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def help_of(command):
        code, out, _ = ended(capsys, command, "--help")
        assert code == 0
        return out

    return help_of
