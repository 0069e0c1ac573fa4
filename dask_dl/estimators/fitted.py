"""Views of what was learned: the attributes and methods of a fitted estimator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from dask_dl.estimators.dataset import Dataset
from dask_dl.estimators.measuring import evaluate_dataset

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from dask_dl.frame.encoder import Encoder
    from dask_dl.model import Model
    from dask_dl.show.evaluation import Evaluation, Evaluations


#: Attributes of an estimator after a cross-validation that keeps everything.
KEPT = ("cross_validation_models_", "cross_validation_predictions_", "cross_validation_fold_assignment_")


def forget(estimator: Any) -> None:
    """Drop what an earlier cross-validation left."""
    for name in KEPT:
        estimator.__dict__.pop(name, None)


class Fitted(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Attributes and methods that a fitted estimator has."""

    model_: Model
    n_jobs: int | None

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    @property
    def _fitted(self) -> Model:
        if not hasattr(self, "model_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit first.")
        return self.model_

    @property
    def history_(self) -> pd.DataFrame:
        """Scoring events, one row each, with time, speed, epochs, and the metrics of both tables."""
        return self._fitted.record.history.to_pandas()

    @property
    def coefs_(self) -> list[NDArray[np.float32]]:
        """Weights of every layer, (inputs, units), inputs in the order of `encoder_.input_names`."""
        return [weight.T for weight in self._fitted.network.topology.unpack(self._fitted.network.flat)[0]]

    @property
    def intercepts_(self) -> list[NDArray[np.float32]]:
        """Biases of every layer, (units,)."""
        return self._fitted.network.topology.unpack(self._fitted.network.flat)[1]

    @property
    def n_iter_(self) -> int:
        """Rounds of training and averaging."""
        return self._fitted.record.n_rounds

    @property
    def best_iteration_(self) -> int | None:
        """Round of the best scoring event by `stopping_metric`; None when nothing could be measured."""
        best = self._fitted.record.history.best
        return None if best is None else best.iterations

    @property
    def best_score_(self) -> float | None:
        """`stopping_metric` at the best scoring event, of the validation table if there is one; lower is better."""
        history = self._fitted.record.history
        return None if history.best is None else history.score_of(history.best)

    @property
    def metrics_(self) -> Evaluations:
        """Evaluations of the network at its last scoring, by table, as `evaluate` returns them.

        Returns
        -------
        dict of str to Evaluation
            "training" (the rows of `score_training_samples`) and, with an eval_set, "validation". Where the best network was
            put back, they are its own. `to_pandas()` makes a table of all figures.
        """
        from dask_dl.show.evaluation import Evaluations

        return Evaluations.of(self._fitted)

    def evaluate(
        self, X: Any, y: Any = None, *, sample_weight: Any = None, offset: Any = None, custom_metric: Any = None
    ) -> Evaluation:
        """Measure the model on a table, in one pass and in flat memory: of a Dask collection where its rows lie.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `predict`. Or a `Dataset` whose rows are encoded as those of the model: the rows that train are measured.
        y : str, int, or aligned collection of n values, optional
            The target; by default the column of that name in training.
        sample_weight : str, int or aligned collection, optional
            0 or more; rows of weight 0 do not count.
        offset : str, int, aligned collection or None
            As in `predict`.
        custom_metric : scorer, str or CustomMetric, optional
            A metric of your own, as the parameter of that name; by default that of the training.

        Returns
        -------
        Evaluation
            A mapping of all metrics by name, with tables and pictures; an awaitable of one for a Dataset of an asynchronous
            client. Rows without a target do not count, and neither do those with a label that training never saw (warned).

        Raises
        ------
        ParameterError, SchemaError
            What `fit` would say of such values, and when no row has a known target.
        """
        from dask_dl.evaluation import measure_table
        from dask_dl.show.evaluation import Evaluation

        model = self._fitted
        if isinstance(X, Dataset):
            beside = {"y": y, "sample_weight": sample_weight, "offset": offset}
            return evaluate_dataset(model, X, beside, custom_metric, self.n_jobs)  # type: ignore[no-any-return]
        found = measure_table(model, X, y, sample_weight, offset, custom_metric, type(self).__name__)
        return Evaluation.of(model, found.measured, label=found.label, n_rows=found.n_rows)

    @property
    def cross_validation_summary_(self) -> pd.DataFrame:
        """Metrics of the rows of each fold, by the model that has not seen them.

        Returns
        -------
        pandas.DataFrame
            A row for each metric; columns `mean` and `sd` (with n - 1 below), and one for each fold.

        Raises
        ------
        AttributeError
            Where nothing was cross-validated.
        """
        folds = self._fitted.record.folds
        if folds is None:
            raise AttributeError("this model was not cross-validated: give nfolds to the constructor, or folds to fit.")
        return folds.to_pandas()

    def plot_folds(self, ax: Any = None) -> Any:
        """Draw the loss of each fold of a cross-validation, and their mean, with matplotlib; returns the axes."""
        from dask_dl.show.plots import plot_folds

        return plot_folds(self.cross_validation_summary_.loc[self._fitted.record.history.loss], ax)

    @property
    def stopped_by_(self) -> str | None:
        """Reason why training ended, such as "epochs", a stopping parameter, "callback" or "interrupted"."""
        return self._fitted.record.stopped_by

    @property
    def parameters_(self) -> dict[str, Any]:
        """Parameters in effect, with automatic choices replaced by what they became."""
        return dict(self._fitted.record.effective)

    @property
    def encoder_(self) -> Encoder:
        """How columns become network inputs."""
        return self._fitted.encoder

    @property
    def feature_importances_(self) -> NDArray[np.float64]:
        """Importance of every column of training by the weights, as a vector; they sum to 1.

        See `importances`. Columns that were dropped have 0.
        """
        from dask_dl.explain.importances import feature_importances

        return feature_importances(self._fitted)

    def importances(self, *, per_input: bool = False) -> pd.DataFrame:
        """Importances by the weights of the first two layers (Gedeon 1997), the largest first.

        They are computed when they are asked for, from the weights alone: no row is read. `permutation_importance` says
        what a column is worth on a table.

        Parameters
        ----------
        per_input : bool, default False
            Whether every input of the network has a row, as in H2O, and not every column of the table, whose inputs are
            added up.

        Returns
        -------
        pandas.DataFrame
            Indexed by the name (`variable`), with the columns `relative` (the most important input has 1), `scaled` (the
            first row has 1) and `share` (of the sum). The formula: algorithm.md#variable-importances.
        """
        from dask_dl.explain.importances import importances

        return importances(self._fitted, per_input=per_input)

    def plot_importances(self, importances: pd.DataFrame | None = None, n: int = 20, ax: Any = None) -> Any:
        """Draw the largest importances as bars with matplotlib; returns the axes.

        Parameters
        ----------
        importances : pandas.DataFrame, optional
            As `importances` or `permutation_importance` returns them; by default those of the columns by the weights.
        n : int, default 20
            Bars, at most.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from dask_dl.show.importance_plots import plot_importances

        table = self.importances() if importances is None else importances
        if "share" in table:
            return plot_importances(table["share"], None, "share of the importance, by the weights", n, ax)
        label = (
            f"{table.attrs['metric']}: how much worse without the column" if "metric" in table.attrs else "importance"
        )
        return plot_importances(table["importance"], table["deviation"], label, n, ax)

    @property
    def layer_summary_(self) -> pd.DataFrame:
        """Status of the layers, one row each, numbered from 1, the inputs; as H2O prints it.

        Returns
        -------
        pandas.DataFrame
            Columns `units`, `type`, `dropout` (percent), `l1`, `l2`; over the weights of the layer `mean_rate` and
            `rate_rms` (steps per unit of gradient), `momentum`, `mean_weight`, `weight_rms`, `mean_bias`, `bias_rms`, where
            "rms" is the deviation from the mean, as in H2O. With `layer_history=True` also `dead_units`: hidden units that
            passed no gradient at any row of the training sample.
        """
        from dask_dl.explain.layers import summary

        return summary(self._fitted)

    @property
    def layer_history_(self) -> pd.DataFrame:
        """Figures of the layers at every scoring, as in `layer_summary_`, by `epochs`, `samples` and `layer`.

        Raises
        ------
        AttributeError
            Where they were not kept: train with `layer_history=True`.
        """
        from dask_dl.explain.layers import history

        return history(self._fitted)

    @property
    def layer_warnings_(self) -> list[str]:
        """Faults of layers, in sentences, such as weights that exploded, and units that died where they were counted."""
        from dask_dl.explain.layers import faults

        return faults(self._fitted)

    def weights(self, layer: int) -> pd.DataFrame:
        """Weights into a layer under their names; `coefs_` has them as arrays.

        Parameters
        ----------
        layer : int
            Number of the layer, from 0, the first hidden one.

        Returns
        -------
        pandas.DataFrame of shape (units, inputs)
            Columns are the inputs of the network, or the units C1, C2, ... of the layer below; rows are units, of the output
            classes. Of maxout each unit has two rows, one for each channel.

        Raises
        ------
        ParameterError
            When there is no such layer.
        """
        from dask_dl.explain.layers import weights

        return weights(self._fitted, layer)

    def biases(self, layer: int) -> pd.Series[Any]:
        """Biases of a layer, indexed as the rows of `weights`. Raises ParameterError when there is no such layer."""
        from dask_dl.explain.layers import biases

        return biases(self._fitted, layer)

    def plot_history(self, ax: Any = None) -> Any:
        """Draw the loss against epochs with matplotlib; returns the axes."""
        from dask_dl.show.plots import plot_history

        return plot_history(self._fitted.record.history, ax)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one page of HTML, which needs nothing else: history, metrics, confusion matrix, columns, parameters.

        Parameters
        ----------
        path : str or path-like
            A local file; one that exists is replaced. A notebook shows the same by itself.
        """
        from dask_dl.show.report import report

        Path(path).write_text(report(self._fitted, f"{type(self).__name__} of dask_dl"), encoding="utf-8")

    def _repr_mimebundle_(self, **more: Any) -> dict[str, str]:
        """Representation for a notebook: the report when there is something to report."""
        if self.__sklearn_is_fitted__():
            return {"text/plain": repr(self), "text/html": self._html()}
        bundle: dict[str, str] = super()._repr_mimebundle_(**more)
        return bundle

    @property
    def _repr_html_(self) -> Callable[[], str]:
        """HTML for notebooks that do not ask for `_repr_mimebundle_`; a property, as in scikit-learn."""
        show: Callable[[], str] = self._html if self.__sklearn_is_fitted__() else super()._repr_html_
        return show

    def _html(self) -> str:
        from dask_dl.show.report import report

        return report(self._fitted)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            A local path or an fsspec URL. An existing file is replaced.
        """
        from dask_dl.model.files import save_model

        save_model(self._fitted, path)

    def export_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the model as ONNX, with everything from columns to answers, for onnxruntime in any language.

        Parameters
        ----------
        path : str or path-like
            A local path or an fsspec URL. An existing file is replaced.

        Raises
        ------
        ParameterError
            When the model is one that ONNX cannot express.
        """
        from dask_dl.export.onnx_writer import write_onnx

        write_onnx(self._fitted, path)

    def export_pojo(self, path: str | os.PathLike[str], package: str | None = None) -> None:
        """Write the model as one class of plain Java.

        Parameters
        ----------
        path : str or path-like
            A local path or an fsspec URL of a file such as Delayed.java, after which the class is named. An existing file is
            replaced.
        package : str, optional
            Package of the class, such as "com.example".

        Raises
        ------
        ParameterError
            When Java has no such name of a class or package.
        """
        from dask_dl.export.pojo_writer import write_pojo

        write_pojo(self._fitted, path, package)

    def export_mojo(self, path: str | os.PathLike[str]) -> None:
        """Write the model as MOJO, for H2O's scorer in Java or `h2o.import_mojo`: see the guide, "MOJO archives of H2O".

        Parameters
        ----------
        path : str or path-like
            A local path or an fsspec URL. An existing file is replaced.

        Raises
        ------
        ParameterError
            When the model has options that no MOJO can carry; all are named.
        """
        from dask_dl.export.mojo_writer import write_mojo

        write_mojo(self._fitted, path)
