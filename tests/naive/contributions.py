"""
Contributions of inputs in plain loops, in float64: DeepLIFT's rescale rule, averaged over background rows.

The rules: algorithm.md#contributions, algorithm.md#multipliers. Networks are as in `naive.mlp`, rows expanded. One pair of
rows after the other, one layer at a time; what a unit has from its sums is a quotient of differences, and of maxout the
Shapley values of its two channels, from all orders in which they may come in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import mlp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

#: Sums that are as near have no quotient of differences.
NEAR = 1e-6


def quotient(f: Callable[[float], float], x: float, b: float) -> float:
    """Difference of a function over that of its argument; where these are near, its derivative."""
    if abs(x - b) < NEAR:
        step = 1e-7
        return (f(b + step) - f(b - step)) / (2 * step)
    return (f(x) - f(b)) / (x - b)


def shapley(x: Sequence[float], b: Sequence[float]) -> list[float]:
    """Shapley values of the two arguments of `max`, from b to x."""
    first = 0.5 * ((max(x[0], b[1]) - max(b[0], b[1])) + (max(x[0], x[1]) - max(b[0], x[1])))
    return [first, max(x) - max(b) - first]


def sums_of_layers(
    row: ArrayLike, weights: mlp.Layers, biases: mlp.Layers, activation: str, ratios: Sequence[float]
) -> list[NDArray[np.float64]]:
    """Sums of every layer, (units, channels), of a row."""
    a, found = np.asarray(row, dtype=np.float64), []
    for layer, (w, b) in enumerate(zip(weights, biases, strict=True)):
        channels = mlp.n_channels(layer, weights, activation)
        of_unit = w.reshape(-1, len(a), channels).astype(np.float64)
        found.append(np.einsum("uic,i->uc", of_unit, a) + b.reshape(-1, channels))
        kept = 1 - ratios[layer] if layer < len(ratios) else 1.0
        z = found[-1].max(axis=1)
        a = kept * (np.tanh(z) if activation == "tanh" else np.maximum(z, 0) if activation == "rectifier" else z)
    return found


def of_pair(
    x: ArrayLike,
    b: ArrayLike,
    weights: mlp.Layers,
    biases: mlp.Layers,
    *,
    activation: str,
    seed: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
    ratios: Sequence[float] = (),
) -> NDArray[np.float64]:
    """
    Contributions of every input to the difference of what is explained between a row and a background row.

    Parameters
    ----------
    x, b : array_like
        The expanded row and the background row.
    weights, biases : sequence of ndarray
        The network.
    activation : {"rectifier", "tanh", "maxout"}
        Of the hidden layers.
    seed : callable
        Multipliers of what is explained by the output's sums, given those of both rows.
    ratios : sequence of float
        Dropout of the hidden layers, if any.
    """
    x, b = np.asarray(x, dtype=np.float64), np.asarray(b, dtype=np.float64)
    of_x, of_b = (sums_of_layers(row, weights, biases, activation, ratios) for row in (x, b))
    multipliers = seed(of_x[-1][:, 0], of_b[-1][:, 0])[:, None]
    for layer in range(len(weights) - 1, -1, -1):
        n_in = len(x) if layer == 0 else len(biases[layer - 1].reshape(-1)) // of_x[layer - 1].shape[1]
        of_unit = weights[layer].reshape(-1, n_in, multipliers.shape[1]).astype(np.float64)
        below = np.einsum("uic,uc->i", of_unit, multipliers)
        if layer == 0:
            return below * (x - b)
        kept = 1 - ratios[layer - 1] if ratios else 1.0
        multipliers = np.zeros_like(of_x[layer - 1])
        for unit, (z, z_b) in enumerate(zip(of_x[layer - 1], of_b[layer - 1], strict=True)):
            if activation == "maxout":
                parts = shapley(z, z_b)
                gains = [0.0 if abs(p - q) < NEAR else s / (p - q) for s, p, q in zip(parts, z, z_b, strict=True)]
            else:
                gains = [quotient(np.tanh if activation == "tanh" else lambda v: max(v, 0.0), z[0], z_b[0])]
            multipliers[unit] = below[unit] * kept * np.array(gains)
    raise AssertionError("a network has layers")


def contributions(x: ArrayLike, background: ArrayLike, *network: mlp.Layers, **kind: object) -> NDArray[np.float64]:
    """Mean of `of_pair` over background rows."""
    return np.mean([of_pair(x, b, *network, **kind) for b in np.asarray(background)], axis=0)


def seed_of_softmax(label: int, n_steps: int = 4000) -> Callable[..., NDArray[np.float64]]:
    """Multipliers of a probability by the sums: the mean gradient on the line between two rows, by the midpoint rule."""

    def seed(z: NDArray[np.float64], z_b: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(len(z))
        for k in range(n_steps):
            p = mlp.softmax(z_b + (k + 0.5) / n_steps * (z - z_b))
            total += p[label] * (np.eye(len(z))[label] - p)
        return total / n_steps

    return seed
