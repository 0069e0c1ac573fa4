"""Where the encoded rows of a training shall be: in memory, on the local disk, or read again and again from their source."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dask_dl.errors import SchemaError
from dask_dl.memory import IN_MEMORY, ORDER_KEPT, ORDER_PER_ROW, Memory, Storage, size

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes of a window: with less, rows of too few segments meet; more mixes no better.
LEAST_WINDOW, MOST_WINDOW = 2**23, 2**28
#: Blocks that a window should have, at least, where they are read from their source.
BLOCKS_PER_WINDOW = 8
#: Of the free disk this much is used, at most: others write too.
SHARE_OF_DISK = 0.9


class Budget(NamedTuple):
    """What the process with most of the work has."""

    memory: int  #: bytes that it may use; 0: nobody knows
    of: str  #: where that comes from, in words
    disk: int  #: bytes that its encoded rows may take
    folder: str  #: where they would be
    no_disk: str | None = None  #: why the disk is no use
    no_stream: str | None = None  #: why the source cannot be read again and again


class Decision(NamedTuple):
    """A storage, what it needs, and why it was chosen."""

    storage: Storage
    memory: Memory
    why: str


def decide(
    requested: str,
    need: Callable[[Storage], Memory],
    budget: Budget,
    *,
    n_bytes: int,
    bytes_per_row: int,
    largest_block: int,
) -> Decision:
    """Choose by the bytes that encoded rows take, the memory and the disk of the process that has most of them.

    Parameters
    ----------
    requested : {"auto", "memory", "disk", "stream"}
    need : callable
        The peak memory with a storage.
    budget : Budget
    n_bytes, bytes_per_row : int
        Of the encoded rows of both tables, and of one of them.
    largest_block : int
        Bytes of the largest block.

    Raises
    ------
    SchemaError
        When a source that cannot be read again is to be streamed.
    """
    if requested == "stream" and budget.no_stream:
        raise SchemaError(f"storage='stream': {budget.no_stream}")
    whole = need(IN_MEMORY)
    mode, why = requested, "asked for"
    if requested == "auto":
        mode, why = _chosen(whole, budget, n_bytes)
    if mode == "memory":
        return Decision(IN_MEMORY, whole, why)
    least = max(LEAST_WINDOW, BLOCKS_PER_WINDOW * largest_block if mode == "stream" else 0)
    most = max(MOST_WINDOW, 4 * least)
    storage = Storage(mode, _window(need, budget, mode, least, most, bytes_per_row) if budget.memory else most)
    where = f" in {budget.folder}" if mode == "disk" else ""
    shuffled = f"windows of {size(min(storage.window, n_bytes))} are shuffled"
    return Decision(storage, need(storage), f"{why}: {size(n_bytes)} of encoded rows{where}, {shuffled}")


def _chosen(whole: Memory, budget: Budget, n_bytes: int) -> tuple[str, str]:
    if not budget.memory or whole.peak <= budget.memory:
        return "memory", f"at most {size(whole.peak)} of {budget.of}" if budget.memory else "no limit is known"
    too_much = f"in memory it would take up to {size(whole.peak)}, more than {budget.of}"
    full = f"{size(n_bytes)} do not fit into the {size(budget.disk)} that are free in {budget.folder}"
    no_disk = budget.no_disk or (full if n_bytes > SHARE_OF_DISK * budget.disk else None)
    if no_disk is None:
        return "disk", too_much
    if budget.no_stream is None:
        return "stream", f"{too_much}; {no_disk}"
    return "memory", f"{too_much}, but {no_disk}, and {budget.no_stream}"


def _window(
    need: Callable[[Storage], Memory], budget: Budget, mode: str, least: int, most: int, bytes_per_row: int
) -> int:
    """What memory leaves for two windows and their order, within limits."""
    rest = budget.memory - need(Storage(mode, 0)).peak
    per_byte = 2 + (ORDER_PER_ROW + ORDER_KEPT) / bytes_per_row
    return int(max(min(rest / per_byte, most), least))
