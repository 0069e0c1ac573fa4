"""The loop and what surrounds it: how much is trained, in which order, when it is scored, and how it ends."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import signal
import time

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from naive import mlp

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, parameters
from dask_dl.cluster import LocalBackend, LocalTrainer, row_stream
from dask_dl.cluster.shard import Shard
from dask_dl.errors import DaskDLWarning, DivergedError, ParameterError, ReplicasLostError, SchemaError, StorageError
from dask_dl.events import Began, Callbacks, Listeners, Trained
from dask_dl.frame.source import open_source
from dask_dl.frame.validation import open_validation
from dask_dl.metrics.history import History, ScoringEvent
from dask_dl.node import replica
from dask_dl.show.progress import Progress
from dask_dl.training import loop
from dask_dl.training.engine import Request, train
from dask_dl.training.loop import Halt, Rounds
from dask_dl.training.saving import PeriodicCheckpoints
from dask_dl.training.schedule import RoundSchedule, ScoringSchedule
from dask_dl.training.settings import ScoringSettings
from dask_dl.training_state import TrainingState

QUIET = {"classification_stop": -1, "regression_stop": -1, "stopping_rounds": 0, "overwrite_with_best_model": False}


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(0)
    X = random.normal(size=(50, 3))
    return pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=X @ [1.0, -2.0, 0.5] + 3)


def fitted(table, **given):
    return DeepLearningRegressor(hidden=(4,), random_state=1, score_each_iteration=True, **given).fit(table, "y")


class Recorder:
    """A trainer that only remembers what it was asked."""

    n_rows = 10
    is_local = is_reachable = True
    busy_seconds = 0.0
    on_wait = None

    def __init__(self):
        self.asked, self.scales = [], []
        self.n_seen = 0

    def compile(self):
        raise AssertionError("the loop does not compile")

    def train(self, n, settings, on_rows=None):
        self.asked.append(n)
        self.scales.append(settings.step_scale)
        self.n_seen += n
        on_rows(n)
        return 0.0

    def average(self):
        self.asked.append("average")

    def measure(self, table):
        raise AssertionError("the loop does not score by itself")

    def snapshot(self):
        return np.full(1, self.n_seen, np.float32), ()

    weights = snapshot

    def restore(self, flat, states, n_seen):
        self.asked.append(("restore", float(flat[0]), n_seen))
        self.n_seen = n_seen


def scoring(losses):
    """A function that scores the k-th event with the k-th loss."""

    def score(state, n, communication):
        measured = {"deviance": next(losses)}
        state.history.add(
            ScoringEvent(
                duration=0.0, training_speed=1.0, epochs=state.n_seen / 10, iterations=state.n_rounds,
                samples=state.n_seen, samples_per_iteration=n, communication=communication,
                metrics={"training": measured},
            )
        )  # fmt: skip

    return score


def recorded(trainer, schedule, losses=None, **more):
    """Run the loop over a trainer that only remembers; the k-th event of the history has the k-th loss."""
    score = more.pop("score", scoring(iter(losses or np.linspace(1, 0.5, 1000))))
    state = TrainingState(History("regression", has_validation=False))
    state.history.start()
    judge = more.pop("judge", lambda: None)
    tell = Listeners([Callbacks(more.pop("callbacks", ()))])
    save = more.pop("save", None)
    if save is not None:
        tell = Listeners([*tell, PeriodicCheckpoints(save, "there", more.pop("save_interval"), tell)])
    loop = Rounds(trainer, schedule, state, score, judge, tell, ends_at_sigterm=save is not None, **more)
    loop.run()
    trainer.final = loop.final
    return state


def each(n_total, per_round=10):
    return RoundSchedule(n_total, 10, ScoringSchedule(0.0, 0.0, each_iteration=True), per_round)


def scored(state):
    return [(e.iterations, e.samples, e.samples_per_iteration) for e in state.history.events[1:]]


def test_a_round_trains_then_averages_and_the_last_one_is_cut():
    trainer = Recorder()
    state = recorded(trainer, each(25))
    assert trainer.asked == [10, "average", 10, "average", 5, "average"]
    assert scored(state) == [(1, 10, 10), (2, 20, 10), (3, 25, 5)]
    assert (state.n_rounds, state.n_seen, state.stopped_by) == (3, 25, "epochs")


def test_the_end_is_always_scored():
    schedule = RoundSchedule(40, 10, ScoringSchedule(0.0, duty_cycle=0.0, each_iteration=False), fixed=10)
    assert scored(recorded(Recorder(), schedule)) == [(4, 40, 10)]


def test_the_best_network_is_put_back_and_scored_once_more():
    trainer = Recorder()
    state = recorded(trainer, each(40), [3.0, 1.0, 2.0, 2.5, 1.0])
    assert (float(trainer.final.flat[0]), trainer.final.n_seen) == (20.0, 40)  # its weights; the counters stay
    assert scored(state)[-1] == (4, 40, 0) and len(state.history.events) == 6
    trainer = Recorder()
    recorded(trainer, each(40), [3.0, 1.0, 2.0, 2.5], keeps_best=False)
    assert float(trainer.final.flat[0]) == 40.0


@pytest.mark.parametrize("losses", [[3.0, 2.0, 1.0], [3.0, 1.0, 1.0], [np.nan, np.nan, np.nan]])
def test_the_last_network_stays_when_none_was_better(losses):
    trainer = Recorder()
    state = recorded(trainer, each(30), [*losses, 9.0])
    if losses == [3.0, 1.0, 1.0]:  # the first of equals is the best, and no better than the last
        assert state.history.best.iterations == 2
    assert float(trainer.final.flat[0]) == 30.0 and len(state.history.events) == 4


def test_a_reason_to_stop_ends_the_loop():
    trainer = Recorder()
    state = recorded(trainer, each(100), judge=lambda: "enough" if trainer.n_seen >= 30 else None)
    assert (state.stopped_by, state.n_seen) == ("enough", 30)


def test_time_is_counted_from_the_call_of_fit(monkeypatch):
    def opened_slowly(*given):
        time.sleep(1.1)
        return open_validation(*given)

    X = np.random.default_rng(0).normal(size=(100, 3))
    model = DeepLearningRegressor(
        hidden=(3,), epochs=1e6, stopping_rounds=0, regression_stop=-1, max_runtime_secs=1, n_jobs=1
    )
    monkeypatch.setattr("dask_dl.frame.validation.open_validation", opened_slowly)
    model.fit(X, X[:, 0])
    assert model.stopped_by_ == "max_runtime_secs" and model.n_iter_ <= 1


def test_time_is_up_between_two_rows_and_the_end_is_scored():
    trainer = Recorder()
    schedule = RoundSchedule(100, 10, ScoringSchedule(0.0, duty_cycle=0.0, each_iteration=False), fixed=10)
    state = recorded(trainer, schedule, deadline=0.0)
    assert (state.stopped_by, state.n_seen) == ("max_runtime_secs", 10)
    assert scored(state) == [(1, 10, 10)]


def test_callbacks_see_every_record_and_may_stop():
    seen = []

    def callback(record):
        with pytest.raises(TypeError):
            record["samples"] = 0
        seen.append(record["samples"])
        return len(seen) == 3

    state = recorded(Recorder(), each(100), callbacks=[callback])
    assert seen == [10, 20, 30] and state.stopped_by == "callback"


@pytest.mark.parametrize("answer", [np.zeros(2), pd.DataFrame({"a": [1]}), pd.NA], ids=["array", "frame", "missing"])
def test_an_answer_of_a_callback_that_is_neither_true_nor_false_is_named(answer):
    def odd(record):
        return answer

    state = recorded(Recorder(), each(100), callbacks=[odd])
    with pytest.raises(ParameterError, match=rf"odd returned a {type(answer).__name__}.*Return True to"):
        raise state.failure
    assert state.stopped_by == "callback" and state.n_seen == 10


@pytest.mark.parametrize("when", ["train", "average", "score"])
def test_an_interrupt_anywhere_leaves_the_best_network(when):
    trainer = Recorder()
    inner = getattr(trainer, when, None)

    raised = []

    def interrupted(*arguments):
        if trainer.n_seen >= 30 and not raised:
            raised.append(1)
            raise KeyboardInterrupt
        return inner(*arguments)

    def judge():
        if when == "score" and trainer.n_seen >= 40:
            raise KeyboardInterrupt

    if when != "score":
        setattr(trainer, when, interrupted)
    state = recorded(trainer, each(100), [3.0, 1.0, 2.0, 2.0, 2.0, 2.0], judge=judge)
    assert state.stopped_by == "interrupted"
    assert float(trainer.final.flat[0]) == 20.0
    assert 30 <= state.n_seen <= 40


def test_a_diverging_round_is_rolled_back_and_steps_are_halved():
    trainer = Recorder()
    average, bad = trainer.average, iter([False, True, True])

    def diverges():
        average()
        if next(bad, False):
            raise DivergedError("layer 2 is not finite.")

    trainer.average = diverges
    with pytest.warns(DaskDLWarning, match="layer 2 is not finite. Went back to 10 rows; steps are [24] times smaller"):
        state = recorded(trainer, each(30))
    restores = [call for call in trainer.asked if isinstance(call, tuple)]
    # No copy was taken within a second, but the best network is newer.
    assert restores == [("restore", 10.0, 10), ("restore", 10.0, 10)]
    assert trainer.scales == [1.0, 1.0, 0.5, 0.25, 0.25]
    assert (state.stopped_by, state.n_seen, state.n_halvings, state.failure) == ("epochs", 30, 2, None)


def test_the_best_network_is_newer_than_the_copy_and_later_events_are_forgotten():
    trainer = Recorder()
    average, calls = trainer.average, []

    def diverges():
        average()
        calls.append(1)
        if len(calls) == 4:
            raise DivergedError("layer 2 is not finite.")

    trainer.average = diverges
    with pytest.warns(DaskDLWarning, match="Went back to 20 rows"):
        state = recorded(trainer, each(40), [3.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    assert scored(state)[:4] == [(1, 10, 10), (2, 20, 10), (3, 30, 10), (4, 40, 10)]
    assert state.stopped_by == "epochs"


def confused(loop_score):
    """A score whose events have a confusion matrix of their own: the rows learned."""

    def score(state, n, communication):
        loop_score(state, n, communication)
        history = state.history
        history._replace(history.events[-1], {"training": [[state.n_seen]]})

    return score


def test_the_best_network_keeps_its_confusion_matrix_when_a_better_one_is_lost():
    """Workers are gone before a better network could be fetched: the training ends with the one before it."""
    trainer = Recorder()
    trainer.is_local, inner = False, trainer.snapshot

    def snapshot():
        if trainer.n_seen == 20 and "lost" not in trainer.asked:
            trainer.asked.append("lost")
            raise ReplicasLostError("all of them.")
        return inner()

    trainer.snapshot = snapshot
    with pytest.warns(DaskDLWarning, match="Went back to 10 rows"):
        state = recorded(trainer, each(40), score=confused(scoring(iter([2.0, 1.0, 3.0, 3.0, 3.0]))))
    assert "lost" in trainer.asked and float(trainer.final.flat[0]) == 10.0
    assert state.history.best_confusion == state.history.confusion == {"training": [[10]]}


def test_a_network_that_a_failed_training_returns_to_keeps_its_confusion_matrix(monkeypatch):
    loop = "dask_dl.training.loop."
    monkeypatch.setattr(loop + "MAX_HALVINGS", 0)
    monkeypatch.setattr(loop + "TIMES_PER_COPY", 0.0)
    trainer = Recorder()
    average = trainer.average

    def diverges():
        average()
        if trainer.n_seen == 30:
            raise DivergedError("layer 2 is not finite.")

    def judge():  # the copy of 10 rows stays the newest
        monkeypatch.setattr(loop + "SECONDS_PER_COPY", 0.0 if trainer.n_seen == 10 else 1e9)

    trainer.average = diverges
    score = confused(scoring(iter([2.0, 1.0])))
    state = recorded(trainer, each(40), score=score, judge=judge, keeps_best=False)
    assert state.stopped_by == "diverged" and state.n_seen == 10
    assert state.history.confusion == {"training": [[10]]}


def test_an_interrupt_that_python_drops_ends_the_training_too():
    """In a finalizer, or in a callback of a weak reference, KeyboardInterrupt is printed and forgotten."""

    class Dropping(Recorder):
        def train(self, n, settings, on_rows=None):
            if self.asked.count("average") == 3:
                with contextlib.suppress(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGINT)
            on_rows(0)
            super().train(n, settings, on_rows)

    state = recorded(Dropping(), each(1000))
    assert state.stopped_by == "interrupted" and state.n_rounds == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_before_divergence_was_seen_saves_sound_weights():
    trainer, checkpoint, errors = (
        Recorder(),
        [],
        iter([None, KeyboardInterrupt(), DivergedError("layer 2 is not finite.")]),
    )

    def average():
        error = next(errors, None)
        if error is not None:
            raise error

    trainer.average = average
    with pytest.warns(DaskDLWarning, match="Went back to 10 rows"):
        state = recorded(
            trainer,
            each(400),
            save=lambda state, network: checkpoint.append((state.n_seen, network.n_seen)),
            save_interval=1e6,
        )
    assert state.stopped_by == "interrupted" and checkpoint == [(10, 10)]


def test_an_interrupt_in_a_diverging_round_ends_the_training():
    trainer = Recorder()

    def train(n, settings, on_rows=None):
        trainer.n_seen += n
        raise KeyboardInterrupt

    def diverges():
        raise DivergedError("layer 2 is not finite.")

    trainer.train, trainer.average = train, diverges
    with pytest.warns(DaskDLWarning):
        state = recorded(trainer, each(400))
    assert (state.stopped_by, state.n_seen) == ("interrupted", 0)


def test_divergence_without_end_is_an_error_with_sound_weights():
    trainer = Recorder()

    def diverges():
        raise DivergedError("layer 2 is not finite.")

    trainer.average = diverges
    with pytest.warns(DaskDLWarning):
        state = recorded(trainer, each(30))
    assert state.stopped_by == "diverged" and "halved 4 times" in str(state.failure)
    assert trainer.asked[-1] == ("restore", 0.0, 0)


# ---- what ends a training -----------------------------------------------------------------------------------------------


class Once(ScoringSchedule):
    """Only the first round is due."""

    def is_due(self, now, n_seen, n_last):
        return self.started == -math.inf


def rarely(n_total, per_round=10):
    """Rounds of which only the first is scored, and the last if the training comes to its end."""
    return RoundSchedule(n_total, 10, Once(0.0, 1.0, each_iteration=False), fixed=per_round)


class Ended(Recorder):
    """Its fourth round is broken off by an error, five rows before its end."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def train(self, n, settings, on_rows=None):
        if self.asked.count("average") == 3:
            self.n_seen += n - 5
            raise self.error
        super().train(n, settings, on_rows)


