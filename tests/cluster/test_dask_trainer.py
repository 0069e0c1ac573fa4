"""A training on workers: rounds, averages, and what becomes of them when workers forget."""

from __future__ import annotations

import asyncio
import contextlib
import pickle

import pytest
from cluster.tables import in_loop, lose, nothing_left, parted, rounds, training_plugins, two_workers
from cluster.trainings import N_ROUNDS, TELL, TRAININGS, N, Training, alone, asked, assert_same
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.cluster.average_tree import AverageTree
from dask_dl.cluster.dask_trainer import DaskTrainer
from dask_dl.cluster.local import LocalBackend
from dask_dl.cluster.setup import RoundSettings
from dask_dl.cluster.submit import Submitter
from dask_dl.errors import DaskDLWarning, DivergedError
from dask_dl.metrics.scores import MAX_SCORES
from dask_dl.training.backends import backend_for
from dask_dl.training.engine import encode, train
from dask_dl.training.loop import TIME_IS_UP, Halt


@two_workers
async def test_only_small_results_travel_to_the_driver(c, s, a, b):
    fetched = []
    inner = Submitter.results

    def spy(self, futures, lost):
        done, gone = inner(self, futures, lost)
        names = {key.split("-")[2] for key in (future.key for future in futures.values())}
        fetched.append((*names, len(pickle.dumps(done))))
        return done, gone

    Submitter.results = spy
    try:
        settings = rounds(500) | {"epochs": 1.5, "hidden": (200, 200), "score_training_samples": 0}
        n = 5000
        await DeepLearningClassifier(**settings).fit(parted(make_table(n)), "label", eval_set=parted(make_table(n)))
    finally:
        Submitter.results = inner
    sizes = {name: max(size for other, size in fetched if other == name) for name, _ in fetched}
    assert sizes["give"] > 3 * 4 * 40_000  # the network, for a copy now and then
    # A code and a weight for each different score of two classes, up to a number that does not grow with the rows.
    assert (
        sizes["score"] < 16 * min(n, MAX_SCORES) + 3000
        and sizes["receive"] < 3000
        and "train" not in sizes
        and "average" not in sizes
    )
    assert sum(name == "give" for name, _ in fetched) < 0.5 * sum(name == "score" for name, _ in fetched)  # by time


@two_workers
async def test_when_all_forget_training_goes_back_to_the_drivers_copy(c, s, a, b):
    forgot = []

    def forget(record):
        if record["iterations"] == 5 and not forgot:
            forgot.append(record["samples"])
            for worker in (a, b):
                training_plugins(worker)[0].forget()

    with pytest.warns(DaskDLWarning, match="all workers that held the weights are gone. Went back to"):
        model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y", callbacks=[forget])
    assert model.model_.record.n_seen == 4000 and model.history_["samples"].is_monotonic_increasing
    assert model.score(make_table(), "y") > 0.5


@two_workers
async def test_no_answer_of_the_holders_while_averages_travel(c, s, a, b, monkeypatch):
    """The worker on which averages are taken goes away between training and averaging."""
    loop, closed = asyncio.get_running_loop(), []
    inner, n_averages = AverageTree.average, 0

    def spy(self, trained, *given):
        nonlocal n_averages
        n_averages += 1
        if n_averages == 5:
            first = min(trained)
            closed.append(first)
            in_loop((a if a.address == first else b).close(), loop)
        return inner(self, trained, *given)

    monkeypatch.setattr(AverageTree, "average", spy)
    model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y")
    assert closed and model.model_.record.n_seen == 4000


@pytest.mark.parametrize("n_forgetful", [1, 2])
@two_workers
async def test_workers_that_forget_between_training_and_averaging_are_not_asked_for_ever(
    c, s, a, b, monkeypatch, n_forgetful
):
    inner, n_averages = AverageTree.average, 0

    def forgetting(self, trained, *given):
        nonlocal n_averages
        n_averages += 1
        if n_averages == 5:
            for worker in (a, b)[:n_forgetful]:
                training_plugins(worker)[0].forget()
        return inner(self, trained, *given)

    monkeypatch.setattr(AverageTree, "average", forgetting)
    with pytest.warns(DaskDLWarning, match="Went back to") if n_forgetful == 2 else contextlib.nullcontext():
        model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y")
    assert n_averages < 20 and model.model_.record.n_seen == 4000


@two_workers
async def test_an_average_that_nobody_confirmed_is_found_again(c, s, a, b):
    inner, dropped = Submitter.results, []

    def spy(self, futures, lost):
        done, gone = inner(self, futures, lost)
        if any("dask-dl-receive" in str(future.key) for future in futures.values()) and len(dropped) < 3:
            dropped.append(len(done))
            return {}, set(futures)
        return done, gone

    Submitter.results = spy
    try:
        model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y")
    finally:
        Submitter.results = inner
    assert dropped == [2, 2, 2] and model.model_.record.n_seen == 4000 and model.n_iter_ == 8


@two_workers
async def test_a_diverging_round_is_rolled_back_everywhere(c, s, a, b):
    table = make_table()
    settings = rounds(1000) | {"adaptive_rate": False, "rate": 30.0, "rate_annealing": 0.0, "epochs": 3}
    model = DeepLearningRegressor(**settings)
    with pytest.warns(DaskDLWarning, match="smaller from there"), contextlib.suppress(DivergedError):
        await model.fit(parted(table[["a", "b", "y"]]), "y")
    await nothing_left(s, a, b)


FIXED = {"reproducible": True, "n_shards": 3}


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 3, timeout=180)
async def test_shards_that_are_trained_again_for_the_average_can_be_broken_off(c, s, a, b, d, monkeypatch):
    requested, request = asked(parted(make_table(1000)[["a", "b", "level", "y"]]), FIXED)
    expected = await asyncio.to_thread(alone, lambda: LocalBackend(n_shards=3), request, requested)
    inner, calls, is_over = DaskTrainer.average, [], []

    def average(trainer):
        """What a worker has trained is gone when it is to be averaged."""
        calls.append(trainer)
        if len(calls) in {2, 11}:
            worker = d if len(calls) == 2 else b
            asyncio.run_coroutine_threadsafe(lose(s, worker), c.loop.asyncio_loop).result()
            is_over.append(True)
        try:
            inner(trainer)
        finally:
            is_over.clear()

    monkeypatch.setattr(DaskTrainer, "average", average)

    def on_rows(n):
        if is_over:
            raise Halt(TIME_IS_UP)

    def by_hand():
        backend = backend_for(requested, c, TELL, lambda: False)
        with backend:
            training = Training(backend, encode(request, backend), requested, TRAININGS[0])
            training.round()
            before = training.learned()
            training.trainer.train(N, RoundSettings(), on_rows)
            with pytest.raises(Halt, match=TIME_IS_UP):
                training.trainer.average()
            training.trainer.average()
            assert_same(training.learned(), before)
            for _ in range(N_ROUNDS - 1):
                training.round()
            assert_same(training.learned(), expected[0])

    def by_the_loop():
        del calls[9:]
        calls.extend([None] * (9 - len(calls)))
        outcome = train(request, backend_for(requested, c, TELL, lambda: False), cancelled=lambda: bool(is_over))
        assert outcome.failure is None
        record = outcome.model.record
        assert (record.stopped_by, record.n_seen) == ("interrupted", N)

    await asyncio.to_thread(by_hand)
    await asyncio.to_thread(by_the_loop)
    await nothing_left(s, a)
