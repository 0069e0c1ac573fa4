"""Replicas: threads that share rows have the bits of one, whatever their number; interrupts, hand-overs, and a consensus."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from node.problems import optimizer, packed, problem, replica, some, threads

from dask_dl.frame.order import keys_of
from dask_dl.kernels.atomics import LINE
from dask_dl.kernels.layout import ACTIVATIONS, Topology
from dask_dl.kernels.network import train_rows
from dask_dl.kernels.team import ABORT, SPENT, WAITED, max_threads
from dask_dl.node import replica as node_replica
from dask_dl.node.parallelism import Parallelism
from dask_dl.state import Entries, begins


def table(levels=(), n_dense=20, hidden=(40, 50), n_outputs=3, activation="rectifier", n=70, **more):
    random = np.random.default_rng(3)
    active = None
    if levels:
        starts = np.cumsum([0, *levels[:-1]])
        active = np.stack([s + random.integers(k, size=n) for s, k in zip(starts, levels, strict=True)], axis=1)
        active[random.random(active.shape) < 0.05] = -1
    X = random.normal(size=(n, n_dense))
    X[random.random(X.shape) < 0.2] = 0
    y = random.integers(n_outputs, size=n) if n_outputs > 1 else random.normal(size=n)
    output = "softmax" if n_outputs > 1 else "linear"
    rows = packed(X, y, active)._replace(key=keys_of(np.arange(n), 5, "epoch 0"))
    return Topology(sum(levels), n_dense, hidden, n_outputs, activation, output, **more), rows


def with_entries(topology, rows, n_sparse=20):
    """The same rows, with up to so many entries each."""
    random = np.random.default_rng(4)
    present = random.random((rows.n, n_sparse)) < random.random((rows.n, 1))
    length = present.sum(axis=1).astype(np.int32)
    slot = (topology.n_onehot + np.nonzero(present)[1]).astype(np.int32)
    entries = Entries(begins(length), length, slot, random.normal(size=len(slot)).astype(np.float32))
    topology = replace(topology, n_onehot=topology.n_onehot + n_sparse, n_sparse=n_sparse)
    return topology, rows._replace(entries=entries)


def assert_same_bits(topology, rows, settings, sizes=(2, 3, 4), calls=2, center=None):
    expected = None
    for n in (1, *sizes):
        trained = replica(topology, settings, threads("team" if n > 1 else "one thread", n, 7 * settings.batch))
        trained.pull_to(center)
        losses = [trained.train(rows) for _ in range(calls)]
        found = (trained.flat.tobytes(), *(s.tobytes() for s in trained.states), losses, trained.n_seen)
        expected = expected or found
        assert found == expected, n


@pytest.mark.parametrize("kind", ["adadelta", "momentum", "plain"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("fast_mode", [True, False])
@pytest.mark.parametrize("penalty", [0.0, 1e-3])
def test_any_number_of_threads_gives_the_same_bits(kind, activation, fast_mode, penalty):
    topology, rows = table(levels=(5, 30), activation=activation)
    assert_same_bits(topology, rows, optimizer(kind, fast_mode=fast_mode, l1=penalty, l2=penalty))


@pytest.mark.parametrize("kind", ["adadelta", "momentum", "plain"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("fast_mode", [True, False])
def test_dropout_limits_and_means_give_the_same_bits(kind, activation, fast_mode):
    topology, rows = table(levels=(5, 30), activation=activation, dropout=(0.5, 0.2), has_means=True)
    settings = optimizer(
        kind, fast_mode=fast_mode, input_kept=0.8, max_w2=0.5, sparsity_beta=0.1, average_activation=0.1
    )
    assert_same_bits(topology, rows, settings, sizes=(2, 3))


@pytest.mark.parametrize("batch", [4, 32, 1000])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("fast_mode", [True, False])
def test_mini_batches_give_the_same_bits(batch, activation, fast_mode):
    for shape in ({"levels": (5, 30)}, {"hidden": (130, 33, 90), "n_outputs": 1}, {"hidden": (), "n_outputs": 40}):
        topology, rows = table(activation=activation, dropout=(0.5,) * len(shape.get("hidden", (1, 1))), **shape)
        settings = optimizer(fast_mode=fast_mode, input_kept=0.8, max_w2=0.5, l2=1e-3, batch=batch)
        assert_same_bits(topology, rows, settings, sizes=(2, 3))


@pytest.mark.parametrize("kind", ["adadelta", "momentum", "plain"])
@pytest.mark.parametrize("batch", [1, 4, 32])
@pytest.mark.parametrize("changes", [{}, {"fast_mode": False, "l2": 1e-3}, {"input_kept": 0.8, "max_w2": 0.5}], ids=str)
def test_entries_give_the_same_bits(kind, batch, changes):
    for levels in ((), (5, 30)):
        topology, rows = with_entries(*table(levels=levels))
        assert_same_bits(topology, rows, optimizer(kind, batch=batch, **changes))


@pytest.mark.parametrize("changes", [{"input_kept": 0.8}, {"max_w2": 0.5}, {"sparsity_beta": 5.0}, {}], ids=str)
def test_each_of_them_alone_gives_the_same_bits_and_has_a_say(changes):
    topology, rows = table(levels=(5, 30), dropout=() if changes else (0.5, 0.2), has_means=True)
    assert_same_bits(topology, rows, optimizer(**changes), sizes=(2, 3))
    plain, _ = table(levels=(5, 30), has_means=True)
    found = []
    for kind, settings in ((topology, optimizer(**changes)), (plain, optimizer())):
        trained = replica(kind, settings, threads("team", 3, 7))
        trained.train(rows)
        found.append(trained.flat)
    assert not np.allclose(*found, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "shape",
    [
        {"hidden": (64,), "dropout": (0.5,)},
        {"hidden": (33, 17, 90), "dropout": (0.1, 0.5, 0.0)},
        {"hidden": (), "n_outputs": 40},
        {"hidden": (100,), "levels": (300,), "n_dense": 0, "dropout": (0.3,)},
    ],
    ids=str,
)
def test_any_topology_of_maxout_with_dropout_gives_the_same_bits(shape):
    topology, rows = table(activation="maxout", **shape)
    assert_same_bits(topology, rows, optimizer(input_kept=0.7, max_w2=1.0), sizes=(2, 3))


@pytest.mark.parametrize("kind", ["adadelta", "momentum", "plain"])
@pytest.mark.parametrize("fast_mode", [True, False])
def test_a_pull_gives_the_same_bits_on_any_number_of_threads(kind, fast_mode):
    topology, rows = table(levels=(5, 30))
    settings = optimizer(kind, fast_mode=fast_mode, pull=0.01)
    center = replica(topology, settings, threads("one thread", 1), seed=1).flat
    assert_same_bits(topology, rows, settings, sizes=(2, 3), center=center)


@pytest.mark.parametrize(
    "shape",
    [
        {"hidden": (64,)},
        {"hidden": (33, 17, 90)},
        {"hidden": (16, 100, 16, 35)},
        {"hidden": (), "n_outputs": 40},  # a linear model: no layer between two barriers
        {"hidden": (50,), "n_outputs": 70},
        {"hidden": (70, 40), "n_outputs": 1},
        {"hidden": (100,), "levels": (1000,), "n_dense": 0},
        {"hidden": (200, 200), "n_dense": 301},
    ],
    ids=str,
)
def test_any_topology_gives_the_same_bits(shape):
    topology, rows = table(**shape)
    maximum = max_threads(topology)
    assert_same_bits(
        topology, rows, optimizer(), sizes=sorted({2, 3, min(7, maximum)} & set(range(2, maximum + 1))) or (1,)
    )


def test_row_weights_and_offsets_go_with_a_team():
    topology, rows = table(n_outputs=1)
    random = np.random.default_rng(0)
    weight = random.uniform(0, 2, rows.n).astype(np.float32)
    weight[::5] = 0
    rows = rows._replace(weight=weight, offset=random.normal(size=rows.n).astype(np.float32))
    assert_same_bits(topology, rows, optimizer())


def test_digits_in_a_team_of_three():
    topology, train, _ = problem("digits")
    assert_same_bits(topology, train, optimizer(), sizes=(3,))


def test_a_thread_that_raises_releases_the_others(monkeypatch):
    topology, rows = table(n=2000)
    trained = replica(topology, optimizer(), threads("team", 3, 7))
    trained.compile(rows)
    inner = node_replica.train_rows

    def fails(rows, queue, network, objective, opt, weights, team, *more):
        if team.rank == 1:
            raise MemoryError("no room for this thread")
        return inner(rows, queue, network, objective, opt, weights, team, *more)

    monkeypatch.setattr(node_replica, "train_rows", fails)
    with pytest.raises(MemoryError, match="no room"):
        trained.train(rows)
    assert trained.control[ABORT] == 1
    assert trained.n_seen < rows.n
    monkeypatch.undo()
    trained.train(some(rows, np.arange(100)))  # and goes on when asked again
    assert np.isfinite(trained.flat).all()


def test_an_interrupt_ends_a_team_between_two_rows():
    topology, rows = table(n=40_000, hidden=(160, 160))
    trained = replica(topology, optimizer(), threads("team", 2, 7))
    trained.compile(rows)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained.train(rows, interrupt)
    done = trained.n_seen
    assert 0 < done < rows.n
    # All threads stopped at the same row: the weights are those of one thread after as many rows.
    alone = replica(topology, optimizer(), threads("one thread", 1, 7))
    alone.train(some(rows, np.arange(done)))
    np.testing.assert_array_equal(trained.flat, alone.flat)


def lines_of(trained):
    """Counters of a team, a line for each of its threads."""
    return trained.contexts[0].team.arrived.reshape(-1, LINE)


def pretend(trained, share_of_time):
    """Counters as after a second of timed rows."""
    lines = lines_of(trained)
    lines[0, SPENT] += 10**9
    lines[0, WAITED] += int(share_of_time * 10**9)


def test_a_team_that_waits_too_long_hands_over():
    topology, rows = table(n=300)
    fallback, changes = threads("staleness", 2, 64), []
    trained = replica(topology, optimizer(), Parallelism("team", 2, 7, "wide", fallback))
    trained.on_change = changes.append
    trained.train(rows)
    lines_of(trained)[:, [SPENT, WAITED]] = 0  # on a busy machine real threads may wait as long as the pretended ones
    after_team, way = trained.flat.copy(), trained.parallelism
    pretend(trained, 0.25)
    assert not trained.waits_too_long()
    pretend(trained, 0.35)  # judged by itself: what was before is forgotten
    assert trained.waits_too_long() and trained.parallelism is way
    trained.hand_over()
    assert changes == [trained.parallelism]
    assert (trained.parallelism.way, trained.parallelism.n_threads) == ("staleness", 2)
    assert "waited 3" in trained.parallelism.reason and "after 300 rows" in trained.parallelism.reason
    np.testing.assert_array_equal(trained.flat, after_team)  # nothing learned is lost
    np.testing.assert_array_equal(trained.contexts[0].dense.weights, after_team)
    np.testing.assert_array_equal(trained.contexts[1].dense[1], trained.states[0])
    trained.train(rows)
    assert trained.n_seen == 600


@pytest.mark.timeout(120)
def test_a_real_team_of_too_many_hands_over_within_a_call():
    # More threads than cores spend their time waiting for those that have none.
    topology, rows = table(n=60_000, hidden=(128, 128), n_dense=100)
    crowd = 4 * len(os.sched_getaffinity(0))
    trained = replica(
        topology, optimizer(), Parallelism("team", min(crowd, 8), 7, "crowded", threads("staleness", 2, 64))
    )
    told = []
    sum_of_losses = trained.train(rows, told.append)
    assert trained.parallelism.way == "staleness"
    assert trained.n_seen == sum(told) == rows.n
    assert int(trained.parallelism.reason.split(" after ")[1].split()[0].replace(",", "")) < rows.n
    assert 0 < sum_of_losses < 2 * rows.n * np.log(3)  # every row counted once


def test_a_team_without_a_fallback_stays():
    topology, rows = table(n=300)
    trained = replica(topology, optimizer(), threads("team", 2, 7))
    pretend(trained, 0.9)
    trained.train(rows)
    assert trained.parallelism.way == "team"


def test_waiting_is_measured():
    # Four lanes for three threads, and a one-lane output: somebody must wait. Timed rows spend some time.
    topology, rows = table(n=4000, hidden=(64, 64))
    trained = replica(topology, optimizer(), threads("team", 3, 7))
    trained.train(rows)
    lines = trained.contexts[0].team.arrived.reshape(-1, LINE)[:3]
    assert (lines[:, SPENT] > 0).all()
    assert (lines[:, WAITED] > 0).any()
    assert (lines[:, WAITED] <= lines[:, SPENT]).all()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("way", ["team", "staleness"])
def test_eight_threads_on_few_cores_come_to_an_end(way):
    topology, rows = table(n=500, hidden=(128, 128), n_dense=100)
    trained = replica(topology, optimizer(), threads(way, 8, 9))
    for _ in range(3):
        trained.train(rows)
        trained.merge()
    assert trained.n_seen == 1500
    assert np.isfinite(trained.flat).all()


def pulled(way="one thread", n=1, pull=0.5, kind="plain", fallback=None, activation="rectifier"):
    """A replica at the start values of seed 0, the consensus at those of seed 1, and rows."""
    topology, train, _ = problem("digits", activation=activation)
    settings = optimizer(kind, rate=0.05, pull=pull, fast_mode=False)
    center = replica(topology, settings, threads("one thread", 1), seed=1).flat
    trained = replica(topology, settings, Parallelism(way, n, 8, "as the test asks", fallback))
    trained.pull_to(center)
    return trained, center, some(train, np.arange(400))


def distance(trained, center):
    return float(np.linalg.norm(trained.flat - center))


def silenced(rows):
    """Rows that teach nothing, so that only the pull acts."""
    return rows._replace(weight=np.full(rows.n, 1e-30, np.float32))


@pytest.mark.parametrize(("way", "n"), [("one thread", 1), ("team", 3), ("staleness", 1), ("staleness", 3)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_way_to_train_is_pulled(way, n, activation):
    trained, center, rows = pulled(way, n, activation=activation)
    before = distance(trained, center)
    trained.train(silenced(rows))
    # (1 - 0.05 * 0.5) ** 400 is 4e-5; of working copies a step may get lost where two exchange at the same time.
    assert distance(trained, center) < (0.2 if way == "staleness" else 0.01) * before


@pytest.mark.parametrize(("way", "n"), [("one thread", 1), ("team", 2), ("staleness", 2)])
def test_without_a_consensus_nothing_pulls(way, n):
    trained, _, rows = pulled(way, n)
    trained.pull_to(None)
    before = trained.flat.copy()
    trained.train(silenced(rows))
    np.testing.assert_allclose(trained.flat, before, atol=1e-6)


def test_a_consensus_outlives_a_hand_over_a_way_back_and_a_halved_rate():
    trained, center, rows = pulled("team", 2, fallback=threads("staleness", 3, 8))
    start, before = trained.flat.copy(), distance(trained, center)
    trained.contexts[0].team.arrived[[SPENT, WAITED]] = 2, 1  # nanoseconds: as after timed rows
    trained.hand_over()
    assert trained.parallelism.way == "staleness"
    trained.restore(start, [], 0)
    trained.optimizer = trained.optimizer._replace(scale=0.5)
    assert distance(trained, center) == before
    trained.train(silenced(rows))
    assert distance(trained, center) < 0.3 * before


def test_threads_read_one_consensus_and_leave_it_as_it_is():
    trained, center, rows = pulled("staleness", 3, kind="adadelta")
    kept = center.copy()
    assert all(np.shares_memory(context.dense.center, center) for context in trained.contexts)
    trained.train(rows)
    trained.merge()
    np.testing.assert_array_equal(center, kept)


def test_a_pull_compiles_no_other_kernel():
    trained, center, rows = pulled()
    trained.compile(rows)
    n = len(train_rows.signatures)
    center.flags.writeable = False  # as one that was received
    trained.pull_to(center)
    trained.train(rows)
    trained.pull_to(None)
    trained.train(rows)
    assert len(train_rows.signatures) == n


def test_a_consensus_of_another_network_is_refused():
    trained, center, _ = pulled()
    with pytest.raises(ValueError, match="shape"):
        trained.pull_to(center[:-16])
