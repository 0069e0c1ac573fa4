"""Tasks that workers run on tables: scan, encode, keep and give up blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import dask
import numpy as np
from distributed.protocol import pickle

from dask_dl.cluster.plugin import NEVER, BlockReceipt, BlockRequest, GoneError, TableSpec, plugin
from dask_dl.errors import StorageError
from dask_dl.frame.block_store import PartitionRows
from dask_dl.frame.blocks import candidates
from dask_dl.frame.recipe import encode_partition, groups_of
from dask_dl.frame.scan import merged
from dask_dl.frame.subset import Subset, n_selected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from dask_dl.cluster.placement import RowRange
    from dask_dl.cluster.plugin import ShardRows
    from dask_dl.frame.block import Block
    from dask_dl.frame.blocks import Blocks
    from dask_dl.frame.recipe import Recipe
    from dask_dl.frame.row_selection import Groups
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.scored_sample import Candidates
    from dask_dl.frame.source import Schema
    from dask_dl.frame.sparse import SparsePart
    from dask_dl.frame.view import View
    from dask_dl.state import Rows


T = TypeVar("T")


def scan_merged(parts: Sequence[Scan], schema: Schema) -> Scan:
    """Neighbouring partitions."""
    scan = merged(iter(parts), schema)
    assert scan is not None
    return scan


def encode(
    part: pd.DataFrame, spec: TableSpec, k: int, n: int, row_ranges: dict[int, RowRange], wanted: BlockRequest
) -> BlockReceipt:
    """Make blocks of this worker from a partition.

    Parameters
    ----------
    part : pandas.DataFrame or SparsePart
        The partition.
    spec : TableSpec
        How the table becomes blocks.
    k : int
        Number of the partition.
    n : int
        Rows that it had when it was scanned.
    row_ranges : dict of int to RowRange
        Rows of the partition that make each block, by number of the block.
    wanted : BlockRequest
        Job and table that the blocks belong to.

    Returns
    -------
    BlockReceipt

    Raises
    ------
    SchemaError
        When the partition has changed since the scan, or holds what the network cannot compute with.
    StorageError, GoneError
        See `keep`.
    """
    rows, groups = encode_partition(part, spec.recipe, k, n), cut_groups(part, spec.recipe, row_ranges)
    is_cut = len(row_ranges) > 1 or any(row_range.n < n for row_range in row_ranges.values())
    copies = is_cut and spec.storage.mode == "memory"  # so that the rest of the partition is released
    blocks = {block: rows.cut(row_range.lo, row_range.hi) for block, row_range in row_ranges.items()}
    return keep({b: cut.copy() if copies else cut for b, cut in blocks.items()}, spec, wanted, groups=groups)


def encode_again(
    partition: bytes, spec: TableSpec, k: int, n: int, row_ranges: dict[int, RowRange], wanted: BlockRequest
) -> BlockReceipt:
    """Make blocks of this worker from a partition that it can read by itself, as often as it likes.

    Parameters
    ----------
    partition : bytes
        Graph and key of the partition, pickled.
    spec : TableSpec
        How the table becomes blocks.
    k : int
        Number of the partition.
    n : int
        Rows that it had when it was scanned.
    row_ranges : dict of int to RowRange
        Rows of the partition that make each block, by number of the block.
    wanted : BlockRequest
        Job and table that the blocks belong to.

    Returns
    -------
    BlockReceipt

    Raises
    ------
    SchemaError, StorageError, GoneError
        As in `encode`.
    """

    def read() -> Rows:
        graph, key = pickle.loads(partition)
        return encode_partition(dask.get(graph, key), spec.recipe, k, n)

    graph, key = pickle.loads(partition)
    part = dask.get(graph, key)
    rows, groups = encode_partition(part, spec.recipe, k, n), cut_groups(part, spec.recipe, row_ranges)
    again = {block: PartitionRows(k, read, cut.lo, cut.hi) for block, cut in row_ranges.items()}
    blocks = {block: rows.cut(row_range.lo, row_range.hi) for block, row_range in row_ranges.items()}
    return keep(blocks, spec, wanted, again, groups)


def cut_groups(
    part: pd.DataFrame | SparsePart, recipe: Recipe, row_ranges: Mapping[int, RowRange]
) -> dict[int, Groups]:
    """Groups of some rows of a partition, by block."""
    groups = groups_of(part, recipe)
    return {
        block: {name: codes[row_range.lo : row_range.hi] for name, codes in groups.items()}
        for block, row_range in row_ranges.items()
    }


def keep(
    blocks: dict[int, Rows],
    spec: TableSpec,
    wanted: BlockRequest,
    again: Mapping[int, Callable[[], Rows]] = NEVER,
    groups: Mapping[int, Groups] | None = None,
) -> BlockReceipt:
    """Keep encoded blocks on this worker.

    Parameters
    ----------
    blocks : dict of int to Rows
        Encoded rows, by number of the block.
    spec : TableSpec
        How the table becomes blocks.
    wanted : BlockRequest
        Job and table that the blocks belong to, and whether they are staged.
    again : mapping of int to callable
        Functions that read a block again, where that is possible.
    groups : mapping of int to mapping, optional
        Groups of each block that do not follow from its rows.

    Returns
    -------
    BlockReceipt
        Rows that count, and checksums, of the blocks.

    Raises
    ------
    StorageError
        When they cannot be stored; none of them is kept then.
    GoneError
        When the driver has meanwhile given this worker up for lost.
    """
    _, store = plugin(wanted.job).open(spec, wanted)
    beside = groups or {}
    stored = ((k, store.stored(k, writable(rows), again.get(k), beside.get(k))) for k, rows in blocks.items())
    return kept(stored, spec, wanted)


def writable(rows: Rows) -> Rows:
    """Rows that came over the network are read-only, which would be a type of its own for the compiler."""
    return rows.map(lambda part: np.require(part, requirements="W"))


def kept(blocks: Iterable[tuple[int, Block]], spec: TableSpec, wanted: BlockRequest) -> BlockReceipt:
    """Keep blocks by number, whose rows are put into the block store as they come. Raises StorageError, GoneError.

    See `keep`.
    """
    home = plugin(wanted.job)
    shard, store = home.open(spec, wanted)
    stored: dict[int, Block] = {}
    try:
        stored.update(blocks)
    except StorageError:
        for block in stored.values():
            store.block_store.drop(block.handle)
        home.open(spec, wanted)  # its folder may have been removed meanwhile, rightly
        raise
    if wanted.staged:  # beside a round that is trained
        drop_staged(wanted.job, [(wanted.table, k) for k in stored])  # of an attempt whose end was not reported
        home.staged |= {(wanted.table, k): block for k, block in stored.items()}
    else:
        with home.turn():
            if shard is not home.shard:
                raise GoneError(f"{home.address} was considered lost while it read.")
            shard.put(wanted.table, stored)
    checksums = {k: store.block_store.checksum(block.handle) for k, block in stored.items()}
    return BlockReceipt(home.address, {k: block.n_used for k, block in stored.items()}, checksums)


def take_over(job: str, blocks: Sequence[tuple[str, int]]) -> None:
    """Staged blocks (table, number) begin to take part."""
    home = plugin(job)
    with home.turn() as shard:
        if not set(blocks) <= home.staged.keys():
            raise GoneError(f"{home.address} does not have all the blocks that it had read.")
        for table, k in blocks:
            shard.put(table, {k: home.staged.pop((table, k))})


def drop_staged(job: str, blocks: Iterable[tuple[str, int]]) -> None:
    """Staged blocks (table, number) are not wanted after all."""
    home = plugin(job)
    for table, k in blocks:
        block = home.staged.pop((table, k), None)
        if block is not None and table in home.shard.tables:
            home.shard.tables[table].block_store.drop(block.handle)


def give_up(job: str, blocks: Sequence[tuple[str, int]]) -> None:
    """Blocks (table, number) that others have now."""
    with plugin(job).turn() as shard:
        for table, block in blocks:
            shard.drop(table, [block])


def over(job: str, rows: ShardRows, function: Callable[[Blocks], T]) -> T:
    """Result of a function of a shard's blocks of a table."""
    with plugin(job).turn(None, rows) as shard:
        return function(rows.shard_of(shard).store(rows.table))


