"""Rows of blocks that are not in memory, a window at a time: segments of many blocks, shuffled together.

While a window is trained, a thread fills the next one: where reading is faster than learning, nothing waits for a disk.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.errors import StorageError
from dask_dl.frame.order import copies_of, visiting_places, windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dask_dl.frame.subset import Subset
    from dask_dl.state import Rows

#: Seconds between two looks at whether to go on waiting for rows.
POLL = 0.1


class _Segments(NamedTuple):
    """Segments of a table, each read at a time, in its order."""

    block: NDArray[np.int64]
    lo: NDArray[np.int64]  #: first row inside the block
    n: NDArray[np.int64]
    n_visits: NDArray[np.int64]  #: of an epoch
    first: NDArray[np.int64]  #: number of the first selected row
    n_entries: NDArray[np.int64]


class _Epoch(NamedTuple):
    """The windows of an epoch."""

    segments: list[NDArray[np.int64]]
    edges: NDArray[np.int64]  #: places of the epoch at which windows begin, and its end


class Window:
    """Rows that count of some segments, in the order in which they are trained."""

    def __init__(self, buffer: Rows) -> None:
        self.buffer = buffer
        self.segments = np.zeros(0, np.int64)  #: those that the buffer holds
        self.order = np.zeros(0, np.int64)
        self.again: NDArray[np.int64] | None = None
        # First row of each segment: its place in the buffer, and its number.
        self.edges = self.firsts = np.zeros(0, np.int64)
        # Numbers of the rows, in order, where not all of a segment are selected.
        self.ranks: NDArray[np.int64] | None = None

    def take(self, lo: int, hi: int) -> Rows:
        """Rows at the places [lo, hi) of the window, copied: they may still be trained when the buffer is filled anew."""
        rows, pools = self.buffer.take(self.order[lo:hi]).compact(), self.buffer.entries
        if np.may_share_memory(rows.entries.value, pools.value):  # those of a whole window, as they are stored
            rows = rows._replace(entries=rows.entries._replace(slot=pools.slot.copy(), value=pools.value.copy()))
        return rows

    def numbers(self, lo: int, hi: int) -> NDArray[np.int64]:
        """Numbers of the same rows in the view."""
        if self.ranks is not None:
            return self.ranks[lo:hi]
        places = self.order[lo:hi]
        segments = np.searchsorted(self.edges, places, side="right") - 1
        return self.firsts[segments] + (places - self.edges[segments])

    def copies(self, lo: int, hi: int) -> NDArray[np.int64] | None:
        """How often each of them was there before, in the order of the table; None where no row is visited twice."""
        return None if self.again is None else self.again[lo:hi]


class WindowReader:
    """The windows of a view, epoch after epoch; segments of which it selects no row are not read.

    Parameters
    ----------
    rows : Subset
        At least one of them is visited.
    size : int
        Bytes of a window, about, with the rows of its segments that are not selected; there are two buffers, but where one
        holds the whole table.
    seed : int
    shuffle : bool
        Otherwise windows are neighbours, and rows as stored.
    """

    def __init__(self, rows: Subset, size: int, *, seed: int, shuffle: bool) -> None:
        self._rows, self._seed, self._shuffle = rows, seed, shuffle
        self._segments = _Segments(*np.array(list(rows.units()), np.int64).reshape(-1, len(_Segments._fields)).T)
        self.n_visits = int(self._segments.n_visits.sum())
        store = rows.store
        self.n_windows = n_windows(self._segments.n, size // store.row_bytes)
        self._epochs: dict[int, _Epoch] = {}
        n_max, n_entries = (max_rows(n, self.n_windows) for n in (self._segments.n, self._segments.n_entries))
        self.windows = [Window(store.buffer(n_max, n_entries)) for _ in range(min(2, self.n_windows))]
        self._now = (-1, -1)  #: epoch and number of the window in `windows[0]`
        self._next: tuple[tuple[int, int], Future[None]] | None = None  #: what `windows[1]` is filled with
        self._is_over = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dask_dl-window")

    def at(self, epoch: int, place: int, on_wait: Callable[[], None]) -> tuple[Window, int, int]:
        """The window with a place of an epoch, and the places [lo, hi) of the epoch that it has.

        `on_wait` is called ten times a second while rows are not there; what it raises ends that. Raises StorageError.
        """
        edges = self._epoch(epoch).edges
        w = int(np.searchsorted(edges, place, side="right")) - 1
        if (epoch, w) != self._now:
            self._turn_to((epoch, w), on_wait)
        return self.windows[0], int(edges[w]), int(edges[w + 1])

    def close(self, *, waits: bool = True) -> None:
        """End the thread, which may be reading a segment."""
        self._is_over.set()
        self._thread.shutdown(wait=waits, cancel_futures=True)

    def _epoch(self, epoch: int) -> _Epoch:
        if epoch not in self._epochs:
            for old in [e for e in self._epochs if e < epoch - 1]:
                del self._epochs[old]
            starts = self._segments.first
            if self._shuffle:
                dealt = windows(starts, self.n_windows, self._seed, epoch)
            else:
                dealt = np.array_split(np.arange(len(starts)), self.n_windows)
            counts = [int(self._segments.n_visits[segments].sum()) for segments in dealt]
            self._epochs[epoch] = _Epoch(dealt, np.cumsum([0, *counts], dtype=np.int64))
        return self._epochs[epoch]

    def _turn_to(self, wanted: tuple[int, int], on_wait: Callable[[], None]) -> None:
        """Have a window in the first buffer, and the one after it on its way into the second."""
        if self._next is not None and self._next[0] == wanted:
            filled = self._next[1]
            self._await(filled, on_wait)
            self._next = None
            filled.result()
            self.windows.reverse()
        else:
            self._now, self._next = (-1, -1), None  # what is being read is read to its end first: there is one thread
            filled = self._thread.submit(self._load, wanted, self.windows[0])
            self._await(filled, on_wait)
            filled.result()
        self._now = wanted
        if len(self.windows) > 1:
            epoch, w = wanted
            after = (epoch, w + 1) if w + 1 < self.n_windows else (epoch + 1, 0)
            self._epoch(after[0])
            self._next = after, self._thread.submit(self._load, after, self.windows[1])

    @staticmethod
    def _await(filled: Future[None], on_wait: Callable[[], None]) -> None:
        while not wait([filled], timeout=POLL).done:
            on_wait()

    def _load(self, which: tuple[int, int], window: Window) -> None:
        epoch, w = which
        wanted = self._epochs[epoch].segments[w]
        if not np.array_equal(window.segments, wanted):
            window.segments = np.zeros(0, np.int64)
            self._fill(window.buffer, wanted)
            window.segments = wanted
        window.firsts, lengths = self._segments.first[wanted], self._segments.n[wanted]
        window.edges = np.cumsum(lengths) - lengths
        found = []
        for s, edge in zip(wanted, window.edges, strict=True):
            block, lo, n, _, first, _ = (int(v[s]) for v in self._segments)
            places, numbers = self._rows.visits(block, lo, lo + n, first)
            found.append((places + edge, numbers))
        places, numbers = (np.concatenate(parts) for parts in zip(*found, strict=True))
        again = copies_of(places)
        if self._shuffle:
            order = visiting_places(numbers, self._seed, epoch)
            places, again = places[order], None if again is None else again[order]
            numbers = numbers if self._rows.view.has_all else numbers[order]
        window.order, window.again = places, again
        window.ranks = None if self._rows.view.has_all else numbers

    def _fill(self, buffer: Rows, segments: NDArray[np.int64]) -> None:
        n_rows, counts = self._segments.n[segments], self._segments.n_entries[segments]
        starts, firsts = np.cumsum(n_rows) - n_rows, np.cumsum(counts) - counts
        # In the order of the table: neighbours may be of one partition, which is read for both of them.
        for place in np.argsort(segments, kind="stable").tolist():
            if self._is_over.is_set():
                raise StorageError("the rows are not wanted any more.")
            block, lo, n, _, _, n_entries = (int(v[segments[place]]) for v in self._segments)
            at, first = int(starts[place]), int(firsts[place])
            there = buffer.room(at, at + n, first, first + n_entries)
            self._rows.store.fill(block, lo, there)
            np.add(there.entries.begin, first, out=there.entries.begin)


def n_windows(n: NDArray[np.int64], n_wanted: int) -> int:
    """How many windows segments of so many rows make, so that none has more than `n_wanted` rows, if segments allow that."""
    per_window = max(1, n_wanted // max(1, int(n.max(initial=1))))
    return max(1, -(-len(n) // per_window))


def max_rows(n: NDArray[np.int64], n_windows: int) -> int:
    """Rows of the largest of so many windows, in any epoch; or their entries, of segments with so many."""
    dealt = sum(int(n[lo : lo + n_windows].max()) for lo in range(0, len(n), n_windows))
    stored = max(int(part.sum()) for part in np.array_split(n, n_windows))
    return max(dealt, stored)
