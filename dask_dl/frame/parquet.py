"""Parquet files as a lazy Dask frame.

Columns go by name and have one type in all files; some row groups, or a part of one, are read at a time.
"""

from __future__ import annotations

import contextlib
import json
import re
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from dask_dl.errors import SchemaError
from dask_dl.frame.column_choice import KEPT
from dask_dl.frame.dtypes import as_levels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dask_dl.frame.column_choice import ColumnChoice
    from dask_dl.frame.paths import File
    from dask_dl.memory import PartitionLimits

N_THREADS = 8
#: Bytes of a value in a frame; of others those of a string's offset, and its characters.
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8}
OFFSET = 8
#: Rows, and bytes as they are stored, that are read at a time from a row group that is cut.
BATCH_ROWS, BUFFER = 2**16, 2**20
#: What Hive calls the folder of missing values.
MISSING_KEY = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Footer:
    """Contents of the end of a Parquet file."""

    file: File
    version: tuple[int | None, int]
    types: Mapping[str, Any]  #: of its columns, without the index that pandas stored
    keys: Mapping[str, str]  #: columns that stand in the names of its folders
    widths: Mapping[str, float]  #: bytes per row of each column in a frame
    n_rows: tuple[int, ...]  #: of each row group


@dataclass(frozen=True)
class RowGroups:
    """Some row groups of a Parquet file, or a part of one."""

    file: File
    version: tuple[int | None, int]  #: so that a changed file makes other tasks
    numbers: tuple[int, ...]
    n_rows: int
    keys: Mapping[str, str]
    start: int | None = None  #: first row of a part; None: all rows

    def read(self, columns: Sequence[str]) -> Any:
        """An Arrow table. Rows before a part are read too, a batch at a time, since values have no places in the file."""
        if self.start is None:
            with _opened(self.file) as parquet:
                return parquet.read_row_groups(self.numbers, columns=columns, use_threads=False)
        # With the defaults Arrow would hold whole columns of the row group as they are stored.
        with _opened(self.file, buffer_size=BUFFER, pre_buffer=False) as parquet:
            size = min(BATCH_ROWS, self.n_rows)
            batches = parquet.iter_batches(size, self.numbers, columns=columns, use_threads=False)
            return pa.Table.from_batches(_some_rows(batches, self.start, self.start + self.n_rows))


