"""Permutation importance of the columns of classifiers and regressors."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from dask_dl.estimators.dataset import Dataset
from dask_dl.estimators.measuring import threads_of
from dask_dl.estimators.predicting import Predicting

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from dask_dl.explain.permutation import Request


class Permuting(Predicting):
    """Method that says what columns are worth."""

    def permutation_importance(
        self,
        X: Any,
        y: Any = None,
        *,
        metric: Any = None,
        columns: Any = None,
        n_repeats: int = 5,
        sample_weight: Any = None,
        offset: Any = None,
        random_state: int = 0,
    ) -> pd.DataFrame:
        """Say how much worse a metric gets on a table when the values of a column are those of other rows.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `evaluate`. Or a `Dataset` whose rows are encoded as those of the model: the rows that train. A table is
            read once for the rows that stand in for others, and once more; several times for metrics with curves (auc, aucpr,
            ...) and more than 64 columns times repeats.
        y : str, int, or aligned collection of n values, optional
            The target; by default the column of that name in training.
        metric : str, scorer or CustomMetric, optional
            A metric of `metrics_`, or one of your own as in `evaluate`; by default what training minimises, logloss or
            deviance.
        columns : sequence of (str or int), or mapping of str to sequences of them, optional
            By default every column. A mapping has groups of columns, which get the values of the same other row.
        n_repeats : int, default 5
            Permutations of each column.
        sample_weight, offset : str, int, aligned collection or None
            As in `evaluate`.
        random_state : int, default 0
            Seed of the permutations.

        Returns
        -------
        pandas.DataFrame
            A row for each column or group, the most important first: `importance`, the mean over repeats of how much worse the
            metric gets, `deviation` (n below) and `repeat 1`, ...; in `attrs` the `metric` and its `value` on the rows as they
            are. An awaitable for a Dataset of an asynchronous client. Values are permuted among all rows of a table of up to
            10,000; in larger tables and Datasets each row gets those of one of 10,000 random rows.

        Raises
        ------
        ParameterError, SchemaError
            When there is no such column or metric, or the table does not fit the model.

        Examples
        --------
        >>> import numpy as np
        >>> import pandas as pd
        >>> from dask_dl import DeepLearningRegressor
        >>> table = pd.DataFrame({"a": np.arange(99.0), "b": np.arange(99.0) % 7})
        >>> model = DeepLearningRegressor(hidden=(8,), epochs=9, random_state=1).fit(table, 2 * table["a"])
        >>> worth = model.permutation_importance(table, 2 * table["a"])
        >>> worth.index.tolist(), worth.attrs["metric"]
        (['a', 'b'], 'deviance')
        """
        from dask_dl.explain.permutation import Request, over_table

        request = Request.of(self._fitted, columns, metric, n_repeats, random_state)
        if isinstance(X, Dataset):
            X.check_alone({"y": y, "sample_weight": sample_weight, "offset": offset}, None)
            found: pd.DataFrame = self._permuted_dataset(X, request)
            return found
        return over_table(self._fitted, request, X, y, sample_weight, offset, type(self).__name__, self._threads)

    def _permuted_dataset(self, data: Dataset, request: Request) -> Any:
        """Permutation importance over the rows of a Dataset; an awaitable of it where its client is asynchronous."""
        from dask_dl.cluster.clients import awaitable
        from dask_dl.events import Listeners
        from dask_dl.explain.permutation import over_encoded

        def work(cancelled: Callable[[], bool] = lambda: False) -> pd.DataFrame:
            with data.claimed(Listeners(), cancelled) as (backend, encoded):
                prepared, (source, scan) = encoded.data, encoded.data.tables["training"]
                over, threads = functools.partial(backend.over, "training"), functools.partial(threads_of, self.n_jobs)
                return over_encoded(self._fitted, request, source, scan, prepared.encoder, prepared.head, over, threads)

        return awaitable(work) if data.is_asynchronous else work()
