"""Choices of parameters that a search tries, all of a grid or random ones, and what becomes of them (algorithm.md#search)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.model_selection import ParameterGrid, ParameterSampler

from dask_dl import parameters
from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dask_dl.model import Model

    #: A space: values of each parameter, or a distribution with `rvs`; several of them are joined.
    Space = Mapping[str, Any] | Sequence[Mapping[str, Any]]

#: Parameters that are the same for all candidates: where they run, and what is kept of them.
SHARED = ("client", "checkpoint_dir", "checkpoint_interval", "export_checkpoints_dir", "on_interrupt", "verbose")
#: What becomes of a candidate.
TRAINED, FAILED, INTERRUPTED = "trained", "failed", "interrupted"


class Candidate(NamedTuple):
    """Parameters that are tried."""

    number: int  #: from 0, in the order of the search
    chosen: Mapping[str, Any]  #: by the space
    requested: Mapping[str, Any]  #: all, in canonical form; empty where they are no parameters of a training
    error: ParameterError | None = None  #: why not


class Tried(NamedTuple):
    """A candidate, and what became of it."""

    candidate: Candidate
    status: str  #: TRAINED, FAILED or INTERRUPTED
    model: Model | None  #: of a failed one what it had learned, if anything
    seconds: float
    error: BaseException | None = None
    values: tuple[float, ...] = ()  #: of the metric that judges, after each training of the candidate
    path: str | None = None  #: of the model, where it is kept

    def value(self, metric: str) -> float:
        """Value of a metric on the rows that judge: held out ones, else those of validation, else of training."""
        if self.model is None:
            return math.nan
        record = self.model.record
        if record.folds is not None:
            return record.folds.combined.metric(metric)
        last = record.history.events[-1]
        measured = last.measured.get(record.history.table)
        return last.value(metric, record.history.table) if measured is None else measured.metric(metric)


def candidates_of(
    space: Space,
    max_models: int | None,
    seed: int | None,
    validate: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    *,
    is_random: bool,
) -> list[Candidate]:
    """Candidates of a space, each once.

    Parameters
    ----------
    space : mapping of str to sequence or distribution, or sequence of mappings
    is_random : bool
        Whether they are drawn; else they are all combinations in the order of scikit-learn's ParameterGrid.
    max_models : int or None
        Candidates at most; None: all. Needed where the space has a distribution.
    seed : int or None
        Of random ones.
    validate : callable
        Makes canonical parameters of chosen ones, or raises ParameterError.

    Returns
    -------
    list of Candidate

    Raises
    ------
    ParameterError
        For a space that is none, and for names that are no parameters.
    """
    spaces = _checked(space, max_models, is_random=is_random)
    has_distributions = any(hasattr(values, "rvs") for one in spaces for values in one.values())
    n_all = None if has_distributions else len(ParameterGrid(spaces))
    n = max_models if n_all is None else n_all if max_models is None else min(max_models, n_all)
    assert n is not None
    if not is_random:
        drawn: Any = (chosen for _, chosen in zip(range(n), ParameterGrid(spaces), strict=False))
    else:
        random = np.random.RandomState(seed) if isinstance(seed, int) else seed
        drawn = ParameterSampler(spaces, n, random_state=random)
    found: list[Candidate] = []
    seen = set()
    for chosen in drawn:
        own = {name: _plain(value) for name, value in chosen.items()}
        requested, error = {}, None
        try:
            requested = dict(validate(own))
        except ParameterError as wrong:
            error = wrong
        key = repr(sorted((requested or own).items()))
        if key not in seen:
            seen.add(key)
            found.append(Candidate(len(found), own, requested, error))
    return found


def _plain(value: Any) -> Any:
    """Value of a grid as people write it: numbers of NumPy are those of Python."""
    return value.item() if isinstance(value, np.generic) else value


def _listed(values: Any) -> Any:
    """Rows of an array as a list: scikit-learn takes one dimension."""
    return list(values) if getattr(values, "ndim", 1) > 1 else values


def _checked(space: Any, max_models: int | None, *, is_random: bool) -> list[Mapping[str, Any]]:
    """Spaces, one or more. Raises ParameterError."""
    spaces = [space] if hasattr(space, "items") else list(space)
    if not spaces or not all(hasattr(one, "items") and one for one in spaces):
        raise ParameterError(
            "space: give a mapping of parameters to their values, or a list of such mappings; none is empty."
        )
    spaces = [{name: _listed(values) for name, values in one.items()} for one in spaces]
    for one in spaces:
        for name, values in one.items():
            if name in SHARED:
                raise ParameterError(f"space: {name} is the same for all candidates; set it at the estimator.")
            if name not in parameters.constructor_defaults():
                parameters.refuse_names({name: values}, "constructor")
            if hasattr(values, "rvs"):
                if not is_random:
                    raise ParameterError(
                        f"space: {name} is a distribution, without a list of values. Use method='random'."
                    )
                if max_models is None:
                    raise ParameterError(f"space: {name} is a distribution, without end: give max_models.")
            elif isinstance(values, str) or not hasattr(values, "__len__"):
                raise ParameterError(f"space: {name} is {values!r}; give a list of values, or a distribution of scipy.")
            elif not len(values):
                raise ParameterError(f"space: {name} has no value.")
    return spaces
