"""
A multi-layer perceptron in plain loops: slow, in float64, and simple enough to be checked by eye.

The package's kernels are judged against this module, so it imports nothing of the package and takes no short cut: one
row after the other, one unit at a time, one incoming weight at a time. Its rules are those of docs/explanation/algorithm.md,
cited by topic.

Shapes
------
``weights[l]`` is ``(units, inputs)`` and ``biases[l]`` is ``(units,)``; the last layer is the output. The first layer
reads the expanded row: the one-hot slots of every factor, then the numbers (algorithm.md#order-of-inputs).

A hidden layer of maxout has two channels, and rows and columns in name only: read row after row as one flat list, the
weight of unit ``i``, input ``j``, channel ``k`` sits at ``2 * (i * inputs + j) + k``, and the bias of the unit's channel
at ``2 * i + k``, so that ``weights[l]`` is ``(2 * units, inputs)``. Gradients and all that is remembered are laid out like
the parameter that they belong to. Below, such a layer is seen as ``(units, inputs, channels)`` and
``(units, channels)``; every other layer has one channel.

Conventions
-----------
Settled by golden cases, some of which are missed by 5e-5 or more if one of these is turned round:

* Rate and momentum of a row follow the number of rows learned *before* it: the first row of all sees 0
  (algorithm.md#learning-rate).
* A velocity gathers finished steps, ``v = m v - r gradient`` with the ``r`` and ``m`` of its row, so a rate that changes
  later does not rescale what was gathered before. The factor ``1 - m`` of ``r`` uses the momentum of the same row.
* In fast mode a weight without an input keeps its mean squares as they are: they do not fade (algorithm.md#fast-mode).
* A row's weight multiplies the gradient of its loss, and with it all that ADADELTA remembers of the row.
* ADADELTA's mean squares of a bias follow the mean, over all inputs of the layer, of the squared gradients of the unit's
  incoming weights, penalties included. In fast mode the gradients of skipped weights are missing from the sum, yet still
  counted in the divisor (algorithm.md#biases-under-adadelta). Of one column's one-hot inputs the divisor counts eight at
  most: no case has more.
* The errors that pass down a layer are taken at the weights as they were before the row (algorithm.md#backward-pass).
* The losing channel of maxout has a gradient of 0: in fast mode it is left alone, all of it.
* A unit dropped for a row has an output and a gradient of 0, and passes no error down. Hidden units that are kept are not
  scaled up in training, so at prediction all are multiplied by ``1 - ratio``; inputs that are kept are divided by
  ``1 - ratio`` in training, so at prediction nothing is done to them (algorithm.md#dropout).
* ``max_w2`` holds each unit, once its weights have moved: its bias is neither counted nor scaled. In fast mode it looks
  at no unit without an error, so a start above the limit stays there until one comes (algorithm.md#max_w2).
* Huber's bend is at 1 in the unit of the scaled response, whatever ``huber_alpha`` (algorithm.md#delta-of-huber).
* The running mean activations of the sparse autoencoder count the row itself before its bias moves
  (algorithm.md#sparse-autoencoder).

Chosen, since no golden case tells:

* In fast mode such a weight keeps its velocity too.
* Without fast mode a losing channel or a dropped unit is a row of gradient 0: penalties and the fading of what is
  remembered still act on it, and so do ``max_w2`` and the sparsity.
* A dropped unit counts as an activation of 0 in its running mean.
* The sparsity moves a bias directly: no velocity gathers it. It rests where fast mode leaves out the unit.
* ``max_w2`` limits each channel of maxout by itself. ADADELTA's rule for the bias reads the gradients from before it.
* ``rate_decay`` first acts on the second layer (algorithm.md#learning-rate).
* A row of weight 0 does not exist: it is neither learned nor counted.
* The penalties act once per update, whatever its rows weigh (algorithm.md#penalties).

Mini-batches (algorithm.md#mini-batches) are not H2O's: one update for ``batch`` rows, all of them read at the weights
from before it. The gradient of a weight is the sum of the rows' gradients, each times its row's weight, divided by
``batch``; the penalties are added once. Rows of weight 0 are gone before batches form, and the last batch may have fewer
rows, which count no more than others.
Rate and momentum follow the rows learned before the batch. In fast mode a unit rests when its gradient is 0 in every row,
and a weight when that gradient is 0; a bias whose gradients merely cancel is learned. ADADELTA's rule for biases reads the
squares of these gradients.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    Layers = Sequence[NDArray[Any]]
    Mask = Sequence[ArrayLike]

ACTIVATIONS = {"rectifier", "tanh", "maxout"}
#: What each output can be trained for; its own objective comes first.
OBJECTIVES = {"softmax": ["cross_entropy", "quadratic_classes"]}
OBJECTIVES["linear"] = ["gaussian", "laplace", "quantile", "huber", "poisson", "gamma", "tweedie"]
OBJECTIVES["activation"] = OBJECTIVES["exact activation"] = OBJECTIVES["linear"]
#: Shapes of the objectives that have one: alpha, delta and power (algorithm.md#losses-of-numbers).
SHAPES = {"quantile": 0.5, "huber": 1.0, "tweedie": 1.5}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """
    What the network computes, and how it learns.

    Parameters
    ----------
    activation : {"rectifier", "tanh", "maxout"}
        Of every hidden layer (algorithm.md#forward-pass).
    output : {"softmax", "linear", "activation", "exact activation"}
        Class probabilities, numbers, or the output of an autoencoder through the function of the hidden layers, which
        cannot be maxout then; exact, where the gradient has that function's derivative.
    objective : str, optional
        See `loss`. Cross-entropy for classes and squared error for numbers, if not given.
    shape : float, optional
        See `loss`. One half for ``"quantile"``, 1 for ``"huber"`` and 1.5 for ``"tweedie"``, if not given.
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
        Penalties on weights and biases alike; see `penalty_gradient`.
    pull : float
        Of the centre given to `train`, on weights and biases alike; see `penalty_gradient`.
    input_ratio : float
        Chance of every input to be dropped in training (algorithm.md#dropout). Who is dropped is told by masks.
    hidden_ratios : sequence of float
        The same for the units of every hidden layer; empty without such dropout.
    max_w2 : float
        Limit of the sum of squares of a unit's (with maxout: a channel's) incoming weights (algorithm.md#max_w2).
    sparsity_beta, average_activation : float
        Strength of the sparse autoencoder's pull on the biases of hidden layers, and the running mean activation that
        it pulls to (algorithm.md#sparse-autoencoder).
    fast_mode : bool
        Leave out units without an error and weights without an input, penalties and memory included
        (algorithm.md#fast-mode). Plain SGD without penalties may leave out units without an error in any mode; there it
        changes nothing, so it is no rule here.
    """

    activation: str
    output: str
    objective: str | None = None
    shape: float | None = None
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
    input_ratio: float = 0.0
    hidden_ratios: Sequence[float] = ()
    max_w2: float = np.inf
    sparsity_beta: float = 0.0
    average_activation: float = 0.0
    fast_mode: bool = True

    def __post_init__(self):
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r}")
        if self.output not in OBJECTIVES or ("activation" in self.output and self.activation == "maxout"):
            raise ValueError(f"unknown output {self.output!r}")
        if self.objective is not None and self.objective not in OBJECTIVES[self.output]:
            raise ValueError(f"unknown objective {self.objective!r}")
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
        ADADELTA's mean squared updates X, one array per layer (algorithm.md#adadelta).
    weight_gradients, bias_gradients : list of ndarray
        ADADELTA's mean squared gradients G (algorithm.md#adadelta).
    weight_velocities, bias_velocities : list of ndarray
        Velocities of SGD (algorithm.md#momentum).
    mean_activations : list of ndarray
        Running mean activation of every unit, one array per hidden layer (algorithm.md#sparse-autoencoder).
    """

    n_seen: int
    weight_updates: list[NDArray[Any]]
    weight_gradients: list[NDArray[Any]]
    weight_velocities: list[NDArray[Any]]
    bias_updates: list[NDArray[Any]]
    bias_gradients: list[NDArray[Any]]
    bias_velocities: list[NDArray[Any]]
    mean_activations: list[NDArray[np.float64]]

    @classmethod
    def fresh(cls, weights: Layers, biases: Layers, *, n_seen: int = 0) -> State:
        """Memory before the first row: all zeros, of the types of ``weights`` and ``biases``."""
        of_weights = [[np.zeros_like(layer) for layer in weights] for _ in range(3)]
        of_biases = [[np.zeros_like(layer) for layer in biases] for _ in range(3)]
        # A layer has as many units as the next one has inputs.
        return cls(n_seen, *of_weights, *of_biases, [np.zeros(layer.shape[1]) for layer in weights[1:]])


@dataclass
class Pass:
    """
    What one row left behind on its way through the network.

    Attributes
    ----------
    inputs : list of ndarray
        What every layer read: the row itself, with dropout what was left of it; then each hidden layer's activations.
    prediction : ndarray
        Activations of the output layer.
    winners : list of ndarray
        Each hidden unit's winning channel; 0 where there is but one.
    kept : list of ndarray
        Which hidden units were not dropped.
    """

    inputs: list[NDArray[np.float64]] = field(default_factory=list)
    prediction: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    winners: list[NDArray[np.int64]] = field(default_factory=list)
    kept: list[NDArray[np.bool_]] = field(default_factory=list)


def softmax(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Class probabilities; the maximum is taken off first, so that nothing overflows (algorithm.md#softmax)."""
    e = np.exp(z - z.max())
    return e / e.sum()


def n_channels(layer: int, weights: Layers, activation: str) -> int:
    """Channels of a layer: two in hidden layers of maxout, else one."""
    return 2 if activation == "maxout" and layer < len(weights) - 1 else 1


def passed(
    x: ArrayLike,
    weights: Layers,
    biases: Layers,
    *,
    activation: str,
    output: str,
    offset: float = 0.0,
    input_ratio: float = 0.0,
    hidden_ratios: Sequence[float] = (),
    mask: Mask | None = None,
) -> Pass:
    """
    Send one row through the network, in training if there is a mask, else for its prediction.

    The formulas: algorithm.md#forward-pass, algorithm.md#dropout.

    Parameters
    ----------
    x : array_like
        The expanded row.
    weights, biases : sequence of ndarray
        The network.
    activation : {"rectifier", "tanh", "maxout"}
        Of the hidden layers.
    output : {"softmax", "linear", "activation", "exact activation"}
        Of the last layer.
    offset : float
        Added to the output before its function, in the output's own unit: where the response is scaled, so is the
        offset (algorithm.md#offsets).
    input_ratio, hidden_ratios
        See `Rules`.
    mask : list of array_like, optional
        Who is kept: the inputs, if ``input_ratio`` is not 0; then every hidden layer, if there are ``hidden_ratios``.
    """
    here = Pass()
    masks = [] if mask is None else [np.asarray(m, dtype=bool) for m in mask]
    if mask is not None and len(masks) != (input_ratio > 0.0) + len(hidden_ratios):
        raise ValueError("masks do not fit the dropout ratios")
    a = np.asarray(x, dtype=np.float64)
    if masks and input_ratio > 0.0:
        a = np.where(masks.pop(0), a / (1.0 - input_ratio), 0.0)
    for layer, (w, b) in enumerate(zip(weights, biases, strict=True)):
        here.inputs.append(a)
        channels = n_channels(layer, weights, activation)
        of_unit, bias = w.reshape(-1, len(a), channels), b.reshape(-1, channels)
        nets = [
            [np.dot(of_unit[unit, :, channel], a) + bias[unit, channel] for channel in range(channels)]
            for unit in range(len(bias))
        ]
        # Of equal channels the first wins.
        winners = np.array([np.argmax(net) for net in nets])
        z = np.array([net[winner] for net, winner in zip(nets, winners, strict=True)])
        if layer == len(weights) - 1:
            break
        a = _function(z, activation)
        kept = np.ones(len(a), dtype=bool)
        if hidden_ratios and mask is None:
            a = a * (1.0 - hidden_ratios[layer])
        elif hidden_ratios:
            kept = masks.pop(0)
            a = np.where(kept, a, 0.0)
        here.winners.append(winners)
        here.kept.append(kept)
    if output == "softmax":
        here.prediction = softmax(z + offset)
    else:
        here.prediction = _function(z + offset, activation) if "activation" in output else z + offset
    return here


def _function(z: NDArray[np.float64], activation: str) -> NDArray[np.float64]:
    """Activations of a hidden layer; of maxout ``z`` is what won already (algorithm.md#forward-pass)."""
    if activation == "tanh":
        return np.tanh(z)
    return np.maximum(z, 0.0) if activation == "rectifier" else z


def _derivatives(a: NDArray[np.float64], activation: str) -> NDArray[np.float64]:
    """Derivatives of `_function` where it is ``a``."""
    if activation == "tanh":
        return 1.0 - a * a
    return np.where(a > 0.0, 1.0, 0.0) if activation == "rectifier" else np.ones(len(a))


def forward(x: ArrayLike, weights: Layers, biases: Layers, **kind: Any) -> list[NDArray[np.float64]]:
    """
    Activations of one row, layer by layer; the arguments are those of `passed`.

    Returns
    -------
    list of ndarray
        Each hidden layer's activations; last the prediction: class probabilities, the one number of a linear output
        (in the unit of its link, see `linked`), or an autoencoder's outputs.
    """
    here = passed(x, weights, biases, **kind)
    return [*here.inputs[1:], here.prediction]


def safe_exp(x: float) -> float:
    """Exponential with a lid (algorithm.md#precision)."""
    return min(1e19, float(np.exp(min(x, 700.0))))


def linked(z: float, objective: str) -> float:
    """What is predicted where the linear output is ``z``: its exponential for counts and amounts (algorithm.md#links)."""
    return safe_exp(z) if objective in {"poisson", "gamma", "tweedie"} else z


def settled(output: str, objective: str | None, shape: float | None) -> tuple[str, float]:
    """Objective and shape in force; see `Rules`."""
    objective = OBJECTIVES[output][0] if objective is None else objective
    return objective, SHAPES.get(objective, 0.0) if shape is None else shape


def loss(
    prediction: NDArray[np.float64],
    target: ArrayLike,
    *,
    output: str,
    objective: str | None = None,
    shape: float | None = None,
) -> float:
    """
    Loss of one row, the one whose gradient is `output_gradients`.

    The formulas: algorithm.md#losses-of-classes, algorithm.md#losses-of-numbers.

    Parameters
    ----------
    prediction : ndarray
        Class probabilities; or the linear output ``z``; or an autoencoder's outputs.
    target : float or array_like
        Index of the class; or the (scaled) response ``y``; or the autoencoder's targets.
    output, objective, shape
        See `Rules`.

    Notes
    -----
    ``"cross_entropy"`` is minus the logarithm of the true class's probability, ``"quadratic_classes"`` half the sum of
    ``(p - t)**2`` over all classes, ``t`` being 1 for the true one. Of numbers, it is the deviance, ``shape`` being the
    quantile, the bend of Huber's loss, or Tweedie's power; losses of several outputs add up. For poisson, gamma and
    tweedie ``z`` itself takes the place of the prediction's logarithm, so nothing bounds it from below; a gamma response
    of 0 counts as one whose logarithm is -19.
    """
    objective, shape = settled(output, objective, shape)
    if objective == "cross_entropy":
        return float(-np.log(prediction[int(target)]))
    if objective == "quadratic_classes":
        return float(((prediction - (np.arange(len(prediction)) == target)) ** 2).sum() / 2.0)
    targets = np.atleast_1d(target)
    return sum(_loss_of_number(float(z), float(y), objective, shape) for z, y in zip(prediction, targets, strict=True))


def _loss_of_number(z: float, y: float, objective: str, shape: float) -> float:
    """One term of `loss`."""
    match objective:
        case "gaussian":
            return (z - y) ** 2
        case "laplace":
            return abs(z - y)
        case "quantile":
            return shape * (y - z) if y > z else (1.0 - shape) * (z - y)
        case "huber":
            return (z - y) ** 2 if abs(z - y) <= shape else (2.0 * abs(z - y) - shape) * shape
        case "poisson":
            return 2.0 * ((y * np.log(y) if y > 0.0 else 0.0) - y * z - y + safe_exp(z))
        case "gamma":
            return 2.0 * (z - (np.log(y) if y > 0.0 else -19.0) + y * safe_exp(-z) - 1.0)
        case "tweedie":
            low, high = 1.0 - shape, 2.0 - shape
            return 2.0 * (y**high / (low * high) - y * safe_exp(z * low) / low + safe_exp(z * high) / high)
    raise ValueError(f"unknown objective {objective!r}")


def output_gradients(
    prediction: NDArray[np.float64],
    target: ArrayLike,
    *,
    output: str,
    objective: str | None = None,
    shape: float | None = None,
    activation: str = "",
) -> NDArray[np.float64]:
    """
    Gradients of `loss` at the output units, before their function; the arguments are those of `loss`, and the function of
    hidden layers, which an exact gradient needs.

    The formulas: algorithm.md#losses-of-classes, algorithm.md#losses-of-numbers.

    The 2 of most stays: it is part of what a rate means. Two objectives do not answer the true gradient, and are meant so.
    Of ``"quadratic_classes"`` the diagonal of the softmax's Jacobian alone enters: what a unit does to its own class's
    probability. And an autoencoder's gradients are those at its outputs, after their function, taken as if before it; but
    for ``"exact activation"``.
    """
    objective, shape = settled(output, objective, shape)
    if objective == "cross_entropy":
        return prediction - (np.arange(len(prediction)) == target)
    if objective == "quadratic_classes":
        return (prediction - (np.arange(len(prediction)) == target)) * (1.0 - prediction) * prediction
    targets = np.atleast_1d(target)
    gradients = np.array(
        [_gradient_of_number(float(z), float(y), objective, shape) for z, y in zip(prediction, targets, strict=True)]
    )
    return gradients * _derivatives(prediction, activation) if output == "exact activation" else gradients


def _gradient_of_number(z: float, y: float, objective: str, shape: float) -> float:
    """Gradient of `_loss_of_number` by ``z`` (algorithm.md#losses-of-numbers), corners too."""
    match objective:
        case "gaussian":
            return 2.0 * (z - y)
        case "laplace":
            return -1.0 if z <= y else 1.0
        case "quantile":
            return -shape if y > z else 1.0 - shape
        case "huber":
            return min(max(2.0 * (z - y), -2.0 * shape), 2.0 * shape)
        case "poisson":
            return 2.0 * (safe_exp(z) - y)
        case "gamma":
            return 2.0 * (1.0 - y * safe_exp(-z))
        case "tweedie":
            return 2.0 * (safe_exp(z * (2.0 - shape)) - y * safe_exp(z * (1.0 - shape)))
    raise ValueError(f"unknown objective {objective!r}")


def backward(
    here: Pass, weights: Layers, gradients: NDArray[np.float64], *, activation: str
) -> list[NDArray[np.float64]]:
    """
    Gradients of the loss at every unit, before its function (algorithm.md#backward-pass).

    Parameters
    ----------
    here : Pass
        What `passed` answered.
    weights : sequence of ndarray
        The weights it used.
    gradients : ndarray
        Gradients at the output units, the row's weight included.
    activation : {"rectifier", "tanh", "maxout"}
        Of the hidden layers.

    Returns
    -------
    list of ndarray
        One array per layer, laid out like its biases; the last is ``gradients``.
    """
    deltas = [gradients]
    for layer in reversed(range(1, len(weights))):
        a, winners, kept = here.inputs[layer], here.winners[layer - 1], here.kept[layer - 1]
        of_unit = weights[layer].reshape(-1, len(a), n_channels(layer, weights, activation))
        errors = np.array([np.dot(of_unit[:, unit].ravel(), deltas[0]) for unit in range(len(a))])
        derivatives = _derivatives(a, activation)
        below = np.zeros((len(a), n_channels(layer - 1, weights, activation)))
        for unit, winner in enumerate(winners):
            if kept[unit]:
                below[unit, winner] = errors[unit] * derivatives[unit]
        deltas.insert(0, below.ravel())
    return deltas


def loss_and_gradient(
    x: ArrayLike,
    target: ArrayLike,
    weights: Layers,
    biases: Layers,
    *,
    activation: str,
    output: str,
    objective: str | None = None,
    shape: float | None = None,
    weight: float = 1.0,
    **kind: Any,
) -> tuple[float, list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """
    Weighted loss of one row and its gradient, penalties left out.

    Parameters
    ----------
    x, weights, biases, activation, output
        As in `passed`.
    target, objective, shape
        As in `loss`.
    weight : float
        The row's weight.
    **kind
        Further arguments of `passed`.

    Returns
    -------
    value : float
        The row's weight times its `loss`.
    weight_gradients, bias_gradients : list of ndarray
        Shaped like ``weights`` and ``biases``.
    """
    here = passed(x, weights, biases, activation=activation, output=output, **kind)
    aim = {"output": output, "objective": objective, "shape": shape}
    value = weight * loss(here.prediction, target, **aim)
    of_outputs = weight * output_gradients(here.prediction, target, activation=activation, **aim)
    deltas = backward(here, weights, of_outputs, activation=activation)
    gradients = []
    for layer, (w, delta, a) in enumerate(zip(weights, deltas, here.inputs, strict=True)):
        of_unit = delta.reshape(-1, 1, n_channels(layer, weights, activation))
        gradients.append((of_unit * a[:, np.newaxis]).reshape(w.shape))
    return value, gradients, deltas


def penalty_gradient(value: float, center: float, *, l1: float, l2: float, pull: float) -> float:
    """Gradient of ``l1 |w| + l2 w**2 / 2 + pull (w - center)**2 / 2`` at ``w = value`` (algorithm.md#penalties)."""
    return l1 * np.sign(value) + l2 * value + pull * (value - center)


def rate_at(n_seen: int, layer: int, *, rate: float, rate_annealing: float, rate_decay: float) -> float:
    """Rate of a layer, from 0, for the row that follows ``n_seen`` learned rows (algorithm.md#learning-rate)."""
    return rate * rate_decay**layer / (1.0 + rate_annealing * n_seen)


def momentum_at(n_seen: int, *, momentum_start: float, momentum_ramp: float, momentum_stable: float) -> float:
    """Momentum for the row that follows ``n_seen`` learned rows, by a straight ramp (algorithm.md#momentum)."""
    if n_seen >= momentum_ramp:
        return momentum_stable
    return momentum_start + (momentum_stable - momentum_start) * n_seen / momentum_ramp


def sgd_step(gradient: float, velocity: float, *, rate: float, momentum: float, nesterov: bool) -> tuple[float, float]:
    """
    One step of gradient descent with momentum (algorithm.md#momentum).

    Parameters
    ----------
    gradient : float
        Of the row's loss and the penalties.
    velocity : float
        What the step before answered; 0 at first.
    rate : float
        From `rate_at`. The rate in force is ``r = rate (1 - m)``: then all that a gradient ever moves adds up to
        ``-rate gradient``, whatever the momentum.
    momentum : float
        From `momentum_at`.
    nesterov : bool
        If false, the step is the new velocity, ``v = m v - r gradient``. If true, it is ``m v - r gradient`` of that new
        velocity: Nesterov's rule for weights that already stand at the place looked ahead to.

    Returns
    -------
    step, velocity : float
        What to add to the weight, and what to remember.
    """
    plain = -(rate * (1 - momentum)) * gradient
    velocity = momentum * velocity + plain
    return (momentum * velocity + plain if nesterov else velocity), velocity


def adadelta_rate(
    squared_gradient: float, updates: float, gradients: float, *, rho: float, epsilon: float
) -> tuple[float, float, float]:
    """
    Rate of one ADADELTA step, with exact roots (algorithm.md#adadelta).

    Parameters
    ----------
    squared_slope : float
        Square of the gradient; of a bias, the mean of the squares over the unit's incoming weights.
    updates, gradients : float
        Mean squares X and G so far. Their type is the type of everything answered.
    rho, epsilon : float
        Decay and smoothing of the mean squares.

    Returns
    -------
    rate, updates, gradients : float
        The step is ``-rate`` times the gradient; the mean squares are the new ones.
    """
    kind = type(gradients)
    gradients = kind(rho * gradients + (1 - rho) * squared_gradient)
    rate = kind(np.sqrt((updates + epsilon) / (gradients + epsilon)))
    updates = kind(rho * updates + (1 - rho) * rate * rate * squared_gradient)
    return rate, updates, gradients


def max_w2_factor(incoming: NDArray[Any], max_w2: float) -> Any:
    """
    Factor on a unit's incoming weights that brings their sum of squares down to ``max_w2``, if it is above.

    The rule: algorithm.md#max_w2.

    Sum, limit and factor are of the weights' type.
    """
    kind = incoming.dtype.type
    sum_of_squares = sum((w * w for w in incoming), kind(0.0))
    return np.sqrt(kind(max_w2) / sum_of_squares) if sum_of_squares > kind(max_w2) else kind(1.0)


def train(
    X: NDArray[np.float64],
    y: NDArray[Any],
    row_order: Iterable[int],
    weights: Layers,
    biases: Layers,
    *,
    batch: int = 1,
    masks: Sequence[Mask] | None = None,
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
    Learn rows, ``batch`` of them per update.

    Parameters
    ----------
    X : ndarray
        Expanded rows.
    y : ndarray
        Indices of classes, or (scaled) responses; one row of targets per row of X for an autoencoder.
    row_order : iterable of int
        The rows in the order in which they are learned.
    weights, biases : sequence of ndarray
        The network to start from; left as it is.
    batch : int
        Rows per update.
    masks : sequence of list of array_like, optional
        Who is kept at each place of ``row_order``, see `passed`; needed with dropout.
    sample_weight : ndarray, optional
        Factor on each row's gradient, already divided by the mean positive weight.
    offset : ndarray, optional
        See `passed`.
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
        too. All else, biases above all, is float64. With float32 the ``intended`` answers come out to the last
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
    weights = [np.array(w, dtype=dtype, order="C") for w in weights]
    biases = [np.array(b, dtype=np.float64) for b in biases]
    if state is None:
        biases = [b.astype(dtype).astype(np.float64) for b in biases]
        state = State.fresh(weights, biases, n_seen=n_seen)
    else:
        state = deepcopy(state)
    if masks is None and (r.input_ratio > 0.0 or r.hidden_ratios):
        raise ValueError("dropout needs masks")
    # Without a centre every parameter is its own: nothing pulls.
    center_weights, center_biases = (weights, biases) if center is None else center
    visits = [(place, row) for place, row in enumerate(row_order) if sample_weight is None or sample_weight[row] != 0.0]
    for first in range(0, len(visits), batch):
        passes, gradients = [], []
        for place, row in visits[first : first + batch]:
            here = passed(
                X[row],
                weights,
                biases,
                activation=r.activation,
                output=r.output,
                offset=0.0 if offset is None else offset[row],
                input_ratio=r.input_ratio,
                hidden_ratios=r.hidden_ratios,
                mask=None if masks is None else masks[place],
            )
            weight = 1.0 if sample_weight is None else sample_weight[row]
            gradient = output_gradients(
                here.prediction, y[row], output=r.output, objective=r.objective, shape=r.shape, activation=r.activation
            )
            passes.append(here)
            gradients.append(weight * gradient)
            for mean, a in zip(state.mean_activations, here.inputs[1:], strict=True):
                mean[:] = 0.999 * mean + 0.001 * a
        # All gradients are known before the first weight moves, so layers may move in any order.
        deltas = [
            backward(here, weights, gradient, activation=r.activation)
            for here, gradient in zip(passes, gradients, strict=True)
        ]
        for layer in range(len(weights)):
            inputs = np.array([here.inputs[layer] for here in passes])
            n_settable = n_columns if layer == 0 and n_columns is not None else inputs.shape[1]
            n_mean = min(inputs.shape[1], 8 * n_settable)
            center_of_layer = center_weights[layer], center_biases[layer]
            of_layer = np.array([of_row[layer] for of_row in deltas]) / batch
            _learn_layer(layer, of_layer, inputs, n_mean, weights, biases, center_of_layer, state, r)
        state.n_seen += len(passes)
    return weights, biases, state


def _learn_layer(
    layer: int,
    deltas: NDArray[np.float64],
    inputs: NDArray[np.float64],
    n_mean: int,
    all_weights: list[NDArray[Any]],
    all_biases: list[NDArray[np.float64]],
    center: tuple[NDArray[Any], NDArray[Any]],
    state: State,
    r: Rules,
) -> None:
    """Move one layer's weights and biases, in place, by what a batch of rows tells (algorithm.md#mini-batches)."""
    n_rows, n_inputs = inputs.shape
    channels = n_channels(layer, all_weights, r.activation)

    def of_weights(array: NDArray[Any]) -> NDArray[Any]:
        """The same numbers, by unit, input and channel."""
        return array.reshape(-1, n_inputs, channels)

    def of_biases(array: NDArray[Any]) -> NDArray[Any]:
        """The same numbers, by unit and channel."""
        return array.reshape(-1, channels)

    weights, biases = of_weights(all_weights[layer]), of_biases(all_biases[layer])
    center_weights, center_biases = of_weights(np.asarray(center[0])), of_biases(np.asarray(center[1]))
    # Settings take the weights' type. NumPy's own promotion does the rest: numbers of one type keep it, float64 wins.
    kind = weights.dtype.type
    l1, l2, pull, rho, epsilon = kind(r.l1), kind(r.l2), kind(r.pull), kind(r.rho), kind(r.epsilon)
    rate = kind(rate_at(state.n_seen, layer, rate=r.rate, rate_annealing=r.rate_annealing, rate_decay=r.rate_decay))
    momentum = kind(
        momentum_at(
            state.n_seen,
            momentum_start=r.momentum_start,
            momentum_ramp=r.momentum_ramp,
            momentum_stable=r.momentum_stable,
        )
    )
    for unit, channel in np.ndindex(*biases.shape):
        at = unit, channel
        of_rows = deltas.reshape(n_rows, -1, channels)[:, unit, channel]
        if r.fast_mode and np.all(of_rows == 0.0):
            continue

        sum_of_squares = np.float64(0.0)
        for i in range(n_inputs):
            of_loss = sum(delta * a for delta, a in zip(of_rows, inputs[:, i], strict=True))
            if r.fast_mode and of_loss == 0.0:
                continue
            place = unit, i, channel
            w = np.float64(weights[place])
            gradient = of_loss + penalty_gradient(w, center_weights[place], l1=l1, l2=l2, pull=pull)
            sum_of_squares += gradient * gradient
            if r.optimizer == "adadelta":
                X, G = of_weights(state.weight_updates[layer]), of_weights(state.weight_gradients[layer])
                eta, X[place], G[place] = adadelta_rate(
                    gradient * gradient, X[place], G[place], rho=rho, epsilon=epsilon
                )
                weights[place] = w - eta * gradient
            else:
                V = of_weights(state.weight_velocities[layer])
                step, V[place] = sgd_step(
                    gradient, np.float64(V[place]), rate=rate, momentum=momentum, nesterov=r.nesterov
                )
                weights[place] = w + step
        incoming = weights[unit, :, channel]
        incoming *= max_w2_factor(incoming, r.max_w2)

        gradient = sum(of_rows) + penalty_gradient(biases[at], center_biases[at], l1=l1, l2=l2, pull=pull)
        if r.optimizer == "adadelta":
            X, G = of_biases(state.bias_updates[layer]), of_biases(state.bias_gradients[layer])
            bias_rate, X[at], G[at] = adadelta_rate(sum_of_squares / n_mean, X[at], G[at], rho=rho, epsilon=epsilon)
            biases[at] -= bias_rate * gradient
        else:
            V = of_biases(state.bias_velocities[layer])
            step, V[at] = sgd_step(gradient, V[at], rate=rate, momentum=momentum, nesterov=r.nesterov)
            biases[at] += step
            bias_rate = rate * (1 - momentum)
        if r.sparsity_beta > 0.0 and layer < len(all_weights) - 1:
            excess = state.mean_activations[layer][unit] - r.average_activation
            biases[at] -= bias_rate * r.sparsity_beta * excess
