"""Tables and columns of other libraries, taken as pandas through Arrow; and what is no table, refused with the way out."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_dl.errors import SchemaError
from dask_dl.frame.sparse import is_sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

#: By which libraries hand tables on: Arrow's PyCapsule interface, and the older DataFrame interchange protocol.
ARROW, DATAFRAME = ("__arrow_c_stream__", "__arrow_c_array__"), ("__dataframe__",)

#: What to do with objects that stand for a table but are none: type -> remedy.
REMEDIES = {
    "dask.delayed.Delayed": "Make it a Dask DataFrame, dask.dataframe.from_delayed([X]), or pass X.compute().",
    "dask.bag.core.Bag": "Make it a Dask DataFrame with X.to_dataframe().",
    "dask.dataframe.dask_expr._collection.Series": "Make it a Dask DataFrame with X.to_frame().",
    "dask.dataframe.dask_expr._collection.Index": "Make it a Dask DataFrame with X.to_frame().",
    "distributed.client.Future": "Pass X.result(), or make a Dask DataFrame of futures: dask.dataframe.from_delayed([X]).",
    "polars.lazyframe.frame.LazyFrame": "Pass X.collect().",
    "pyarrow._dataset.Dataset": "Pass X.to_table(), or read its files with dask.dataframe.read_parquet.",
    "pyarrow._dataset.Scanner": "Pass X.to_table().",
    "builtins.dict": "Make it a frame: pandas.DataFrame(X).",
    "builtins.set": "Make it a list or a frame.",
    "builtins.generator": "Make it a list or a frame.",
    "builtins.str": "Read it first, with dask.dataframe.read_parquet or read_csv.",
    "builtins.NoneType": "Pass a frame, an array or a sparse matrix.",
}
#: The same of lists of them.
REMEDIES_OF_LISTS = {
    "pandas.DataFrame": "Put them together: pandas.concat(X).",
    "pandas.core.frame.DataFrame": "Put them together: pandas.concat(X).",
    "dask.delayed.Delayed": "Make them one Dask DataFrame: dask.dataframe.from_delayed(X).",
    "distributed.client.Future": "Make them one Dask DataFrame: dask.dataframe.from_delayed(X).",
    "dask.dataframe.dask_expr._collection.DataFrame": "Put them together: dask.dataframe.concat(X).",
    "dask.array.core.Array": "Put them together: dask.array.concatenate(X).",
    "polars.lazyframe.frame.LazyFrame": "Put them together: polars.concat(X).collect().",
    "builtins.dict": "Make it a frame: pandas.DataFrame(X).",
    "builtins.str": "Read them first, with dask.dataframe.read_parquet or read_csv.",
}
#: The same of what stands for a column.
REMEDIES_OF_COLUMNS = {
    "dask.delayed.Delayed": "Pass its compute(), or put it into the table and pass the name of the column.",
    "dask.bag.core.Bag": "Pass its compute(), or put it into the table and pass the name of the column.",
    "distributed.client.Future": "Pass its result(), or put it into the table and pass the name of the column.",
    "polars.lazyframe.frame.LazyFrame": "Pass its collect().",
}


def kind_of(value: Any) -> str:
    """The type of a value, in words."""
    if value is None:
        return "None"
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
    shape = f" of shape {value.shape}" if isinstance(value, np.ndarray) else ""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}{shape}"


def is_foreign_table(X: Any) -> bool:
    """Whether `X` is of a library that is neither pandas, NumPy nor Dask, and hands its content on as a table or column."""
    if isinstance(X, (pd.DataFrame, pd.Series, pd.Index, np.ndarray)) or _root(X) in {"dask", "dask_expr"}:
        return False
    return any(hasattr(type(X), method) for method in (*ARROW, *DATAFRAME))


def as_table(X: Any, label: str) -> Any:
    """`X`, or what it holds as a pandas frame when it is a table of another library; idempotent.

    Raises
    ------
    SchemaError
        When `X` only stands for a table, as a Delayed does, or is several tables; says how to make one of it.
    """
    if is_foreign_table(X):
        table = to_pandas(X)
        if not isinstance(table, pd.DataFrame):
            raise SchemaError(
                f"{label} must have two dimensions, rows and columns; found {kind_of(X)}, which is one column. "
                f"Make it a table of one column."
            )
        return table
    remedy = _by_type(X, REMEDIES)
    if isinstance(X, PurePath):
        remedy = REMEDIES["builtins.str"]
    if remedy:
        raise SchemaError(f"{label} is {kind_of(X)}, not a table. {remedy}")
    if isinstance(X, (list, tuple)):
        _refuse_tables(X, label)
        try:
            np.shape(X)
        except ValueError as error:
            raise SchemaError(f"{label} is {kind_of(X)} whose rows are not of one length: {error}") from error
    return X


def _refuse_tables(X: Sequence[Any], label: str) -> None:
    """Raise SchemaError when a list holds tables, where rows belong."""
    first = next(iter(X), None)
    remedy = _by_type(first, REMEDIES_OF_LISTS)
    if is_foreign_table(first) and isinstance(to_pandas(first), pd.DataFrame):
        remedy = "Put them together into one table."
    elif is_sparse(first):
        remedy = "Put them together: scipy.sparse.vstack(X)."
    if remedy:
        raise SchemaError(f"{label} is a {type(X).__name__} that holds {kind_of(first)}, not one table. {remedy}")


def as_column(values: Any, what: str) -> Any:
    """`values`, or what they hold as pandas when they are a column of another library, a table of one, or masked.

    Raises
    ------
    SchemaError
        When they only stand for values, as a Delayed does; `what` is what errors call them.
    """
    if isinstance(values, np.ma.MaskedArray) and 0 < values.ndim < 3:  # NumPy would forget what is masked
        return pd.Series(values) if values.ndim == 1 else pd.DataFrame(values)
    if not is_foreign_table(values):
        remedy = _by_type(values, REMEDIES_OF_COLUMNS)
        if remedy:
            raise SchemaError(f"{what} is {kind_of(values)}, not values. {remedy}")
        return values
    held = to_pandas(values)
    return held.iloc[:, 0] if isinstance(held, pd.DataFrame) and held.shape[1] == 1 else held


def to_pandas(X: Any) -> pd.DataFrame | pd.Series[Any]:
    """A table or column of another library as pandas, uncopied where that is possible; a column has no name.

    Whole numbers beside nulls stay whole, and dates, decimals and times of day keep their types, since all but floats
    and dictionaries stay with Arrow.
    """
    import pyarrow as pa

    if not any(hasattr(type(X), method) for method in ARROW):
        from pyarrow.interchange import from_dataframe

        return _converted(from_dataframe(X))
    try:
        return _converted(pa.table(X))
    except pa.ArrowInvalid:  # not rows of several columns, but one column
        try:
            column = pa.chunked_array(X if hasattr(X, ARROW[0]) else [pa.array(X)])
        except pa.ArrowInvalid as error:  # a type that Arrow does not know
            raise SchemaError(f"{kind_of(X)} cannot be taken through Arrow: {error}. Convert that column.") from error
        return _converted(pa.table({"column": column})).iloc[:, 0].rename(None)


def _converted(table: Any) -> pd.DataFrame:
    import pyarrow as pa

    def dtype_of(kind: Any) -> Any:
        is_plain = pa.types.is_floating(kind) or pa.types.is_dictionary(kind)
        return None if is_plain else pd.ArrowDtype(kind)

    columns = [_plain(column) for column in table.columns]
    schema = pa.schema([pa.field(f.name, c.type) for f, c in zip(table.schema, columns, strict=True)])
    plain = pa.Table.from_arrays(columns, schema=schema.with_metadata(table.schema.metadata))
    frame: pd.DataFrame = plain.to_pandas(types_mapper=dtype_of)
    return frame


def _plain(column: Any) -> Any:
    """A column of Arrow in a type that pandas calculates with."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(pa.chunked_array([c.storage for c in column.chunks], kind.storage_type))
    if pa.types.is_run_end_encoded(kind):
        return _plain(pa.chunked_array([pc.run_end_decode(c) for c in column.chunks], kind.value_type))
    wanted = _simple_type(kind)
    column = column if wanted == kind else column.cast(wanted)
    if pa.types.is_dictionary(kind) and not all(_holds_each_once(chunk.dictionary) for chunk in column.chunks):
        return column.cast(wanted.value_type).dictionary_encode()
    return column


def _holds_each_once(values: Any) -> bool:
    """Whether the values of a dictionary can be categories: Arrow allows nulls and repeated ones, pandas does not."""
    return not values.null_count and len(values.unique()) == len(values)


def _simple_type(kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        # pandas knows signed codes only, of which 32 bits are enough for as many levels as memory holds.
        index = kind.index_type if pa.types.is_signed_integer(kind.index_type) else pa.int32()
        return pa.dictionary(index, _simple_type(kind.value_type), ordered=kind.ordered)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    return kind


def _root(X: Any) -> str:
    return type(X).__module__.partition(".")[0]


def _by_type(X: Any, remedies: dict[str, str]) -> str | None:
    """Remedy for an object, by its type or one that it derives from; SciPy derives matrices from dicts."""
    if is_sparse(X):
        return None
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(X).__mro__)
    return next((remedies[name] for name in names if name in remedies), None)
