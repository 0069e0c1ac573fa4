"""Blocks of a table that other trainers of the same rows have on workers: taken from there, and not from the source.

Within a process they are the same arrays, or a second name of a file; from another process they are copies. A lender that has
lost a block lends nothing, and the block is read from its source: no wait depends on a worker that may be none of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from distributed import get_worker
from distributed.protocol import pickle

from dask_dl.cluster.plugin import BlockReceipt, BlockRequest, TableSpec, TrainingPlugin, name_of, plugin
from dask_dl.cluster.table_tasks import kept, writable
from dask_dl.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dask_dl.frame.block import Block
    from dask_dl.state import Rows

#: Seconds that another worker gets to send some blocks, and between two looks whether it is still there.
SENDING, LOOK = 120.0, 1.0


class Lender(NamedTuple):
    """A job that has blocks on a worker."""

    job: str
    worker: str


def borrow(lenders: Mapping[int, Lender], spec: TableSpec, wanted: BlockRequest) -> BlockReceipt:
    """Keep blocks on this worker that other jobs have here or elsewhere, as many of them as can be had.

    Parameters
    ----------
    lenders : mapping of int to Lender
        Who has each block.
    spec : TableSpec
        How the table becomes blocks.
    wanted : BlockRequest
        Job and table that the blocks belong to.

    Returns
    -------
    BlockReceipt
        What is here now.

    Raises
    ------
    StorageError, GoneError
        See `table_tasks.keep`.
    """
    home = plugin(wanted.job)
    _, store = home.open(spec, wanted)

    def blocks() -> Iterator[tuple[int, Block]]:
        for lender in dict.fromkeys(lenders.values()):
            numbers = [k for k, other in lenders.items() if other == lender]
            if lender.worker == home.address:
                other = _lending(get_worker(), lender.job)
                theirs = other.shard.tables.get(wanted.table) if other else None
                if other is None or theirs is None:
                    continue
                home.lenders.add(lender.job)  # which keeps its rows meanwhile
                for k in numbers:
                    with contextlib.suppress(KeyError, StorageError):  # it may give blocks up at any moment
                        found = store.borrowed(theirs.blocks[k], theirs)
                        yield k, found
            else:
                for k, (block, rows) in fetched(lender, wanted.table, numbers).items():
                    drawn = block.drawn and (block.drawn[0], writable(block.drawn[1]))
                    yield k, store.copied(block._replace(drawn=drawn), writable(rows))

    return kept(blocks(), spec, wanted)


def _lending(worker: Any, job: str) -> TrainingPlugin | None:
    found = worker.plugins.get(name_of(job))
    return found if isinstance(found, TrainingPlugin) else None


def fetched(lender: Lender, table: str, numbers: Iterable[int]) -> dict[int, tuple[Block, Rows]]:
    """Blocks of another worker, and their rows; those that can be had."""
    worker = get_worker()

    async def ask() -> dict[int, tuple[Block, Rows]]:
        call = pickle.dumps(lend), pickle.dumps((lender.job, table, list(numbers)))
        asked = asyncio.ensure_future(worker.rpc(lender.worker).run(function=call[0], args=call[1]))
        deadline = time.monotonic() + SENDING
        with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
            # Dask goes on connecting to a process that is gone for half a minute, once for each task.
            while not (await asyncio.wait({asked}, timeout=LOOK))[0]:
                if time.monotonic() > deadline or not await worker.scheduler.ncores(workers=[lender.worker]):
                    asked.cancel()
            if (answer := asked.result())["status"] == "OK":
                return answer["result"]  # type: ignore[no-any-return]  # distributed has no types
        return {}

    return asyncio.run_coroutine_threadsafe(ask(), worker.loop.asyncio_loop).result()


async def lend(job: str, table: str, numbers: list[int], dask_worker: Any) -> dict[int, tuple[Block, Rows]]:
    """Blocks of a job on this worker, and their rows, for another worker; beside the tasks, as these may take long.

    Parameters
    ----------
    job : str
        Identifier of the lender.
    table : str
        Key of the table.
    numbers : list of int
        Numbers of the blocks.
    dask_worker : distributed.Worker
        This worker.

    Returns
    -------
    dict of int to tuple of (Block, Rows)
        Those that are here.
    """

    def found() -> dict[int, tuple[Block, Rows]]:
        home = _lending(dask_worker, job)
        store = home.shard.tables.get(table) if home else None
        lent: dict[int, tuple[Block, Rows]] = {}
        if store is None:
            return lent
        for k in numbers:
            with contextlib.suppress(KeyError, StorageError):
                block, rows = store.blocks[k], store.rows(k).compact()
                drawn = block.drawn and (block.drawn[0], block.drawn[1].compact())
                lent[k] = block._replace(handle=None, drawn=drawn), rows
        return lent

    return await asyncio.get_running_loop().run_in_executor(None, found)
