"""Scores and evaluations: a model's answers to a table beside the truth, read by the rules of training."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dask_dl.errors import ParameterError, SchemaError
from dask_dl.frame.affine import Affine
from dask_dl.frame.column_stats import added
from dask_dl.frame.interchange import as_table
from dask_dl.frame.prediction import map_partitions, reduce_partitions, slices_of
from dask_dl.frame.row_roles import RowRoles, counting_rows, where_of
from dask_dl.frame.row_stats import count_labels
from dask_dl.frame.source import OFFSET, TARGET, WEIGHT, labels_of, open_source
from dask_dl.frame.sparse import SparsePart
from dask_dl.frame.subset import Subset
from dask_dl.frame.view import View
from dask_dl.metrics.measurement import merged
from dask_dl.predict import check_n_features, check_offset, no_offset, respond
from dask_dl.truth import MeasuredTable, read_truth, warn_of_unseen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from dask_dl.frame.blocks import Blocks
    from dask_dl.frame.dtypes import Places
    from dask_dl.frame.encoder import Encoder
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Schema, Source
    from dask_dl.metrics.measurement import Measurement, MetricSettings
    from dask_dl.model import Model
    from dask_dl.predictor import Predictor
    from dask_dl.tasks.head import Head

LABEL = "the table to score"


class ScoredRows(NamedTuple):
    """Rows with a known truth and a positive weight, under the names of scikit-learn's metrics."""

    y_true: NDArray[Any]  #: index of the class, -1 for a label that the model has never seen; or a number
    y_pred: NDArray[Any]  #: the same of the prediction
    sample_weight: NDArray[np.float64] | None


def scored_rows(model: Model, X: Any, y: Any, weight: Any, offset: Any, called: str) -> ScoredRows:
    """Rows of a table that count in a score, from one pass over its partitions.

    Parameters
    ----------
    model : Model
    X : Dask or pandas DataFrame, Dask Array, sparse matrix or array-like
    y, weight, offset : str, int, aligned collection or None
        As in `fit`; a column that plays a part beside a predictor's is both.
    called : str
        Name of the estimator, for errors.

    Returns
    -------
    ScoredRows

    Raises
    ------
    ParameterError, SchemaError
        What `fit` would say of such values, and when no row has a known truth.
    """
    if y is None:
        raise ParameterError(f"{called}.score requires y, but it is None: give the name of a column, or its values.")
    source, names = opened(model, X, y, weight, offset, called)
    read = functools.partial(_of_partition, schema=source.schema, names=names)
    rows, labels = zip(*map_partitions(read, source, model.predictor), strict=True)
    y_true, y_pred = (np.concatenate(parts) for parts in zip(*(r[:2] for r in rows), strict=True))
    where = where_of(source.schema, TARGET)
    _check_labels(functools.reduce(added, labels), model.head, where)
    if not len(y_true):
        needs = " and a weight above zero" if WEIGHT in source.roles else ""
        raise SchemaError(f"{where}: no row has a known value{needs}, so there is nothing to score.")
    weights = np.concatenate([r.sample_weight for r in rows]) if WEIGHT in source.roles else None
    return ScoredRows(y_true, y_pred, weights)


def measure_table(model: Model, X: Any, y: Any, weight: Any, offset: Any, custom: Any, called: str) -> MeasuredTable:
    """Measure a model on a table in one pass: on Dask where the rows lie, and merged there.

    Parameters
    ----------
    model : Model
    X : Dask or pandas DataFrame, Dask Array, sparse matrix or array-like
    y, weight, offset : str, int, aligned collection or None
        As in `fit`; y None: the column of that name in training. An autoencoder has none.
    custom : scorer, str, CustomMetric or None
        The user's own metric; None: that of the training.
    called : str
        Name of the estimator, for errors.

    Returns
    -------
    MeasuredTable

    Raises
    ------
    ParameterError, SchemaError
        What `fit` would say of such values, and when no row has a known truth.
    """
    y = None if model.head.of_inputs else model.record.target_name if y is None else y
    if y is None and not model.head.of_inputs:
        raise ParameterError(f"{called}.evaluate requires y, but it is None: give the name of a column, or its values.")
    source, names = opened(model, X, y, weight, offset, called)
    settings = model.record.metric_settings(model.head, custom)
    measure = functools.partial(_measure_partition, schema=source.schema, names=names, settings=settings)
    found: MeasuredTable = reduce_partitions(measure, MeasuredTable.merge, source, model.predictor)
    where = where_of(source.schema, TARGET)
    found.warn_of_unseen(where)
    if found.measured is None:
        if model.head.of_inputs:
            raise SchemaError(f"{source.label} has no row with a weight above zero, so there is nothing to score.")
        needs = " and a weight above zero" if WEIGHT in source.roles else ""
        raise SchemaError(f"{where}: no row has a known value{needs}, so there is nothing to score.")
    return found


