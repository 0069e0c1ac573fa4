"""Tables in files: Parquet and CSV, one file, a folder or a glob, here or at a URL, as a lazy Dask frame."""

from __future__ import annotations

import codecs
import glob
import gzip
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd

from dask_dl.errors import SchemaError
from dask_dl.frame.columns import as_levels

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Bytes of a CSV file from which dtypes are guessed. Dask's own 256 kB miss a column whose first values are whole numbers.
SAMPLE = 4 * 2**20
SAMPLE_ROWS = 100_000
#: Suffixes of packed CSV files, which can only be read whole.
PACKED = frozenset({".gz", ".zip", ".bz2", ".xz", ".zst"})


def open_table(
    path: str,
    *,
    columns: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    exact: Sequence[str] = (),
    sep: str = ",",
    encoding: str = "utf-8",
) -> Any:
    """A Dask DataFrame of the files at `path`.

    Parameters
    ----------
    path : str
        A Parquet or CSV file (.csv, .csv.gz, .tsv, .zip, ...), a folder of either, or a glob: of this machine, or a URL
        that fsspec knows, such as s3://bucket/folder/*.parquet, with what credentials it finds.
    columns : sequence of str, optional
        The only columns to read.
    categorical : sequence of str
        Columns whose numbers are categories: their values become texts.
    exact : sequence of str
        Columns of CSV files whose whole numbers stay whole numbers, to be handed on as they are: identifiers, say.
    sep, encoding : str
        Of CSV files.

    Raises
    ------
    FileNotFoundError
    SchemaError
        When files of both kinds or none are found, a column is missing, or a URL is of no use.
    """
    files = _files(path)
    table = _read_parquet(files) if _is_parquet(files[0]) else _read_csv(files, sep, encoding, exact)
    wanted = list(table.columns) if columns is None else list(dict.fromkeys(columns))
    unknown = [name for name in [*wanted, *categorical] if name not in table.columns]
    if unknown:
        raise SchemaError(f"{path} has no columns {unknown}; it has {list(table.columns)[:30]}.")
    table = table[wanted]
    for name in set(categorical) & set(wanted):
        table[name] = table[name].map_partitions(_texts, name, meta=pd.Series([], dtype="str", name=name))
    return table


def _files(path: str) -> list[File]:
    files = sorted(_remote_files(path) if "://" in path else _local_files(path))
    if not files:
        raise FileNotFoundError(
            f"{path}: no such file, or no files in it. Give a Parquet or CSV file, a folder or a glob."
        )
    others = [file for file in files if not _is_parquet(file)]
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
        """What it is called in its folder, or in the file that it is a part of: zip://name::file:///folder/t.zip."""
        return PurePosixPath(self.address.partition("::")[0] if "://" in self.address else self.address).name

    @property
    def suffix(self) -> str:
        """The end of its name: of t.csv.gz only .gz."""
        return PurePosixPath(self.name).suffix

    def open(self) -> Any:
        """Its bytes, to be read within a `with`."""
        import fsspec

        return fsspec.open(self.address) if "://" in self.address else Path(self.address).open("rb")


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
    except (
        Exception
    ) as error:  # protocols that nobody knows, packages that are missing, credentials that do not fit, ...
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


def _is_parquet(file: File) -> bool:
    return ".parquet" in file.name or ".pq" in file.name


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _read_parquet(files: Sequence[File]) -> Any:
    import dask.dataframe as dd
    import pyarrow as pa

    try:
        return dd.read_parquet(_literally(files))
    except pa.ArrowInvalid as error:
        raise SchemaError(f"not all files can be read as Parquet: {_cause(error)}.") from error


def _read_csv(files: Sequence[File], sep: str, encoding: str, exact: Sequence[str]) -> Any:
    import dask.dataframe as dd

    _check_encoding(encoding)
    packings = {file.suffix if file.suffix in PACKED else "" for file in files}
    if len(packings) > 1:
        raise SchemaError(f"files packed in different ways, {sorted(packings)}. Give a glob that names one kind.")
    try:
        for file in files:
            if file.suffix == ".zip":
                _check_zip(file)
        # Whole numbers may turn out to have gaps further down: read as float64, they never fail.
        return dd.read_csv(
            _literally(files),
            sep=sep,
            encoding=encoding,
            sample=SAMPLE,
            sample_rows=SAMPLE_ROWS,
            low_memory=False,
            assume_missing=True,
            dtype=_whole_numbers(files[0], sep, encoding, exact),
            blocksize="default" if packings == {""} else None,
        )
    except UnicodeDecodeError as error:
        raise SchemaError(f"{files[0]} is not {encoding}: {error}. Name its encoding, for example latin-1.") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, gzip.BadGzipFile, zipfile.BadZipFile, EOFError) as error:
        raise SchemaError(f"{files[0]} cannot be read as CSV with separator {sep!r}: {_cause(error)}.") from error


def _whole_numbers(file: File, sep: str, encoding: str, names: Sequence[str]) -> dict[str, str]:
    """Nullable integers for those of the named columns that begin with whole numbers: float64 is exact up to 2**53 only."""
    if not names:
        return {}
    head = pd.read_csv(file.address, sep=sep, encoding=encoding, nrows=SAMPLE_ROWS, low_memory=False)
    return {name: "Int64" for name in names if name in head and pd.api.types.is_integer_dtype(head[name])}


def _literally(files: Sequence[File]) -> list[str]:
    """Names that Dask does not take for globs; of those it takes for globs, it may read nothing without a word."""
    return [glob.escape(file.address) for file in files]


def _check_encoding(encoding: str) -> None:
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise SchemaError(f"there is no encoding {encoding!r}. Name it as Python does, for example latin-1.") from error


def _check_zip(file: File) -> None:
    """A zip is read as the one file in it; of more, only the first would be read."""
    with file.open() as packed, zipfile.ZipFile(packed) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    if len(names) != 1:
        raise SchemaError(
            f"{file} holds {len(names):,} files, {names[:3]}. Unpack it into a folder and name the folder."
        )


def _cause(error: Exception) -> str:
    """What happened, without Dask's preamble."""
    return str(error).rpartition("Original Message: ")[2].strip(" .\n")


def _texts(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    codes, texts, _ = as_levels(column, f"column {name!r}")
    return pd.Series(pd.array([*texts, None], dtype="str").take(codes), index=column.index, name=column.name)
