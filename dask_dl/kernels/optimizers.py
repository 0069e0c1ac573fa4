"""Optimizer step on one vector of weights: w[i] -= f(d * a[i]).

The same functions serve a unit's row of dense weights (a = the layer's inputs, d = the unit's delta), an active level's
row of one-hot weights (a = the layer's deltas, d = 1) and the biases. Under fast_mode an a[i] of 0 leaves everything of
weight i as it is: no penalty, no decay of its state (algorithm.md#fast-mode).

Arithmetic is float32, and roots are exact (algorithm.md#precision).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dask_dl.errors import ParameterError
from dask_dl.jit import inlined, kernel
from dask_dl.kernels.spans import span
from dask_dl.kernels.weights import WeightBlock

if TYPE_CHECKING:
    from collections.abc import Mapping

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)

PLAIN, MOMENTUM, ADADELTA = 0, 1, 2


def kind_of(parameters: Mapping[str, Any]) -> int:
    """Kind of the optimizer that parameters ask for. Raises ParameterError where they do not tell."""
    adaptive, *decays = (parameters.get(name) for name in ("adaptive_rate", "momentum_start", "momentum_stable"))
    if not isinstance(adaptive, bool):
        raise ParameterError(f"adaptive_rate is {adaptive!r}, which tells no optimizer; it must be True or False.")
    if adaptive:
        return ADADELTA
    if not all(isinstance(decay, int | float) for decay in decays):
        raise ParameterError(f"momentum_start and momentum_stable are {decays}, which tell no optimizer; give numbers.")
    return MOMENTUM if any(decays) else PLAIN


class Penalties(NamedTuple):
    """Forces on weights and biases besides the loss, and limits on them."""

    l1: float = 0.0
    l2: float = 0.0
    pull: float = 0.0  #: of the consensus, where weights have one: `weights.WeightBlock.center`
    max_w2: float = np.inf  #: limit on the sum of squares of a unit's incoming weights
    average_activation: float = 0.0  #: that the biases of hidden units are drawn to ...
    sparsity_beta: float = 0.0  #: ... as strongly as this


class Optimizer(NamedTuple):
    """Settings of a training, as kernels read them."""

    kind: int  #: a key of RULES
    rho: float  #: ADADELTA: decay of both running means
    epsilon: float  #: ADADELTA: added to both running means
    rate: float  #: step before annealing
    rate_annealing: float  #: rate / (1 + rate_annealing * rows)
    rate_decay: float  #: factor on the rate from layer to layer
    momentum_start: float
    momentum_ramp: float  #: rows over which momentum goes from start to stable
    momentum_stable: float
    nesterov: bool
    fast_mode: bool
    penalties: Penalties = Penalties()
    batch: int = 1  #: rows whose gradients, divided by as many, make a step
    input_kept: float = 1.0  #: share of the inputs that a row keeps
    scale: float = 1.0  #: factor on every step: halved when a training diverges

    @classmethod
    def of(cls, **settings: Any) -> Optimizer:
        """Optimizer of settings by name, those of the penalties among them."""
        penalties = {name: settings.pop(name) for name in Penalties._fields if name in settings}
        return cls(penalties=Penalties(**penalties), **settings)

    @classmethod
    def of_parameters(cls, e: Mapping[str, Any]) -> Optimizer:
        """Optimizer of effective parameters. Raises ParameterError where they do not tell which."""
        return cls.of(
            kind=kind_of(e),
            rho=e["rho"],
            epsilon=e["epsilon"],
            rate=e["rate"],
            rate_annealing=e["rate_annealing"],
            rate_decay=e["rate_decay"],
            momentum_start=e["momentum_start"],
            momentum_ramp=float(e["momentum_ramp"]),
            momentum_stable=e["momentum_stable"],
            nesterov=e["nesterov_accelerated_gradient"],
            l1=e["l1"],
            l2=e["l2"],
            fast_mode=e["fast_mode"],
            pull=e["elastic_averaging_regularization"] if e["elastic_averaging"] else 0.0,
            batch=e["mini_batch_size"],
            max_w2=e["max_w2"],
            input_kept=1.0 - e["input_dropout_ratio"],
            average_activation=e["average_activation"],
            sparsity_beta=e["sparsity_beta"],
        )


class StepSize(NamedTuple):
    """StepSize of an optimizer at this row in this layer."""

    optimizer: Optimizer
    rate: np.float32
    decay: np.float32  #: momentum


class Penalty(NamedTuple):
    """Penalties that act on a block of weights: gradients of l1 |w| + l2 w**2 / 2 + pull (w - c)**2 / 2."""

    l1: np.float32
    l2: np.float32
    pull: np.float32


@kernel
def rate_of(opt, n_seen):
    """(rate, momentum) for the row before which `n_seen` rows were learned (algorithm.md#learning-rate)."""
    ramp = ONE if n_seen >= opt.momentum_ramp else n_seen / opt.momentum_ramp
    decay = opt.momentum_start + ramp * (opt.momentum_stable - opt.momentum_start)
    return opt.scale * opt.rate / (1.0 + opt.rate_annealing * n_seen) * (1.0 - decay), decay


@inlined
def sign(x):
    """-1, 0 or 1."""
    if x > ZERO:
        return ONE
    if x < ZERO:
        return -ONE
    return ZERO


@inlined
def has_penalty(penalty):
    """Whether there is any penalty."""
    return penalty.l1 != ZERO or penalty.l2 != ZERO or penalty.pull != ZERO


@inlined
def gradient(a, d, w, c, penalty, fast_mode):
    """Gradient of loss and penalties by one weight, one row; penalties act once a row (algorithm.md#penalties).

    Whether there is a pull is the same for all of a loop, of which the compiler makes two.

    Parameters
    ----------
    a, d : float32
        Input and delta, whose product is the gradient of the loss.
    w : float32
        The weight.
    c : float32
        Its consensus; any number where nothing pulls.
    penalty : Penalty
    fast_mode : bool
        Whether a weight whose input is 0 rests.

    Returns
    -------
    float32
    """
    if fast_mode and a == ZERO:
        return ZERO
    g = d * a + penalty.l1 * sign(w) + penalty.l2 * w
    return g + penalty.pull * (w - c) if penalty.pull != ZERO else g


@inlined
def adadelta(step, penalty, a, d, block):
    """Take a step of ADADELTA (algorithm.md#adadelta): Zeiler 2012, algorithm 1.

    Parameters
    ----------
    step : StepSize
    penalty : Penalty
    a : (n,) float32
        Inputs.
    d : float32
        Delta; the gradient of the loss is `d * a`.
    block : WeightBlock
        The n weights, changed in place. Their state: running means of squared gradients and of squared steps.
    """
    opt = step.optimizer
    rho, epsilon, scale, fast_mode = np.float32(opt.rho), np.float32(opt.epsilon), np.float32(opt.scale), opt.fast_mode
    w, c, squares, steps = block.weights, block.center, block.state0, block.state1
    forget = ONE - rho
    if not has_penalty(penalty):
        for i in range(w.shape[0]):
            x = a[i]
            g = d * x
            keep = ONE if fast_mode and x == ZERO else rho
            square = keep * squares[i] + forget * (g * g)
            ratio = (steps[i] + epsilon) / (square + epsilon)
            squares[i] = square
            steps[i] = keep * steps[i] + forget * (ratio * (g * g))
            w[i] -= scale * np.sqrt(ratio) * g
    else:
        for i in range(w.shape[0]):
            g = gradient(a[i], d, w[i], c[i], penalty, fast_mode)
            keep = ONE if fast_mode and a[i] == ZERO else rho
            square = keep * squares[i] + forget * (g * g)
            ratio = (steps[i] + epsilon) / (square + epsilon)
            squares[i] = square
            steps[i] = keep * steps[i] + forget * (ratio * (g * g))
            w[i] -= scale * np.sqrt(ratio) * g


@inlined
def plain(step, penalty, a, d, block):
    """Take a step of plain gradient descent.

    Parameters
    ----------
    step : StepSize
    penalty : Penalty
    a : (n,) float32
        Inputs.
    d : float32
        Delta; the gradient of the loss is `d * a`.
    block : WeightBlock
        The n weights, changed in place.
    """
    w, c = block.weights, block.center
    if not has_penalty(penalty):
        for i in range(w.shape[0]):
            w[i] -= step.rate * (d * a[i])
    else:
        for i in range(w.shape[0]):
            w[i] -= step.rate * gradient(a[i], d, w[i], c[i], penalty, step.optimizer.fast_mode)


@inlined
def momentum(step, penalty, a, d, block):
    """Take a step with momentum (algorithm.md#momentum).

    v <- decay v - rate gradient; w += v, or with Nesterov w += decay v - rate gradient.

    Parameters
    ----------
    step : StepSize
    penalty : Penalty
    a : (n,) float32
        Inputs.
    d : float32
        Delta; the gradient of the loss is `d * a`.
    block : WeightBlock
        The n weights, changed in place, and v, their state.
    """
    rate, decay, nesterov, fast_mode = step.rate, step.decay, step.optimizer.nesterov, step.optimizer.fast_mode
    w, c, velocity = block.weights, block.center, block.state0
    ahead = decay if nesterov else ONE
    now = ONE if nesterov else ZERO
    penalised = has_penalty(penalty)
    for i in range(w.shape[0]):
        x = a[i]
        g = gradient(x, d, w[i], c[i], penalty, fast_mode) if penalised else d * x
        v = decay * velocity[i] - rate * g
        # Selects instead of a branch: the loop stays in vector registers.
        rests = fast_mode and x == ZERO
        velocity[i] = velocity[i] if rests else v
        w[i] += ZERO if rests else ahead * v - now * (rate * g)


@inlined
def squared_gradients(step, penalty, a, d, block):
    """Sum of squared gradients of one unit's dense weights, which its bias' ADADELTA needs.

    Parameters
    ----------
    step : StepSize
    penalty : Penalty
    a : (n,) float32
        Inputs.
    d : float32
        Delta; the gradient of the loss is `d * a`.
    block : WeightBlock
        The n weights.

    Returns
    -------
    float32
    """
    total = ZERO
    w, c = block.weights, block.center
    for i in range(w.shape[0]):
        g = gradient(a[i], d, w[i], c[i], penalty, step.optimizer.fast_mode)
        total += g * g
    return total


class Rule(NamedTuple):
    """An optimizer: how it takes a step, and what it needs for that."""

    n_states: int  #: vectors of state, each as long as the weights
    #: single rows that other threads may train between two exchanges of one: above it the sum of their steps overshoots
    max_stale: int
    step: Any  #: the kernel that takes a step on a vector of weights
    has_bias_rule: bool = False  #: whether biases step by the squared gradients of their unit's weights


RULES = {
    PLAIN: Rule(0, 16, plain),
    MOMENTUM: Rule(1, 16, momentum),
    ADADELTA: Rule(2, 64, adadelta, has_bias_rule=True),
}
N_STATES = {kind: rule.n_states for kind, rule in RULES.items()}


def rule_of(optimizer: Optimizer) -> Rule:
    """Row of the table of optimizers. Raises ParameterError where there is none."""
    if optimizer.kind not in RULES:
        raise ParameterError(f"{optimizer.kind!r} is no kind of optimizer; there are {sorted(RULES)}")
    return RULES[optimizer.kind]


@inlined
def n_states_of(kind):
    """Vectors of state of an optimizer, as its row says: by comparisons, of which only one is left where the kind is known."""
    return 2 if kind == ADADELTA else 1 if kind == MOMENTUM else 0


@inlined
def has_bias_rule(kind):
    """`Rule.has_bias_rule` of an optimizer, by a comparison as in `n_states_of`."""
    return kind == ADADELTA


@inlined
def rests_at_zero(opt, penalty):
    """Whether weights without a gradient of the loss stay as they are: in fast mode, or without states and penalties."""
    return opt.fast_mode or (n_states_of(opt.kind) == 0 and not has_penalty(penalty))


@inlined
def run_of(step, block, start, n, a):
    """Weights [start, start + n), with their consensus and optimizer state as far as there is any, not copied.

    Parameters
    ----------
    step : StepSize
    block : WeightBlock
    start, n : int
        First weight, and their number.
    a : (n,) float32
        Inputs, which stand in for the consensus where nothing pulls, so that a loop may read it and use it or not.

    Returns
    -------
    WeightBlock
        States that there are not are empty.
    """
    n_states = n_states_of(step.optimizer.kind)
    state0 = span(block.state0, start if n_states > 0 else 0, n if n_states > 0 else 0)
    state1 = span(block.state1, start if n_states > 1 else 0, n if n_states > 1 else 0)
    center = span(block.center, start, n) if block.center.shape[0] > 0 else a
    return WeightBlock(span(block.weights, start, n), state0, state1, center)


@inlined
def update(step, penalty, a, d, block):
    """Take one step of the optimizer on one vector of whole lanes: `Rule.step` of its kind.

    Parameters
    ----------
    step : StepSize
    penalty : Penalty
    a : (n,) float32
        Inputs; the gradient of the loss is `d * a`.
    d : float32
        Delta of the unit.
    block : WeightBlock
        The n weights, changed in place with their optimizer state.
    """
    # Kernels cannot look a function up in a table. Other kinds never get here: see `rule_of`.
    if step.optimizer.kind == ADADELTA:
        adadelta(step, penalty, a, d, block)
    elif step.optimizer.kind == MOMENTUM:
        momentum(step, penalty, a, d, block)
    else:
        plain(step, penalty, a, d, block)