def measure_encoded(
    model: Model,
    source: Source,
    found: Scan,
    encoder: Encoder,
    head: Head,
    over: Callable[[Callable[[Blocks], Measurement | None]], list[Measurement | None]],
    custom: Any,
    n_threads: Callable[[], int],
) -> Measurement | None:
    """Measure a model on encoded rows in one pass, where they lie.

    Parameters
    ----------
    model : Model
    source : Source
        The table.
    found : Scan
        Result of its scan.
    encoder, head : Encoder and Head
        Those by which its rows were encoded.
    over : callable
        Calls a function of blocks of the table wherever they are; returns the results.
    custom : scorer, str, CustomMetric or None
        The user's own metric; None: that of the training.
    n_threads : callable
        Returns the number of threads that may be used where it is called.

    Returns
    -------
    Measurement or None
        None: no row counts.

    Raises
    ------
    ParameterError, SchemaError
        As `view_of_model`.
    """
    settings = model.record.metric_settings(model.head, custom)
    view = view_of_model(model, source, found, encoder, head)
    measure = functools.partial(
        _measure_blocks, predictor=model.predictor, view=view, settings=settings, n_threads=n_threads
    )
    return merged(over(measure))


def view_of_model(model: Model, source: Source, found: Scan, encoder: Encoder, head: Head) -> View:
    """View of an encoded training table in the units of a model, as that of a fold of it.

    Parameters
    ----------
    model : Model
    source : Source
        The table.
    found : Scan
        Result of its scan.
    encoder, head : Encoder and Head
        Those by which its rows were encoded.

    Returns
    -------
    View

    Raises
    ------
    ParameterError
        When the model takes other inputs, targets or offsets.
    SchemaError
        When the distribution of the model does not allow the targets.
    """
    own, wrong = model.head, []
    try:
        numbers = None if own.numbers is None or head.numbers is None else (head.numbers, own.numbers)
        mean_weight = found.mean_weight if WEIGHT in source.roles else 1.0
        inputs = Affine.between(encoder, model.encoder, numbers, (mean_weight, 1.0))
    except ValueError:
        inputs, wrong = None, ["other columns or levels"]
    fills = zip(encoder.numbers, model.encoder.numbers, strict=False)  # where a missing value was put, it stays
    wrong += ["other means in place of missing values"] if any(a.fill != b.fill for a, b in fills) and not wrong else []
    if (model.task, own.classes) != (head.task, head.classes):
        wrong.append("another target")
    if (model.record.offset_name is None) != (OFFSET not in source.roles):
        wrong.append("offsets" if model.record.offset_name is None else "no offsets")
    if wrong:
        raise ParameterError(
            f"the Dataset was encoded with {' and '.join(wrong)}, unlike the rows of the model: pass the table itself to "
            f"evaluate, which encodes it as the model does."
        )
    distribution = model.record.metric_settings(own).distribution
    if why := distribution.forbids(found.row_stats.min_target, found.target.mean):
        raise SchemaError(f"the target of {source.label} {why}")
    return View("training", inputs=inputs)


def _measure_blocks(
    store: Blocks, predictor: Predictor, view: View, settings: MetricSettings, n_threads: Callable[[], int]
) -> Measurement | None:
    """Measurement of the rows of a view in some blocks of its table, in the units of the predictor."""
    n, threads = predictor.rows_per_chunk(), n_threads()
    return merged(
        predictor.measure(rows if rows.n <= n else rows.cut(lo, lo + n), settings, threads)
        for rows in Subset(store, view, starts=store.starts).slices(n)
        for lo in range(0, rows.n, n)
    )


def _measure_partition(
    part: Any,
    k: int,
    predictor: Predictor,
    *,
    schema: Schema,
    names: Sequence[str] | None,
    settings: MetricSettings,
) -> MeasuredTable:
    """Measurement of partition k, a chunk of rows at a time."""
    read = read_truth(part, k, predictor.head, schema, settings)
    rows = rows_of(part, read.roles.places)
    rows = rows if names is None else renamed(rows, schema.predictors, names)
    chunks = slices_of(rows, read.roles.offsets, predictor.rows_per_chunk())
    if predictor.head.of_inputs:
        return read.measure_inputs((predictor.compared(chunk, LABEL) for chunk, _ in chunks), predictor.head, settings)
    return read.measure((predictor.answers(chunk, shifts, LABEL) for chunk, shifts in chunks), predictor.head, settings)


