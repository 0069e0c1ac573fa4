"""Which rows of a partition count (algorithm.md#rows-that-count), and what they shall teach.

A row counts when it has a target and a positive weight, and, where rows are skipped, lacks no column that is required. No
other row is looked at again: whatever it holds, it shapes no figure, and no check refuses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from dask_dl.errors import SchemaError
from dask_dl.frame.dtypes import CATEGORY, Places, as_numbers, at, check_unicode, is_missing, kind_of
from dask_dl.frame.source import FOLD, OFFSET, TARGET, WEIGHT, Schema
from dask_dl.frame.sparse import SparsePart

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd
    from numpy.typing import NDArray

#: How the column of a target is read: as labels of classes, as numbers, or not at all.
TargetKind = Literal["labels", "numbers", "nothing"]
#: Positive weights: what is beyond loses digits, or leaves float64, in a sum of squares.
MIN_WEIGHT, MAX_WEIGHT = 1e-100, 1e100
#: Targets and offsets: the square of what is beyond leaves float32, in which the network computes.
MAX_IN_NETWORK = float(np.sqrt(np.finfo(np.float32).max))
#: Folds of a table: the number of one, and one more for rows without any, take two bytes.
MAX_FOLDS = 2**16 - 1
#: Weights relative to their mean: what is less loses digits in float32.
MIN_RATIO, MAX_RATIO = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


class RowRoles(NamedTuple):
    """Targets, weights and offsets of the rows of a partition that count."""

    places: Places  #: of these rows in the partition
    n: int  #: how many they are
    labels: pd.Series[Any] | None
    targets: NDArray[np.float64] | None
    weights: NDArray[np.float64] | None
    offsets: NDArray[np.float64] | None
    folds: pd.Series[Any] | None = None

    @classmethod
    def of(
        cls, part: pd.DataFrame | SparsePart, schema: Schema, k: int, counts: NDArray[np.bool_], target: TargetKind
    ) -> RowRoles:
        """Read the rows of a partition that count.

        Parameters
        ----------
        part : pandas.DataFrame or SparsePart
            The partition, of n rows.
        schema : Schema
            Columns of the table and their roles.
        k : int
            Number of the partition.
        counts : (n,) bool
            Whether each row counts: `counting_rows`.
        target : "labels", "numbers" or "nothing"
            How the column of the target is read.

        Returns
        -------
        RowRoles

        Raises
        ------
        SchemaError
            A target or an offset that is infinite, missing, too large or of another kind than the task needs; a row
            without a fold, or too many folds.
        """
        places = None if counts.all() else np.flatnonzero(counts)
        labels, targets, weights, offsets = None, None, None, None
        if TARGET in schema.roles and target == "labels":
            labels = at(part[schema.roles[TARGET]], places)
            kind_of(labels, where_of(schema, TARGET))
        elif TARGET in schema.roles and target == "numbers":
            targets = _target_numbers(at(part[schema.roles[TARGET]], places), where_of(schema, TARGET), k)
        if WEIGHT in schema.roles:
            weights = _numbers(at(part[schema.roles[WEIGHT]], places), where_of(schema, WEIGHT), k)
        if OFFSET in schema.roles:
            column, where = at(part[schema.roles[OFFSET]], places), where_of(schema, OFFSET)
            offsets = _numbers(column, where, k)
            check_in_network(offsets, offsets, where, k)
        folds = None
        if FOLD in schema.roles:
            folds = at(part[schema.roles[FOLD]], places)
            check_folds(folds, where_of(schema, FOLD), k)
        return cls(places, int(np.count_nonzero(counts)), labels, targets, weights, offsets, folds)


def where_of(schema: Schema, role: str) -> str:
    """Name, for errors, of the column that plays a role."""
    name = schema.roles.get(role, f"__{role}__")
    called = f"the {role}" if role == TARGET else role
    return f"{called} of {schema.label}" if name.startswith("__") else f"{role} {name!r} of {schema.label}"


def counting_rows(
    part: pd.DataFrame | SparsePart, schema: Schema, k: int, required: Collection[str] = ()
) -> NDArray[np.bool_]:
    """Whether each row of a partition counts (algorithm.md#rows-that-count).

    Parameters
    ----------
    part : pandas.DataFrame or SparsePart
        The partition, of n rows.
    schema : Schema
        Columns of the table and their roles.
    k : int
        Number of the partition.
    required : collection of str
        Columns without which a row does not count.

    Returns
    -------
    (n,) bool

    Raises
    ------
    SchemaError
        When a value of the weight column is no weight.
    """
    counts = np.ones(len(part), bool)
    if TARGET in schema.roles:
        counts &= ~is_missing(part[schema.roles[TARGET]])
    if WEIGHT in schema.roles:
        weights = at(part[schema.roles[WEIGHT]], None if counts.all() else np.flatnonzero(counts))
        counts[counts] = _weights(weights, where_of(schema, WEIGHT), k) > 0
    if required and isinstance(part, SparsePart):
        counts &= ~part.lacks(np.fromiter((name in required for name in part.names), bool, len(part.names)))
    else:
        for name in required:
            counts &= ~is_missing(part[name])
    return counts


def numeric(column: pd.Series[Any], where: str, holder: str) -> NDArray[np.float64]:
    """Read weights or offsets; errors call them `where`, and what holds them `holder`. Raises SchemaError."""
    is_text = kind_of(column, where) == CATEGORY and column.notna().any()
    if is_text or column.dtype.kind in "Mm":
        raise SchemaError(f"{where} is not numeric: {holder} holds {column.dtype}.")
    return as_numbers(column)


def _numbers(column: pd.Series[Any], where: str, k: int) -> NDArray[np.float64]:
    values = numeric(column, where, f"partition {k}")
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise SchemaError(
            f"{where}: {bad:,} of {len(values):,} values in partition {k} are missing or infinite. Fill or drop those rows."
        )
    return values


def _weights(column: pd.Series[Any], where: str, k: int) -> NDArray[np.float64]:
    values = _numbers(column, where, k)
    if (values < 0).any():
        raise SchemaError(
            f"{where}: partition {k} holds negative weights, the least {values.min():g}. Weights are 0 or more."
        )
    odd = values[(values > MAX_WEIGHT) | ((values > 0) & (values < MIN_WEIGHT))]
    if odd.size:
        raise SchemaError(
            f"{where}: partition {k} holds a weight of {odd[0]:g}. Weights lie between {MIN_WEIGHT:g} and {MAX_WEIGHT:g}, or "
            f"are 0: only their ratios count, so scale or clip them."
        )
    return values


def check_in_network(raw: NDArray[np.float64], scaled: NDArray[np.float64], where: str, k: int) -> None:
    """Check that the network can compute with targets or offsets of a partition.

    Parameters
    ----------
    raw : (n,) float64
        The values in the unit of the table, for errors.
    scaled : (n,) float
        The values in the network's unit, at most MAX_IN_NETWORK in size.
    where : str
        What errors call their column.
    k : int
        Number of the partition.

    Raises
    ------
    SchemaError
        When it cannot.
    """
    beyond = np.flatnonzero(~(np.abs(scaled) <= MAX_IN_NETWORK))
    if beyond.size:
        raise SchemaError(
            f"{where}: partition {k} holds {raw[beyond[0]]:g}, too large for the network, which computes in float32. Scale or "
            f"clip it."
        )


def check_ratios(raw: NDArray[np.float64], ratios: NDArray[np.float64], where: str, k: int) -> None:
    """Check that float32 can tell the weights of a partition, relative to their mean in training.

    Parameters
    ----------
    raw : (n,) float64
        The weights, for errors.
    ratios : (n,) float64
        The weights divided by the mean, from MIN_RATIO to MAX_RATIO.
    where : str
        What errors call their column.
    k : int
        Number of the partition.

    Raises
    ------
    SchemaError
        When it cannot.
    """
    beyond = np.flatnonzero((ratios < MIN_RATIO) | (ratios > MAX_RATIO))
    if beyond.size:
        raise SchemaError(
            f"{where}: partition {k} holds a weight of {raw[beyond[0]]:g}, {ratios[beyond[0]]:g} times the mean weight of "
            f"training: too far from it. Clip it, make it 0 if the row shall not count, or give both tables one unit."
        )


def check_folds(column: pd.Series[Any], where: str, k: int) -> None:
    """Whether all rows of partition k that count have a fold. Raises SchemaError."""
    kind_of(column, where)
    if n_missing := int(is_missing(column).sum()):
        raise SchemaError(f"{where}: {n_missing:,} rows in partition {k} have none. Fill them, or drop those rows.")
    if (n_folds := column.nunique()) > MAX_FOLDS:
        raise SchemaError(f"{where}: partition {k} holds {n_folds:,} values; there may be {MAX_FOLDS:,} folds at most.")


def _target_numbers(column: pd.Series[Any], where: str, k: int) -> NDArray[np.float64]:
    if kind_of(column, where) == CATEGORY and len(column):  # Dask makes texts of what an empty partition holds
        raise SchemaError(f"{where} holds {column.dtype}, not numbers: use DeepLearningClassifier, or convert it.")
    values = as_numbers(column)
    if np.isinf(values).any():
        raise SchemaError(f"{where}: partition {k} holds infinite values. Make them missing or drop those rows.")
    return values


def check_labels(labels: Collection[Any], where: str, k: int) -> None:
    """Whether classes of partition k can be written to a file. Raises SchemaError."""
    check_unicode([label for label in labels if isinstance(label, str)], f"{where}: partition {k} holds the label")
