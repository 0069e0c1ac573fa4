"""Signals: Ctrl-C ends a training with its best model, SIGTERM with a checkpoint."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from training.resumed import SETTINGS, fit, make_table

from dask_dl import DeepLearningRegressor, load
from dask_dl.checkpoint.folder import CheckpointFolder
from dask_dl.cluster import LocalTrainer
from dask_dl.errors import DaskDLWarning
from dask_dl.metrics.history import History
from dask_dl.training import loop


@pytest.fixture(scope="module")
def table():
    return make_table()


SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from training.resumed import fit, make_table
model = fit(make_table(5000), sys.argv[2], epochs=1e6, score_each_iteration=False, verbose=True, regression_stop=-1)
print("fit returned:", model.stopped_by_, model.predict(make_table(10)).shape)
import threading
print("threads:", [t.name for t in threading.enumerate() if t.name.startswith("dask_dl-")])
"""


def started(arguments, line, **more):
    """A process that has printed a line that holds `line`."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    printed = []
    while True:
        printed.append(process.stdout.readline())
        assert printed[-1], "".join(printed)
        if line in printed[-1]:
            return process


def script(tmp_path):
    return started([sys.executable, "-c", SCRIPT, str(Path(__file__).parents[1]), str(tmp_path)], "checkpoint:")


def test_sigterm_writes_a_checkpoint_and_ends_with_its_exit_code(tmp_path):
    process = script(tmp_path)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert "fit returned" not in output
    _, _, document = CheckpointFolder(str(tmp_path)).newest()
    assert document["course"]["stopped_by"] == "terminated"
    model = fit(
        make_table(5000), tmp_path, resume=True, epochs=document["course"]["n_seen"] / 5000 + 1, regression_stop=-1
    )
    assert model.stopped_by_ == "epochs"


def test_an_interrupt_returns_from_fit_with_the_best_model(tmp_path):
    process = script(tmp_path)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "fit returned: interrupted (10,)" in output and "threads: []" in output
    assert time.monotonic() - began < 30  # two seconds, and what the machine is busy with


def test_an_interrupt_on_the_command_line_saves_the_model(tmp_path):
    make_table(5000).to_parquet(tmp_path / "table.parquet")
    arguments = [
        sys.executable, "-c", "import sys; from dask_dl.cli import main; sys.exit(main())", "train",
        str(tmp_path / "table.parquet"), "--target", "y", "--model", str(tmp_path / "m.zip"),
        "--epochs", "1e6", "--hidden", "40,30", "--checkpoint-dir", str(tmp_path / "c"), "--checkpoint-interval", "0",
        "--regression-stop", "-1",
    ]  # fmt: skip
    process = started(arguments, "checkpoint:")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert load(tmp_path / "m.zip").stopped_by_ == "interrupted"
    process = started([*arguments, "--resume", "--overwrite"], "going on from")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) in {143, -15}  # -15: before training began again
    process.stdout.close()


def test_interrupts_are_warned_of(table):
    def interrupt(record):
        if record["epochs"] == 2:
            signal.raise_signal(signal.SIGINT)

    model = DeepLearningRegressor(**SETTINGS, train_samples_per_iteration=0)
    with pytest.warns(DaskDLWarning, match="interrupted after 2.00 epochs; the best model so far is there"):
        model.fit(table, "y", callbacks=[interrupt])
    assert model.stopped_by_ == "interrupted" and len(model.predict(table)) == len(table)


def test_an_interrupt_in_the_last_moments_keeps_the_model(table, tmp_path, monkeypatch):
    inner, calls = History.is_as_good_as_best, []  # asked when the best network is chosen

    def interrupted(history, event):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return inner(history, event)

    monkeypatch.setattr(History, "is_as_good_as_best", interrupted)
    with pytest.warns(DaskDLWarning, match="interrupted"):
        model = fit(table, tmp_path)
    assert len(calls) == 2 and model.stopped_by_ == "interrupted"
    assert CheckpointFolder(str(tmp_path)).newest()[2]["course"]["n_seen"] == 12 * len(table)


@pytest.mark.parametrize("where", ["snapshot", "measure"])
def test_an_interrupt_writes_a_last_checkpoint_wherever_it_is(table, tmp_path, monkeypatch, where):
    monkeypatch.setattr(loop, "SECONDS_PER_COPY", 0.0)  # a copy before every round
    monkeypatch.setattr(loop, "TIMES_PER_COPY", 0.0)
    inner, calls = getattr(LocalTrainer, where), []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return inner(self, *arguments)

    monkeypatch.setattr(LocalTrainer, where, interrupted)
    with pytest.warns(DaskDLWarning, match="interrupted"):
        model = fit(table, tmp_path, checkpoint_interval=1e6, n_jobs=1)
    assert CheckpointFolder(str(tmp_path)).newest()[2]["course"]["n_seen"] == model.model_.record.n_seen > 0
    monkeypatch.undo()
    given = {"n_jobs": 1, "overwrite_with_best_model": False}
    np.testing.assert_array_equal(
        fit(table, tmp_path, resume=True, **given).model_.network.flat, fit(table, **given).model_.network.flat
    )


def test_a_second_interrupt_is_raised(table, monkeypatch):
    def interrupted(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalTrainer, "train", interrupted)
    monkeypatch.setattr(LocalTrainer, "average", interrupted)
    model = DeepLearningRegressor(**SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        model.fit(table, "y")
    assert not hasattr(model, "model_")
