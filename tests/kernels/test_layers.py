"""Layers of a row, forward and backward, against the oracle: any depth and width, and channels that are equal."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.problems import KINDS, assert_equals_oracle, problem, settings, start_values


@pytest.mark.parametrize("hidden", [(), (1,), (17,), (16, 16), (5, 4, 3), (7, 6, 5, 4, 3, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_depth_equals_the_oracle(hidden, kind):
    optimizer, rules = settings(kind)
    topology, rows, X = problem(hidden=hidden, levels=(3,), activation="tanh")
    assert_equals_oracle(topology, rows, X, optimizer, rules)


@pytest.mark.parametrize("kind", KINDS)
def test_of_equal_channels_only_the_first_learns(kind):
    topology, rows, X = problem(n=1, levels=(3,), activation="maxout")
    weights, biases = start_values(topology)
    for weight in weights[:-1]:
        weight.reshape(-1, 2)[:, 1] = weight.reshape(-1, 2)[:, 0]
    optimizer, rules = settings(kind)
    flat = assert_equals_oracle(topology, rows, X, optimizer, rules, start=(weights, biases))
    for before, after in zip(weights[:-1], topology.unpack(flat)[0][:-1], strict=True):
        moved = (before != after).reshape(-1, 2).any(axis=0)
        np.testing.assert_array_equal(moved, [True, False])
