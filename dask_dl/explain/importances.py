"""Importances of inputs and columns by the weights of a network's first two layers (algorithm.md#variable-importances)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.frame.encoder import Encoder
    from dask_dl.model import Model, TrainedNetwork

#: Numbers of a temporary array: that of all inputs and all units of the second layer may be larger than the network.
MAX_NUMBERS = 2**24


def importances(model: Model, *, per_input: bool) -> pd.DataFrame:
    """Importances of the columns of a table, or of the inputs of the network, the largest first.

    Parameters
    ----------
    model : Model
    per_input : bool
        Whether each input has a row, as in H2O; else each column, with the sum of its inputs.

    Returns
    -------
    pandas.DataFrame
        Indexed by the name, with the columns `relative` (to the most important input), `scaled` (to the largest of the table)
        and `share` (of their sum).
    """
    values = input_importances(model)
    names = model.encoder.input_names if per_input else list(model.encoder.columns)
    found = values if per_input else by_column(model.encoder, model.record.complete_columns, values)
    largest, total = found.max(initial=0.0) or 1.0, found.sum() or 1.0
    table = pd.DataFrame(
        {"relative": found, "scaled": found / largest, "share": found / total}, index=pd.Index(names, name="variable")
    )
    return table.sort_values("relative", ascending=False, kind="stable")


def feature_importances(model: Model) -> NDArray[np.float64]:
    """(p,) shares of the columns of training in the order of its table; 0 of those that were dropped."""
    shares = importances(model, per_input=False)["share"]
    found: NDArray[np.float64] = shares.reindex(list(model.record.feature_names), fill_value=0.0).to_numpy(np.float64)
    return found


def input_importances(model: Model) -> NDArray[np.float64]:
    """(inputs,) importances after Gedeon (1997), the largest of them 1; 0 of an input that no row of training had."""
    found = gedeon(model.network)
    onehot = np.zeros(model.encoder.n_level_inputs, bool)
    onehot[_slots(model.encoder)[_is_reached(model.encoder, model.record.complete_columns)]] = True
    # Levels come before numbers. The largest is found first, as in H2O.
    found /= found.max(initial=0.0) or 1.0
    found[: len(onehot)][~onehot] = 0.0
    return found


def gedeon(network: TrainedNetwork) -> NDArray[np.float64]:
    """(inputs,) shares of the inputs in what reaches the second layer's units, summed over these units.

    Of maxout the two channels of a weight are averaged. Without a hidden layer they are sums of absolute weights.
    """
    topology = network.topology
    matrices, _ = topology.unpack(network.flat)
    sizes = [
        np.abs(matrix).reshape(units, -1, channels).mean(axis=2)
        for matrix, units, channels in zip(matrices[:2], topology.units, topology.channels, strict=False)
    ]
    if len(sizes) == 1:
        total: NDArray[np.float64] = sizes[0].sum(axis=0, dtype=np.float64)
        return total
    first, second = map(_shares, sizes)
    found = np.zeros(topology.n_inputs)
    n = max(1, MAX_NUMBERS // topology.n_inputs)
    for lo in range(0, len(second), n):
        found += _shares(second[lo : lo + n] @ first).sum(axis=0, dtype=np.float64)
    return found


def _shares(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows divided by their sums; zeros where a row is."""
    sums = matrix.sum(axis=1, keepdims=True)
    shares: NDArray[np.float32] = np.divide(matrix, sums, out=np.zeros_like(matrix), where=sums > 0)
    return shares


def by_column(encoder: Encoder, complete: frozenset[str], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of figures of inputs over the columns from which the inputs come.

    Levels that share an input by hashing have equal parts of it.

    Parameters
    ----------
    encoder : Encoder
    complete : frozenset of str
        Columns of levels of which no value was missing in training.
    values : (inputs,) float64

    Returns
    -------
    (columns,) float64
        In the order of `Encoder.columns`.
    """
    slots, is_reached = _slots(encoder), _is_reached(encoder, complete)
    n_sharing = np.bincount(slots[is_reached], minlength=encoder.n_level_inputs)
    levels = np.where(is_reached, values[slots] / np.maximum(n_sharing[slots], 1), 0.0)
    sums = np.add.reduceat(levels, encoder.starts[:-1]) if len(levels) else np.zeros(0)
    first = encoder.n_level_inputs + len(encoder.numbers)
    ends = np.cumsum([first, *(code.width for code in encoder.codes)])
    codes = [values[lo:hi].sum() for lo, hi in itertools.pairwise(ends)]
    return np.concatenate([sums, values[encoder.n_level_inputs : first], codes])


def _slots(encoder: Encoder) -> NDArray[np.int32]:
    """Input of every level of every column, the missing one included."""
    levels = np.arange(encoder.starts[-1], dtype=np.int32)
    return encoder.hashing.inputs(levels) if encoder.hashing else levels


def _is_reached(encoder: Encoder, complete: frozenset[str]) -> NDArray[np.bool_]:
    """Whether a row of training may have had a level: no missing one of a column that lacked no value."""
    found = np.ones(encoder.starts[-1], bool)
    for category, start in zip(encoder.categories, encoder.starts, strict=False):
        found[start + category.width - 1] = category.name not in complete
    return found
