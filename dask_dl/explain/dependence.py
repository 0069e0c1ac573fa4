"""Partial dependence: how answers move with one column or two, the others as they are (algorithm.md#partial-dependence)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dask_dl.errors import ParameterError, SchemaError
from dask_dl.evaluation import LABEL, opened, view_of_model
from dask_dl.explain.choices import named_column
from dask_dl.explain.grid import (
    GIVEN,
    MAX_ROWS,
    Figures,
    axis_of,
    figures_of_blocks,
    figures_of_scan,
    figures_of_table,
    given_axis,
    levels_of,
)
from dask_dl.explain.responses import Plan, Responses, merged, of_blocks, of_partition
from dask_dl.frame.interchange import as_table
from dask_dl.frame.prediction import reduce_partitions
from dask_dl.wording import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from dask_dl.explain.grid import Axis
    from dask_dl.frame.blocks import Blocks
    from dask_dl.frame.encoder import Encoder
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Source
    from dask_dl.model import Model
    from dask_dl.tasks.head import Head

KINDS = ("average", "individual", "both")


@dataclass(frozen=True, eq=False)
class PartialDependence:
    """Answers at the points of one column, or of two: of all rows on average, and of some rows each.

    It has the names of scikit-learn's result, by attribute and by key, so that its displays draw it.
    """

    columns: tuple[str, ...]
    grid_values: tuple[NDArray[Any], ...]  #: points of each column, levels as texts; None is a missing one
    targets: tuple[Any, ...]  #: class of each output; of numbers none
    average: NDArray[np.float64] | None  #: (outputs, points of the first column, ...)
    deviation: NDArray[np.float64] | None  #: of the answers of the rows at each point, shaped as `average`
    individual: NDArray[np.float64] | None  #: (outputs, rows of a sample, points of the first column, ...)
    index: pd.Index[Any]  #: labels of the rows of the sample; their numbers where the table has none
    n_rows: int  #: rows of the average
    deciles: tuple[NDArray[np.float64], ...]  #: nine of each column; none of levels and of points that were given

    def __getitem__(self, name: str) -> Any:
        """Attribute of that name, as of scikit-learn's result."""
        try:
            return getattr(self, name)
        except AttributeError as error:
            raise KeyError(name) from error

    def to_pandas(self, kind: str = "average") -> pd.DataFrame:
        """Table with a row for each point, and of several classes for each class; of `individual` also for each row.

        Parameters
        ----------
        kind : str
            "average" or "individual".

        Returns
        -------
        pandas.DataFrame
            `target` where there are classes, `row` of individual curves (its label in the index), the columns, and then
            `average` and `deviation`, or `individual`.

        Raises
        ------
        ParameterError
            When that was not asked for.
        """
        found = {"average": self.average, "individual": self.individual}.get(kind)
        if found is None:
            raise ParameterError(f"kind={kind!r}: ask partial_dependence for it; it has average, individual or both.")
        levels: dict[str, Any] = {"target": self.targets} if self.targets else {}
        levels |= {"row": self.index} if kind == "individual" else {}
        names = [*levels, *self.columns]
        axes = [*levels.values(), *self.grid_values]
        places = np.indices([len(axis) for axis in axes]).reshape(len(axes), -1)
        table = {k: pd.Series(axis).take(place).array for k, (axis, place) in enumerate(zip(axes, places, strict=True))}
        frame = pd.DataFrame(table).set_axis(names, axis=1)
        frame[kind] = found.ravel()
        if kind == "average":
            assert self.deviation is not None
            frame["deviation"] = self.deviation.ravel()
        return frame


def over_table(
    request: Request, X: Any, weight: Any, offset: Any, called: str, threads: Callable[[], int]
) -> list[PartialDependence]:
    """Partial dependence over a table, in one pass, after one over columns whose points follow from it.

    Parameters
    ----------
    request : Request
    X : Dask or pandas DataFrame, Dask Array, sparse matrix or array-like
    weight, offset : str, int, aligned collection or None
        As in `fit`.
    called : str
        Name of the estimator, for errors.
    threads : callable
        Threads for a table in this process.

    Returns
    -------
    list of PartialDependence

    Raises
    ------
    ParameterError, SchemaError
        When the table does not fit the model, makes no points, or has no row that counts.
    """
    model, X = request.model, as_table(X, LABEL)
    source, names = opened(model, X, None, weight, offset, called)
    unknown = request.without_points
    plan = request.plan(figures_of_table(model, X, unknown) if unknown else None, LABEL)
    respond = functools.partial(
        of_partition, schema=source.schema, names=names, plan=plan, threads=threads if source.lazy is None else _one
    )
    merge = functools.partial(Responses.merge, n_curves=plan.n_curves)
    found = reduce_partitions(respond, merge, source, model.predictor)
    if not found.n_rows:
        raise SchemaError(f"{source.label} has no rows{' with a weight above zero' if weight is not None else ''}.")
    return request.results(plan, found if source.is_named else found._replace(labels=pd.RangeIndex(len(found.keys))))


