"""The rows of a view, epoch after epoch, in the order in which they are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from dask_dl import memory
from dask_dl.cluster.windows import WindowReader
from dask_dl.frame.order import apart, copies_of, keys_of, visiting_places
from dask_dl.frame.subset import gather, visited_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from dask_dl.frame.subset import Subset
    from dask_dl.state import Rows


class RowStream:
    """An endless stream: all rows that count in a random order of their own for every epoch, or always as stored.

    Place p of the stream is a function of the seed and of the rows' numbers in the view. Of two sets of blocks of one table in
    memory, each visits in a share of an epoch rows whose random keys lie in the same range: where blocks change hands in
    mid-epoch, few rows are visited twice, and few never.

    Parameters
    ----------
    rows : Subset
        Rows as a view has them, of which one is visited at least. Any number of streams share a store.
    seed : int
    shuffle : bool
    window : int
        Bytes that are shuffled together where the blocks are not in memory.
    order : callable, optional
        Row numbers of an epoch, given its number: replaces the above where blocks are in memory, for tests.
    drops : bool
        Whether rows bring the keys from which dropout draws.
    kept : (n, inputs + hidden units) uint8, optional
        What each of the first n places of the stream keeps, instead of what would be drawn: for tests.
    batch : int
        Rows of a mini-batch: slices hold whole ones, as far as windows and epochs have them.
    """

    def __init__(
        self,
        rows: Subset,
        *,
        seed: int,
        shuffle: bool,
        window: int = 0,
        order: Callable[[int], NDArray[np.int64]] | None = None,
        drops: bool = False,
        kept: NDArray[np.uint8] | None = None,
        batch: int = 1,
    ) -> None:
        self._seed, self._drops, self._kept, self._inputs = seed, drops, kept, rows.view.inputs
        store = rows.store
        self.rows_per_slice = memory.rows_of_slice(store.row_bytes, batch)
        self.source: _Source = (
            _InMemory(rows, seed, shuffle=shuffle, order=order)
            if store.block_store.in_memory
            else WindowReader(rows, window, seed=seed, shuffle=shuffle)
        )
        self.n_rows = self.source.n_visits

    def slices(self, start: int, stop: int, on_wait: Callable[[], None] = lambda: None) -> Iterator[Rows]:
        """Rows at the places [start, stop) of the stream, a slice at a time; `on_wait` is called while they are not there."""
        while start < stop:
            epoch, place = divmod(start, self.n_rows)
            window, lo, hi = self.source.at(epoch, place, on_wait)
            end = min(place + min(stop - start, self.rows_per_slice), hi)
            rows = window.take(place - lo, end - lo)
            if self._inputs is not None:
                rows = self._inputs.apply(rows)
            if self._drops:
                key = keys_of(window.numbers(place - lo, end - lo), self._seed, f"dropout {epoch}")
                copies = window.copies(place - lo, end - lo)
                rows = rows._replace(key=key if copies is None else apart(key, copies))
            if self._kept is not None:
                rows = rows._replace(kept=self._kept[start : start + rows.n])
            yield rows
            start += end - place

    def close(self, *, waits: bool = True) -> None:
        """Let go of buffers and threads."""
        self.source.close(waits=waits)


class _Rows(Protocol):
    def take(self, lo: int, hi: int) -> Rows: ...

    def numbers(self, lo: int, hi: int) -> NDArray[np.int64]: ...

    def copies(self, lo: int, hi: int) -> NDArray[np.int64] | None: ...


class _Source(Protocol):
    n_visits: int  #: of an epoch

    def at(self, epoch: int, place: int, on_wait: Callable[[], None]) -> tuple[_Rows, int, int]: ...

    def close(self, *, waits: bool) -> None: ...


class _InMemory:
    """One window with all rows of an epoch, which are gathered from where they are."""

    def __init__(
        self, subset: Subset, seed: int, *, shuffle: bool, order: Callable[[int], NDArray[np.int64]] | None
    ) -> None:
        self._subset, self._seed, self._shuffle = subset, seed, shuffle
        self._rows = np.zeros(0, np.int64) if order else visited_rows(subset)
        self.n_visits = len(order(0)) if order else len(self._rows)
        self._again = copies_of(self._rows)
        self._order = order
        self._epoch, self._visits, self._copies = -1, self._rows, self._again

    def at(self, epoch: int, place: int, on_wait: Callable[[], None]) -> tuple[_Rows, int, int]:  # noqa: ARG002  # as `WindowReader`
        if epoch != self._epoch:
            self._visits = np.zeros(0, np.int64)  # the last epoch's order makes room for the next one's
            self._copies = None
            self._turn_to(epoch)
        return self, 0, len(self._visits)

    def _turn_to(self, epoch: int) -> None:
        self._epoch = epoch
        if self._order is not None:
            self._visits = self._order(epoch)
        elif self._shuffle:
            places = visiting_places(self._rows, self._seed, epoch)
            self._visits = self._rows[places]
            self._copies = None if self._again is None else self._again[places]
        else:
            self._visits, self._copies = self._rows, self._again

    def take(self, lo: int, hi: int) -> Rows:
        return gather(self._subset, self._visits[lo:hi])

    def numbers(self, lo: int, hi: int) -> NDArray[np.int64]:
        return self._visits[lo:hi]

    def copies(self, lo: int, hi: int) -> NDArray[np.int64] | None:
        return None if self._copies is None else self._copies[lo:hi]

    def close(self, *, waits: bool) -> None:
        pass
