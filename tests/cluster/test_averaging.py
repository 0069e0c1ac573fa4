"""Averages of replicas, and the momentum beyond them."""

from __future__ import annotations

import numpy as np
import pytest

from dask_dl.cluster.averaging import Contribution, advance, combined, momentum_of


def part(n, *values):
    return Contribution(n, tuple(np.array(v, np.float32) for v in values))


def test_the_average_is_by_rows_of_weights_and_state_alike():
    mean = combined([part(1, [1, 2], [0, 8]), part(3, [5, 2], [4, 0]), part(0, [9, 9], [9, 9])])
    assert mean.n_rows == 4
    np.testing.assert_allclose(mean.vectors, [[4, 2], [3, 2]])


def test_one_replica_is_its_own_average_to_the_last_bit():
    only = part(7, [0.1, 0.2], [0.3, 0.4])
    assert combined([part(0, [1, 1], [1, 1]), only]) is only
    assert combined([]).n_rows == 0


def test_a_tree_of_averages_is_the_average():
    random = np.random.default_rng(0)
    parts = [part(int(n), random.normal(size=50)) for n in random.integers(1, 100, 13)]
    tree = combined([combined(parts[:4]), combined(parts[4:9]), combined(parts[9:])])
    np.testing.assert_allclose(tree.vectors[0], combined(parts).vectors[0], rtol=1e-5, atol=1e-7)
    expected = np.average([p.vectors[0] for p in parts], axis=0, weights=[p.n_rows for p in parts])
    np.testing.assert_allclose(tree.vectors[0], expected, rtol=1e-5, atol=1e-6)


def test_outer_momentum_follows_its_equations():
    flat, velocity = np.zeros(2, np.float32), np.zeros(2, np.float32)
    advance(flat, np.array([1, 2], np.float32), velocity, 0.5)
    np.testing.assert_allclose(velocity, [1, 2])
    np.testing.assert_allclose(flat, [1.5, 3])  # the mean, and half of what it moved by
    advance(flat, np.array([2.5, 3], np.float32), velocity, 0.5)
    np.testing.assert_allclose(velocity, [1.5, 1])
    np.testing.assert_allclose(flat, [3.25, 3.5])


@pytest.mark.parametrize(
    ("n", "k", "expected"), [(1, 9, 0), (2, 0, 0), (2, 9, 1 / 3), (8, 1, 0.5), (8, 99, 7 / 9), (100, 99, 0.95)]
)
def test_momentum_follows_the_number_of_replicas(n, k, expected):
    assert momentum_of(n, k) == pytest.approx(expected)
