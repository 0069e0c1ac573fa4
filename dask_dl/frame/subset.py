"""Rows of some blocks as a view has them: to train on and to score on, by the numbers that the view gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.frame.view import View
from dask_dl.state import Entries, Rows, begins, joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from dask_dl.frame.blocks import Blocks
    from dask_dl.frame.scored_sample import Cut


class Unit(NamedTuple):
    """Rows of a block that are read together."""

    block: int
    lo: int  #: first row inside the block
    n: int
    n_visits: int  #: of an epoch
    first: int  #: number, in the view, of the first selected row
    n_entries: int


class Subset:
    """Rows of some blocks of a table as a view has them.

    It is fixed: blocks that come or go make another one. Any number of them share a store.

    Parameters
    ----------
    store : Blocks
        Blocks of the table that are here.
    view : View, optional
        By default all rows.
    blocks : iterable of int, optional
        Numbers of the blocks; by default all that are here.
    starts : (blocks + 1,) int64, optional
        Number, in the view, of the first selected row of every block of the table, and the end: `ranks` of the counts of all.
        By default they are counted, which needs all blocks of the table here, unless the view has all rows.
    """

    def __init__(
        self,
        store: Blocks,
        view: View | None = None,
        blocks: Iterable[int] | None = None,
        starts: NDArray[np.int64] | None = None,
    ) -> None:
        self.store, self.view = store, view or View("")
        self.blocks = store.numbers if blocks is None else sorted(blocks)
        if starts is None and not self.view.has_all:
            assert len(store.numbers) == len(store.starts) - 1, "others tell how many rows they select"
            starts = ranks(n_selected(store, self.view), len(store.starts) - 1)
        self.starts = store.starts if starts is None else starts
        self._places: dict[int, NDArray[np.signedinteger]] = {}

    def selected(self, k: int, lo: int = 0, hi: int | None = None) -> NDArray[np.bool_] | None:
        """Which of the rows [lo, hi) of block k are selected; None: all."""
        block = self.store.blocks[k]
        return self.view.selected(block, int(self.store.starts[k]), lo, block.n if hi is None else hi)

    def visits(self, k: int, lo: int, hi: int, first: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Visits of an epoch to some rows of a block.

        Parameters
        ----------
        k : int
            Number of the block.
        lo, hi : int
            Rows [lo, hi) of it.
        first : int
            Number, in the view, of the first selected row of these.

        Returns
        -------
        places, numbers : (visits,) int64
            See `View.visits`.
        """
        return self.view.visits(self.store.blocks[k], int(self.store.starts[k]), first, lo, hi)

    def n_visits(self) -> dict[int, int]:
        """Visits of an epoch, by block."""
        if self.view.has_all and self.view.balance is None:
            return {k: self.store.blocks[k].n_used for k in self.blocks}
        return {k: len(self.visits(k, 0, self.store.blocks[k].n, int(self.starts[k]))[0]) for k in self.blocks}

    def units(self) -> Iterator[Unit]:
        """Rows that are read together, of which any is selected, in the order of the table."""
        store = self.store
        for k in self.blocks:
            block, selected = store.blocks[k], self.selected(k)
            step, first = store.block_store.n_together(block.handle, block.n), int(self.starts[k])
            places, _ = self.visits(k, 0, block.n, first)
            counts = np.bincount(places // step, minlength=-(-block.n // step)).tolist()
            for lo, n_visits in zip(range(0, block.n, step), counts, strict=True):
                n = min(step, block.n - lo)
                n_here = n if selected is None else int(np.count_nonzero(selected[lo : lo + n]))
                if n_here:
                    yield Unit(k, lo, n, n_visits, first, store.n_entries(k, lo, n))
                first += n_here

    def places(self, k: int) -> NDArray[np.signedinteger] | None:
        """Selected rows of block k, ascending; None: all."""
        if self.view.has_all:
            return None
        if k not in self._places:
            selected = self.selected(k)
            assert selected is not None
            kind = np.int32 if len(selected) < 2**31 else np.int64
            self._places[k] = np.flatnonzero(selected).astype(kind)
        return self._places[k]

    def slices(self, n_max: int) -> Iterator[Rows]:
        """All rows, those that do not count included, in order; from disk or changed, about so many at a time at most."""
        store, is_stored = self.store, self.view.has_all and self.view.inputs is None
        for k in self.blocks:
            block = store.blocks[k]
            if store.block_store.in_memory and is_stored:
                yield block.handle
                continue
            together = 1 if store.block_store.in_memory else store.block_store.n_together(block.handle, block.n)
            step = max(1, n_max // together) * together
            for lo in range(0, block.n, step):
                n = min(step, block.n - lo)
                selected = self.selected(k, lo, lo + n)
                if selected is not None and not selected.any():
                    continue
                if store.block_store.in_memory:
                    rows = block.handle.cut(lo, lo + n)
                else:
                    rows = store.buffer(n, store.n_entries(k, lo, n))
                    store.fill(k, lo, rows)
                yield rows if is_stored else self._as_viewed(rows, selected)

    def _as_viewed(self, rows: Rows, selected: NDArray[np.bool_] | None) -> Rows:
        """Copies of the selected ones of stored rows, in the units of the view."""
        rows = rows.copy() if selected is None else rows.take(selected).compact()
        return rows if self.view.inputs is None else self.view.inputs.apply(rows)


def n_selected(store: Blocks, view: View) -> dict[int, int]:
    """Selected rows of every block that is here, whether or not they count."""
    found = {}
    for k, block in store.blocks.items():
        selected = view.selected(block, int(store.starts[k]), 0, block.n)
        found[k] = block.n if selected is None else int(np.count_nonzero(selected))
    return found


def ranks(counts: Mapping[int, int], n_blocks: int) -> NDArray[np.int64]:
    """Number, in a view, of the first selected row of each block of a table, and of all, from `n_selected` of every one."""
    return np.cumsum([0, *(counts[k] for k in range(n_blocks))], dtype=np.int64)


def visited_rows(subset: Subset) -> NDArray[np.int64]:
    """Numbers, ascending, of the rows that an epoch visits, as often as it does."""
    found = [np.zeros(0, np.int64)]
    found += [subset.visits(k, 0, subset.store.blocks[k].n, int(subset.starts[k]))[1] for k in subset.blocks]
    return np.concatenate(found)


def gather(subset: Subset, rows: NDArray[np.int64]) -> Rows:
    """The rows of the given numbers, in that order, as they are stored, in contiguous arrays, of blocks in memory."""
    store, starts = subset.store, subset.starts
    owner = np.searchsorted(starts, rows, side="right") - 1
    whole = store.buffer(len(rows))
    by_block = np.argsort(owner, kind="stable")
    edges = np.searchsorted(owner[by_block], np.arange(len(starts)))
    blocks = [int(k) for k in np.unique(owner)]

    def local(k: int, places: NDArray[np.intp]) -> NDArray[np.signedinteger]:
        ranked: NDArray[np.signedinteger] = rows[places] - starts[k]
        selected = subset.places(k)
        return ranked if selected is None else selected.take(ranked)

    for k in blocks:
        places = by_block[edges[k] : edges[k + 1]]
        here = local(k, places)
        handle: Rows = store.blocks[k].handle
        outs, found = ((*rows.even, rows.entries.length) for rows in (whole, handle))
        for out, part in zip(outs, found, strict=True):
            if len(out):
                out[places] = part[here]
    length = whole.entries.length
    if not len(length):
        return whole
    n_entries = whole.entries.n
    entries = Entries(begins(length), length, np.empty(n_entries, np.int32), np.empty(n_entries, np.float32))
    for k in blocks:
        places = by_block[edges[k] : edges[k + 1]]
        there: Entries = store.blocks[k].handle.entries
        from_, to = there.of(local(k, places)).places(), entries.of(places).places()
        entries.slot[to], entries.value[to] = there.slot[from_], there.value[from_]
    return whole._replace(entries=entries)


def drawn_rows(subset: Subset, cut: Cut | None) -> Rows | None:
    """The selected ones of the rows set aside that belong to the sample by its cut, in order; None when there are none.

    Without a cut all of them. Where the view has all rows as they are stored, blocks refer to these arrays from then on, so
    that rows are in memory once; of other views they are copies. See algorithm.md#samples-to-score-on.
    """
    store, view = subset.store, subset.view
    parts: list[tuple[int, NDArray[np.int64], Rows]] = []
    for k in subset.blocks:
        numbers, rows = store.blocks[k].drawn or (np.zeros(0, np.int64), None)
        if rows is None:
            continue
        kept = np.ones(len(numbers), bool)
        if cut is not None:
            kept = store.options.sample.has(numbers, rows, cut)
        if not view.has_all:
            block, places = store.blocks[k], numbers - store.starts[k]
            groups = {name: block.groups[name][places] for name in view.rows.groups}
            kept &= view.rows.selects(numbers, groups)
        if not kept.all():
            places = np.flatnonzero(kept)
            numbers, rows = numbers[places], rows.take(places)
        if rows.n:
            parts.append((k, numbers, rows))
    if not parts:
        return None
    whole = joined([rows for _, _, rows in parts])
    if not view.has_all or view.inputs is not None:
        return whole if view.inputs is None else view.inputs.apply(whole)
    edges = np.cumsum([0, *(rows.n for _, _, rows in parts)])
    for (k, numbers, _), lo, hi in zip(parts, edges, edges[1:], strict=False):
        store.blocks[k] = store.blocks[k]._replace(drawn=(numbers, whole.cut(lo, hi)))
    return whole
