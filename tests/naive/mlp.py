"""
A multi-layer perceptron in plain loops: slow, in float64, and simple enough to be checked by eye.

The package's kernels are judged against this module, so it imports nothing of the package and takes no short cut: one
row per update, one unit at a time, one incoming weight at a time. Section numbers are those of the specification; where
the ``intended`` answers of the golden cases mend a rule of it, this module follows them.

Shapes
------
``weights[l]`` is ``(units, inputs)`` and ``biases[l]`` is ``(units,)``; the last layer is the output. The first layer
reads the expanded row: the one-hot slots of every factor, then the numbers (2.2).

Conventions
-----------
Settled by golden cases, some of which are missed by 5e-5 or more if one of these is turned round:

* Rate and momentum of a row follow the number of rows learned *before* it: the first row of all sees 0 (5.3).
* A velocity gathers finished steps, ``v = m v - r slope`` with the ``r`` and ``m`` of its row, so a rate that changes
  later does not rescale what was gathered before. The factor ``1 - m`` of ``r`` uses the momentum of the same row.
* In fast mode a weight without an input keeps its mean squares as they are: they do not fade (5.5).
* A row's weight multiplies the slope of its loss, and with it all that ADADELTA remembers of the row.
* ADADELTA's mean squares of a bias follow the mean, over all inputs of the layer, of the squared slopes of the unit's
  incoming weights, penalties included. In fast mode the slopes of skipped weights are missing from the sum, yet still
  counted in the divisor (5.4, 5.5). Of one column's one-hot inputs the divisor counts eight at most: no case has more.
* The errors that pass down a layer are taken at the weights as they were before the row (5.1).

Chosen, since no golden case tells:

* In fast mode such a weight keeps its velocity too.
* ``rate_decay`` first acts on the second layer (5.3).
* A row of weight 0 does not exist: it is neither learned nor counted.
* The penalties act once per row, whatever the row weighs (5.2).
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    Layers = Sequence[NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """
    What the network computes, and how it learns.

    Parameters
    ----------
    activation : {"rectifier", "tanh"}
        Of every hidden layer (3.2).
    output : {"softmax", "linear"}
        Class probabilities with cross-entropy, or one number with squared error (4).
    optimizer : {"adadelta", "sgd"}
        ADADELTA reads ``rho`` and ``epsilon``; SGD reads the fields from ``rate`` to ``nesterov``.
    rho, epsilon : float
        Decay and smoothing of the mean squares; see `adadelta_rate`.
    rate, rate_annealing, rate_decay : float
        See `rate_at`.
    momentum_start, momentum_ramp, momentum_stable : float
        See `momentum_at`.
    nesterov : bool
        See `sgd_step`.
    l1, l2 : float
        Penalties on weights and biases alike; see `penalty_slope`.
    pull : float
        Of the centre given to `train`, on weights and biases alike; see `penalty_slope`.
    fast_mode : bool
        Leave out units without an error and weights without an input, penalties and memory included (5.5). The
        specification lets plain SGD without penalties leave out units without an error in any mode; there it changes
        nothing, so it is no rule here.
    """

    activation: str
    output: str
    optimizer: str = "adadelta"
    rho: float = 0.99
    epsilon: float = 1e-8
    rate: float = 0.005
    rate_annealing: float = 1e-6
    rate_decay: float = 1.0
    momentum_start: float = 0.0
    momentum_ramp: float = 1e6
    momentum_stable: float = 0.0
    nesterov: bool = True
    l1: float = 0.0
    l2: float = 0.0
    pull: float = 0.0
    fast_mode: bool = True

    def __post_init__(self):
        if self.activation not in {"rectifier", "tanh"}:
            raise ValueError(f"unknown activation {self.activation!r}")
        if self.output not in {"softmax", "linear"}:
            raise ValueError(f"unknown output {self.output!r}")
        if self.optimizer not in {"adadelta", "sgd"}:
            raise ValueError(f"unknown optimizer {self.optimizer!r}")


@dataclass
class State:
    """
    What training remembers from row to row.

    Attributes
    ----------
    n_seen : int
        Rows learned so far.
    weight_updates, bias_updates : list of ndarray
        ADADELTA's mean squared updates X, one array per layer (5.4).
    weight_gradients, bias_gradients : list of ndarray
        ADADELTA's mean squared gradients G (5.4).
    weight_velocities, bias_velocities : list of ndarray
        Velocities of SGD (5.3).
    """

    n_seen: int
    weight_updates: list[NDArray[Any]]
    weight_gradients: list[NDArray[Any]]
    weight_velocities: list[NDArray[Any]]
    bias_updates: list[NDArray[Any]]
    bias_gradients: list[NDArray[Any]]
    bias_velocities: list[NDArray[Any]]

    @classmethod
    def fresh(cls, weights: Layers, biases: Layers, *, n_seen: int = 0) -> State:
        """Memory before the first row: all zeros, of the types of ``weights`` and ``biases``."""
        of_weights = [[np.zeros_like(layer) for layer in weights] for _ in range(3)]
        of_biases = [[np.zeros_like(layer) for layer in biases] for _ in range(3)]
        return cls(n_seen, *of_weights, *of_biases)


def softmax(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Class probabilities; the maximum is taken off first, so that nothing overflows (3.2)."""
    e = np.exp(z - z.max())
    return e / e.sum()