def over_encoded(
    request: Request,
    source: Source,
    found: Scan,
    encoder: Encoder,
    head: Head,
    over: Callable[[Callable[[Blocks], Any]], list[Any]],
    n_threads: Callable[[], int],
) -> list[PartialDependence]:
    """Partial dependence over encoded rows, where they lie.

    Parameters
    ----------
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
    list of PartialDependence

    Raises
    ------
    ParameterError, SchemaError
        As `evaluation.view_of_model`; when levels that are asked for are hashed, or no row counts.
    """
    view = view_of_model(request.model, source, found, encoder, head)
    hashed = [c.name for c in encoder.categories if c.name in request.names] if encoder.hashing else []
    if hashed:
        raise ParameterError(
            f"levels of {listed(hashed)} are hashed, so that rows of a Dataset do not tell them apart: pass the table itself."
        )
    known = levels_of(encoder)
    figures = figures_of_scan(found, encoder, [name for name in request.without_points if name in known])
    if numbers := [name for name in request.without_points if name not in known]:
        merge = functools.partial(Figures.merge, n=MAX_ROWS)
        parts = over(functools.partial(figures_of_blocks, encoder=encoder, columns=numbers))
        figures = functools.reduce(merge, parts)._replace(levels=figures.levels)
    plan = request.plan(figures, source.label)
    respond = functools.partial(of_blocks, predictor=request.model.predictor, view=view, plan=plan, n_threads=n_threads)
    answered = [part for part in over(respond) if part is not None]
    if not answered:
        raise SchemaError(f"{source.label} has no row that counts.")
    return request.results(plan, merged(answered, plan))


def is_single(columns: Any) -> bool:
    """Whether one result is asked for: of a column, or of a tuple of two."""
    return isinstance(columns, (str, tuple)) or not hasattr(columns, "__len__")


def _one() -> int:
    return 1


class Points(NamedTuple):
    """Wishes for the points of columns."""

    n: Any  #: of a numeric column; levels of a categorical one; at most
    percentiles: Any  #: two shares of the rows
    given: Mapping[str | int, Any]

    def check(self) -> None:
        """Refuse what makes no points. Raises ParameterError."""
        if isinstance(self.n, bool) or not isinstance(self.n, (int, np.integer)) or self.n < 2:
            raise ParameterError(f"grid_resolution={self.n!r}: give the number of points, 2 or more.")
        shares = self.percentiles
        try:
            is_right = len(shares) == 2 and 0 <= shares[0] < shares[1] <= 1
        except TypeError:
            is_right = False
        if not is_right:
            raise ParameterError(
                f"percentiles={shares!r}: give two shares that ascend, from 0 to 1, such as (0.05, 0.95)."
            )


class Curves(NamedTuple):
    """Wishes for the answers at each point."""

    kind: str  #: of KINDS
    n: Any  #: rows with curves of their own, at most
    target: Any  #: class; None: the second of two, all of several

    def check(self) -> None:
        """Refuse other kinds and no curves. Raises ParameterError."""
        if self.kind not in KINDS:
            raise ParameterError(f"kind={self.kind!r}: give one of {listed(KINDS)}.")
        if isinstance(self.n, bool) or not isinstance(self.n, (int, np.integer)) or self.n < 1:
            raise ParameterError(f"subsample={self.n!r}: give the number of rows with curves of their own, 1 or more.")

    def outputs(self, head: Head) -> tuple[int, ...] | None:
        """Numbers of the classes that are asked for; None: the answer is a number. Raises ParameterError."""
        classes = head.classes
        if not classes:
            if self.target is not None:
                raise ParameterError(f"target={self.target!r}: a model of numbers has no classes; leave it out.")
            return None
        if self.target is None:
            return (1,) if len(classes) == 2 else tuple(range(len(classes)))
        if self.target not in classes:
            raise ParameterError(f"target={self.target!r} is no class of the model: {listed(classes)}.")
        return (classes.index(self.target),)


