"""Files that a command writes are checked before its work, and replace nothing that it reads."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from cli.tables import QUICK, predict, run

from dask_dl import load
from dask_dl.cli import main


def test_what_is_read_is_not_replaced(place, tmp_path, capsys):
    (tmp_path / "t.csv").write_bytes((place / "t.csv").read_bytes())
    for data in (tmp_path / "t.csv", tmp_path / "*.csv", f"file://{tmp_path}/t.csv"):
        assert predict(place / "price.zip", data, "--output", tmp_path / "t.csv", "--overwrite") == 1
        assert "another file of this command" in capsys.readouterr().err
    for option in ("--model", "--report"):
        arguments = ["train", tmp_path / "t.csv", "--target", "price", "--model", tmp_path / "m", "--overwrite"]
        assert main([*map(str, arguments), option, str(tmp_path / "t.csv")]) == 1
        assert f"{option}: {tmp_path / 't.csv'} is {tmp_path / 't.csv'}, another" in capsys.readouterr().err
    both = ["--plot", tmp_path / "h.svg", "--report", tmp_path / "h.svg"]
    assert main([*map(str, (*arguments, *both))]) == 1
    assert "--report: " in capsys.readouterr().err
    assert (tmp_path / "t.csv").read_bytes() == (place / "t.csv").read_bytes()


@pytest.mark.parametrize("place", ["model.zip", "memory://kept/model.zip"])
def test_a_model_is_not_replaced_unless_told(folder, tmp_path, monkeypatch, capsys, place):
    monkeypatch.chdir(tmp_path)
    there = fsspec.filesystem("memory")
    common = ["train", folder / "all.csv", "--target", "label", *QUICK, "--quiet", "--model", place]
    try:
        assert run(*common) == 0
        with fsspec.open(place) as file:
            first = file.read()
        for options in ([], ["--checkpoint-dir", "state", "--resume"]):
            assert run("train", "nowhere.csv", *common[2:], *options) == 1  # which would be missed if work began
            assert f"--model: {place} exists; name another file, or add --overwrite" in capsys.readouterr().err
        with fsspec.open(place) as file:
            assert file.read() == first
        assert run(*common, "--epochs", "3", "--overwrite") == 0
        assert load(place).parameters_["epochs"] == 3
        assert not Path("state").exists()
    finally:
        if there.exists("/kept"):
            there.rm("/kept", recursive=True)