def forward(
    x: ArrayLike,
    weights: Layers,
    biases: Layers,
    *,
    activation: str,
    output: str,
    offset: float = 0.0,
) -> list[NDArray[np.float64]]:
    """
    Activations of one row, layer by layer (3.2).

    Parameters
    ----------
    x : array_like
        The expanded row.
    weights, biases : sequence of ndarray
        The network.
    activation : {"rectifier", "tanh"}
        Of the hidden layers.
    output : {"softmax", "linear"}
        Of the last layer.
    offset : float
        Added to the output before its function, in the output's own unit: where the response is scaled, so is the
        offset (3.5).

    Returns
    -------
    list of ndarray
        Each hidden layer's activations; last the class probabilities, or the one number of a linear output.
    """
    a = np.asarray(x, dtype=np.float64)
    activations = []
    for layer, (w, b) in enumerate(zip(weights, biases, strict=True)):
        z = np.array([np.dot(w[unit], a) + b[unit] for unit in range(len(b))])
        if layer < len(weights) - 1:
            a = np.tanh(z) if activation == "tanh" else np.maximum(z, 0.0)
        else:
            a = softmax(z + offset) if output == "softmax" else z + offset
        activations.append(a)
    return activations


def loss(prediction: NDArray[np.float64], target: float, *, output: str) -> float:
    """Loss of one row, the one whose slope is `output_slopes`: cross-entropy or squared error (4)."""
    if output == "softmax":
        return float(-np.log(prediction[int(target)]))
    return float((prediction[0] - target) ** 2)


def output_slopes(prediction: NDArray[np.float64], target: float, *, output: str) -> NDArray[np.float64]:
    """
    Slopes of `loss` at the output units, before their function (4).

    ``p - t`` for classes, ``2 (z - y)`` for a number. The 2 stays: it is part of what a rate means.
    """
    if output == "softmax":
        return prediction - (np.arange(len(prediction)) == target)
    return 2.0 * (prediction - target)


def backward(
    activations: Sequence[NDArray[np.float64]],
    weights: Layers,
    slopes: NDArray[np.float64],
    *,
    activation: str,
) -> list[NDArray[np.float64]]:
    """
    Slopes of the loss at every unit, before its function (5.1).

    Parameters
    ----------
    activations : sequence of ndarray
        What `forward` answered.
    weights : sequence of ndarray
        The weights it used.
    slopes : ndarray
        Slopes at the output units, the row's weight included.
    activation : {"rectifier", "tanh"}
        Of the hidden layers.

    Returns
    -------
    list of ndarray
        One array per layer; the last is ``slopes``.
    """
    deltas = [slopes]
    for w, a in zip(reversed(weights[1:]), reversed(activations[:-1]), strict=True):
        errors = np.array([np.dot(w[:, unit], deltas[0]) for unit in range(len(a))])
        derivatives = 1.0 - a * a if activation == "tanh" else np.where(a > 0.0, 1.0, 0.0)
        deltas.insert(0, errors * derivatives)
    return deltas