ENDS = {
    "interrupted": KeyboardInterrupt(),
    "max_runtime_secs": Halt("max_runtime_secs"),
    "terminated": Halt("terminated"),
    "failed": StorageError("rows-0.rows is damaged."),
}


@pytest.mark.parametrize("loss", [0.5, 2.0, np.nan])
@pytest.mark.parametrize("why", ENDS)
def test_whatever_ends_a_training_scores_once_more_and_keeps_the_better_network(why, loss):
    trainer, checkpoint = Ended(ENDS[why]), []
    given = {"save": lambda state, network: checkpoint.append((state.n_seen, len(state.history.events)))}
    state = recorded(trainer, rarely(1000), [1.0, loss], save_interval=1e6, **given)
    assert (state.stopped_by, state.n_seen, state.n_rounds) == (why, 35, 4)
    assert scored(state)[:2] == [(1, 10, 10), (4, 35, 5)]
    assert float(trainer.final.flat[0]) == (35.0 if loss == 0.5 else 10.0)
    assert len(scored(state)) == (2 if loss == 0.5 else 3)  # the best event is repeated where it is put back
    assert state.failure is (ENDS[why] if why == "failed" else None)
    if why != "max_runtime_secs":  # saved first: there may be no time for both, and a training goes on as it was
        assert checkpoint == [(35, 2)]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(28, "No space left"), DivergedError("not finite"), Halt()]
)
@pytest.mark.parametrize("why", ["interrupted", "failed"])
def test_a_last_scoring_that_fails_hides_nothing_and_loses_nothing(why, error):
    trainer = Ended(ENDS[why])

    def failing(state, n, communication):
        if state.n_seen > 10:
            raise error
        inner(state, n, communication)

    inner = scoring(iter([1.0]))
    state = recorded(trainer, rarely(1000), score=failing)
    assert state.stopped_by == why and state.failure is (ENDS[why] if why == "failed" else None)
    assert float(trainer.final.flat[0]) == 10.0  # the best one that was scored: a second Ctrl-C skips the scoring
    assert trainer.final.n_seen == 35


