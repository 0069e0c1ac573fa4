"""When a search ends, and how trainings side by side share threads."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace

from dask_dl.tuning.candidates import FAILED, TRAINED, Candidate, Tried
from dask_dl.tuning.running import Limits


def tried(*values, status=TRAINED):
    """Candidates with these values of the deviance."""

    def one(k, value):
        event = SimpleNamespace(measured={}, value=lambda *_: value)
        record = SimpleNamespace(folds=None, history=SimpleNamespace(events=[event], table="training"))
        return Tried(Candidate(k, {}, {}), status, SimpleNamespace(record=record), 1.0)

    return [one(k, value) for k, value in enumerate(values)]


def test_a_search_goes_on_while_the_best_get_better():
    limits = Limits("deviance", rounds=2, tolerance=0.01)
    assert not limits.is_over(tried(0.5, 0.9, 0.1))  # too few
    assert not limits.is_over(tried(0.5, 0.9, 0.1, 0.3))
    assert limits.is_over(tried(0.5, 0.5, 0.5, 0.9, 0.5))
    assert "the best 2 deviance" in limits.reason


def test_the_order_of_the_candidates_does_not_count():
    for values in ((0.9, 0.5, 0.5, 0.5, 0.5), (0.5, 0.5, 0.9, 0.5, 0.5)):
        assert Limits("deviance", rounds=2).is_over(tried(*values))


def test_failures_say_nothing():
    assert not Limits("deviance", rounds=2).is_over(tried(0.5, 0.5, 0.5, 0.5, 0.5, status=FAILED))
    assert math.isnan(Tried(Candidate(0, {}, {}), FAILED, None, 0.0).value("deviance"))


def test_time_is_a_limit():
    limits = Limits("deviance", deadline=time.monotonic() + 100)
    assert 99 < limits.seconds_left <= 100
    assert not limits.is_over([])
    over = Limits("deviance", deadline=time.monotonic() - 1)
    assert over.is_over([]) and over.reason == "max_runtime_secs"
    assert 0 < over.seconds_left < 0.01
    assert Limits("deviance").seconds_left == 0  # no limit
