"""Dask DataFrames: their columns taken by name in every partition, what stands beside their rows, and how they are
read.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from dask_dl.errors import DaskDLError, SchemaError
from dask_dl.frame.partition import beside, selected, selected_column

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from dask_dl.frame.sparse import SparsePart

#: How reading fails where partitions do not hold what the graph expects: Dask, pandas and Arrow raise what comes first.
READING_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def is_dask_frame(X: Any) -> bool:
    """Whether `X` is a Dask DataFrame (without importing Dask for those who do not use it)."""
    return (
        type(X).__module__.startswith(("dask.dataframe", "dask_expr")) and hasattr(X, "map_partitions") and X.ndim == 2
    )


def by_name(frame: Any, names: Sequence[str], label: str, *, is_alone: bool = True) -> Any:
    """The named columns of a Dask DataFrame, found by name in every partition; see `partition.selected`.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
        No two of its columns have the same text for a name.
    names : sequence of str
        Texts of its columns.
    label : str
        What errors call the table.
    is_alone : bool
        Whether no Series will stand beside it.

    Returns
    -------
    dask.dataframe.DataFrame
    """
    frame = _unprojected(frame)
    labels = {str(column): column for column in frame.columns}
    if _dask_chooses(frame, names, is_alone=is_alone):
        frame = frame[[labels[name] for name in names]]
    return frame.map_partitions(
        selected,
        tuple(names),
        label,
        meta=selected(frame._meta, names, label),  # noqa: SLF001  # Dask's name for an empty partition
        enforce_metadata=False,
    )


def _dask_chooses(frame: Any, names: Sequence[str], *, is_alone: bool) -> bool:
    """Whether Dask shall choose the columns, and read no others. Where a partition lacks one, it fails in words of its own.

    Partitions of Parquet follow from the columns that are read: all that is taken of a frame has to be chosen in one way.
    What stands beside a frame is read together with it if Dask chooses both. Otherwise it is worth it where at least half
    of what is read would be of no use.
    """
    if any(kind.__name__ == "ReadParquet" for part in frame.expr.walk() for kind in type(part).__mro__):
        return True
    sizes = {str(column): _size(dtype) for column, dtype in frame.dtypes.items()}
    is_worth_it = 2 * sum(sizes[name] for name in names) < sum(sizes.values())
    return _reads_less(frame) and (is_worth_it or not is_alone)


def column_by_name(series: Any, label: str) -> Any:
    """A Dask Series that is a column of a frame, found by name in every partition where Dask would not read less for it."""
    import dask.dataframe as dd

    expression = series.expr
    if type(expression).__name__ != "Projection" or expression.frame.ndim != 2 or _reads_less(series):
        return series
    return _unprojected(dd.DataFrame(expression.frame)).map_partitions(
        selected_column,
        str(series.name),
        label,
        meta=series._meta.rename(str(series.name)),  # noqa: SLF001  # as above
        enforce_metadata=False,
    )


def _size(dtype: Any) -> int:
    """Bytes of a value, roughly: texts and other objects vary."""
    return dtype.itemsize if dtype.kind in "biufcmM" else 40


def _reads_less(collection: Any) -> bool:
    """Whether what Dask reads from can leave columns out; others are made whole, and only then cut."""
    return any(getattr(type(part), "_absorb_projections", False) for part in collection.expr.walk())


def _unprojected(frame: Any) -> Any:
    """The frame of which `frame` is a choice of columns: `selected` chooses, and says what a partition lacks."""
    import dask.dataframe as dd

    expression = frame.expr
    while type(expression).__name__ in {"Projection", "Drop"} and expression.frame.ndim == 2:
        expression = expression.frame
    texts = [str(column) for column in expression.columns]
    return dd.DataFrame(expression) if len(set(texts)) == len(texts) else frame


def joined(frame: Any, aligned: Mapping[str, Any], label: str) -> Any:
    """Partition k of every aligned Series beside partition k of the frame, checked row by row where it is read."""
    import dask.dataframe as dd

    series = [matched(frame, value, name.strip("_"), label) for name, value in aligned.items()]
    names = tuple(aligned)
    return dd.map_partitions(
        beside,
        frame,
        *series,
        names=names,
        label=label,
        meta=beside(frame._meta, *(s._meta for s in series), names=names, label=label),  # noqa: SLF001  # as above
        align_dataframes=False,
        enforce_metadata=False,
    )


def matched(frame: Any, values: Any, role: str, label: str) -> Any:
    """Dask Series whose partition k belongs to partition k of a Dask frame.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
        The table.
    values : dask.dataframe.Series, or DataFrame of one column
        Values beside its rows.
    role : str
        Role of the values ("target", "weight" or "offset"), for errors.
    label : str
        What errors call the table.

    Returns
    -------
    dask.dataframe.Series
        The values, divided as the frame is.

    Raises
    ------
    SchemaError
        When they are no Dask Series, or rows cannot be matched.
    """
    import dask.dataframe as dd

    if isinstance(values, dd.DataFrame) and len(values.columns) == 1:
        values = values[values.columns[0]]
    if not isinstance(values, dd.Series):
        raise SchemaError(
            f"the {role} of a Dask DataFrame must be a Dask Series or the name of a column; found {type(values).__name__}. "
            f"Put it into the frame and pass its name."
        )
    values = column_by_name(values, label)
    if values.npartitions == frame.npartitions and not (values.known_divisions and values.divisions != frame.divisions):
        return values
    if values.known_divisions and frame.known_divisions:
        return values.repartition(divisions=frame.divisions, force=True)
    raise SchemaError(
        f"{label} has {frame.npartitions} partitions and its {role} {values.npartitions}, and their divisions are unknown, "
        f"so rows cannot be matched. Put the {role} into the frame and pass its name."
    )


def reader(partitions: Sequence[Any], label: str) -> Callable[[int], pd.DataFrame | SparsePart]:
    """A function that computes partition k here, of partitions as Dask's Delayed."""
    import dask

    def read(k: int) -> pd.DataFrame | SparsePart:
        try:
            # What a cluster holds only its client can fetch; everything else is read here, by this thread.
            has_client = dask.config.get("scheduler", None) in {"dask.distributed", "distributed"}
            (part,) = dask.compute(partitions[k], scheduler=None if has_client else "synchronous")
        except DaskDLError:
            raise
        except READING_ERRORS as error:
            raise unreadable(error, f"partition {k} of {label}") from error
        return part  # type: ignore[no-any-return]

    return read


