"""Encoded rows in blocks: every partition is read and encoded once, then its source is released.

Where a block lies is up to its block store (`frame.block_store`). Always in memory are a bit for every row that may not count,
and the rows to score on, which are set aside as they come by: a table that does not fit is not read again for them. A worker of
a cluster holds some of a table's blocks, a process on its own all of them.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.frame.block import Block
from dask_dl.frame.block_store import InMemory, PartitionRows
from dask_dl.frame.order import mixed
from dask_dl.frame.recipe import Recipe, encode_partition, groups_of
from dask_dl.frame.scored_sample import Candidates, ScoredSample
from dask_dl.state import ENTRY, N_STORED, Entries, Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.block_store import BlockStore
    from dask_dl.frame.row_selection import Groups
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Source


class BlockOptions(NamedTuple):
    """Settings of the blocks of a table: their samples, checksums and groups."""

    sample: ScoredSample = ScoredSample()
    has_digest: bool = False  #: whether to take checksums
    groups: tuple[str, ...] = ()  #: kept of every row beside it: "class", the index of its class, and "fold"


NOTHING = BlockOptions()


class Blocks:
    """Encoded blocks of a table, by number; not necessarily all of them.

    Parameters
    ----------
    starts : (n + 1,) int64
        First global row of every block of the table, and one past the last.
    options : BlockOptions
    block_store : BlockStore, optional
        Where they lie; in memory by default.
    """

    def __init__(
        self, starts: NDArray[np.int64], options: BlockOptions = NOTHING, block_store: BlockStore | None = None
    ) -> None:
        self.starts, self.options = starts, options
        self.block_store: BlockStore = block_store or InMemory()
        self.blocks: dict[int, Block] = {}  #: those that are here, rows in the order of the table
        self.template: Rows | None = None  #: a row, which tells how all are laid out; without entries

    def only(self, numbers: Iterable[int]) -> Blocks:
        """Some of the blocks, which stay where they are. Raises KeyError where one is not here."""
        some = Blocks(self.starts, self.options, self.block_store)
        some.blocks, some.template = {k: self.blocks[k] for k in numbers}, self.template
        return some

    @property
    def numbers(self) -> list[int]:
        """Numbers of the blocks that are here, in order."""
        return sorted(self.blocks)

    @property
    def n_used(self) -> int:
        """Rows that are here and count."""
        return sum(block.n_used for block in self.blocks.values())

    @property
    def sets_aside(self) -> bool:
        """Whether rows to score on are set aside; else all of them are scored on."""
        return self.options.sample.is_drawn

    @property
    def row_bytes(self) -> int:
        """Bytes of an encoded row: the mean of those that are here, rounded up."""
        if self.template is None:
            return 1
        n_rows = sum(block.n for block in self.blocks.values())
        n_entries = sum(block.n_entries for block in self.blocks.values())
        return self.template.nbytes + -(-ENTRY * n_entries // max(1, n_rows))

    def stored(
        self, k: int, rows: Rows, again: Callable[[], Rows] | None = None, beside: Groups | None = None
    ) -> Block:
        """Keep block k, which does not belong to these yet.

        Parameters
        ----------
        k : int
            Its number.
        rows : Rows
            Its rows.
        again : callable, optional
            Reads it again.
        beside : mapping of str to (n,) array, optional
            Groups that do not follow from the rows.

        Returns
        -------
        Block
            The block, which `put` makes one of these.

        Raises
        ------
        StorageError
        """
        self._note_layout(rows)
        weight, numbers = rows.weight, np.arange(self.starts[k], self.starts[k] + rows.n)
        used = weight > 0 if len(weight) else np.ones(rows.n, bool)
        options, drawn = self.options, None
        if self.sets_aside:
            places = np.flatnonzero(used & options.sample.may_have(numbers, rows))
            drawn = numbers[places], rows.take(places).compact()
        n_used = int(np.count_nonzero(used))
        digest = None
        if options.has_digest:
            digest = [*(_checksum(part, numbers) for part in rows.even[:N_STORED]), _checksum_of(rows.entries, numbers)]
        bits = None if n_used == rows.n else np.packbits(used)
        handle = self.block_store.put(rows, again)
        groups = {name: codes for name, codes in (beside or {}).items() if name in options.groups}
        if "class" in options.groups:
            groups["class"] = _narrow(rows.target)
        return Block(handle, rows.n, n_used, groups, bits, rows.entries.n, drawn, digest)

    def _note_layout(self, rows: Rows) -> None:
        if rows.n and self.template is None:
            row = rows.cut(0, 1)
            none = row.entries._replace(length=row.entries.length * 0)
            self.template = row._replace(entries=none).copy()

    def rows(self, k: int) -> Rows:
        """All rows of block k. Raises StorageError, SchemaError."""
        block = self.blocks[k]
        if self.block_store.in_memory:
            return block.handle  # type: ignore[no-any-return]  # what a handle is, its block store knows
        rows = self.buffer(block.n, block.n_entries)
        self.fill(k, 0, rows)
        return rows

    def borrowed(self, block: Block, lender: Blocks) -> Block:
        """A block of other blocks of the table, which lie in the same process: kept once. Raises StorageError."""
        self.template = self.template or lender.template
        return block._replace(handle=self.block_store.borrowed(block.handle))

    def copied(self, block: Block, rows: Rows) -> Block:
        """A block of another process, with copies of its rows. Raises StorageError."""
        self._note_layout(rows)
        return block._replace(handle=self.block_store.put(rows, None))

    def put(self, k: int, block: Block) -> None:
        """Block k belongs to these from now on."""
        self.drop(k)
        self.blocks[k] = block

    def drop(self, k: int) -> None:
        """Block k does not, if it did."""
        block = self.blocks.pop(k, None)
        if block is not None:
            self.block_store.drop(block.handle)

    def buffer(self, n: int, n_entries: int = 0) -> Rows:
        """Room for n rows with so many entries."""
        assert self.template is not None
        whole = self.template.map(lambda part: np.empty((n if len(part) else 0, *part.shape[1:]), part.dtype))
        slot, value = np.empty(n_entries, np.int32), np.empty(n_entries, np.float32)
        return whole._replace(entries=whole.entries._replace(slot=slot, value=value))

    def n_entries(self, k: int, lo: int, n: int) -> int:
        """Entries of n rows of block k, from the first of a unit on, to the end of one or of the block."""
        return self.block_store.n_entries(self.blocks[k].handle, lo, n)

    def fill(self, k: int, lo: int, out: Rows) -> None:
        """Read rows of block k, from the first of a unit on, their entries from the start of the pools on.

        Raises StorageError, SchemaError.
        """
        block = self.blocks[k]
        step = self.block_store.n_together(block.handle, block.n)
        at = 0
        for start in range(0, out.n, step):
            stop = min(start + step, out.n)
            end = at + self.n_entries(k, lo + start, stop - start)
            there = out.room(start, stop, at, end)
            self.block_store.read(block.handle, lo + start, there)
            np.add(there.entries.begin, at, out=there.entries.begin)
            at = end

    def fingerprint(self) -> list[int]:
        """A checksum of every part of the rows, in order; of sparse inputs where there are any.

        It is a sum of one number per row, modulo 2**64, so that those of several cuts of a table add up to the table's.
        """
        digests = [block.digest for block in self.blocks.values() if block.digest is not None]
        assert len(digests) == len(self.blocks)
        return added([[0] * N_STORED, *digests])


def _narrow(classes: NDArray[np.float32]) -> NDArray[np.unsignedinteger]:
    """Indices of classes in two bytes, or in four where there are many."""
    return classes.astype(np.uint16 if classes.max(initial=0) < 2**16 else np.uint32)


def added(prints: Iterable[Sequence[int]]) -> list[int]:
    """The fingerprint of blocks with these: those without sparse inputs have no checksum of them, or 0."""
    sums = [sum(parts) % 2**64 for parts in itertools.zip_longest(*prints, fillvalue=0)]
    return sums if any(sums[N_STORED:]) else sums[:N_STORED]


def _checksum(part: NDArray[np.generic], rows: NDArray[np.int64]) -> int:
    """Sum of a hash of every row's 4-byte words and of its number; 0 for a part that is not there."""
    if not len(part):
        return 0
    words = np.ascontiguousarray(part if part.ndim == 2 else part[:, None]).view(np.uint32)
    factors = mixed(np.arange(words.shape[1]), np.uint64(0)) | np.uint64(1)
    total = 0
    for start in range(0, len(words), 4096):  # as float64 needs twice the memory of a block
        here = slice(start, start + 4096)
        digests = (words[here] * factors).sum(axis=1, dtype=np.uint64)
        total += int(mixed(rows[here], digests).sum(dtype=np.uint64))
    return total


