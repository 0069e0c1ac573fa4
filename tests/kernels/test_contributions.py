"""Contributions by kernels: those of the oracle, whatever the inputs, and the same bits however rows are cut."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.problems import ACTIVATIONS, NOTHING, problem, start_values
from naive import contributions as oracle

from dask_dl.kernels.batches import max_active
from dask_dl.kernels.contributions import TILE, PairBuffers, Shares, add_contributions, pass_rows
from dask_dl.kernels.multipliers import Explained, Passed
from dask_dl.state import aligned_zeros, padded

NONE = np.zeros(0)


def passed(topology, rows, flat):
    """Rows in the network, whose outputs are explained as they are."""
    n, (*_, width), size = rows.n, topology.widths, rows.n * sum(topology.widths)
    sums, acts = aligned_zeros(size + max(topology.widths)), aligned_zeros(size + max(topology.widths))
    m, halves = max_active(rows, n), (flat[: topology.onehot_size], flat[topology.onehot_size :])
    scratch = np.empty(m, np.int32), np.empty(m, np.float32), np.empty(n + 1, np.int32)
    pass_rows(rows, n, topology.network, *halves, *scratch, sums, acts)
    z = sums[size - n * width : size].reshape(n, width)[:, : topology.n_outputs].astype(float)
    return Passed(rows, n, sums, acts, np.zeros((n, 0)), z, z, np.ones_like(z))


def contributions(topology, rows, background, flat, cuts=()):
    """(n, outputs, inputs): contributions of every input to every sum of the output."""
    here, there = passed(topology, rows, flat), passed(topology, background, flat)
    directions = np.eye(topology.n_outputs, padded(topology.n_outputs), dtype=np.float32)
    numbers = np.zeros(padded(topology.n_dense), np.int64)
    numbers[: topology.n_dense] = topology.n_onehot + np.arange(topology.n_dense)
    of_category = np.full(rows.active.shape[1], -1)
    shares = Shares(of_category, np.arange(topology.n_onehot), numbers, -1)
    out = np.zeros((rows.n, topology.n_outputs, topology.n_inputs))
    halves = flat[: topology.onehot_size], flat[topology.onehot_size :]
    explained = Explained(directions, np.arange(topology.n_outputs), NONE, NONE)
    for lo, hi in zip((0, *cuts), (*cuts, rows.n), strict=True):
        buffers = PairBuffers.of(topology, there.n, 0)
        for part in buffers[1:]:
            part[:] = np.nan  # what an earlier call left must not matter
        add_contributions(lo, hi, here, there, topology.network, halves, explained, shares, buffers, out)
    return out / there.n


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), (20,), (20, 33), (5, 17, 4)])
@pytest.mark.parametrize(
    ("levels", "n_dense", "n_sparse", "dropout"), [((4, 3), 5, 6, False), ((), 17, 0, True), ((5,), 0, 0, False)]
)
def test_contributions_are_those_of_the_oracle(activation, hidden, levels, n_dense, n_sparse, dropout):
    ratios = tuple(0.5 if k % 2 else 0.25 for k in range(len(hidden))) if dropout else ()
    topology, rows, X = problem(12, levels, n_dense, hidden, activation=activation, n_sparse=n_sparse, dropout=ratios)
    weights, biases = start_values(topology)
    found = contributions(topology, rows, rows.cut(5, 9), topology.pack(weights, biases))
    for i, o in ((0, 0), (6, 1), (11, 2)):  # the second is in the background, too
        expected = oracle.contributions(
            X[i], X[5:9], weights, biases, activation=activation, ratios=ratios,
            seed=lambda z, _, o=o: np.eye(len(z))[o],
        )  # fmt: skip
        assert np.allclose(found[i, o], expected, rtol=1e-4, atol=2e-6)
        assert np.abs(expected).max() > 1e-2


@pytest.mark.parametrize("n_background", [1, 7, TILE - 1, TILE, TILE + 1, 2 * TILE + 5])
def test_the_bits_of_a_row_do_not_depend_on_others(n_background):
    topology, rows, _ = problem(2 * TILE + 5, (4,), 300, (20, 8))
    flat, few = topology.pack(*start_values(topology)), rows.cut(0, 9)
    whole = contributions(topology, few, rows.cut(0, n_background), flat)
    assert (contributions(topology, few, rows.cut(0, n_background), flat, cuts=(1, 4, 8)) == whole).all()
    there, here = passed(topology, rows.cut(0, n_background), flat), passed(topology, few, flat)
    assert np.allclose(whole.sum(axis=2), here.values - there.values.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("activation", ["rectifier", "maxout"])
def test_wide_layers_are_read_in_panels(activation):
    """Of rows that would share places of a cache, panels are copied."""
    found = []
    for width in (1024, 1023):  # units that no weight leads to make no difference
        topology, rows, _ = problem(9, (), 20, (width, 3), activation=activation)
        weights, biases = start_values(problem(9, (), 20, (1023, 3), activation=activation)[0])
        if width == 1024:
            c = len(biases[0]) // 1023
            weights[0] = np.concatenate([weights[0], np.ones((c, 20), np.float32)])
            biases[0] = np.concatenate([biases[0], np.ones(c, np.float32)])
            weights[1] = np.concatenate(
                [weights[1].reshape(3, 1023, c), np.zeros((3, 1, c), np.float32)], axis=1
            ).reshape(3 * c if c > 1 else 3, -1)
        found.append(contributions(topology, rows, rows.cut(2, 5), topology.pack(weights, biases)))
    assert np.allclose(*found, rtol=1e-5, atol=1e-6) and np.abs(found[0]).max() > 1e-3


def test_offsets_contribute_what_they_add():
    topology, rows, _ = problem(6, (), 3, (4,), n_outputs=1)
    rows = rows._replace(offset=np.arange(6, dtype=np.float32))
    flat, background = topology.pack(*start_values(topology)), rows.cut(0, 2)
    here, there = passed(topology, rows, flat), passed(topology, background, flat)
    shares, out = Shares(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(16, np.int64), 1), np.zeros((6, 1, 2))
    explained = Explained(np.eye(1, 16, dtype=np.float32), np.zeros(1, np.int64), NONE, NONE)
    add_contributions(
        0, 6, here, there, topology.network, (NOTHING, flat), explained, shares, PairBuffers.of(topology, 2, 0), out
    )
    assert np.allclose(out[:, 0, 1] / 2, np.arange(6) - 0.5)
