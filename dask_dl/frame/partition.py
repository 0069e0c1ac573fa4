"""Partition of a table, as a graph made it: columns are found by name, and what stands beside its rows is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from dask_dl.errors import SchemaError
from dask_dl.frame.interchange import is_foreign_table, kind_of, to_pandas
from dask_dl.wording import listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def selected(
    part: Any, names: Sequence[str], label: str, partition_info: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """The named columns of a partition, in that order, under text names.

    Dask takes columns for those of the first partition and does not look at the others: only here is it seen which
    column holds what.

    Parameters
    ----------
    part : pandas.DataFrame or a table of another library
        Its columns may be in any order; others than the named ones are ignored.
    names : sequence of str
        Each once.
    label : str
        What errors call the table.
    partition_info : mapping, optional
        By Dask: the number of the partition.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    SchemaError
        When the partition is no table, lacks a column, or has it twice.
    """
    if is_foreign_table(part):
        part = to_pandas(part)
    if not isinstance(part, pd.DataFrame):
        raise SchemaError(
            f"{_where(partition_info, label)} is {kind_of(part)}, not a pandas DataFrame. Every partition must be a frame "
            f"with the columns of the table: mend the function that makes them."
        )
    found = [str(name) for name in part.columns]
    place = {name: k for k, name in enumerate(found)}
    lacking = [name for name in names if name not in place]
    if lacking:
        raise SchemaError(
            f"{_where(partition_info, label)} lacks the column{'s' * (len(lacking) > 1)} {listed(lacking)}; "
            f"its columns are {listed(found) or 'none'}. Columns may come in any order, but under the same names in every "
            f"partition: rename or add what is missing, or leave that partition out."
        )
    if len(place) < len(found):
        repeated = [name for name in names if found.count(name) > 1]
        if repeated:
            raise SchemaError(
                f"{_where(partition_info, label)} has several columns named {listed(repeated)}. Rename or drop all but one."
            )
    places = [place[name] for name in names]
    frame: pd.DataFrame = part if places == list(range(len(found))) else part.iloc[:, places]
    return frame if list(frame.columns) == list(names) else frame.set_axis(list(names), axis=1)


def selected_column(
    part: Any, name: str, label: str, partition_info: Mapping[str, Any] | None = None
) -> pd.Series[Any]:
    """One column of a partition, as `selected` finds it.

    Parameters
    ----------
    part : pandas.DataFrame or a table of another library
        The partition.
    name : str
        Name of the column.
    label : str
        What errors call the table.
    partition_info : mapping, optional
        Given by Dask: the number of the partition.

    Returns
    -------
    pandas.Series

    Raises
    ------
    SchemaError
        When the partition is no table, lacks the column, or has it twice.
    """
    return selected(part, [name], label, partition_info)[name]


def beside(
    part: pd.DataFrame,
    *columns: Any,
    names: Sequence[str],
    label: str,
    partition_info: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Partition with what stands beside its rows as further columns, checked row by row.

    Parameters
    ----------
    part : pandas.DataFrame
        The partition.
    *columns : pandas.Series
        Values beside its rows, with its index.
    names : sequence of str
        Names of the new columns.
    label : str
        What errors call the table.
    partition_info : mapping, optional
        Given by Dask: the number of the partition.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    SchemaError
        When a column is no Series, or has other rows than the partition.
    """
    where = _where(partition_info, label)
    for name, column in zip(names, columns, strict=True):
        role = name.strip("_")
        if not isinstance(column, pd.Series):
            raise SchemaError(f"{where}: its {role} is {kind_of(column)}, not a pandas Series.")
        if len(column) != len(part):
            raise SchemaError(
                f"{where} has {len(part):,} rows and its {role} {len(column):,}. "
                f"Put both into one frame and pass the column's name."
            )
        if not part.index.equals(column.index):
            raise SchemaError(
                f"{where} and its {role} have different indexes: are their rows in one order? "
                f"Put both into one frame and pass the column's name."
            )
    return part.assign(**{name: column.array for name, column in zip(names, columns, strict=True)})


def _where(partition_info: Mapping[str, Any] | None, label: str) -> str:
    return f"partition {partition_info['number']} of {label}" if partition_info else f"a partition of {label}"
