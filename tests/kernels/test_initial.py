"""Start values of weights and biases."""

from __future__ import annotations

import numpy as np
import pytest

from dask_dl.kernels.initial import initial_biases, initial_weights
from dask_dl.kernels.layout import Topology


@pytest.mark.parametrize(
    "distribution, scale, deviations",
    [
        ("uniform_adaptive", 9.0, [np.sqrt(2 / 500), 0.0]),
        ("uniform", 0.3, [np.sqrt(0.03)] * 2),
        ("normal", 0.3, [0.3] * 2),
    ],
)
def test_initial_weights_have_the_spread_of_their_distribution(distribution, scale, deviations):
    topology = Topology(0, 400, (100,), 10, "rectifier", "softmax")
    weights = initial_weights(topology, distribution, scale, seed=1)
    for weight, deviation in zip(weights, deviations, strict=True):
        assert weight.std() == pytest.approx(deviation, rel=0.05)
        assert abs(weight.mean()) <= 5 * deviation / np.sqrt(weight.size)
    again = initial_weights(topology, distribution, scale, seed=1)
    other = initial_weights(topology, distribution, scale, seed=2)
    np.testing.assert_array_equal(weights[0], again[0])
    assert (weights[0] != other[0]).any()


@pytest.mark.parametrize("output, n_outputs", [("softmax", 3), ("linear", 1)])
def test_uniform_adaptive_limits_are_those_of_the_worked_example_and_the_output_starts_at_zero(output, n_outputs):
    weights = initial_weights(Topology(0, 4, (20, 3), n_outputs, "tanh", output), "uniform_adaptive", 1.0, 0)
    assert 0.45 < np.abs(weights[0]).max() <= 0.5
    assert 0.45 < np.abs(weights[1]).max() <= np.sqrt(6 / 23)
    assert not weights[2].any()


def test_initial_biases_keep_rectifiers_alive():
    rectifier = initial_biases(Topology(0, 4, (3, 2, 2), 1, "rectifier", "linear"))
    assert [float(b[0]) for b in rectifier] == [0.5, 1.0, 1.0, 0.0]
    assert not np.concatenate(initial_biases(Topology(0, 4, (3, 2), 1, "tanh", "linear"))).any()
