"""Tables in files: Parquet and CSV, one file, a folder or a glob, as a lazy Dask frame."""

from __future__ import annotations

import codecs
import glob
import gzip
import zipfile
from pathlib import Path
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
        A Parquet or CSV file (.csv, .csv.gz, .tsv, .zip, ...), a folder of either, or a glob.
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
        When files of both kinds or none are found, or a column is missing.
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


def _files(path: str) -> list[Path]:
    place = Path(path)
    if place.exists():
        found = [place]
    elif any(c in path for c in "*?["):
        found = [
            f for f in Path(place.anchor or ".").glob(str(place.relative_to(place.anchor))) if not _is_hidden(f.name)
        ]
    else:
        found = []
    files = sorted(file for place in found for file in (_inside(place) if place.is_dir() else [place]))
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


def _inside(folder: Path) -> list[Path]:
    """Files of a folder and of its folders, without what writers keep for themselves, such as _SUCCESS or _delta_log."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file for file in files if not any(_is_hidden(part) for part in file.relative_to(folder).parts)]


def _is_parquet(file: Path) -> bool:
    return ".parquet" in file.name or ".pq" in file.name


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _read_parquet(files: Sequence[Path]) -> Any:
    import dask.dataframe as dd
    import pyarrow as pa

    try:
        return dd.read_parquet(_literally(files))
    except pa.ArrowInvalid as error:
        raise SchemaError(f"not all files can be read as Parquet: {_cause(error)}.") from error


def _read_csv(files: Sequence[Path], sep: str, encoding: str, exact: Sequence[str]) -> Any:
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


def _whole_numbers(file: Path, sep: str, encoding: str, names: Sequence[str]) -> dict[str, str]:
    """Nullable integers for those of the named columns that begin with whole numbers: float64 is exact up to 2**53 only."""
    if not names:
        return {}
    head = pd.read_csv(file, sep=sep, encoding=encoding, nrows=SAMPLE_ROWS, low_memory=False)
    return {name: "Int64" for name in names if name in head and pd.api.types.is_integer_dtype(head[name])}


def _literally(files: Sequence[Path]) -> list[str]:
    """Names that Dask does not take for globs; of those it takes for globs, it may read nothing without a word."""
    return [glob.escape(str(file)) for file in files]


def _check_encoding(encoding: str) -> None:
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise SchemaError(f"there is no encoding {encoding!r}. Name it as Python does, for example latin-1.") from error


def _check_zip(file: Path) -> None:
    """A zip is read as the one file in it; of more, only the first would be read."""
    with zipfile.ZipFile(file) as archive:
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
