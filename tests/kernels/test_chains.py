"""Lists of the rows of a batch in which an input is active, and the sums of their deltas."""

from __future__ import annotations

import numpy as np

from dask_dl.jit import entry
from dask_dl.kernels import chains
from dask_dl.kernels.chains import Chains
from dask_dl.kernels.gemm import Matrix

chain_slots, add_rows = entry(chains.chain_slots.py_func), entry(chains.add_rows.py_func)

N_INPUTS, WIDTH = 7, 16


def lists_of(active, values):
    """Lists of a batch whose rows have these inputs."""
    slots, edges = np.concatenate(active).astype(np.int32), np.cumsum([0, *map(len, active)]).astype(np.int32)
    links, owners, seen = (np.empty(len(slots), np.int32) for _ in range(3))
    made = Chains(np.full(N_INPUTS, -1, np.int32), links, owners, seen, values.astype(np.float32), 0)
    return made._replace(n=chain_slots(slots, edges, made))


def test_every_input_that_occurs_is_named_once():
    made = lists_of([[2, 5], [], [5, 0], [2]], np.ones(5))
    assert sorted(made.seen[: made.n].tolist()) == [0, 2, 5]
    assert (made.heads >= 0).tolist() == [True, False, True, False, False, True, False]


def test_sums_are_those_of_the_product_with_the_written_out_inputs():
    random = np.random.default_rng(1)
    active = [random.choice(N_INPUTS - 1, size=k, replace=False) for k in (3, 0, 5, 1, 4)]  # the last one never occurs
    values = random.normal(size=13)
    made = lists_of(active, values)
    written_out = np.zeros((len(active), N_INPUTS))
    written_out[np.repeat(np.arange(len(active)), [len(a) for a in active]), np.concatenate(active)] = values
    flat = random.normal(size=len(active) * WIDTH).astype(np.float32)
    deltas = Matrix(flat, 0, WIDTH, len(active))
    expected = written_out.T @ flat.reshape(-1, WIDTH).astype(float)
    for slot in range(N_INPUTS):
        for lo, hi in ((0, WIDTH), (4, 12)):
            total = np.full(WIDTH, 9, np.float32)
            add_rows(made, slot, deltas, total, lo, hi)
            np.testing.assert_allclose(total[lo:hi], expected[slot, lo:hi], rtol=1e-5, atol=1e-5)
            assert (np.delete(total, np.s_[lo:hi]) == 9).all()
