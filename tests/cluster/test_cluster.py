"""Training on a cluster: the logic, on workers within this process; what needs real processes is in test_processes.py."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import time

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from cluster.tables import (
    PLAIN,
    assert_same_bits,
    in_loop,
    in_process,
    lose,
    nothing_left,
    parted,
    rounds,
    training_plugins,
)
from distributed import Client, Worker, get_client, get_worker, worker_client
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.checkpoint.folder import CheckpointFolder
from dask_dl.cluster import environment, membership, plugin, submit
from dask_dl.cluster.average_tree import AverageTree
from dask_dl.cluster.block_moves import BlockMoves
from dask_dl.cluster.liveness import Liveness
from dask_dl.cluster.partitions import Partitions
from dask_dl.cluster.plugin import TrainingPlugin
from dask_dl.cluster.submit import Submitter
from dask_dl.errors import (
    ClusterError,
    DaskDLWarning,
    DivergedError,
    NoWorkersError,
    ParameterError,
    ReplicasLostError,
    SchemaError,
)
from dask_dl.metrics.scores import MAX_SCORES
from dask_dl.training import loop as loop_of_trainings
from dask_dl.training.checkpoints import Checkpoint

one_worker = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)], timeout=120)
two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    """Kernels are compiled, and zarr has its thread, before clocks of clusters tick and threads are counted."""
    DeepLearningRegressor(**PLAIN, checkpoint_dir=tmp_path_factory.mktemp("state")).fit(make_table(50), "y")


# ---- the same numbers ---------------------------------------------------------------------------------------------------


TIMES = {"timestamp", "duration", "training_speed", "communication", "scoring_seconds"}


@one_worker
async def test_one_worker_gives_the_bits_of_this_process(c, s, a):
    table, held = make_table(1000), make_table(300, seed=1)
    for kind, y, given in (
        (DeepLearningRegressor, "y", {}),
        (DeepLearningRegressor, "y", {"adaptive_rate": False, "momentum_stable": 0.5, "reproducible": True}),
        (DeepLearningClassifier, "label", {"overwrite_with_best_model": True, "score_training_samples": 400}),
        (DeepLearningRegressor, "y", {"distribution": "huber", "activation": "maxout_with_dropout"}),
        (DeepLearningClassifier, "label", {"mini_batch_size": 16, "input_dropout_ratio": 0.2, "max_w2": 2.0}),
        (DeepLearningRegressor, "y", {"missing_values_handling": "skip", "categorical_encoding": "label_encoder"}),
        (DeepLearningClassifier, "label", {"categorical_encoding": "sort_by_response"}),
        (DeepLearningClassifier, "label", {"balance_classes": True, "class_sampling_factors": [2.5, 0.3]}),
    ):
        settings = rounds(700) | given
        is_balanced = "balance_classes" in given
        parts = {} if is_balanced else {"sample_weight": "w"}
        if given.get("missing_values_handling") == "skip":
            table, held = (t.assign(a=t["a"].where(t["a"] > -1.5)) for t in (table, held))
        table_, held_ = (t.drop(columns="label" if y == "y" else "y") for t in (table, held))
        X, Xv = parted(table_), parted(held_, 2)
        here = await asyncio.to_thread(in_process, kind(**settings), X, y, Xv, **parts)
        there = await kind(**settings).fit(X, y, eval_set=Xv, **parts)
        assert_same_bits(there, here)
        columns = [name for name in here.history_ if name not in TIMES]
        pd.testing.assert_frame_equal(there.history_[columns], here.history_[columns], rtol=1e-9)
        assert there.encoder_ == here.encoder_


@one_worker
async def test_arrays_in_the_memory_of_a_cluster_and_on_disk(c, s, a):
    table = make_table(1000)
    local, y, w = table[list("abcde")].to_numpy(), table["y"].to_numpy(), table["w"].to_numpy()
    X = da.from_array(local, chunks=(300, 2))
    settings = rounds(700)
    here = await asyncio.to_thread(in_process, DeepLearningRegressor(**settings), X, y, (X, y, w), sample_weight=w)
    persisted = c.persist(X)
    unknown = da.Array(X.dask, X.name, ((np.nan,) * 4, X.chunks[1]), meta=X._meta)
    for X_, y_, w_ in (
        (X, da.from_array(y, chunks=450), w),
        (persisted, c.persist(da.from_array(y, chunks=300)), da.from_array(w, chunks=1000)),
        (unknown, da.from_array(y, chunks=300), da.from_array(w, chunks=300)),
    ):
        there = await DeepLearningRegressor(**settings).fit(X_, y_, sample_weight=w_, eval_set=(X_, y_, w_))
        assert_same_bits(there, here)
        lazy = there.predict(X_)
        np.testing.assert_array_equal(await c.compute(lazy), here.predict(local))


@two_workers
async def test_local_tables_and_few_partitions_are_divided_too(c, s, a, b):
    table = make_table()[["a", "b", "level", "y"]]
    for X in (table, parted(table, 1)):
        seen = []

        def look(record, seen=seen):
            seen.append([p.shard.tables["training"].n_used for w in (a, b) for p in training_plugins(w)])

        model = await DeepLearningRegressor(**rounds(1000)).fit(X, "y", callbacks=[look])
        assert model.model_.record.n_seen == 4000 and model.parameters_["n_jobs"] == 2
        assert all(len(sizes) == 2 and min(sizes) > 0.4 * sum(sizes) for sizes in seen)
    await nothing_left(s, a, b)


# ---- rounds -------------------------------------------------------------------------------------------------------------


@two_workers
async def test_twenty_rounds_leave_no_more_tasks_than_five(c, s, a, b):
    tasks = []
    model = DeepLearningRegressor(**rounds(100) | {"epochs": 1})
    await model.fit(parted(make_table()), "y", callbacks=[lambda _: tasks.append(len(s.tasks))])
    assert len(tasks) == 20 and max(tasks[5:]) <= max(tasks[:5]) < 25
    await nothing_left(s, a, b)


@two_workers
async def test_every_row_is_visited_once_in_an_epoch(c, s, a, b):
    table = make_table(1001).assign(number=np.arange(1001.0))
    visited = []
    inner = plugin.Shard.train

    def spy(shard, start, stop, settings, on_rows=None):
        whole, _, _ = shard.visits.source.at(0, 0, lambda: None)
        rows = whole.numbers(start, stop) if stop <= shard.visits.n_rows else []
        visited.append(list(rows))
        return inner(shard, start, stop, settings, on_rows)

    plugin.Shard.train = spy
    try:
        model = await DeepLearningRegressor(**rounds(77) | {"epochs": 1}).fit(parted(table), "y")
    finally:
        plugin.Shard.train = inner
    assert sorted(row for rows in visited for row in rows) == list(range(1001))
    assert model.model_.record.n_seen == 1001 and len(visited) == 2 * 13


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
async def test_the_dashboard_tells_the_story(c, s, a, b):
    await DeepLearningRegressor(**rounds(1000)).fit(parted(make_table()), "y")
    names = {"scan", "scan-merge", "encode", "compile", "take", "train", "average", "receive", "score", "give"}
    assert {f"dask-dl-{name}" for name in names} <= set(s.task_prefixes)


# ---- clients ------------------------------------------------------------------------------------------------------------


@two_workers
async def test_fit_within_a_task(c, s, a, b):
    table = make_table(500)

    def task():
        with worker_client():
            model = DeepLearningRegressor(**PLAIN).fit(parted(table), "y")
        return model.parameters_["n_jobs"], model.client

    def plain_task():
        get_client()  # known to the worker, but not meant for this task
        return DeepLearningRegressor(**PLAIN).fit(table, "y").parameters_["n_jobs"]

    assert await c.submit(task, workers=[a.address]) == (2, None)
    assert await c.submit(plain_task, workers=[a.address]) == 1


@two_workers
async def test_a_cancelled_fit_ends(c, s, a, b):
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    given = rounds(500) | {"epochs": 1e6}
    model = DeepLearningRegressor(**given)
    fit = model.fit(parted(make_table()), "y", callbacks=[lambda _: loop.call_soon_threadsafe(begun.set) and None])
    running = asyncio.ensure_future(fit)
    await begun.wait()
    running.cancel()
    with pytest.warns(DaskDLWarning, match="interrupted"), pytest.raises(asyncio.CancelledError):
        await running
    assert model.stopped_by_ == "interrupted"
    await nothing_left(s, a, b)


@two_workers
async def test_a_round_that_is_stopped_before_its_first_row_is_none(c, s, a, b):
    inner = Submitter.submit

    def spy(self, name, worker, function, *arguments):
        if name == "train" and arguments[1] == 4:  # the version of the weights after three rounds
            for home in training_plugins(a) + training_plugins(b):
                home.stopped = 4
        return inner(self, name, worker, function, *arguments)

    Submitter.submit = spy
    try:
        model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y")
    finally:
        Submitter.submit = inner
    assert model.model_.record.n_seen == 4000 and model.n_iter_ == 9  # one of them learned nothing


@two_workers
async def test_a_client_never_travels(c, s, a, b):
    from sklearn.base import clone

    model = DeepLearningRegressor(**PLAIN, client=c)
    assert pickle.loads(pickle.dumps(model)).client is None
    assert clone(model).client is c and model.client is c
    await model.fit(parted(make_table(200)), "y")
    fitted = pickle.loads(pickle.dumps(model))
    assert fitted.client is None and fitted.model_.record.requested["client"] is None
    assert model.parameters_["client"] is None


@one_worker
async def test_a_client_that_is_none_is_refused(c, s, a):
    with pytest.raises(ClusterError, match="no running"):
        DeepLearningRegressor(client="tcp://somewhere").fit(make_table(10), "y")
    other = await Client(s.address, asynchronous=True)
    await other.close()
    with pytest.raises(ClusterError, match="no running"):
        DeepLearningRegressor(client=other).fit(make_table(10), "y")


# ---- workers come and go ------------------------------------------------------------------------------------------------


@two_workers
async def test_a_worker_that_joins_gets_blocks(c, s, a, b, monkeypatch):
    monkeypatch.setattr(membership, "MIN_SECONDS", 1e9)  # nobody is taken for faster, whatever else the machine does
    loop, new, held = asyncio.get_running_loop(), [], []

    def join(record):
        if record["iterations"] == 3:
            new.append(in_loop(start(), loop))
        if new and training_plugins(new[0]):
            tables = training_plugins(new[0])[0].shard.tables
            held.append({name: len(table.blocks) for name, table in tables.items()})
            return len(held) > 5 and held[-1] == {"training": 6, "validation": 6}
        return False

    async def start():
        return await Worker(s.address, nthreads=1)

    settings = rounds(300) | {"epochs": 1e4}
    model = DeepLearningRegressor(**settings, verbose=False)
    await model.fit(parted(make_table(), 18), "y", eval_set=parted(make_table(600), 6), callbacks=[join])
    # Those of validation were cut in three.
    assert held[-1] == {"training": 6, "validation": 6}
    assert model.parameters_["n_jobs"] == 3
    await nothing_left(s, a, b, new[0])
    await new[0].close()


@two_workers
async def test_a_worker_that_leaves_costs_a_round_and_no_replay(c, s, a, b):
    loop, trained = asyncio.get_running_loop(), []
    inner = plugin.Shard.train

    def spy(shard, start, stop, settings, on_rows=None):
        trained.append(stop - start)
        return inner(shard, start, stop, settings, on_rows)

    def leave(record):
        if record["iterations"] == 5:  # all have the average then: one of them goes
            in_loop(a.close(), loop)

    plugin.Shard.train = spy
    try:
        model = await DeepLearningRegressor(**rounds(200)).fit(parted(make_table()), "y", callbacks=[leave])
    finally:
        plugin.Shard.train = inner
    assert model.model_.record.n_seen == 4000 == sum(trained)
    assert model.n_iter_ == 20
    await nothing_left(s, b)


@two_workers
async def test_a_worker_that_forgets_is_filled_again(c, s, a, b):
    forgot = []

    def forget(record):
        if record["iterations"] in {3, 6}:
            (home,) = training_plugins(a)
            home.forget()
            forgot.append(record["samples"])

    model = await DeepLearningRegressor(**rounds(500)).fit(parted(make_table()), "y", callbacks=[forget])
    assert len(forgot) == 2 and model.model_.record.n_seen == 4000
    assert training_plugins(a) == [] and model.score(make_table(), "y") > 0.5


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
async def test_the_last_checkpoint_is_not_older_than_the_one_before(c, s, a, b, tmp_path, monkeypatch):
    """What was fetched for a checkpoint is gone back to; the copy that the driver makes now and then is of the start."""
    monkeypatch.setattr(loop_of_trainings, "SECONDS_PER_FETCH", 1e9)
    monkeypatch.setattr(loop_of_trainings, "SECONDS_PER_COPY", 1e9)
    loop, saved = asyncio.get_running_loop(), []

    def watch(record):
        newest = CheckpointFolder(str(tmp_path)).newest(str)
        saved.append(0 if newest is None else Checkpoint.read(newest).state("deviance").n_seen)
        if len(saved) == 6:
            for worker in (a, b):
                training_plugins(worker)[0].forget()  # else it hands over what it has
                in_loop(lose(s, worker), loop)

    saving = {"checkpoint_dir": tmp_path, "checkpoint_interval": 0.0, "worker_timeout": 0.5}
    with pytest.raises(NoWorkersError):
        await DeepLearningRegressor(**rounds(100) | saving).fit(parted(make_table(1000)), "y", callbacks=[watch])
    newest = Checkpoint.read(CheckpointFolder(str(tmp_path)).newest(str))
    assert newest.state("deviance").n_seen >= saved[-1] > 200


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


def blocks_of(worker):
    (home,) = training_plugins(worker)
    return sorted(home.shard.tables["training"].blocks if "training" in home.shard.tables else ())


@two_workers
async def test_a_worker_that_was_taken_for_lost_begins_anew(c, s, a, b, monkeypatch):
    """What it had read belongs to the other by then: no row is trained or scored twice."""
    monkeypatch.setattr(membership, "MIN_SECONDS", 1e9)  # as above
    look, hidden, held, sums = Liveness.look, [], [], []

    def spy(self, *age):
        alive = look(self, *age)
        if hidden and hidden[0] > 0:
            hidden[0] -= 1
            alive.pop(a.address, None)
        return alive

    def watch(record):
        if record["iterations"] == 3:
            hidden.append(5)
        held.append([blocks_of(a), blocks_of(b)])
        return any(len(theirs) == 18 for _, theirs in held) and min(map(len, held[-1])) == 9

    Liveness.look = spy
    try:
        given = rounds(300) | {"epochs": 1e4}
        model = await DeepLearningClassifier(**given).fit(parted(make_table(), 18), "label", callbacks=[watch])
    finally:
        Liveness.look = look
    sums.append(np.sum(model.model_.record.history.measured["training"].confusion.matrix))
    assert sums == [2000]
    assert any(len(theirs) == 18 for _, theirs in held)
    assert sorted(held[-1][0] + held[-1][1]) == list(range(18)) and min(map(len, held[-1])) == 9


@two_workers
async def test_a_take_over_that_fails_loses_no_block(c, s, a, b):
    loop, new, moves = asyncio.get_running_loop(), [], []
    inner = BlockMoves.take_over

    def spy(self):
        moves.append(len(self.futures))
        if len(moves) == 1:
            training_plugins(new[0])[0].staged.clear()
        inner(self)

    async def start():
        return await Worker(s.address, nthreads=1)

    def watch(record):
        if record["iterations"] == 3:
            new.append(in_loop(start(), loop))
        return len(moves) > 1

    BlockMoves.take_over = spy
    try:
        given = rounds(300) | {"epochs": 1e4}
        model = await DeepLearningClassifier(**given).fit(parted(make_table(), 18), "label", callbacks=[watch])
    finally:
        BlockMoves.take_over = inner
    assert len(moves) > 1 and np.sum(model.model_.record.history.measured["training"].confusion.matrix) == 2000
    await nothing_left(s, a, b)
    await new[0].close()


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
async def test_what_partitions_share_is_computed_once_and_the_rest_where_it_is_wanted(c, s, a, b):
    table = make_table()[["a", "b", "y"]]
    a.reads, b.reads = [], []

    def read(k):
        get_worker().reads.append(k)
        return table[k::8]

    frame = dd.from_map(read, range(8), meta=table[:0])
    await DeepLearningRegressor(**PLAIN).fit(frame, "y")
    reads = sorted(a.reads + b.reads)
    assert reads == sorted([*range(8), *range(8)])  # for the scan, and for the blocks
    assert min(len(a.reads), len(b.reads)) >= 4
    frame["a"] = frame["a"] - frame["a"].mean()
    await DeepLearningRegressor(**PLAIN).fit(frame, "y")
    assert len(a.reads + b.reads) <= 16 + 4 * 8  # twice for the mean, twice for the rows
    await nothing_left(s, a, b)


@two_workers
async def test_a_client_that_is_closed_leaves_the_last_good_network(c, s, a, b):
    other = await Client(s.address, asynchronous=True)

    def close(record):
        if record["iterations"] == 6:
            other.close()

    given = rounds(500) | {"overwrite_with_best_model": True, "worker_timeout": 1.0}
    model = DeepLearningRegressor(**given, client=other)
    with pytest.raises(NoWorkersError):
        await model.fit(parted(make_table()), "y", callbacks=[close])
    assert model.stopped_by_ == "no workers" and len(model.predict(make_table())) == 2000


def slow(part):
    time.sleep(0.5)
    return part


@two_workers
async def test_a_fit_that_is_cancelled_while_it_reads_ends_at_once(c, s, a, b):
    table = make_table(400)
    model = DeepLearningRegressor(**PLAIN)
    running = asyncio.ensure_future(model.fit(parted(table, 40).map_partitions(slow, meta=table[:0]), "y"))
    await asyncio.sleep(1)
    running.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.monotonic() - began < 5 and not hasattr(model, "model_")
    await nothing_left(s, a, b)


@one_worker
async def test_the_lease_is_renewed_while_the_driver_waits(c, s, a, monkeypatch):
    monkeypatch.setattr(submit, "RENEWAL", 0.2)
    table, renewals = make_table(250), set()
    model = DeepLearningRegressor(**PLAIN)
    running = asyncio.ensure_future(model.fit(parted(table, 5).map_partitions(slow, meta=table[:0]), "y"))
    while not running.done():
        await asyncio.sleep(0.05)
        renewals |= {home.used for home in training_plugins(a) if "training" not in home.shard.tables}
    await running
    # The scan alone takes two and a half seconds, in which no task asks for the shard.
    assert len(renewals) >= 5 and model.model_.record.n_seen == 500


@two_workers
async def test_a_diverging_round_is_rolled_back_everywhere(c, s, a, b):
    table = make_table()
    settings = rounds(1000) | {"adaptive_rate": False, "rate": 30.0, "rate_annealing": 0.0, "epochs": 3}
    model = DeepLearningRegressor(**settings)
    with pytest.warns(DaskDLWarning, match="smaller from there"), contextlib.suppress(DivergedError):
        await model.fit(parted(table[["a", "b", "y"]]), "y")
    await nothing_left(s, a, b)


@one_worker
async def test_a_job_without_a_driver_is_forgotten(c, s, a):
    await c.register_plugin(TrainingPlugin("abc"))
    (home,) = training_plugins(a)
    home.version, home.used = 3, time.monotonic() - plugin.LEASE - 1
    home.look()
    assert home.version == -1
    await c.unregister_worker_plugin("dask-dl-abc")


# ---- errors -------------------------------------------------------------------------------------------------------------


def broken(part):
    if 5 in part.index:
        raise ValueError("bad day")
    return part


@two_workers
async def test_errors_of_partitions_name_the_table(c, s, a, b):
    table = make_table(100)
    with pytest.raises(SchemaError, match=r"partition 0 of the training table cannot be read(.|\n)*bad day"):
        await DeepLearningRegressor(**PLAIN).fit(parted(table).map_partitions(broken, meta=table[:0]), "y")
    with pytest.raises(SchemaError, match="infinite values in partition 3"):
        await DeepLearningRegressor(**PLAIN).fit(
            parted(table.assign(a=np.where(table.index == 50, np.inf, 0.0)), 7), "y"
        )
    with pytest.raises(SchemaError, match="one class only"):
        await DeepLearningClassifier(**PLAIN).fit(parted(table.assign(label="one")), "label")
    await nothing_left(s, a, b)


class BrokenMetric:
    greater_is_better = True

    def measure(self, y_true, y_pred, sample_weight):
        raise KeyError("lost")

    def merge(self, state, other):
        return state

    def value(self, state):
        return 0.0


@two_workers
async def test_a_metric_that_fails_on_workers_is_named(c, s, a, b):
    text = r"custom_metric: BrokenMetric\.measure failed with KeyError: 'lost'"
    with pytest.raises(ParameterError, match=text):
        await DeepLearningRegressor(**rounds(500), custom_metric=BrokenMetric()).fit(parted(make_table(500)), "y")
    await nothing_left(s, a, b)


def facts(**changes):
    return environment.describe() | changes


def test_what_is_installed_is_judged_before_work_starts():
    assert environment.check({"a": facts(), "b": facts()}) == []
    with pytest.raises(ClusterError, match=r"cannot be used on b: ModuleNotFoundError.*No module .*pip install"):
        environment.check({"a": facts(), "b": ModuleNotFoundError("No module named 'dask_dl'")})
    with pytest.raises(ClusterError, match=r"dask_dl is .* here and 0.0.1 on b.*same version"):
        environment.check({"a": facts(), "b": facts(dask_dl="0.0.1")})
    (warning,) = environment.check({"a": facts(), "b": facts(numpy="1.0")})
    assert "numpy is" in str(warning) and "1.0 on b" in str(warning)
    (warning,) = environment.check({"a": facts(), "b": facts(processor="mill")})
    assert "mill: b" in str(warning)


@pytest.mark.parametrize("error", [ClusterError("x"), ReplicasLostError("y"), plugin.GoneError("z")])
def test_errors_survive_pickling(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error)


# ---- graphs -------------------------------------------------------------------------------------------------------------


def test_a_partition_comes_with_no_more_than_its_own_graph():
    frame = parted(make_table(100), 10)[["a"]].rename(columns={"a": "A"})
    partitions = Partitions(frame.to_delayed())
    few = partitions.some({"": [3, 7]})[""]
    assert few.keys() == {3, 7}
    for k, part in few.items():
        pd.testing.assert_frame_equal(part.compute(scheduler="sync"), frame.get_partition(k).compute(scheduler="sync"))
    alone = partitions.some({"": [3]})[""][3]
    assert len(dict(alone.__dask_graph__())) < len(dict(few[3].__dask_graph__())) <= 8


def test_a_recipe_travels_once(monkeypatch):
    """A graph of encoding tasks stays small, however many levels the categories have."""
    table = pd.DataFrame({"level": [f"level {k}" for k in range(20_000)], "y": np.arange(20_000.0)})
    sizes = []

    @two_workers
    async def run(c, s, a, b):
        update = s.update_graph

        async def spy(expr_ser, **more):
            sizes.append(sum(len(frame) for frame in expr_ser.frames))
            return await update(expr_ser=expr_ser, **more)

        s.stream_handlers["update-graph"] = spy
        frame = dask.datasets.timeseries(end="2000-01-03", freq="1h")  # a graph whose tasks make the data
        frame = frame.map_partitions(lambda part: table[: len(part)], meta=table[:0], enforce_metadata=False)
        await DeepLearningRegressor(**PLAIN | {"epochs": 0.01}).fit(frame, "y")

    run()
    assert sizes and max(sizes) < 3_000_000


@one_worker
async def test_sparse_blocks_on_a_worker_give_the_bits_of_this_process(c, s, a):
    import dask.array as da
    from scipy import sparse

    random = np.random.default_rng(0)
    whole = random.normal(size=(600, 30)) * (random.random((600, 30)) < 0.1)
    X = da.from_array(whole, chunks=(150, 10)).map_blocks(
        sparse.csr_matrix, dtype=float, meta=sparse.csr_matrix((0, 0))
    )
    y = whole @ random.normal(size=30)
    for given in ({}, {"mini_batch_size": 8, "storage": "disk"}):
        here = await asyncio.to_thread(in_process, DeepLearningRegressor(**PLAIN | given), X, y)
        there = await DeepLearningRegressor(**PLAIN | given).fit(X, y)
        assert_same_bits(there, here)
        answers = await c.compute(there.predict(X))
        np.testing.assert_allclose(answers, here.predict(sparse.csr_array(whole)), rtol=1e-6)


# ---- odd partitions -----------------------------------------------------------------------------------------------------


def read_or_spoil(k, odd=None):
    """A third of the table, its columns in an order of its own; of the second third something else, if it is given."""
    table = make_table(300)
    part = table.iloc[100 * k : 100 * k + 100]
    if k == 1 and odd == "lacking":
        return part.drop(columns="a")
    if k == 1 and odd == "none":
        return None
    return part[np.roll(part.columns, k)]


@two_workers
async def test_partitions_list_columns_in_any_order_and_lack_none(c, s, a, b):
    table = make_table(300)
    meta = table.iloc[:0]
    X = dd.from_map(read_or_spoil, range(3), meta=meta).drop(columns="label")
    once = rounds(300) | {"epochs": 1}
    for storage in ("memory", "stream"):
        model = await DeepLearningRegressor(**once, storage=storage).fit(X, "y", sample_weight="w", eval_set=X)
        means = model.encoder_.describe()["mean"].dropna()
        weights = table["w"] / table["w"].sum()
        np.testing.assert_allclose(means, [(table[name] * weights).sum() for name in means.index], rtol=1e-6)
    predicted = await c.compute(model.predict(X))
    np.testing.assert_allclose(predicted, model.predict(table), rtol=1e-5)
    for odd, message in (("lacking", "partition 1 of the training table lacks the column 'a'"), ("none", "is None")):
        spoiled = dd.from_map(read_or_spoil, range(3), odd=odd, meta=meta).drop(columns="label")
        with pytest.raises(SchemaError, match=message):
            await DeepLearningRegressor(**once).fit(spoiled, "y")
        with pytest.raises(SchemaError, match="partition 1 of the table to predict"):
            await c.compute(model.predict(spoiled))
