"""Categorical columns as network inputs: an input for each level, or a few numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_dl.frame.column_stats import Moments
from dask_dl.frame.dtypes import as_levels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

#: enum_limited keeps so many levels of a column that has more.
MOST_FREQUENT = 10
#: Encodings that make numbers.
AS_NUMBERS = ("label_encoder", "binary", "eigen")


def _places(
    levels: Mapping[str, int], column: pd.Series[Any], where: str
) -> tuple[list[str], NDArray[np.intp], NDArray[np.intp]]:
    """(values; the level of each of them, -1 unknown; the value of every row, -1 missing)."""
    codes, texts, _ = as_levels(column, where)
    return texts, np.array([levels.get(text, -1) for text in texts], np.intp), codes


@dataclass(frozen=True)
class OneHotColumn:
    """A categorical column with a block of one-hot inputs: its levels, the other ones together, and missing values.

    The rules: algorithm.md#one-hot-inputs, algorithm.md#unseen-levels.
    """

    name: str
    levels: tuple[str, ...]
    keeps_first: bool  #: whether the first level has an input of its own (use_all_factor_levels)
    has_others: bool = False  #: whether levels that are not listed share an input; else they are as if missing

    @cached_property
    def _index(self) -> Mapping[str, int]:
        return {level: k for k, level in enumerate(self.levels)}

    @property
    def n_levels(self) -> int:
        """Levels, all others counting as one."""
        return len(self.levels) + self.has_others

    @property
    def width(self) -> int:
        """Inputs: kept levels and the missing one."""
        return self.n_levels + self.keeps_first

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs, as in H2O."""
        levels, title = list(self.levels), self.name
        if self.has_others:
            title = f"{self.name}.top_{len(self.levels)}_levels"
            other = "other"
            while other in levels:
                other += "_"
            levels.append(other)
        kept = levels if self.keeps_first else levels[1:]
        return [*(f"{title}.{level}" for level in kept), f"{title}.missing(NA)"]

    def slots(self, column: pd.Series[Any], where: str) -> NDArray[np.int32]:
        """Input of every row, counted from the block's start; -1 = none: the first level, when it is not kept."""
        _, known, codes = _places(self._index, column, where)
        missing = self.width - 1
        strange = missing - 1 if self.has_others else missing
        slot = np.where(known < 0, strange, known if self.keeps_first else known - 1)
        return np.append(slot, missing).astype(np.int32)[codes]