def loss_and_gradient(
    x: ArrayLike,
    target: float,
    weights: Layers,
    biases: Layers,
    *,
    activation: str,
    output: str,
    weight: float = 1.0,
    offset: float = 0.0,
) -> tuple[float, list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """
    Weighted loss of one row and its gradient, penalties left out.

    Parameters
    ----------
    x, weights, biases, activation, output, offset
        As in `forward`.
    target : float
        Index of the class, or the (scaled) response.
    weight : float
        The row's weight.

    Returns
    -------
    value : float
        The row's weight times its `loss`.
    weight_gradients, bias_gradients : list of ndarray
        Shaped like ``weights`` and ``biases``.
    """
    activations = forward(x, weights, biases, activation=activation, output=output, offset=offset)
    value = weight * loss(activations[-1], target, output=output)
    slopes = weight * output_slopes(activations[-1], target, output=output)
    deltas = backward(activations, weights, slopes, activation=activation)
    inputs = [np.asarray(x, dtype=np.float64), *activations[:-1]]
    return value, [np.outer(delta, a) for delta, a in zip(deltas, inputs, strict=True)], deltas


def penalty_slope(value: float, center: float, *, l1: float, l2: float, pull: float) -> float:
    """Slope of ``l1 |w| + l2 w**2 / 2 + pull (w - center)**2 / 2`` at ``w = value``; the sign of 0 is 0 (5.2, 6.7)."""
    return l1 * np.sign(value) + l2 * value + pull * (value - center)


def rate_at(n_seen: int, layer: int, *, rate: float, rate_annealing: float, rate_decay: float) -> float:
    """Rate of a layer, 0 being the first hidden one, for the row that follows ``n_seen`` learned rows (5.3)."""
    return rate * rate_decay**layer / (1.0 + rate_annealing * n_seen)


def momentum_at(n_seen: int, *, momentum_start: float, momentum_ramp: float, momentum_stable: float) -> float:
    """Momentum for the row that follows ``n_seen`` learned rows: a straight ramp from start to stable (5.3)."""
    if n_seen >= momentum_ramp:
        return momentum_stable
    return momentum_start + (momentum_stable - momentum_start) * n_seen / momentum_ramp


def sgd_step(slope: float, velocity: float, *, rate: float, momentum: float, nesterov: bool) -> tuple[float, float]:
    """
    One step of gradient descent with momentum (5.3, as mended by ``intended``).

    Parameters
    ----------
    slope : float
        Of the row's loss and the penalties.
    velocity : float
        What the step before answered; 0 at first.
    rate : float
        From `rate_at`. The rate in force is ``r = rate (1 - m)``: then all that a slope ever moves adds up to
        ``-rate slope``, whatever the momentum.
    momentum : float
        From `momentum_at`.
    nesterov : bool
        If false, the step is the new velocity, ``v = m v - r slope``. If true, it is ``m v - r slope`` of that new
        velocity: Nesterov's rule for weights that already stand at the place looked ahead to.

    Returns
    -------
    step, velocity : float
        What to add to the weight, and what to remember.
    """
    plain = -(rate * (1 - momentum)) * slope
    velocity = momentum * velocity + plain
    return (momentum * velocity + plain if nesterov else velocity), velocity


def adadelta_rate(
    squared_slope: float, updates: float, gradients: float, *, rho: float, epsilon: float
) -> tuple[float, float, float]:
    """
    Rate of one ADADELTA step, with exact roots (5.4).

    Parameters
    ----------
    squared_slope : float
        Square of the slope; of a bias, the mean of the squares over the unit's incoming weights.
    updates, gradients : float
        Mean squares X and G so far. Their type is the type of everything answered.
    rho, epsilon : float
        Decay and smoothing of the mean squares.

    Returns
    -------
    rate, updates, gradients : float
        The step is ``-rate`` times the slope; the mean squares are the new ones.
    """
    kind = type(gradients)
    gradients = kind(rho * gradients + (1 - rho) * squared_slope)
    rate = kind(np.sqrt((updates + epsilon) / (gradients + epsilon)))
    updates = kind(rho * updates + (1 - rho) * rate * rate * squared_slope)
    return rate, updates, gradients


def train(
    X: NDArray[np.float64],
    y: NDArray[Any],
    row_order: Iterable[int],
    weights: Layers,
    biases: Layers,
    *,
    sample_weight: NDArray[np.float64] | None = None,
    offset: NDArray[np.float64] | None = None,
    n_seen: int = 0,
    n_columns: int | None = None,
    center: tuple[Layers, Layers] | None = None,
    state: State | None = None,
    dtype: DTypeLike = np.float64,
    **rules: Any,
) -> tuple[list[NDArray[Any]], list[NDArray[np.float64]], State]:
    """
    Learn rows one by one.

    Parameters
    ----------
    X : ndarray
        Expanded rows.
    y : ndarray
        Indices of classes, or (scaled) responses.
    row_order : iterable of int
        The row of each update.
    weights, biases : sequence of ndarray
        The network to start from; left as it is.
    sample_weight : ndarray, optional
        Factor on each row's slope, already divided by the mean positive weight.
    offset : ndarray, optional
        See `forward`.
    n_seen : int
        Rows learned before, if there is no ``state`` to tell.
    n_columns : int, optional
        Columns of the table that X was expanded from; as many as X has, if not given.
    center : (weights, biases), optional
        The consensus of elastic averaging, to which ``pull`` draws; not needed without one.
    state : State, optional
        Memory of the call to be continued; left as it is.
    dtype : dtype
        Type of the weights, of what is remembered of them, and of the settings; the biases of a start are read in it
        too. All else, biases above all, is float64 (3.4). With float32 the ``intended`` answers come out to the last
        bit.
    **rules
        Fields of `Rules`.

    Returns
    -------
    weights, biases : list of ndarray
        The network after the last row.
    state : State
        Memory to continue with.
    """
    r = Rules(**rules)
    weights = [np.array(w, dtype=dtype) for w in weights]
    biases = [np.array(b, dtype=np.float64) for b in biases]
    if state is None:
        biases = [b.astype(dtype).astype(np.float64) for b in biases]
        state = State.fresh(weights, biases, n_seen=n_seen)
    else:
        state = deepcopy(state)
    # Without a centre every parameter is its own: nothing pulls.
    center_weights, center_biases = (weights, biases) if center is None else center
    for row in row_order:
        weight = 1.0 if sample_weight is None else sample_weight[row]
        if weight == 0.0:
            continue
        shift = 0.0 if offset is None else offset[row]
        activations = forward(X[row], weights, biases, activation=r.activation, output=r.output, offset=shift)
        slopes = weight * output_slopes(activations[-1], y[row], output=r.output)
        # All slopes are known before the first weight moves, so layers may move in any order.
        deltas = backward(activations, weights, slopes, activation=r.activation)
        for layer, inputs in enumerate([X[row], *activations[:-1]]):
            n_settable = n_columns if layer == 0 and n_columns is not None else len(inputs)
            n_mean = min(len(inputs), 8 * n_settable)
            center_of_layer = center_weights[layer], center_biases[layer]
            _learn_layer(layer, deltas[layer], inputs, n_mean, weights[layer], biases[layer], center_of_layer, state, r)
        state.n_seen += 1
    return weights, biases, state


def _learn_layer(
    layer: int,
    deltas: NDArray[np.float64],
    inputs: NDArray[np.float64],
    n_mean: int,
    weights: NDArray[Any],
    biases: NDArray[np.float64],
    center: tuple[NDArray[Any], NDArray[Any]],
    state: State,
    r: Rules,
) -> None:
    """Move one layer's weights and biases, in place, by what one row tells (5.2 to 5.5)."""
    # Settings take the weights' type. NumPy's own promotion does the rest: numbers of one type keep it, float64 wins.
    kind = weights.dtype.type
    l1, l2, pull, rho, epsilon = kind(r.l1), kind(r.l2), kind(r.pull), kind(r.rho), kind(r.epsilon)
    center_weights, center_biases = center
    rate = kind(rate_at(state.n_seen, layer, rate=r.rate, rate_annealing=r.rate_annealing, rate_decay=r.rate_decay))
    momentum = kind(
        momentum_at(
            state.n_seen,
            momentum_start=r.momentum_start,
            momentum_ramp=r.momentum_ramp,
            momentum_stable=r.momentum_stable,
        )
    )
    for unit, delta in enumerate(deltas):
        if r.fast_mode and delta == 0.0:
            continue

        sum_of_squares = np.float64(0.0)
        for i, a in enumerate(inputs):
            if r.fast_mode and a == 0.0:
                continue
            w = np.float64(weights[unit, i])
            slope = delta * a + penalty_slope(w, center_weights[unit, i], l1=l1, l2=l2, pull=pull)
            sum_of_squares += slope * slope
            if r.optimizer == "adadelta":
                X, G = state.weight_updates[layer], state.weight_gradients[layer]
                eta, X[unit, i], G[unit, i] = adadelta_rate(
                    slope * slope, X[unit, i], G[unit, i], rho=rho, epsilon=epsilon
                )
                weights[unit, i] = w - eta * slope
            else:
                V = state.weight_velocities[layer]
                step, V[unit, i] = sgd_step(
                    slope, np.float64(V[unit, i]), rate=rate, momentum=momentum, nesterov=r.nesterov
                )
                weights[unit, i] = w + step

        slope = delta + penalty_slope(biases[unit], center_biases[unit], l1=l1, l2=l2, pull=pull)
        if r.optimizer == "adadelta":
            X, G = state.bias_updates[layer], state.bias_gradients[layer]
            eta, X[unit], G[unit] = adadelta_rate(sum_of_squares / n_mean, X[unit], G[unit], rho=rho, epsilon=epsilon)
            biases[unit] -= eta * slope
        else:
            V = state.bias_velocities[layer]
            step, V[unit] = sgd_step(slope, V[unit], rate=rate, momentum=momentum, nesterov=r.nesterov)
            biases[unit] += step
