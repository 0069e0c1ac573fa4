"""How long rounds are, and after which of them the network is scored."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dask_dl import DeepLearningRegressor
from dask_dl.training.schedule import RoundSchedule, ScoringSchedule
from dask_dl.training.settings import ScoringSettings


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


def test_events_are_due_at_multiples_whatever_the_clock_says():
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
    for due in range(700, 20_000, 700):
        epoch, place = divmod(due, 1000)
        assert min(epoch * 1000 + -(-place // batch) * batch, (epoch + 1) * 1000) in ends


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
