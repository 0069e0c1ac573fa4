"""A replica that is drawn to a consensus: what it does with it, whatever its threads do."""

from __future__ import annotations

import numpy as np
import pytest
from node.problems import optimizer, problem, replica, some, threads

from dask_dl.kernels.layout import ACTIVATIONS
from dask_dl.kernels.network import train_rows
from dask_dl.kernels.team import SPENT, WAITED
from dask_dl.node.parallelism import Parallelism


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
