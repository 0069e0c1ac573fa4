"""Predictions of the estimators, whatever they learn."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.errors import ParameterError, SchemaError
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

    def deep_features(self, X: Any, layer: int | str) -> Any:
        """Activations of a hidden layer for every row, float32, as in prediction.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            Columns of training, in any order; others are ignored, missing ones are taken as missing values (warned).
        layer : int or str
            Number of the hidden layer, from 0, or from -1 for the last one; or its name in H2O, "DF.L1" for the first one.

        Returns
        -------
        dask.dataframe.DataFrame, pandas.DataFrame, dask.array.Array or ndarray of shape (n, units)
            A frame, with columns DF.L1.C1, ..., where `X` is one; lazy for Dask.

        Raises
        ------
        ParameterError
            When there is no such layer.
        """
        return self._activations(X, layer, frames=True)

    def _activations(self, X: Any, layer: int | str, *, frames: bool) -> Any:
        """Activations of a hidden layer; `frames`: with the index of a local frame."""
        from dask_dl.predict import predict_rows
        from dask_dl.predictor import Predictor

        model, called = self._fitted, type(self).__name__
        predictor = replace(model.predictor, layer=self._layer_of(layer))
        return predict_rows(
            model, X, None, Predictor.activations, called, self._threads, predictor=predictor, frames=frames
        )

    def _layer_of(self, layer: int | str) -> int:
        """Number of a hidden layer that is given as such or by its name in H2O. Raises ParameterError."""
        n_hidden = len(self._fitted.network.topology.hidden)
        named = re.fullmatch(r"(?:DF\.)?L([1-9]\d*)", layer, re.IGNORECASE) if isinstance(layer, str) else None
        number: Any = int(named[1]) - 1 if named else layer
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
            raise ParameterError(f"layer={layer!r}: give the number of a hidden layer, from 0, or its name, 'DF.L1'.")
        if not -n_hidden <= number < n_hidden:
            names = f": from 0 to {n_hidden - 1}, or from DF.L1 to DF.L{n_hidden}" if n_hidden else ""
            raise ParameterError(
                f"layer={layer!r}: the network has {n_hidden} hidden layer{'s' * (n_hidden != 1)}{names}."
            )
        return int(number) % n_hidden

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
        from dask_dl.predict import table_of_answers

        X, kept = self._with_kept(X, keep, "predict_table", "predict")
        return table_of_answers(self._fitted, X, offset, kept, type(self).__name__, self._threads)

    def _with_kept(self, X: Any, keep: Sequence[str], called: str, taken: str) -> tuple[Any, list[str]]:
        """A table, and those of its columns to put before answers. Raises SchemaError."""
        from dask_dl.frame.arrays import is_dask_array
        from dask_dl.frame.dtypes import check_unicode
        from dask_dl.frame.interchange import as_table

        check_table(X)
        X = as_table(X, "the table to predict")
        keep = [keep] if isinstance(keep, str) else list(keep)
        names = [str(name) for name in getattr(X, "columns", ())]
        unknown = [name for name in keep if name not in names]
        if unknown:
            raise SchemaError(f"keep: there are no columns {unknown}; there are {names[:30]}.")
        check_unicode(keep, "keep: there is a column")
        if taken in keep:
            raise SchemaError(f"keep: {taken!r} is the name of the answer. Rename that column of the table first.")
        if is_dask_array(X):
            raise SchemaError(f"{called} gives a frame: pass a Dask DataFrame, or use the methods that take arrays.")
        return X, keep
