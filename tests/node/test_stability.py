"""Weights that are finite, and answers that are not."""

from __future__ import annotations

import numpy as np
import pytest

from dask_dl.kernels.initial import initial_biases, initial_weights
from dask_dl.kernels.layout import Topology
from dask_dl.node.stability import instability, overflows


def deep(depth, scale, activation="rectifier", output="softmax", **inputs):
    inputs = {"n_onehot": 5, "n_dense": 7} | inputs
    topology = Topology(hidden=(20,) * depth, n_outputs=3, activation=activation, output=output, **inputs)
    return topology, topology.pack(initial_weights(topology, "normal", scale, 1), initial_biases(topology))


@pytest.mark.parametrize("inputs", [{}, {"n_onehot": 0}, {"n_dense": 0}], ids=["both", "numbers", "levels"])
@pytest.mark.parametrize("activation", ["rectifier", "maxout"])
def test_layers_that_are_sound_one_by_one_may_overflow_together(activation, inputs):
    topology, flat = deep(8, 1e6, activation, **inputs)
    assert not instability(topology, flat)
    assert overflows(topology, flat)
    assert not overflows(*deep(2, 1e6, activation, **inputs))


def test_tanh_keeps_what_a_layer_passes_on_small():
    assert not overflows(*deep(8, 1e6, "tanh"))


def test_a_deep_network_is_tried_where_the_bound_says_nothing():
    topology = Topology(0, 100, (200,) * 40, 1, "rectifier", "linear")
    weights = initial_weights(topology, "uniform", 0.1, 1)
    sums = np.prod([np.abs(w).sum(axis=1, dtype=np.float64).max() for w in weights])
    assert sums > np.finfo(np.float32).max
    assert not overflows(topology, topology.pack(weights, initial_biases(topology)))


@pytest.mark.parametrize(("output", "is_sound"), [("linear", True), ("softmax", False)])
def test_the_bias_of_a_linear_output_may_be_as_large_as_targets(output, is_sound):
    topology = Topology(0, 3, (4,), 1 if output == "linear" else 3, "rectifier", output)
    weights, biases = initial_weights(topology, "uniform_adaptive", 1.0, 1), initial_biases(topology, 2e6)
    assert (instability(topology, topology.pack(weights, biases)) is None) is is_sound
    biases[0][:] = 2e6
    assert "biases of layer 1 have exploded" in instability(topology, topology.pack(weights, biases))
