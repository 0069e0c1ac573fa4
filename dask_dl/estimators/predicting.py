"""Predictions of the estimators, whatever they learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_dl.errors import SchemaError
from dask_dl.estimators.fitted import Fitted
from dask_dl.estimators.measuring import check_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_dl.evaluation import ScoredRows
    from dask_dl.model import Model


class Predicting(Fitted):
    """Methods by which estimators answer to tables."""

    def _predict(self, X: Any, offset: Any, answer: Any, model: Model | None = None) -> Any:
        """`answer(predictor, outputs)` of every row: lazy over Dask collections, an array otherwise."""
        from dask_dl.predict import predict_rows

        check_table(X)
        return predict_rows(model or self._fitted, X, offset, answer, type(self).__name__, self._threads)

    def _threads(self) -> int:
        """Threads that predict a local table: one within a task of a Dask worker, whose other threads have tasks, too."""
        from dask_dl.cluster.clients import slot
        from dask_dl.node.parallelism import cores

        return 1 if slot() else cores(self.n_jobs)[0]

    def _scored_rows(self, X: Any, y: Any, weight: Any, offset: Any) -> ScoredRows:
        """Truth, prediction and weight of the rows of a table that count in a score."""
        from dask_dl.evaluation import scored_rows

        check_table(X)
        return scored_rows(self._fitted, X, y, weight, offset, type(self).__name__)

    def predict_table(self, X: Any, *, offset: Any = None, keep: Sequence[str] = ()) -> Any:
        """Predictions side by side, as H2O gives them, computed in one pass.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, pandas.DataFrame, sparse matrix or array-like
        offset : str, int, aligned collection or None
        keep : sequence of str
            Columns of `X` to put before the predictions.

        Returns
        -------
        dask.dataframe.DataFrame or pandas.DataFrame
            The kept columns; `predict`; for classes one probability column each, named by the class, with a `p` before
            what reads as a whole number.

        Raises
        ------
        SchemaError
            When `X` is a Dask Array, lacks columns of training or those to keep, or one to keep is called `predict`.
        """
        from dask_dl.frame.arrays import is_dask_array
        from dask_dl.frame.dtypes import check_unicode
        from dask_dl.frame.interchange import as_table
        from dask_dl.predict import table_of_predictions

        check_table(X)
        X = as_table(X, "the table to predict")
        keep = [keep] if isinstance(keep, str) else list(keep)
        names = [str(name) for name in getattr(X, "columns", ())]
        unknown = [name for name in keep if name not in names]
        if unknown:
            raise SchemaError(f"keep: there are no columns {unknown}; there are {names[:30]}.")
        check_unicode(keep, "keep: there is a column")
        if "predict" in keep:
            raise SchemaError("keep: 'predict' is the name of the answer. Rename that column of the table first.")
        if is_dask_array(X):
            raise SchemaError("predict_table gives a frame: pass a Dask DataFrame, or use predict and predict_proba.")
        return table_of_predictions(self._fitted, X, offset, keep, type(self).__name__, self._threads)
