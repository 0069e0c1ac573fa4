"""Searches for the best parameters of an estimator."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from typing import TYPE_CHECKING, Any

from sklearn.base import clone

from dask_dl import parameters
from dask_dl.errors import ParameterError
from dask_dl.estimators.dataset import Dataset
from dask_dl.estimators.going_on import GoingOn
from dask_dl.metrics.table import METRICS, TASK_OF, loss_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pandas as pd

    from dask_dl.tuning.candidates import Candidate
    from dask_dl.tuning.running import Tried


class SearchResult:
    """Outcome of a search: a table of the candidates, and their models.

    Attributes
    ----------
    leaderboard_
        Table with the best candidate first, indexed by its number: the parameters that were chosen for it, every metric of
        the rows that judge, epochs, seconds, status ("trained", "failed", "interrupted") and error.
    metric_ : str
        Metric by which they are sorted.
    ended_by_ : str or None
        Reason why the search ended before its last candidate, such as "max_runtime_secs" or "interrupted".

    Parameters
    ----------
    estimator : DeepLearningClassifier, DeepLearningRegressor or DeepLearningAutoEncoder
        Whose parameters were searched; it is not changed.
    tried : sequence of Tried
    metric : str
    ended_by : str or None
    has_names : bool
        Whether the columns of the table had names.
    """

    def __init__(
        self, estimator: Any, tried: Sequence[Tried], metric: str, ended_by: str | None, *, has_names: bool
    ) -> None:
        from dask_dl.tuning.leaderboard import leaderboard

        self._estimator, self._has_names = estimator, has_names
        self._tried = {one.candidate.number: one for one in tried}
        self.metric_, self.ended_by_ = metric, ended_by
        self.leaderboard_: pd.DataFrame = leaderboard(tried, metric)

    def model(self, candidate: int) -> Any:
        """Fitted estimator of a candidate, by its number. Raises ParameterError when there is none."""
        one = self._tried.get(candidate)
        if one is None or one.model is None:
            why = "was not tried" if one is None else f"{one.status}: {one.error}"
            raise ParameterError(f"candidate {candidate!r} has no model: it {why}.")
        found = clone(self._estimator).set_params(**one.candidate.chosen)
        found.model_ = one.model
        found._set_names(has_names=self._has_names)  # noqa: SLF001  # as its own `fit`
        return found

    @property
    def _best(self) -> Tried:
        best = next((n for n in self.leaderboard_.index if self._tried[n].status != "failed"), None)
        if best is None or self._tried[best].model is None:
            raise ParameterError("no candidate was trained: see the column error of leaderboard_.")
        return self._tried[best]

    @property
    def best_params_(self) -> dict[str, Any]:
        """Parameters of the best candidate, as the space has them."""
        return dict(self._best.candidate.chosen)

    @property
    def best_model_(self) -> Any:
        """Fitted estimator of the best candidate."""
        return self.model(self._best.candidate.number)

    def __repr__(self) -> str:
        n = len(self.leaderboard_)
        ended = f", ended by {self.ended_by_}" if self.ended_by_ else ""
        return f"<SearchResult: {n:,} candidates by {self.metric_}{ended}>\n{self.leaderboard_.head(5).to_string()}"


def search(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    space: Any,
    method: str = "grid",
    max_models: int | None = None,
    max_runtime_secs: float = 0.0,
    metric: str | None = None,
    stopping_rounds: int = 0,
    stopping_tolerance: float = 1e-3,
    n_jobs: int | None = None,
    random_state: int | None = None,
    sample_weight: Any = None,
    offset: Any = None,
    folds: Any = None,
    eval_set: Any = None,
) -> Any:
    """Train an estimator with many choices of parameters, side by side, on a table that is read and encoded once.

    Candidates are judged by rows held out where the estimator has `nfolds` or `folds` are given, else by `eval_set`, else by
    the training rows that are scored.

    Parameters
    ----------
    estimator : DeepLearningClassifier, DeepLearningRegressor or DeepLearningAutoEncoder
        With the parameters that all candidates share. It is not changed.
    X : dask.dataframe.DataFrame, dask.array.Array, pandas.DataFrame, sparse matrix, array-like or Dataset
        As in `fit`.
    y : str, int, or aligned collection of n values, optional
        As in `fit`.
    space : mapping of str to sequence or distribution, or sequence of such mappings
        Values of each parameter, such as {"hidden": [[32, 32], [100]], "l1": [0, 1e-4]}; a distribution of scipy for random
        ones. Several mappings are sub-spaces.
    method : {"grid", "random"}
        All combinations, or random ones without repetition.
    max_models : int, optional
        Candidates, at most.
    max_runtime_secs : float
        Seconds of the whole search; 0: no limit.
    metric : str, optional
        Any metric of the problem; by default the estimator's `stopping_metric`, logloss or deviance.
    stopping_rounds : int
        k: no other candidate begins when the k best no longer get better; 0: never.
    stopping_tolerance : float
        Relative improvements below this are none.
    n_jobs : int, optional
        Candidates at a time; by default as many as there are threads, or workers that hold the rows.
    random_state : int, optional
        Seed of random candidates; by default that of the estimator.
    sample_weight, offset, folds, eval_set : object, optional
        As in `fit`.

    Returns
    -------
    SearchResult
        An awaitable of one where the client is asynchronous. Ctrl-C ends the search with what was tried so far.

    Raises
    ------
    ParameterError, SchemaError
        For a space that is none, and as `fit` would raise them for the table.

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
    from dask_dl.cluster.clients import awaitable, find_client

    call = {"sample_weight": sample_weight, "offset": offset, "folds": folds, "eval_set": eval_set}
    client = X.client if isinstance(X, Dataset) else find_client(estimator.client)
    asked = {
        "space": space, "method": method, "max_models": max_models, "max_runtime_secs": max_runtime_secs, "metric": metric,
        "rounds": stopping_rounds, "tolerance": stopping_tolerance, "n_jobs": n_jobs, "seed": random_state,
    }  # fmt: skip
    if estimator._has_target and y is None and not isinstance(X, Dataset):  # noqa: SLF001  # as its own `fit`
        raise ParameterError("search requires y: give the name of the target's column, or its values.")
    work = functools.partial(_search, estimator, X, y, call, client, asked, time.monotonic())
    return awaitable(work) if client is not None and client.asynchronous else work()


