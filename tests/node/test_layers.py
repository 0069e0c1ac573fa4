"""Figures of layers against NumPy's, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

from dask_dl.kernels.layout import Topology
from dask_dl.kernels.optimizers import ADADELTA, MOMENTUM, Optimizer
from dask_dl.node.layers import count_passing, layer_faults, layer_stats, mean_and_deviation
from dask_dl.node.predict import cut_after
from dask_dl.node.replica import predict
from dask_dl.state import LayerStats, Rows, UnitActivity, padded

SETTINGS = {
    "rho": 0.99, "epsilon": 1e-6, "rate": 0.1, "rate_annealing": 1e-3, "rate_decay": 0.5, "momentum_start": 0.0,
    "momentum_ramp": 100.0, "momentum_stable": 0.8, "nesterov": True, "fast_mode": True,
}  # fmt: skip
NOTHING = np.zeros(0, np.float32)


def made(activation="tanh", n_onehot=3):
    topology = Topology(n_onehot, 4, (5, 6), 2, activation, "softmax")
    random = np.random.default_rng(0)
    weights = [random.normal(1, 2, shape).astype(np.float32) for shape in topology.shapes]
    biases = [random.normal(size=n).astype(np.float32) for n, _ in topology.shapes]
    return topology, weights, biases


def rows(n=200):
    dense = np.zeros((n, padded(4)), np.float32)
    dense[:, :4] = np.random.default_rng(1).normal(size=(n, 4))
    return Rows(dense, np.arange(n, dtype=np.int32)[:, None] % 3, NOTHING, NOTHING, NOTHING)


@pytest.mark.parametrize("activation", ["tanh", "maxout"])
def test_figures_are_those_of_numpy(activation):
    topology, weights, biases = made(activation)
    states = [topology.pack([w**2 for w in weights], [b**2 for b in biases]) * part for part in (1, 3)]
    found = layer_stats(topology, topology.pack(weights, biases), states, Optimizer.of(kind=ADADELTA, **SETTINGS), 500)
    for layer, w, b in zip(found, weights, biases, strict=True):
        rates = np.sqrt((3 * w.astype(float) ** 2 + 1e-6) / (w.astype(float) ** 2 + 1e-6))
        wanted = rates.mean(), rates.std(), 0.0, w.mean(), w.std(), b.mean(), b.std()
        np.testing.assert_allclose(layer[:7], wanted, rtol=1e-4, atol=1e-6)
        assert layer.n_dead is None


def test_rates_of_sgd_are_annealed_and_momentum_ramps():
    topology, weights, biases = made()
    flat, optimizer = topology.pack(weights, biases), Optimizer.of(kind=MOMENTUM, **SETTINGS)
    found = layer_stats(topology, flat, (), optimizer, 50)
    rate = 0.1 / (1 + 1e-3 * 50)
    np.testing.assert_allclose([layer.mean_rate for layer in found], [rate, rate / 2, rate / 4], rtol=1e-6)
    assert [(layer.rate_rms, round(layer.momentum, 6)) for layer in found] == [(0, 0.4)] * 3
    assert layer_stats(topology, flat, (), optimizer, 10**6)[0].momentum == pytest.approx(0.8)


def test_a_network_without_a_row_learned_has_the_first_rate_of_adadelta():
    topology, weights, biases = made()
    found = layer_stats(topology, topology.pack(weights, biases), (), Optimizer.of(kind=ADADELTA, **SETTINGS), 0)
    assert [(layer.mean_rate, layer.rate_rms) for layer in found] == [(1, 0)] * 3


def test_many_numbers_are_taken_in_parts():
    values = np.random.default_rng(0).normal(3, 2, (300, 500)).astype(np.float32)
    np.testing.assert_allclose(
        mean_and_deviation(values), (values.mean(dtype=float), values.std(dtype=float)), rtol=1e-9
    )
    assert all(map(np.isnan, mean_and_deviation(values[:0])))


@pytest.mark.parametrize("activation", ["rectifier", "tanh", "maxout"])
def test_rows_at_which_a_unit_passes_a_gradient_are_counted(activation, monkeypatch):
    topology, weights, biases = made(activation)
    weights[0][0], biases[0][0] = 0, -1  # a rectifier that is 0 at every row
    weights[1][2], biases[1][2] = 0, 50  # a saturated unit
    flat = topology.pack(weights, biases)
    found = count_passing(topology, flat, rows())
    first, second = (predict(*cut_after(topology, flat, k), rows()) for k in (0, 1))
    if activation == "maxout":
        assert [counts.tolist() for counts in found] == [[200] * 5, [200] * 6]
        return
    passes = (lambda a: a > 0) if activation == "rectifier" else (lambda a: 1 - a**2 >= 1e-3)
    np.testing.assert_array_equal(found[0], passes(first).sum(axis=0))
    np.testing.assert_array_equal(found[1], passes(second).sum(axis=0))
    assert (found[0][0] if activation == "rectifier" else found[1][2]) == 0
    monkeypatch.setattr("dask_dl.node.layers.rows_per_chunk", lambda _: 7)
    for counts, again in zip(found, count_passing(topology, flat, rows()), strict=True):
        np.testing.assert_array_equal(counts, again)


def test_units_that_never_pass_one_are_dead():
    topology, weights, biases = made()
    first = UnitActivity(10, (np.array([0, 1, 0, 0, 5]), np.array([0, 9, 9, 9, 9, 9])))
    activity = first.merge(UnitActivity(10, (np.array([0, 0, 1, 0, 0]), np.zeros(6, np.int64))))
    optimizer = Optimizer.of(kind=ADADELTA, **SETTINGS)
    found = layer_stats(topology, topology.pack(weights, biases), (), optimizer, 0, activity)
    assert [layer.n_dead for layer in found] == [2, 1, None]


SOUND = LayerStats(0.1, 0.1, 0.0, 0.0, 0.5, 0.0, 0.1, 0)


def test_sound_layers_have_no_faults():
    assert layer_faults(made()[0], [SOUND, SOUND, SOUND._replace(n_dead=None)], 5) == []


@pytest.mark.parametrize(("activation", "how"), [("rectifier", "0"), ("tanh", "saturated")])
def test_dead_units_are_told(activation, how):
    stats = [SOUND, SOUND._replace(n_dead=2), SOUND._replace(n_dead=None)]
    (told,) = layer_faults(made(activation)[0], stats, 5)
    assert told.startswith(f"hidden layer 1: 2 of 6 units are {how} at every scored row")


def test_exploded_layers_are_told():
    stats = [SOUND._replace(weight_rms=60.0), SOUND, SOUND._replace(mean_weight=-70.0)]
    first, last = layer_faults(made()[0], stats, 5)
    assert first.startswith("hidden layer 0 has exploded: it makes what it reads about 134 times larger")
    assert last.startswith("the output layer has exploded")
    assert layer_faults(made()[0], [SOUND._replace(weight_rms=44.0), SOUND, SOUND], 5) == []
