"""Trainings of a search in the order in which they are due: all of them once, or ever fewer for ever longer."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_dl.tuning.candidates import Candidate


class Job(NamedTuple):
    """A training of a candidate that is due."""

    candidate: Candidate
    rung: int = 0  #: how often the candidate has been trained before
    epochs: float | None = None  #: in all; None: as the candidate has them


class Jobs(Protocol):
    """Trainings that are due, and those that follow from what came out."""

    @property
    def goes_on(self) -> bool:
        """Whether candidates are trained several times, each time from where they ended."""

    @property
    def n_new(self) -> int:
        """Candidates that have not begun."""

    def next(self) -> Job | None:
        """The next one; None: there is none, as long as others are running."""

    def ended(self, candidate: Candidate, values: Sequence[float]) -> None:
        """Note what a candidate has come to after each of its trainings; NaN where one failed."""


class Once:
    """Every candidate is trained once, in order.

    Parameters
    ----------
    candidates : sequence of Candidate
    """

    goes_on = False

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._todo = deque(candidates)

    @property
    def n_new(self) -> int:
        """Candidates that have not begun."""
        return len(self._todo)

    def next(self) -> Job | None:
        """The next one that has not ended."""
        return Job(self._todo.popleft()) if self._todo else None

    def ended(self, candidate: Candidate, values: Sequence[float]) -> None:  # noqa: ARG002  # of `Jobs`
        """Leave out a candidate that ended in an earlier search."""
        self._todo = _without(self._todo, candidate)


class Halving:
    """Asynchronous successive halving (Li et al. 2020; algorithm.md#halving).

    Every candidate is trained for few epochs. Once none is left to begin, each that is among the best 1/factor of those of
    its rung that have ended goes on to `factor` times the epochs, those of low rungs first. One after the other, that is
    successive halving; side by side, nobody waits for a rung to be complete.

    Parameters
    ----------
    candidates : sequence of Candidate
    epochs : float
        Epochs of the last rung.
    min_epochs : float or None
        Epochs of the first one; None: so few that one candidate, at least, comes to the last.
    factor : int
    greater_is_better : bool
        Whether the best have the largest values.

    Raises
    ------
    ParameterError
        When there are no more epochs than `min_epochs`.
    """

    goes_on = True

    def __init__(
        self,
        candidates: Sequence[Candidate],
        epochs: float,
        min_epochs: float | None,
        factor: int,
        *,
        greater_is_better: bool,
    ) -> None:
        if min_epochs is not None and min_epochs >= epochs:
            raise ParameterError(
                f"min_epochs={min_epochs:g}: fewer than the epochs of the estimator, {epochs:g}, come first. Give less."
            )
        self._new, self._factor, self._sign = deque(candidates), factor, 1.0 if greater_is_better else -1.0
        if min_epochs is None:
            n_rungs = _n_powers(len(candidates), factor)
            min_epochs = epochs / factor**n_rungs
        else:
            n_rungs = math.ceil(round(math.log(epochs / min_epochs, factor), 9))
        #: of every rung
        self.epochs = [*(min_epochs * factor**k for k in range(n_rungs)), epochs]
        self._values: list[dict[int, float]] = [{} for _ in self.epochs]
        self._promoted: list[set[int]] = [set() for _ in self.epochs]
        self._candidates = {candidate.number: candidate for candidate in candidates}

    @property
    def n_new(self) -> int:
        """Candidates that have not begun."""
        return len(self._new)

    def next(self) -> Job | None:
        """A new one, while there are some; else one that is among the best of its rung, of the lowest that has any."""
        if self._new:
            return self._job(self._new.popleft(), 0)
        for rung, values in enumerate(self._values[:-1]):
            best = sorted((n for n in values if not math.isnan(values[n])), key=lambda n: (-self._sign * values[n], n))
            for number in best[: len(values) // self._factor]:
                if number not in self._promoted[rung]:
                    self._promoted[rung].add(number)
                    return self._job(self._candidates[number], rung + 1)
        return None

    def _job(self, candidate: Candidate, rung: int) -> Job:
        return Job(candidate, rung, self.epochs[rung])

    def ended(self, candidate: Candidate, values: Sequence[float]) -> None:
        """Note what a candidate has come to on each of its rungs."""
        self._new = _without(self._new, candidate)  # it may have begun in an earlier search
        for rung, value in enumerate(values[: len(self.epochs)]):
            self._values[rung][candidate.number] = value
            if rung:
                self._promoted[rung - 1].add(candidate.number)


def _without(candidates: deque[Candidate], ended: Candidate) -> deque[Candidate]:
    return deque(candidate for candidate in candidates if candidate.number != ended.number)


def _n_powers(n: int, factor: int) -> int:
    """How often a number can be divided by a factor before it is less than 1 (logarithms round)."""
    found = 0
    while (n := n // factor) >= 1:
        found += 1
    return found
