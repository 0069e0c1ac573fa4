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
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

from dask_dl.checkpoint.codec import Document, Remark, check_keys, decode
from dask_dl.checkpoint.stored_zip import MAX_BYTES, MAX_ENTRIES, Span, read_directory
from dask_dl.checkpoint.whole_file import opened, replaced
from dask_dl.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import zarr
    from zarr.core.buffer import Buffer

T = TypeVar("T")

#: 2: encodings of levels, hashing, sparse numbers and corrections of probabilities, none of which 1 knows. 3: measurements
#: (`documents/measurement.py`), thresholds of two classes, and cross-validation.
FORMAT_VERSION = 3

_MARK = b"dask_dl sha256 "
_N_HEX = 64  # digits of a SHA-256
DTYPES = ("bool", *(f"{sign}int{n}" for sign in ("", "u") for n in (8, 16, 32, 64)), "float16", "float32", "float64")
#: Dimensions of an array, at most.
MAX_DIMENSIONS = 32
#: Letters of an array's name, at most: every group that it lies in repeats the beginning.
MAX_NAME = 255
#: Bytes that describe one array, at most.
MAX_METADATA = 4096


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
    if len(entries) > MAX_ENTRIES or sum(len(entry) for entry in entries.values()) > MAX_BYTES - (1 << 24):
        raise ArchiveError(
            f"{path}: {len(arrays):,} arrays are more than one file can hold: {MAX_BYTES:,} bytes in all."
        )
    with replaced(path) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for key in sorted(entries):
                # A bare ZipInfo is dated 1980: with the time of writing, equal models would differ.
                archive.writestr(zipfile.ZipInfo(key), entries[key].as_numpy_array().data)
            archive.comment = _MARK + b"0" * _N_HEX
        n_sealed = file.seek(-_N_HEX, os.SEEK_END)
        digest = digest_of(file, n_sealed)
        file.seek(n_sealed)
        file.write(digest)


def read_archive(
    path: str | os.PathLike[str],
    *,
    kind: str,
    schema: type[T] = dict[str, Any],  # type: ignore[assignment]  # a T
) -> tuple[dict[str, np.ndarray], T]:
    """
    Arrays and document of a file that `write_archive` wrote. Any other file is refused; no code in it is run.

    Parameters
    ----------
    path : str or path-like
        A local path or an fsspec URL.
    kind : str
        The kind it was written as.
    schema : type
        What the document must be; see `codec`. By default any object.

    Returns
    -------
    arrays : dict of str to numpy.ndarray
        C-contiguous, writable, in the machine's byte order.
    document : schema

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ArchiveError
        It is empty, truncated, damaged, foreign, of another kind, of a newer format, or its document is not as the schema
        says.

    Notes
    -----
    The digest detects accidents. Forgers can compute it too: nothing is read but what `write_archive` writes, in the one
    form in which it does, and no size is believed before it has been compared with the file's.
    """
    with opened(path) as file:
        n_bytes = _check_digest(file, path)
        try:
            spans = read_directory(file, n_bytes, len(_MARK) + _N_HEX)
        except ArchiveError as error:
            raise ArchiveError(f"{path} was not written by dask_dl: {error}.") from None
        return _decode(file, spans, path, kind, schema)


def digest_of(file: IO[bytes], n_bytes: int) -> bytes:
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
        if ending[-_N_HEX:] != digest_of(file, n_bytes - _N_HEX):
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


def _check_names(arrays: Mapping[str, object]) -> None:
    """Refuse names of arrays that are no paths within the archive, or inside each other. Raises ArchiveError."""
    for name in arrays:
        if len(name) > MAX_NAME:
            raise ArchiveError(f"Array name {name[:60]!r}: it has {len(name):,} letters, more than {MAX_NAME}.")
        if not re.fullmatch(r"[\w-]+(/[\w-]+)*", name, re.ASCII):
            raise ArchiveError(f"Array name {name[:60]!r}: a name is words of letters, digits, _ and -, joined by /.")
        if inside := arrays.keys() & set(_parents(name)):
            raise ArchiveError(f"Array {name!r} cannot lie inside array {min(inside)!r}.")


def _parents(name: str) -> list[str]:
    """Groups that an array lies in, the root apart."""
    return [name[:at] for at, letter in enumerate(name) if letter == "/"]


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
    _check_names(arrays)
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise ArchiveError(f"Array {name!r} is of type {array.dtype}; what can be stored is {', '.join(DTYPES)}.")
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


