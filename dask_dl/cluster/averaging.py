"""Averages of replicas that trained apart: their weighted mean, and a step beyond it.

The mean of many replicas moves too little: each saw only its share of the rows, and their common direction is cut by
averaging as if it were noise. So the way from one average to the next is taken as a gradient with its own momentum:
the "block momentum" of Chen and Huo (2016).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Contribution(NamedTuple):
    """Result of a round for a replica, or for several that were averaged."""

    n_rows: int  #: that were learned; nothing counts by its rows
    vectors: tuple[NDArray[np.float32], ...]  #: weights, then each vector of optimizer state


def combined(parts: Sequence[Contribution]) -> Contribution:
    """The mean by rows, of weights and of optimizer state alike (algorithm.md#averages).

    One that learned is its own mean, to the last bit.
    """
    parts = [part for part in parts if part.n_rows]
    if not parts:
        return Contribution(0, ())
    if len(parts) == 1:
        return parts[0]
    total = sum(part.n_rows for part in parts)
    shares = [np.float32(part.n_rows / total) for part in parts]
    means = []
    for vectors in zip(*(part.vectors for part in parts), strict=True):
        mean = vectors[0] * shares[0]
        for vector, share in zip(vectors[1:], shares[1:], strict=True):
            mean += vector * share
        means.append(mean)
    return Contribution(total, tuple(means))


#: Replicas that are averaged in one task.
FAN = 8


def tree(parts: Sequence[Contribution]) -> Contribution:
    """Average the averages of every FAN neighbours, and so on: to the last bit what tasks on a cluster make of them."""
    layer = list(parts)
    while len(layer) > 1:
        layer = [combined(layer[k : k + FAN]) for k in range(0, len(layer), FAN)]
    return layer[0] if layer else Contribution(0, ())


def advance(
    flat: NDArray[np.float32], mean: NDArray[np.float32], velocity: NDArray[np.float32], momentum: float
) -> None:
    """Move the last average beyond the next one.

    v <- momentum v + (mean - flat); flat <- mean + momentum v: block momentum with Nesterov's look-ahead (Chen and Huo
    2016, section 2.2; algorithm.md#outer-momentum), which stands more momentum than without in our measurements.

    Parameters
    ----------
    flat : (size,) float32
        Weights of the last average; changed in place.
    mean : (size,) float32
        Weights of the next average.
    velocity : (size,) float32
        Momentum so far, zeros at first; changed in place.
    momentum : float
        Share of the velocity that is kept, in [0, 1).
    """
    velocity *= np.float32(momentum)
    velocity += mean
    velocity -= flat
    np.multiply(velocity, np.float32(momentum), out=flat)
    flat += mean


def draw(consensus: Sequence[NDArray[np.float32]], mean: Sequence[NDArray[np.float32]], moving_rate: float) -> None:
    """Elastic averaging: C <- rate mean + (1 - rate) C, in place, for each vector (algorithm.md#elastic-averaging)."""
    for vector, other in zip(consensus, mean, strict=True):
        np.add(vector, np.float32(moving_rate) * (other - vector), out=vector)


#: Momentum is at most this, however many replicas there are.
MAX = 0.95


def outer_momentum(asked: float | None, moving_rate: float | None, n_replicas: int, n_averages: int) -> float:
    """Outer momentum of a round.

    Parameters
    ----------
    asked : float or None
        Of the parameters; None: by the number of replicas.
    moving_rate : float or None
        Of elastic averaging, which has no momentum.
    n_replicas, n_averages : int
        Replicas that train in the round, and averages before it.

    Returns
    -------
    float
        0 where there is none.
    """
    if n_replicas == 1 or moving_rate is not None:
        return 0.0
    return momentum_of(n_replicas, n_averages) if asked is None else asked


def momentum_of(n_replicas: int, n_averages: int) -> float:
    """Outer momentum of so many replicas, after so many averages: (n - 1) / (n + 1), approached from 0.

    The rule: algorithm.md#outer-momentum. The steps that momentum adds to one then sum up to half of n + 1 of them: to as
    many as there are replicas is too far for tables of which each sees little. It rises as k / (k + 1), because the first
    averages go far and in directions of their own. The figures behind it are in docs/explanation/cluster.md.
    """
    return min((n_replicas - 1) / (n_replicas + 1), MAX, n_averages / (n_averages + 1))
