"""Activations of any layer against the oracle, and what is held of them at a time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dask_dl import DeepLearningClassifier
from dask_dl.errors import ParameterError
from dask_dl.kernels.atomics import LINE
from dask_dl.kernels.team import ABORT, STOP
from dask_dl.node import predict as predicting
from dask_dl.node.predict import cut_after, rows_per_chunk
from dask_dl.node.replica import predict
from tests.kernels.problems import problem, start_values
from tests.naive import mlp


@pytest.mark.parametrize("activation", ["rectifier", "tanh", "maxout"])
@pytest.mark.parametrize("dropout", [(), (0.5, 0.25)])
@pytest.mark.parametrize("levels", [(), (3, 4)])
def test_activations_of_every_layer_are_the_oracles(activation, dropout, levels):
    topology, rows, X = problem(levels=levels, hidden=(6, 4), activation=activation, dropout=dropout)
    weights, biases = start_values(topology)
    flat = topology.pack(weights, biases)
    kind = {"activation": activation, "output": "softmax", "hidden_ratios": dropout}
    expected = [mlp.forward(x, weights, biases, **kind) for x in X]
    for layer in (0, 1, -1, -2):
        found = predict(*cut_after(topology, flat, layer), rows)
        np.testing.assert_allclose(found, [row[:-1][layer] for row in expected], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [2, -3])
def test_layers_that_are_not_there_are_refused(layer):
    topology, _, _ = problem(hidden=(6, 4))
    with pytest.raises(ParameterError, match=rf"layer={layer}: the network has 2 hidden layers, 0 to 1\."):
        cut_after(topology, topology.pack(*start_values(topology)), layer)


def test_chunks_are_bounded_by_bytes():
    assert rows_per_chunk(10_000) * 10_000 * 8 <= predicting.BYTES_PER_CHUNK
    assert rows_per_chunk(2**30) == 1
    assert (
        rows_per_chunk(2, 40_000) * 40_000
        <= predicting.INPUT_BYTES_PER_CHUNK
        < rows_per_chunk(2, 40_000) * 40_001 + 40_000
    )


def test_bytes_are_those_of_all_threads():
    assert rows_per_chunk(10_000, n_threads=4) == rows_per_chunk(10_000) // 4
    assert rows_per_chunk(1, 40_000, 3) == rows_per_chunk(1, 40_000) // 3
    assert rows_per_chunk(2**30, n_threads=4) == 1


def test_a_prediction_ends_when_it_is_told_to():
    topology, rows, _ = problem(hidden=(6, 4))
    flat, control = topology.pack(*start_values(topology)), np.zeros(4 * LINE, np.int64)
    assert predict(topology, flat, rows, control=control).any()
    for cell in (STOP, ABORT):
        control[:] = 0
        control[cell] = 1
        assert not predict(topology, flat, rows, control=control).any()


def test_a_sample_is_scored_in_chunks(monkeypatch):
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(500, 2)), columns=["a", "b"]).assign(y=random.integers(3, size=500))
    given = {"hidden": (4,), "epochs": 2, "random_state": 0, "n_jobs": 1}
    whole = DeepLearningClassifier(**given).fit(table, "y").history_
    sizes = []

    def spy(topology, flat, rows, n_threads):
        sizes.append(rows.n)
        return predict(topology, flat, rows, n_threads)

    monkeypatch.setattr("dask_dl.cluster.shard.predict", spy)
    monkeypatch.setattr(predicting, "BYTES_PER_CHUNK", 8 * 3 * 64)
    parts = DeepLearningClassifier(**given).fit(table, "y").history_
    assert max(sizes) == 64 and sum(sizes) % 500 == 0
    columns = [name for name in whole if name.startswith("training_") and name != "training_speed"]
    np.testing.assert_allclose(parts[columns].iloc[-1], whole[columns].iloc[-1], rtol=1e-9)
