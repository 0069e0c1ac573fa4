"""Answers to rows whose columns are overwritten, at many points, in one pass over a table.

Rows are encoded once. For each point the inputs of its columns are overwritten, and the network runs. What the rows answer
are moments that merge, so that tables of any size take the memory of some slices (algorithm.md#partial-dependence).
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dask_dl.errors import ParameterError
from dask_dl.evaluation import renamed, rows_of
from dask_dl.explain.column_inputs import ColumnInputs
from dask_dl.explain.grid import GIVEN, least
from dask_dl.frame.column_stats import Moments
from dask_dl.frame.prediction import ROWS_PER_SLICE, n_slices, slices_of
from dask_dl.frame.row_roles import RowRoles, counting_rows
from dask_dl.frame.subset import Subset
from dask_dl.node.replica import predict
from dask_dl.node.threads import map_threads
from dask_dl.state import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from dask_dl.explain.grid import Axis
    from dask_dl.frame.blocks import Blocks
    from dask_dl.frame.encoder import Encoder
    from dask_dl.frame.source import Schema
    from dask_dl.frame.view import View
    from dask_dl.predictor import Predictor

#: Numbers of all results together: points times outputs, for the moments and for each curve. Each part of a table has them.
MAX_NUMBERS = 2**22
NOTHING = np.zeros(0, np.float32)


class Plan(NamedTuple):
    """Everything that is asked of the rows of a table at once. It travels to the workers."""

    axes: tuple[Axis, ...]
    surfaces: tuple[tuple[int, ...], ...]  #: numbers of the axes of each: one of a curve, two of a surface
    kind: str  #: of KINDS
    outputs: tuple[int, ...] | None  #: classes by their numbers; None: the answer is a number
    n_curves: int  #: rows with curves of their own
    donors: Rows  #: rows with the inputs of each point of each axis, one axis after another
    recoded: frozenset[str]  #: columns that share inputs with others, so that rows are encoded again at each point

    @classmethod
    def of(
        cls,
        axes: Sequence[Axis],
        surfaces: Sequence[tuple[int, ...]],
        kind: str,
        outputs: tuple[int, ...] | None,
        n_curves: int,
        encoder: Encoder,
    ) -> Plan:
        """Plan with the inputs of the points, by the encoder.

        Parameters
        ----------
        axes : sequence of Axis
        surfaces : sequence of tuple of int
            Axes of each.
        kind : str
            Of KINDS.
        outputs : tuple of int or None
            See `Plan`.
        n_curves : int
            Rows with curves of their own, at most.
        encoder : Encoder
            Of the model.

        Returns
        -------
        Plan

        Raises
        ------
        SchemaError
            When the encoder cannot make inputs of a point.
        ParameterError
            When there are too many points.
        """
        n_points = sum(math.prod(len(axes[a].values) for a in surface) for surface in surfaces)
        n_curves = 0 if kind == "average" else n_curves
        n_numbers = n_points * len(outputs or (0,)) * (n_curves + len(Moments._fields) * (kind != "individual"))
        if n_numbers > MAX_NUMBERS:
            raise ParameterError(
                f"{n_points:,} points make {n_numbers:,} numbers, more than {MAX_NUMBERS:,}: ask for fewer columns at a time, "
                f"a lower grid_resolution, fewer curves (subsample) or one class (target)."
            )
        donors = encoded(pd.concat([_points(axis) for axis in axes], ignore_index=True), None, encoder, GIVEN)
        recoded = frozenset(c.name for c in encoder.categories) if encoder.hashing else frozenset()
        return cls(tuple(axes), tuple(surfaces), kind, outputs, n_curves, donors, recoded)

    def points(self, surface: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """Points of a surface, as numbers of donors; those of the last axis change first."""
        first = np.cumsum([0, *(len(axis.values) for axis in self.axes)]).tolist()
        return itertools.product(*(range(first[a], first[a + 1]) for a in surface))

    def value(self, donor: int) -> Any:
        """Value of the point that a donor is of."""
        return self._values[donor]

    @property
    def _values(self) -> list[Any]:
        return [value for axis in self.axes for value in axis.values]


def _points(axis: Axis) -> pd.DataFrame:
    """Rows that hold the points of an axis, and nothing else."""
    return pd.DataFrame({axis.column: pd.Series(axis.values)})


def encoded(part: Any, offsets: NDArray[np.float64] | None, encoder: Encoder, label: str) -> Rows:
    """Rows without targets.

    Parameters
    ----------
    part : pandas.DataFrame, SparsePart or DensePart
        n rows, under the names of training.
    offsets : (n,) float64 or None
        In the unit of the network's output.
    encoder : Encoder
    label : str
        Name of the table, for errors.

    Returns
    -------
    Rows

    Raises
    ------
    SchemaError
        When the partition does not fit the encoder.
    """
    dense, active, entries = encoder.encode(encoder.filled(part), label)
    shifts = NOTHING if offsets is None else offsets.astype(np.float32)
    return Rows(dense, active, NOTHING, NOTHING, shifts, entries=entries)


class Responses(NamedTuple):
    """Answers of some rows at the points of a plan."""

    moments: tuple[
        Moments, ...
    ]  #: by surface, (points, outputs), of all rows by weight; empty where curves alone are asked for
    curves: tuple[NDArray[np.float64], ...]  #: by surface, (rows, points, outputs): of the rows with the least keys
    keys: NDArray[np.float64]  #: random numbers of these, uniform from 0 to 1
    labels: pd.Index[Any]  #: theirs in the table
    n_rows: int

    def merge(self, other: Responses, *, n_curves: int) -> Responses:
        """Answers of both parts of a table."""
        keys = np.concatenate([self.keys, other.keys])
        places = least(keys, n_curves)
        return Responses(
            tuple(mine.merge(others) for mine, others in zip(self.moments, other.moments, strict=True)),
            tuple(np.concatenate(both)[places] for both in zip(self.curves, other.curves, strict=True)),
            keys[places],
            self.labels.append(other.labels)[places],
            self.n_rows + other.n_rows,
        )


def moments_of(answers: NDArray[np.floating], weights: NDArray[np.float64] | None) -> Moments:
    """Moments of the columns of answers (n, outputs) as they lie, of which none is missing, by weights (n,) above 0.

    For the seven classes of covtype `Moments.of` would take a fifth of the time of the network.
    """
    n, n_outputs = answers.shape
    if not n:
        return Moments.zeros(n_outputs)
    origin = answers[0].astype(np.float64)
    values = answers - origin
    w = np.ones(n) if weights is None else weights
    total = w.sum()
    shift = np.einsum("n,nk->k", w, values) / total
    values -= shift
    m2 = np.einsum("n,nk,nk->k", w, values, values)
    return Moments(np.full(n_outputs, n), np.full(n_outputs, total), origin + shift, m2)


class Slice(NamedTuple):
    """Rows that are encoded and answered together."""

    rows: Rows
    weights: NDArray[np.float64] | None  #: None: all 1
    keys: NDArray[np.float64]  #: of those that have curves of their own
    places: NDArray[np.intp]  #: of these
    labels: pd.Index[Any]  #: of these
    part: Any = None  #: the rows as they were read, where they may have to be encoded again

    def responses(
        self, plan: Plan, predictor: Predictor, control: NDArray[np.int64] | None = None, n_threads: int = 1
    ) -> Responses:
        """Answers at all points of a plan.

        Parameters
        ----------
        plan : Plan
        predictor : Predictor
        control : (..., ) int64, optional
            See `node.replica.predict`.
        n_threads : int
            Maximum number of threads of the network.

        Returns
        -------
        Responses
        """
        head, network, encoder = predictor.head, (predictor.topology, predictor.flat), predictor.encoder
        moments: list[Moments] = []
        curves: list[NDArray[np.float64]] = []
        for surface in plan.surfaces:
            names = [plan.axes[a].column for a in surface]
            inputs = [] if plan.recoded.intersection(names) else [ColumnInputs(encoder, name) for name in names]
            there, own = [], []
            for point in plan.points(surface):
                if inputs:
                    rows = self.rows
                    for column, donor in zip(inputs, point, strict=True):
                        rows = column.copied(rows, plan.donors, np.full(rows.n, donor))
                else:
                    values = {name: plan.value(donor) for name, donor in zip(names, point, strict=True)}
                    rows = encoded(self.part.assign(**values), None, encoder, GIVEN)._replace(offset=self.rows.offset)
                answers = head.answers(predict(*network, rows, n_threads, control))
                answers = answers[:, None] if plan.outputs is None else answers[:, plan.outputs]
                own.append(answers[self.places])
                if plan.kind != "individual":
                    there.append(moments_of(answers, self.weights))
            if there:
                moments.append(Moments(*(np.stack(figure) for figure in zip(*there, strict=True))))
            curves.append(np.stack(own, axis=1).astype(np.float64))
        return Responses(tuple(moments), tuple(curves), self.keys, self.labels, self.rows.n)


def of_partition(
    part: Any,
    k: int,
    predictor: Predictor,
    *,
    schema: Schema,
    names: Sequence[str] | None,
    plan: Plan,
    threads: Callable[[], int],
) -> Responses:
    """Answers of partition k of a table.

    Parameters
    ----------
    part : pandas.DataFrame or SparsePart
        The partition.
    k : int
        Its number.
    predictor : Predictor
    schema : Schema
        Columns of the table and their roles.
    names : sequence of str or None
        Names that the predictors had in training; None: those of the table.
    plan : Plan
    threads : callable
        Threads that answer slices side by side, or share one.

    Returns
    -------
    Responses

    Raises
    ------
    SchemaError
        When rows do not fit the encoder, or weights or offsets are none.
    """
    roles = RowRoles.of(part, schema, k, counting_rows(part, schema, k), "nothing")
    keys = np.random.default_rng((0, k)).random(roles.n)
    chosen = least(keys, plan.n_curves)
    table = rows_of(part, roles.places)
    weights, offsets = roles.weights, roles.offsets
    if plan.kind == "individual":
        table, keys = rows_of(table, chosen), keys[chosen]
        weights, offsets = (None if values is None else values[chosen] for values in (weights, offsets))
        chosen = np.arange(len(keys))
    table = table if names is None else renamed(table, schema.predictors, names)
    has_curve = np.zeros(len(keys), bool)
    has_curve[chosen] = True

    def answered(item: tuple[int, Any, Any], control: NDArray[np.int64] | None = None) -> Responses:
        lo, rows, shifts = item
        places = np.flatnonzero(has_curve[lo : lo + len(rows)])
        shifts = None if shifts is None else predictor.head.offsets(shifts)
        return Slice(
            encoded(rows, shifts, predictor.encoder, schema.label),
            None if weights is None else weights[lo : lo + len(rows)],
            keys[lo : lo + len(rows)][places],
            places,
            rows.index[places],
            rows,
        ).responses(plan, predictor, control, n_threads if is_alone else 1)

    n_threads = threads()
    size = predictor.rows_per_chunk(n_threads)
    is_alone = n_slices(len(keys), size) == 1
    slices = _numbered(slices_of(table, offsets, size))
    parts = [*map(answered, slices)] if n_threads == 1 or is_alone else map_threads(n_threads, answered, slices)
    return merged(parts, plan)._replace(n_rows=roles.n)


def _numbered(slices: Iterable[tuple[Any, Any]]) -> Iterator[tuple[int, Any, Any]]:
    """Slices with the place of their first rows."""
    lo = 0
    for rows, shifts in slices:
        yield lo, rows, shifts
        lo += len(rows)


def merged(parts: Iterable[Responses], plan: Plan) -> Responses:
    """Answers of all parts of a table, one or more, in order."""
    return functools.reduce(functools.partial(Responses.merge, n_curves=plan.n_curves), parts)


def of_blocks(
    store: Blocks, *, predictor: Predictor, view: View, plan: Plan, n_threads: Callable[[], int]
) -> Responses | None:
    """Answers of the rows of a view in some blocks of a table that count; None: none do.

    Parameters
    ----------
    store : Blocks
        Blocks that are here.
    predictor : Predictor
    view : View
        Rows in the units of the predictor.
    plan : Plan
        Recodes no column.
    n_threads : callable
        Returns the number of threads that may be used here.

    Returns
    -------
    Responses or None
    """
    threads = n_threads()
    size = min(predictor.rows_per_chunk(threads), ROWS_PER_SLICE)
    found: list[Responses] = []
    for k in store.numbers:
        block, start = store.blocks[k], int(store.starts[k])
        counts = block.counting(0, block.n)
        keys = np.where(counts, np.random.default_rng((0, k)).random(block.n), 2.0)  # those that do not count come last
        has_curve = np.zeros(block.n, bool)
        has_curve[least(keys, plan.n_curves)] = True
        chosen = has_curve & counts

        def answered(
            item: tuple[int, Rows],
            control: NDArray[np.int64] | None = None,
            keys: NDArray[np.float64] = keys,
            chosen: NDArray[np.bool_] = chosen,
            counts: NDArray[np.bool_] = counts,
            start: int = start,
        ) -> Responses | None:
            lo, rows = item
            here = slice(lo, lo + rows.n)
            kept = np.flatnonzero((chosen if plan.kind == "individual" else counts)[here])
            if not len(kept):
                return None
            rows = rows if len(kept) == rows.n else rows.take(kept)
            places = np.flatnonzero(chosen[here][kept])
            numbers = kept[places] + lo
            weights = rows.weight.astype(np.float64) if len(rows.weight) else None
            some = Slice(rows, weights, keys[numbers], places, pd.Index(start + numbers))
            return some.responses(plan, predictor, control)

        items = _chunks(Subset(store, view, [k], store.starts).slices(size * threads), size)
        parts = [*map(answered, items)] if threads == 1 else map_threads(threads, answered, items)
        found += [part for part in parts if part is not None]
        found = [merged(found, plan)] if found else []
    return found[0]._replace(n_rows=sum(block.n_used for block in store.blocks.values())) if found else None


def _chunks(slices: Iterable[Rows], n: int) -> Iterator[tuple[int, Rows]]:
    """Rows of slices, n at a time at most, with the place of their first."""
    first = 0
    for rows in slices:
        for lo in range(0, rows.n, n):
            yield first + lo, rows.cut(lo, min(lo + n, rows.n))
        first += rows.n
