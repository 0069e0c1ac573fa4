"""Where the encoded rows of a training shall be: in memory, on the local disk, or read again and again from their source."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dask_dl.errors import SchemaError
from dask_dl.memory import IN_MEMORY, ORDER_KEPT, ORDER_PER_ROW, Memory, Storage, size

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes of a window: with less, rows of too few segments meet; more mixes no better.
MIN_WINDOW, MAX_WINDOW = 2**23, 2**28
#: Blocks that a window should have, at least, where they are read from their source.
BLOCKS_PER_WINDOW = 8
#: Of the free disk this much is used, at most: others write too.
SHARE_OF_DISK = 0.9


class Budget(NamedTuple):
    """Memory and disk of the process with most of the work."""

    memory: int  #: bytes that it may use; 0: unknown
    of: str  #: where that comes from, in words
    disk: int  #: bytes that its encoded rows may take
    folder: str  #: where they would be
    no_disk: str | None = None  #: why the disk is no use
    no_stream: Callable[[], str | None] | None = None  #: tells why the source cannot be read again and again, if so


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
    fixed: bool = False,
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
    fixed : bool
        Whether the same is to be chosen on every machine, because the order of rows depends on it.

    Returns
    -------
    Decision

    Raises
    ------
    SchemaError
        When a source that cannot be read again is to be streamed.
    """
    no_stream = budget.no_stream or (lambda: None)

    def storage(mode: str) -> Storage:
        if mode == "memory":
            return IN_MEMORY
        minimum = max(MIN_WINDOW, BLOCKS_PER_WINDOW * largest_block if mode == "stream" else 0)
        maximum = max(MAX_WINDOW, 4 * minimum)
        if fixed or not budget.memory:
            return Storage(mode, maximum)
        # What memory leaves for two windows and their order, within limits.
        rest = budget.memory - need(Storage(mode, 0)).peak
        per_byte = 2 + (ORDER_PER_ROW + ORDER_KEPT) / bytes_per_row
        return Storage(mode, int(max(min(rest / per_byte, maximum), minimum)))

    def decision(mode: str, why: str) -> Decision:
        chosen = storage(mode)
        found = need(chosen)
        if not fixed:
            chosen = chosen._replace(max_rows=_max_rows(mode, found, budget, n_bytes, bytes_per_row))
        if mode == "memory":
            return Decision(chosen, found, why)
        where = f" in {budget.folder}" if mode == "disk" else ""
        shuffled = f"windows of {size(min(chosen.window, n_bytes))} are shuffled"
        return Decision(chosen, found, f"{why}: {size(n_bytes)} of encoded rows{where}, {shuffled}")

    if requested != "auto":
        cannot = no_stream() if requested == "stream" else None
        if cannot:
            raise SchemaError(f"storage='stream': {cannot}")
        return decision(requested, "asked for")
    whole = need(IN_MEMORY)
    if fixed or not budget.memory:
        return decision("memory", "reproducible=True" if fixed else "no limit is known")
    if whole.peak <= budget.memory:
        return decision("memory", f"needs up to {size(whole.peak)}; limit {size(budget.memory)}, {budget.of}")
    full = f"{size(n_bytes)} do not fit into {SHARE_OF_DISK:.0%} of the {size(budget.disk)} that are free in {budget.folder}"
    reasons = [f"in memory it would need up to {size(whole.peak)}, limit {size(budget.memory)}, {budget.of}"]
    modes = ["memory"]
    no_disk = budget.no_disk or (full if n_bytes > SHARE_OF_DISK * budget.disk else None)
    for mode in ("disk", "stream"):
        cannot = no_disk if mode == "disk" else no_stream()
        if cannot:
            reasons.append(cannot)
            continue
        peak = need(storage(mode)).peak
        if peak <= budget.memory:
            return decision(mode, "; ".join(reasons))
        modes.append(mode)
        reasons.append(f"{mode} would need up to {size(peak)}")
    best = min(modes, key=lambda mode: need(storage(mode)).peak)
    return decision(best, f"nothing fits ({'; '.join(reasons)}), and this takes least")


def _max_rows(mode: str, need: Memory, budget: Budget, n_bytes: int, bytes_per_row: int) -> int | None:
    """How many rows the process could come to hold; None: any number."""
    if mode == "disk":
        return max(n_bytes, int(SHARE_OF_DISK * budget.disk)) // bytes_per_row
    if mode == "memory" and budget.memory:
        rest = max(0, budget.memory - need.peak)
        return n_bytes // bytes_per_row + rest // (bytes_per_row + ORDER_PER_ROW)
    return None
