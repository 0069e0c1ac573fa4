"""Rows that are not in memory: each once an epoch, mixed from all over the table, read before they are wanted."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest
from frame.test_block_store import filled, rows_of, store_of
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_dl import memory
from dask_dl.cluster.row_stream import RowStream
from dask_dl.cluster.windows import WindowReader, max_rows, n_windows
from dask_dl.frame.block_store import OnDisk, PartitionRows
from dask_dl.frame.subset import Subset

KINDS = ["memory", "disk", "stream"]


def visited(visits, start, stop):
    return [int(row) for rows in visits.slices(start, stop) for row in rows.dense[:, 0]]


@pytest.mark.parametrize("kind", KINDS)
@settings(derandomize=True, database=None, deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(lambda lengths: sum(lengths) > 1),
    window=st.integers(1, 20_000),
    segment=st.sampled_from([80, 400, 10_000]),
    weighted=st.booleans(),
    shuffle=st.booleans(),
    per_slice=st.integers(1, 50),
)
def test_every_row_that_counts_is_visited_once_an_epoch(
    tmp_path_factory, kind, lengths, window, segment, weighted, shuffle, per_slice
):
    store = filled(store_of(kind, tmp_path_factory.mktemp("blocks"), segment), lengths, weighted=weighted)
    expected = [k for k in range(sum(lengths)) if not weighted or k % 3]
    visits = RowStream(Subset(store), seed=1, shuffle=shuffle, window=window)
    before, memory.SLICE = memory.SLICE, per_slice * store.row_bytes
    try:
        visits.rows_per_slice = per_slice
        n = visits.n_rows
        assert n == len(expected)
        first, second = visited(visits, 0, n), visited(visits, n, 2 * n)
        assert sorted(first) == sorted(second) == expected
        if not shuffle:
            assert first == second == expected
        # A round may begin and end anywhere.
        cuts = [0, n // 3, n // 2, n, n + n // 4, 2 * n]
        again = [row for lo, hi in itertools.pairwise(cuts) for row in visited(visits, lo, hi)]
        assert again == first + second
        assert visited(visits, n // 2, n) == first[n // 2 :]  # going back after a divergence
    finally:
        memory.SLICE = before
        visits.close()


@pytest.mark.parametrize("kind", ["disk", "stream"])
def test_one_window_is_the_order_of_memory(tmp_path, kind):
    stores = [filled(store_of(k, tmp_path), [30, 50, 0, 7], weighted=True) for k in ("memory", kind)]
    orders = []
    for store in stores:
        visits = RowStream(Subset(store), seed=4, shuffle=True, window=10**6)
        orders.append(visited(visits, 0, 3 * visits.n_rows))
        visits.close()
    assert orders[0] == orders[1]


def keys_of_epoch(visits, epoch):
    """Row number -> key of dropout."""
    start = epoch * visits.n_rows
    found = {}
    for rows in visits.slices(start, start + visits.n_rows):
        found |= dict(zip(rows.dense[:, 0].astype(int).tolist(), rows.key.tolist(), strict=True))
    return found


def test_a_row_draws_from_the_same_key_wherever_it_is(tmp_path):
    whole = None
    for k, (kind, lengths, window) in enumerate(
        [("memory", [300], 0), ("memory", [7, 0, 200, 93], 0), ("disk", [100] * 3, 2000), ("stream", [30] * 10, 1000)]
    ):
        (tmp_path / str(k)).mkdir()
        store = filled(store_of(kind, tmp_path / str(k), 400), lengths)
        visits = RowStream(Subset(store), seed=4, shuffle=kind != "stream", window=window, drops=True, batch=1 + k)
        keys = [keys_of_epoch(visits, epoch) for epoch in range(2)]
        visits.close()
        whole = whole or keys
        assert keys == whole
    assert len(set(whole[0].values()) | set(whole[1].values())) == 600  # another one in every epoch


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_slices_hold_whole_batches_as_far_as_windows_do(tmp_path, kind, monkeypatch):
    store = filled(store_of(kind, tmp_path, 400), [100, 150])
    monkeypatch.setattr(memory, "SLICE", 50 * store.row_bytes)
    visits = RowStream(Subset(store), seed=1, shuffle=True, window=10**6, batch=16)
    assert [rows.n for rows in visits.slices(0, 500)] == [48] * 5 + [10] + [48] * 5 + [10]
    visits.close()
    visits = RowStream(Subset(store), seed=1, shuffle=True, window=10**6, batch=1000)  # more than a slice would hold
    assert [rows.n for rows in visits.slices(0, 500)] == [250, 250]
    visits.close()


def test_a_window_reaches_over_the_whole_table(tmp_path):
    store = filled(OnDisk(tmp_path, 5 * 76, "rows"), [100] * 10)  # segments of five rows
    windows = WindowReader(Subset(store), 100 * store.row_bytes, seed=1, shuffle=True)
    assert windows.n_windows == 10
    for epoch in range(2):
        for w in range(10):
            window, lo, hi = windows.at(epoch, 100 * w, lambda: None)
            rows = window.take(0, hi - lo).dense[:, 0]
            assert len(rows) == 100
            # Twenty segments, one of each twentieth of the table, in an order that tells nothing of it.
            assert len(set(rows // 50)) == 20
            assert abs(np.corrcoef(rows, np.arange(100))[0, 1]) < 0.4
    windows.close()


def test_the_next_window_is_read_while_this_one_is_trained(tmp_path):
    store = filled(OnDisk(tmp_path, 10 * 76, "rows"), [100] * 4)
    reads, inner = [], store.block_store.read

    def read(handle, lo, out):
        reads.append(threading.current_thread().name)
        inner(handle, lo, out)

    store.block_store.read = read
    windows = WindowReader(Subset(store), 100 * store.row_bytes, seed=1, shuffle=True)
    for w in range(4):
        windows.at(0, 100 * w, lambda: None)
        deadline = time.monotonic() + 20
        while len(reads) < 10 * (w + 2) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(reads) == 10 * (w + 2)  # this one, and the next, which is of the next epoch in the end
    assert all(name.startswith("dask_dl-window") for name in reads)
    windows.close()
    assert not any(thread.name.startswith("dask_dl-window") for thread in threading.enumerate())


def test_a_window_that_does_not_come_is_waited_for_as_long_as_the_caller_likes(tmp_path):
    store, gate = filled(OnDisk(tmp_path, 10 * 76, "rows"), [100] * 4), threading.Event()
    inner = store.block_store.read
    store.block_store.read = lambda *given: (gate.wait(20), inner(*given))

    class Enough(Exception):
        pass

    def on_wait():
        raise Enough

    windows = WindowReader(Subset(store), 100 * store.row_bytes, seed=1, shuffle=True)
    with pytest.raises(Enough):
        windows.at(0, 0, on_wait)
    gate.set()
    window, lo, hi = windows.at(0, 150, lambda: None)  # it goes on where it is asked to
    assert (lo, hi) == (100, 200) and len(set(window.take(0, 100).dense[:, 0])) == 100
    windows.close()


def test_errors_of_reading_reach_the_caller(tmp_path):
    store = filled(OnDisk(tmp_path, 10 * 76, "rows"), [100] * 4)
    for file in tmp_path.iterdir():
        file.unlink()
    windows = WindowReader(Subset(store), 100 * store.row_bytes, seed=1, shuffle=True)
    with pytest.raises(OSError, match="cannot be read"):
        windows.at(0, 0, lambda: None)
    windows.close()


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 500), st.integers(0, 5))
def test_windows_keep_to_their_size(lengths, wanted, epoch):
    from dask_dl.frame.order import windows

    n = np.array(lengths)
    count = n_windows(n, wanted)
    maximum = max_rows(n, count)
    assert maximum <= max(wanted, n.max()) or count == 1
    for segments in windows(np.arange(len(n)) * 50, count, 1, epoch):
        assert n[segments].sum() <= maximum


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_partition_that_is_cut_is_read_once_for_a_window(shuffle):
    """As a shard of several has blocks from all over the table, many of them of one partition."""
    lengths, reads = [10] * 24, []
    whole = [rows_of(80, first=80 * k) for k in range(3)]

    def reader(k):
        def read():
            reads.append(k)
            return whole[k]

        return read

    stores = [filled(store_of(kind, None), lengths) for kind in ("stream", "memory")]
    for block in range(24):
        cut = PartitionRows(block // 8, reader(block // 8), block % 8 * 10, block % 8 * 10 + 10)
        assert cut().n == 10
        store = stores[0]
        store.put(block, store.stored(block, cut(), cut))
    some = [store.only(range(0, 24, 2)) for store in stores]
    window = 4 * 10 * some[0].row_bytes
    streams = [RowStream(Subset(store), seed=1, shuffle=shuffle, window=window) for store in some]
    reads.clear()
    found = [sorted(visited(stream, 0, 240)) for stream in streams]
    streams[0].close()
    assert found[0] == found[1]
    # Two epochs of three windows of four blocks, and the window after them; a window has blocks of three partitions at most.
    assert len(reads) <= (7 * 3 if shuffle else 2 * 5 + 2)