def _search(
    estimator: Any,
    X: Any,
    y: Any,
    call: Mapping[str, Any],
    client: Any,
    asked: Mapping[str, Any],
    began: float,
    cancelled: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """Search, on any thread but that of an asynchronous client.

    Parameters
    ----------
    estimator : DeepLearning
    X, y : object
        As in `search`.
    call : mapping
        What stands beside the table.
    client : distributed.Client or None
        Of the cluster.
    asked : mapping
        Arguments of `search` by name.
    began : float
        When it was called, by `time.monotonic`.
    cancelled : callable
        Whether the caller wants it to end.
    """
    from dask_dl.events import Listeners
    from dask_dl.show.progress import Progress
    from dask_dl.training.backends import backend_for
    from dask_dl.training.engine import Request
    from dask_dl.tuning.candidates import candidates_of
    from dask_dl.tuning.running import Limits, run

    given = {name: value for name, value in call.items() if name != "folds"}
    base = estimator._requested(given)  # noqa: SLF001  # as its own `fit`
    task = estimator._task  # noqa: SLF001  # as above

    def validate(chosen: Mapping[str, Any]) -> Mapping[str, Any]:
        found: Mapping[str, Any] = clone(estimator).set_params(**chosen)._requested(given)  # noqa: SLF001  # as above
        return found

    limits = Limits(metric_of(asked["metric"], base, task), math.inf, asked["rounds"], asked["tolerance"])
    if asked["max_runtime_secs"]:
        limits.deadline = began + asked["max_runtime_secs"]
    seed = asked["seed"] if asked["seed"] is not None else base["random_state"]
    candidates = candidates_of(asked["space"], asked["method"], asked["max_models"], seed, validate)
    tell = Listeners([Progress(quiet=not base["verbose"] or base["quiet_mode"])])
    with contextlib.ExitStack() as stack:
        if isinstance(X, Dataset):
            X.check_alone({"y": y, **call}, estimator.client)
            backend, encoded = stack.enter_context(X.used(task, base, tell, cancelled))
            source, validation = encoded.data.tables["training"][0], None
            candidates = [_encoded_alike(candidate, base, task) for candidate in candidates]
        else:
            call = {**call, "X": X, "y": y if estimator._has_target else None, "going": GoingOn()}  # noqa: SLF001  # as above
            source, validation = estimator._tables(call, tell)  # noqa: SLF001  # as above

        @contextlib.contextmanager
        def backend_of(requested: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
            if isinstance(X, Dataset):
                yield backend, encoded
                return
            with backend_for(requested, client, tell, cancelled) as here:
                yield here, None

        request = Request(source, task, base, validation)
        tried = run(candidates, request, backend_of, limits, [tell], n_jobs=asked["n_jobs"], cancelled=cancelled)
    return SearchResult(estimator, tried, limits.metric, limits.reason, has_names=source.has_text_names)


def metric_of(asked: Any, base: Mapping[str, Any], task: parameters.Task) -> str:
    """Metric that judges: asked for, or the estimator's stopping_metric. Raises ParameterError."""
    name = base["stopping_metric"] if asked is None else asked
    name = loss_of(task) if name == "auto" else name
    known = [row.name for row in METRICS.values() if task in {TASK_OF[kind] for kind in row.kinds}]
    if name not in known:
        raise ParameterError(f"metric={asked!r}: {task} has {', '.join(known)}.")
    return str(name)


def _encoded_alike(candidate: Candidate, base: Mapping[str, Any], task: parameters.Task) -> Candidate:
    """Candidate with an error where it would encode the rows of a Dataset in another way."""
    if candidate.error is not None:
        return candidate
    then, now = (parameters.prepared(values, task) for values in (base, candidate.requested))
    other = [name for name in then if then[name] != now[name]]
    error = ParameterError(f"{', '.join(other)}: the rows of the Dataset are encoded otherwise; pass the table itself.")
    return candidate._replace(error=error) if other else candidate
