"""Distributions of scores by class: what curves, thresholds and gains follow from, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Pairs of score and class that a distribution of two classes keeps at most: 2 MB.
MAX_SCORES = 2**17
#: Low bits of a code, which hold the class.
CLASS_BITS = 8
#: Bits of 0.5 as a float32; keys of scores above are as far from this as those of 1 - score are.
_HALF = 0x3F000000


class ScoreDistribution(NamedTuple):
    """Weights of rows by their score and their class (algorithm.md#curves).

    Scores are float32 from 0 to 1. As long as there are few of them all are kept, and what follows is exact. Beyond that their
    last bits are dropped, those of the score below 0.5 and those of 1 - score above: as few bits as do. How many is a function
    of all scores together, so that the same distribution comes of the same rows however they were divided.
    """

    codes: NDArray[np.uint64]  #: (n,) key of the score, then the class in the lowest bits; increasing
    weights: NDArray[np.float64]  #: (n,) sums of the rows' weights
    level: int  #: bits that were dropped of the scores; 0: they are exact
    limit: int  #: codes to keep at most

    @classmethod
    def of(
        cls,
        scores: NDArray[np.floating],
        classes: NDArray[np.integer],
        weights: NDArray[np.floating] | None,
        limit: int = MAX_SCORES,
    ) -> ScoreDistribution:
        """Distribution of some rows.

        Parameters
        ----------
        scores : (n,) float
            From 0 to 1; taken as float32.
        classes : (n,) int
            Index of each row's class, from 0 to 255.
        weights : (n,) float or None
            Weights of the rows; None: all 1.
        limit : int
            Pairs of score and class to keep at most; two for each class or more.

        Returns
        -------
        ScoreDistribution
        """
        codes = keys_of(scores).astype(np.uint64) << np.uint64(CLASS_BITS) | classes.astype(np.uint64)
        if weights is None:
            found, counts = np.unique(codes, return_counts=True)
            return _fitted(cls(found, counts.astype(np.float64), 0, limit))
        order = np.argsort(codes)
        return _fitted(_summed(cls(codes[order], weights[order].astype(np.float64), 0, limit)))

    def merge(self, other: ScoreDistribution) -> ScoreDistribution:
        """Both sets of rows together."""
        level = max(self.level, other.level)
        codes = np.concatenate([_coarse(self.codes, level), _coarse(other.codes, level)])
        order = np.argsort(codes, kind="stable")  # two ascending runs
        weights = np.concatenate([self.weights, other.weights])[order]
        return _fitted(_summed(self._replace(codes=codes[order], weights=weights, level=level)))

    @property
    def scores(self) -> NDArray[np.float64]:
        """(n,) scores of the codes; where bits were dropped, the least of those that fall together."""
        return scores_of((self.codes >> np.uint64(CLASS_BITS)).astype(np.int64))

    @property
    def classes(self) -> NDArray[np.int64]:
        """(n,) classes of the codes."""
        return (self.codes & np.uint64(2**CLASS_BITS - 1)).astype(np.int64)


def _summed(scores: ScoreDistribution) -> ScoreDistribution:
    """One weight for each code, of codes that do not decrease."""
    codes = scores.codes
    if not len(codes):
        return scores
    first = np.flatnonzero(np.diff(codes, prepend=codes[0] + np.uint64(1)))
    return scores._replace(codes=codes[first], weights=np.add.reduceat(scores.weights, first))


def _fitted(scores: ScoreDistribution) -> ScoreDistribution:
    """The finest that keeps no more codes than the limit."""
    while len(scores.codes) > scores.limit:
        level = scores.level + 1
        codes = _coarse(scores.codes, level)
        order = np.argsort(codes, kind="stable")
        scores = _summed(scores._replace(codes=codes[order], weights=scores.weights[order], level=level))
    return scores


def _coarse(codes: NDArray[np.uint64], level: int) -> NDArray[np.uint64]:
    """Codes without the last `level` bits of their scores."""
    low = np.uint64(2**CLASS_BITS - 1)
    mask = np.uint64(2**64 - 2 ** (CLASS_BITS + level))
    return codes & (mask | low)


def keys_of(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Integers in the order of scores from 0 to 1, as finely as float32 tells them and their distances from 1."""
    p = np.clip(scores, 0, 1, dtype=np.float32) + np.float32(0)  # no negative zero
    rest = np.float32(1) - p  # exact from 0.5 on
    keys: NDArray[np.int64] = np.where(
        p <= np.float32(0.5), p.view(np.uint32).astype(np.int64), 2 * _HALF - rest.view(np.uint32).astype(np.int64)
    )
    return keys


def scores_of(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """Scores of integers: `keys_of` undone."""
    below = np.minimum(keys, _HALF).astype(np.uint32).view(np.float32)
    above = (2 * _HALF - np.maximum(keys, _HALF)).astype(np.uint32).view(np.float32)
    scores: NDArray[np.float64] = np.where(keys <= _HALF, below.astype(np.float64), 1 - above.astype(np.float64))
    return scores
