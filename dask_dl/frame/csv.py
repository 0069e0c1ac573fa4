"""CSV files as a lazy Dask frame: blocks of whole records, columns by name, of the types that their first rows show."""

from __future__ import annotations

import gzip
import io
import itertools
import lzma
import re
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_dl.errors import SchemaError, Warn
from dask_dl.frame.column_choice import KEPT
from dask_dl.frame.csv_blocks import cut
from dask_dl.frame.csv_head import (
    CsvFormat,
    FileHead,
    as_ascii_bytes,
    is_ascii_based,
    read_head,
    warn_of_data_in_header,
    warn_of_decimal_commas,
)
from dask_dl.frame.partition_size import check_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dask_dl.frame.column_choice import ColumnChoice
    from dask_dl.frame.paths import File
    from dask_dl.memory import PartitionLimits

#: Bytes and rows of the first file from which types are guessed, and bytes of each of the other ones.
SAMPLE, SAMPLE_ROWS, SMALL_SAMPLE = 4 * 2**20, 100_000, 2**16
#: Files whose types are guessed; of the others only the header is read.
SAMPLED_FILES = 100
#: Bytes of a block: at least, and at most.
MIN_BLOCK, MAX_BLOCK = 2**16, 2**26
N_THREADS = 8
#: What reading a damaged or foreign file raises.
UNREADABLE = (
    pd.errors.ParserError,
    pd.errors.EmptyDataError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    EOFError,
)


class LossyNumbers(SchemaError):  # as the other errors
    """A kept column, whose first values are numbers as Python writes them, has others further down."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


@dataclass(frozen=True)
class Block:
    """Whole records of a CSV file."""

    file: File
    version: tuple[int | None, int]  #: so that a changed file makes other tasks
    names: tuple[str, ...]
    encoding: str
    start: int
    stop: int | None  #: None: the end of the file

    def __str__(self) -> str:
        return f"{self.file}" if self.stop is None else f"{self.file} (bytes {self.start:,} to {self.stop:,})"

    def read(self) -> tuple[bytes, str]:
        """(records, their encoding)."""
        if is_ascii_based(self.encoding):
            return as_ascii_bytes(self.file.read(self.start, self.stop), self.encoding)
        data, encoding = as_ascii_bytes(self.file.read(), self.encoding)
        return data[self.start :], encoding


@dataclass(frozen=True)
class CsvReader:
    """Reads blocks of CSV files as frames, their columns by name."""

    sep: str
    decimal: str
    kinds: Mapping[str, str]  #: dtypes of the columns to read
    kept: Mapping[str, str]  #: dtypes of the columns to hand on as they are

    @property
    def meta(self) -> pd.DataFrame:
        """An empty frame, as it reads them."""
        kinds = {**self.kinds, **{KEPT + name: kind for name, kind in self.kept.items()}}
        return pd.DataFrame({name: pd.Series([], dtype=kind) for name, kind in kinds.items()})

    def __call__(self, block: Block, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """A frame of the records of a block."""
        wanted = [*self.kinds, *(KEPT + name for name in self.kept)] if columns is None else [*columns]
        kept = {name: kind for name, kind in self.kept.items() if KEPT + name in wanted}
        kinds = {name: kind for name, kind in self.kinds.items() if name in wanted}
        try:
            data, encoding = block.read()
        except UNREADABLE as error:
            raise _unreadable(block, self.sep, error) from error
        parts = []
        if kinds or not kept:
            parts.append(self._typed(data, encoding, block, kinds))
        if kept:
            texts = self._parse(
                data, encoding, block, dict.fromkeys(kept, "str"), na_values=[""], keep_default_na=False
            )
            parts.append(pd.DataFrame({KEPT + name: as_written(texts[name], kind) for name, kind in kept.items()}))
        return (parts[0] if len(parts) == 1 else pd.concat(parts, axis=1))[wanted]

    def _typed(self, data: bytes, encoding: str, block: Block, kinds: Mapping[str, str]) -> pd.DataFrame:
        try:
            return self._parse(data, encoding, block, kinds)
        except SchemaError:
            raise
        except ValueError as error:
            texts = self._parse(data, encoding, block, dict.fromkeys(kinds, "str"))
            for name in (name for name, kind in kinds.items() if kind != "str"):
                if len(misfits := _misfits(texts[name], kinds[name], self.decimal)):
                    raise SchemaError(
                        f"{block}: column {name!r} holds {misfits.iloc[0]!r}, which is no "
                        f"{'number' if kinds[name] == 'float64' else 'True or False'} as its first values are. If its values "
                        f"are categories, name it with --categorical; else correct the file, or convert it to Parquet with the "
                        f"right types. ({error})"
                    ) from error
            raise _unreadable(block, self.sep, error) from error

    def _parse(
        self, data: bytes, encoding: str, block: Block, kinds: Mapping[str, str], **options: Any
    ) -> pd.DataFrame:
        try:
            return parse(data, encoding, self.sep, self.decimal, block.names, dtype=dict(kinds), **options)
        except UnicodeDecodeError as error:
            raise _undecodable(block, encoding, error) from error
        except UNREADABLE as error:
            raise _unreadable(block, self.sep, error) from error


def parse(
    data: bytes,
    encoding: str,
    sep: str,
    decimal: str,
    names: Sequence[str],
    *,
    dtype: Mapping[str, str] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Parse records to a frame.

    Parameters
    ----------
    data : bytes
        The records.
    encoding, sep, decimal : str
        How they are written.
    names : sequence of str
        Names of all fields.
    dtype : mapping, optional
        Dtypes of the columns to parse; by default all are parsed, and typed by pandas.
    **options : object
        More for pandas.

    Returns
    -------
    pandas.DataFrame
    """
    # pandas allows as many fields as the first record has. With one more than names it would take the first for an index.
    first = (sep * (len(names) - 1) if len(names) > 1 else '""') + "\n"
    columns = None if dtype is None or len(dtype) == len(names) else [*dtype]
    frame = pd.read_csv(
        io.BytesIO(first.encode() + data),
        header=None,
        names=list(names),
        index_col=False,
        usecols=columns,
        dtype=dtype,
        sep=sep,
        decimal=decimal,
        encoding=encoding,
        low_memory=False,
        **options,
    )
    rows: pd.DataFrame = frame.iloc[1:].reset_index(drop=True)
    return rows