def test_an_error_that_may_have_torn_a_row_goes_back_to_a_sound_copy_and_scores_that():
    trainer = Ended(MemoryError("a thread had none"))
    state = recorded(trainer, rarely(1000), [1.0, 0.5])
    assert state.stopped_by == "failed" and isinstance(state.failure, MemoryError)
    assert trainer.asked[-1] != ("restore", 35.0, 35) and float(trainer.final.flat[0]) == 10.0  # the newest one


def test_without_workers_nobody_is_asked_to_score():
    trainer = Ended(KeyboardInterrupt())
    trainer.is_reachable = False
    state = recorded(trainer, rarely(1000), [1.0])
    assert state.stopped_by == "interrupted" and float(trainer.final.flat[0]) == 10.0


def test_workers_that_do_not_answer_are_not_asked_for_ever(monkeypatch):
    monkeypatch.setattr(loop, "MIN_SECONDS_TO_SCORE", 0.0)
    trainer, inner = Ended(KeyboardInterrupt()), scoring(iter([1.0]))

    def score(state, n, communication):
        while state.n_seen > 10:
            trainer.on_wait()
        inner(state, n, communication)

    state = recorded(trainer, rarely(1000), score=score)
    assert state.stopped_by == "interrupted" and float(trainer.final.flat[0]) == 10.0


