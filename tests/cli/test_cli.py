"""The command line, as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fsspec
import pandas as pd
import pytest
from cli.tables import QUICK, run

from dask_dl import __version__, load


@pytest.mark.parametrize("data", ["all.csv", "parts", "parts/*.parquet"])
def test_train_then_predict(folder, tmp_path, capsys, data):
    model, out = tmp_path / "model.zip", tmp_path / "out"
    columns = ["--columns", "a,code,who", "--target", "label", "--validation", folder / "valid.parquet"]
    if data.endswith("csv"):
        columns[-1] = folder / "all.csv"
    assert run("train", folder / data, *columns, *QUICK, "--model", model) == 0
    printed = capsys.readouterr().out
    for part in ("classes of 'label'", "memory: at most", "valid logloss", "classification_error", f"model: {model}"):
        assert part in printed
    assert load(model).encoder_.columns == ("who", "a", "code")
    assert run("predict", model, folder / data, "--output", out, "--keep", "label,a") == 0
    answers = pd.read_parquet(out)
    assert [*answers] == ["label", "a", "predict", "down", "up"]
    assert len(answers) == 200
    expected = load(model).predict(pd.read_csv(folder / "all.csv"))
    assert answers["predict"].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere.csv", "--target", "y", "--model", "m"], "nowhere.csv: no such file"),
        (["train", "all.csv", "--target", "labl", "--model", "m"], "has no column 'labl'"),
        (
            ["train", "all.csv", "--target", "label", "--model", "no/such/m"],
            "nothing can be written to the folder 'no/such'",
        ),
        (["train", "all.csv", "--target", "label", "--model", "."], "'.' is not the name of a file"),
        (["train", "all.csv", "--target", "label", "--model", "/dev/null"], "is not the name of a file"),
        (["train", "all.csv", "--target", "label", "--model", "m", "--plot", "h.xyz"], "'h.xyz' ends in none of"),
        (["predict", "nothing.zip", "all.csv", "--output", "abc://b/o"], "--output: abc://b/o cannot be used"),
        (["predict", "nothing.zip", "all.csv", "--output", "o.csv.bz2"], "neither a .csv or .csv.gz file nor a folder"),
        (["predict", "nothing.zip", "all.csv", "--output", "no/such/o.csv"], "nothing can be written to the folder"),
        (["train", "all.csv", "--target", "label", "--model", "abc://m"], "--model: abc://m cannot be used"),
        (["train", "all.csv", "--target", "label", "--model", "m", "--rho", "2", "--l1", "-1"], "2 mistakes"),
        (
            ["train", "all.csv", "--target", "label", "--model", "m", "--sparsity-beta", "0.1"],
            "sparsity is for autoencoders",
        ),
        (["train", "all.csv", "--target", "label", "--model", "m", "--columns", "a,q"], "no columns ['q']"),
        (["predict", "all.csv", "all.csv", "--output", "o"], "is not a zip archive"),
        (["predict", "nothing.zip", "all.csv", "--output", "o"], "nothing.zip"),
    ],
)
def test_mistakes_are_told_in_one_line_and_nothing_is_written(
    folder, tmp_path, monkeypatch, capsys, arguments, message
):
    (tmp_path / "all.csv").symlink_to(folder / "all.csv")
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 1
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.startswith("dask-dl: ")
    assert {p.name for p in tmp_path.iterdir()} == {"all.csv"}


def test_console_script_is_installed():
    command = [Path(sys.executable).with_name("dask-dl"), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == f"dask-dl {__version__}"


def test_tables_and_models_at_urls(folder, tmp_path, capsys):
    there = fsspec.filesystem("memory")
    there.pipe(
        {f"/urls/{name}": (folder / name).read_bytes() for name in ("all.csv", "parts/0.parquet", "parts/1.parquet")}
    )
    model, common = "memory://urls/model.zip", ["--overwrite", "--quiet"]
    try:
        for data, held in (
            ("memory://urls/all.csv", "memory://urls/*.csv"),
            ("memory://urls/parts", f"file://{folder}/valid.parquet"),
        ):
            assert run("train", data, "--target", "label", "--validation", held, *QUICK, "--model", model, *common) == 0
            assert run("predict", model, data, "--output", tmp_path / "out", *common) == 0
            assert len(pd.read_parquet(tmp_path / "out")) == (200 if data.endswith("csv") else 140)
        assert run("train", "memory://nowhere", "--target", "label", "--model", "memory://m") == 1
        assert "memory://nowhere: no such file" in capsys.readouterr().err
        assert run("predict", model, f"file://{tmp_path}/out", "--output", tmp_path / "out", "--overwrite") == 1
        assert "which is read" in capsys.readouterr().err
    finally:
        there.rm("/urls", recursive=True)


RAW = {
    "titanic": ("titanic.csv", [], "survived", ["name", "ticket", "cabin", "home.dest"], 1309),
    "weather": ("weather.csv", [], "RainTomorrow", ["Date", "ChangeWindDirect"], 355),
    "airlines": ("airlines_2k.zip", ["--encoding", "latin-1"], "IsDepDelayed", ["TailNum", "Origin", "Dest"], 43_978),
}


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", RAW)
def test_raw_tables_train_without_other_options(data_folder, tmp_path, capsys, name):
    file, encoding, target, texts, n = RAW[name]
    model, out = tmp_path / "model.zip", tmp_path / "out"
    # One epoch, for what is of interest is how columns are read.
    arguments = ["--target", target, "--epochs", "1", "--model", model]
    assert run("train", data_folder / file, *encoding, *arguments) == 0
    printed = capsys.readouterr().out
    assert f"of '{target}' from" in printed and f"model: {model}" in printed
    encoder = load(model).encoder_
    assert set(texts) <= {category.name for category in encoder.categories}
    assert run("predict", model, data_folder / file, *encoding, "--output", out, "--keep", target, "--quiet") == 0
    answers = pd.read_parquet(out)
    assert len(answers) == n
    assert answers["predict"].notna().all()


@pytest.mark.data
def test_real_tables_train_from_the_command_line(data_folder, tmp_path):
    common = [*QUICK, "--model", tmp_path / "model.zip", "--overwrite", "--quiet"]
    assert run("train", data_folder / "iris.csv", "--target", "class", *common) == 0
    assert run("train", data_folder / "cal_housing.csv", "--target", "medianHouseValue", *common) == 0
    arguments = ["--target", "CAPSULE", "--categorical", "CAPSULE,RACE,DPROS,DCAPS", *common]
    assert run("train", data_folder / "prostate.csv", *arguments) == 0