def frame_of_array(X: Any, names: Sequence[str]) -> Any:
    """Dask DataFrame of a Dask Array, with these names of columns."""
    import dask.dataframe as dd

    return dd.from_dask_array(X, columns=list(names))


def made_of_parts(
    frame: Any, parts: Sequence[Any], rows: Sequence[int], make: Callable[[pd.DataFrame, int, Any], Any], given: Any
) -> Any:
    """Collection of what a function makes of every partition.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
    parts : sequence of Delayed
        Its partitions.
    rows : sequence of int
        Rows of each.
    make : callable
        Is given a partition, the number of its first row, and `given`.
    given : object
        A value that travels once.

    Returns
    -------
    dask.dataframe.DataFrame or dask.dataframe.Series
    """
    import dask
    import dask.dataframe as dd

    work, shared = dask.delayed(make, pure=False), dask.delayed(given, pure=False, traverse=False)
    starts = itertools.accumulate(rows, initial=0)
    made = [work(part, start, shared) for part, start in zip(parts, starts, strict=False)]
    meta = make(frame._meta, 0, given)  # noqa: SLF001  # Dask's name
    return dd.from_delayed(made, meta=meta, divisions=frame.divisions, verify_meta=False)


def unreadable(error: Exception, what: str) -> SchemaError:
    """Error for a table whose reading, by Dask and the user's own functions, failed."""
    return SchemaError(f"{what} cannot be read. {_remedy(error)}\n{error}")


def _remedy(error: Exception) -> str:
    if "Mismatched dtypes" in str(error):
        return (
            "It holds values that do not fit the type guessed from the first rows of the table: convert it to Parquet with "
            "the right types, or name the column as categorical."
        )
    if isinstance(error, UnicodeEncodeError):
        return (
            f"It holds the text {str(error.object)[:80]!r}, which is not valid Unicode (half of a surrogate pair): decode the "
            f"source anew, or repair it with text.encode('utf-8', 'replace').decode()."
        )
    return "Do all files have the same columns, and does `.partitions` of the frame compute?"