@pytest.mark.parametrize("error", [RuntimeError("enough"), SystemExit(3)])
def test_a_callback_that_raises_keeps_the_network_of_its_event(error):
    def callback(record):
        raise error

    trainer = Recorder()
    state = recorded(trainer, rarely(1000), [1.0], callbacks=[callback])
    assert (state.stopped_by, state.failure, state.n_seen) == ("callback", error, 10)
    assert float(trainer.final.flat[0]) == 10.0


def test_sigterm_in_the_last_moments_is_not_forgotten():
    trainer = Recorder()
    state = recorded(
        trainer, each(30), save=lambda state, network: signal.raise_signal(signal.SIGTERM), save_interval=1e6
    )
    assert state.stopped_by == "terminated" and state.n_seen == 30


# ---- checkpoints that cannot be written ---------------------------------------------------------------------------------


def test_a_checkpoint_that_cannot_be_written_is_a_warning_for_every_cause():
    errors = [OSError(28, "No space left on device"), OSError(24, "Too many open files"), RuntimeError("403 Forbidden")]
    errors = iter([errors[0], errors[0], errors[1], None, errors[0], errors[2], errors[2], errors[2], errors[2]])

    def save(state, network):
        error = next(errors)
        if error is not None:
            raise error
        checkpoint.append(state.n_seen)

    checkpoint = []
    with pytest.warns(DaskDLWarning) as caught:
        state = recorded(Recorder(), each(90), save=save, save_interval=-1.0)
    texts = [str(warning.message) for warning in caught]
    causes = ["OSError: .Errno 28. No space", "OSError: .Errno 24. Too many", "RuntimeError: 403 Forbidden"]
    assert len(texts) == 3
    for text, cause in zip(texts, causes, strict=True):
        assert re.match(
            f"no checkpoint could be written to there: {cause}.* goes on without; it is tried again every", text
        )
    assert (state.stopped_by, state.n_seen, checkpoint) == ("epochs", 90, [40])


@pytest.mark.parametrize("why", ["interrupted", "terminated", "failed"])
def test_a_checkpoint_that_cannot_be_written_hides_no_other_end(why):
    def save(state, network):
        raise PermissionError(13, "Permission denied")

    trainer = Ended(ENDS[why])
    with pytest.warns(DaskDLWarning, match="Permission denied"):
        state = recorded(trainer, rarely(1000), [1.0, 0.5], save=save, save_interval=1e6)
    assert state.stopped_by == why and state.failure is (ENDS[why] if why == "failed" else None)
    assert float(trainer.final.flat[0]) == 35.0


def test_where_warnings_are_errors_the_network_is_kept_all_the_same():
    def save(state, network):
        raise PermissionError(13, "Permission denied")

    trainer = Recorder()
    state = recorded(trainer, each(30), save=save, save_interval=1e6)  # they are, in these tests
    assert state.stopped_by == "failed" and isinstance(state.failure, DaskDLWarning)
    assert float(trainer.final.flat[0]) == 30.0


@pytest.mark.parametrize(
    ("since", "took", "due"),
    [(4.9, 0.0, False), (5.1, 0.0, True), (6.0, 0.5, True), (6.0, 0.61, False), (60.0, 6.1, False)],
)
def test_pace_follows_interval_and_duty_cycle(since, took, due):
    assert (
        ScoringSchedule(5.0, 0.1, each_iteration=False, started=100.0, took=took).is_due(100.0 + since, 10, 10) is due
    )
    assert ScoringSchedule(5.0, 0.1, each_iteration=True, started=100.0, took=took).is_due(100.0 + since, 10, 10)
    assert ScoringSchedule(5.0, 0.1, each_iteration=False).is_due(0.0, 10, 0)  # the first iteration
    assert not ScoringSchedule(5.0, 0.0, each_iteration=False, started=100.0).is_due(1000.0, 10, 10)


def test_pace_meets_its_marks_whatever_the_clock_says():
    scoring = ScoringSchedule(5.0, 0.1, each_iteration=False, every=100, started=10.0, took=0.01)
    assert scoring.is_due(10.1, 100, 99) and scoring.is_due(10.1, 350, 100)
    assert not scoring.is_due(14.9, 199, 100) and scoring.is_due(15.1, 199, 100)
    assert scoring.is_due(10.02, 200, 100)
    slow = ScoringSchedule(5.0, 0.1, each_iteration=False, every=100, started=10.0, took=0.3)
    assert slow.is_due(11.1, 200, 100)
    assert not slow.is_due(10.9, 200, 100)  # a third of the time: more than three times its share
    assert [scoring.rest(n) for n in (0, 1, 99, 100)] == [100, 99, 1, 100]


def paced(n_total=10**6, n_weights=5e4, n_scored=10_000, stride=0, **given):
    settings = ScoringSettings(5.0, 0.1, each_iteration=False, max_seconds=0.0, batch=1, samples={})
    return ScoringSchedule.of(settings._replace(**given), n_total, n_weights, n_scored, 1, stride)


@pytest.mark.parametrize("n_total", [10**5, 10**6, 10**8])
def test_early_stopping_has_a_value_every_stride_early_on_whatever_was_asked_for(n_total):
    scoring = paced(n_total, 1e4, n_scored=100, stride=1000)
    events = [0]
    while events[-1] < n_total:
        assert scoring.rest(events[-1]) == scoring.due_after(events[-1]) - events[-1]
        events.append(scoring.due_after(events[-1]))
    assert all(b - a <= max(1000, a / 10) for a, b in itertools.pairwise(events))
    assert set(range(scoring.every, n_total, scoring.every)) <= set(events)
    assert len(events) < 220


def test_a_fit_is_scored_as_often_as_early_stopping_needs():
    X = np.random.default_rng(0).normal(size=(1000, 3))
    given = {"hidden": (2,), "epochs": 1000, "score_interval": 1e9, "random_state": 1, "n_jobs": 1}
    enough = [lambda event: event["samples"] >= 5000]
    model = DeepLearningRegressor(**given).fit(X, X[:, 0], callbacks=enough)
    assert {1000, 2000, 3000, 4000, 5000} <= set(model.history_["samples"])
    model = DeepLearningRegressor(**given, stopping_rounds=0).fit(X, X[:, 0], callbacks=enough)
    assert 2000 not in set(model.history_["samples"])


