"""Readers of a command's output that go away: the work goes on, and nothing is said of them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dask_dl import load
from dask_dl.cli import main


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    place = tmp_path_factory.mktemp("table") / "t.csv"
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=400), "w": 1.0})  # a constant column is warned of
    frame.assign(größe=2 * frame["a"]).to_csv(place, index=False)
    return place


def arguments(table, model):
    return ["train", str(table), "--target", "größe", "--hidden", "4", "--epochs", "2", "--model", str(model)]


@pytest.fixture
def closed():
    """A text stream into a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        yield stream


@pytest.mark.parametrize("names", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_a_closed_pipe_ends_no_training(table, tmp_path, monkeypatch, closed, names):
    streams = {"stdout": io.StringIO(), "stderr": io.StringIO()} | dict.fromkeys(names, closed)
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    assert main(arguments(table, tmp_path / "m.zip")) == 0
    assert load(tmp_path / "m.zip").stopped_by_ == "epochs"
    if "stderr" not in names:
        assert streams["stderr"].getvalue() == "warning: dropped 1 columns that are constant or empty: 'w'.\n"
    if "stdout" not in names:
        assert "model: " in streams["stdout"].getvalue()
    closed.flush()  # raises if something were left for the interpreter to fail on at its exit


def test_a_closed_pipe_ends_no_prediction(table, tmp_path, monkeypatch, closed):
    assert main([*arguments(table, tmp_path / "m.zip"), "--quiet"]) == 0
    monkeypatch.setattr(sys, "stdout", closed)
    assert main(["predict", str(tmp_path / "m.zip"), str(table), "--output", str(tmp_path / "o.csv")]) == 0
    assert len(pd.read_csv(tmp_path / "o.csv")) == 400


def test_a_full_disk_behind_standard_output_ends_no_training(table, tmp_path, monkeypatch, capsys):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(arguments(table, tmp_path / "m.zip")) == 0
        monkeypatch.undo()
    assert (tmp_path / "m.zip").exists()
    assert "No space" not in capsys.readouterr().err


def test_names_that_standard_output_cannot_encode_are_no_mistake(table, tmp_path, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(arguments(table, tmp_path / "m.zip")) == 0
    assert rb"numbers of 'gr\xf6\xdfe'" in written.getvalue()


@pytest.mark.parametrize("given", [["--help"], ["train", "--help"], ["--version"], ["train"]])
def test_a_closed_pipe_is_no_matter_of_help_and_usage(monkeypatch, closed, given):
    monkeypatch.setattr(sys, "stdout", closed)
    monkeypatch.setattr(sys, "stderr", closed)
    with pytest.raises(SystemExit) as done:
        main(given)
    assert done.value.code == (2 if given == ["train"] else 0)
    closed.flush()


def test_a_reader_of_the_first_line_sees_no_traceback_and_no_other_status(table, tmp_path):
    # Without standard error the next file to be opened, the model perhaps, would get its descriptor.
    code = "import sys; from dask_dl.cli import main; sys.exit(main())"
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", code, *arguments(table, tmp_path / "m.zip")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUTF8": "1"}) as running:
        assert running.stdout.readline().startswith(b"numbers of ")
        running.stdout.close()
        assert running.wait(timeout=120) == 0
    assert load(tmp_path / "m.zip").stopped_by_ == "epochs"
