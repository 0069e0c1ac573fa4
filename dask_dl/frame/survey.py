"""What there is to know of the columns of one partition: of a frame, and of a sparse matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dask_dl.errors import SchemaError
from dask_dl.frame.columns import CATEGORY, EXACT, NUMBER, as_levels, is_blurred, kinds_of, number_chunks
from dask_dl.frame.figures import Column, Levels, ManyMoments, ManyNumbers, Moments, Nothing, Numbers
from dask_dl.frame.lacks import Lacks
from dask_dl.frame.matrix import SparsePart

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from dask_dl.frame.source import Schema
    from dask_dl.frame.tally import Inquiry

#: The level of every row, -1 where missing, and the levels.
Coded = tuple["NDArray[np.intp]", list[str]]


class Survey(NamedTuple):
    """Of a partition."""

    columns: Mapping[str, Column]  #: every predictor
    coded: dict[str, Coded]  #: levels of every row, where they are asked for
    lacks: Lacks | None  #: which rows lack what, where that is asked
    n_entries: NDArray[np.int64]  #: numbers of every row that are not 0, where only those are kept


def survey(
    part: pd.DataFrame | SparsePart, weights: NDArray[np.float64] | None, source: Schema, k: int, inquiry: Inquiry
) -> Survey:
    """Look at partition k. Raises SchemaError."""
    if isinstance(part, SparsePart) and not inquiry.sparse:
        raise SchemaError(
            f"{source.label}: partition {k} is a sparse matrix, which nobody said. Use sparse=True, or tell Dask: "
            f"meta=scipy.sparse.csr_matrix((0, 0))."
        )
    if isinstance(part, SparsePart):
        return _of_matrix(part, weights, source, k, inquiry)
    return _of_frame(part, weights, source, k, inquiry)


def _of_frame(
    part: pd.DataFrame, weights: NDArray[np.float64] | None, source: Schema, k: int, inquiry: Inquiry
) -> Survey:
    found: dict[str, Column] = {}
    coded: dict[str, Coded] = {}
    lacks = Lacks(len(part), inquiry.inputs) if inquiry.skips else None
    n_entries = np.zeros(len(part), np.int64)
    kinds = kinds_of(part, source.predictors, source.label)
    for name, kind in kinds.items():
        if kind == CATEGORY:
            codes, texts, from_numbers = as_levels(part[name], f"column {name!r} of {source.label}")
            counts = np.bincount(codes + 1, minlength=len(texts) + 1)
            seen = {text: int(count) for text, count in zip(texts, counts[1:], strict=True) if count}
            by_level: dict[str | None, tuple[float, float]] = {}
            if inquiry.levels == "weight" and weights is not None:
                n_counting = np.bincount((codes + 1)[weights > 0], minlength=len(texts) + 1).tolist()
                sums = np.bincount(codes + 1, weights, len(texts) + 1).tolist()
                known = zip([None, *texts], n_counting, sums, strict=True)
                by_level = {text: (n, weight) for text, n, weight in known if n}
            found[name] = Levels(int(counts[0]), seen, from_numbers, by_level, k) if seen else Nothing(len(part))
            if lacks is not None:
                lacks.note(name, codes < 0, may_be_useless=found[name].is_constant)
            if inquiry.levels == "response" or (inquiry.levels and inquiry.skips):
                coded[name] = codes, texts
        elif kind != NUMBER:
            found[name] = Nothing(len(part))
            if lacks is not None:
                lacks.note(name, np.ones(len(part), bool), may_be_useless=True)
    numeric = [name for name, kind in kinds.items() if kind == NUMBER]
    for place, values in number_chunks(part, numeric):
        names = numeric[place]
        counts = np.isinf(values).sum(axis=1)
        _check_finite({names[c]: int(counts[c]) for c in np.flatnonzero(counts).tolist()}, source, k)
        plain = Moments.of(values, None)
        weighted = plain if weights is None else Moments.of(values, weights)
        lows = np.fmin.reduce(values, axis=1, initial=np.nan).tolist()
        highs = np.fmax.reduce(values, axis=1, initial=np.nan).tolist()
        for name, p, w, low, high, row in zip(names, plain, weighted, lows, highs, values, strict=True):
            if not math.isfinite(p.m2):
                raise _too_large(name, low, high, source, k)
            blurred = high - low > EXACT and is_blurred(part[name], row)
            found[name] = Numbers(len(part) - p.n, low, high, p, w, bool(blurred), k) if p.n else Nothing(len(part))
            if lacks is not None:
                lacks.note(name, np.isnan(row), may_be_useless=found[name].is_constant)
        if inquiry.sparse:
            n_entries += np.count_nonzero(values, axis=0)
    return Survey({name: found[name] for name in source.predictors}, coded, lacks, n_entries)


def _of_matrix(
    part: SparsePart, weights: NDArray[np.float64] | None, source: Schema, k: int, inquiry: Inquiry
) -> Survey:
    _check_finite(part.infinite(), source, k)
    plain = ManyMoments(part.names, part.sums(None))
    weighted = plain if weights is None else ManyMoments(part.names, part.sums(weights))
    low, high = part.extremes()
    for c in np.flatnonzero(~np.isfinite(plain.sums.m2)).tolist():
        raise _too_large(part.names[c], low[c], high[c], source, k)
    found = ManyNumbers(len(part), low, high, plain, weighted, k)
    lacks = Lacks(len(part), inquiry.inputs) if inquiry.skips else None
    if lacks is not None:
        relevant, constant = lacks.matters(part.names), found.is_constant & (inquiry.inputs is None)
        lacks.surely |= part.lacks(relevant & ~constant)
        for c in np.flatnonzero(constant & (part.n_missing() > 0)).tolist():
            lacks.note(part.names[c], part.lacks(np.arange(len(constant)) == c), may_be_useless=True)
            if lacks.are_too_many:
                break
    return Survey(found, {}, lacks, np.asarray(np.diff(part.matrix.indptr), np.int64))


def _check_finite(counts: Mapping[str, int], source: Schema, k: int) -> None:
    for name, count in counts.items():
        raise SchemaError(
            f"column {name!r} of {source.label}: {count:,} infinite values in partition {k}. "
            f"Make them missing (NaN) or clip them."
        )


def _too_large(name: str, low: float, high: float, source: Schema, k: int) -> SchemaError:
    return SchemaError(
        f"column {name!r} of {source.label}: values up to {max(abs(low), abs(high)):g} in partition {k} are too large for a "
        f"mean. Make them missing (NaN) or scale them."
    )


def moments_of(
    part: pd.DataFrame | SparsePart,
    columns: Mapping[str, Column],
    weights: NDArray[np.float64],
    groups: Mapping[frozenset[str], NDArray[np.int64]],
) -> dict[frozenset[str], Mapping[str, Moments]]:
    """Of the numeric columns, by weight, over groups of rows."""
    if isinstance(part, SparsePart):
        return {
            missing: ManyMoments(part.names, part.take(rows).sums(weights[rows])) for missing, rows in groups.items()
        }
    names = [name for name, column in columns.items() if isinstance(column, Numbers)]
    found: dict[frozenset[str], dict[str, Moments]] = {missing: {} for missing in groups}
    for place, values in number_chunks(part, names):
        for missing, rows in groups.items():
            found[missing] |= dict(zip(names[place], Moments.of(values[:, rows], weights[rows]), strict=True))
    return dict(found)
