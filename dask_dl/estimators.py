"""The scikit-learn face: estimators for classes and for numbers, over pandas, NumPy and Dask."""

from __future__ import annotations

import functools
import inspect
import math
import threading
import time
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import NotFittedError

from dask_dl import parameters
from dask_dl.errors import ParameterError, SchemaError, warn

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from dask_dl.evaluation import ScoredRows
    from dask_dl.frame.encoder import Encoder
    from dask_dl.model import Model


#: Exit status of a process that wrote a checkpoint because of SIGTERM: 128 + 15, as a shell reports that signal.
TERMINATED = 143


def _known_names_only(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that answers a name that is none with what to write instead; its signature stays."""
    known = inspect.signature(init).parameters

    @functools.wraps(init)
    def checked(self: Any, **given: Any) -> None:
        parameters.refuse_names({name: value for name, value in given.items() if name not in known}, "constructor")
        init(self, **given)

    return checked


class _DeepLearning(BaseEstimator):  # type: ignore[misc]
    """Parameters and methods that both estimators share."""

    _task: Literal["classification", "regression"]
    model_: Model
    client: Any
    #: Parameters of a loaded model that this version does not know: `fit` names them.
    _strange: Mapping[str, Any] = MappingProxyType({})

    @_known_names_only
    def __init__(
        self,
        *,
        hidden: Sequence[int] | int = (200, 200),
        activation: str = "rectifier",
        initial_weight_distribution: str = "uniform_adaptive",
        initial_weight_scale: float = 1.0,
        initial_weights: Sequence[Any] | None = None,
        initial_biases: Sequence[Any] | None = None,
        pretrained_autoencoder: Any = None,
        use_all_factor_levels: bool = True,
        standardize: bool = True,
        missing_values_handling: str = "mean_imputation",
        max_categorical_features: int = 2**31 - 1,
        categorical_encoding: str = "auto",
        ignore_const_cols: bool = True,
        sparse: bool = False,
        col_major: bool = False,
        loss: str = "automatic",
        distribution: str = "auto",
        quantile_alpha: float = 0.5,
        tweedie_power: float = 1.5,
        huber_alpha: float = 0.9,
        epochs: float = 10.0,
        train_samples_per_iteration: int = -2,
        target_ratio_comm_to_comp: float = 0.05,
        adaptive_rate: bool = True,
        rho: float = 0.99,
        epsilon: float = 1e-08,
        rate: float = 0.005,
        rate_annealing: float = 1e-06,
        rate_decay: float = 1.0,
        momentum_start: float = 0.0,
        momentum_ramp: float = 1000000.0,
        momentum_stable: float = 0.0,
        nesterov_accelerated_gradient: bool = True,
        mini_batch_size: int = 1,
        fast_mode: bool = True,
        input_dropout_ratio: float = 0.0,
        hidden_dropout_ratios: Sequence[float] | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        max_w2: float = math.inf,
        average_activation: float = 0.0,
        sparsity_beta: float = 0.0,
        elastic_averaging: bool = False,
        elastic_averaging_moving_rate: float = 0.9,
        elastic_averaging_regularization: float = 0.001,
        score_interval: float = 5.0,
        score_duty_cycle: float = 0.1,
        score_each_iteration: bool = False,
        score_training_samples: int = 10000,
        score_validation_samples: int = 0,
        score_validation_sampling: str = "uniform",
        classification_stop: float = 0.0,
        regression_stop: float = 1e-06,
        stopping_rounds: int = 5,
        stopping_metric: str = "auto",
        stopping_tolerance: float = 0.0,
        overwrite_with_best_model: bool = True,
        max_runtime_secs: float = 0.0,
        auc_type: str = "auto",
        gainslift_bins: int = -1,
        custom_metric_func: Any = None,
        diagnostics: bool = True,
        variable_importances: bool = True,
        export_weights_and_biases: bool = False,
        quiet_mode: bool = False,
        verbose: bool | int = False,
        nfolds: int = 0,
        fold_assignment: str = "auto",
        keep_cross_validation_models: bool = True,
        keep_cross_validation_predictions: bool = False,
        keep_cross_validation_fold_assignment: bool = False,
        balance_classes: bool = False,
        class_sampling_factors: Sequence[float] | None = None,
        max_after_balance_size: float = 5.0,
        force_load_balance: bool = True,
        replicate_training_data: bool = False,
        single_node_mode: bool = False,
        shuffle_training_data: bool = True,
        reproducible: bool = False,
        random_state: int | np.random.RandomState | np.random.Generator | None = None,
        n_jobs: int | None = None,
        parallelism: str = "auto",
        exchange_interval: int | None = None,
        client: Any = None,
        averaging_momentum: float | None = None,
        worker_timeout: float = 60.0,
        storage: str = "auto",
        checkpoint_dir: str | os.PathLike[str] | None = None,
        checkpoint_interval: float = 60.0,
        on_interrupt: str = "return",
    ) -> None:
        for name, value in dict(locals()).items():
            if name != "self":
                setattr(self, name, value)

    def set_params(self, **params: Any) -> Self:
        """Change parameters, as in scikit-learn; a name that is none is answered with what to write instead."""
        known = self._get_param_names()
        parameters.refuse_names({name: value for name, value in params.items() if name not in known}, "constructor")
        estimator: Self = super().set_params(**params)
        return estimator

    @classmethod
    def _unjudged(cls, given: Mapping[str, Any]) -> Self:
        """Return an estimator with parameters that are not judged before `fit`: a file may have those of another version."""
        known = cls._get_param_names()
        estimator = cls(**{name: value for name, value in given.items() if name in known})
        estimator._strange = {name: value for name, value in given.items() if name not in known}
        return estimator

    # ---- training ---------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        offset: Any = None,
        folds: Any = None,
        eval_set: Any = None,
        callbacks: Sequence[Callable[[Mapping[str, Any]], object]] | None = None,
        checkpoint: Any = None,
        resume: bool = False,
        **unknown: Any,
    ) -> Any:
        """Train on a table.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like of shape (n, p)
            Or a table of another library that speaks Arrow: polars, pyarrow, DuckDB, ... Texts and categoricals are
            categories, booleans 0 and 1, dates milliseconds since 1970, other numbers numbers. Missing values are allowed.
        y : str, int, or aligned collection of n values
            The target: the name or position of a column of `X`, or as many values as `X` has rows (a Dask Series with a
            Dask frame, a Dask or NumPy array with a Dask Array). Rows with a missing target are left out.
        sample_weight : str, int or aligned collection, optional
            Weight of every row in the loss, 0 or more; 0 leaves the row out.
        offset : str, int or aligned collection, optional
            Added to the prediction before the link; regression only.
        folds : not available yet
        eval_set : (X, y), (X, y, weight), (X, y, weight, offset), or a frame with the columns of `X` when `y` is a name
            A table to score on while training; a list may hold one such tuple.
        callbacks : list of callables, optional
            Called after every scoring with its record, as in `history_`, read-only. One that returns True stops the training.
        checkpoint : not available yet
        resume : bool
            Go on from the newest checkpoint in `checkpoint_dir`, as after a crash: same table, same parameters, as many threads
            as there are now. Without any checkpoint training starts from the beginning.
        **unknown
            Refused: the error says what to write instead, as for parameters of the constructor.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            All mistakes in the parameters, before anything is read.
        SchemaError
            What is wrong with the tables, before training starts; or a streamed table that changed meanwhile.
        StorageError
            When encoded rows cannot be written to the local disk, or read from it.
        ClusterError
            When the workers cannot do the work, or none is left (NoWorkersError).
        DivergedError
            When weights become non-finite or explode repeatedly, although steps were halved.

        Notes
        -----
        What was learned before rounds failed stays usable: `predict`, `save` and `history_` work after the error.

        Ctrl-C ends the training, with a warning, and leaves the better of the last network, which is scored first, and the
        best one; a second one skips that scoring, or aborts. With on_interrupt="raise" KeyboardInterrupt is raised then.
        `stopped_by_` says why training ended.
        """
        began = time.monotonic()  # before tables are opened, and what is imported for it the first time
        from dask_dl.cluster.clients import find_client

        parameters.refuse_names(unknown, "fit")
        call = {"sample_weight": sample_weight, "offset": offset, "folds": folds, "eval_set": eval_set,
                "callbacks": callbacks, "checkpoint": checkpoint, "resume": resume}  # fmt: skip
        requested = parameters.validate(self._given() | call, task=self._task)
        requested = {name: requested[name] for name in parameters.constructor_defaults()}
        if y is None:
            raise ParameterError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: give the name of the target's "
                f"column, or its values."
            )
        client = find_client(self.client)
        work = functools.partial(
            self._fit, requested, client, X, y, sample_weight, offset, eval_set, tuple(callbacks or ()), resume, began
        )
        return _awaitable(work) if client is not None and client.asynchronous else work()

    def _fit(
        self,
        requested: dict[str, Any],
        client: Any,
        X: Any,
        y: Any,
        weight: Any,
        offset: Any,
        eval_set: Any,
        callbacks: tuple[Callable[[Mapping[str, Any]], object], ...],
        resume: bool,
        began: float,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Self:
        """Train, on any thread but that of an asynchronous client."""
        from dask_dl.frame.source import OFFSET, TARGET, WEIGHT, open_source
        from dask_dl.frame.validation import open_validation
        from dask_dl.show.progress import Progress
        from dask_dl.training.backends import backend_for
        from dask_dl.training.engine import Request, train

        source = open_source(X, y, weight, offset)
        validation = open_validation(eval_set, source, {TARGET: y, WEIGHT: weight, OFFSET: offset})
        progress = Progress(quiet=not requested["verbose"] or requested["quiet_mode"])
        backend = backend_for(requested, client, progress.say, cancelled)
        request = Request(source, self._task, requested, validation, resume, began)
        model, failure = train(request, backend, progress, callbacks=callbacks, cancelled=cancelled)
        if failure is not None and model.n_seen == 0:
            raise failure  # nothing was learned: an earlier model stays
        self.model_ = model
        self._set_names(has_names=source.has_text_names)
        if failure is not None:
            raise failure
        if model.stopped_by == "terminated":
            raise SystemExit(TERMINATED)
        if model.stopped_by == "interrupted":
            text = f"training was interrupted after {model.n_seen / model.n_rows:.2f} epochs; the best model so far is there."
            if (
                requested["on_interrupt"] == "raise" and not cancelled()
            ):  # the caller of an awaited fit gets CancelledError
                raise KeyboardInterrupt(text)
            warn(text)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """For pickling: a client belongs to its process."""
        return {**super().__getstate__(), "client": None}

    def __sklearn_clone__(self) -> Self:
        """A client is shared by clones: it cannot be copied."""
        client, self.client = self.client, None
        try:
            copy: Self = super().__sklearn_clone__()
        finally:
            self.client = client
        copy.client, copy._strange = client, dict(self._strange)  # another of this class
        return copy

    def _given(self) -> dict[str, Any]:
        """All parameters, known to this version or not."""
        return {**self.get_params(deep=False), **self._strange}

    def _set_names(self, *, has_names: bool) -> None:
        names = self.model_.feature_names
        self.n_features_in_ = len(names)
        self.__dict__.pop("feature_names_in_", None)
        if has_names:
            self.feature_names_in_ = np.array(names, dtype=object)
        if self._task == "classification":
            self.classes_ = self.model_.target.labels.copy()

    # ---- what was learned -------------------------------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.non_deterministic = self.random_state is None
        return tags

    @property
    def _fitted(self) -> Model:
        if not hasattr(self, "model_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit first.")
        return self.model_

    @property
    def history_(self) -> pd.DataFrame:
        """Scoring events, one row each, with time, speed, epochs, and the metrics of both tables."""
        return self._fitted.history.to_pandas()

    @property
    def coefs_(self) -> list[NDArray[np.float32]]:
        """Weights of every layer, (inputs, units), inputs in the order of `encoder_.input_names`."""
        return [weight.T for weight in self._fitted.topology.unpack(self._fitted.flat)[0]]

    @property
    def intercepts_(self) -> list[NDArray[np.float32]]:
        """Biases of every layer, (units,)."""
        return self._fitted.topology.unpack(self._fitted.flat)[1]

    @property
    def n_iter_(self) -> int:
        """Rounds of training and averaging."""
        return self._fitted.n_rounds

    @property
    def best_iteration_(self) -> int | None:
        """Round of the best scoring event by `stopping_metric`; None when nothing could be measured."""
        best = self._fitted.history.best
        return None if best is None else int(best["iterations"])

    @property
    def best_score_(self) -> float | None:
        """`stopping_metric` at the best scoring event, of the validation table if there is one; lower is better."""
        history = self._fitted.history
        return None if history.best is None else history.score_of(history.best)

    @property
    def metrics_(self) -> pd.DataFrame:
        """Metrics of the network at its last scoring, a row each, with a column for each table that was scored.

        Returns
        -------
        pandas.DataFrame
            Columns `training` (the rows of `score_training_samples`) and, with an eval_set, `validation`; rows `rmse`,
            `logloss`, `r2` and `classification_error` of a classifier, `rmse`, `deviance`, `mae` and `r2` of a regressor.
            Where the best network was put back, they are its own.
        """
        return self._fitted.history.last_metrics()

    @property
    def stopped_by_(self) -> str | None:
        """Reason why training ended, such as "epochs", a stopping parameter, "callback" or "interrupted"."""
        return self._fitted.stopped_by

    @property
    def parameters_(self) -> dict[str, Any]:
        """Parameters in effect, with automatic choices replaced by what they became."""
        return dict(self._fitted.effective)

    @property
    def encoder_(self) -> Encoder:
        """How columns become network inputs."""
        return self._fitted.encoder

    def plot_history(self, ax: Any = None) -> Any:
        """Draw the loss against epochs with matplotlib; returns the axes."""
        from dask_dl.show.plots import plot_history

        return plot_history(self._fitted.history, ax)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one page of HTML, which needs nothing else: history, metrics, confusion matrix, columns, parameters.

        Parameters
        ----------
        path : str or path-like
            A local file; one that exists is replaced. A notebook shows the same by itself.
        """
        from dask_dl.show.report import page

        Path(path).write_text(page(f"{type(self).__name__} of dask_dl", self._fitted.html()), encoding="utf-8")

    def _repr_mimebundle_(self, **more: Any) -> dict[str, str]:
        """Representation for a notebook: the report when there is something to report."""
        if self.__sklearn_is_fitted__():
            return {"text/plain": repr(self), "text/html": self._fitted.html()}
        bundle: dict[str, str] = super()._repr_mimebundle_(**more)
        return bundle

    @property
    def _repr_html_(self) -> Callable[[], str]:
        """HTML for notebooks that do not ask for `_repr_mimebundle_`; a property, as in scikit-learn."""
        show: Callable[[], str] = self._fitted.html if self.__sklearn_is_fitted__() else super()._repr_html_
        return show

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            A local path or an fsspec URL. An existing file is replaced.
        """
        self._fitted.save(path)

    # ---- prediction -------------------------------------------------------------------------------------------------

    def _predict(self, X: Any, offset: Any, answer: Any) -> Any:
        """`answer(predictor, outputs)` of every row: lazy over Dask collections, an array otherwise."""
        from dask_dl.predict import predict_rows

        return predict_rows(self._fitted, X, offset, answer, type(self).__name__)

    def _scored_rows(self, X: Any, y: Any, weight: Any, offset: Any) -> ScoredRows:
        """Truth, prediction and weight of the rows of a table that count in a score."""
        from dask_dl.evaluation import scored_rows

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
        """
        from dask_dl.frame.arrays import is_dask_array
        from dask_dl.frame.dtypes import check_unicode
        from dask_dl.frame.interchange import as_table
        from dask_dl.predict import table_of_predictions

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
        return table_of_predictions(self._fitted, X, offset, keep, type(self).__name__)


class DeepLearningClassifier(ClassifierMixin, _DeepLearning):  # type: ignore[misc]
    """Multi-layer perceptron for classes, with H2O Deep Learning's parameters and numbers.

    {parameters}

    Attributes
    ----------
    classes_ : ndarray
        Labels, sorted, in their original type.
    history_, metrics_, confusion_matrix_, coefs_, intercepts_, n_iter_, parameters_, encoder_
        See the properties.
    n_features_in_, feature_names_in_
        As in scikit-learn.
    """

    _task = "classification"

    def predict(self, X: Any, *, offset: Any = None) -> Any:
        """The most probable class of every row, in its original type.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            Columns of training, in any order; others are ignored, missing ones are taken as missing values (warned).
        offset : None
            Classifiers have no offsets.

        Returns
        -------
        dask.dataframe.Series, dask.array.Array or ndarray
            Lazy for Dask: with index, divisions and dtype for a DataFrame, with the chunks of its rows for an Array.
        """
        from dask_dl.predictor import Predictor

        return self._predict(X, offset, Predictor.labels)

    @property
    def confusion_matrix_(self) -> pd.DataFrame | None:
        """Rows by class (down) and prediction (across) at the last scoring, in the order of `classes_`.

        Of the validation table if there was an eval_set, else of the scored training rows: the name of the frame's index
        says which, "actual (validation)" or "actual (training)".

        Returns
        -------
        pandas.DataFrame or None
            (K, K) numbers of rows; where rows have weights their sums, in units of the mean weight in training. None for more
            than 50 classes.
        """
        return self._fitted.confusion_matrix()

    def predict_proba(self, X: Any) -> Any:
        """Probability of every class: float32, one column per class, in the order of `classes_`.

        Returns
        -------
        dask.dataframe.DataFrame, dask.array.Array or ndarray of shape (n, K)
            The frame's columns are named by the classes.
        """
        from dask_dl.predictor import Predictor

        return self._predict(X, None, Predictor.probabilities)

    def predict_log_proba(self, X: Any) -> Any:
        """Natural logarithm of `predict_proba`, in the same form; minus infinity where a probability is 0.

        Returns
        -------
        dask.dataframe.DataFrame, dask.array.Array or ndarray of shape (n, K)
            float32; the frame's columns are named by the classes.
        """
        from dask_dl.predictor import Predictor

        return self._predict(X, None, Predictor.log_probabilities)

    def score(self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> float:
        """Accuracy of `predict`. Rows without a label do not count; labels never seen in training count as wrong (warned).

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `predict`.
        y : str, int, or aligned collection of n values
            Labels, of any type that `fit` takes.
        sample_weight : str, int or aligned collection, optional
            0 or more; rows of weight 0 do not count.
        offset : None
            Classifiers have no offsets.
        """
        from sklearn.metrics import accuracy_score

        return float(accuracy_score(**self._scored_rows(X, y, sample_weight, offset)._asdict()))


class DeepLearningRegressor(RegressorMixin, _DeepLearning):  # type: ignore[misc]
    """Multi-layer perceptron for a number, with H2O Deep Learning's parameters and numbers.

    {parameters}

    Attributes
    ----------
    history_, metrics_, coefs_, intercepts_, n_iter_, parameters_, encoder_
        See the properties.
    n_features_in_, feature_names_in_
        As in scikit-learn.
    """

    _task = "regression"

    def predict(self, X: Any, *, offset: Any = None) -> Any:
        """Predicted target of every row, float64, in the unit of the training target.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            Columns of training, in any order; others are ignored, missing ones are taken as missing values (warned).
        offset : str, int, aligned collection or None
            Needed when the model was trained with offsets; None takes the column of that name.

        Returns
        -------
        dask.dataframe.Series, dask.array.Array or ndarray
            Lazy for Dask: with index, divisions and dtype for a DataFrame, with the chunks of its rows for an Array.
        """
        from dask_dl.predictor import Predictor

        return self._predict(X, offset, Predictor.numbers)

    def score(self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> float:
        """Coefficient of determination (R2) of `predict`. Rows without a target do not count.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix or array-like
            As in `predict`.
        y : str, int, or aligned collection of n values
            Targets, of any type that `fit` takes.
        sample_weight : str, int or aligned collection, optional
            0 or more; rows of weight 0 do not count.
        offset : str, int, aligned collection or None
            As in `predict`.
        """
        from sklearn.metrics import r2_score

        return float(r2_score(**self._scored_rows(X, y, sample_weight, offset)._asdict()))


def load(path: str | os.PathLike[str]) -> DeepLearningClassifier | DeepLearningRegressor:
    """Read a model that `save` wrote. No code in the file is run.

    Parameters
    ----------
    path : str or path-like
        A local path or an fsspec URL.

    Returns
    -------
    DeepLearningClassifier or DeepLearningRegressor
        Fitted, as it was saved.

    Raises
    ------
    ArchiveError
        When the file is truncated, damaged, foreign or newer than this version.
    FileNotFoundError
    """
    from dask_dl.model import Model

    model = Model.load(path)
    kind = DeepLearningClassifier if model.task == "classification" else DeepLearningRegressor
    estimator = kind._unjudged({**model.requested, "client": None})  # noqa: SLF001  # its own constructor, in a way
    estimator.model_ = model
    estimator._set_names(has_names=model.is_named)  # noqa: SLF001  # its own constructor, in a way
    return estimator


async def _awaitable(work: Callable[..., Any]) -> Any:
    """`work` on a thread of its own; when its caller is cancelled it ends as after Ctrl-C, and is waited for."""
    import asyncio

    cancelled = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, cancelled=cancelled.is_set))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.wait([running])
        raise


def _write_docstrings() -> None:
    section = parameters.numpydoc().replace("\n", "\n    ")
    for kind in (DeepLearningClassifier, DeepLearningRegressor):
        kind.__doc__ = (kind.__doc__ or "").replace("{parameters}", section)


_write_docstrings()
