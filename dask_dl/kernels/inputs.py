"""Inputs of a row: its numbers, and the one-hot inputs that are active, without what dropout leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dask_dl.jit import inlined, kernel
from dask_dl.kernels.dropout import is_kept, key_of, limit_of, mask_of
from dask_dl.kernels.optimizers import ONE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Inputs(NamedTuple):
    """Inputs of a row as the first layer reads them."""

    numbers: NDArray[np.float32]  #: (stride,): numeric inputs
    slots: NDArray[np.int32]  #: (max_active,): one-hot inputs that are active, levels before entries, which ascend
    values: NDArray[np.float32]  #: (max_active,): the value of each
    n_levels: int  #: levels among them
    n: int  #: levels and entries


@kernel
def drop_numbers(rows, i, n_onehot, n_dense, kept, inputs):
    """Drop some of a row's numeric inputs, and enlarge the others to make up for them.

    Parameters
    ----------
    rows : Rows
    i : int
        The row.
    n_onehot, n_dense : int
        One-hot and numeric inputs of the network.
    kept : float32
        Share of inputs that a row keeps, below 1.
    inputs : (stride,) float32
        Receives the numbers.
    """
    numbers = rows.dense[i]
    mask_of(rows, i, -1, n_onehot, 0, kept, ONE / kept, inputs, n_dense)
    for j in range(inputs.shape[0]):
        inputs[j] *= numbers[j]


@kernel
def remains(rows, i, slot, kept):
    """Whether a row keeps a one-hot input, where it drops some.

    Parameters
    ----------
    rows : Rows
    i : int
        The row.
    slot : int
        The input.
    kept : float32
        Share of inputs that a row keeps, below 1.

    Returns
    -------
    bool
    """
    if rows.kept.shape[0] > 0:
        return rows.kept[i, slot] != 0
    return is_kept(key_of(rows.key[i], -1), slot, limit_of(kept))


@inlined
def collect(rows, i, kept, slots, values, at):
    """Collect the one-hot inputs that are active in a row, levels before entries, without those that are dropped.

    Parameters
    ----------
    rows : Rows
    i : int
        The row.
    kept : float32
        Share of inputs that a row keeps.
    slots, values : (max_active,) int32, float32
        Receive the inputs and their values, from `at` on.
    at : int

    Returns
    -------
    tuple of (int, int)
        Place where the entries start, and the end.
    """
    active, factor = rows.active[i], ONE / kept
    for c in range(active.shape[0]):
        if active[c] >= 0 and (kept == ONE or remains(rows, i, active[c], kept)):
            slots[at], values[at] = active[c], factor
            at += 1
    n_levels = at
    if rows.entries.begin.shape[0] > 0:
        first = rows.entries.begin[i]
        for e in range(first, first + rows.entries.length[i]):
            slot = rows.entries.slot[e]
            if kept == ONE or remains(rows, i, slot, kept):
                slots[at], values[at] = slot, factor * rows.entries.value[e]
                at += 1
    return n_levels, at
