"""One file for named arrays and a JSON document: a zarr v3 group in an uncompressed zip, sealed by a digest.

    zarr.json                 root group; its attributes are the header: format, format_version, kind, producer,
                              arrays {name: {shape, dtype}} and the caller's document
    weights/0/zarr.json       an array: one chunk, little-endian, not compressed
    weights/0/c/0/0           its bytes
    (zip comment)             "dask_dl sha256 " and the SHA-256, in hexadecimal, of every byte before it

zarr opens it by ``zarr.open_group(zarr.storage.ZipStore(path, mode="r"))``. Equal contents give equal bytes. A later
format may change anything but the zip, its comment and the first four fields of the header: older readers go by these.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import os
import re
import zipfile
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from dask_dl.checkpoint.whole_file import opened, replaced
from dask_dl.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import zarr
    from zarr.core.buffer import Buffer

#: 2: encodings of levels, hashing, sparse numbers and corrections of probabilities, none of which 1 knows.
FORMAT_VERSION = 2

_MARK = b"dask_dl sha256 "
_N_HEX = 64  # digits of a SHA-256
_DTYPES = ("bool", *(f"{sign}int{n}" for sign in ("", "u") for n in (8, 16, 32, 64)), "float16", "float32", "float64")


def write_archive(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], document: Mapping[str, Any], *, kind: str
) -> None:
    """
    Write arrays and a JSON document as one file, whole or not at all.

    Parameters
    ----------
    path : str or path-like
        A local path, replaced in one step and untouched on failure, or an fsspec URL (``s3://...``), to which the
        finished file is sent as one PUT.
    arrays : mapping of str to numpy.ndarray
        Boolean, integer or floating, of any shape, order and endianness. Names are words joined by ``/``.
    document : mapping
        Strict JSON: string keys, finite numbers. Tuples are read back as lists.
    kind : str
        What the file is, such as ``"model"``; `read_archive` asks for it.

    Raises
    ------
    ArchiveError
        An array or a part of the document cannot be stored; nothing was written.
    OSError
        The folder is missing, read-only or full; nothing was changed.

    Notes
    -----
    A process killed while it writes leaves the old file, and beside it a ``.dask_dl-*.tmp`` that may be deleted.
    """
    entries = _encode({name: np.asarray(array) for name, array in arrays.items()}, dict(document), kind)
    with replaced(path) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for key in sorted(entries):
                # A bare ZipInfo is dated 1980: with the time of writing, equal models would differ.
                archive.writestr(zipfile.ZipInfo(key), entries[key].as_numpy_array().data)
            archive.comment = _MARK + b"0" * _N_HEX
        n_sealed = file.seek(-_N_HEX, os.SEEK_END)
        digest = _digest(file, n_sealed)
        file.seek(n_sealed)
        file.write(digest)


def read_archive(path: str | os.PathLike[str], *, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """
    Arrays and document of a file that `write_archive` wrote. Any other file is refused; no code in it is run.

    Parameters
    ----------
    path : str or path-like
        A local path or an fsspec URL.
    kind : str
        The kind it was written as.

    Returns
    -------
    arrays : dict of str to numpy.ndarray
        C-contiguous, writable, in the machine's byte order.
    document : dict

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ArchiveError
        It is empty, truncated, damaged, foreign, of another kind, or of a newer format.

    Notes
    -----
    The digest detects accidents. Forgers can compute it too: what their file claims is checked against its size, and
    every array against the one description `write_archive` gives, before memory is taken for it.
    """
    import zarr  # here, lest a missing zarr be taken for a damaged file

    with opened(path) as file:
        n_bytes = _check_digest(file, path)
        try:
            with zipfile.ZipFile(file) as archive:
                return _decode(archive, n_bytes, path, kind)
        except (ArchiveError, MemoryError):
            raise
        except Exception as error:  # zip directory, JSON, zarr metadata: a forger may have written anything anywhere
            msg = f"{path} has a valid digest, yet zarr {zarr.__version__} cannot read what it holds: {error!r}."
            raise ArchiveError(msg) from error


def _digest(file: IO[bytes], n_bytes: int) -> bytes:
    """SHA-256 of the first `n_bytes` of a file, in hexadecimal."""
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(min(n_bytes, 1 << 20)):
        digest.update(piece)
        n_bytes -= len(piece)
    return digest.hexdigest().encode()


def _check_digest(file: IO[bytes], path: str | os.PathLike[str]) -> int:
    """Size of a file whose digest is right; any other is refused, by the likeliest cause."""
    n_bytes = file.seek(0, os.SEEK_END)
    if n_bytes == 0:
        raise ArchiveError(f"{path} is empty.")
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":
        raise ArchiveError(f"{path} is not a zip archive, hence no file of dask_dl.")
    file.seek(max(0, n_bytes - (1 << 16)))  # a zip comment is shorter than that
    ending = file.read()
    if ending[:-_N_HEX].endswith(_MARK):
        if ending[-_N_HEX:] != _digest(file, n_bytes - _N_HEX):
            raise ArchiveError(f"{path} is damaged: its bytes do not match its digest. Restore it from another copy.")
        return n_bytes
    if _MARK in ending:
        raise ArchiveError(f"{path} is damaged: its end was cut off or added to. Restore it from another copy.")
    if zipfile.is_zipfile(file):
        raise ArchiveError(f"{path} is a zip archive of another program: it has no digest of dask_dl.")
    raise ArchiveError(f"{path} is truncated: it begins as a zip archive and does not end as one.")


def _check_json(value: object, where: str) -> None:
    """Refuse what JSON cannot hold, and what Python would write all the same: NaN, keys that are not strings."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ArchiveError(f"{where} has the key {key!r}: JSON allows only strings.")
            _check_json(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple) and set(map(type, value)) <= {str, int, bool, float, type(None)}:
        odd = next((i for i, item in enumerate(value) if type(item) is float and not math.isfinite(item)), None)
        if odd is not None:
            _check_json(value[odd], f"{where}[{odd}]")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check_json(item, f"{where}[{i}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ArchiveError(f"{where} is {value}: JSON has no such number. Store None, a string, or an array.")
    elif not (value is None or isinstance(value, bool | int | float | str)):
        raise ArchiveError(f"{where} is of type {type(value).__name__}, which JSON cannot hold.")


def _producer() -> str:
    try:
        return f"dask_dl {importlib.metadata.version('dask_dl')}"
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "dask_dl (not installed)"


def _lay_out(group: zarr.Group, name: str, shape: tuple[int, ...], dtype: str) -> zarr.Array[Any]:
    """Describe an array the one way this format knows; nothing is allocated."""
    from zarr.codecs import BytesCodec

    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=tuple(max(1, n) for n in shape),
        serializer=BytesCodec(endian="little"),
        compressors=None,
        filters=None,
        fill_value=0,
        chunk_key_encoding={"name": "default", "separator": "/"},
        # zarr would leave out a chunk of zeros, and a reader could not tell it from a lost one.
        config={"write_empty_chunks": True},
    )


def _encode(arrays: dict[str, np.ndarray], document: dict[str, Any], kind: str) -> dict[str, Buffer]:
    """Every entry of the archive. Entries of native C-contiguous arrays are views of them."""
    import zarr
    from zarr.storage import MemoryStore

    _check_json(document, "document")
    for name, array in arrays.items():
        if not re.fullmatch(r"[\w-]+(/[\w-]+)*", name, re.ASCII):
            raise ArchiveError(f"Array name {name!r}: a name is words of letters, digits, _ and -, joined by /.")
        if inside := arrays.keys() & {str(parent) for parent in PurePosixPath(name).parents}:
            raise ArchiveError(f"Array {name!r} cannot lie inside array {min(inside)!r}.")
        if array.dtype.name not in _DTYPES:
            raise ArchiveError(f"Array {name!r} is of type {array.dtype}; what can be stored is {', '.join(_DTYPES)}.")
    header = {
        "format": "dask_dl",
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "producer": _producer(),
        "arrays": {name: {"shape": list(array.shape), "dtype": array.dtype.name} for name, array in arrays.items()},
        "document": document,
    }
    entries: dict[str, Buffer] = {}
    root = zarr.create_group(MemoryStore(entries), zarr_format=3)
    for name, array in arrays.items():
        _lay_out(root, name, array.shape, array.dtype.name)[...] = array
    # Last, as zarr reads a group's attributes anew for each array; without an indent, which only Python's own encoder knows.
    with zarr.config.set({"json_indent": None}):
        root.update_attributes(header)
    return entries


def _decode(
    archive: zipfile.ZipFile, n_bytes: int, path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and document of a file of `n_bytes` bytes whose digest is right; nothing else in it is trusted."""
    import zarr
    from zarr.buffer.cpu import Buffer
    from zarr.storage import MemoryStore

    sizes = {info.filename: info.file_size for info in archive.infolist()}
    if len(sizes) < len(archive.infolist()) or sum(sizes.values()) > n_bytes:
        raise ArchiveError(f"{path} was not written by dask_dl: entries of its zip archive overlap or are compressed.")
    entries: dict[str, Any] = {key: Buffer.from_bytes(archive.read(key)) for key in sizes}
    root = zarr.open_group(MemoryStore(entries), mode="r", zarr_format=3)
    header: dict[str, Any] = root.attrs.asdict()
    if header["format_version"] > FORMAT_VERSION:
        raise ArchiveError(
            f"{path} has format {header['format_version']}, written by {header['producer']}; "
            f"{_producer()} reads up to format {FORMAT_VERSION}. Upgrade: pip install --upgrade dask_dl."
        )
    if (header["format"], header["kind"]) != ("dask_dl", kind):
        raise ArchiveError(
            f"{path} is a {header['format']!r} file of kind {header['kind']!r}, not a 'dask_dl' {kind!r}."
        )

    declared = {name: (tuple(spec["shape"]), spec["dtype"]) for name, spec in header["arrays"].items()}
    chunks: dict[str, int] = {}  # entry -> bytes; an array without elements has none
    for name, (shape, dtype) in declared.items():
        if dtype not in _DTYPES:
            raise ArchiveError(f"{path}: array {name!r} is of type {dtype!r}, which this format never holds.")
        if 0 not in shape:
            chunks["/".join([name, "c", *("0" for _ in shape)])] = math.prod(shape) * np.dtype(dtype).itemsize
    needed = {"zarr.json", *(f"{name}/zarr.json" for name in declared), *chunks}
    groups = {f"{parent}/zarr.json" for name in declared for parent in PurePosixPath(name).parents}
    if missing := needed - sizes.keys():
        raise ArchiveError(f"{path}: {len(missing)} entries are missing, such as {min(missing)!r}.")
    if extra := sizes.keys() - needed - groups:
        raise ArchiveError(f"{path}: {len(extra)} entries are not declared, such as {min(extra)!r}.")
    if wrong := [key for key, size in chunks.items() if sizes[key] != size]:
        raise ArchiveError(f"{path}: {wrong[0]!r} has {sizes[wrong[0]]:,} bytes; its array needs {chunks[wrong[0]]:,}.")

    arrays = {}
    blank = zarr.create_group(MemoryStore(), zarr_format=3)
    for name, (shape, dtype) in declared.items():
        array = root[name]
        if not isinstance(array, zarr.Array) or array.metadata != _lay_out(blank, name, shape, dtype).metadata:
            raise ArchiveError(f"{path}: array {name!r} is not stored as declared.")
        arrays[name] = np.require(array[...], requirements=["C", "W"])
    return arrays, header["document"]