def candidates_of(job: str, rows: ShardRows) -> Candidates:
    """Keys and strata of a shard's rows that may belong to the table's sample."""
    with plugin(job).turn(None, rows) as shard:
        return candidates(rows.shard_of(shard).store(rows.table))


def selected(job: str, rows: ShardRows, view: View) -> dict[int, int]:
    """Rows of a shard's blocks that a view selects."""
    with plugin(job).turn(None, rows) as shard:
        return n_selected(rows.shard_of(shard).store(rows.table), view)


def visits(job: str, rows: ShardRows, view: View, starts: NDArray[np.int64]) -> dict[int, int]:
    """Visits of an epoch to a shard's blocks, by a view.

    Parameters
    ----------
    job : str
        Identifier of the training.
    rows : ShardRows
        Rows of the shard.
    view : View
        Which of them it selects, and how often they are visited.
    starts : (blocks + 1,) int64
        See `Subset`.

    Returns
    -------
    dict of int to int
        Visits by number of the block.
    """
    with plugin(job).turn(None, rows) as shard:
        return Subset(rows.shard_of(shard).store(rows.table), view, starts=starts).n_visits()


def fingerprint(job: str, rows: ShardRows) -> list[int]:
    """Fingerprint of a shard's blocks of a table: `Blocks.fingerprint`."""
    with plugin(job).turn(None, rows) as shard:
        return rows.shard_of(shard).store(rows.table).fingerprint()