class Request(NamedTuple):
    """A request, after it was checked against the model."""

    model: Model
    surfaces: tuple[tuple[str, ...], ...]  #: columns of each result
    points: Points
    given: Mapping[str, Axis]  #: by column
    curves: Curves
    outputs: tuple[int, ...] | None

    @classmethod
    def of(cls, model: Model, columns: Any, points: Points, curves: Curves) -> Request:
        """Request for columns of a model.

        Parameters
        ----------
        model : Model
        columns : str, int, tuple of two of them, or sequence of these
            A column or two for each result.
        points : Points
        curves : Curves

        Returns
        -------
        Request

        Raises
        ------
        ParameterError
            For whatever asks for nothing that the model knows.
        """
        points.check()
        curves.check()
        asked = [columns] if is_single(columns) else list(columns)
        surfaces = [tuple(named_column(model, c) for c in (one if isinstance(one, tuple) else (one,))) for one in asked]
        wrong = next(
            (surface for surface in surfaces if len({*surface}) != len(surface) or not 1 <= len(surface) <= 2), None
        )
        if not surfaces or wrong is not None:
            shown = "none" if wrong is None else f"{wrong!r}"
            raise ParameterError(
                f"columns: give one or more, each a column or a tuple of two different ones; found {shown}."
            )
        known = levels_of(model.encoder)
        given = {name: given_axis(name, values, known.get(name)) for name, values in _named_points(model, points.given)}
        if others := sorted({*given} - {name for surface in surfaces for name in surface}):
            raise ParameterError(f"{GIVEN} has points of {listed(others)}, which columns does not ask for.")
        return cls(model, tuple(surfaces), points, given, curves, curves.outputs(model.head))

    @property
    def names(self) -> list[str]:
        """Columns, each once."""
        return list(dict.fromkeys(name for surface in self.surfaces for name in surface))

    @property
    def without_points(self) -> list[str]:
        """Columns whose points follow from the table."""
        return [name for name in self.names if name not in self.given]

    def plan(self, figures: Figures | None, label: str) -> Plan:
        """Plan of the points, by figures of the table that is called `label`. Raises ParameterError."""
        known, (n, percentiles, _), axes = levels_of(self.model.encoder), self.points, dict(self.given)
        for name in self.without_points:
            assert figures is not None
            axes[name] = axis_of(name, figures, known.get(name), n, percentiles, label)
        place = {name: k for k, name in enumerate(self.names)}
        surfaces = [tuple(place[name] for name in surface) for surface in self.surfaces]
        ordered = [axes[name] for name in self.names]
        return Plan.of(ordered, surfaces, self.curves.kind, self.outputs, self.curves.n, self.model.encoder)

    def results(self, plan: Plan, found: Responses) -> list[PartialDependence]:
        """Result for each surface."""
        classes = self.model.head.classes
        targets = () if plan.outputs is None else tuple(classes[k] for k in plan.outputs)
        results = []
        for k, surface in enumerate(plan.surfaces):
            axes = [plan.axes[a] for a in surface]
            shape = [len(axis.values) for axis in axes]
            average = deviation = individual = None
            if found.moments:
                average = found.moments[k].mean.T.reshape(-1, *shape)
                deviation = found.moments[k].deviation.T.reshape(-1, *shape)
            if plan.kind != "average":
                curves = found.curves[k]
                individual = curves.transpose(2, 0, 1).reshape(curves.shape[2], len(curves), *shape)
            results.append(
                PartialDependence(
                    self.surfaces[k],
                    tuple(axis.values for axis in axes),
                    targets,
                    average,
                    deviation,
                    individual,
                    found.labels,
                    found.n_rows,
                    tuple(axis.deciles for axis in axes),
                )
            )
        return results


def _named_points(model: Model, given: Mapping[str | int, Any]) -> Iterator[tuple[str, Any]]:
    """Points that were given, by the name of their column. Raises ParameterError."""
    if not hasattr(given, "items"):
        raise ParameterError(f"{GIVEN}={given!r:.60}: give a mapping of columns to points.")
    for column, values in given.items():
        yield named_column(model, column), values
