"""Partial dependence of classifiers and regressors: how their answers move with a column or two."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from dask_dl.errors import ParameterError
from dask_dl.estimators.dataset import Dataset
from dask_dl.estimators.measuring import threads_of
from dask_dl.estimators.predicting import Predicting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_dl.explain.dependence import PartialDependence, Request


class Dependence(Predicting):
    """Methods that say and draw how answers move with a column."""

    def partial_dependence(
        self,
        X: Any,
        columns: Any,
        *,
        kind: str = "average",
        grid_resolution: int = 20,
        percentiles: tuple[float, float] = (0.05, 0.95),
        custom_values: Mapping[Any, Any] | None = None,
        target: Any = None,
        subsample: int = 100,
        sample_weight: Any = None,
        offset: Any = None,
    ) -> Any:
        """Mean answer of the rows if a column had the same value in all of them, for several values, and curves of some rows.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `predict`; the others of its columns stay as they are. Or a `Dataset` whose rows are encoded as those of the
            model: the rows that train. A table is read once for all columns, and before that those columns whose points
            `custom_values` does not have.
        columns : str, int, tuple, or list of these
            Column, by name or by position in training; a tuple of two of them: how the answers move with both. A list: several
            results.
        kind : str
            "average" (Friedman's partial dependence), "individual" (curves of single rows, ICE), or "both".
        grid_resolution : int
            Points of a numeric column, at equal distances; its distinct values where these are fewer. Of a categorical column
            so many levels, the most frequent first; a missing value comes last, where the table has any.
        percentiles : (float, float)
            Shares of the rows that are below the first point of a numeric column and below the last one; of Dask and Datasets
            by the values of 10,000 random rows.
        custom_values : mapping, optional
            Points of your own by column: numbers, dates (UTC), or levels; None and NaN are missing.
        target : label, optional
            Class whose probability is the answer. By default the second of two; of several all, one after another.
        subsample : int
            Rows with curves of their own, at most: random ones, the same every time.
        sample_weight : str, int or aligned collection, optional
            Weights of the rows in the average, 0 or more; rows of weight 0 do not count.
        offset : str, int, aligned collection or None
            As in `predict`.

        Returns
        -------
        PartialDependence, or list of them for a list of columns
            With scikit-learn's `average`, `individual` and `grid_values`, the deviation of the answers, and `to_pandas()`. In
            the unit of `predict` for numbers. An awaitable for a Dataset of an asynchronous client.

        Raises
        ------
        ParameterError, SchemaError
            Of columns that are unknown, constant or no predictors, and whatever makes no points; before the rows are answered.

        Examples
        --------
        >>> import pandas as pd
        >>> from dask_dl import DeepLearningRegressor
        >>> X = pd.DataFrame({"area": [30.0, 50.0, 70.0, 90.0] * 25, "city": ["Rome", "Oslo", "Rome", "Oslo"] * 25})
        >>> model = DeepLearningRegressor(hidden=(8,), epochs=3, random_state=1).fit(X, X["area"] * 2)
        >>> area, city = model.partial_dependence(X, ["area", "city"])
        >>> area.grid_values
        (array([30., 50., 70., 90.]),)
        >>> city.to_pandas().columns.tolist()
        ['city', 'average', 'deviation']
        """
        from dask_dl.explain.dependence import Curves, Points, Request, is_single, over_table

        points, curves = Points(grid_resolution, percentiles, custom_values or {}), Curves(kind, subsample, target)
        request = Request.of(self._fitted, columns, points, curves)
        if isinstance(X, Dataset):
            X.check_alone({"sample_weight": sample_weight, "offset": offset}, None)
            return self._over_dataset(X, request, is_one=is_single(columns))
        found = over_table(request, X, sample_weight, offset, type(self).__name__, self._threads)
        return found[0] if is_single(columns) else found

    def _over_dataset(self, data: Dataset, request: Request, *, is_one: bool) -> Any:
        """Partial dependence over the rows of a Dataset; an awaitable of it where its client is asynchronous."""
        from dask_dl.cluster.clients import awaitable
        from dask_dl.events import Listeners
        from dask_dl.explain.dependence import over_encoded

        def work(cancelled: Callable[[], bool] = lambda: False) -> PartialDependence | list[PartialDependence]:
            with data.claimed(Listeners(), cancelled) as (backend, encoded):
                prepared, (source, scan) = encoded.data, encoded.data.tables["training"]
                over, threads = functools.partial(backend.over, "training"), functools.partial(threads_of, self.n_jobs)
                found = over_encoded(request, source, scan, prepared.encoder, prepared.head, over, threads)
            return found[0] if is_one else found

        return awaitable(work) if data.is_asynchronous else work()

    def plot_partial_dependence(
        self, X: Any, columns: Any = None, *, centered: bool = False, ax: Any = None, **more: Any
    ) -> Any:
        """Draw `partial_dependence` with matplotlib, a panel for each result; returns the axes.

        Numeric columns are lines, with the deciles of the table as ticks, categorical ones bars, two columns a map. Lines and
        bars have one scale, so that columns can be compared.

        Parameters
        ----------
        X : table or Dataset, PartialDependence or list of it
            As in `partial_dependence`; or what that returned, which is then drawn as it is.
        columns : str, int, tuple, or list of these
            As in `partial_dependence`.
        centered : bool
            Whether curves are drawn less what they are at the first point, so that it shows where rows differ in how they move.
        ax : matplotlib.axes.Axes or sequence of them, optional
            Axes to draw on, one for each result; by default those of a new figure.
        **more : object
            More of `partial_dependence`, such as `kind="both"`, which draws curves of rows below their mean.

        Returns
        -------
        matplotlib.axes.Axes, or ndarray of them for several results

        Raises
        ------
        ParameterError, SchemaError
            As `partial_dependence`; when there are other axes than results; for maps and curves of several classes at once.
        """
        from dask_dl.explain.dependence import PartialDependence
        from dask_dl.show.dependence_plots import plot_partial_dependence

        found = X
        is_found = isinstance(X, PartialDependence) or (
            isinstance(X, list) and bool(X) and all(isinstance(one, PartialDependence) for one in X)
        )
        if not is_found:
            if isinstance(X, Dataset) and X.is_asynchronous:
                raise ParameterError(
                    "the client of the Dataset is asynchronous: await partial_dependence, and pass what it returns."
                )
            if columns is None:
                raise ParameterError("columns: give those to draw, such as a name or a list of names.")
            found = self.partial_dependence(X, columns, **more)
        return plot_partial_dependence(found if isinstance(found, list) else [found], centered=centered, ax=ax)
