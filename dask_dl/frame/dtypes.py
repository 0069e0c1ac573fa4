"""One column of one partition as numbers or as levels. Here alone it is decided what a dtype means.

Strings, object strings and categoricals are categories; booleans are 0 and 1; integers, floats and decimals are numbers;
dates are milliseconds since 1970, durations milliseconds, times of day milliseconds since midnight. Levels are texts: 1, 1.0
and "1" are the same level, whatever dtype a later file gives them. NaN, None, NA, NaT and nulls are one and the same: missing.
"""

from __future__ import annotations

import datetime as dt
import numbers
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_dl.errors import SchemaError
from dask_dl.frame.dense import DensePart
from dask_dl.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

NUMBER, CATEGORY, UNKNOWN = "number", "category", "unknown"

#: What pandas calls a column of objects that are all dates, as Parquet's days without a time arrive; the same of other times.
DATES = frozenset({"date", "datetime", "datetime64"})
DURATIONS = frozenset({"timedelta", "timedelta64"})
TIMES = frozenset({"time"})

#: What becomes of types that are nearly usable.
REMEDIES = {
    "bytes": "Decode it, with .str.decode('utf-8').",
    "period": "Convert it to dates, with .dt.to_timestamp().",
    "interval": "Convert it to a category or to texts.",
}


#: Places of some rows; None: all rows.
Places = np.ndarray[tuple[int], np.dtype[np.int64]] | None


def at(column: pd.Series[Any], rows: Places) -> pd.Series[Any]:
    """A column's values in some rows."""
    return column if rows is None else column.iloc[rows]


def is_missing(column: pd.Series[Any]) -> NDArray[np.bool_]:
    """Whether each value is missing: NaN counts, also where pandas tells it from NA (nullable and Arrow floats)."""
    missing = column.isna().to_numpy(bool)
    if isinstance(column.dtype, pd.api.extensions.ExtensionDtype) and pd.api.types.is_float_dtype(column.dtype):
        return missing | np.isnan(as_numbers(column))  # not in place: pandas may give a view that is read-only
    return missing


def kinds_of(part: pd.DataFrame | DensePart, names: Sequence[str], label: str, rows: Places = None) -> dict[str, str]:
    """Kind of every named column of a partition.

    Parameters
    ----------
    part : pandas.DataFrame or DensePart
        The partition.
    names : sequence of str
        Names of the columns.
    label : str
        What errors call the table.
    rows : (m,) int64, optional
        Places of the rows in which columns of objects are looked at; None: all rows.

    Returns
    -------
    dict of str to str
        NUMBER, CATEGORY or UNKNOWN, by name.

    Raises
    ------
    SchemaError
        When a column holds what pandas cannot read, or nothing that is a number or a level.
    """
    if isinstance(part, DensePart):
        return dict.fromkeys(names, NUMBER)
    dtypes = dict(zip(part.columns.tolist(), part.dtypes, strict=True))
    kinds = {}
    for name in names:
        where = f"column {name!r} of {label}"
        kind = _kind_of_dtype(dtypes[name], where)
        kinds[name] = _kind_of_objects(at(part[name], rows), where) if kind == UNKNOWN else kind
    return kinds


def kind_of(column: pd.Series[Any], where: str) -> str:
    """NUMBER, CATEGORY, or UNKNOWN for a column of objects that holds nothing but missing values."""
    kind = _kind_of_dtype(column.dtype, where)
    return _kind_of_objects(column, where) if kind == UNKNOWN else kind


def is_category(dtype: Any) -> bool:
    """Whether a column of this dtype holds categories, as far as the dtype tells: objects count as texts."""
    return isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(dtype)


def is_label(dtype: Any) -> bool:
    """Whether a target of this dtype is a class."""
    return is_category(dtype) or pd.api.types.is_bool_dtype(dtype)


