"""Streams of views: bit for bit those of the table cut to the same rows, several of them over one store."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from frame.test_block_store import assert_same, store_of
from frame.test_subset import BALANCE, CHANGED, CUTS, KINDS, marks, selections, stored, table
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_dl.cluster.row_stream import RowStream
from dask_dl.frame.block_store import OnDisk
from dask_dl.frame.row_selection import AllBut, Fold
from dask_dl.frame.subset import Subset
from dask_dl.frame.view import View
from dask_dl.state import joined


def epochs(subset, n, *, window=10**7, shuffle=True):
    """All rows of some epochs, with the keys from which dropout draws."""
    stream = RowStream(subset, seed=4, shuffle=shuffle, window=window, drops=True)
    rows = [piece.copy() for piece in stream.slices(0, n * stream.n_rows)]
    stream.close()
    return joined(rows)


@pytest.mark.parametrize("kind", KINDS)
@settings(derandomize=True, database=None, deadline=None, max_examples=40)
@given(
    lengths=CUTS.filter(any),
    others=CUTS,
    selection=selections(),
    balance=st.sampled_from([None, BALANCE]),
    inputs=st.sampled_from([None, CHANGED]),
    layout=st.fixed_dictionaries({"weighted": st.booleans(), "sparse": st.booleans()}),
    shuffle=st.booleans(),
)
def test_a_view_is_the_stream_of_the_cut_table(
    tmp_path_factory, kind, lengths, others, selection, balance, inputs, layout, shuffle
):
    rows = table(sum(lengths), **layout)
    kept = rows.take(marks(selection, rows)).copy()
    edges = np.minimum(np.cumsum(others), kept.n)
    cut = Subset(stored(kept, np.diff([0, *edges, kept.n])), View("training", balance=balance))
    if not sum(cut.n_visits().values()):
        return
    expected = epochs(cut, 2, shuffle=shuffle)
    before = rows.copy()
    store = stored(rows, lengths, store_of(kind, tmp_path_factory.mktemp("blocks"), 700))
    found = epochs(Subset(store, View("training", selection, balance, inputs)), 2, shuffle=shuffle)
    assert_same(found, expected if inputs is None else inputs.apply(expected))
    assert_same(rows, before)


@pytest.mark.parametrize("kind", ["disk", "stream"])
@pytest.mark.parametrize("balance", [None, BALANCE])
def test_small_windows_bring_every_visit_to_a_view_once_an_epoch(tmp_path, kind, balance):
    rows, fold = table(300, weighted=True), AllBut(Fold(1, 3))
    lengths = [30] * 10
    memory, other = (
        Subset(stored(rows, lengths, store_of(k, tmp_path, 500)), View("", fold, balance)) for k in ("memory", kind)
    )
    expected, found = epochs(memory, 1), epochs(other, 1, window=4000)
    order, place = np.argsort(expected.key), np.argsort(found.key)  # of a row and its copy, wherever they come
    assert (expected.key != found.key).any()
    assert_same(found.take(place), expected.take(order))


def test_segments_without_a_selected_row_are_not_read(tmp_path):
    class LastHalf:
        groups = ()

        def selects(self, numbers, groups):
            return numbers >= 150

    store, read = stored(table(300), [100] * 3, OnDisk(tmp_path, 760, "rows")), []
    inner = store.block_store.read
    store.block_store.read = lambda handle, lo, out: (read.append((handle.path.name, lo)), inner(handle, lo, out))
    assert epochs(Subset(store, View("", LastHalf())), 1).n == 150
    assert read and ("rows-1.rows", 50) in read
    assert not [place for place in read if place[0] == "rows-0.rows" or place < ("rows-1.rows", 50)]


@pytest.mark.parametrize("kind", KINDS)
def test_streams_over_one_store_do_not_know_of_each_other(tmp_path, kind):
    rows = table(400, weighted=True, sparse=True)
    store = stored(rows, [100, 37, 63, 200], store_of(kind, tmp_path, 600))
    views = [View("", Fold(0, 3)), View("", AllBut(Fold(0, 3)), BALANCE, CHANGED), View(""), View("", inputs=CHANGED)]
    alone = [epochs(Subset(store, view), 3, window=5000) for view in views]
    together = [None] * len(views)

    def read(k):
        together[k] = epochs(Subset(store, views[k]), 3, window=5000)

    threads = [threading.Thread(target=read, args=(k,)) for k in range(len(views))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(together, alone, strict=True):
        assert_same(one, other)


def test_entries_of_a_whole_window_as_stored_are_copies(tmp_path):
    """The buffer is filled anew while they are trained."""
    store = stored(table(100, sparse=True), [100], OnDisk(tmp_path, 600, "rows"))
    stream = RowStream(Subset(store), seed=1, shuffle=False, window=10**7)
    (piece,) = stream.slices(0, 100)
    stream.close()
    (window,) = stream.source.windows
    assert all(not np.shares_memory(a, b) for a, b in zip(piece.parts, window.buffer.parts, strict=True) if a.size)
