"""Answers of a model to random rows of a table of any kind and size, in one pass over its partitions."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dask_dl.errors import SchemaError
from dask_dl.evaluation import LABEL, opened, renamed, rows_of
from dask_dl.frame.prediction import reduce_partitions
from dask_dl.frame.source import OFFSET, TARGET
from dask_dl.predict import respond

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.source import Schema
    from dask_dl.model import Model
    from dask_dl.predictor import Predictor


class SampledAnswers(NamedTuple):
    """Answers to random rows of a table: those with the least keys, each row having one."""

    answers: NDArray[Any]  #: a row of the table each
    column: pd.Series[Any] | None  #: what stands beside them
    keys: NDArray[np.float64]  #: random numbers, uniform from 0 to 1
    n_rows: int  #: of the table

    def merge(self, other: SampledAnswers, *, n: int) -> SampledAnswers:
        """Sample of n rows at most of both parts of a table."""
        keys = np.concatenate([self.keys, other.keys])
        answers = np.concatenate([self.answers, other.answers])
        places, column = _least(keys, n), self.column
        if column is not None and other.column is not None:
            there = [part for part in (column, other.column) if len(part)]  # no rows have no dtype
            column = pd.concat(there or [column]).iloc[places]
        return SampledAnswers(answers[places], column, keys[places], self.n_rows + other.n_rows)

    @property
    def title(self) -> str:
        """Words for a picture; none where it shows all rows."""
        n = len(self.keys)
        return "" if n == self.n_rows else f"a sample of {n:,} of {self.n_rows:,} rows"


def sample_answers(
    model: Model,
    X: Any,
    column: Any,
    predictor: Predictor,
    answer: Callable[..., NDArray[Any]],
    n: int,
    called: str,
    *,
    offset: Any = None,
) -> SampledAnswers:
    """Answers to n random rows of a table, in one pass: on Dask where the rows lie, and merged there.

    Parameters
    ----------
    model : Model
    X : Dask or pandas DataFrame, Dask Array, sparse matrix or array-like
    column : str, int, aligned collection or None
        What to take along: a column of `X`, learned or not, or values beside it.
    predictor : Predictor
        Answers to rows.
    answer : callable
        Makes an array of `Predictor.answers`, as in `predict_rows`.
    n : int
        Rows of the sample, at most.
    called : str
        Name of the estimator, for errors.
    offset : str, int, aligned collection or None
        As in a prediction.

    Returns
    -------
    SampledAnswers

    Raises
    ------
    ParameterError, SchemaError
        When the table or the column does not fit, or there are no rows.
    """
    source, names = opened(model, X, column, None, offset, called)
    take = functools.partial(_sample_partition, schema=source.schema, names=names, answer=answer, n=n)
    found: SampledAnswers = reduce_partitions(take, functools.partial(SampledAnswers.merge, n=n), source, predictor)
    if not found.n_rows:
        raise SchemaError(f"{source.label} has no rows, so there is nothing to draw.")
    return found


def _sample_partition(
    part: Any,
    k: int,
    predictor: Predictor,
    *,
    schema: Schema,
    names: Sequence[str] | None,
    answer: Callable[..., NDArray[Any]],
    n: int,
) -> SampledAnswers:
    """Answers to n random rows of partition k, or to all where they are fewer."""
    keys = np.random.default_rng((0, k)).random(len(part))
    places = _least(keys, n)
    rows = rows_of(part, places)
    column = rows[schema.roles[TARGET]] if TARGET in schema.roles else None
    offset = rows[schema.roles[OFFSET]] if OFFSET in schema.roles else None
    rows = rows if names is None else renamed(rows, schema.predictors, names)
    answers = respond(rows, predictor, offset, answer=lambda whole, _, answers: answer(whole, answers), label=LABEL)
    return SampledAnswers(answers, column, keys[places], len(part))


def _least(keys: NDArray[np.float64], n: int) -> NDArray[np.intp]:
    """Places of the n least keys, in their order in the table."""
    return np.arange(len(keys)) if len(keys) <= n else np.sort(np.argpartition(keys, n)[:n])
