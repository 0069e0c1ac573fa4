"""Encoded rows in memory: every partition is read and encoded once, then its source is released.

A training asks for rows by their global number, in any order, and gets them gathered into contiguous arrays: the kernel
then streams through memory, and where a block lives (here: in memory) is nobody else's business.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dask_dl.errors import SchemaError
from dask_dl.frame.scan import role_numbers, target_numbers
from dask_dl.frame.source import OFFSET, TARGET, WEIGHT, Source
from dask_dl.state import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.encoder import Encoder
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.target import Target


#: What helps against a source that gives other rows each time it is read.
SAVE = "Save a random or changing source to Parquet first."


class BlockStore(Protocol):
    """Where encoded blocks live: in memory today."""

    @property
    def starts(self) -> NDArray[np.int64]:
        """First global row of every block, and one past the last."""

    def block(self, k: int) -> Rows:
        """Block k, rows in the order of the table."""


@dataclass(frozen=True)
class Blocks:
    """Encoded blocks in memory."""

    starts: NDArray[np.int64]
    blocks: Sequence[Rows]

    def block(self, k: int) -> Rows:
        """Block k, rows in the order of the table."""
        return self.blocks[k]

    @property
    def nbytes(self) -> int:
        """Memory they take."""
        return sum(block.nbytes for block in self.blocks)

    def fingerprint(self) -> list[int]:
        """A checksum of every part of the rows, in order; how the table is cut into blocks does not matter."""
        sums = [0] * len(Rows._fields)
        for block in self.blocks:
            parts = [np.ascontiguousarray(part).reshape(-1).view(np.uint8) for part in block]
            sums = [zlib.crc32(part.data, total) for part, total in zip(parts, sums, strict=True)]
        return sums


def encode_blocks(
    source: Source,
    found: Scan,
    encoder: Encoder,
    target: Target,
    *,
    mean_weight: float,
    progress: Callable[[int, int], None] | None = None,
) -> Blocks:
    """Read `source` a second time and encode it.

    Weights are divided by `mean_weight`, the mean of training; a row without target, or with a label that training has
    not seen, gets weight 0. Weights are kept for no block when every row of the table counts 1.
    """
    has_strangers = bool(target.classes) and not set(found.classes).issubset(target.classes)
    weighted = WEIGHT in source.roles or found.n_used < found.n_rows or has_strangers
    blocks = []
    for k in range(source.n_partitions):
        blocks.append(_encode_partition(source, k, found.rows[k], encoder, target, mean_weight if weighted else None))
        if progress is not None:
            progress(k + 1, source.n_partitions)
    return Blocks(np.cumsum([0, *found.rows], dtype=np.int64), blocks)


def _encode_partition(
    source: Source, k: int, n: int, encoder: Encoder, target: Target, mean_weight: float | None
) -> Rows:
    part = source.read(k)
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


def used_rows(store: BlockStore) -> NDArray[np.int64]:
    """Global numbers of the rows that count: those with a weight above 0."""
    n_blocks = len(store.starts) - 1
    if not any(len(store.block(k).weight) for k in range(n_blocks)):
        return np.arange(store.starts[-1], dtype=np.int64)
    return np.concatenate([np.flatnonzero(store.block(k).weight > 0) + store.starts[k] for k in range(n_blocks)])


def gather(store: BlockStore, rows: NDArray[np.int64]) -> Rows:
    """The rows of the given global numbers, in that order, in contiguous arrays."""
    owner = np.searchsorted(store.starts, rows, side="right") - 1
    first = store.block(int(owner[0]) if len(rows) else 0)
    parts = [np.empty((len(rows) if len(part) else 0, *part.shape[1:]), part.dtype) for part in first]
    by_block = np.argsort(owner, kind="stable")
    edges = np.searchsorted(owner[by_block], np.arange(len(store.starts)))
    for k in np.unique(owner):
        places = by_block[edges[k] : edges[k + 1]]
        local = rows[places] - store.starts[k]
        for whole, part in zip(parts, store.block(int(k)), strict=True):
            if len(whole):
                whole[places] = part[local]
    return Rows(*parts)
