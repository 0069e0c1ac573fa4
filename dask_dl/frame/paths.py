"""Files of a table: one file, a folder or a glob, on this machine or at a URL."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from dask_dl.errors import SchemaError
from dask_dl.paths import is_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Suffixes of compressed files, and fsspec's names of the compressions.
PACKED = {".gz": "gzip", ".zip": "zip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}


def list_files(path: str) -> list[File]:
    """The files of one kind at a path, a glob or a URL, in the order of their names."""
    files = sorted(_remote_files(path) if is_url(path) else _local_files(path))
    if not files:
        raise FileNotFoundError(
            f"{path}: no such file, or no files in it. Give a Parquet or CSV file, a folder or a glob."
        )
    others = [file for file in files if not is_parquet(file)]
    if 0 < len(others) < len(files):
        raise SchemaError(
            f"{path} holds Parquet files and others, for example {others[0].name}. Give a glob such as 'folder/*.parquet'."
        )
    return files


@dataclass(frozen=True, order=True)
class File:
    """A file of this machine, or one that fsspec reads."""

    address: str  #: a path, or a URL

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        """Name in its folder, or in the file that it is a part of: zip://name::file:///folder/t.zip."""
        return PurePosixPath(self.address.partition("::")[0] if is_url(self.address) else self.address).name

    @property
    def suffix(self) -> str:
        """The end of its name: of t.csv.gz only .gz."""
        return PurePosixPath(self.name).suffix

    @property
    def is_packed(self) -> bool:
        """Whether its content is compressed, so that it can only be read from the beginning."""
        return self.suffix in PACKED

    @contextlib.contextmanager
    def open(self) -> Iterator[Any]:
        """Open the file for its bytes as they are stored."""
        import fsspec

        with fsspec.open(self.address) if is_url(self.address) else Path(self.address).open("rb") as stored:
            yield stored

    @contextlib.contextmanager
    def unpacked(self) -> Iterator[tuple[Any, Any]]:
        """(its content, its bytes as they are stored)."""
        from fsspec.compression import compr

        with self.open() as stored:
            if not self.is_packed:
                yield stored, stored
                return
            packing = PACKED[self.suffix]
            if packing not in compr:
                raise SchemaError(f"{self} cannot be unpacked here. Install the package zstandard, or unpack it first.")
            with compr[packing](stored, mode="rb") as content:
                yield content, stored

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """Read the content, unpacked, from one offset to another or to the end."""
        with self.unpacked() as (content, _):
            if content.seekable() and not self.is_packed:
                content.seek(start)
            else:
                content.read(start)
            data: bytes = content.read(-1 if stop is None else stop - start)
            return data

    def version(self) -> tuple[int | None, int]:
        """(bytes as stored, time of the last change): None where a server does not tell, 0 at URLs."""
        if not is_url(self.address):
            found = Path(self.address).stat()
            return found.st_size, found.st_mtime_ns
        with self.open() as stored:
            return (int(stored.seek(0, 2)) if stored.seekable() else None), 0


def _remote_files(url: str) -> list[File]:
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    try:
        there, path = url_to_fs(url)
        if isinstance(there, LocalFileSystem):
            return _local_files(path)
        if "::" in url:  # a file within a file
            return [File(url)] if there.isfile(path) else []
        if there.exists(path):
            found = [path]
        else:
            matches = there.glob(path) if any(c in path for c in "*?[") else []
            found = [place for place in matches if not _is_hidden(PurePosixPath(place).name)]
        files = []
        for place in found:
            inside = there.find(place) if there.isdir(place) else [place]
            files += [file for file in inside if not _is_aside(PurePosixPath(file).relative_to(place).parts)]
    except OSError:
        raise
    except Exception as error:  # unknown protocols, packages that are missing, credentials that do not fit, ...
        raise SchemaError(f"{url} cannot be read: {error}.") from error
    return [File(there.unstrip_protocol(file)) for file in files]


def _local_files(path: str) -> list[File]:
    place = Path(path)
    if place.exists():
        found = [place]
    elif any(c in path for c in "*?["):
        found = [
            f for f in Path(place.anchor or ".").glob(str(place.relative_to(place.anchor))) if not _is_hidden(f.name)
        ]
    else:
        found = []
    return [File(str(file)) for place in found for file in (_inside(place) if place.is_dir() else [place])]


def _inside(folder: Path) -> list[Path]:
    """Files of a folder and of its folders, without what writers keep for themselves, such as _SUCCESS or _delta_log."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file for file in files if not _is_aside(file.relative_to(folder).parts)]


def _is_aside(parts: Sequence[str]) -> bool:
    """Whether a file, or one of the folders above it, is one of those that writers keep for themselves."""
    return any(map(_is_hidden, parts))


def is_parquet(file: File) -> bool:
    """Whether a file is Parquet, by its name."""
    return ".parquet" in file.name or ".pq" in file.name


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))