def test_the_kernel_that_scores_is_compiled_before_the_first_round(table, monkeypatch):
    seen, inner, run = [], replica.predict_batches, Rounds.run
    monkeypatch.setattr(replica, "predict_batches", lambda *given: seen.append("predict") or inner(*given))
    monkeypatch.setattr(Rounds, "run", lambda rounds: seen.append("rounds") or run(rounds))
    fitted(table, epochs=1)
    assert seen[0] == "predict" and "rounds" in seen


def test_the_first_event_is_not_blamed_for_what_is_used_for_the_first_time():
    scoring = ScoringSchedule(5.0, 0.1, each_iteration=False, every=100)
    scoring.scored(10.0, 11.5)
    assert scoring.took == 0 and scoring.is_due(11.6, 200, 100)
    scoring.scored(12.0, 13.5)
    assert scoring.took == 1.5 and not scoring.is_due(13.6, 300, 200)


def test_values_for_early_stopping_are_left_out_where_scoring_is_dear():
    asked = {"n_total": 10**7, "n_weights": 1e4}
    assert paced(**asked, n_scored=100, stride=1000).stride == 1000
    assert paced(**asked, n_scored=10**5, stride=1000).stride > 10**9
    assert paced(**asked, n_scored=100, stride=1000, duty_cycle=0.01).stride > 10**9  # it costs more than this share
    assert paced(**asked, n_scored=10**5, stride=10**6).stride == 10**6
    assert paced(**asked, n_scored=100, stride=1000, duty_cycle=0.0).stride > 10**9
    assert paced(**asked, n_scored=100, stride=1000, each_iteration=True).stride > 10**9


