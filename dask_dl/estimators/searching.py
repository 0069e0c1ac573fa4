"""Searches for the best parameters of an estimator."""

from __future__ import annotations

import contextlib
import functools
import math
import tempfile
import time
from typing import TYPE_CHECKING, Any

from sklearn.base import clone

from dask_dl import parameters
from dask_dl.errors import ParameterError
from dask_dl.estimators.base import DeepLearning
from dask_dl.estimators.dataset import Dataset
from dask_dl.estimators.going_on import GoingOn, export
from dask_dl.estimators.searched import Searched
from dask_dl.metrics.table import METRICS, TASK_OF, loss_of
from dask_dl.training.settings import stopping_of
from dask_dl.tuning.options import OPTIONS, SearchSettings, numpydoc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dask_dl.tuning.candidates import Candidate
    from dask_dl.tuning.jobs import Jobs

#: What a call of `fit` has beside the table.
CALL = ("sample_weight", "offset", "folds", "eval_set")


class GridSearch(Searched):
    """Search for the best parameters of an estimator, on a table of any size that is read and encoded once.

    Candidates are trained side by side. They are judged by rows held out where the estimator has `nfolds` or `folds` are
    given, else by `eval_set`, else by the training rows that are scored.

    {parameters}

    Attributes
    ----------
    leaderboard_
        A frame of pandas with the best candidate first, by its number: the parameters chosen for it, every metric of the
        rows that judge, epochs, seconds, status ("trained", "failed", "interrupted"), error, and path of the model in
        `recovery_dir`.
    metric_ : str
        Metric by which they are sorted.
    ended_by_ : str or None
        Reason why the search ended before its last candidate, such as "max_runtime_secs" or "interrupted".

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import dask_dl
    >>> table = pd.DataFrame({"a": np.arange(200.0), "y": np.arange(200.0) ** 2})
    >>> regressor = dask_dl.DeepLearningRegressor(epochs=2, random_state=1)
    >>> found = dask_dl.GridSearch(regressor, {"hidden": [[5], [10, 5]]}).fit(table, "y")
    >>> found.leaderboard_.index.sort_values().tolist()
    [0, 1]
    """

    def __init__(
        self,
        estimator: Any,
        space: Any,
        *,
        method: str = "grid",
        max_models: int | None = None,
        max_runtime_secs: float = 0.0,
        metric: str | None = None,
        stopping_rounds: int = 0,
        stopping_tolerance: float = 1e-3,
        min_epochs: float | None = None,
        reduction_factor: int = 3,
        n_jobs: int | None = None,
        random_state: int | None = None,
        recovery_dir: Any = None,
    ) -> None:
        self.estimator, self.space, self.method, self.max_models = estimator, space, method, max_models
        self.max_runtime_secs, self.metric = max_runtime_secs, metric
        self.stopping_rounds, self.stopping_tolerance = stopping_rounds, stopping_tolerance
        self.min_epochs, self.reduction_factor = min_epochs, reduction_factor
        self.n_jobs, self.random_state, self.recovery_dir = n_jobs, random_state, recovery_dir

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        offset: Any = None,
        folds: Any = None,
        eval_set: Any = None,
    ) -> Any:
        """Train all candidates.

        Parameters
        ----------
        X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix, array-like or Dataset
            As in the estimator's `fit`, and so are the others.
        y : str, int, or aligned collection of n values, optional
        sample_weight, offset, folds, eval_set : object, optional

        Returns
        -------
        GridSearch
            Itself; an awaitable of it where the client is asynchronous. Ctrl-C ends the search with what was tried so far.

        Raises
        ------
        ParameterError, SchemaError
            For a space that is none, and as the estimator's `fit` would raise them for the table.
        """
        from dask_dl.cluster.clients import awaitable, find_client

        if not isinstance(self.estimator, DeepLearning):
            raise ParameterError(
                f"estimator is a {type(self.estimator).__name__}: give a classifier, regressor or autoencoder of dask_dl."
            )
        settings = SearchSettings.of({name: getattr(self, name) for name in OPTIONS})
        call = {"sample_weight": sample_weight, "offset": offset, "folds": folds, "eval_set": eval_set}
        client = X.client if isinstance(X, Dataset) else find_client(self.estimator.client)
        if self.estimator._has_target and y is None and not isinstance(X, Dataset):  # noqa: SLF001  # as its own `fit`
            raise ParameterError("a search requires y: give the name of the target's column, or its values.")
        work = functools.partial(self._fit, X, y, call, client, settings, time.monotonic())
        return awaitable(work) if client is not None and client.asynchronous else work()

    def _fit(
        self,
        X: Any,
        y: Any,
        call: Mapping[str, Any],
        client: Any,
        settings: SearchSettings,
        began: float,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> GridSearch:
        """Search, on any thread but that of an asynchronous client.

        Parameters
        ----------
        X, y : object
            As in `fit`.
        call : mapping
            What stands beside the table.
        client : distributed.Client or None
            Of the cluster.
        settings : SearchSettings
        began : float
            When it was called, by `time.monotonic`.
        cancelled : callable
            Whether the caller wants it to end.

        Returns
        -------
        GridSearch
        """
        from dask_dl.events import Listeners
        from dask_dl.show.leaderboard import LiveLeaderboard
        from dask_dl.training.backends import backend_for
        from dask_dl.training.engine import Request
        from dask_dl.tuning.running import Limits, Search

        estimator, task = self.estimator, self.estimator._task  # noqa: SLF001  # as its own `fit`
        given = {name: value for name, value in call.items() if name != "folds"}
        base = estimator._requested(given)  # noqa: SLF001  # as above
        _check_alone(base, call, settings)
        limits = Limits(metric_of(settings.metric, base, task), math.inf, settings.stopping_rounds, settings.stopping_tolerance)  # fmt: skip  # noqa: E501
        if settings.max_runtime_secs:
            limits.deadline = began + settings.max_runtime_secs
        tell = Listeners([LiveLeaderboard(quiet=not base["verbose"] or base["quiet_mode"])])
        with contextlib.ExitStack() as stack:
            backend = encoded = None
            if isinstance(X, Dataset):
                X.check_alone({"y": y, **call}, estimator.client)
                backend, encoded = stack.enter_context(X.used(task, base, tell, cancelled))
                source, validation = encoded.data.tables["training"][0], None
            else:
                call = {**call, "X": X, "y": y if estimator._has_target else None, "going": GoingOn()}  # noqa: SLF001  # as above
                source, validation = estimator._tables(call, tell)  # noqa: SLF001  # as above
            folder = _folder(settings, stack)
            seed = self._seed(base, None if encoded is None else encoded.data.seed)
            seed = seed if folder is None else folder.begin(task, seed, limits.metric)
            base, candidates = self._candidates(settings, given, seed)
            if isinstance(X, Dataset):
                candidates = [_encoded_alike(candidate, base, task) for candidate in candidates]

            @contextlib.contextmanager
            def backend_of(requested: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
                if encoded is not None:
                    yield backend, encoded
                    return
                with backend_for(requested, client, tell, cancelled) as here:
                    yield here, None

            search = Search(
                Request(source, task, base, validation), limits, _jobs_of(settings, base, limits.metric), folder, tell,
                settings.n_jobs, cancelled, lambda model: export(model, base["export_checkpoints_dir"], tell),
            )  # fmt: skip
            tried = search.run(candidates, backend_of)
        self._set(tried, limits.metric, limits.reason, has_names=source.has_text_names)
        return self

    def _seed(self, base: Mapping[str, Any], of_dataset: int | None) -> int:
        """Seed of all candidates: they draw the same samples, and a search that goes on draws the same candidates."""
        from dask_dl.training.start import drawn_seed

        asked = base["random_state"]
        return of_dataset if asked is None and of_dataset is not None else drawn_seed(asked)

    def _candidates(
        self, settings: SearchSettings, given: Mapping[str, Any], seed: int
    ) -> tuple[Mapping[str, Any], list[Candidate]]:
        """Parameters that all candidates share, and the candidates."""
        from dask_dl.tuning.candidates import candidates_of

        estimator = clone(self.estimator).set_params(random_state=seed)

        def validate(chosen: Mapping[str, Any]) -> Mapping[str, Any]:
            found: Mapping[str, Any] = clone(estimator).set_params(**chosen)._requested(given)  # noqa: SLF001  # as above
            return found

        is_random = settings.method == "random" or (settings.method == "halving" and settings.max_models is not None)
        own = seed if settings.random_state is None else settings.random_state
        candidates = candidates_of(self.space, settings.max_models, own, validate, is_random=is_random)
        if settings.method == "halving" and any("epochs" in candidate.chosen for candidate in candidates):
            raise ParameterError(
                "space: method='halving' chooses the epochs of candidates. Leave epochs out of the space."
            )
        return estimator._requested(given), candidates  # noqa: SLF001  # as above


GridSearch.__doc__ = (GridSearch.__doc__ or "").replace("{parameters}", numpydoc())


def search(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    space: Any,
    sample_weight: Any = None,
    offset: Any = None,
    folds: Any = None,
    eval_set: Any = None,
    **options: Any,
) -> Any:
    """Train an estimator with many choices of parameters: `GridSearch(estimator, space, **options).fit(X, y, ...)`.

    Parameters
    ----------
    estimator : DeepLearningClassifier, DeepLearningRegressor or DeepLearningAutoEncoder
        With the parameters that all candidates share. It is not changed.
    X, y, sample_weight, offset, folds, eval_set : object
        As in `fit`.
    space : mapping of str to sequence or distribution, or sequence of such mappings
        Values of each parameter; several mappings are sub-spaces.
    **options : object
        `method`, `max_models` and the others of `GridSearch`.

    Returns
    -------
    GridSearch
        With `leaderboard_`, `best_model_` and `best_params_`; an awaitable of it where the client is asynchronous.

    Raises
    ------
    ParameterError, SchemaError
        As `GridSearch.fit`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import dask_dl
    >>> table = pd.DataFrame({"a": np.arange(200.0), "y": np.arange(200.0) ** 2})
    >>> found = dask_dl.search(
    ...     dask_dl.DeepLearningRegressor(epochs=2, random_state=1), table, "y", space={"hidden": [[5], [10, 5]]}
    ... )
    >>> found.leaderboard_.index.sort_values().tolist()
    [0, 1]
    """
    if strange := options.keys() - OPTIONS.keys():
        raise ParameterError(f"{', '.join(sorted(strange))}: a search has {', '.join(OPTIONS)}.")
    call = {"sample_weight": sample_weight, "offset": offset, "folds": folds, "eval_set": eval_set}
    return GridSearch(estimator, space, **options).fit(X, y, **call)


def metric_of(asked: str | None, base: Mapping[str, Any], task: parameters.Task) -> str:
    """Metric that judges: asked for, or the estimator's stopping_metric. Raises ParameterError."""
    name = base["stopping_metric"] if asked is None else asked
    name = loss_of(task) if name == "auto" else name
    known = [row.name for row in METRICS.values() if task in {TASK_OF[kind] for kind in row.kinds}]
    if name not in known:
        raise ParameterError(f"metric={asked!r}: {task} has {', '.join(known)}.")
    return stopping_of(
        {**base, "stopping_metric": name}, task
    ).metric  # which knows the direction of a metric of the user's


def _check_alone(base: Mapping[str, Any], call: Mapping[str, Any], settings: SearchSettings) -> None:
    """Refuse parameters of the estimator that several trainings cannot share. Raises ParameterError."""
    if base["checkpoint_dir"] is not None:
        raise ParameterError(
            "checkpoint_dir: candidates have a folder each; give the search a recovery_dir, and leave checkpoint_dir out."
        )
    if settings.method == "halving" and (base["nfolds"] or call["folds"] is not None):
        raise ParameterError(
            "method='halving': candidates go on from where they were, and folds begin anew. Judge them by eval_set, or by "
            "training rows."
        )


def _folder(settings: SearchSettings, stack: contextlib.ExitStack) -> Any:
    """Folder of the candidates' checkpoints, where there are any."""
    from dask_dl.tuning.recovery import SearchFolder

    if settings.recovery_dir is not None:
        return SearchFolder(settings.recovery_dir)
    if settings.method != "halving":
        return None
    return SearchFolder(stack.enter_context(tempfile.TemporaryDirectory(prefix="dask_dl-search-")), keeps_models=False)


def _jobs_of(settings: SearchSettings, base: Mapping[str, Any], metric: str) -> Callable[[Sequence[Candidate]], Jobs]:
    """Order of trainings."""
    from dask_dl.tuning.jobs import Halving, Once

    if settings.method != "halving":
        return Once
    return functools.partial(
        Halving,
        epochs=base["epochs"],
        min_epochs=settings.min_epochs,
        factor=settings.reduction_factor,
        greater_is_better=METRICS[metric].greater_is_better,
    )


def _encoded_alike(candidate: Candidate, base: Mapping[str, Any], task: parameters.Task) -> Candidate:
    """Candidate with an error where it would encode the rows of a Dataset in another way."""
    if candidate.error is not None:
        return candidate
    then, now = (parameters.prepared(values, task) for values in (base, candidate.requested))
    other = [name for name in then if then[name] != now[name]]
    error = ParameterError(f"{', '.join(other)}: the rows of the Dataset are encoded otherwise; pass the table itself.")
    return candidate._replace(error=error) if other else candidate
