"""The command line, as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest

from dask_dl import __version__, load, memory
from dask_dl.cli import main
from dask_dl.frame.parquet import RowGroups

SMALL = ["--hidden", "6,4", "--epochs", "2", "--random-state", "1"]


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


def run(*arguments):
    return main([str(a) for a in arguments])


@pytest.mark.parametrize("data", ["all.csv", "parts", "parts/*.parquet"])
def test_train_then_predict(folder, tmp_path, capsys, data):
    model, out = tmp_path / "model.zip", tmp_path / "out"
    columns = ["--columns", "a,code,who", "--target", "label", "--validation", folder / "valid.parquet"]
    if data.endswith("csv"):
        columns[-1] = folder / "all.csv"
    assert run("train", folder / data, *columns, *SMALL, "--model", model) == 0
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


def test_numbers_make_a_regressor_and_categorical_ones_a_classifier(folder, tmp_path, capsys):
    common = [folder / "all.csv", *SMALL, "--model", tmp_path / "model.zip", "--overwrite", "--quiet"]
    assert run("train", *common, "--target", "price", "--weights", "w", "--offset", "a") == 0
    assert load(tmp_path / "model.zip").predict(pd.read_csv(folder / "all.csv")).dtype == np.float64
    assert run("train", *common, "--target", "flag", "--categorical", "flag,code") == 0
    model = load(tmp_path / "model.zip")
    assert model.classes_.tolist() == ["0", "1"]
    assert [c.name for c in model.encoder_.categories] == ["code", "who", "label"]
    assert run("predict", tmp_path / "model.zip", folder / "all.csv", "--output", tmp_path / "out", "--quiet") == 0
    assert [*pd.read_parquet(tmp_path / "out")] == ["predict", "p0", "p1"]
    assert capsys.readouterr().out == ""


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


@pytest.mark.parametrize("place", ["model.zip", "memory://kept/model.zip"])
def test_a_model_is_not_replaced_unless_told(folder, tmp_path, monkeypatch, capsys, place):
    monkeypatch.chdir(tmp_path)
    there = fsspec.filesystem("memory")
    common = ["train", folder / "all.csv", "--target", "label", *SMALL, "--quiet", "--model", place]
    try:
        assert run(*common) == 0
        with fsspec.open(place) as file:
            first = file.read()
        for options in ([], ["--checkpoint-dir", "state", "--resume"]):
            with monkeypatch.context() as patch:
                patch.setattr("dask_dl.cli.train.open_tables", lambda *_: pytest.fail("work was begun"))
                assert run(*common, *options) == 1
            assert f"--model: {place} exists; name another file, or add --overwrite" in capsys.readouterr().err
        with fsspec.open(place) as file:
            assert file.read() == first
        assert run(*common, "--epochs", "3", "--overwrite") == 0
        assert load(place).parameters_["epochs"] == 3
        assert not Path("state").exists()
    finally:
        if there.exists("/kept"):
            there.rm("/kept", recursive=True)


def test_predictions_do_not_overwrite_unless_told(folder, tmp_path, capsys):
    model, out = tmp_path / "model.zip", tmp_path / "out"
    run("train", folder / "all.csv", "--target", "label", *SMALL, "--model", model, "--quiet")
    out.mkdir()
    (out / "precious").touch()
    for options, message in ((), "exists"), (("--overwrite",), "holds other things than predictions"):
        assert run("predict", model, folder / "all.csv", "--output", out, *options) == 1
        assert message in capsys.readouterr().err and (out / "precious").exists()
    (out / "precious").unlink()
    for _ in range(2):
        assert run("predict", model, folder / "all.csv", "--output", out, "--overwrite") == 0
        assert len(pd.read_parquet(out)) == 200
    assert run("predict", model, out, "--output", out, "--overwrite") == 1
    assert "which is read" in capsys.readouterr().err and len(pd.read_parquet(out)) == 200


def test_whole_numbers_are_kept_exactly(folder, tmp_path):
    model = tmp_path / "model.zip"
    run("train", folder / "all.csv", "--target", "label", "--columns", "a", *SMALL, "--model", model, "--quiet")
    ids = 2**53 + 1 + np.arange(20)
    pd.DataFrame({"id": ids, "a": 0.5}).to_csv(tmp_path / "ids.csv", index=False)
    assert run("predict", model, tmp_path / "ids.csv", "--output", tmp_path / "out", "--keep", "id", "--quiet") == 0
    assert pd.read_parquet(tmp_path / "out")["id"].tolist() == ids.tolist()


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
    arguments = ["--categorical", "zip,version,big,label", "--validation", place / "t.csv", *SMALL, "--quiet"]
    assert run("train", place / "t.csv", "--target", "label", *arguments, "--model", place / "model.zip") == 0
    return place, table


def test_codes_stay_apart_in_levels_and_classes(coded):
    place, table = coded
    model = load(place / "model.zip")
    levels = {category.name: set(category.levels) for category in model.encoder_.categories}
    assert levels == {name: set(table[name]) for name in ("zip", "version", "big", "label") if name != "label"}
    assert model.classes_.tolist() == ["01", "1"]
    assert "validation_logloss" in model.history_


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


def test_a_class_that_is_called_as_a_kept_column_has_another_name(folder, tmp_path, capsys):
    model = tmp_path / "model.zip"
    run("train", folder / "all.csv", "--target", "label", "--columns", "a", *SMALL, "--model", model, "--quiet")
    pd.read_csv(folder / "all.csv").rename(columns={"code": "down"}).to_csv(tmp_path / "t.csv", index=False)
    arguments = ["predict", model, tmp_path / "t.csv", "--output", tmp_path / "out", "--quiet"]
    assert run(*arguments, "--keep", "down") == 0
    assert [*pd.read_parquet(tmp_path / "out")] == ["down", "predict", "pdown", "up"]
    assert run(*arguments, "--keep", "predict", "--overwrite") == 1
    assert "'predict' is the name of the answer" in capsys.readouterr().err


def test_options_of_csv_files(tmp_path, capsys):
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.normal(size=60), "note": "x", "b": random.normal(size=60)})
    table["y"] = table["a"] + table["b"]
    table.to_csv(tmp_path / "t.csv", index=False, header=False, sep="\t", decimal=",")
    table.to_csv(tmp_path / "held.csv", index=False, header=False, sep="\t", decimal=",")
    model, out = tmp_path / "model.zip", tmp_path / "out"
    form = ["--no-header", "--names", "a,note,b,y", "--sep", r"\t", "--decimal", ",", "--ignore", "note", "--quiet"]
    held = ["--validation", tmp_path / "held.csv"]
    assert run("train", tmp_path / "t.csv", "--target", "y", *form, *held, *SMALL, "--model", model) == 0
    assert load(model).encoder_.columns == ("a", "b")
    assert run("predict", model, tmp_path / "t.csv", *form, "--output", out) == 0
    np.testing.assert_allclose(pd.read_parquet(out)["predict"], load(model).predict(table[["a", "b"]]), rtol=1e-6)
    assert run("train", tmp_path / "t.csv", "--target", "y", "--ignore", "y", "--model", tmp_path / "m") == 1
    assert "--ignore: ['y'] cannot be left out" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_with_other_columns_are_named_by_every_command(folder, tmp_path, capsys, kind):
    table = pd.read_csv(folder / "all.csv")[["a", "code", "price"]]
    (tmp_path / "t").mkdir()
    for k, part in enumerate((table, table.rename(columns={"a": "b"}))):
        getattr(part, f"to_{kind}")(tmp_path / "t" / f"{k}.{kind}", index=False)
    good, model = tmp_path / "t" / f"0.{kind}", tmp_path / "model.zip"
    train = ["--target", "price", *SMALL, "--model", model, "--overwrite", "--quiet"]
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
    arguments = ["--target", "price", *SMALL, "--model", tmp_path / "model.zip", "--overwrite", "--quiet"]
    assert run("train", folder / "parts", *arguments) == 0
    assert max(n_read) * 16 <= limits.target
    assert run("train", folder / "all.csv", *arguments, "--validation", folder / "all.csv") == 0
    assert asked == [None, None]


def test_failed_predictions_leave_nothing(folder, tmp_path, capsys):
    model = tmp_path / "model.zip"
    run("train", folder / "all.csv", "--target", "price", "--columns", "a,code", *SMALL, "--model", model, "--quiet")
    pd.DataFrame({"a": ["x", "y"]}).to_csv(tmp_path / "bad.csv", index=False)
    assert run("predict", model, tmp_path / "bad.csv", "--output", tmp_path / "out") == 1
    assert "was a number in training" in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {"model.zip", "bad.csv"}


def test_picture_of_the_history(folder, tmp_path):
    pytest.importorskip("matplotlib")
    arguments = ["--target", "label", *SMALL, "--model", tmp_path / "m", "--plot", tmp_path / "h.png", "--quiet"]
    assert run("train", folder / "all.csv", *arguments) == 0
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")


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
            assert run("train", data, "--target", "label", "--validation", held, *SMALL, "--model", model, *common) == 0
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
    common = [*SMALL, "--model", tmp_path / "model.zip", "--overwrite", "--quiet"]
    assert run("train", data_folder / "iris.csv", "--target", "class", *common) == 0
    assert run("train", data_folder / "cal_housing.csv", "--target", "medianHouseValue", *common) == 0
    arguments = ["--target", "CAPSULE", "--categorical", "CAPSULE,RACE,DPROS,DCAPS", *common]
    assert run("train", data_folder / "prostate.csv", *arguments) == 0