def open_csv(
    path: str, files: Sequence[File], form: CsvFormat, choice: ColumnChoice, limits: PartitionLimits, warn: Warn
) -> tuple[CsvReader, list[Block]]:
    """Open CSV files: a reader, and the blocks that it reads. See `files.open_table`.

    Parameters
    ----------
    path : str
        What the files were found by, for errors.
    files : sequence of File
        The files.
    form : CsvFormat
        How they are written.
    choice : ColumnChoice
        The columns to read.
    limits : PartitionLimits
        Bytes that a block may take as a frame.
    warn : callable
        Warns of what looks wrong.

    Returns
    -------
    tuple of (CsvReader, list of Block)

    Raises
    ------
    SchemaError
        When files are empty, a column is missing, headers differ where names are given, or what cannot be cut is too
        large.
    """
    _check_packing(files)
    known: dict[bytes, tuple[str, ...]] = {}
    step = -(-len(files) // SAMPLED_FILES)

    def look(k: int) -> FileHead | None:
        head = _head(files[k], form, SMALL_SAMPLE if k else SAMPLE, known)
        return head if head is None or k % step == 0 else replace(head, sample=b"")

    with ThreadPoolExecutor(N_THREADS) as pool:
        heads = [head for head in pool.map(look, range(len(files))) if head is not None]
        if not heads:
            raise SchemaError(f"{files[0]} cannot be read as CSV with separator {form.sep!r}: it is empty.")
        if form.names and len({head.header for head in heads}) > 1:
            raise SchemaError(
                f"the files of {path} have different headers, so that --names cannot replace them: give the files one header."
            )
        wanted = choice.resolve(path, [(head.file, head.names[: head.n_columns]) for head in heads])
        samples = [(head, _sample(head, form)) for head in heads if head.sample or head is heads[0]]
        kinds = _kinds(samples, wanted, choice, warn)
        reader = CsvReader(form.sep, form.decimal, kinds, _kept_kinds(samples, form, choice))
        first, frame = samples[0]
        warn_of_data_in_header(first, frame, warn)
        texts = [name for name, kind in reader.kinds.items() if kind == "str" and name not in choice.categorical]
        warn_of_decimal_commas(first.file, frame, texts, warn)
        growth = _growth(first, frame, [*wanted, *choice.keep])
        block_size = int(np.clip(limits.target / growth, MIN_BLOCK, MAX_BLOCK))
        versions = list(pool.map(lambda head: head.file.version(), heads))
        blocks: list[Block] = []
        for head, version in zip(heads, versions, strict=True):
            whole = Block(head.file, version, head.names, head.encoding, head.start, None)
            if _can_be_cut(whole):
                blocks += _cut(whole, block_size, ord(form.sep), head.newline, pool)
            else:
                _check_whole(whole, (head.ratio or 0) * (version[0] or 0) * growth, limits, warn)
                blocks.append(whole)
    return reader, blocks


def _check_packing(files: Sequence[File]) -> None:
    packings = {file.suffix if file.is_packed else "" for file in files}
    if len(packings) > 1:
        raise SchemaError(f"files packed in different ways, {sorted(packings)}. Give a glob that names one kind.")


def _head(file: File, form: CsvFormat, n_bytes: int, known: dict[bytes, tuple[str, ...]]) -> FileHead | None:
    try:
        if file.suffix == ".zip":
            _check_zip(file)
        return read_head(file, form, n_bytes, known)
    except UnicodeDecodeError as error:
        raise _undecodable(file, error.encoding, error) from error
    except UNREADABLE as error:
        raise _unreadable(file, form.sep, error) from error


def _check_zip(file: File) -> None:
    """A zip is read as the one file in it; of more, only the first would be read."""
    with file.open() as stored, zipfile.ZipFile(stored) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    if len(names) != 1:
        raise SchemaError(
            f"{file} holds {len(names):,} files, {names[:3]}. Unpack it into a folder and name the folder."
        )


def _sample(head: FileHead, form: CsvFormat, **options: Any) -> pd.DataFrame:
    """The first rows of a file, as pandas types them."""
    try:
        return parse(head.sample, _encoding(head), form.sep, form.decimal, head.names, nrows=SAMPLE_ROWS + 1, **options)
    except UnicodeDecodeError as error:
        raise _undecodable(head.file, head.encoding, error) from error
    except UNREADABLE as error:
        raise _unreadable(head.file, form.sep, error) from error


def _encoding(head: FileHead) -> str:
    return head.encoding if is_ascii_based(head.encoding) else "utf-8"


def _kinds(
    samples: Sequence[tuple[FileHead, pd.DataFrame]], wanted: Sequence[str], choice: ColumnChoice, warn: Warn
) -> dict[str, str]:
    """The dtype of each column: numbers may have gaps further down, so that whole ones are floats and booleans nullable."""
    kinds, mixed = {}, []
    for name in wanted:
        found = {kind: head.file for head, frame in reversed(samples) if (kind := _kind(frame[name]))}
        kinds[name] = "str" if name in choice.categorical or len(found) > 1 else next(iter(found), "float64")
        if len(found) > 1 and name not in choice.categorical:
            mixed.append(f"{name!r} ({', '.join(f'{kind} in {file}' for kind, file in sorted(found.items()))})")
        if name == choice.target and kinds[name] == "boolean":
            kinds[name] = "str"
    if mixed:
        warn(
            f"columns that are read as strings, since some files begin with numbers and others do not: "
            f"{', '.join(mixed[:8])}."
        )
    return kinds


def _kind(column: pd.Series[Any]) -> str | None:
    """The dtype that a column's first values call for; None where all are missing."""
    present = column.dropna()
    if not len(present):
        return None
    if pd.api.types.infer_dtype(present) == "boolean":
        return "boolean"
    return "float64" if pd.api.types.is_numeric_dtype(column.dtype) else "str"


def _kept_kinds(
    samples: Sequence[tuple[FileHead, pd.DataFrame]], form: CsvFormat, choice: ColumnChoice
) -> dict[str, str]:
    """The dtype in which each kept column is handed on without loss."""
    if not choice.keep:
        return {}
    options = {"dtype": dict.fromkeys(choice.keep, "str"), "na_values": [""], "keep_default_na": False}
    texts = [_sample(head, form, **options) for head, _ in samples]
    return {
        name: next(
            (
                kind
                for kind in ("Int64", "float64")
                if name not in choice.keep_as_strings and all(_is_as_written(frame[name], kind) for frame in texts)
            ),
            "str",
        )
        for name in choice.keep
    }


def _is_as_written(texts: pd.Series[Any], kind: str) -> bool:
    """Whether all strings are those that Python writes for their numbers, so that the numbers can stand for them."""
    present = texts.dropna()
    if kind == "Int64":
        return bool(present.str.fullmatch(r"0|-?[1-9]\d{0,17}", flags=re.ASCII).all())
    numbers = pd.to_numeric(present, errors="coerce")
    return bool(numbers.notna().all() and all(map(_is_float, present)))


def _is_float(text: str) -> bool:
    return repr(float(text)) == text


def as_written(texts: pd.Series[Any], kind: str) -> pd.Series[Any]:
    """Kept values in their dtype; raises LossyNumbers if that would lose something."""
    if kind == "str":
        return texts
    if not _is_as_written(texts, kind):
        raise LossyNumbers(str(texts.name))
    return texts.astype("float64") if kind == "float64" else pd.Series(_integers(texts), texts.index, name=texts.name)


def _integers(texts: pd.Series[Any]) -> Any:
    missing = texts.isna().to_numpy()
    values = np.array([0 if gap else int(text) for text, gap in zip(texts, missing, strict=True)], np.int64)
    return pd.arrays.IntegerArray(values, missing)


def _misfits(texts: pd.Series[Any], kind: str, decimal: str) -> pd.Series[Any]:
    present = texts.dropna()
    if kind == "boolean":
        return present[~present.str.lower().isin(["true", "false"])]
    return present[pd.to_numeric(present.str.replace(decimal, ".", regex=False), errors="coerce").isna()]


def _growth(head: FileHead, frame: pd.DataFrame, columns: Iterable[str]) -> float:
    """Bytes of a frame of these columns, per byte of content; at least 1, since the content is in memory, too."""
    n_bytes = sum(frame[name].memory_usage(index=False, deep=True) for name in columns if name in frame)
    n_read = len(head.sample) * min(1.0, SAMPLE_ROWS / max(1, len(frame)))
    return max(1.0, n_bytes / max(1.0, n_read))


def _can_be_cut(block: Block) -> bool:
    return not block.file.is_packed and is_ascii_based(block.encoding) and block.version[0] is not None


def _cut(whole: Block, block_size: int, sep: int, newline: int, pool: ThreadPoolExecutor) -> Iterator[Block]:
    """Blocks of a file, between ends of records."""
    n_bytes = whole.version[0] or 0
    if n_bytes - whole.start <= block_size:
        yield whole
        return

    def map_chunks(function: Any, values: Any) -> list[int]:
        return list(pool.map(function, values))

    offsets = cut(whole.file.read, whole.start, n_bytes, block_size, sep, map_chunks, newline)
    for start, stop in itertools.pairwise(offsets):
        yield replace(whole, start=start, stop=stop)


def _check_whole(block: Block, n_bytes: float, limits: PartitionLimits, warn: Warn) -> None:
    why, remedy = ("packed", "Unpack it") if block.file.is_packed else (f"in {block.encoding}", "Convert it to UTF-8")
    check_size(
        f"{block.file}, which cannot be read in parts as it is {why},",
        n_bytes,
        limits,
        f"{remedy}, split it into several files, or convert it to Parquet",
        warn,
    )


def _undecodable(what: File | Block, encoding: str, error: UnicodeDecodeError) -> SchemaError:
    return SchemaError(f"{what} is not {encoding}: {error}. Name its encoding, for example latin-1.")


def _unreadable(what: File | Block, sep: str, error: Exception) -> SchemaError:
    return SchemaError(f"{what} cannot be read as CSV with separator {sep!r}: {str(error).strip().strip('.')}.")
