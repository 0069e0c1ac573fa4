"""Moments of stored rows by the fold that they belong to: what the encoder of the other folds would have found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from dask_dl.errors import ParameterError
from dask_dl.frame.order import keys_of
from dask_dl.frame.subset import Subset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.blocks import Blocks
    from dask_dl.frame.row_selection import Groups, RowSelection
    from dask_dl.state import Rows

#: Rows whose numbers are summed at a time.
ROWS_PER_SLICE = 2**16


@dataclass
class Moments:
    """Sums over the rows that count, by set of rows (f of them), in the units in which they are stored.

    Stored numbers have a mean of about 0 and a deviation of about 1, so that plain sums of squares lose no digits.
    """

    n: NDArray[np.float64]  #: (f,) rows
    weight: NDArray[np.float64]  #: (f,) sums of their weights
    targets: NDArray[np.float64]  #: (f, 2): weighted sums of targets, and of their squares
    classes: NDArray[np.float64]  #: (f, K): rows of each class; K is 0 for numbers
    dense: NDArray[np.float64]  #: (f, 4, p): rows that have a number, their weights, weighted sums and sums of squares
    entries: NDArray[np.float64]  #: (f, 2, inputs): weighted sums of the entries of each input, and of their squares

    def merge(self, other: Self) -> Self:
        """Both parts of a table together."""
        return type(self)(**{name: values + getattr(other, name) for name, values in vars(self).items()})

    def without(self, k: int) -> Moments:
        """Moments of all rows but those of set k: one set."""
        rest = np.arange(len(self.n)) != k
        return Moments(**{name: values[rest].sum(axis=0, keepdims=True) for name, values in vars(self).items()})

    def figures(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Means and deviations (p,) of the numbers of the only set, with n - 1 below as in the scan."""
        return _figures(*self.dense[0])

    def entry_figures(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Means and deviations (inputs,) of the entries, zeros included."""
        ones = np.ones(self.entries.shape[2])
        return _figures(self.n[0] * ones, self.weight[0] * ones, *self.entries[0])

    def target_figures(self) -> tuple[float, float]:
        """Mean and deviation of the targets."""
        mean, deviation = _figures(*(np.atleast_1d(a) for a in (self.n[0], self.weight[0], *self.targets[0])))
        return float(mean[0]), float(deviation[0])


def _figures(
    n: NDArray[np.float64], weight: NDArray[np.float64], total: NDArray[np.float64], squares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and deviations of columns.

    Parameters
    ----------
    n, weight, total, squares : (p,) float64
        Rows, their weights, weighted sums and weighted sums of squares.

    Returns
    -------
    (p,) float64, (p,) float64
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(weight > 0, total / weight, 0.0)
        variance = np.maximum(squares / weight - mean * mean, 0) * n / (n - 1)
    # Of equal numbers rounding leaves a little.
    return mean, np.sqrt(np.where((n > 1) & (variance > 1e-13 * mean * mean), variance, 0.0))


def moments(
    store: Blocks, folds: Sequence[RowSelection], n_classes: int, has_missing: NDArray[np.bool_], n_onehot: int
) -> Moments:
    """Sum up the rows of some blocks by the fold that selects them.

    Parameters
    ----------
    store : Blocks
        Blocks that are here.
    folds : sequence of RowSelection
        No two of them select the same row.
    n_classes : int
        Classes of the target, 0 for numbers.
    has_missing : (p,) bool
        Which dense inputs lack values somewhere: there a stored 0, to which they are filled, is no number.
    n_onehot : int
        Inputs that may have entries; 0: none are summed.

    Returns
    -------
    Moments
        Of each fold.
    """
    f, p = len(folds), len(has_missing)
    found = Moments(
        np.zeros(f),
        np.zeros(f),
        np.zeros((f, 2)),
        np.zeros((f, n_classes)),
        np.zeros((f, 4, p)),
        np.zeros((f, 2, n_onehot)),
    )
    names = tuple(dict.fromkeys(name for fold in folds for name in fold.groups))
    for k in store.numbers:
        block, lo = store.blocks[k], 0
        for rows in Subset(store, blocks=[k], starts=store.starts).slices(ROWS_PER_SLICE):
            for first in range(0, rows.n, ROWS_PER_SLICE):
                some = rows.cut(first, min(rows.n, first + ROWS_PER_SLICE))
                begin = lo + first
                numbers = np.arange(begin, begin + some.n) + int(store.starts[k])
                which = fold_of(folds, numbers, block.groups_of(names, begin, begin + some.n))
                which[~block.counting(begin, begin + some.n)] = -1
                _add(found, some, which, has_missing)
            lo += rows.n
    return found


def fold_of(folds: Sequence[RowSelection], numbers: NDArray[np.int64], groups: Groups) -> NDArray[np.int64]:
    """Number of the fold that selects each row, -1 for none: (n,), by the rows' numbers and groups, (n,) each."""
    found = np.full(len(numbers), -1, np.int64)
    for k, fold in enumerate(folds):
        found[fold.selects(numbers, groups)] = k
    return found


def _add(found: Moments, rows: Rows, which: NDArray[np.int64], has_missing: NDArray[np.bool_]) -> None:
    """Add the rows, each to its set `which`; -1 is none."""
    order = np.argsort(which, kind="stable")
    order = order[np.searchsorted(which[order], 0) :]
    if not len(order):
        return
    of = which[order]
    first = np.flatnonzero(np.diff(of, prepend=-1))
    sets, p = of[first], len(has_missing)
    weight = (rows.weight[order] if len(rows.weight) else np.ones(len(order))).astype(np.float64)
    found.n[sets] += np.diff(first, append=len(of))
    found.weight[sets] += np.add.reduceat(weight, first)
    if found.classes.shape[1]:
        np.add.at(found.classes, (of, rows.target[order].astype(np.int64)), 1)
    elif len(rows.target):
        target = rows.target[order].astype(np.float64)
        found.targets[sets, 0] += np.add.reduceat(weight * target, first)
        found.targets[sets, 1] += np.add.reduceat(weight * target * target, first)
    if p:
        z = rows.dense[order, :p].astype(np.float64)
        there = ((z != 0) | ~has_missing).astype(np.float64)
        w = weight[:, np.newaxis]
        for j, values in enumerate((there, w * there, w * z, w * z * z)):
            found.dense[sets, j] += np.add.reduceat(values, first, axis=0)
    if found.entries.shape[2] and rows.entries.n:
        places = rows.entries.places()
        row = np.repeat(np.arange(rows.n), rows.entries.length)
        keep = which[row] >= 0
        all_weights = rows.weight.astype(np.float64) if len(rows.weight) else np.ones(rows.n)
        slot, value = rows.entries.slot[places][keep], rows.entries.value[places][keep].astype(np.float64)
        row = row[keep]
        np.add.at(found.entries[:, 0], (which[row], slot), all_weights[row] * value)
        np.add.at(found.entries[:, 1], (which[row], slot), all_weights[row] * value * value)


def fold_keys(store: Blocks, n_classes: int, seed: int) -> list[NDArray[np.uint64]]:
    """Random keys of the rows that count, by class, by which `StratifiedFold` divides them; n_classes 0: of all together."""
    if n_classes and "class" not in store.options.groups:
        raise ParameterError(
            "fold_assignment='stratified': the Dataset was prepared without it. Prepare it with nfolds and fold_assignment."
        )
    found: list[list[NDArray[np.uint64]]] = [[] for _ in range(max(n_classes, 1))]
    for k in store.numbers:
        block = store.blocks[k]
        places = np.flatnonzero(block.counting(0, block.n))
        keys = keys_of(places + int(store.starts[k]), seed, "folds")
        classes = block.groups["class"][places] if n_classes else np.zeros(len(places), np.uint8)
        for c, some in enumerate(found):
            some.append(keys[classes == c])
    return [np.concatenate([*some, np.zeros(0, np.uint64)]) for some in found]
