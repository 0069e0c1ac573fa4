"""Trainings that are ended from outside, or cannot save their state: the network is kept, and what happened is said."""

from __future__ import annotations

import contextlib
import errno
import shutil
import signal
import warnings

import numpy as np
import pytest
from tables import unread
from training.resumed import SETTINGS, fit, make_table

from dask_dl import DeepLearningRegressor
from dask_dl.checkpoint import folder as folders
from dask_dl.checkpoint.folder import CheckpointFolder
from dask_dl.cluster.local import LocalTrainer
from dask_dl.errors import Aborted, DaskDLWarning, DivergedError, ParameterError
from dask_dl.show.progress import Progress

#: Scored after the first round, and at the end.
RARELY = {"score_each_iteration": False, "score_interval": 1e9, "n_jobs": 1, "train_samples_per_iteration": 300}


@pytest.fixture(autouse=True)
def _marks_are_rare(monkeypatch):
    """With RARELY only the first round is scored, and the end."""
    monkeypatch.setattr("dask_dl.training.schedule.EVENTS", 1)


@pytest.fixture(scope="module")
def table():
    return make_table()


def interrupted_after(n_rows, monkeypatch, interrupt=KeyboardInterrupt):
    """Have a Ctrl-C come after so many rows."""
    inner = LocalTrainer.train

    def train(self, n, settings, on_rows=None):
        inner(self, n, settings, on_rows)
        if self.n_seen >= n_rows:
            raise interrupt

    monkeypatch.setattr(LocalTrainer, "train", train)


# ---- Ctrl-C -------------------------------------------------------------------------------------------------------------


def test_what_was_learned_since_the_last_scoring_is_kept(table, monkeypatch):
    whole = fit(table, **RARELY | {"epochs": 6})
    interrupted_after(6 * len(table), monkeypatch)
    with pytest.warns(DaskDLWarning, match=r"interrupted after 6.00 epochs; the best model"):
        model = fit(table, **RARELY)
    np.testing.assert_array_equal(model.model_.network.flat, whole.model_.network.flat)
    assert model.score(table, "y") == whole.score(table, "y")
    columns = ["iterations", "samples", "training_deviance"]
    assert model.history_[columns].equals(whole.history_[columns])


def test_an_interrupt_can_be_raised_with_the_estimator_fitted(table, monkeypatch):
    interrupted_after(1500, monkeypatch)
    model = DeepLearningRegressor(**SETTINGS | RARELY, on_interrupt="raise")
    with pytest.raises(KeyboardInterrupt, match=r"interrupted after .* epochs"):
        model.fit(table, "y")
    assert model.stopped_by_ == "interrupted" and len(model.predict(table)) == len(table)
    assert model.history_["samples"].iloc[-1] == model.model_.record.n_seen == 1500


def test_a_search_is_ended_by_an_interrupt_that_is_raised(table, monkeypatch):
    from sklearn.model_selection import cross_val_score

    interrupted_after(600, monkeypatch)
    model = DeepLearningRegressor(**SETTINGS | RARELY, on_interrupt="raise")
    with pytest.raises(KeyboardInterrupt):
        cross_val_score(model, table.drop(columns="y"), table["y"], cv=2)


def test_a_second_interrupt_skips_the_last_scoring(table, monkeypatch):
    interrupted_after(1500, monkeypatch)
    inner = LocalTrainer.measure

    def measure(self, name):
        if self.n_seen >= 1500:
            raise Aborted
        return inner(self, name)

    monkeypatch.setattr(LocalTrainer, "measure", measure)
    with pytest.warns(DaskDLWarning, match="interrupted"):
        model = fit(table, **RARELY)
    assert model.history_["samples"].tolist() == [0, 300, 1500]  # the best event, which was put back
    assert model.best_iteration_ == 1


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(table, tmp_path, monkeypatch):
    given = RARELY | {"overwrite_with_best_model": False}
    whole = fit(table, **given)
    with monkeypatch.context() as patched:
        interrupted_after(1500, patched)
        with pytest.warns(DaskDLWarning, match="interrupted"):
            ended = fit(table, tmp_path, checkpoint_interval=1e6, **given)
    assert ended.history_["samples"].tolist() == [0, 300, 1500]
    state = CheckpointFolder(str(tmp_path)).newest()[2]["course"]
    assert [record["samples"] for record in state["history"]] == [0, 300]  # the scoring belongs to the end, not to it
    resumed = fit(table, tmp_path, resume=True, checkpoint_interval=1e6, **given)
    np.testing.assert_array_equal(resumed.model_.network.flat, whole.model_.network.flat)
    assert resumed.history_["samples"].is_monotonic_increasing


# ---- checkpoints that cannot be written ---------------------------------------------------------------------------------


def replaced_by_a_file(place):
    shutil.rmtree(place)
    place.touch()


def test_a_folder_that_vanishes_is_made_anew(table, tmp_path):
    place = tmp_path / "states"

    def remove(record):
        if record["iterations"] == 3:
            shutil.rmtree(place)

    model = DeepLearningRegressor(**SETTINGS, checkpoint_dir=str(place), checkpoint_interval=0.0)
    model.fit(table, "y", callbacks=[remove])
    assert model.stopped_by_ == "epochs"
    assert CheckpointFolder(str(place)).newest()[2]["course"]["n_seen"] == model.model_.record.n_seen


