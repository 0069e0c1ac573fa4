"""Residuals of random rows of a table of any kind and size, beside columns of it, in one pass over its partitions."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dask_dl.errors import ParameterError, SchemaError
from dask_dl.evaluation import LABEL, opened, renamed, rows_of
from dask_dl.explain.grid import column_of, least
from dask_dl.frame.interchange import as_table
from dask_dl.frame.prediction import reduce_partitions
from dask_dl.frame.row_roles import RowRoles, counting_rows, where_of
from dask_dl.frame.source import TARGET, is_column, labels_of, named
from dask_dl.predict import respond

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.source import Schema
    from dask_dl.model import Model
    from dask_dl.predictor import Predictor

#: Columns of a sample that are not the table's.
FIGURES = ("actual", "predicted", "residual", "weight")


class SampledResiduals(NamedTuple):
    """Residuals of random rows that count: those with the least keys, each row having one."""

    rows: pd.DataFrame  #: FIGURES, then columns of the table
    keys: NDArray[np.float64]  #: random numbers, uniform from 0 to 1
    n_rows: int  #: of the table, that count

    def merge(self, other: SampledResiduals, *, n: int) -> SampledResiduals:
        """Sample of n rows at most of both parts of a table."""
        keys = np.concatenate([self.keys, other.keys])
        there = [part.rows for part in (self, other) if len(part.keys)] or [self.rows]  # no rows have no dtypes
        places = least(keys, n)
        return SampledResiduals(pd.concat(there).iloc[places], keys[places], self.n_rows + other.n_rows)

    @property
    def title(self) -> str:
        """Words for a picture; none where it shows all rows."""
        n = len(self.keys)
        return "" if n == self.n_rows else f"a sample of {n:,} of {self.n_rows:,} rows"


def sample_residuals(
    model: Model,
    X: Any,
    y: Any,
    columns: Sequence[Any],
    weight: Any,
    offset: Any,
    n: Any,
    called: str,
    threads: Callable[[], int],
) -> SampledResiduals:
    """Residuals of n random rows of a table, in one pass: on Dask where the rows lie, and merged there.

    Parameters
    ----------
    model : Model
        Of numbers.
    X : Dask or pandas DataFrame, Dask Array, sparse matrix or array-like
    y, weight, offset : str, int, aligned collection or None
        As in `fit`; y None: the column of that name in training.
    columns : sequence of (str or int)
        Columns of `X` to put beside the residuals, learned or not.
    n : int
        Rows of the sample, at most.
    called : str
        Name of the estimator, for errors.
    threads : callable
        Threads for a table in this process.

    Returns
    -------
    SampledResiduals

    Raises
    ------
    ParameterError, SchemaError
        When the table, the target or a column does not fit, or no row has a known target.
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ParameterError(f"n={n!r}: give the number of rows, 1 or more.")
    n = int(n)
    y = model.record.target_name if y is None else y
    if y is None:
        raise ParameterError(f"{called} requires y, but it is None: give the name of a column, or its values.")
    X = as_table(X, LABEL)
    labels = labels_of(X, LABEL)
    if odd := [column for column in columns if not is_column(column, labels)]:
        raise ParameterError(f"columns: give names or positions of columns, and not {odd[0]!r:.60}.")
    beside = [named(column, labels, "columns", LABEL) for column in columns]
    if taken := [name for name in beside if name in FIGURES]:
        raise ParameterError(f"columns: {taken[0]!r} is the name of a figure beside them. Rename that column first.")
    source, names = opened(model, X, y, weight, offset, called, beside)
    take = functools.partial(
        _of_partition,
        schema=source.schema,
        names=names,
        beside=beside,
        n=n,
        threads=threads if source.lazy is None else None,
    )
    merge = functools.partial(SampledResiduals.merge, n=n)
    found: SampledResiduals = reduce_partitions(take, merge, source, model.predictor)
    if not found.n_rows:
        needs = " and a weight above zero" if weight is not None else ""
        raise SchemaError(f"{where_of(source.schema, TARGET)}: no row has a known value{needs}.")
    return found


def _of_partition(
    part: Any,
    k: int,
    predictor: Predictor,
    *,
    schema: Schema,
    names: Sequence[str] | None,
    beside: Sequence[str],
    n: int,
    threads: Callable[[], int] | None,
) -> SampledResiduals:
    """Residuals of n random rows of partition k that count, or of all where they are fewer."""
    head = predictor.head
    roles = RowRoles.of(part, schema, k, counting_rows(part, schema, k), head.target_kind)
    keys = np.random.default_rng((0, k)).random(roles.n)
    places = least(keys, n)
    rows = rows_of(rows_of(part, roles.places), places)
    values = {name: column_of(rows, name).array for name in beside}
    index = rows.index
    rows = rows if names is None else renamed(rows, schema.predictors, names)
    offsets = None if roles.offsets is None else roles.offsets[places]
    predicted = respond(rows, predictor, offsets, answer=lambda _, __, answers: answers, label=LABEL, threads=threads)
    actual = head.scored_truth(roles)[places]
    weights = {} if roles.weights is None else {"weight": roles.weights[places]}
    figures = {"actual": actual, "predicted": predicted, "residual": actual - predicted}
    return SampledResiduals(pd.DataFrame(figures | weights | values, index=index), keys[places], roles.n)
