"""Tables with entries, from blocks to weights: the same bits however they are cut and wherever they lie."""

from __future__ import annotations

import itertools
import pickle
import tracemalloc

import numpy as np
import pytest
from frame.test_block_store import store_of
from hypothesis import given, settings
from hypothesis import strategies as st
from node.problems import optimizer, replica, threads

from dask_dl.cluster.row_stream import RowStream
from dask_dl.cluster.windows import WindowReader
from dask_dl.frame.block_store import OnDisk
from dask_dl.frame.blocks import Blocks
from dask_dl.frame.subset import Subset
from dask_dl.kernels.layout import Topology
from dask_dl.state import Entries, Rows, begins

NOTHING = np.zeros(0, np.float32)
N_LEVELS, N_SPARSE = 4, 30


def table(length, seed=0, n_slots=N_SPARSE):
    """Rows with as many entries as `length` says."""
    random, n = np.random.default_rng(seed), len(length)
    dense = np.zeros((n, 16), np.float32)
    dense[:, :2] = random.normal(size=(n, 2))
    slot = [N_LEVELS + np.sort(random.choice(n_slots, size=m, replace=False)) for m in length]
    slot = np.concatenate([np.zeros(0, int), *slot]).astype(np.int32)
    length = np.array(length, np.int32)
    entries = Entries(begins(length), length, slot, random.normal(size=len(slot)).astype(np.float32))
    active = random.integers(N_LEVELS, size=(n, 1)).astype(np.int32)
    return Rows(dense, active, (random.random(n) < 0.5).astype(np.float32), NOTHING, NOTHING, entries=entries)


def stored(rows, lengths, block_store):
    starts = np.cumsum([0, *lengths], dtype=np.int64)
    store = Blocks(starts, block_store=block_store)
    for k, (lo, hi) in enumerate(itertools.pairwise(starts)):
        piece = rows.cut(int(lo), int(hi))
        store.put(k, store.stored(k, piece, lambda piece=piece: piece))
    return store


def trained(store, batch, *, shuffle, window=10**6, n=None):
    topology = Topology(N_LEVELS + N_SPARSE, 2, (20,), 2, "rectifier", "softmax", n_sparse=N_SPARSE)
    learner = replica(topology, optimizer(batch=batch, input_kept=0.8), threads("one thread", 1))
    visits = RowStream(Subset(store), seed=3, shuffle=shuffle, window=window, drops=True, batch=batch)
    for rows in visits.slices(0, n or 2 * visits.n_rows):
        learner.train(rows)
    visits.close()
    return learner.flat.tobytes(), *(state.tobytes() for state in learner.states)


@settings(derandomize=True, database=None, deadline=None, max_examples=25)
@given(
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any),
    kind=st.sampled_from(["memory", "disk", "stream"]),
    segment=st.sampled_from([80, 500, 10_000]),
    batch=st.sampled_from([1, 4]),
    shuffle=st.booleans(),
    seed=st.integers(0, 100),
)
def test_training_has_the_same_bits_however_a_table_is_cut(
    tmp_path_factory, lengths, kind, segment, batch, shuffle, seed
):
    random = np.random.default_rng(seed)
    rows = table(random.choice([0, 1, 3, N_SPARSE], size=sum(lengths)), seed)
    expected = trained(stored(rows, [rows.n], None), batch, shuffle=shuffle)
    store = stored(rows, lengths, store_of(kind, tmp_path_factory.mktemp("blocks"), segment))
    assert trained(store, batch, shuffle=shuffle) == expected


@pytest.mark.parametrize("kind", ["disk", "stream"])
def test_small_windows_bring_every_entry_once_an_epoch(tmp_path, kind):
    rows = table(np.random.default_rng(1).integers(0, 9, 300))
    store = stored(rows, [30] * 10, store_of(kind, tmp_path, 600))
    visits = RowStream(Subset(store), seed=1, shuffle=True, window=4000)
    assert visits.source.n_windows > 3
    for epoch in range(2):
        found = [piece.copy() for piece in visits.slices(300 * epoch, 300 * (epoch + 1))]
        sums = np.concatenate([np.add.reduceat(np.r_[p.entries.value, 0], p.entries.begin) for p in found])
        sums[np.concatenate([p.entries.length for p in found]) == 0] = 0
        numbers = np.concatenate([p.dense[:, 0] for p in found])
        expected = [rows.entries.value[b : b + n].sum() for b, n in zip(*rows.entries[:2], strict=True)]
        np.testing.assert_allclose(
            sums[np.argsort(numbers)], np.array(expected)[np.argsort(rows.dense[:, 0])], rtol=1e-5
        )
    visits.close()


def test_rows_of_a_slice_outlive_their_window(tmp_path):
    """The next rows are gathered, from a window that is filled anew, while a slice is trained."""
    rows = table(np.full(200, 5))
    visits = RowStream(
        Subset(stored(rows, [20] * 10, OnDisk(tmp_path, 600, "rows"))), seed=1, shuffle=True, window=4000
    )
    slices = list(visits.slices(0, 400))
    visits.close()
    for piece in slices:
        places = np.searchsorted(np.sort(rows.dense[:, 0]), piece.dense[:, 0])
        same = rows.take(np.argsort(rows.dense[:, 0])[places]).compact()
        np.testing.assert_array_equal(piece.entries.value, same.entries.value)


@pytest.mark.parametrize("kind", ["memory", "disk", "stream"])
def test_one_long_row_costs_what_it_holds(tmp_path, kind):
    length = np.full(5000, 3)
    length[1234] = 50_000
    rows = table(length, n_slots=50_000)
    n_bytes = rows.nbytes
    assert n_bytes < 5000 * (4 * 18 + 12 + 24) + 8 * 50_000
    tracemalloc.start()
    try:
        store = stored(rows, [500] * 10, store_of(kind, tmp_path, 2**14))
        visits = RowStream(Subset(store), seed=1, shuffle=True, window=2**16)
        seen = sum(piece.entries.n for piece in visits.slices(0, 5000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        visits.close()
    assert seen == 4999 * 3 + 50_000
    assert (
        peak < 6 * n_bytes
    )  # two windows, two slices and their places; a rectangle would take a thousand times as much


def test_windows_have_room_for_the_longest_rows_wherever_they_fall(tmp_path):
    length = np.full(400, 2)
    length[[3, 77, 78, 200, 399]] = N_SPARSE
    store = stored(table(length), [100] * 4, OnDisk(tmp_path, 700, "rows"))
    for shuffle in (True, False):
        windows = WindowReader(Subset(store), 40 * store.row_bytes, seed=1, shuffle=shuffle)
        for epoch in range(5):
            at = 0
            while at < 400:
                window, _, hi = windows.at(epoch, at, lambda: None)
                assert window.take(0, hi - at).entries.n >= 2 * (hi - at)
                at = hi
        windows.close()


def test_a_piece_travels_without_the_rest_of_the_pool():
    rows = table(np.full(1000, 20))
    piece = rows.cut(0, 10).compact()
    assert len(pickle.dumps(piece)) < 2 * piece.nbytes + 2000 < len(pickle.dumps(rows.cut(0, 10)))