def test_a_file_in_the_place_of_the_folder_costs_checkpoints_and_nothing_else(table, tmp_path):
    place, whole = tmp_path / "states", fit(table, n_jobs=1)

    def harm(record):
        if record["iterations"] == 2:
            replaced_by_a_file(place)
        if record["iterations"] == 8:
            place.unlink()

    model = DeepLearningRegressor(**SETTINGS, n_jobs=1, checkpoint_dir=str(place), checkpoint_interval=0.0)
    with pytest.warns(DaskDLWarning, match=r"no checkpoint could be written to .*states: FileExistsError") as caught:
        model.fit(table, "y", callbacks=[harm])
    assert len(caught) == 1  # of six that failed
    np.testing.assert_array_equal(model.model_.network.flat, whole.model_.network.flat)
    assert CheckpointFolder(str(place)).newest()[2]["course"]["n_seen"] == model.model_.record.n_seen


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.EROFS, "Read-only file system"),
        RuntimeError("403 from a store behind a URL"),
        MemoryError("no room to lay a checkpoint out"),
    ],
)
@pytest.mark.parametrize("interval", [0.0, 1e6])
def test_nothing_that_prevents_a_checkpoint_costs_the_model(table, tmp_path, monkeypatch, error, interval):
    def write(*_, **__):
        raise error

    monkeypatch.setattr(folders, "write_archive", write)
    with pytest.warns(DaskDLWarning, match="no checkpoint could be written") as caught:
        model = fit(table, tmp_path, checkpoint_interval=interval, epochs=3, n_jobs=1)
    assert len(caught) == 1 and str(tmp_path) in str(caught[0].message)
    assert model.stopped_by_ == "epochs" and model.model_.record.n_seen == 3 * len(table)


ENDS = {
    "interrupt": (None, "interrupted"),
    "raised interrupt": (KeyboardInterrupt, "interrupted"),
    "sigterm": (SystemExit, "terminated"),
    "callback": (LookupError, "callback"),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_folder_that_is_gone_hides_no_other_end(table, tmp_path, how):
    place = tmp_path / "states"

    def end(record):
        if record["iterations"] == 4:
            replaced_by_a_file(place)
            if how == "callback":
                raise LookupError("enough")
            signal.raise_signal(signal.SIGTERM if how == "sigterm" else signal.SIGINT)

    wish = "raise" if how == "raised interrupt" else "return"
    model = DeepLearningRegressor(
        **SETTINGS, checkpoint_dir=str(place), checkpoint_interval=1e6, on_interrupt=wish, n_jobs=1
    )
    error, reason = ENDS[how]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(error) if error else contextlib.nullcontext():
            model.fit(table, "y", callbacks=[end])
    texts = [str(warning.message) for warning in caught]
    assert sum("no checkpoint could be written" in text for text in texts) == 1
    assert sum("training was interrupted" in text for text in texts) == (how == "interrupt")
    assert model.stopped_by_ == reason and model.model_.record.n_seen == 4 * len(table)
    assert len(model.predict(table)) == len(table)


def test_a_checkpoint_that_cannot_be_written_does_not_hide_a_divergence(table, tmp_path, monkeypatch):
    def write(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folders, "write_archive", write)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DivergedError):
            fit(table, tmp_path, checkpoint_interval=1e6, adaptive_rate=False, rate=1e30)


@pytest.mark.parametrize(
    ("place", "error", "text"),
    [
        ("file", FileExistsError, r"checkpoint_dir: nothing can be written there .*; name a folder .*file"),
        ("file/below", NotADirectoryError, r"checkpoint_dir: nothing can be written there .*below"),
        ("/proc/states", OSError, r"checkpoint_dir: nothing can be written there .*/proc/states"),
        (
            "nowhere://bucket/states",
            ParameterError,
            r"checkpoint_dir: nothing can be written to nowhere://bucket/states: .*",
        ),
        ("github://a:b@/states", ParameterError, r"checkpoint_dir: nothing can be written to github://a:b@/states: .*"),
    ],
)
def test_a_folder_that_is_of_no_use_is_known_before_the_table_is_read(table, tmp_path, monkeypatch, place, error, text):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=text):
        DeepLearningRegressor(checkpoint_dir=place).fit(unread(table), "y")


def test_a_disk_without_room_for_a_checkpoint_is_known_before_the_table_is_encoded(table, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: usage._replace(free=20_000))
    with pytest.raises(
        OSError, match=r"checkpoint_dir: 20,000 bytes are free, and a checkpoint takes [\d,]+; make room"
    ):
        DeepLearningRegressor(hidden=(40, 30), checkpoint_dir=str(tmp_path)).fit(unread(table, 1), "y")


def test_a_log_that_cannot_be_written_ends_no_training(capsys):
    class Full:
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

        flush = write

    progress = Progress(quiet=False, stream=Full())
    progress.say("a line")
    assert progress.quiet
