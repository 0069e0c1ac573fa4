"""Figures of the weights of every layer, and what they say of its state (algorithm.md#layer-summary)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dask_dl.kernels.layout import ACTIVATIONS, MAXOUT, RECTIFIER
from dask_dl.kernels.optimizers import ADADELTA
from dask_dl.node.predict import cut_after, rows_per_chunk
from dask_dl.node.replica import predict
from dask_dl.node.stability import chunks_of
from dask_dl.state import LayerStats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dask_dl.kernels.layout import Topology
    from dask_dl.kernels.optimizers import Optimizer
    from dask_dl.state import Rows, UnitActivity

#: A unit of tanh passes no gradient where its derivative, which is at most 1, is below this.
MIN_DERIVATIVE = 1e-3
#: Share of the units of a layer that pass no gradient from which on it is warned of.
MAX_DEAD = 0.25
#: A layer that makes its inputs so many times larger has exploded: it began at about 1.
MAX_GAIN = 100.0


def layer_stats(
    topology: Topology,
    flat: NDArray[np.float32],
    states: Sequence[NDArray[np.float32]],
    optimizer: Optimizer,
    n_seen: int,
    activity: UnitActivity | None = None,
) -> tuple[LayerStats, ...]:
    """Figures of every layer, from the input side on.

    Parameters
    ----------
    topology : Topology
        Sizes of the network.
    flat : (size,) float32
        Its weights and biases.
    states : sequence of (size,) float32
        State of the optimizer; empty before any row was learned.
    optimizer : Optimizer
    n_seen : int
        Rows learned.
    activity : UnitActivity, optional
        How often hidden units passed a gradient.

    Returns
    -------
    tuple of LayerStats
        The output last.
    """
    weights, biases = topology.unpack(flat)
    ramp = 1.0 if n_seen >= optimizer.momentum_ramp else n_seen / optimizer.momentum_ramp
    momentum = optimizer.momentum_start + ramp * (optimizer.momentum_stable - optimizer.momentum_start)
    rate = optimizer.scale * optimizer.rate / (1.0 + optimizer.rate_annealing * n_seen)
    rates = [(rate * optimizer.rate_decay**k, 0.0) for k in range(len(weights))]
    if optimizer.kind == ADADELTA:
        momentum = 0.0
        squares, steps = (topology.unpack(state)[0] for state in states or (np.zeros_like(flat),) * 2)
        epsilon = np.float32(optimizer.epsilon)
        rates = [
            mean_and_deviation(np.float32(optimizer.scale) * np.sqrt((step + epsilon) / (square + epsilon)))
            for square, step in zip(squares, steps, strict=True)
        ]
    dead: list[int | None] = [] if activity is None else [int((counts == 0).sum()) for counts in activity.counts]
    dead += [None] * (len(weights) - len(dead))
    return tuple(
        LayerStats(*rates[k], momentum, *mean_and_deviation(weights[k]), *mean_and_deviation(biases[k]), dead[k])
        for k in range(len(weights))
    )


def mean_and_deviation(values: NDArray[np.float32]) -> tuple[float, float]:
    """Mean of all values, and their standard deviation around it, n below; without a float64 copy of all."""
    if not values.size:
        return math.nan, math.nan
    mean = sum(float(chunk.sum(dtype=np.float64)) for chunk in chunks_of(values)) / values.size
    squares = sum(float(((chunk - mean) ** 2).sum()) for chunk in chunks_of(values, np.float64))
    return mean, math.sqrt(squares / values.size)


def count_passing(
    topology: Topology, flat: NDArray[np.float32], rows: Rows, n_threads: int = 1
) -> tuple[NDArray[np.int64], ...]:
    """Count the rows at which each hidden unit passes a gradient.

    A rectifier does where its sum is above 0, tanh where it is not saturated, maxout always.

    Parameters
    ----------
    topology : Topology
        Sizes of the network.
    flat : (size,) float32
        Its weights and biases.
    rows : Rows
        Encoded rows.
    n_threads : int
        Maximum number of threads.

    Returns
    -------
    tuple of (units,) int64
        For each hidden layer.
    """
    kind, found = ACTIVATIONS[topology.activation], []
    for layer, units in enumerate(topology.hidden):
        counts = np.full(units, rows.n if kind == MAXOUT else 0, np.int64)
        network, n = cut_after(topology, flat, layer), rows_per_chunk(units)
        for lo in range(0, rows.n if kind != MAXOUT else 0, n):
            a = predict(*network, rows.cut(lo, min(rows.n, lo + n)), n_threads)
            counts += np.count_nonzero(a > 0 if kind == RECTIFIER else 1 - a * a >= MIN_DERIVATIVE, axis=0)
        found.append(counts)
    return tuple(found)


def layer_faults(topology: Topology, stats: Sequence[LayerStats], n_active: int) -> list[str]:
    """Describe what is wrong with layers.

    Parameters
    ----------
    topology : Topology
        Sizes of the network.
    stats : sequence of LayerStats
        Of each layer, the output last.
    n_active : int
        Inputs of the first layer that are other than 0 at most rows: of one-hot blocks one each.

    Returns
    -------
    list of str
        Sentences; empty where nothing is.
    """
    faults = []
    n_inputs = (n_active, *topology.hidden)
    for k, (layer, units, n) in enumerate(zip(stats, topology.units, n_inputs, strict=True)):
        name = f"hidden layer {k}" if k < len(topology.hidden) else "the output layer"
        if layer.n_dead is not None and layer.n_dead >= max(1, MAX_DEAD * units):
            how = "saturated" if topology.activation == "tanh" else "0"
            faults.append(
                f"{name}: {layer.n_dead:,} of {units:,} units are {how} at every scored row and learn no more. Smaller steps "
                f"(`rate`, `epsilon`), l2 or max_w2, or another activation keep units alive."
            )
        gain = math.hypot(layer.mean_weight, layer.weight_rms) * math.sqrt(n)
        if gain > MAX_GAIN:
            faults.append(
                f"{name} has exploded: it makes what it reads about {gain:,.0f} times larger, its weights have a deviation of "
                f"{layer.weight_rms:.3g}. Smaller steps (`rate`, `epsilon`), l2 or max_w2 keep weights small."
            )
    return faults
