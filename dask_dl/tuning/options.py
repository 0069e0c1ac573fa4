"""Options of a search: the only place where their defaults and legal values are written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from dask_dl.errors import ParameterError
from dask_dl.parameters import show
from dask_dl.parameters.kinds import Kind, any_object, choice, integer, joined, real

if TYPE_CHECKING:
    from collections.abc import Mapping


class Option(NamedTuple):
    """An option of a search. None is legal exactly where it is the default."""

    kind: Kind
    default: Any
    text: str

    @property
    def brief(self) -> str:
        """First clause of the text, without marks."""
        return self.text.split(";")[0].rstrip(".").replace("`", "")

    @property
    def allowed(self) -> str:
        """Legal values in words."""
        return f"{self.kind.text} or None" if self.default is None else self.kind.text

    def read(self, value: Any) -> Any:
        """Value in canonical form. Raises ValueError."""
        return None if value is None and self.default is None else self.kind.read(value)


OPTIONS: Mapping[str, Option] = {
    "method": Option(
        choice("grid", "random", "halving"),
        "grid",
        "All combinations, random ones, or few epochs for all and more for the best; `halving` is of all combinations, or of "
        "`max_models` random ones (ASHA, Li et al. 2020).",
    ),
    "max_models": Option(integer(1), None, "Candidates, at most; None: all combinations."),
    "max_runtime_secs": Option(real(), 0.0, "Seconds of the whole search; 0: no limit."),
    "metric": Option(
        any_object("name of a metric", lambda value: isinstance(value, str)),
        None,
        "Any metric of the problem; None: the estimator's `stopping_metric`, logloss or deviance.",
    ),
    "stopping_rounds": Option(
        integer(0), 0, "k: no other candidate begins when the k best no longer get better; 0: never."
    ),
    "stopping_tolerance": Option(real(), 1e-3, "Relative improvements below this are none."),
    "min_epochs": Option(
        real(0, ends="()"),
        None,
        "Epochs that every candidate gets by `halving`; None: so few that one of them gets those of the estimator.",
    ),
    "reduction_factor": Option(integer(2), 3, "By `halving` one of so many goes on; with so many times the epochs."),
    "n_jobs": Option(
        integer(1),
        None,
        "Candidates at a time, at most; None: as many as threads, or as workers that can hold the rows.",
    ),
    "random_state": Option(integer(0), None, "Seed of random candidates; None: that of the estimator."),
    "recovery_dir": Option(
        any_object("path or URL", lambda value: isinstance(value, str | os.PathLike)),
        None,
        "Folder of finished models and of checkpoints; called again, the search goes on from there.",
    ),
}


class SearchSettings(NamedTuple):
    """Options of a search, checked."""

    method: str
    max_models: int | None
    max_runtime_secs: float
    metric: str | None
    stopping_rounds: int
    stopping_tolerance: float
    min_epochs: float | None
    reduction_factor: int
    n_jobs: int | None
    random_state: int | None
    recovery_dir: str | os.PathLike[str] | None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> SearchSettings:
        """Options in canonical form. Raises ParameterError."""
        found = {}
        for name, option in OPTIONS.items():
            try:
                found[name] = option.read(given[name])
            except ValueError as error:
                text = joined(f"{name}={show(given[name])}: give {option.allowed}", error)
                raise ParameterError(f"{text}.") from error
        settings = cls(**found)
        if settings.method == "halving" and settings.stopping_rounds:
            raise ParameterError("stopping_rounds: method='halving' ends by itself. Leave it 0.")
        if settings.method != "halving" and settings.min_epochs is not None:
            raise ParameterError(f"min_epochs={settings.min_epochs:g} is of method='halving' only. Leave it out.")
        return settings


def defaults() -> dict[str, Any]:
    """Default of every option."""
    return {name: option.default for name, option in OPTIONS.items()}


#: What a search has beside its options.
SEARCHED: Mapping[str, tuple[str, str]] = {
    "estimator": (
        "DeepLearningClassifier, DeepLearningRegressor or DeepLearningAutoEncoder",
        "Holds the parameters that all candidates share. It is not changed.",
    ),
    "space": (
        "mapping of str to sequence or distribution, or sequence of such mappings",
        'Values of each parameter, as in {"hidden": [[32, 32], [100]]}; distributions of scipy. Several are sub-spaces.',
    ),
}


def numpydoc(indent: str = "    ") -> str:
    """Write the section Parameters of the docstring of a search."""
    import textwrap

    lines = ["Parameters", "----------"]
    for name, (kind, text) in SEARCHED.items():
        lines += [f"{name} : {kind}", *textwrap.wrap(text, 110, initial_indent="    ", subsequent_indent="    ")]
    for name, option in OPTIONS.items():
        lines.append(f"{name} : {option.allowed}, default={show(option.default)}")
        lines += textwrap.wrap(option.text, 110, initial_indent="    ", subsequent_indent="    ")
    return f"\n{indent}".join(lines)