class _Spec(Document):
    """Shape and type of an array, as the header declares them."""

    shape: Annotated[tuple[Annotated[int, Meta(ge=0, le=MAX_BYTES)], ...], Meta(max_length=MAX_DIMENSIONS)]
    dtype: str

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"an array of type {self.dtype[:60]!r}, which this format never holds")
        if 0 in self.shape and math.prod(n or 1 for n in self.shape) > MAX_BYTES:
            raise ValueError(f"an array of shape {self.shape}, which is empty and yet too large")

    @property
    def n_bytes(self) -> int:
        """Size of the elements."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class _Header(Document):
    """Attributes of the root."""

    format: Literal["dask_dl"]
    format_version: Annotated[int, Meta(ge=1)]
    kind: str
    producer: Remark
    arrays: dict[str, _Spec]
    document: msgspec.Raw

    def __post_init__(self) -> None:
        _check_names(self.arrays)


class _Root(Document):
    """The entry `zarr.json`."""

    attributes: _Header
    zarr_format: Literal[3]
    node_type: Literal["group"]


class _AnyHeader(msgspec.Struct):
    """The part of a header that later formats have too."""

    format: str
    format_version: Annotated[int, Meta(ge=1)]
    kind: str
    producer: Remark


class _AnyRoot(msgspec.Struct):
    """The entry `zarr.json` of any format."""

    attributes: _AnyHeader


def _read_header(text: bytes, path: str | os.PathLike[str], kind: str) -> _Header:
    """Return the attributes of the root of a file of this kind, and of no newer format."""
    where = f"{path}: zarr.json"
    found = decode(text, _AnyRoot, where).attributes
    if (found.format, found.kind) != ("dask_dl", kind):
        raise ArchiveError(
            f"{path} is a {found.format[:60]!r} file of kind {found.kind[:60]!r}, not a 'dask_dl' {kind!r}."
        )
    if found.format_version > FORMAT_VERSION:
        raise ArchiveError(
            f"{path} has format {found.format_version}, written by {found.producer}; "
            f"{_producer()} reads up to format {FORMAT_VERSION}. Upgrade: pip install --upgrade dask_dl."
        )
    return decode(text, _Root, where).attributes


def _metadata(spec: _Spec) -> dict[str, Any]:
    """Content of `zarr.json` for an array, the one way this format knows: as `_lay_out` describes it."""
    endian = {"configuration": {"endian": "little"}} if np.dtype(spec.dtype).itemsize > 1 else {}
    return {
        "shape": list(spec.shape),
        "data_type": spec.dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [max(1, n) for n in spec.shape]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"} | endian],
        "attributes": {},
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def _decode(
    file: IO[bytes], spans: Mapping[str, Span], path: str | os.PathLike[str], kind: str, schema: type[T]
) -> tuple[dict[str, np.ndarray], T]:
    """Arrays and document of a file whose digest and directory are right; nothing else in it is trusted."""
    if "zarr.json" not in spans:
        raise ArchiveError(f"{path}: 'zarr.json' is missing.")
    text = _read(file, spans["zarr.json"], path)
    header = _read_header(text, path, kind)
    chunks = {  # an array without elements has none
        "/".join([name, "c", *("0" for _ in spec.shape)]): spec.n_bytes
        for name, spec in header.arrays.items()
        if spec.n_bytes
    }
    needed = {"zarr.json", *(f"{name}/zarr.json" for name in header.arrays), *chunks}
    groups = {f"{parent}/zarr.json" for name in header.arrays for parent in _parents(name)}
    if missing := needed - spans.keys():
        raise ArchiveError(f"{path}: {len(missing)} entries are missing, such as {min(missing)!r}.")
    if extra := spans.keys() - needed - groups:
        raise ArchiveError(f"{path}: {len(extra)} entries are not declared, such as {min(extra)!r}.")
    if wrong := [key for key, size in chunks.items() if spans[key].size != size]:
        key = wrong[0]
        raise ArchiveError(f"{path}: {key!r} has {spans[key].size:,} bytes; its array needs {chunks[key]:,}.")
    document = decode(header.document, schema, f"{path}: document")
    check_keys(text, f"{path}: zarr.json")
    return {name: _read_array(file, spans, name, spec, path) for name, spec in header.arrays.items()}, document


def _read_array(
    file: IO[bytes], spans: Mapping[str, Span], name: str, spec: _Spec, path: str | os.PathLike[str]
) -> np.ndarray:
    """Return an array, whose bytes are as many as it needs."""
    found = spans[f"{name}/zarr.json"]
    where = f"{path}: {name}/zarr.json"
    if found.size > MAX_METADATA or decode(_read(file, found, path), dict[str, Any], where) != _metadata(spec):
        raise ArchiveError(f"{path}: array {name!r} is not stored as declared.")
    array = np.empty(spec.shape, np.dtype(spec.dtype).newbyteorder("<"))
    if array.size:
        start, size = spans["/".join([name, "c", *("0" for _ in spec.shape)])]
        file.seek(start)
        if file.readinto(array.reshape(-1).view(np.uint8)) != size:  # type: ignore[attr-defined]  # of files, not of IO
            raise ArchiveError(f"{path} was changed while it was read.")
    return array.astype(spec.dtype, copy=False)


def _read(file: IO[bytes], span: Span, path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of an entry."""
    file.seek(span.start)
    content = file.read(span.size)
    if len(content) < span.size:
        raise ArchiveError(f"{path} was changed while it was read.")
    return content