@dataclass(frozen=True)
class ParquetReader:
    """Reads row groups as frames, their columns by name."""

    types: Mapping[str, Any]  #: of the columns to read; None: the file's own
    categorical: frozenset[str]  #: those of them that become strings
    kept: Mapping[str, Any]  #: types of the columns to hand on as they are
    keys: Mapping[str, Any]  #: columns that stand in the names of folders: their categories

    @property
    def meta(self) -> pd.DataFrame:
        """An empty frame, as it reads them."""
        from dask.dataframe.utils import clear_known_categories

        types = {name: pa.null() if kind is None else kind for name, kind in {**self.types, **self.kept}.items()}
        empty = pa.schema([(name, kind) for name, kind in types.items() if name not in self.keys]).empty_table()
        nowhere = dict.fromkeys(self.keys, MISSING_KEY)
        return clear_known_categories(self._frame(empty, nowhere, self._names()))  # type: ignore[no-any-return]

    def __call__(self, groups: RowGroups, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """A frame of the rows of some row groups."""
        names = self._names() if columns is None else [*columns]
        stored = {name.removeprefix(KEPT) for name in names} - self.keys.keys()
        try:
            return self._frame(groups.read(sorted(stored)), groups.keys, names)
        except pa.ArrowException as error:
            raise SchemaError(f"{groups.file} cannot be read as Parquet: {str(error).strip(' .')}.") from error

    def _names(self) -> list[str]:
        return [*self.types, *(KEPT + name for name in self.kept)]

    def _key(self, text: str, categories: Sequence[Any], n: int, name: str) -> pd.Series[Any]:
        """A column that stands in the names of folders: a category, or as it is where it is kept."""
        key: Any = None if text == MISSING_KEY else int(text) if isinstance(categories[0], int) else text
        if name not in self.types:
            dtype: Any = "Int64" if isinstance(categories[0], int) else "str"
            kept: pd.Series[Any] = pd.Series([key] * n, dtype=dtype)
            return kept
        values = pd.Series(pd.Categorical([key] * n, categories))
        return _strings(values, name) if name in self.categorical else values

    def _frame(self, table: Any, keys: Mapping[str, str], names: Sequence[str]) -> pd.DataFrame:
        read, kept, others = {}, {}, {}
        for name in names:
            column = name.removeprefix(KEPT)
            if column in self.keys:
                others[name] = self._key(keys[column], self.keys[column], len(table), name)
            elif name in self.categorical:
                values = _decoded(table[column]).to_pandas(types_mapper=pd.ArrowDtype)
                others[name] = _strings(values, name)
            elif name in self.types:
                read[name] = _cast(table[column], self.types[name])
            else:
                kept[name] = _cast(_decoded(table[column]), self.kept[column])
        parts = [_pandas(read, _pandas_type), _pandas(kept, _exact_dtype), pd.DataFrame(others)]
        parts = [part for part in parts if len(part.columns)] or parts[:1]
        return (pd.concat(parts, axis=1) if len(parts) > 1 else parts[0])[[*names]]


def _pandas(columns: Mapping[str, Any], types_mapper: Any) -> pd.DataFrame:
    frame: pd.DataFrame = pa.table(columns).to_pandas(
        types_mapper=types_mapper, ignore_metadata=True, date_as_object=False
    )
    return frame


def _pandas_type(kind: Any) -> Any:
    """The dtype of a type that would become Python objects otherwise; None: as PyArrow has it."""
    return pd.ArrowDtype(kind) if pa.types.is_decimal(kind) else None


def _exact_dtype(kind: Any) -> Any:
    """The dtype that holds the values of a type beside missing ones; None: as PyArrow has it."""
    if pa.types.is_integer(kind):
        return pd.api.types.pandas_dtype(str(kind).replace("i", "I").replace("uI", "UI"))
    if pa.types.is_boolean(kind):
        return pd.BooleanDtype()
    # Bytes would become objects, of which a partition without a value does not tell the type.
    tests = (pa.types.is_date, pa.types.is_time, pa.types.is_binary, pa.types.is_large_binary)
    return pd.ArrowDtype(kind) if any(test(kind) for test in tests) else None


def _strings(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    codes, texts, _ = as_levels(column, f"column {name!r}")
    return pd.Series(pd.array([*texts, None], dtype="str").take(codes), index=column.index, name=name)


def _decoded(column: Any) -> Any:
    """A column of values, of a dictionary or of nulls."""
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column.cast(pa.string()) if pa.types.is_null(column.type) else column


def _cast(column: Any, kind: Any) -> Any:
    if kind is None or column.type == kind:
        return column
    return _decoded(column).cast(kind, safe=not pa.types.is_floating(kind))


@contextlib.contextmanager
def _opened(file: File, **given: Any) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with file.open() as stored, pq.ParquetFile(stored, **given) as parquet:
        yield parquet


def _some_rows(batches: Iterable[Any], start: int, stop: int) -> Iterator[Any]:
    """Rows [start, stop) of record batches."""
    at = 0
    for batch in batches:
        lo, hi = max(start - at, 0), min(stop - at, len(batch))
        if lo < hi:
            yield batch.slice(lo, hi - lo)
        at += len(batch)
        if at >= stop:
            return


def open_parquet(
    path: str, files: Sequence[File], choice: ColumnChoice, limits: PartitionLimits
) -> tuple[ParquetReader, list[RowGroups]]:
    """Open Parquet files: a reader, and the row groups that it reads. See `files.open_table`.

    Parameters
    ----------
    path : str
        What the files were found by, for errors.
    files : sequence of File
        The files.
    choice : ColumnChoice
        The columns to read.
    limits : PartitionLimits
        Bytes that a partition may take as a frame.

    Returns
    -------
    tuple of (ParquetReader, list of RowGroups)

    Raises
    ------
    SchemaError
        When files differ in their columns, a column is missing, or what cannot be cut is too large.
    """
    with ThreadPoolExecutor(N_THREADS) as pool:
        footers = list(pool.map(_footer, files))
    wanted = choice.resolve(path, [(footer.file, [*footer.types, *footer.keys]) for footer in footers])
    categorical = frozenset(choice.categorical).intersection(wanted)
    used = list(dict.fromkeys([*wanted, *choice.keep]))
    keys = {name: _key_values(footers, name) for name in used if any(name in footer.keys for footer in footers)}
    stored = [name for name in used if name not in keys]
    common = _common_types(footers, [name for name in stored if name not in categorical or name in choice.keep])
    reader = ParquetReader(
        {name: None if name in categorical else common.get(name) for name in wanted},
        categorical,
        {name: _kept_type(name, common.get(name)) for name in choice.keep},
        keys,
    )
    groups = [part for footer in footers for part in _parts(footer, stored, limits)]
    return reader, groups or [RowGroups(footers[0].file, footers[0].version, (), 0, footers[0].keys)]


def _footer(file: File) -> Footer:
    try:
        with _opened(file) as parquet:
            metadata, schema = parquet.metadata, parquet.schema_arrow
    except pa.ArrowException as error:
        raise SchemaError(f"not all files can be read as Parquet: {file}: {str(error).strip(' .')}.") from error
    stored_by_pandas = json.loads((schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    index = {name for name in stored_by_pandas if isinstance(name, str)}
    types = {field.name: field.type for field in schema if field.name not in index}
    folders = PurePosixPath(file.address).parts[:-1]
    keys = dict(re.fullmatch(r"([^=]+)=(.*)", part).groups() for part in folders if re.fullmatch(r"[^=]+=.*", part))  # type: ignore[union-attr,misc]
    keys = {name: urllib.parse.unquote(value) for name, value in keys.items() if name not in types}
    n_rows = tuple(metadata.row_group(k).num_rows for k in range(metadata.num_row_groups))
    return Footer(file, file.version(), types, keys, _widths(metadata, types, n_rows), n_rows)


def _widths(metadata: Any, types: Mapping[str, Any], n_rows: Sequence[int]) -> dict[str, float]:
    """Bytes per row of each column in a frame, by the first row group that has rows."""
    widths = dict.fromkeys(types, 0.0)
    if not any(n_rows):
        return widths
    k = next(k for k, n in enumerate(n_rows) if n)
    for i in range(metadata.num_columns):
        column = metadata.row_group(k).column(i)
        path = column.path_in_schema
        name = path if path in types else path.partition(".")[0]
        if name not in types:
            continue
        if column.physical_type in WIDTHS:
            widths[name] += WIDTHS[column.physical_type]
            continue
        stored = column.total_uncompressed_size / n_rows[k]
        found = column.statistics  # a dictionary hides how long values are; the least and the largest are examples
        if found is not None and found.has_min_max and isinstance(found.min, (str, bytes)):
            stored = max(stored, (len(found.min) + len(found.max)) / 2)
        widths[name] += OFFSET + stored
    return widths


def _key_values(footers: Sequence[Footer], name: str) -> list[Any]:
    """The values of a column that stands in the names of folders, sorted: whole numbers if they all are."""
    texts = {footer.keys[name] for footer in footers} - {MISSING_KEY}
    is_whole = all(re.fullmatch(r"0|-?[1-9]\d{0,17}", text) for text in texts)
    return sorted(map(int, texts)) if is_whole else sorted(texts)


def _common_types(footers: Sequence[Footer], names: Sequence[str]) -> dict[str, Any]:
    """The type that holds the values of all files, of each column; None where all files have dictionaries."""
    common, faults = {}, []
    for name in names:
        found: dict[Any, File] = {}
        for footer in footers:
            found.setdefault(footer.types[name], footer.file)
        try:
            common[name] = _common_type(list(found))
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            faults.append(f"{name!r} is {', '.join(f'{kind} in {file}' for kind, file in found.items())}")
    if faults:
        raise SchemaError(
            f"columns have types that do not fit each other: {'; '.join(faults[:8])}. Write the files with one type, name the "
            f"column with --categorical to read it as strings, or leave it out with --ignore."
        )
    return common


def _common_type(types: Sequence[Any]) -> Any:
    if len(types) == 1:
        return types[0]
    if all(map(pa.types.is_dictionary, types)):
        return None
    values = [pa.schema([("", _value_type(kind))]) for kind in types]
    return pa.unify_schemas(values, promote_options="permissive").field(0).type


def _value_type(kind: Any) -> Any:
    return kind.value_type if kind is not None and pa.types.is_dictionary(kind) else kind


def _kept_type(name: str, kind: Any) -> Any:
    """The type in which a column is handed on: one that pandas reads back from a file."""
    kind = _value_type(kind)
    if kind is None or not (
        pa.types.is_nested(kind) or pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind)
    ):
        return kind
    if pa.types.is_nested(kind):
        raise SchemaError(
            f"column {name!r} of type {kind} cannot be kept: pandas would not read it back. Leave it out of --keep."
        )
    return pa.string() if pa.types.is_decimal(kind) else pa.binary()


def _parts(footer: Footer, names: Sequence[str], limits: PartitionLimits) -> Iterator[RowGroups]:
    """Neighbouring row groups that are together no larger than the target, or parts of one that does not fit."""
    width = sum(footer.widths[name] for name in names)
    numbers: list[int] = []
    rows = 0
    for k, n in enumerate(footer.n_rows):
        fits = n * width <= limits.fits
        if numbers and (not fits or (rows + n) * width > limits.target):
            yield RowGroups(footer.file, footer.version, tuple(numbers), rows, footer.keys)
            numbers, rows = [], 0
        if not fits:
            max_rows = max(1, int(limits.target / width))
            for start in range(0, n, max_rows):
                yield RowGroups(footer.file, footer.version, (k,), min(max_rows, n - start), footer.keys, start)
        elif n:
            numbers.append(k)
            rows += n
    if numbers:
        yield RowGroups(footer.file, footer.version, tuple(numbers), rows, footer.keys)