def test_events_are_so_many_that_they_take_their_share():
    assert paced().every == 10**6 // 40
    few = paced(n_total=2 * 10**5)
    assert few.every == 2 * 10**5 // 10  # 4.2 s of training; 0.038 s an event
    assert paced(n_total=10**5, batch=32).every == 10**5 // 5  # a fifth of a second is free
    assert paced(n_total=1500, n_scored=150).every == -(-1500 // 36)
    assert paced(n_total=4 * 10**6, n_weights=100, n_scored=3 * 10**6).every == 4 * 10**6 // 16  # rows cost time, too
    assert paced(n_total=7, n_scored=7).every == 1
    assert paced(duty_cycle=0.0).every > 10**9
    assert [paced(max_seconds=limit).interval for limit in (0.0, 20.0, 1e6)] == [5.0, 0.5, 5.0]


@pytest.mark.parametrize("batch", [1, 32])
def test_rounds_of_one_replica_end_where_an_event_is_due(batch):
    scoring = ScoringSchedule(5.0, 0.1, each_iteration=False, every=700)
    schedule = RoundSchedule.of(100, 1000, -2, scoring, n_weights=10**6, n_threads=1, batch=batch)
    ends, n_seen = [], 0
    for seconds in [0.5, 0.01, 3.0] * 200:
        n = schedule.rows(n_seen)
        schedule.took(n, seconds * n / 300, seconds)
        n_seen += n
        ends.append(n_seen)
    assert ends[-1] > 20_000
    for mark in range(700, 20_000, 700):
        epoch, place = divmod(mark, 1000)
        assert min(epoch * 1000 + -(-place // batch) * batch, (epoch + 1) * 1000) in ends


def test_trainings_on_one_thread_keep_the_same_network_every_time(table):
    given = {"hidden": (4,), "epochs": 30, "stopping_rounds": 0, "n_jobs": 1, "random_state": 3}
    one, two = (DeepLearningRegressor(**given).fit(table, "y") for _ in range(2))
    assert 10 < len(one.history_) < 45
    assert one.history_["samples"].tolist() == two.history_["samples"].tolist()
    np.testing.assert_array_equal(one.model_.network.flat, two.model_.network.flat)


def automatic(n_total, n_epoch, **more):
    return RoundSchedule.of(
        n_total / n_epoch,
        n_epoch,
        -2,
        ScoringSchedule(0.0, 0.0, each_iteration=True),
        n_weights=10**6,
        n_threads=2,
        **more,
    )


def test_automatic_rounds_take_about_a_second():
    schedule = automatic(10**7, 10**6)
    assert schedule.rows(0) == 200  # before anything is known: a million weights, two threads
    schedule.took(200, 0.01, 0.01)
    assert schedule.rows(200) == 20_000
    schedule.took(20_000, 4.0, 4.0)
    assert schedule.rows(20_200) == 5_000
    schedule.took(5_000, 0.0, 0.0)  # a clock may stand still
    assert schedule.rows(25_200) == 10**6


@pytest.mark.parametrize(("n_total", "n_epoch", "maximum"), [(10**7, 10**4, 10**4), (10**5, 10**6, 10**4), (7, 10, 1)])
def test_automatic_rounds_are_at_most_an_epoch_and_a_tenth_of_the_training(n_total, n_epoch, maximum):
    schedule, n_seen, n_rounds = automatic(n_total, n_epoch), 0, 0
    while n_seen < n_total:
        n = schedule.rows(n_seen)
        assert 1 <= n <= maximum
        schedule.took(n, 1e-9, 1e-9)
        n_seen, n_rounds = n_seen + n, n_rounds + 1
    assert n_seen == n_total and n_rounds >= min(10, n_total)


def tuned(schedule, seconds_of_averaging, rows_per_second, n_rounds=40):
    """Sizes of rounds, and the share of averaging in each."""
    sizes, shares = [], []
    for _ in range(n_rounds):
        n = schedule.rows(0)
        busy = n / rows_per_second
        schedule.took(n, busy + seconds_of_averaging, busy)
        sizes.append(n)
        shares.append(seconds_of_averaging / (busy + seconds_of_averaging))
    return sizes, shares


def of_several(n_epoch=10**7, share=0.05, epochs=1000, n_replicas=4, per_iteration=-2):
    scoring = ScoringSchedule(interval=1e9, duty_cycle=1.0, each_iteration=False)
    return RoundSchedule.of(
        epochs,
        n_epoch,
        per_iteration,
        scoring,
        n_weights=10**6,
        n_threads=4,
        n_replicas=n_replicas,
        share=share,
    )


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
def test_rounds_of_several_replicas_are_so_long_that_averaging_takes_its_share(share):
    sizes, shares = tuned(of_several(share=share), 0.04, 50_000)
    assert sizes[0] == 400  # before anything is known
    assert sizes[1] == pytest.approx(0.04 * (1 / share - 1) * 50_000, rel=0.01)  # set by what was measured
    assert all(found == pytest.approx(share, rel=0.26) for found in shares[1:])


def test_the_size_of_rounds_follows_what_averaging_costs_by_steps_of_two():
    schedule = of_several()
    tuned(schedule, 0.04, 50_000, n_rounds=3)
    sizes, shares = tuned(schedule, 0.16, 50_000)  # averaging takes four times as long from now on
    factors = [b / a for a, b in itertools.pairwise(sizes)]
    assert factors[0] == pytest.approx(2.0, abs=0.01) and max(factors) < 2.01
    assert shares[-1] == pytest.approx(0.05, rel=0.26)
    tuned(schedule, 0.16, 50_000)
    assert len(set(tuned(schedule, 0.17, 50_000)[0])) == 1  # less than a fifth is let be


def test_the_size_of_rounds_keeps_within_limits():
    assert max(tuned(of_several(n_epoch=1000), 10.0, 50_000)[0]) == 250  # a quarter of an epoch
    assert max(tuned(of_several(n_epoch=1000, n_replicas=9), 10.0, 50_000)[0]) == 125
    assert max(tuned(of_several(epochs=1), 1e4, 50_000)[0]) == 10**7 // 20  # five averages of each replica
    assert min(tuned(of_several(share=0.999), 0.5, 50_000)[0][5:]) == 2500  # a twentieth of a second
    assert tuned(of_several(per_iteration=777), 0.5, 50_000)[0] == [777] * 40


def test_the_next_rows_are_gathered_while_these_are_trained(monkeypatch, table):
    monkeypatch.setattr("dask_dl.memory.SLICE", 1500)
    log = []
    gathered, trained = row_stream.gather, replica.train_rows

    def gather(store, rows):
        log.append("gather")
        return gathered(store, rows)

    def train_rows(rows, *more):
        done = trained(rows, *more)
        time.sleep(0.05)
        log.append("trained")
        return done

    monkeypatch.setattr(row_stream, "gather", gather)
    monkeypatch.setattr(replica, "train_rows", train_rows)
    fitted(table, epochs=1, train_samples_per_iteration=0)
    training = log[log.index("trained") + 1 :][:7]  # the first is the compilation
    assert training.count("gather") > 1
    assert all(pair != ("trained", "trained") for pair in itertools.pairwise(training[:-1]))
    assert training[:2] == ["gather", "gather"]


@pytest.mark.parametrize(
    ("given", "samples"),
    [
        ({"epochs": 3}, list(range(0, 151, 15))),  # a tiny table: ten rounds
        ({"epochs": 20}, list(range(0, 1001, 50))),  # a round is at most an epoch
        ({"epochs": 3, "train_samples_per_iteration": 0}, [0, 50, 100, 150]),
        ({"epochs": 3, "train_samples_per_iteration": -1}, [0, 50, 100, 150]),
        ({"epochs": 1, "train_samples_per_iteration": 20}, [0, 20, 40, 50]),
        ({"epochs": 2.5, "train_samples_per_iteration": 70}, [0, 70, 125]),
        ({"epochs": 0.3}, list(range(16))),
        ({"epochs": 0.001}, [0, 1]),
        ({"epochs": 1, "train_samples_per_iteration": 1000}, [0, 50]),
        ({"epochs": 0}, [0, 0]),
    ],
    ids=str,
)
def test_rows_of_a_training(table, given, samples):
    model = fitted(table, **given)
    assert model.history_["samples"].tolist() == samples
    np.testing.assert_allclose(model.history_["epochs"], np.array(samples) / 50)
    assert model.history_["iterations"].tolist() == list(range(len(samples)))
    assert model.n_iter_ == len(samples) - 1


def places_visited(monkeypatch, table, **given):
    """Global row numbers in the order of their training: the target tells the row."""
    seen = []
    train = replica.Replica.train

    def spy(self, rows, *more):
        seen.extend(rows.target.tolist())
        return train(self, rows, *more)

    monkeypatch.setattr(replica.Replica, "train", spy)
    model = fitted(table, **given)
    target = (table["y"].to_numpy() - model.model_.head.shift) * model.model_.head.factor
    return pd.Index(target.astype(np.float32)).get_indexer(np.array(seen, np.float32))


def test_every_epoch_visits_every_row_once_in_a_fresh_order(monkeypatch, table):
    epochs = places_visited(monkeypatch, table, epochs=4, train_samples_per_iteration=33).reshape(4, 50)
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_stored_order_on_request(monkeypatch, table):
    assert places_visited(monkeypatch, table, epochs=2, shuffle_training_data=False).tolist() == [
        *range(50),
        *range(50),
    ]


def test_rounds_leave_no_trace_in_the_weights(table):
    whole, pieces = fitted(table, epochs=3), fitted(table, epochs=3, train_samples_per_iteration=7)
    np.testing.assert_array_equal(whole.coefs_[0], pieces.coefs_[0])


def test_training_equals_the_oracle_from_table_to_prediction(table):
    model = fitted(table, epochs=2, shuffle_training_data=False)
    start = fitted(table, epochs=0)
    X = (table[["a", "b", "c"]] - table[["a", "b", "c"]].mean()) / table[["a", "b", "c"]].std()
    y = (table["y"] - table["y"].mean()) / table["y"].std()
    weights, biases, _ = mlp.train(
        X.to_numpy(), y.to_numpy(), np.tile(np.arange(50), 2), [w.T.astype(float) for w in start.coefs_],
        [b.astype(float) for b in start.intercepts_], activation="rectifier", output="linear",
    )  # fmt: skip
    for mine, expected in zip(model.coefs_, weights, strict=True):
        np.testing.assert_allclose(mine.T, expected, rtol=1e-4, atol=1e-5)
    z = [mlp.forward(x, weights, biases, activation="rectifier", output="linear")[-1] for x in X.to_numpy()]
    expected = np.ravel(z) * table["y"].std() + table["y"].mean()
    np.testing.assert_allclose(model.predict(table), expected, rtol=1e-4)


def test_scoring_uses_a_sample_of_the_size_asked_for(table, monkeypatch):
    sizes = []
    measured = Shard._measured

    def spy(self, rows):
        sizes.append(rows.n)
        return measured(self, rows)

    monkeypatch.setattr(Shard, "_measured", spy)
    DeepLearningRegressor(
        hidden=(4,),
        epochs=1,
        random_state=1,
        train_samples_per_iteration=0,
        score_training_samples=20,
        score_validation_samples=10,
    ).fit(table, "y", eval_set=table)
    assert sizes == [20, 10]


def test_history_has_the_columns_of_its_page(table):
    times = ["timestamp", "duration", "training_speed", "epochs", "iterations", "samples"]
    times += ["samples_per_iteration", "communication"]
    numbers = ["rmse", "deviance", "mae", "r2"]
    history = DeepLearningRegressor(hidden=(4,), epochs=1).fit(table, "y", eval_set=table).history_
    assert [*history] == [*times, *(f"training_{n}" for n in numbers), *(f"validation_{n}" for n in numbers)]
    classes = ["rmse", "logloss", "r2", "classification_error"]
    history = DeepLearningClassifier(hidden=(4,), epochs=1).fit(table[["a", "b"]], table["y"] > 3).history_
    assert [*history] == [*times, *(f"training_{n}" for n in classes)]
    assert history["duration"].is_monotonic_increasing


def test_best_event_is_the_first_with_the_least_loss():
    history = History("regression", has_validation=True)
    history.start()
    assert history.best is None
    for k, loss in enumerate([3.0, 1.0, 2.0, 1.0]):
        metrics = {"training": {"deviance": -k}, "validation": {"deviance": loss}}
        history.add(ScoringEvent(duration=k, training_speed=1.0, epochs=k, iterations=k, samples=k, metrics=metrics))
    assert history.best.iterations == 1


def test_weights_that_start_out_of_this_world_are_refused(table):
    with pytest.raises(
        DivergedError, match=r"weights of layer 1 have exploded: mean .* before the first row.*lower initial"
    ):
        fitted(table, initial_weight_distribution="uniform", initial_weight_scale=1e20)


@pytest.mark.parametrize("way", [{}, {"n_jobs": 2, "parallelism": "staleness"}, {"n_jobs": 2, "parallelism": "team"}])
def test_a_rate_without_hope_is_a_typed_error_with_remedies(table, way):
    with (
        pytest.warns(DaskDLWarning, match="of layer 1 .* Lower `rate`"),
        pytest.raises(DivergedError, match="halved 4 times, in vain"),
    ):
        DeepLearningRegressor(hidden=(20,), adaptive_rate=False, rate=1e6, random_state=1, epochs=5, **way).fit(
            table, "y"
        )


def test_inputs_out_of_this_world_are_a_typed_error(table):
    huge = table.assign(a=table["a"] * 1e30)
    with pytest.warns(DaskDLWarning), pytest.raises(DivergedError, match="turn `standardize` on"):
        fitted(huge, standardize=False, epochs=2)


def test_a_rate_that_is_somewhat_too_large_is_halved_and_learns(table):
    # Plain SGD with rate 1 diverges here, with an eighth of it it learns.
    with pytest.warns(DaskDLWarning, match="steps are [248] times smaller"):
        model = DeepLearningRegressor(hidden=(), adaptive_rate=False, rate=1.0, random_state=1, epochs=20).fit(
            table, "y"
        )
    assert model.score(table, "y") > 0.9
    assert np.isfinite(model.coefs_[0]).all()


def test_what_was_learned_before_a_divergence_stays_usable(table, monkeypatch):
    calls = []
    inner = LocalTrainer.average

    def diverges_later(self):
        inner(self)
        calls.append(self.n_seen)
        if len(calls) > 5:
            raise DivergedError("layer 1 has gone.")

    monkeypatch.setattr(LocalTrainer, "average", diverges_later)
    monkeypatch.setattr("dask_dl.training.loop.SECONDS_PER_COPY", 0.0)
    monkeypatch.setattr("dask_dl.training.loop.TIMES_PER_COPY", 0.0)  # however long a copy takes
    model = DeepLearningRegressor(hidden=(4,), random_state=1, epochs=20)
    with pytest.warns(DaskDLWarning), pytest.raises(DivergedError, match="layer 1 has gone"):
        model.fit(table, "y")
    assert model.stopped_by_ == "diverged"
    assert len(model.predict(table)) == 50 and model.model_.record.n_seen == calls[4]


def test_divergence_is_seen_within_a_round(table, monkeypatch):
    monkeypatch.setattr("dask_dl.memory.SLICE", 1000)  # a few rows a slice
    with pytest.warns(DaskDLWarning, match="not finite after") as warned, pytest.raises(DivergedError):
        fitted(table, epochs=100, train_samples_per_iteration=5000, adaptive_rate=False, rate=1e30)
    first = next(str(w.message) for w in warned if "not finite after" in str(w.message))
    assert int(first.split(" after ")[1].split()[0].replace(",", "")) < 50


def test_too_large_a_network_is_refused_before_it_is_allocated(table):
    with pytest.raises(ParameterError, match="more than 100,000,000"):
        DeepLearningRegressor(hidden=(50_000, 50_000)).fit(table, "y")


def test_values_that_switch_later_features_off_are_accepted(table):
    given = {"force_load_balance": False, "export_weights_and_biases": True, "reproducible": True, **QUIET}
    model = fitted(table, epochs=1, **given)
    assert model.parameters_["train_samples_per_iteration"] == -1
    assert model.parameters_["n_jobs"] == 1


def test_an_order_given_from_outside_is_followed(table):
    requested = parameters.validate({"hidden": (4,), "epochs": 1, "random_state": 1}, task="regression")
    order = np.array([7] * 50)
    same = [
        train(
            Request(open_source(table, "y"), "regression", requested),
            LocalBackend(lambda _: order),
        ).model
        for _ in range(2)
    ]
    np.testing.assert_array_equal(same[0].network.flat, same[1].network.flat)
    assert (same[0].network.flat != fitted(table, epochs=1).model_.network.flat).any()


def test_compiling_is_announced(table, capsys, monkeypatch):
    fitted(table, epochs=1, verbose=True)
    assert "compiling" not in capsys.readouterr().out
    monkeypatch.setattr("dask_dl.training.wiring.jit.is_cached", lambda _: False)
    fitted(table, epochs=1, verbose=True)
    assert "compiling the kernels, once for this machine" in capsys.readouterr().out


@pytest.mark.parametrize("empty", [[0], [3], [0, 1, 3]])
def test_empty_partitions_anywhere(table, empty):
    import dask.dataframe as dd

    table = table.assign(w=np.linspace(0.5, 2, 50))
    parts = [table.iloc[:0] if k in empty else table.iloc[k * 12 : (k + 1) * 12] for k in range(4)]
    frame = dd.from_map(lambda k: parts[k], range(4), meta=table.iloc[:0])
    whole = pd.concat(parts)
    models = [
        DeepLearningRegressor(hidden=(4,), random_state=1, epochs=2).fit(t, "y", sample_weight="w", eval_set=t)
        for t in (frame, whole)
    ]
    np.testing.assert_allclose(models[0].coefs_[0], models[1].coefs_[0], rtol=1e-5, atol=1e-6)
    for name in ("training_rmse", "validation_rmse"):
        assert models[0].history_[name].iloc[-1] == pytest.approx(models[1].history_[name].iloc[-1], rel=1e-5)
    assert len(models[0].predict(frame).compute()) == len(whole)


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


@pytest.mark.parametrize("shift", [0.0, 1e6, 1e9])
def test_metrics_of_a_number_far_from_zero_are_exact(table, shift):
    moved = table.assign(y=table["y"] + shift)
    model = fitted(moved, epochs=3)
    error = moved["y"] - model.predict(moved)
    expected = float(np.sqrt((error**2).mean()))
    assert model.history_["training_rmse"].iloc[-1] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_warning_names_the_line_that_called_the_package(table, lazy):
    binary = table.assign(y=(table["y"] > 3).astype(int))
    with pytest.warns(DaskDLWarning, match="only 0 and 1") as caught:
        fitted(dd.from_pandas(binary, npartitions=2) if lazy else binary, epochs=1)
    (warning,) = caught
    assert warning.filename == __file__


def test_columns_without_a_value_in_rows_that_count_are_dropped(table):
    weights = np.where(np.arange(50) < 25, 1.0, 0.0)
    late = np.where(weights > 0, np.nan, 1e6 * np.arange(50))
    same = np.where(weights > 0, 3.0, 1e6 * np.arange(50))
    with pytest.warns(DaskDLWarning, match="dropped 2 columns that are constant or empty: 'late', 'same'"):
        model = DeepLearningRegressor(hidden=(4,), epochs=1).fit(
            table.assign(late=late, same=same), "y", sample_weight=weights
        )
    assert model.encoder_.columns == ("a", "b", "c")


def test_labels_unseen_in_training_are_left_out_of_validation_and_counted(table):
    train = table[["a", "b"]].assign(y=np.where(table["a"] > 0, "x", "z"))
    valid = train.assign(y=["new"] * 5 + train["y"].tolist()[5:])
    with pytest.warns(DaskDLWarning, match="5 rows of the validation table have labels that training never saw"):
        model = DeepLearningClassifier(hidden=(4,), epochs=1, random_state=1).fit(train, "y", eval_set=valid)
    assert model.history_["validation_classification_error"].iloc[-1] == pytest.approx(1 - model.score(valid[5:], "y"))


def test_prediction_can_be_interrupted_between_kernel_calls(table, monkeypatch):
    model = fitted(table, epochs=1)
    calls = []
    inner = replica.predict_batches

    def spy(rows, lo, hi, *more):
        calls.append((lo, hi))
        if len(calls) == 2:
            raise KeyboardInterrupt
        inner(rows, lo, hi, *more)

    monkeypatch.setattr(replica, "predict_batches", spy)
    with pytest.raises(KeyboardInterrupt):
        model.predict(table)
    assert calls == [(0, 16), (16, 50)]


def test_rows_of_another_order_are_refused(table):
    import dask.dataframe as dd

    frame = dd.from_pandas(table, npartitions=2).clear_divisions()
    shuffled = dd.from_pandas(table.sample(frac=1, random_state=0), npartitions=2, sort=False)
    with pytest.raises(SchemaError, match="different indexes: are their rows in one order"):
        DeepLearningRegressor(hidden=(4,), epochs=1).fit(frame[["a", "b"]], shuffled["y"].clear_divisions())


def test_persisted_frames_train_while_a_client_is_active(table):
    import dask.dataframe as dd
    from distributed import Client, LocalCluster

    frame = dd.from_pandas(table, npartitions=2)
    alone = fitted(frame, epochs=1)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        held = frame.persist()
        model = fitted(held, epochs=1)
        predicted = model.predict(held).compute()
    np.testing.assert_array_equal(model.coefs_[0], alone.coefs_[0])
    np.testing.assert_array_equal(predicted, alone.predict(table))


def test_where_the_clock_ends_rounds_does_not_decide_where_batches_end(table):
    # 50 rows are no whole number of batches of 8: every epoch is cut into batches from its own start.
    settings = QUIET | {"hidden": (4,), "random_state": 1, "mini_batch_size": 8, "epochs": 5, "n_jobs": 1}
    models = [DeepLearningRegressor(**settings, train_samples_per_iteration=n).fit(table, "y").model_ for n in (-2, 0)]
    np.testing.assert_array_equal(models[0].network.flat, models[1].network.flat)
    assert models[0].record.n_rounds > models[1].record.n_rounds


@pytest.mark.parametrize("batch", [50, 51, 10**9, 2**70])
def test_a_batch_is_no_larger_than_the_table(table, batch):
    model = fitted(table, mini_batch_size=batch, epochs=2)
    assert model.parameters_["mini_batch_size"] == 50 and model.get_params()["mini_batch_size"] == batch