def _kind_of_dtype(dtype: Any, where: str) -> str:
    """Kind of a dtype; UNKNOWN for objects, which have to be looked at."""
    if isinstance(dtype, np.dtype) and dtype.kind in "biufMm":
        return NUMBER
    if isinstance(dtype, pd.ArrowDtype):
        try:
            dtype.type  # noqa: B018  # pyarrow's newest types are not pandas' yet
        except NotImplementedError as error:
            raise SchemaError(
                f"{where} has type {dtype}, which pandas cannot read. Convert it, texts to str."
            ) from error
    if pd.api.types.is_object_dtype(dtype):
        return UNKNOWN
    if isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(dtype):
        return CATEGORY
    if isinstance(dtype, pd.ArrowDtype) and str(dtype).startswith("dictionary<"):
        return CATEGORY
    if pd.api.types.is_complex_dtype(dtype):
        raise SchemaError(f"Complex data not supported: {where} holds {dtype}. Split it into two columns of numbers.")
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        return NUMBER
    if isinstance(dtype, pd.DatetimeTZDtype) or pd.api.types.is_datetime64_any_dtype(dtype):
        return NUMBER
    if isinstance(dtype, pd.ArrowDtype) and dtype.kind == "m":
        return NUMBER
    if isinstance(dtype, pd.ArrowDtype) and dtype.kind == "O":
        return UNKNOWN
    remedy = REMEDIES.get(str(dtype).partition("[")[0], "Convert or drop it.")
    raise SchemaError(f"{where} has type {dtype}, which is neither numbers, texts, categories nor dates. {remedy}")


def _kind_of_objects(column: pd.Series[Any], where: str) -> str:
    present = column[column.notna()]
    inferred = pd.api.types.infer_dtype(present.astype(object), skipna=False)
    if inferred == "string":
        return CATEGORY
    if inferred in {"boolean", "integer", "floating", "mixed-integer-float", "decimal"} | DATES | DURATIONS | TIMES:
        return NUMBER
    if inferred == "empty":
        return UNKNOWN
    values = list(present)[::-1]
    types = {type(value): value for value in values}  # the first of each type
    if all(_is_real(kind) for kind in types):  # decimals beside integers, say
        return NUMBER
    kind, odd = next((kind, value) for kind, value in reversed(types.items()) if not issubclass(kind, str))
    others = ", ".join(sorted({other.__name__ for other in types} - {kind.__name__}))
    beside = f", beside {others}" if others else ""
    raise SchemaError(
        f"{where} holds objects that are not all texts ({inferred}), for example {_shown(odd)} of type "
        f"{kind.__name__}{beside}. {REMEDIES.get(inferred, 'Convert it to numbers or to texts.')}"
    )


def _is_real(kind: type) -> bool:
    """Whether values of a type are numbers on a line; booleans are answers."""
    return issubclass(kind, (numbers.Real, Decimal)) and not issubclass(kind, (bool, np.bool_))


def _shown(value: Any, maximum: int = 80) -> str:
    """A value in an error: objects can be long."""
    text = repr(value)
    return text if len(text) <= maximum else f"{text[:maximum]}..."


#: Numeric columns are taken in chunks of about so many numbers: few calls, and little temporary memory.
NUMBERS_PER_CHUNK = 2**20


