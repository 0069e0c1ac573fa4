"""Where encoded blocks lie: in memory, in files on the local disk, or nowhere, so that their source is read again."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import google_crc32c
import numpy as np

from dask_dl.errors import DaskDLError, SchemaError, StorageError
from dask_dl.state import ENTRY, NO_ENTRIES, begins

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from dask_dl.state import Rows


class BlockStore(Protocol):
    """Keeps blocks of rows. What `put` returns finds a block again."""

    in_memory: bool  #: whether rows can be had at once, in any order

    def put(self, rows: Rows, again: Callable[[], Rows] | None) -> Any:
        """Keep a block, of which `again` reads a second copy from the source."""

    def n_together(self, handle: Any, n: int) -> int:
        """Rows of a block, which has n, that are read at a time; at least 1."""

    def n_entries(self, handle: Any, lo: int, n: int) -> int:
        """Entries of the n rows from `lo` on: whole units of `n_together`, or all up to the end."""

    def read(self, handle: Any, lo: int, out: Rows) -> None:
        """Fill `out` with the rows from `lo` on, all of a unit of `n_together`, or those up to its end.

        The pools of `out` have room for their entries, and for nothing else.
        """

    def checksum(self, handle: Any) -> int | None:
        """Checksum of a block that is read from its source again and again; None for one that is kept."""

    def borrowed(self, handle: Any) -> Any:
        """A handle of the same block of another store of this kind, in this process, whichever of them drops it first.

        Raises StorageError where the other one has dropped it already.
        """

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

    def n_entries(self, handle: Rows, lo: int, n: int) -> int:
        """Counted."""
        return handle.entries.of(slice(lo, lo + n)).n

    def read(self, handle: Rows, lo: int, out: Rows) -> None:
        """A copy."""
        copied(handle.cut(lo, lo + out.n), out)

    def checksum(self, handle: Rows) -> None:
        """There is none."""

    def borrowed(self, handle: Rows) -> Rows:
        """Return the same arrays."""
        return handle

    def drop(self, handle: Rows) -> None:
        """The caller lets go of it."""


class StoredFile(NamedTuple):
    """A block on disk: its segments one after another, each with all parts of its rows."""

    path: Path
    n_segment: int  #: rows of a segment
    n_bytes: int  #: of a row, without its entries
    entries: NDArray[np.int64]  #: those before each segment, and all; empty where there are none
    checksums: NDArray[np.uint32]  #: of every segment: in memory, so that another file in this one's place is found out
    size: int  #: bytes of the file


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
        No other block store in the folder has it.
    """

    in_memory = False

    def __init__(self, folder: Path, segment: int, name: str) -> None:
        self.folder, self._segment, self._name = folder, segment, name
        self._numbers = itertools.count()

    def put(self, rows: Rows, again: Callable[[], Rows] | None) -> StoredFile:  # noqa: ARG002  # the protocol's signature
        """Write a file. Raises StorageError when the disk is full."""
        n_segment = max(1, self._segment * rows.n // max(1, rows.nbytes))
        edges = [*range(0, rows.n, n_segment), rows.n]
        counts = [rows.entries.of(slice(lo, hi)).n for lo, hi in itertools.pairwise(edges)]
        entries = np.cumsum([0, *counts] if len(rows.entries.begin) else [], dtype=np.int64)
        one = sum(map(len, _bytes(rows.cut(0, 1)._replace(entries=NO_ENTRIES)))) + 4 * (len(entries) > 0)
        path, checksums = self.folder / f"{self._name}-{next(self._numbers)}.rows", []
        try:
            with path.open("wb") as out:
                for lo, hi in itertools.pairwise(edges):
                    views = _bytes(rows.cut(lo, hi).compact())
                    checksums.append(checksum(views))
                    out.writelines(views)
                size = out.tell()
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            raise self.write_error(error, rows.nbytes) from error
        return StoredFile(path, n_segment, one, entries, np.array(checksums, np.uint32), size)

    def write_error(self, error: OSError, n_bytes: int) -> StorageError:
        """Error for rows of so many bytes that could not be written."""
        where = f"{self.folder} on {socket.gethostname()}"
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            return StorageError(f"encoded rows cannot be written to {where}: {error}. Is its disk in order?")
        return StorageError(
            f"the disk is full: {n_bytes:,} bytes of encoded rows could not be written to {where}. Make room, let Dask use a "
            f"larger disk (its settings temporary-directory and, of a worker, local-directory), use more workers, or "
            f"storage='stream'."
        )

    def n_together(self, handle: StoredFile, n: int) -> int:  # noqa: ARG002  # the protocol's signature
        """A segment."""
        return handle.n_segment

    def n_entries(self, handle: StoredFile, lo: int, n: int) -> int:
        """Number of entries, counted when they were written."""
        if not len(handle.entries):
            return 0
        first, stop = lo // handle.n_segment, -(-(lo + n) // handle.n_segment)
        return int(handle.entries[stop] - handle.entries[first])

    def read(self, handle: StoredFile, lo: int, out: Rows) -> None:
        """Read a segment with one system call and compare its checksum. Raises StorageError."""
        views = _bytes(out)
        k = lo // handle.n_segment
        before = ENTRY * int(handle.entries[k]) if len(handle.entries) else 0
        try:
            number = os.open(
                handle.path, os.O_RDONLY | os.O_NONBLOCK
            )  # a pipe in the file's place would block for ever
            try:
                size = os.fstat(number).st_size
                n_read = os.preadv(number, views, lo * handle.n_bytes + before)
            finally:
                os.close(number)
        except OSError as error:
            raise _damaged(handle, f"cannot be read: {error}") from error
        if size != handle.size or n_read != sum(map(len, views)):
            raise _damaged(handle, f"is damaged: it has {size:,} bytes and was written with {handle.size:,}")
        if checksum(views) != handle.checksums[k]:
            raise _damaged(handle, f"is damaged: its rows {lo:,} to {lo + out.n:,} are not those that were written")
        np.copyto(out.entries.begin, begins(out.entries.length))

    def checksum(self, handle: StoredFile) -> None:
        """One for each segment, compared when it is read."""

    def borrowed(self, handle: StoredFile) -> StoredFile:
        """Give the file a second name, in the folder of this store. Raises StorageError."""
        path = self.folder / f"{self._name}-{next(self._numbers)}.rows"
        try:
            os.link(handle.path, path)
        except OSError as error:
            raise self.write_error(error, handle.size) from error
        return handle._replace(path=path)

    def drop(self, handle: StoredFile) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            handle.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class PartitionRows:
    """Rows [lo, hi) of a partition, to be read again; called, it reads them."""

    partition: int
    read: Callable[[], Rows]  #: all rows of the partition
    lo: int
    hi: int

    def __call__(self) -> Rows:
        """Rows of a partition that is read for them alone."""
        return self.read().cut(self.lo, self.hi)


class SourceHandle(NamedTuple):
    """A block that is read whenever it is wanted."""

    read: Callable[[], Rows]
    checksum: int  #: of all its rows when it was first read
    n_entries: int


class FromSource:
    """Blocks are not kept: each is read and encoded again whenever it is wanted, one at a time.

    Of a partition that is cut into blocks all rows are kept until another one is read: its other blocks may be wanted next.

    The checksum of a block is noted when it is first read, so that a source that has changed since is noticed.
    """

    in_memory = False

    def __init__(self) -> None:
        self._turn = threading.Lock()  # one partition is in memory, however many threads read
        self._last: tuple[int, Rows] | None = None  #: number and rows of a partition that is cut

    def put(self, rows: Rows, again: Callable[[], Rows] | None) -> SourceHandle:
        """How to get them again, and what they were."""
        assert again is not None, "storage has seen that the source can be read again"
        return SourceHandle(again, checksum(_bytes(rows.compact())), rows.entries.n)

    def n_together(self, handle: SourceHandle, n: int) -> int:  # noqa: ARG002  # the protocol's signature
        """All: to read some is to read the partition."""
        return max(n, 1)

    def n_entries(self, handle: SourceHandle, lo: int, n: int) -> int:  # noqa: ARG002  # the protocol's signature
        """Entries of all rows."""
        return handle.n_entries

    def read(self, handle: SourceHandle, lo: int, out: Rows) -> None:
        """Read the source again. Raises SchemaError when that cannot be done, or gives something else."""
        with self._turn:
            try:
                rows = self._rows(handle).compact()
            except (DaskDLError, MemoryError):
                raise
            except Exception as error:
                raise SchemaError(
                    f"a partition could be read when training began, and cannot be now: {error!r}. Keep the source as it is, "
                    f"or use storage='disk'."
                ) from error
            if checksum(_bytes(rows)) != handle.checksum:
                raise SchemaError(
                    "a partition holds other rows than when training began. Save a random or changing source to Parquet first, "
                    "or use storage='disk'."
                )
            copied(rows.cut(lo, lo + out.n), out)

    def _rows(self, handle: SourceHandle) -> Rows:
        again = handle.read
        if not isinstance(again, PartitionRows):
            return again()
        if self._last is None or self._last[0] != again.partition:
            self._last = None  # which makes room
            whole = again.read()
            if whole.n == again.hi - again.lo:
                return whole
            self._last = again.partition, whole
        return self._last[1].cut(again.lo, again.hi)

    def checksum(self, handle: SourceHandle) -> int:
        """Checksum of the rows when they were first read."""
        return handle.checksum

    def borrowed(self, handle: SourceHandle) -> SourceHandle:
        """Return the same way to read it."""
        return handle

    def drop(self, handle: SourceHandle) -> None:
        """There is nothing."""


def _damaged(file: StoredFile, what: str) -> StorageError:
    return StorageError(
        f"{file.path} on {socket.gethostname()} {what}. Encoded rows must stay as they were written: check this disk, keep "
        f"other programs from its folder, or choose another one (Dask's settings temporary-directory and, of a worker, "
        f"local-directory)."
    )


def checksum(parts: list[memoryview]) -> int:
    """CRC-32C of parts that lie one after another, with the processor's own instruction: about as fast as memory."""
    value = 0
    for part in parts:
        given = np.asarray(part)
        given.flags.writeable = False  # the library takes nothing else
        value = google_crc32c.extend(value, given)
    return value


def _bytes(rows: Rows) -> list[memoryview]:
    """Bytes that are stored of rows: where entries begin follows from how many there are."""
    parts = *rows.even, *rows.entries[1:]
    return [_view(part) for part in parts if part.size]


def _view(part: NDArray[np.generic]) -> memoryview:
    return np.ascontiguousarray(part).reshape(-1).view(np.uint8).data


def copied(rows: Rows, out: Rows) -> None:
    """Copy rows into arrays of their size."""
    for part, place in zip(rows.compact().parts, out.parts, strict=True):
        np.copyto(place, part)