def measure_answers(
    part: pd.DataFrame, answers: NDArray[Any], k: int, head: Head, schema: Schema, settings: MetricSettings
) -> MeasuredTable:
    """Measure answers that are at hand, as `measure_table` does those that it computes.

    Parameters
    ----------
    part : pandas.DataFrame
        Partition k, of n rows: the columns of the roles of `schema`.
    answers : ndarray of n rows
        As `Predictor.answers` returns them.
    k : int
        Number of the partition.
    head : Head
    schema : Schema
    settings : MetricSettings

    Returns
    -------
    MeasuredTable

    Raises
    ------
    SchemaError
        Targets or weights that no validation table may hold.
    """
    read = read_truth(part, k, head, schema, settings)
    counted = answers if read.roles.places is None else answers[read.roles.places]
    return read.measure([counted], head, settings)


def opened(
    model: Model,
    X: Any,
    y: Any,
    weight: Any,
    offset: Any,
    called: str,
    beside: Sequence[str] = (),
    *,
    label: str = LABEL,
) -> tuple[Source, Sequence[str] | None]:
    """Table with its roles, and the names that its predictors had in training.

    Parameters
    ----------
    model : Model
    X : Dask or pandas DataFrame, Dask Array, sparse matrix or array-like
    y, weight, offset : str, int, aligned collection or None
        As in `fit`; a column that plays a part beside a predictor's is both.
    called : str
        Name of the estimator, for errors.
    beside : sequence of str
        Columns that partitions hold, too, where the predictors are known by name.
    label : str, default "the table to score"
        Name of the table, for errors.

    Returns
    -------
    source : Source
    names : sequence of str or None
        None where the predictors have them.

    Raises
    ------
    ParameterError, SchemaError
        When the table does not fit the model.
    """
    X = as_table(X, label)
    labels = labels_of(X, label)
    is_named = model.record.is_named and hasattr(X, "columns")
    if is_named:
        model.missing_columns(list(labels.values()), label)
    check_offset(model, offset)
    if model.record.offset_name is not None and offset is None:
        offset = model.record.offset_name
        if not offset or offset not in labels.values():
            raise no_offset(offset, [])
    keep = (*model.encoder.columns, *beside) if is_named else None
    source = open_source(X, y, weight, offset, label=label, keep=keep)
    if is_named and source.roles.get(OFFSET) in model.record.feature_names:
        raise no_offset(source.roles[OFFSET], model.record.feature_names)
    if not is_named:
        check_n_features(model, len(source.predictors), called)
    return source, None if is_named else model.record.feature_names


def _of_partition(
    part: Any, k: int, predictor: Predictor, *, schema: Schema, names: Sequence[str] | None
) -> tuple[ScoredRows, Mapping[Any, int]]:
    """The rows of partition k that count, and how many of them have each label."""
    roles = RowRoles.of(part, schema, k, counting_rows(part, schema, k), predictor.head.target_kind)
    rows = rows_of(part, roles.places)
    rows = rows if names is None else renamed(rows, schema.predictors, names)
    head = predictor.head
    answers = respond(
        rows, predictor, roles.offsets, answer=lambda _, __, answers: head.scored_as(answers), label=LABEL
    )
    labels = {} if roles.labels is None else count_labels(roles.labels)
    return ScoredRows(head.scored_truth(roles), answers, roles.weights), labels


def rows_of(part: Any, places: Places) -> Any:
    """Rows of a partition at some places; None: all."""
    if places is None:
        return part
    return part.take(places) if isinstance(part, SparsePart) else part.iloc[places]


def renamed(part: Any, predictors: Sequence[str], names: Sequence[str]) -> Any:
    """Predictors by their order, under the names of training."""
    if isinstance(part, SparsePart):
        return SparsePart(part.matrix, tuple(names), part.frame)
    return part[list(predictors)].set_axis(list(names), axis=1)


def _check_labels(found: Mapping[Any, int], head: Head, where: str) -> None:
    """Labels must be of the type of the classes (SchemaError); those that the model has never seen are warned of."""
    warn_of_unseen(head.check_scored(found, where), sum(found.values()), where, "they count as wrong")