@dataclass(frozen=True)
class CodedColumn:
    """A categorical column as numbers: label_encoder (algorithm.md#label-codes), binary (algorithm.md#binary-codes) or eigen.

    A missing value is the mean of training, in binary all bits 0. A level that training has not seen is as if missing; of
    label_encoder those of the rows at hand get the numbers after the last level's, in their order.
    """

    name: str
    levels: tuple[str, ...]
    scheme: str  #: of AS_NUMBERS
    means: tuple[float, ...]  #: of every input, over the training table
    deviations: tuple[float, ...]  #: by which standardized inputs are divided; of an autoencoder their ranges
    is_standardized: bool
    vector: tuple[float, ...] = ()  #: of eigen: a number for each level

    @classmethod
    def fit(
        cls,
        name: str,
        levels: Sequence[str],
        scheme: str,
        weights: Sequence[tuple[float, float]],
        *,
        standardize: bool,
        by_range: bool = False,
    ) -> CodedColumn:
        """Code of a column, standardized by the rows of its levels.

        Parameters
        ----------
        name : str
            Name of the column.
        levels : sequence of str
            Its levels, in the order of their codes.
        scheme : str
            "label_encoder", "binary" or "eigen".
        weights : sequence of (float, float)
            Rows and weight of every level, then those of missing values.
        standardize : bool
            Whether numbers are centred and divided by their standard deviation.
        by_range : bool
            Whether they are divided by their range instead.

        Returns
        -------
        CodedColumn
        """
        n, weight = np.array(weights).T
        vector = tuple(principal_component(weight[:-1]).tolist()) if scheme == "eigen" else ()
        raw = _values(scheme, len(levels), vector)
        if scheme != "binary":  # a missing value has no number
            n, weight, raw = n[:-1], weight[:-1], raw[:-1]
        total = weight.sum() or 1.0
        means = (weight[:, None] * raw).sum(axis=0) / total  # not by a BLAS, whose bits depend on where arrays lie
        m2 = np.array([(weight * (values - mean) ** 2).sum() for mean, values in zip(means, raw.T, strict=True)])
        spreads = Moments(int(n[weight > 0].sum()), total, means, m2).deviation
        if by_range:
            spreads = np.where(spreads > 0, np.ptp(raw[n > 0], axis=0), 0.0) if (n > 0).any() else np.zeros(len(means))
        deviations = tuple(spreads.tolist())
        return cls(name, tuple(levels), scheme, tuple(means.tolist()), deviations, standardize, vector)

    @cached_property
    def _index(self) -> Mapping[str, int]:
        return {level: k for k, level in enumerate(self.levels)}

    @property
    def width(self) -> int:
        """Inputs."""
        return len(self.means)

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs, as in H2O."""
        if self.scheme == "binary":
            return [f"{self.name}:{bit}" for bit in range(self.width)]
        return [f"{self.name}.Eigen" if self.scheme == "eigen" else self.name]

    @cached_property
    def table(self) -> NDArray[np.float32]:
        """(levels + 1, width): inputs of every level, and of a missing one."""
        raw = _values(self.scheme, len(self.levels), self.vector)
        return self._scaled(np.where(np.isnan(raw), np.array(self.means), raw))

    def _scaled(self, raw: NDArray[np.float64]) -> NDArray[np.float32]:
        if self.is_standardized:
            raw = (raw - np.array(self.means)) / [deviation or 1.0 for deviation in self.deviations]
        return raw.astype(np.float32)

    def numbers(self, column: pd.Series[Any], where: str) -> NDArray[np.float32]:
        """(n, width): inputs of every row."""
        texts, known, codes = _places(self._index, column, where)
        table = self.table
        if self.scheme == "label_encoder" and (known < 0).any():
            occur = np.unique(codes[codes >= 0])
            strange = sorted(occur[known[occur] < 0], key=lambda value: texts[value])
            known[strange] = len(table) + np.arange(len(strange))
            more = self._scaled((len(self.levels) + np.arange(len(strange), dtype=np.float64))[:, None])
            table = np.concatenate([table, more])
        inputs: NDArray[np.float32] = table[np.append(known, len(self.levels))[codes]]
        return inputs


def _values(scheme: str, n: int, vector: Sequence[float]) -> NDArray[np.float64]:
    """(n + 1, width): numbers of every level, NaN where a missing one has none."""
    if scheme == "binary":  # the missing level is 0, level k is k + 1, lowest bit first
        codes = np.append(np.arange(1, n + 1), 0)
        return (codes[:, None] >> np.arange(1 + int(math.log2(max(n, 1)))) & 1).astype(np.float64)
    values = np.arange(n) if scheme == "label_encoder" else np.array(vector)
    return np.append(values.astype(np.float64), np.nan)[:, None]


def principal_component(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """First principal component of a column's one-hot inputs: a number for each level, of length 1 (algorithm.md#eigen-codes).

    With shares p their covariance is diag(p) - p p', of which an eigenvector to the eigenvalue z has the entries
    p_i / (p_i - z), where z solves sum p_i^2 / (p_i - z) = 1: the largest one lies between the two largest shares. Where
    several levels share the largest share, any vector over them whose entries add up to 0 is as good; they get
    numbers at equal distances, in the order of the levels. The most frequent level, or the first of such, is positive.
    """
    shares = counts / max(counts.sum(), 1e-300)
    top = shares.max(initial=0.0)
    tied = np.flatnonzero(shares >= top * (1 - 1e-12))
    vector = np.zeros(len(shares))
    if len(tied) > 1:
        vector[tied] = np.linspace(1, -1, len(tied))
    elif len(shares) > 1:
        low, high = np.partition(shares, -2)[-2], top
        for _ in range(200):  # until nothing lies between them
            middle = (low + high) / 2
            if middle in {low, high}:
                break
            with np.errstate(divide="ignore"):
                above = (shares**2 / (shares - middle)).sum() > 1
            low, high = (low, middle) if above else (middle, high)
        vector = shares / (shares - (low + high) / 2)
    else:
        vector[:] = 1.0
    return vector / (np.sqrt((vector**2).sum()) or 1.0)


def most_frequent(levels: Sequence[str], counts: Mapping[str, int]) -> tuple[list[str], bool]:
    """(the most frequent levels, in their order, of equals the first; whether there are others).

    The rule: algorithm.md#limited-levels.
    """
    if len(levels) <= MOST_FREQUENT:
        return list(levels), False
    kept = set(sorted(levels, key=lambda level: -counts[level])[:MOST_FREQUENT])
    return [level for level in levels if level in kept], True


def by_response(levels: Sequence[str], sums: Mapping[str, Mapping[Any, float]], classes: Sequence[Any]) -> list[str]:
    """Levels by increasing mean response, a class counting as its place among the classes; of equals as they were.

    The rule: algorithm.md#levels-by-response.
    """
    place = {label: k for k, label in enumerate(classes)}

    def mean(level: str) -> float:
        found = sums.get(level, {})
        if not classes:
            return found["sum"] / found["weight"] if found.get("weight") else 0.0
        weight = sum(found.values())
        return sum(place[label] * w for label, w in found.items()) / weight if weight else 0.0

    return sorted(levels, key=mean)
