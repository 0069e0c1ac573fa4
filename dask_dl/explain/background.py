"""Background rows, beside which the answers to others are explained: a table, or a random sample of it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dask_dl.errors import ParameterError, SchemaError
from dask_dl.evaluation import opened, renamed, rows_of
from dask_dl.frame.prediction import reduce_partitions
from dask_dl.frame.source import OFFSET
from dask_dl.state import Rows, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dask_dl.explain.inputs import Apart
    from dask_dl.frame.source import Schema
    from dask_dl.model import Model

LABEL = "the background"


class SampledRows(NamedTuple):
    """Random rows of a table, encoded: those with the least keys, each row having one."""

    rows: Rows
    keys: NDArray[np.float64]  #: random numbers, uniform from 0 to 1
    n_rows: int  #: of the table

    def merge(self, other: SampledRows, *, n: int | None) -> SampledRows:
        """Sample of n rows at most of both parts of a table."""
        keys = np.concatenate([self.keys, other.keys])
        places = _least(keys, n)
        return SampledRows(joined([self.rows, other.rows]).take(places), keys[places], self.n_rows + other.n_rows)


def background_rows(model: Model, table: Any, offset: Any, n: int | None, encoding: Apart, called: str) -> Rows:
    """Encoded rows of a table, or n random ones where it has more: the same ones every time, in one pass.

    Parameters
    ----------
    model : Model
    table : Dask or pandas DataFrame, Dask Array, sparse matrix or array-like
    offset : str, int, aligned collection or None
        As in a prediction.
    n : int or None
        Rows of the sample, at most; None: all rows.
    encoding : Apart
        Encodes partitions.
    called : str
        Name of the estimator, for errors.

    Returns
    -------
    Rows

    Raises
    ------
    ParameterError, SchemaError
        When the table does not fit the model or has no rows, or `n` is no number of rows.
    """
    is_number = isinstance(n, (int, np.integer)) and not isinstance(n, bool)
    if n is not None and not (is_number and n > 0):
        raise ParameterError(f"n_background={n!r}: give a number of rows, 1 or more, or None for all of them.")
    source, names = opened(model, table, None, None, offset, called, label=LABEL)
    take = functools.partial(_sample_partition, schema=source.schema, names=names, n=n)
    found: SampledRows = reduce_partitions(take, functools.partial(SampledRows.merge, n=n), source, encoding)
    if not found.n_rows:
        raise SchemaError(f"{LABEL} has no rows. Give some that answers are to be compared with.")
    return found.rows.compact()


def _sample_partition(
    part: Any, k: int, encoding: Apart, *, schema: Schema, names: Sequence[str] | None, n: int | None
) -> SampledRows:
    """Random rows of partition k, n of them at most."""
    keys = np.random.default_rng((0, k)).random(len(part))
    places = _least(keys, n)
    rows = rows_of(part, places)
    offset = rows[schema.roles[OFFSET]] if OFFSET in schema.roles else None
    rows = rows if names is None else renamed(rows, schema.predictors, names)
    return SampledRows(encoding.encoded(rows, offset, LABEL), keys[places], len(part))


def _least(keys: NDArray[np.float64], n: int | None) -> NDArray[np.intp]:
    """Places of the n least keys, in their order in the table."""
    return np.arange(len(keys)) if n is None or len(keys) <= n else np.sort(np.argpartition(keys, n)[:n])
