"""Parameters, fit and prediction of the estimators."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from dask_dl import parameters
from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence


from dask_dl.estimators.dataset import Dataset
from dask_dl.estimators.fitted import forget
from dask_dl.estimators.going_on import (
    ONE_PASS,
    GoingOn,
    autoencoder_of,
    check_one_pass,
    check_source,
    export,
    kept_columns,
    labels_of,
    model_of,
)
from dask_dl.estimators.predicting import Predicting


def _known_names_only(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that answers a name that is none with what to write instead; its signature stays."""
    known = inspect.signature(init).parameters

    @functools.wraps(init)
    def checked(self: Any, **given: Any) -> None:
        parameters.refuse_names({name: value for name, value in given.items() if name not in known}, "constructor")
        init(self, **given)

    return checked


class DeepLearning(Predicting):
    """Parameters and methods that all estimators share.

    {parameters}
    """

    _task: parameters.Task
    _has_target: ClassVar[bool] = True  #: whether rows have a target beside their inputs
    client: Any
    #: Parameters of a loaded model that this version does not know: `fit` names them.
    _strange: Mapping[str, Any] = MappingProxyType({})

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Write the parameters into the docstring of an estimator."""
        super().__init_subclass__(**kwargs)
        if cls.__doc__:
            cls.__doc__ = cls.__doc__.replace("{parameters}", parameters.numpydoc().replace("\n", "\n    "))

    @_known_names_only
    def __init__(
        self,
        *,
        hidden: Sequence[int] | int = (200, 200),
        activation: str = "rectifier",
        output_activation: str = "auto",
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
        custom_metric: Any = None,
        custom_metric_func: Any = None,
        diagnostics: bool = True,
        layer_history: bool = False,
        variable_importances: bool = True,
        export_weights_and_biases: bool = False,
        quiet_mode: bool = False,
        verbose: bool | int = False,
        nfolds: int = 0,
        fold_assignment: str = "auto",
        fold_stopping: str = "inner",
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
        n_shards: int | None = None,
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
        export_checkpoints_dir: str | os.PathLike[str] | None = None,
        warm_start: bool = False,
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
            Or a `Dataset` that `prepare` made, which has the target, weights, offsets and eval_set with it. Or a table of
            another library that speaks Arrow: polars, pyarrow, DuckDB, ... Texts and categoricals are
            categories, booleans 0 and 1, dates milliseconds since 1970, other numbers numbers. Missing values are allowed.
        y : str, int, or aligned collection of n values
            The target: the name or position of a column of `X`, or as many values as `X` has rows (a Dask Series with a
            Dask frame, a Dask or NumPy array with a Dask Array). Rows with a missing target are left out. An autoencoder has
            none: values are ignored, and the name of a column is refused.
        sample_weight : str, int or aligned collection, optional
            Weight of every row in the loss, 0 or more; 0 leaves the row out.
        offset : str, int or aligned collection, optional
            Added to the prediction before the link; regression only.
        folds : str, int or aligned collection, optional
            Fold of every row, for a cross-validation: rows of one value are held out together. See `nfolds`.
        eval_set : (X, y), (X, y, weight), (X, y, weight, offset), or a frame with the columns of `X` when `y` is a name
            A table to score on while training; a list may hold one such tuple. Of an autoencoder a table alone, or with
            weights (X, None, weight).
        callbacks : list of callables, optional
            Called after every scoring with its record, as in `history_`, read-only. One that returns True stops the training.
        checkpoint : fitted estimator, or path or URL of a saved model, optional
            Go on from this model to `epochs` passes in all, on these rows or others of the same columns. Columns become inputs
            as they did then; a missing column and a level never seen are what they are in `predict`.
        resume : bool
            Go on from the newest checkpoint in `checkpoint_dir`, as after a crash: same table, same parameters, as many threads
            as there are now. Without any checkpoint training starts from the beginning.
        **unknown : object
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
        parameters.refuse_names(unknown, "fit")
        call = {"sample_weight": sample_weight, "offset": offset, "folds": folds, "eval_set": eval_set,
                "callbacks": callbacks, "checkpoint": checkpoint, "resume": resume}  # fmt: skip
        requested = self._requested(call)
        going = GoingOn() if checkpoint is None else GoingOn(model_of(checkpoint))
        if checkpoint is None and requested["warm_start"] and hasattr(self, "model_"):
            going = GoingOn(self.model_, requested["epochs"])
        call.update(X=X, y=y, callbacks=tuple(callbacks or ()))
        return self._begin(requested, call, going, began)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, offset: Any = None, classes: Any = None) -> Any:
        """One pass over a table, from where the last call ended; see `partial_fit`."""
        began = time.monotonic()
        call = dict.fromkeys(("folds", "eval_set", "callbacks", "checkpoint"))
        call |= {"sample_weight": sample_weight, "offset": offset, "resume": False}
        requested = self._requested(call)
        check_one_pass(requested)
        if isinstance(X, Dataset):
            raise ParameterError("X is a Dataset, whose rows are all there: pass it to fit.")
        model = getattr(self, "model_", None)
        adds = None if model is None else 1.0
        going = GoingOn(model, adds, ONE_PASS, labels_of(classes, model), more_follow=True)
        return self._begin(requested, call | {"X": X, "y": y, "callbacks": ()}, going, began)

    def _begin(self, requested: dict[str, Any], call: dict[str, Any], going: GoingOn, began: float) -> Any:
        """Train, here and now or, for an asynchronous client, as something to await."""
        from dask_dl.cluster.clients import awaitable, find_client

        X = call["X"]
        if requested["export_checkpoints_dir"] is not None:
            from dask_dl.model.exports import check_exports

            check_exports(requested["export_checkpoints_dir"])
        if isinstance(X, Dataset):
            beside = ("y", "sample_weight", "offset", "eval_set")
            X.check_alone({name: call[name] for name in beside}, self.client)
        elif not self._has_target:
            if isinstance(call["y"], (str, int)):
                raise ParameterError(
                    f"y={call['y']!r}: {type(self).__name__} has no target, and learns all columns of X. Leave y out, and "
                    f"drop the columns that it shall not learn."
                )
            call["y"] = None  # a pipeline passes its own
        elif call["y"] is None:
            raise ParameterError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: give the name of the target's "
                f"column, or its values."
            )
        client = X.client if isinstance(X, Dataset) else find_client(self.client)
        work = functools.partial(self._fit, requested, client, {**call, "going": going}, began)
        return awaitable(work) if client is not None and client.asynchronous else work()

    def _fit(
        self,
        requested: dict[str, Any],
        client: Any,
        call: Mapping[str, Any],
        began: float,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Self:
        """Train, on any thread but that of an asynchronous client."""
        from dask_dl.events import Callbacks, Listeners
        from dask_dl.show.progress import Progress
        from dask_dl.training.backends import backend_for
        from dask_dl.training.engine import Request, train

        progress = Progress(quiet=not requested["verbose"] or requested["quiet_mode"])
        listeners, X = Listeners([Callbacks(call["callbacks"]), progress]), call["X"]
        pretrained = autoencoder_of(requested["pretrained_autoencoder"])
        requested = {**requested, "pretrained_autoencoder": None}  # a model knows nothing of where it began
        with contextlib.ExitStack() as stack:
            if isinstance(X, Dataset):
                backend, encoded = stack.enter_context(X.used(self._task, requested, listeners, cancelled))
                source, validation = encoded.data.tables["training"][0], None
            else:
                source, validation = self._tables(call, listeners)
                backend, encoded = backend_for(requested, client, listeners, cancelled), None
            request = Request(source, self._task, requested, validation, encoded, call["resume"], began, *call["going"])
            request = request._replace(pretrained=pretrained)
            if requested["nfolds"] or call["folds"] is not None:
                outcome = self._cross_validate(request, backend, listeners, cancelled, call)
            else:
                forget(self)
                outcome = train(request, backend, listeners, cancelled=cancelled)
        # Where nothing was learned, an earlier model stays.
        if outcome.failure is None or outcome.model.record.n_seen > 0:
            self.model_ = outcome.model
            self._set_names(has_names=source.has_text_names)
            export(outcome.model, requested["export_checkpoints_dir"], listeners)
        # An awaited fit raises CancelledError.
        outcome.settle(listeners, "return" if cancelled() else requested["on_interrupt"])
        return self

    def _tables(self, call: Mapping[str, Any], listeners: Any) -> tuple[Any, Any]:
        """Training and validation table of a call."""
        from dask_dl.frame.source import OFFSET, TARGET, WEIGHT, open_source
        from dask_dl.frame.validation import open_validation

        given = {TARGET: call["y"], WEIGHT: call["sample_weight"], OFFSET: call["offset"]}
        model = call["going"].model
        source = open_source(
            call["X"], call["y"], call["sample_weight"], call["offset"], call["folds"],
            keep=kept_columns(model, call["X"]), warn=listeners.warn,
        )  # fmt: skip
        check_source(model, source, type(self).__name__)
        return source, open_validation(call["eval_set"], source, given, listeners.warn)

    def _cross_validate(
        self, request: Any, backend: Any, listeners: Any, cancelled: Callable[[], bool], call: Mapping[str, Any]
    ) -> Any:
        """Train on all but each fold, and on all rows; keep of the folds what is asked for."""
        from dask_dl.estimators.cross_validated import check_kept, keep
        from dask_dl.validation.cross_validation import cross_validate

        if isinstance(call["X"], Dataset):
            check_kept(request.parameters, call)
        result = cross_validate(request, backend, listeners, cancelled=cancelled)
        for model in result.models:
            export(model, request.parameters["export_checkpoints_dir"], listeners)
        forget(self)
        keep(self, result, request.parameters, {**call, "X": None if isinstance(call["X"], Dataset) else call["X"]})
        return result.outcome

    def __getstate__(self) -> dict[str, Any]:
        """State for pickling, without the client, which belongs to its process."""
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

    def _requested(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters in canonical form, checked together with those of a call. Raises ParameterError."""
        requested = parameters.validate({**self._given(), **call}, task=self._task)
        return {name: requested[name] for name in parameters.constructor_defaults()}

    def _given(self) -> dict[str, Any]:
        """All parameters, known to this version or not."""
        return {**self.get_params(deep=False), **self._strange}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.non_deterministic = self.random_state is None
        return tags

    def _set_names(self, *, has_names: bool) -> None:
        names = self.model_.record.feature_names
        self.n_features_in_ = len(names)
        self.__dict__.pop("feature_names_in_", None)
        if has_names:
            self.feature_names_in_ = np.array(names, dtype=object)
