"""A zip archive of the one form that `write_archive` gives it, read without believing what it says of itself.

Entries lie one after another from the first byte, neither compressed nor encrypted, without extra fields or comments; the
directory follows, then the end record and the comment of the archive. In such a file the sizes of all entries add up to the
size of the file, so that nothing can be unpacked into more than it is, and no byte belongs to two entries.
"""

from __future__ import annotations

import struct
from typing import IO, Any, NamedTuple
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED

from dask_dl.errors import ArchiveError

#: Entries of the largest archive: those of a training with more than six hundred layers.
MAX_ENTRIES = 2**14
#: Bytes of the largest archive, likewise: more than the largest network with all its states takes.
MAX_BYTES = 2**32 - 2

_LOCAL = struct.Struct("<4s5H3L2H")
_DIRECTORY = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
#: Methods of compression that other programs use.
_METHODS = {ZIP_DEFLATED: "deflate", ZIP_BZIP2: "bzip2", ZIP_LZMA: "lzma", 9: "deflate64", 93: "zstd", 95: "xz"}
_ENCRYPTED = 0x41  # by a password, or strongly
_VERSION = 20


class Span(NamedTuple):
    """Bytes of an entry within the file."""

    start: int
    size: int


def read_directory(file: IO[bytes], n_bytes: int, comment: int) -> dict[str, Span]:
    """Entries of an archive by name.

    Parameters
    ----------
    file : binary file
    n_bytes : int
        Size of the file.
    comment : int
        Size of the archive's comment, with which the file ends.

    Returns
    -------
    dict of str to Span

    Raises
    ------
    ArchiveError
        The archive has another form than the one that is written; the text says which.
    """
    end = n_bytes - comment - _END.size
    file.seek(max(end, 0))
    found = file.read(_END.size)
    if end < 0 or len(found) < _END.size or not found.startswith(b"PK\x05\x06"):
        raise ArchiveError("its zip directory is missing")
    _, disk, disk_of_directory, n_here, n, size, start, n_comment = _END.unpack(found)
    if 0xFFFF in {n_here, n} or 0xFFFFFFFF in {size, start}:
        raise ArchiveError("it is a zip64 archive, which is never written")
    if (disk, disk_of_directory, n_here, n_comment) != (0, 0, n, comment) or start + size != end:
        raise ArchiveError("its zip directory does not lie where its end says")
    if n > MAX_ENTRIES:
        raise ArchiveError(f"it has {n:,} entries, and more than {MAX_ENTRIES:,} are never written")
    file.seek(start)
    directory = file.read(size)
    spans: dict[str, Span] = {}
    at = position = 0  # in the directory, and in the file
    for _ in range(n):
        if at + _DIRECTORY.size > size:
            raise ArchiveError("its zip directory is shorter than the number of its entries")
        fields = _DIRECTORY.unpack_from(directory, at)
        local, n_name, n_more = fields[2:10], fields[10], fields[11] + fields[12]
        raw = directory[at + _DIRECTORY.size : at + _DIRECTORY.size + n_name]
        name = raw.decode("ascii", "backslashreplace")
        _check_entry(name, fields)
        file.seek(position)
        # What stands before the data must say the same as the directory, and stand where the entry before ends.
        header = _LOCAL.pack(b"PK\x03\x04", *local, n_name, 0) + raw
        if fields[16] != position or file.read(len(header)) != header:
            raise ArchiveError(
                f"entry {name!r} does not begin where the one before it ends: entries overlap, or hide bytes"
            )
        if name in spans:
            raise ArchiveError(f"entry {name!r} is there twice: entries overlap")
        spans[name] = Span(position + len(header), fields[9])
        position += len(header) + fields[9]
        at += _DIRECTORY.size + n_name + n_more
    if at != size or position != start:
        raise ArchiveError("bytes of its zip archive belong to no entry")
    return spans


def _check_entry(name: str, fields: tuple[Any, ...]) -> None:
    """Refuse what only other programs write into a directory's record. Raises ArchiveError."""
    signature, _, version, flags, method, _, _, _, packed, size, _, n_extra, n_comment, disk = fields[:14]
    if signature != b"PK\x01\x02":
        raise ArchiveError("its zip directory is shorter than the number of its entries")
    if flags & _ENCRYPTED:
        raise ArchiveError(f"entry {name!r} is encrypted")
    if method != ZIP_STORED:
        raise ArchiveError(f"entry {name!r} is compressed ({_METHODS.get(method, f'method {method}')})")
    if flags or packed != size or version != _VERSION or n_extra or n_comment or disk:
        raise ArchiveError(f"entry {name!r} has flags, sizes or extra fields that are never written")
