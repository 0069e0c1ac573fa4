"""Rows and their entries: cut, taken, joined and copied, to the same values; and how arrays are laid out."""

from __future__ import annotations

import numpy as np
import pytest

from dask_dl.state import (
    LANE,
    NO_ENTRIES,
    AveragingState,
    Entries,
    Rows,
    TrainedWeights,
    aligned_zeros,
    begins,
    copied,
    joined,
    padded,
)

NOTHING = np.zeros(0, np.float32)
N = 6


def rows_of(n=N, seed=0, *, weighted=True):
    random = np.random.default_rng(seed)
    length = random.integers(0, 4, n, dtype=np.int32)
    slot, value = (random.permutation(int(length.sum())).astype(kind) for kind in (np.int32, np.float32))
    return Rows(
        random.normal(size=(n, LANE)).astype(np.float32),
        random.integers(-1, 5, (n, 2), dtype=np.int32),
        np.arange(n, dtype=np.float32),
        np.ones(n, np.float32) if weighted else NOTHING,
        NOTHING,
        entries=Entries(begins(length), length, slot, value),
    )


def entries_of(rows):
    """Slots and values of every row."""
    places = zip(rows.entries.begin, rows.entries.begin + rows.entries.length, strict=True)
    return [(rows.entries.slot[lo:hi].tolist(), rows.entries.value[lo:hi].tolist()) for lo, hi in places]


@pytest.mark.parametrize("which", [[0, 1, 2], [4, 1, 1, 5], [], [3]])
def test_rows_that_are_taken_bring_their_entries(which):
    rows = rows_of()
    some = rows.take(np.array(which, np.intp))
    assert some.target.tolist() == which and len(some.weight) == some.n == len(which) and len(some.offset) == 0
    assert entries_of(some) == [entries_of(rows)[k] for k in which]
    compact = some.compact()
    assert entries_of(compact) == entries_of(some)
    assert compact.entries.n == some.entries.n == len(compact.entries.slot)


def test_a_cut_shares_memory_and_a_copy_does_not():
    rows = rows_of()
    part = rows.cut(2, 5)
    assert np.shares_memory(part.dense, rows.dense) and entries_of(part) == entries_of(rows)[2:5]
    alone = part.copy()
    for mine, theirs in zip(alone.parts, rows.parts, strict=True):
        assert not np.shares_memory(mine, theirs)
    assert entries_of(alone) == entries_of(part) and len(alone.entries.slot) == part.entries.n


def test_bytes_are_those_of_what_rows_refer_to():
    rows = rows_of()
    whole = rows.cut(0, 3).nbytes + rows.cut(3, N).nbytes
    assert whole == rows.nbytes == rows.copy().nbytes
    assert rows.cut(0, 3).entries.nbytes == 12 * 3 + 8 * rows.cut(0, 3).entries.n


def test_joined_rows_are_those_of_their_pieces():
    pieces = [rows_of(4, 1), rows_of(0, 2), rows_of(3, 3).take(np.array([2, 0]))]
    together = joined(pieces)
    assert together.target.tolist() == [0, 1, 2, 3, 2, 0]
    assert entries_of(together) == [entry for piece in pieces for entry in entries_of(piece)]
    assert joined([rows_of(2, weighted=False)] * 2).weight.size == 0


def test_rows_without_sparse_inputs_have_no_entries():
    rows = rows_of()._replace(entries=NO_ENTRIES)
    assert rows.take(np.array([1, 2])).compact().entries == NO_ENTRIES and rows.entries.n == rows.entries.longest == 0


def test_arrays_start_at_a_cache_line_and_are_of_whole_lanes():
    assert [padded(n) for n in (0, 1, LANE, LANE + 1)] == [0, LANE, LANE, 2 * LANE]
    kept = [aligned_zeros(n) for n in range(1, 9)]
    assert all(vector.ctypes.data % 64 == 0 and len(vector) == n for n, vector in enumerate(kept, 1))
    vector = np.arange(5, dtype=np.float32)
    vector.flags.writeable = False  # as one that was received
    copy = copied(vector)
    assert copy.ctypes.data % 64 == 0 and copy.tolist() == vector.tolist() and copy.flags.writeable


def test_copies_of_weights_share_nothing():
    weights = TrainedWeights(
        np.ones(3, np.float32),
        (np.ones(3, np.float32),),
        7,
        AveragingState(2, np.ones(3, np.float32), {"shard": (np.ones(3, np.float32),)}),
    )
    copy = weights.copy()
    weights.flat[:] = weights.states[0][:] = weights.averaging.velocity[:] = weights.averaging.replicas["shard"][0][
        :
    ] = 0
    assert copy.flat.sum() == copy.states[0].sum() == copy.averaging.velocity.sum() == 3
    assert copy.averaging.replicas["shard"][0].sum() == 3 and (copy.n_seen, copy.averaging.n_averages) == (7, 2)
