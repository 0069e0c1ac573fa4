"""Encoded rows in memory: every partition is read and encoded once, then its source is released.

A training asks for rows by their global number, in any order, and gets them gathered into contiguous arrays: the kernel
then streams through memory, and where a block lives (here: in memory) is nobody else's business. A worker of a cluster
holds some of a table's blocks, a process on its own all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dask_dl.errors import SchemaError
from dask_dl.frame.order import mixed
from dask_dl.frame.scan import role_numbers, target_numbers
from dask_dl.frame.source import OFFSET, TARGET, WEIGHT, Schema, Source
from dask_dl.state import Rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

    from dask_dl.frame.encoder import Encoder
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.target import Target


#: What helps against a source that gives other rows each time it is read.
SAVE = "Save a random or changing source to Parquet first."


@dataclass(frozen=True)
class Blocks:
    """Encoded blocks of a table, by number; not necessarily all of them."""

    starts: NDArray[np.int64]  #: first global row of every block of the table, and one past the last
    blocks: dict[int, Rows] = field(default_factory=dict)  #: those that are here, rows in the order of the table

    @property
    def numbers(self) -> list[int]:
        """Of the blocks that are here, in order."""
        return sorted(self.blocks)

    @property
    def nbytes(self) -> int:
        """Memory they take."""
        return sum(block.nbytes for block in self.blocks.values())

    def fingerprint(self) -> list[int]:
        """A checksum of every part of the rows, in order.

        It is a sum of one number per row, modulo 2**64, so that those of several cuts of a table add up to the table's.
        """
        sums = [0] * len(Rows._fields)
        for k, block in self.blocks.items():
            rows = np.arange(self.starts[k], self.starts[k + 1])
            sums = [(total + _checksum(part, rows)) % 2**64 for total, part in zip(sums, block, strict=True)]
        return sums


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


@dataclass(frozen=True)
class Recipe:
    """How the partitions of a table become blocks.

    Weights are divided by `mean_weight`, the mean of training; a row without target, or with a label that training has
    not seen, gets weight 0. Without a mean every row of the table counts 1, and no weights are kept.
    """

    schema: Schema
    encoder: Encoder
    target: Target
    mean_weight: float | None

    @classmethod
    def of(cls, source: Source, found: Scan, encoder: Encoder, target: Target, mean_weight: float) -> Recipe:
        """For a table, of which `found` is known."""
        has_strangers = bool(target.classes) and not set(found.classes).issubset(target.classes)
        weighted = WEIGHT in source.roles or found.n_used < found.n_rows or has_strangers
        return cls(source.schema, encoder, target, mean_weight if weighted else None)


def encode_blocks(
    source: Source, found: Scan, recipe: Recipe, progress: Callable[[int, int], None] | None = None
) -> Blocks:
    """Read `source` a second time and encode it, here: a block per partition."""
    blocks = {}
    for k in range(source.n_partitions):
        blocks[k] = encode_partition(source.read(k), recipe, k, found.rows[k])
        if progress is not None:
            progress(k + 1, source.n_partitions)
    return Blocks(np.cumsum([0, *found.rows], dtype=np.int64), blocks)


def encode_partition(part: pd.DataFrame, recipe: Recipe, k: int, n: int) -> Rows:
    """Partition k, which had n rows when it was scanned."""
    source, encoder, target, mean_weight = recipe.schema, recipe.encoder, recipe.target, recipe.mean_weight
    if len(part) != n:
        raise SchemaError(
            f"{source.label} changed while it was read: partition {k} had {n:,} rows in the scan and has {len(part):,} "
            f"now. {SAVE}"
        )
    dense, active = encoder.encode(part, source.label)
    nothing = np.zeros(0, np.float32)
    goal, weight, offset = nothing, nothing, nothing
    if TARGET in source.roles:
        numbers = None if target.classes else target_numbers(part, source, k)
        goal = target.encode(part[source.roles[TARGET]], numbers).astype(np.float32)
    if mean_weight is not None:
        raw = role_numbers(part, source, WEIGHT, k)
        weight = (np.ones(n) if raw is None else raw / mean_weight).astype(np.float32)
        if len(goal):
            weight[np.isnan(goal)] = 0
            goal[np.isnan(goal)] = 0
    elif np.isnan(goal).any():
        raise SchemaError(
            f"{source.label} changed while it was read: partition {k} had every target in the scan and lacks some now. {SAVE}"
        )
    raw = role_numbers(part, source, OFFSET, k)
    if raw is not None:
        offset = target.offsets(raw).astype(np.float32)
    return Rows(dense, active, goal, weight, offset)


def used_rows(store: Blocks) -> NDArray[np.int64]:
    """Global numbers, ascending, of the rows that are here and count: those with a weight above 0."""

    def used(k: int) -> NDArray[np.int64]:
        weight = store.blocks[k].weight
        places = np.flatnonzero(weight > 0) if len(weight) else np.arange(store.blocks[k].n)
        rows: NDArray[np.int64] = places + store.starts[k]
        return rows

    return np.concatenate([np.zeros(0, np.int64), *(used(k) for k in store.numbers)])


def gather(store: Blocks, rows: NDArray[np.int64]) -> Rows:
    """The rows of the given global numbers, in that order, in contiguous arrays."""
    owner = np.searchsorted(store.starts, rows, side="right") - 1
    first = store.blocks[int(owner[0]) if len(rows) else store.numbers[0]]
    parts = [np.empty((len(rows) if len(part) else 0, *part.shape[1:]), part.dtype) for part in first]
    by_block = np.argsort(owner, kind="stable")
    edges = np.searchsorted(owner[by_block], np.arange(len(store.starts)))
    for k in np.unique(owner):
        places = by_block[edges[k] : edges[k + 1]]
        local = rows[places] - store.starts[k]
        for whole, part in zip(parts, store.blocks[int(k)], strict=True):
            if len(whole):
                whole[places] = part[local]
    return Rows(*parts)
