"""The loop of rounds: what it asks of a trainer, when it ends, and what it keeps whatever ends it."""

from __future__ import annotations

import contextlib
import math
import re
import signal

import numpy as np
import pandas as pd
import pytest

from dask_dl.errors import DaskDLWarning, DivergedError, ParameterError, ReplicasLostError, StorageError
from dask_dl.events import Callbacks, Listeners
from dask_dl.metrics.history import History, ScoringEvent
from dask_dl.state import TrainedWeights
from dask_dl.training import loop
from dask_dl.training.loop import Halt, Rounds
from dask_dl.training.saving import PeriodicCheckpoints
from dask_dl.training.schedule import RoundSchedule, ScoringSchedule
from dask_dl.training_state import TrainingState


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
        return TrainedWeights(np.full(1, self.n_seen, np.float32), (), self.n_seen)

    weights = snapshot

    def restore(self, weights):
        self.asked.append(("restore", float(weights.flat[0]), weights.n_seen))
        self.n_seen = weights.n_seen


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


@pytest.mark.parametrize("answer", [np.zeros(2), pd.DataFrame({"a": [1]}), pd.NA], ids=["array", "frame", "missing"])
def test_an_answer_of_a_callback_that_is_neither_true_nor_false_is_named(answer):
    def odd(record):
        return answer

    state = recorded(Recorder(), each(100), callbacks=[odd])
    with pytest.raises(ParameterError, match=rf"odd returned a {type(answer).__name__}.*Return True to"):
        raise state.failure
    assert state.stopped_by == "callback" and state.n_seen == 10


def measuring(loop_score):
    """A score whose events have a measurement of their own: the rows learned."""

    def score(state, n, communication):
        loop_score(state, n, communication)
        history = state.history
        history.set_measured(history.events[-1], {"training": state.n_seen})

    return score


def test_the_best_network_keeps_its_measurements_when_a_better_one_is_lost():
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
        state = recorded(trainer, each(40), score=measuring(scoring(iter([2.0, 1.0, 3.0, 3.0, 3.0]))))
    assert "lost" in trainer.asked and float(trainer.final.flat[0]) == 10.0
    assert state.history.best_measured == state.history.measured == {"training": 10}


def test_a_network_that_a_failed_training_returns_to_keeps_its_measurements(monkeypatch):
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
    score = measuring(scoring(iter([2.0, 1.0])))
    state = recorded(trainer, each(40), score=score, judge=judge, keeps_best=False)
    assert state.stopped_by == "diverged" and state.n_seen == 10
    assert state.history.measured == {"training": 10}