def _checksum_of(entries: Entries, rows: NDArray[np.int64]) -> int:
    """Checksum of sparse inputs, wherever in their pools they lie; 0 where there are none."""
    total = 0
    for start in range(0, len(entries.begin), 4096):
        here = entries.of(slice(start, start + 4096)).compact()
        hashes = mixed(here.slot.astype(np.int64), np.uint64(0)) * (
            mixed(here.value.view(np.int32).astype(np.int64), np.uint64(1)) | np.uint64(1)
        )
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes, dtype=np.uint64)])
        digests = sums[here.begin + here.length] - sums[here.begin]
        total += int(mixed(rows[start : start + 4096], digests).sum(dtype=np.uint64))
    return total % 2**64


def encode_blocks(
    store: Blocks,
    source: Source,
    found: Scan,
    recipe: Recipe,
    progress: Callable[[int, int], None] | None = None,
    row_ranges: Sequence[tuple[int, int, int]] | None = None,
) -> None:
    """Read a table a second time and encode it in this process.

    Parameters
    ----------
    store : Blocks
        Receives the blocks.
    source : Source
        The table.
    found : Scan
        Result of its scan.
    recipe : Recipe
        How partitions become blocks.
    progress : callable, optional
        Called with the number of partitions that are encoded, and of all.
    row_ranges : sequence of (int, int, int), optional
        Partition of every block, and its rows [lo, hi) of it; by default a block is a partition.
    """
    by_partition: dict[int, list[tuple[int, int, int]]] = {}
    for block, (k, lo, hi) in enumerate(row_ranges or [(k, 0, n) for k, n in enumerate(found.rows)]):
        by_partition.setdefault(k, []).append((block, lo, hi))
    for k in range(source.n_partitions):

        def again(k: int = k) -> Rows:
            return encode_partition(source.read(k), recipe, k, found.rows[k])

        part = source.read(k)
        whole, groups = encode_partition(part, recipe, k, found.rows[k]), groups_of(part, recipe)
        del part
        for block, lo, hi in by_partition.get(k, ()):
            rows = whole if hi - lo == whole.n else whole.cut(lo, hi).copy()
            beside = {name: codes[lo:hi] for name, codes in groups.items()}
            store.put(block, store.stored(block, rows, PartitionRows(k, again, lo, hi), beside))
        if progress is not None:
            progress(k + 1, source.n_partitions)


def candidates(store: Blocks) -> Candidates:
    """Keys and strata of the rows set aside."""
    sample, drawn = store.options.sample, [block.drawn for block in store.blocks.values() if block.drawn is not None]
    keys = [np.zeros(0, np.uint64), *(sample.keys(numbers) for numbers, _ in drawn)]
    strata = [np.zeros(0, np.uint32), *(sample.strata(rows) for _, rows in drawn)]
    return Candidates(np.concatenate(keys), np.concatenate(strata))
