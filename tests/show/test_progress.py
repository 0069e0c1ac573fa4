"""What is said while a training runs: when it will be over, which network is the best, which one is kept."""

from __future__ import annotations

import io
import math
import re
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.cluster.local import LocalBackend, LocalTrainer
from dask_dl.events import Began, Judged, KeptBest, Trained, WentBack
from dask_dl.frame.source import open_source
from dask_dl.metrics.history import History, ScoringEvent
from dask_dl.parameters import validate
from dask_dl.show.progress import Progress, duration
from dask_dl.training.engine import Request, train


class Training:
    """A training by a clock of its own: `round` and `score` let time pass."""

    def __init__(self, total, *, done=0, **more):
        self.now, self.done, self.total, self.n_events = 1000.0, done, total, 0
        self.stream = io.StringIO()
        self.history = History("regression", has_validation=False)
        self.history.start()
        with self.clock():
            self.progress = Progress(quiet=False, stream=self.stream)
        self.now += 300.0  # reading, encoding, compiling
        with self.clock():
            if "limit" in more:
                more["deadline"] = self.now + more.pop("limit")
            self.progress(Began(total, done, **more))

    def clock(self):
        return mock.patch("dask_dl.show.progress.time", SimpleNamespace(monotonic=lambda: self.now))

    def round(self, n, seconds, parts=1):
        for _ in range(parts):
            self.now += seconds / parts
            self.done += n // parts
            with self.clock():
                self.progress(Trained(n // parts))

    def score(self, loss=1.0, seconds=0.0, *, is_last=False):
        self.now += seconds
        self.n_events += 1
        counters = {"epochs": self.done / 100, "iterations": self.n_events, "samples": self.done}
        metrics = {"training": {"deviance": loss}}
        self.history.add(ScoringEvent(duration=0.0, training_speed=5.0, **counters, metrics=metrics))
        with self.clock():
            self.progress(Judged(self.history, is_last))

    @property
    def lines(self):
        return self.stream.getvalue().splitlines()

    @property
    def header(self):
        return next(line for line in self.lines if line.startswith("  epochs "))

    @property
    def left(self):
        """The last column of the newest line."""
        return self.lines[-1].removesuffix(" *")[self.header.index("best deviance") + len("best deviance") :].strip()


@given(
    first=st.integers(1, 1000),
    seconds=st.integers(1, 500),  # whole ones, which need no rounding
    scoring=st.integers(0, 20),
    n_rounds=st.integers(2, 12),
    done=st.integers(0, 10**6),
)
def test_the_time_left_is_that_of_the_rounds_after_the_first(first, seconds, scoring, n_rounds, done):
    training = Training(done + 10 + 1000 * n_rounds, done=done, n_first=10)
    training.round(10, first)
    training.score(seconds=0.05)
    assert training.left == "?"  # nothing can be said after ten rows
    for k in range(1, n_rounds + 1):
        training.round(1000, seconds)
        training.score(seconds=scoring)
        assert training.left == duration((n_rounds - k) * (seconds + scoring))
    assert training.left == "0 s"


def test_a_first_round_that_is_like_the_others_says_how_long_the_others_take():
    training = Training(4000)
    training.round(1000, 60.0, parts=10)
    assert training.lines[0] == "  ...   2.5% of 4,000 rows, 17 rows/s, 3 min 54 s left"
    training.score()
    assert training.left == "3 min 00 s"


def test_a_small_first_round_promises_nothing():
    training = Training(4000, n_first=200)
    training.round(200, 60.0, parts=2)
    assert training.lines == ["  ...   2.5% of 4,000 rows", "  ...   5.0% of 4,000 rows"]
    training.round(1000, 100.0)  # it may not be scored
    assert training.lines[-1] == "  ...  30.0% of 4,000 rows, 10 rows/s, 4 min 40 s left"


def test_rows_that_nobody_counted_yet_promise_nothing():
    training = Training(4000)
    training.round(0, 60.0, parts=3)
    assert training.lines == ["  ...   0.0% of 4,000 rows"] * 3


def test_between_two_counts_of_rows_the_time_left_goes_down():
    training = Training(3000)
    for _ in range(2):
        training.round(1000, 50.0)
        training.score()
    training.round(0, 20.0)
    assert training.lines[-1].endswith(" 20 rows/s, 30 s left")
    training.round(0, 90.0)
    assert training.lines[-1].endswith(" 0 s left")


@pytest.mark.parametrize("done", [0, 500])
def test_the_deadline_may_come_before_the_last_row(done):
    training = Training(done + 100_000, done=done, limit=30.0, n_first=10)
    training.round(10, 0.1)
    training.score()
    assert training.left == "30 s"  # of the rows nothing is known yet
    training.round(1000, 9.9)
    training.score()
    assert training.left == "20 s"
    training.round(1000, 21.0)
    training.score()
    assert training.left == "0 s"
    training = Training(2000, limit=3000.0)
    for _ in range(2):
        training.round(500, 5.0)
        training.score()
    assert training.left == "10 s"  # the rows are there before it


@pytest.mark.parametrize("may_stop", [False, True])
def test_early_stopping_makes_it_at_most(may_stop):
    training = Training(4000, may_stop_early=may_stop)
    for _ in range(2):
        training.round(1000, 3.0)
        training.score()
    assert training.header.endswith("time left, at most" if may_stop else " time left")
    assert [len(line.removesuffix(" *")) for line in training.lines[-2:]] == 2 * [len(training.header)]
    training.round(1000, 5.1)
    assert training.lines[-1].endswith("rows/s, at most 4 s left" if may_stop else "rows/s, 4 s left")
    training.score(is_last=True)
    assert training.left == "0 s"


def test_rows_that_were_lost_are_counted_again():
    training = Training(2000)
    training.round(500, 1.0)
    training.score()
    for _ in range(3):  # the same rows, in vain
        training.round(1000, 1.0)
        training.done = 500
        with training.clock():
            training.progress(WentBack(500))
    training.round(500, 10.0)
    assert training.lines[-1].endswith(" 50.0% of 2,000 rows, 50 rows/s, 20 s left")


def test_the_star_is_explained_once_and_stands_at_every_best():
    training = Training(4000)
    for loss in (3.0, 2.0, 5.0, math.nan, 2.0, 1.0):
        training.round(50, 0.5)
        training.score(loss)
    head = "a line for each scoring; * marks the best network so far, by deviance of training rows"
    assert [line for line in training.lines if "best network" in line] == [head]
    marks = [line.endswith(" *") for line in training.lines if line.startswith("    ")]
    assert marks == [True, True, False, False, False, True]


def test_the_best_network_that_is_kept_gets_a_sentence():
    training = Training(300)
    for loss in (3.0, 2.0, 5.0):
        training.round(100, 1.0)
        training.score(loss)
    training.history.repeat_best(duration=1.0, epochs=3.0, iterations=3, samples=300)
    training.progress(KeptBest(training.history))
    assert training.lines[-1] == "    3.00  back to the best network, of 2.00 epochs: train deviance 2"
    assert "rows/s" not in training.lines[-1]


@pytest.fixture(scope="module")
def table():
    return make_table(400, noise=1.0)[["a", "b", "c", "d", "y"]]


def lines_of(capsys, model, table, **more):
    capsys.readouterr()
    model.fit(table, "y", **more)
    return [line for line in capsys.readouterr().out.splitlines() if re.match(r"  +\d", line)]


ENDS = {
    "epochs": ({"epochs": 3, "stopping_rounds": 0}, {}),
    "stopping": ({"epochs": 1e6, "stopping_rounds": 1, "stopping_tolerance": 0.5}, {}),
    "time": ({"epochs": 1e6, "stopping_rounds": 0, "max_runtime_secs": 0.5}, {}),
    "callback": ({"epochs": 1e6}, {"callbacks": [lambda record: record["samples"] > 2000]}),
    "class": ({"epochs": 1e6, "classification_stop": 0.9}, {}),
}


@pytest.mark.parametrize("why", ENDS)
def test_every_end_is_at_zero(table, capsys, why):
    given, more = ENDS[why]
    if why == "class":
        kind, table = DeepLearningClassifier, table.assign(y=np.where(table["y"] > 0, "u", "v"))
    else:
        kind = DeepLearningRegressor
    given = {"score_each_iteration": True, "overwrite_with_best_model": False, **given}
    model = kind(hidden=(3,), verbose=True, random_state=1, **given)
    assert re.search(r" 0 s( \*)?$", lines_of(capsys, model, table, **more)[-1])


@pytest.mark.parametrize(
    ("settings", "may_stop_early", "first_is_small", "ends"),
    [
        ({}, True, True, False),
        ({"stopping_rounds": 0, "max_runtime_secs": 1e6}, False, True, True),
        ({"train_samples_per_iteration": 100}, True, False, False),
    ],
)
def test_the_clock_starts_when_kernels_are_compiled(table, monkeypatch, settings, may_stop_early, first_is_small, ends):
    called = mock.Mock()
    monkeypatch.setattr(LocalTrainer, "compile", lambda _: called.compile())
    requested = validate({"hidden": (3,), "epochs": 2, **settings}, task="regression")
    events = []

    def listen(event):
        if isinstance(event, Began):
            called.began()
            events.append(event)

    train(Request(open_source(table, "y"), "regression", requested), LocalBackend(), [listen])
    assert [name for name, _, _ in called.mock_calls] == ["compile", "began"]
    (began,) = events
    assert (began.total, began.done, began.may_stop_early) == (800, 0, may_stop_early)
    assert math.isfinite(began.deadline) == ends
    assert (0 < began.n_first < 800) == first_is_small


def test_a_callback_that_raises_hides_no_line(table, capsys):
    def fails(record):
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        lines_of(capsys, DeepLearningRegressor(hidden=(3,), epochs=9, verbose=True), table, callbacks=[fails])
    assert re.search(r"\n +\d.* 0 s \*\nended: callback\n", capsys.readouterr().out)


def test_long_epochs_show_progress_and_time_left(capsys, monkeypatch):
    clock = iter(np.arange(0.0, 1e6, 3.0))
    monkeypatch.setattr("dask_dl.show.progress.time.monotonic", lambda: float(next(clock)))
    progress = Progress(quiet=False)
    progress(Began(1000))
    for _ in range(5):
        progress(Trained(100))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 2
    assert "of 1,000 rows" in lines[0] and "rows/s" in lines[0] and lines[0].endswith("left")
