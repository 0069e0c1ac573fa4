"""Where encoded blocks lie: in memory, in files on the local disk, or nowhere, so that their source is read again."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
import threading
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from dask_dl.errors import DaskDLError, SchemaError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dask_dl.state import Rows


class Shelf(Protocol):
    """Keeps blocks of rows. What `put` returns finds a block again."""

    in_memory: bool  #: whether rows can be had at once, in any order

    def put(self, rows: Rows, again: Callable[[], Rows] | None) -> Any:
        """Keep a block, of which `again` reads a second copy from the source."""

    def n_together(self, handle: Any, n: int) -> int:
        """Rows of a block, which has n, that are read at a time; at least 1."""

    def read(self, handle: Any, lo: int, out: Rows) -> None:
        """Fill `out` with the rows from `lo` on; they lie within one unit of `n_together`."""

    def drop(self, handle: Any) -> None:
        """Forget a block."""


class InMemory:
    """Blocks are arrays."""

    in_memory = True

    def put(self, rows: Rows, again: Callable[[], Rows] | None) -> Rows:  # noqa: ARG002  # the protocol's signature
        """The rows themselves."""
        return rows

    def n_together(self, handle: Rows, n: int) -> int:  # noqa: ARG002  # the protocol's signature
        """All."""
        return max(n, 1)

    def read(self, handle: Rows, lo: int, out: Rows) -> None:
        """A copy."""
        copied(handle.cut(lo, lo + out.n), out)

    def drop(self, handle: Rows) -> None:
        """The caller lets go of it."""


class File(NamedTuple):
    """A block on disk: its segments one after another, each with all parts of its rows."""

    path: Path
    n_segment: int  #: rows of a segment


class OnDisk:
    """Blocks are files, each a sequence of segments that are read with one call.

    They are read into buffers that are used again, and not mapped: pages of a mapping count as memory of the process, by
    which Dask judges its workers.

    Parameters
    ----------
    folder : Path
        On a local disk; it is there.
    segment : int
        Bytes that are read at a time, about.
    name : str
        No other shelf in the folder has it.
    """

    in_memory = False

    def __init__(self, folder: Path, segment: int, name: str) -> None:
        self._folder, self._segment, self._name = folder, segment, name
        self._numbers = itertools.count()

    def put(self, rows: Rows, again: Callable[[], Rows] | None) -> File:  # noqa: ARG002  # the protocol's signature
        """Write a file. Raises StorageError when the disk is full."""
        n_segment = max(1, self._segment * rows.n // max(1, rows.nbytes))
        file = File(self._folder / f"{self._name}-{next(self._numbers)}.rows", n_segment)
        try:
            with file.path.open("wb") as out:
                for lo in range(0, rows.n, n_segment):
                    out.writelines(_bytes(rows.cut(lo, lo + n_segment)))
        except OSError as error:
            with contextlib.suppress(OSError):
                file.path.unlink(missing_ok=True)
            raise self._explained(error, rows.nbytes) from error
        return file

    def _explained(self, error: OSError, n_bytes: int) -> StorageError:
        where = f"{self._folder} on {socket.gethostname()}"
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            return StorageError(f"encoded rows cannot be written to {where}: {error}. Is its disk in order?")
        return StorageError(
            f"the disk is full: {n_bytes:,} bytes of encoded rows could not be written to {where}. Make room, let Dask use a "
            f"larger disk (its settings temporary-directory and, of a worker, local-directory), use more workers, or "
            f"storage='stream'."
        )

    def n_together(self, handle: File, n: int) -> int:  # noqa: ARG002  # the protocol's signature
        """A segment."""
        return handle.n_segment

    def read(self, handle: File, lo: int, out: Rows) -> None:
        """One call of the system. Raises StorageError."""
        views = _bytes(out)
        n_bytes = sum(map(len, views))
        try:
            number = os.open(handle.path, os.O_RDONLY)
            try:
                n_read = os.preadv(number, views, lo * (n_bytes // max(1, out.n)))
            finally:
                os.close(number)
        except OSError as error:
            raise StorageError(
                f"encoded rows cannot be read from {handle.path} on {socket.gethostname()}: {error}."
            ) from error
        if n_read != n_bytes:
            raise StorageError(
                f"{handle.path} on {socket.gethostname()} is damaged: {n_read:,} bytes where there were {n_bytes:,}."
            )

    def drop(self, handle: File) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            handle.path.unlink(missing_ok=True)


class FromSource:
    """Blocks are not kept: each is read and encoded again whenever it is wanted, one at a time.

    What makes a block is noted when it is first read, so that a source that has changed is seen, if its targets have.
    """

    in_memory = False

    def __init__(self) -> None:
        self._turn = threading.Lock()  # one partition is in memory, whoever reads

    def put(self, rows: Rows, again: Callable[[], Rows] | None) -> tuple[Callable[[], Rows], int]:
        """How to get them again, and what they were."""
        assert again is not None, "storage has seen that the source can be read again"
        return again, _brief(rows)

    def n_together(self, handle: tuple[Callable[[], Rows], int], n: int) -> int:  # noqa: ARG002  # the protocol's signature
        """All: to read some is to read the partition."""
        return max(n, 1)

    def read(self, handle: tuple[Callable[[], Rows], int], lo: int, out: Rows) -> None:
        """Read the source again. Raises SchemaError when that cannot be done, or gives something else."""
        again, brief = handle
        with self._turn:
            try:
                rows = again()
            except (DaskDLError, MemoryError):
                raise
            except Exception as error:
                raise SchemaError(
                    f"a partition could be read when training began, and cannot be now: {error!r}. Keep the source as it is, "
                    f"or use storage='disk'."
                ) from error
            if _brief(rows) != brief:
                raise SchemaError(
                    "a partition holds other rows than when training began. Save a random or changing source to Parquet first, "
                    "or use storage='disk'."
                )
            copied(rows.cut(lo, lo + out.n), out)

    def drop(self, handle: tuple[Callable[[], Rows], int]) -> None:
        """There is nothing."""


def _brief(rows: Rows) -> int:
    """A checksum of the targets, or of the inputs where there are none."""
    part = rows.target if len(rows.target) else rows.dense
    return zlib.crc32(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)


def _bytes(rows: Rows) -> list[memoryview]:
    return [np.ascontiguousarray(part).reshape(-1).view(np.uint8).data for part in rows if part.size]


def copied(rows: Rows, out: Rows) -> None:
    """Copy rows into arrays of their size."""
    for part, place in zip(rows.parts, out.parts, strict=True):
        np.copyto(place, part)