def number_chunks(
    part: pd.DataFrame | DensePart, names: Sequence[str], rows: Places = None
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Numeric columns as (columns of the chunk, rows) float64, NaN where missing, with their places in `names`."""
    for place, table in plain_chunks(part, names, rows):
        with np.errstate(over="ignore"):  # of long doubles, as in `as_numbers`
            values = np.array(table.T, np.float64, order="C")
        yield place, values


def plain_chunks(
    part: pd.DataFrame | DensePart, names: Sequence[str], rows: Places = None
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Numeric columns as (rows, columns of the chunk) arrays of numbers as they lie in `part`, so not to be written.

    Numbers that are none to NumPy are float64, NaN where missing; with each chunk come its columns' places in `names`.
    """
    size = max(1, NUMBERS_PER_CHUNK // max(1, len(part)))
    place = {name: k for k, name in enumerate(names_of(part))}
    for start in range(0, len(names), size):
        places = [place[name] for name in names[start : start + size]]
        yield slice(start, start + len(places)), _plain(part, places, rows)


def names_of(part: Any) -> Sequence[str]:
    """Names of the columns of a partition; a list of them takes pandas a tenth of the time that going through them takes."""
    names: Sequence[str] = part.columns.tolist() if isinstance(part, pd.DataFrame) else part.columns
    return names


def _plain(part: pd.DataFrame | DensePart, places: list[int], rows: Places) -> NDArray[Any]:
    """(rows, columns) of the numeric columns at `places`."""
    if isinstance(part, DensePart):
        return _columns(part.array, places, rows)
    if part.size <= NUMBERS_PER_CHUNK and len(dtypes := set(part.dtypes)) == 1 and is_plain(dtypes.pop()):
        return _columns(part.to_numpy(), places, rows)  # pandas takes a frame apart to choose columns of it
    columns = part if places == list(range(part.shape[1])) else part.take(places, axis=1)
    columns = columns if rows is None else columns.iloc[rows]
    if all(map(is_plain, columns.dtypes)):
        return columns.to_numpy(np.float64)
    values = np.empty(columns.shape[::-1])
    for row, (_, column) in zip(values, columns.items(), strict=True):
        row[:] = as_numbers(column)
    return values.T


def is_plain(dtype: Any) -> bool:
    """Whether values of a dtype are numbers to NumPy."""
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf"


def _columns(array: NDArray[Any], places: list[int], rows: Places) -> NDArray[Any]:
    """Some columns of an array, and some of its rows, in the order of its memory."""
    array = array if rows is None else array[rows]
    if places == list(range(array.shape[1])):
        return array
    return array.T[places].T if array.strides[0] < array.strides[1] else array[:, places]


def as_numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    """Float64 numbers, NaN where missing; dates in milliseconds since 1970, durations and times of day in milliseconds."""
    dtype: Any = column.dtype
    is_arrow = isinstance(dtype, pd.ArrowDtype)
    inferred = ""
    if pd.api.types.is_object_dtype(dtype) or (is_arrow and dtype.kind == "O"):
        inferred = pd.api.types.infer_dtype(column[column.notna()].astype(object), skipna=False)
    if inferred in TIMES:
        return _since_midnight(column)
    if inferred in DURATIONS or dtype.kind == "m":
        return _milliseconds(column)
    if inferred in DATES or (is_arrow and dtype.kind == "M"):
        column = column.astype("datetime64[ms, UTC]")
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    if pd.api.types.is_datetime64_dtype(column.dtype):
        stamps = column.to_numpy().astype("datetime64[ms]")
        return np.where(np.isnat(stamps), np.nan, stamps.astype(np.int64).astype(np.float64))
    with np.errstate(over="ignore"):  # of long doubles: infinite numbers are refused where the column's name is known
        try:
            return column.to_numpy(dtype=np.float64, na_value=np.nan)
        except OverflowError:  # Python's integers have no end
            return np.array([_rounded(value) for value in column])


def _rounded(value: Any) -> float:
    try:
        return np.nan if pd.isna(value) else float(value)
    except OverflowError:
        return np.inf


def _milliseconds(column: pd.Series[Any]) -> NDArray[np.float64]:
    dtype: Any = column.dtype
    if isinstance(dtype, pd.ArrowDtype):
        dtype = np.dtype(f"timedelta64[{dtype.pyarrow_dtype.unit}]")
        column = column.astype(dtype)
    elif pd.api.types.is_object_dtype(dtype):
        column = pd.to_timedelta(column)
    return column.to_numpy() / np.timedelta64(1, "ms")  # with what is left of microseconds: durations may be short


def _since_midnight(column: pd.Series[Any]) -> NDArray[np.float64]:
    day = dt.date(1970, 1, 1)
    zero = dt.datetime.combine(day, dt.time())  # a clock on the wall
    unit = dt.timedelta(milliseconds=1)
    return np.array(
        [np.nan if pd.isna(t) else (dt.datetime.combine(day, t.replace(tzinfo=None)) - zero) / unit for t in column],
        np.float64,
    )


#: Up to here float32 holds every whole number, and up to there float64.
EXACT, EXACT_IN_DOUBLE = 2**24, 2**53
#: Part of the different values of a column that may become others unnoticed.
FEW = 0.01


def is_blurred(column: pd.Series[Any], values: NDArray[np.float64]) -> bool:
    """Whether whole numbers that differ reach the network as one: in float32, counted from their mean.

    Parameters
    ----------
    column : pandas.Series
    values : (n,) float64
        `as_numbers(column)`, finite or NaN.

    Returns
    -------
    bool

    Notes
    -----
    Identifiers with a prefix, moments written as 20201231235959, one sentinel far away: that is seen within one partition, and
    sorted only where the figures spread further than float32 is exact. Populations or prices spread as far and lose nothing
    that matters: below a hundredth of the different values it is not worth a word. Dates have their own unit.
    """
    dtype = column.dtype
    is_whole = pd.api.types.is_integer_dtype(dtype)
    if not (is_whole or pd.api.types.is_float_dtype(dtype)):
        return False
    present = values[~np.isnan(values)]
    if not present.size or np.ptp(present) <= EXACT:
        return False
    if not is_whole and ((np.abs(present) > EXACT_IN_DOUBLE).any() or (present != np.rint(present)).any()):
        return False
    n_distinct = column.nunique() if is_whole else len(pd.unique(present))
    n_seen = len(pd.unique((present - present.mean()).astype(np.float32)))
    return n_seen < (1 - FEW) * n_distinct


def blurred_warning(names: Sequence[str]) -> str:
    """Warning about columns that are blurred."""
    return (
        f"whole numbers that differ become one in float32, which the network reads, in {listed(names, 8)}: they spread too "
        f"far. Are they identifiers? Leave them out, make them categories, or split them."
    )


def as_levels(column: pd.Series[Any], where: str) -> tuple[NDArray[np.intp], list[str], bool]:
    """(codes, texts, from_numbers): the level of every row, -1 where missing; the levels; whether they were numbers.

    Only values that occur are levels: categories without a row have no say.
    """
    try:
        codes, values = _few_values(column) if len(column) <= FEW_ROWS else _distinct_values(column)
    except TypeError as error:  # lists, dicts
        raise SchemaError(f"{where} holds {error}. Convert it to texts.") from error
    texts = [_text(value, where) for value in values]
    from_numbers = all(not isinstance(value, str) for value in values)
    distinct = dict.fromkeys(texts)
    if len(distinct) < len(texts):  # 1 and 1.0, say
        place = {text: k for k, text in enumerate(distinct)}
        codes = np.append(np.array([place[text] for text in texts], np.intp), -1)[codes]
    return codes, list(distinct), from_numbers


#: Rows of which each is looked at by itself: pandas takes as long to begin with a column.
FEW_ROWS = 16


def _few_values(column: pd.Series[Any]) -> tuple[NDArray[np.intp], list[Any]]:
    """(codes, values): the place of every row's value, -1 where missing; the values, repeated ones too."""
    held: Any = column.array
    if isinstance(column.dtype, pd.CategoricalDtype):
        present = held.codes >= 0
        values = [held.categories[code] for code in held.codes[present].tolist()]
    else:
        present = ~pd.isna(held)
        values = [value for value, is_there in zip(held.tolist(), present, strict=True) if is_there]
    return np.where(present, np.cumsum(present) - 1, -1), values


def _distinct_values(column: pd.Series[Any]) -> tuple[NDArray[np.intp], Any]:
    """(codes, values) as `_few_values` returns them, each value once."""
    held: Any = column.array
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return pd.factorize(column)
    present, codes = np.unique(held.codes, return_inverse=True)
    if present.size and present[0] < 0:
        present, codes = present[1:], codes - 1
    return codes, held.categories.array[present]


def check_unicode(texts: Sequence[str], what: str) -> None:
    """Refuse texts that cannot be written to a file: with half of a surrogate pair, as broken decoding leaves it."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        odd = next(text for text in texts if any("\ud800" <= letter <= "\udfff" for letter in text))
        raise SchemaError(
            f"{what} {odd!r}, which is not valid Unicode (half of a surrogate pair). Decode the source anew, or repair it with "
            f"text.encode('utf-8', 'replace').decode()."
        ) from None


def _text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return str(value)  # NumPy's are of a type of their own
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    if isinstance(value, dt.date):  # a pandas Timestamp is one, too
        return value.isoformat()
    if isinstance(value, pd.Interval):  # of pandas.cut
        return str(value)
    raise SchemaError(
        f"{where} has a level {value!r} of type {type(value).__name__}. Levels are texts, numbers, dates or intervals: "
        f"convert it to texts."
    )
