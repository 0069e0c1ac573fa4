"""`dask-dl check`: findings on standard output, and an exit status for scripts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dask_dl.cli import main
from dask_dl.preflight import trial

SMALL = ["--hidden", "4", "--epochs", "2"]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(trial, "SECONDS", 0.02)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder with a sound table and a faulty one."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    table = pd.DataFrame({"x": random.normal(size=200), "city": random.choice(["Rome", "Oslo"], 200)})
    table = table.assign(y=table["x"] * 2, label=np.where(table["x"] > 0, "up", "down"))
    table.to_parquet("good.parquet")
    table.assign(x=np.inf, flat=1.0).to_csv("bad.csv", index=False)
    return tmp_path


def test_a_sound_table_has_status_0(data, capsys):
    assert main(["check", "good.parquet", "--target", "label", "--ignore", "y", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "scanning the training table" not in out  # progress belongs to trainings
    for words in (
        "note     the training table: 200 rows",
        "storage='disk' needs",
        "the training takes",
        "0 errors, 0 warnings",
    ):
        assert words in out
    assert main(["check", "good.parquet", "--target", "y", "--columns", "x,city", "--quiet", *SMALL]) == 0
    assert capsys.readouterr().out == ""
    assert {path.name for path in data.iterdir()} == {"good.parquet", "bad.csv"}


def test_errors_are_all_printed_and_have_status_1(data, capsys):
    arguments = ["check", "bad.csv", "--target", "y", "--rho", "2", "--quiet", *SMALL]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert "error    rho=2.0: must be" in out
    assert "error    column 'x' of the training table: 200 infinite values in partition 0." in out
    assert "         Make them missing (NaN) or clip them." in out
    assert "warning  column 'flat' is constant (1), and is no input." in out
    assert "note " not in out and out.splitlines()[-1].startswith("2 errors, ")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nowhere.csv", "--target", "y"], 1, "nowhere.csv: no such file"),
        (["good.parquet", "--target", "z"], 1, "has no column 'z'"),
        (["good.parquet"], 2, "missing: --target NAME"),
        (["good.parquet", "--target", "y", "--modle", "m"], 2, "unknown arguments: --modle m"),
        (["good.parquet", "--target", "y", "--lr", "0.1"], 2, "--lr is no option: write --rate 0.1 --no-adaptive-rate"),
    ],
)
def test_wrong_usage_and_files_that_cannot_be_read(data, capsys, arguments, status, words):
    if status == 2:
        with pytest.raises(SystemExit) as ended:
            main(["check", *arguments])
        assert ended.value.code == 2
    else:
        assert main(["check", *arguments]) == 1
    captured = capsys.readouterr()
    assert words in captured.err and captured.out == ""
