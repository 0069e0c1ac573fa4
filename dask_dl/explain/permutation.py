"""Permutation importance: how much worse a metric gets when a column's values are those of other rows.

Rows are encoded once; for each column and repetition its inputs are overwritten by those of other rows, and the answers are
measured. Measurements merge, so that a table of any size takes the memory of some slices
(algorithm.md#permutation-importance).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dask_dl.errors import ParameterError, SchemaError
from dask_dl.evaluation import opened, renamed, rows_of, view_of_model
from dask_dl.explain.choices import groups_of, metric_of
from dask_dl.explain.column_inputs import ColumnInputs
from dask_dl.explain.donors import Donors, donors_of, donors_of_blocks
from dask_dl.explain.responses import encoded
from dask_dl.frame.prediction import ROWS_PER_SLICE, reduce_partitions, slices_of
from dask_dl.frame.row_roles import where_of
from dask_dl.frame.source import TARGET, WEIGHT
from dask_dl.frame.subset import Subset
from dask_dl.metrics.measurement import Measurement, MetricSettings
from dask_dl.metrics.table import METRICS
from dask_dl.node.replica import predict
from dask_dl.node.threads import map_threads
from dask_dl.truth import read_truth
from dask_dl.wording import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.blocks import Blocks
    from dask_dl.frame.encoder import Encoder
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Schema, Source
    from dask_dl.frame.view import View
    from dask_dl.model import Model
    from dask_dl.predictor import Predictor
    from dask_dl.state import Rows
    from dask_dl.tasks.head import Head
    from dask_dl.truth import TableTruth

#: Memory of the measurements that one pass over the table makes, and of one of them: with curves, and without.
MAX_BYTES, CURVE_BYTES, MEAN_BYTES = 2**28, 2**22, 2**12

#: One measurement of the rows as they are, and one for each column and repetition of a pass.
Measured = tuple[Measurement | None, ...]


class Request(NamedTuple):
    """Columns, metric and repetitions that are asked for, after they were checked against the model."""

    groups: Mapping[str, tuple[str, ...]]  #: columns that are permuted together, by the name of their row in the result
    n_repeats: int
    metric: str
    settings: MetricSettings
    seed: int

    @classmethod
    def of(cls, model: Model, columns: Any, metric: Any, n_repeats: Any, seed: int) -> Request:
        """Request for columns of a model.

        Parameters
        ----------
        model : Model
        columns : None, sequence of (str or int), or mapping of str to these
            None: all columns; a mapping: columns that are permuted together.
        metric : None, str, scorer or CustomMetric
            None: the loss of the task.
        n_repeats : int
        seed : int

        Returns
        -------
        Request

        Raises
        ------
        ParameterError
            When there is no such column or metric, or a number is none.
        """
        if isinstance(n_repeats, bool) or not isinstance(n_repeats, (int, np.integer)) or n_repeats < 1:
            raise ParameterError(f"n_repeats={n_repeats!r}: give the number of permutations of each column, 1 or more.")
        found, settings = metric_of(model, metric)
        return cls(groups_of(model, columns), int(n_repeats), found, settings, seed)

    @property
    def variants(self) -> list[tuple[int, int]]:
        """(number of the group, repetition) of every measurement."""
        return [(g, r) for g in range(len(self.groups)) for r in range(self.n_repeats)]

    @property
    def n_at_once(self) -> int:
        """Variants that one pass measures."""
        needs = METRICS[self.metric].needs
        size = MEAN_BYTES if set(needs) <= {"means", "spread", "errors"} else CURVE_BYTES
        return max(1, MAX_BYTES // size)

    def slim(self, measured: Measurement | None) -> Measurement | None:
        """Keep what the metric needs."""
        if measured is None:
            return None
        kept = {"means", "spread", *(part for need in METRICS[self.metric].needs for part in need.split("|"))}
        kept |= {"huber"} if self.metric == "deviance" else set()
        return Measurement._make(part if name in kept else None for name, part in measured._asdict().items())

    def frame(self, base: Measurement, changed: Sequence[Measurement]) -> pd.DataFrame:
        """Importances, the largest first."""
        value, worse = base.metric(self.metric), -1.0 if METRICS[self.metric].greater_is_better else 1.0
        values = np.array([found.metric(self.metric) for found in changed]).reshape(len(self.groups), self.n_repeats)
        drops = worse * (values - value)
        table = pd.DataFrame(
            {"importance": drops.mean(axis=1), "deviation": drops.std(axis=1)},
            index=pd.Index(list(self.groups), name="column"),
        )
        repeats = {f"repeat {k + 1}": drops[:, k] for k in range(self.n_repeats)}
        table = table.assign(**repeats).sort_values("importance", ascending=False, kind="stable")
        table.attrs = {"metric": self.metric.removesuffix("_increasing"), "value": value}
        return table


class Plan(NamedTuple):
    """One pass over a table. It travels to the workers."""

    request: Request
    donors: Donors
    variants: tuple[tuple[int, int], ...]

    def variant_rows(
        self, rows: Rows, part: Any, predictor: Predictor, g: int, which: NDArray[np.integer], label: str
    ) -> Rows:
        """Encoded rows with the columns of a group of other rows.

        Parameters
        ----------
        rows : Rows
            n rows.
        part : pandas.DataFrame, or whatever they were encoded from
            Needed where levels are hashed.
        predictor : Predictor
        g : int
            Number of the group.
        which : (n,) int
            Numbers of the donors.
        label : str
            Name of the table, for errors.

        Returns
        -------
        Rows
        """
        names, raw = tuple(self.request.groups.values())[g], self.donors.raw
        hashed = [name for name in names if raw is not None and name in raw]
        if hashed:  # encoded again: what such a level feeds, others do, too
            assert raw is not None
            changed = part.assign(**{name: raw[name].array[which] for name in hashed})
            rows = encoded(changed, None, predictor.encoder, label)._replace(offset=rows.offset)
        for name in names:
            if name not in hashed:
                rows = ColumnInputs(predictor.encoder, name).copied(rows, self.donors.rows, which)
        return rows

    def which(self, g: int, r: int, k: int, lo: int, n: int) -> NDArray[np.int64]:
        """Draw donors of some rows of a partition.

        Parameters
        ----------
        g, r : int
            Number of the group, and of the repetition.
        k : int
            Number of the partition.
        lo : int
            Number of the first row within it.
        n : int
            Number of rows.

        Returns
        -------
        (n,) int64
            Numbers of donors.
        """
        n_donors = self.donors.rows.n
        if self.donors.n_rows == n_donors:
            first = sum(self.donors.counts[:k]) + lo
            order: NDArray[np.int64] = np.random.default_rng((self.request.seed, g, r)).permutation(n_donors)
            return order[first : first + n]
        return np.random.default_rng((self.request.seed, g, r, k, lo)).integers(n_donors, size=n)


def over_table(
    model: Model, request: Request, X: Any, y: Any, weight: Any, offset: Any, called: str, threads: Callable[[], int]
) -> pd.DataFrame:
    """Permutation importance over a table.

    Parameters
    ----------
    model : Model
    request : Request
    X : Dask or pandas DataFrame, Dask Array, sparse matrix or array-like
    y, weight, offset : str, int, aligned collection or None
        As in `fit`; y None: the column of that name in training.
    called : str
        Name of the estimator, for errors.
    threads : callable
        Threads for a table in this process.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    ParameterError, SchemaError
        When the table does not fit the model, or no row has a known target.
    """
    y = model.record.target_name if y is None else y
    if y is None:
        raise ParameterError(
            f"{called}.permutation_importance requires y, but it is None: give the name of a column, or its values."
        )
    source, names = opened(model, X, y, weight, offset, called)
    hashed = tuple(c.name for c in model.encoder.categories) if model.encoder.hashing else ()
    take = functools.partial(
        donors_of, schema=source.schema, names=names, hashed=hashed, seed=request.seed, head=model.head
    )
    donors: Donors = reduce_partitions(take, Donors.merge, source, model.predictor)
    if not donors.n_rows:
        raise SchemaError(
            f"{where_of(source.schema, TARGET)}: no row has a known value, so there is nothing to measure."
        )
    measure = functools.partial(
        _measure_partition, schema=source.schema, names=names, threads=threads if source.lazy is None else _one
    )

    def one_pass(plan: Plan) -> Measured:
        return reduce_partitions(measure, _merge, source, (model.predictor, plan))

    base, changed = _all_passes(request, donors, one_pass)
    if base is None:
        needs = " and a weight above zero" if WEIGHT in source.roles else ""
        raise SchemaError(f"{where_of(source.schema, TARGET)}: no row has a known value{needs}.")
    return request.frame(base, changed)


def over_encoded(
    model: Model,
    request: Request,
    source: Source,
    found: Scan,
    encoder: Encoder,
    head: Head,
    over: Callable[[Callable[[Blocks], Any]], list[Any]],
    n_threads: Callable[[], int],
) -> pd.DataFrame:
    """Permutation importance over encoded rows, where they lie.

    Parameters
    ----------
    model : Model
    request : Request
    source : Source
        The table.
    found : Scan
        Result of its scan.
    encoder, head : Encoder and Head
        Those by which its rows were encoded.
    over : callable
        Calls a function of blocks of the table wherever they are; returns the results.
    n_threads : callable
        Returns the number of threads that may be used where it is called.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    ParameterError, SchemaError
        As `evaluation.view_of_model`; when levels are hashed, or no row counts.
    """
    view = view_of_model(model, source, found, encoder, head)
    asked = {name for group in request.groups.values() for name in group}
    hashed = [c.name for c in encoder.categories if c.name in asked] if encoder.hashing else []
    if hashed:
        raise ParameterError(
            f"levels of {listed(hashed)} are hashed, so that rows of a Dataset do not tell them apart: pass the table itself."
        )
    parts = [part for part in over(functools.partial(donors_of_blocks, view=view, seed=request.seed)) if part]
    if not parts:
        raise SchemaError(f"{source.label} has no row that counts.")
    donors = functools.reduce(Donors.merge, parts)
    donors = donors._replace(counts=(*donors.counts, 1))  # blocks have no order here: donors are drawn, never permuted

    def one_pass(plan: Plan) -> Measured:
        measure = functools.partial(
            _measure_blocks, predictor=model.predictor, plan=plan, view=view, n_threads=n_threads
        )
        return functools.reduce(_merge, over(measure))

    base, changed = _all_passes(request, donors, one_pass)
    assert base is not None
    return request.frame(base, changed)


def _all_passes(
    request: Request, donors: Donors, one_pass: Callable[[Plan], Measured]
) -> tuple[Measurement | None, list[Any]]:
    """Measurement of the rows as they are, and of every variant."""
    variants, n, found = request.variants, request.n_at_once, []
    base: Measurement | None = None
    for lo in range(0, len(variants), n):
        base, *changed = one_pass(Plan(request, donors, tuple(variants[lo : lo + n])))
        found += changed
    return base, found


def _merge(a: Measured, b: Measured) -> Measured:
    return tuple(y if x is None else x if y is None else x.merge(y) for x, y in zip(a, b, strict=True))


def _one() -> int:
    return 1


def _measure_partition(
    part: Any,
    k: int,
    shared: tuple[Predictor, Plan],
    *,
    schema: Schema,
    names: Sequence[str] | None,
    threads: Callable[[], int],
) -> Measured:
    """Measurements of partition k."""
    predictor, plan = shared
    head, settings = predictor.head, plan.request.settings
    truth: TableTruth = read_truth(part, k, head, schema, settings)
    counts = rows_of(part, truth.roles.places)
    counts = counts if names is None else renamed(counts, schema.predictors, names)

    def measured(item: tuple[int, Any, Any], control: NDArray[np.int64] | None = None) -> Measured:
        lo, some, shifts = item
        shifts = None if shifts is None else head.offsets(shifts)
        rows = encoded(some, shifts, predictor.encoder, schema.label)

        def of(changed: Rows) -> Measurement | None:
            answers = head.answers(predict(predictor.topology, predictor.flat, changed, control=control))
            return plan.request.slim(truth.measure_chunk(lo, answers, head, settings))

        def variant(g: int, r: int) -> Measurement | None:
            which = plan.which(g, r, k, lo, rows.n)
            return of(plan.variant_rows(rows, some, predictor, g, which, schema.label))

        return (of(rows), *(variant(g, r) for g, r in plan.variants))

    n_threads = threads()
    slices = _numbered(slices_of(counts, truth.roles.offsets, predictor.rows_per_chunk(n_threads)))
    parts = [*map(measured, slices)] if n_threads == 1 else map_threads(n_threads, measured, slices)
    return functools.reduce(_merge, parts)


def _numbered(slices: Iterable[tuple[Any, Any]]) -> Iterable[tuple[int, Any, Any]]:
    """Slices with the place of their first row."""
    lo = 0
    for rows, shifts in slices:
        yield lo, rows, shifts
        lo += len(rows)


def _measure_blocks(
    store: Blocks, *, predictor: Predictor, plan: Plan, view: View, n_threads: Callable[[], int]
) -> Measured:
    """Measurements of the rows of a view in some blocks of its table."""
    threads = n_threads()
    size = min(predictor.rows_per_chunk(threads), ROWS_PER_SLICE)
    found: Measured = (None,) * (1 + len(plan.variants))

    def measured(item: tuple[int, int, Rows], _: NDArray[np.int64] | None = None) -> Measured:
        k, lo, rows = item

        def of(changed: Rows) -> Measurement | None:
            return plan.request.slim(predictor.measure(changed, plan.request.settings))

        def variant(g: int, r: int) -> Measurement | None:
            which = plan.which(g, r, k, lo, rows.n)
            return of(plan.variant_rows(rows, None, predictor, g, which, ""))

        return (of(rows), *(variant(g, r) for g, r in plan.variants))

    for k in store.numbers:
        items, first = [], 0
        for rows in Subset(store, view, [k], store.starts).slices(size * threads):
            items = [(k, first + lo, rows.cut(lo, min(lo + size, rows.n))) for lo in range(0, rows.n, size)]
            first += rows.n
            parts = [*map(measured, items)] if threads == 1 else map_threads(threads, measured, items)
            found = functools.reduce(_merge, parts, found)
    return found
