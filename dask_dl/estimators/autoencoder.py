"""Estimator of an autoencoder: codes, reconstructions and anomalies of rows, over pandas, NumPy and Dask."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import TransformerMixin

from dask_dl.estimators.base import DeepLearning
from dask_dl.estimators.pictures import Pictures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dask_dl.parameters import Task


class DeepLearningAutoEncoder(TransformerMixin, Pictures, DeepLearning):  # type: ignore[misc]  # scikit-learn has no types
    """Multi-layer perceptron that learns to give its inputs back, with H2O Deep Learning's parameters and numbers.

    {parameters}

    Attributes
    ----------
    history_, metrics_, coefs_, intercepts_, n_iter_, parameters_, encoder_
        See the properties.
    n_features_in_, feature_names_in_
        As in scikit-learn.
    """

    _task: Task = "autoencoder"
    _has_target: ClassVar[bool] = False

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Train one pass over a table, from where the last call or `fit` ended; scikit-learn's meaning.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like of shape (n, p)
            As in `fit`. The first call decides by its rows how columns become inputs, and their scale.
        y : object
            Ignored.
        sample_weight : str, int or aligned collection, optional
            As in `fit`.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, SchemaError
            As `fit` would raise them.

        Notes
        -----
        The last network is the model. Nothing but the end of its rows ends a call: stopping parameters, `epochs` and
        `overwrite_with_best_model` have no effect, and no checkpoints are written.
        """
        return self._partial_fit(X, y, sample_weight)

    def transform(self, X: Any, layer: int | str | None = None) -> Any:
        """Codes of every row: activations of the middle hidden layer, float32, or of another one.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            Columns of training, in any order; others are ignored, missing ones are taken as missing values (warned).
        layer : int or str, optional
            As of `deep_features`; None: the middle one of an odd number, the second of the two middle ones else.

        Returns
        -------
        dask.dataframe.DataFrame, dask.array.Array or ndarray of shape (n, units)
            Lazy for Dask: with index, divisions and dtypes for a DataFrame, with the chunks of its rows for an Array.

        Raises
        ------
        ParameterError
            When there is no such layer.
        """
        return self._activations(X, self._middle if layer is None else layer, frames=False)

    def inverse_transform(self, X: Any, layer: int | str | None = None) -> Any:
        """Rows in the units of the table, as `reconstruct` gives them, from the codes that `transform` gives.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame or array-like of shape (n, units)
            Activations; those of a frame by their names.
        layer : int or str, optional
            The layer that they are of, as of `transform`.

        Returns
        -------
        dask.dataframe.DataFrame, pandas.DataFrame, dask.array.Array or ndarray of shape (n, inputs)
            A frame where `X` is one; lazy for Dask.

        Raises
        ------
        ParameterError, SchemaError
            When there is no such layer, or it has other units than `X` has columns.
        """
        from dask_dl.predict import predict_rows
        from dask_dl.predictor import Decoder

        model = self._fitted
        decoder = Decoder.of(model.predictor, self._layer_of(self._middle if layer is None else layer))
        codes = decoder.encoder.columns
        of_codes = replace(
            model, encoder=decoder.encoder, record=replace(model.record, feature_names=codes, is_named=True)
        )
        called = f"{type(self).__name__}.inverse_transform"
        return predict_rows(of_codes, X, None, Decoder.decoded, called, self._threads, predictor=decoder, frames=True)

    def reconstruct(self, X: Any) -> Any:
        """Rows as the network gives them back: numbers in their unit, levels as probabilities, float64.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `transform`.

        Returns
        -------
        dask.dataframe.DataFrame, pandas.DataFrame, dask.array.Array or ndarray of shape (n, inputs)
            A frame where `X` is one, with a column `reconstr_<input>` for each of `encoder_.input_names`; lazy for Dask.
        """
        from dask_dl.predict import predict_rows
        from dask_dl.predictor import Predictor

        return predict_rows(self._fitted, X, None, Predictor.decoded, type(self).__name__, self._threads, frames=True)

    def anomaly(self, X: Any, per_feature: bool = False) -> Any:
        """Squared error of the reconstruction of every row, in the network's unit, float64: large for unusual rows.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `transform`.
        per_feature : bool
            One column for each input, `reconstr_<input>.SE`, instead of their mean, `Reconstruction.MSE`.

        Returns
        -------
        dask.dataframe.Series or DataFrame, pandas.Series or DataFrame, dask.array.Array or ndarray
            (n,), or (n, inputs) with `per_feature`. A Series or frame where `X` is a frame; lazy for Dask.
        """
        return self._errors(X, per_feature=per_feature, frames=True)

    def anomaly_table(self, X: Any, *, per_feature: bool = False, keep: Sequence[str] = ()) -> Any:
        """Columns of a table and `anomaly` side by side, computed in one pass.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, pandas.DataFrame, sparse matrix or array-like
        per_feature : bool
            With the error of each input, too.
        keep : sequence of str
            Columns of `X` to put before the errors.

        Returns
        -------
        dask.dataframe.DataFrame or pandas.DataFrame
            The kept columns, `Reconstruction.MSE` and, with `per_feature`, a column `reconstr_<input>.SE` for each input.

        Raises
        ------
        SchemaError
            When `X` is a Dask Array, or lacks columns of training or those to keep.
        """
        from dask_dl.predict import table_of_answers
        from dask_dl.predictor import ERROR, InputErrors

        X, kept = self._with_kept(X, keep, "anomaly_table", ERROR)
        predictor = InputErrors.of(self._fitted.predictor, per_feature=per_feature)
        return table_of_answers(self._fitted, X, None, kept, type(self).__name__, self._threads, predictor=predictor)

    def score_samples(self, X: Any) -> Any:
        """`anomaly` of every row with a minus sign: smaller for more unusual rows, as scikit-learn's outlier detectors have it.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `transform`.

        Returns
        -------
        dask.dataframe.Series, dask.array.Array or ndarray of shape (n,)
            Lazy for Dask.
        """
        scores = -self._errors(X, per_feature=False, frames=False)
        return scores.rename("score") if hasattr(scores, "rename") else scores  # no longer an error

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Mean of `score_samples`: the mean squared error with a minus sign, 0 at most; in one pass and in flat memory.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `transform`.
        y : object
            Ignored; scikit-learn's tools pass it.
        sample_weight : str, int or aligned collection, optional
            0 or more; rows of weight 0 do not count.

        Returns
        -------
        float
        """
        return -self.evaluate(X, y, sample_weight=sample_weight)["mse"]

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:  # noqa: ARG002  # scikit-learn's
        """Names of the columns of `transform`: DF.L2.C1, ..., as H2O has them; `input_features` has no effect."""
        predictor = replace(self._fitted.predictor, layer=self._layer_of(self._middle))
        return np.array(predictor.column_names, dtype=object)

    @property
    def _n_features_out(self) -> int:
        """Units of the middle layer."""
        return self._fitted.network.topology.hidden[self._layer_of(self._middle)]

    @property
    def _middle(self) -> int:
        """Number of the middle hidden layer."""
        return len(self._fitted.network.topology.hidden) // 2

    def _errors(self, X: Any, *, per_feature: bool, frames: bool) -> Any:
        from dask_dl.predict import predict_rows
        from dask_dl.predictor import InputErrors

        predictor = InputErrors.of(self._fitted.predictor, per_feature=per_feature)
        answer = InputErrors.each if per_feature else InputErrors.means
        return predict_rows(
            self._fitted, X, None, answer, type(self).__name__, self._threads, predictor=predictor, frames=frames
        )
