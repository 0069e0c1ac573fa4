"""The reference itself: against golden cases, worked examples and finite differences."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from naive import contributions, golden, mlp


def why_not_covered(case):
    """Say which part of a golden case the reference does not know, or nothing."""
    if case["kind"] != "train":
        return "no network"
    params, intended = case["params"], case["intended"]
    if "not_defined" in intended:
        return "nothing to compare with"
    if params.get("categorical_encoding", "one_hot_internal") not in {"one_hot_internal", "sort_by_response"}:
        return "encoding"
    if params.get("balance_classes", False):
        return "resampled rows"
    if params["overwrite_with_best_model"]:
        return "the best iteration rather than the last"
    if "prior" in case:
        return "continued training"
    return None


COVERED = [name for name in golden.names() if why_not_covered(golden.load(name)) is None]


def distance(a, b):
    """Largest difference, relative to ``max(1, |b|)``."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    assert a.shape == b.shape
    return np.max(np.abs(a - b) / np.maximum(1.0, np.abs(b)))


def distance_of_replay(case, *, dtype=np.float64, n_seen=0):
    """Train a golden case from its start; largest distance of weights, biases and predictions from ``intended``."""
    intended, rules, rows = case["intended"], golden.rules(case), golden.encode(case, "train")
    weights, biases, state = mlp.train(
        rows.X,
        rows.y,
        intended["row_order"],
        *golden.start(case),
        masks=golden.masks(case),
        sample_weight=rows.weight,
        offset=rows.offset,
        n_seen=n_seen,
        dtype=dtype,
        **rules,
    )
    assert state.n_seen == n_seen + len(intended["row_order"])
    distances = [distance(w, v) for w, v in zip(weights, intended["final_weights"], strict=True)]
    distances += [distance(b, v) for b, v in zip(biases, intended["final_biases"], strict=True)]
    kind = {name: rules[name] for name in ["activation", "output", "hidden_ratios"]}
    for table in ["train", "test"]:
        rows = golden.encode(case, table)
        outputs = [
            mlp.forward(x, weights, biases, offset=offset, **kind)[-1]
            for x, offset in zip(rows.X, rows.offset, strict=True)
        ]
        columns, expected = golden.predictions(case, table, np.array(outputs)), golden.intended_predictions(case, table)
        assert columns.keys() == expected.keys()
        distances += [distance(columns[name], expected[name]) for name in expected]
    return max(distances)


def test_covered_cases_are_not_lost():
    assert len(COVERED) == 76


@pytest.mark.parametrize("name", COVERED)
def test_golden_to_the_last_bits(name):
    # With the types of the golden answers all weights agree in every bit; biases and
    # predictions, 64 bits wide, differ by 2e-15 at most: sums and exponentials round differently.
    assert distance_of_replay(golden.load(name), dtype=np.float32) < 1e-12


@pytest.mark.parametrize("name", COVERED)
def test_golden_in_float64(name):
    # The golden answers keep weights, their memory and the settings in 32 bits. Nothing but this rounding, 6e-8 a step,
    # stands between them and float64: the worst is 1.2e-6, after 48 rows of ae_absolute_loss. Where responses are wild,
    # 6e-7 of a weight are 7e-6 of a prediction.
    assert distance_of_replay(golden.load(name)) < (1e-5 if name == "loss_huber_alpha50_wild" else 2e-6)


@pytest.mark.parametrize("name", ["sgd_annealing", "sgd_momentum_ramp", "sgd_momentum_ramp_nesterov"])
def test_first_row_has_seen_no_row(name):
    assert distance_of_replay(golden.load(name), n_seen=1) > 1e-4


@pytest.mark.parametrize("name", COVERED)
def test_golden_scaling(name):
    # The rules that `naive.golden` states for means and deviations, offsets and skipped rows.
    case = golden.load(name)
    intended, params = case["intended"], case["params"]

    def mean_and_deviation(values):
        weight = golden.weighed_rows(case)
        weight = np.ones(len(values)) if weight is None else weight
        used = ~np.isnan(values) & (weight > 0.0)
        values, weight = values[used], weight[used]
        mean = np.average(values, weights=weight)
        variance = np.average((values - mean) ** 2, weights=weight)
        if golden.is_autoencoder(case):
            return mean, np.ptp(values)
        return mean, np.sqrt(variance * len(values) / (len(values) - 1))

    inputs = case["input_names"][case["catoffsets"][-1] :]
    statistics = np.array([mean_and_deviation(golden.numbers(case, "train", x)) for x in inputs]).reshape(-1, 2)
    np.testing.assert_allclose(intended["input_fill"], statistics[:, 0], rtol=1e-12)
    if params.get("standardize", True):
        shift = np.zeros(len(inputs)) if params.get("sparse", False) else statistics[:, 0]
        np.testing.assert_allclose(intended["normsub"], shift, rtol=1e-12)
        np.testing.assert_allclose(intended["normmul"], 1.0 / statistics[:, 1], rtol=1e-12)
    else:
        assert intended["normsub"] is None
        assert intended["normmul"] is None
    is_scaled = case["effective_params"]["distribution"] in {"gaussian", "laplace", "quantile", "huber"}
    if is_scaled and not golden.is_autoencoder(case) and params.get("standardize", True):
        mean, deviation = mean_and_deviation(golden.numbers(case, "train", case["y"]))
        np.testing.assert_allclose(golden.response_scale(case), (mean, 1.0 / deviation), rtol=1e-12)
    else:
        assert intended["normrespsub"] is None
        assert intended["normrespmul"] is None


# `derived.first_inputs` holds what H2O itself fed in, where two defects show: a missing number of a weighted table
# became the unweighted mean, and with `sparse` a zero cleared the first input.
OTHER_INPUTS = {"prep_missing_skip_bernoulli_weights", "weights_real_bernoulli_missing", "sparse_flag_zeros"}


@pytest.mark.parametrize("name", [name for name in COVERED if name not in OTHER_INPUTS])
def test_first_inputs(name):
    case = golden.load(name)
    first = case["derived"]["first_inputs"]
    np.testing.assert_allclose(golden.encode(case, "train").X[: len(first)], first, rtol=1e-12, atol=1e-14)


def test_adadelta_of_the_worked_example():
    w, updates, gradients = 0.5, 0.0, 0.0
    expected = [
        (0.2, 4e-4, 0.0049999375, 9.99975e-9, 0.499000012),
        (-0.1, 4.96e-4, 0.0063499027, 1.39318789e-8, 0.499635003),
        (0.3, 0.00139104, 0.0041477926, 2.92763e-8, 0.498390665),
    ]
    for gradient, *answers in expected:
        eta, updates, gradients = mlp.adadelta_rate(gradient**2, updates, gradients, rho=0.99, epsilon=1e-8)
        w -= eta * gradient
        np.testing.assert_allclose([gradients, eta, updates, w], answers, rtol=1e-6)


@pytest.mark.parametrize(
    ("nesterov", "ways"),
    [
        # The heavy ball. Its velocities, in units of the gradient, are -1, 1.5 and 0.25: here times r = 0.05.
        (False, [0.95, 1.025, 1.0375]),
        # By hand from the same velocities: each step is half the new velocity, and the plain step once more.
        (True, [0.925, 1.0625, 1.04375]),
    ],
)
def test_momentum_by_hand(nesterov, ways):
    w, velocity = 1.0, 0.0
    for gradient, way, expected in zip([1.0, -2.0, 0.5], ways, [-0.05, 0.075, 0.0125], strict=True):
        step, velocity = mlp.sgd_step(gradient, velocity, rate=0.1, momentum=0.5, nesterov=nesterov)
        w += step
        assert velocity == pytest.approx(expected, abs=1e-15)
        assert w == pytest.approx(way, abs=1e-15)


def test_look_ahead_is_nesterovs_rule():
    # Nesterov takes the gradient at w + m v and moves w by the new velocity. The weights of `sgd_step` are those points
    # looked ahead to, one step on.
    def gradient_at(place):
        return 3.0 * place - 1.0

    momentum, rate = 0.7, 0.05
    w = ahead = 2.0
    velocity = remembered = 0.0
    for _ in range(20):
        velocity = momentum * velocity - rate * (1.0 - momentum) * gradient_at(w + momentum * velocity)
        w += velocity
        step, remembered = mlp.sgd_step(gradient_at(ahead), remembered, rate=rate, momentum=momentum, nesterov=True)
        ahead += step
        assert remembered == pytest.approx(velocity, rel=1e-12)
        assert ahead == pytest.approx(w + momentum * velocity, rel=1e-12)


def test_rate():
    # The example of algorithm.md#learning-rate, then a layer's decay.
    assert mlp.rate_at(10**6, 0, rate=0.005, rate_annealing=1e-6, rate_decay=1.0) == 0.0025
    assert mlp.rate_at(0, 2, rate=0.1, rate_annealing=0.5, rate_decay=0.5) == 0.025


def test_momentum_ramp():
    ramp = {"momentum_start": 0.2, "momentum_ramp": 10.0, "momentum_stable": 0.6}
    assert [mlp.momentum_at(n, **ramp) for n in [0, 5, 10, 11]] == pytest.approx([0.2, 0.4, 0.6, 0.6])
    assert mlp.momentum_at(0, momentum_start=0.2, momentum_ramp=0.0, momentum_stable=0.6) == 0.6


def test_softmax_of_the_worked_example():
    p = mlp.softmax(np.array([1.0, 2.0, 0.5]))
    np.testing.assert_allclose(p, [0.231224, 0.628532, 0.140244], atol=5e-7)
    gradients = mlp.output_gradients(p, 1, output="softmax")
    np.testing.assert_allclose(gradients, [0.231224, -0.371468, 0.140244], atol=5e-7)
    np.testing.assert_allclose(mlp.softmax(np.array([1e3, -1e3])), [1.0, 0.0])


def test_penalty():
    assert mlp.penalty_gradient(0.0, 9.0, l1=0.1, l2=0.2, pull=0.0) == 0.0
    assert mlp.penalty_gradient(-3.0, 9.0, l1=0.1, l2=0.2, pull=0.0) == pytest.approx(-0.1 - 0.6)
    assert mlp.penalty_gradient(-3.0, 1.0, l1=0.1, l2=0.2, pull=0.5) == pytest.approx(-0.1 - 0.6 - 2.0)


@pytest.mark.parametrize(
    ("objective", "gradient", "value"),
    [
        ("poisson", -1.300282385, 0.272306338),
        ("gamma", -0.963272883, 0.176978522),
        ("tweedie", -1.119163420, 0.219292283),
    ],
)
def test_losses_of_the_worked_examples(objective, gradient, value):
    call = {"output": "linear", "objective": objective}
    assert mlp.output_gradients(np.array([0.3]), 2.0, **call)[0] == pytest.approx(gradient, abs=1e-9)
    assert mlp.loss(np.array([0.3]), 2.0, **call) == pytest.approx(value, abs=1e-9)
    assert mlp.linked(0.3, objective) == np.exp(0.3)


def test_slopes_at_corners_and_far_away():
    def gradient(z, y, objective, shape=None):
        return mlp.output_gradients(np.array([z]), y, output="linear", objective=objective, shape=shape)[0]

    assert [gradient(z, 0.5, "laplace") for z in [0.4, 0.5, 0.6]] == [-1.0, -1.0, 1.0]
    assert [gradient(z, 0.5, "quantile", 0.2) for z in [0.4, 0.5, 0.6]] == [-0.2, 0.8, 0.8]
    assert [gradient(z, 0.0, "huber") for z in [-3.0, -1.0, 0.5, 1.0, 3.0]] == [-2.0, -2.0, 1.0, 2.0, 2.0]
    assert [gradient(z, 0.0, "huber", 0.25) for z in [-3.0, 0.125, 3.0]] == [-0.5, 0.25, 0.5]
    assert gradient(1e4, 1.0, "poisson") == 2.0 * (1e19 - 1.0)
    assert gradient(-1e4, 1.0, "gamma") == 2.0 * (1.0 - 1e19)
    assert gradient(0.0, 0.0, "poisson") == gradient(0.0, 0.0, "gamma") == gradient(0.0, 0.0, "tweedie") == 2.0
    for objective in ["poisson", "gamma", "tweedie"]:
        assert np.isfinite(mlp.loss(np.array([0.5]), 0.0, output="linear", objective=objective))


def network(rng, sizes, activation="tanh"):
    """Weights and biases of a small random network, with few dead rectifiers."""
    channels = [2 if activation == "maxout" else 1] * (len(sizes) - 2) + [1]
    weights = [
        rng.normal(size=(units * k, inputs)) for (inputs, units), k in zip(pairwise(sizes), channels, strict=True)
    ]
    return weights, [rng.uniform(size=units * k) for units, k in zip(sizes[1:], channels, strict=True)]


def assert_gradient_is_the_gradient(parameters, gradients, value):
    """``parameters`` and ``gradients``: lists of arrays; ``value()``: the loss at the parameters as they stand."""
    # A layer without any gradient would test nothing.
    assert all(np.any(g != 0.0) for g in gradients)
    h = 1e-6
    for layer, gradient in zip(parameters, gradients, strict=True):
        assert layer.shape == gradient.shape
        for place in np.ndindex(*layer.shape):
            kept = layer[place]
            layer[place] = kept + h
            above = value()
            layer[place] = kept - h
            below = value()
            layer[place] = kept
            assert (above - below) / (2.0 * h) == pytest.approx(gradient[place], rel=1e-6, abs=1e-8)


ACTIVATIONS = ["rectifier", "tanh", "maxout"]
NUMBERS = ["gaussian", "laplace", "quantile", "huber", "poisson", "gamma", "tweedie"]
SHAPES = {"quantile": 0.3, "huber": 0.7, "tweedie": 1.3}


@pytest.mark.parametrize("with_dropout", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("objective", ["cross_entropy", *NUMBERS])
@pytest.mark.parametrize("hidden", [[], [4], [6, 5]])
def test_gradient_is_the_slope_of_the_loss(activation, objective, hidden, with_dropout):
    rng = np.random.default_rng(7)
    is_class = objective == "cross_entropy"
    weights, biases = network(rng, [6, *hidden, 3 if is_class else 1], activation)
    # Small outputs keep exponentials in range.
    weights[-1] *= 0.3
    x, target = rng.normal(size=6), 2 if is_class else 0.4
    settings = {"activation": activation, "output": "softmax" if is_class else "linear", "objective": objective}
    settings |= {"shape": SHAPES.get(objective), "weight": 1.7, "offset": 0.3}
    if with_dropout:
        settings |= {"input_ratio": 0.2, "hidden_ratios": [0.4] * len(hidden)}
        settings["mask"] = [np.arange(units) != 1 for units in [6, *hidden]]

    def call():
        return mlp.loss_and_gradient(x, target, weights, biases, **settings)

    _, of_weights, of_biases = call()
    assert_gradient_is_the_gradient([*weights, *biases], [*of_weights, *of_biases], lambda: call()[0])


@pytest.mark.parametrize("bend", [0.01, 100.0])
def test_huber_is_followed_on_both_sides_of_its_bend(bend):
    rng = np.random.default_rng(7)
    weights, biases = network(rng, [3, 2, 1])
    settings = {"activation": "tanh", "output": "linear", "objective": "huber", "shape": bend}

    def call():
        return mlp.loss_and_gradient([0.3, -0.5, 1.0], 0.4, weights, biases, **settings)

    _, of_weights, of_biases = call()
    assert_gradient_is_the_gradient([*weights, *biases], [*of_weights, *of_biases], lambda: call()[0])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_quadratic_classes_follow_the_diagonal(activation):
    # The gradient at a class is what its own net does to its own probability, and that to the loss: the others stand still.
    rng = np.random.default_rng(7)
    weights, biases = network(rng, [6, 4, 3], activation)
    x, kind = rng.normal(size=6), {"activation": activation, "output": "softmax"}
    aim = {"output": "softmax", "objective": "quadratic_classes"}
    p = mlp.forward(x, weights, biases, **kind)[-1]
    value, _, (_, gradient) = mlp.loss_and_gradient(x, 2, weights, biases, **kind, objective="quadratic_classes")
    assert value == pytest.approx(((p - [0.0, 0.0, 1.0]) ** 2).sum() / 2.0)
    h = 1e-6
    for k in range(3):
        values = []
        for step in [h, -h]:
            moved = [biases[0], biases[1] + step * (np.arange(3) == k)]
            own = np.where(np.arange(3) == k, mlp.forward(x, weights, moved, **kind)[-1], p)
            values.append(mlp.loss(own, 2, **aim))
        assert (values[0] - values[1]) / (2.0 * h) == pytest.approx(gradient[k], rel=1e-6)


@pytest.mark.parametrize("objective", NUMBERS)
def test_autoencoder_goes_down_the_slopes_at_its_outputs(objective):
    # The derivative of the output's function is left out: where rectifiers are open it is 1, and there the
    # gradient is that of the loss.
    rng = np.random.default_rng(7)
    weights, biases = network(rng, [4, 3, 4])
    weights[-1] *= 0.3
    biases[-1] += 2.0
    x, target = rng.normal(size=4), np.array([0.4, 0.1, 0.9, 0.3])
    aim = {"output": "activation", "objective": objective, "shape": SHAPES.get(objective)}

    def call(activation="rectifier"):
        return mlp.loss_and_gradient(x, target, weights, biases, activation=activation, **aim)

    assert np.all(mlp.forward(x, weights, biases, activation="rectifier", output="activation")[-1] > 0.0)
    _, of_weights, of_biases = call()
    assert_gradient_is_the_gradient([*weights, *biases], [*of_weights, *of_biases], lambda: call()[0])

    outputs = mlp.forward(x, weights, biases, activation="tanh", output="activation")[-1]
    _, _, (_, of_biases) = call("tanh")
    assert_gradient_is_the_gradient([outputs], [of_biases], lambda: mlp.loss(outputs, target, **aim))


SGD = {"optimizer": "sgd", "rate": 0.1, "rate_annealing": 0.0}


@pytest.mark.parametrize("fast_mode", [False, True])
def test_plain_step_goes_down_the_gradient(fast_mode):
    rng = np.random.default_rng(3)
    weights, biases = network(rng, [5, 4, 3])
    X, y = rng.normal(size=(1, 5)), np.array([1])
    X[0, 2] = 0.0
    kind = {"activation": "tanh", "output": "softmax"}
    _, of_weights, of_biases = mlp.loss_and_gradient(X[0], 1, weights, biases, weight=1.5, **kind)
    new_weights, new_biases, _ = mlp.train(
        X, y, [0], weights, biases, sample_weight=np.array([1.5]), fast_mode=fast_mode, **SGD, **kind
    )
    for old, gradient, new in zip(
        [*weights, *biases], [*of_weights, *of_biases], [*new_weights, *new_biases], strict=True
    ):
        np.testing.assert_allclose(new, old - 0.1 * gradient, rtol=1e-12)


def test_fast_mode_leaves_silent_weights_alone():
    # One hidden unit is dead for this row, one input is 0: with penalties only slow mode moves what belongs to them.
    weights = [np.array([[1.0, 1.0], [-1.0, 1.0]]), np.array([[1.0, 1.0]])]
    biases = [np.array([0.5, -3.0]), np.array([0.25])]
    call = {"activation": "rectifier", "output": "linear", "l1": 0.1, "l2": 0.1, **SGD}
    X, y = np.array([[1.0, 0.0]]), np.array([0.0])
    (first, last), (b1, b2), _ = mlp.train(X, y, [0], weights, biases, fast_mode=True, **call)
    assert (first != weights[0]).tolist() == [[True, False], [False, False]]
    assert (last != weights[1]).tolist() == [[True, False]]
    assert (b1 != biases[0]).tolist() == [True, False]
    assert b2 != biases[1]
    (first, last), (b1, _), _ = mlp.train(X, y, [0], weights, biases, fast_mode=False, **call)
    assert (first != weights[0]).all()
    assert (last != weights[1]).all()
    assert (b1 != biases[0]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", [{}, {**SGD, "momentum_start": 0.2, "momentum_ramp": 12, "momentum_stable": 0.9}])
def test_training_continues_where_it_stopped(optimizer, dtype):
    rng = np.random.default_rng(11)
    weights, biases = network(rng, [4, 3, 1])
    X, y = rng.normal(size=(8, 4)), rng.normal(size=8)
    call = {"activation": "tanh", "output": "linear", "dtype": dtype, **optimizer}
    *whole, state = mlp.train(X, y, [*range(8), *range(8)], weights, biases, **call)
    *half, middle = mlp.train(X, y, range(8), weights, biases, **call)
    *rest, end = mlp.train(X, y, range(8), *half, state=middle, **call)
    assert (middle.n_seen, end.n_seen, state.n_seen) == (8, 16, 16)
    for expected, answer in zip(whole, rest, strict=True):
        for a, b in zip(expected, answer, strict=True):
            np.testing.assert_array_equal(a, b)


def test_row_of_weight_zero_does_not_exist():
    rng = np.random.default_rng(5)
    weights, biases = network(rng, [4, 3, 2])
    X, y = rng.normal(size=(3, 4)), np.array([0, 1, 0])
    call = {"activation": "tanh", "output": "softmax", "l1": 0.01, **SGD, "rate_annealing": 0.5}
    *with_it, state = mlp.train(X, y, range(3), weights, biases, sample_weight=np.array([1.0, 0.0, 2.0]), **call)
    *without, _ = mlp.train(X, y, [0, 2], weights, biases, sample_weight=np.array([1.0, 0.0, 2.0]), **call)
    assert state.n_seen == 2
    for a, b in zip(with_it, without, strict=True):
        for one, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(one, other)


# One unit of maxout, whose channels are a + 2 b + 0.5 and -a + 4 b - 0.5; then one output.
MAXOUT = [np.array([[1.0, -1.0], [2.0, 4.0]]), np.array([[3.0]])], [np.array([0.5, -0.5]), np.array([0.25])]


def test_maxout_by_hand():
    kind = {"activation": "maxout", "output": "linear"}
    # The first channel wins 3.5 to 2.5, then the second 3.5 to 2.5.
    assert [a.tolist() for a in mlp.forward([1.0, 1.0], *MAXOUT, **kind)] == [[3.5], [10.75]]
    assert [a.tolist() for a in mlp.forward([0.0, 1.0], *MAXOUT, **kind)] == [[3.5], [10.75]]
    # The gradient is 2 (10.75 - 10) = 1.5, and 3 times that at the unit.
    _, of_weights, of_biases = mlp.loss_and_gradient([1.0, 1.0], 10.0, *MAXOUT, **kind)
    assert [g.tolist() for g in of_weights] == [[[4.5, 0.0], [4.5, 0.0]], [[5.25]]]
    assert [g.tolist() for g in of_biases] == [[4.5, 0.0], [1.5]]
    _, of_weights, of_biases = mlp.loss_and_gradient([0.0, 1.0], 10.0, *MAXOUT, **kind)
    assert [g.tolist() for g in of_weights] == [[[0.0, 0.0], [0.0, 4.5]], [[5.25]]]
    assert [g.tolist() for g in of_biases] == [[0.0, 4.5], [1.5]]


def test_equal_channels_leave_it_to_the_first():
    # 2 + 0.5 against 3 - 0.5.
    kind = {"activation": "maxout", "output": "linear"}
    here = mlp.passed([0.0, 1.0], [np.array([[1.0, -1.0], [2.0, 3.0]]), MAXOUT[0][1]], MAXOUT[1], **kind)
    assert here.inputs[1].tolist() == [2.5]
    assert here.winners[0].tolist() == [0]


@pytest.mark.parametrize("optimizer", [{}, SGD, {**SGD, "momentum_start": 0.5, "momentum_stable": 0.5}])
def test_losing_channel_rests_in_fast_mode_only(optimizer):
    call = {"activation": "maxout", "output": "linear", "l2": 0.1, **optimizer}
    X, y = np.array([[1.0, 1.0]]), np.array([10.0])
    (first, _), (bias, _), _ = mlp.train(X, y, [0], *MAXOUT, fast_mode=True, **call)
    assert (first != MAXOUT[0][0]).tolist() == [[True, False], [True, False]]
    assert (bias != MAXOUT[1][0]).tolist() == [True, False]
    (first, _), (bias, _), state = mlp.train(X, y, [0], *MAXOUT, fast_mode=False, **call)
    assert (first != MAXOUT[0][0]).all()
    assert (bias != MAXOUT[1][0]).all()
    memory = state.weight_velocities if optimizer else state.weight_gradients
    assert (memory[0] != 0.0).all()


def test_dropout_by_hand():
    weights = [np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([[1.0, 10.0, 100.0]])]
    biases = [np.zeros(3), np.zeros(1)]
    kind = {"activation": "rectifier", "output": "linear", "input_ratio": 0.5, "hidden_ratios": [0.25]}
    # In training the kept input doubles; for a prediction three quarters of every unit pass.
    mask = [[False, True], [True, False, True]]
    assert [a.tolist() for a in mlp.forward([1.0, 1.0], weights, biases, **kind, mask=mask)] == [[4, 0, 12], [1204]]
    assert [a.tolist() for a in mlp.forward([1.0, 1.0], weights, biases, **kind)] == [[2.25, 5.25, 8.25], [879.75]]
    (first, last), (b1, _), _ = mlp.train(
        np.ones((1, 2)), np.zeros(1), [0], weights, biases, masks=[mask], l2=0.1, **kind, **SGD
    )
    assert (first != weights[0]).tolist() == [[False, True], [False, False], [False, True]]
    assert (last != weights[1]).tolist() == [[True, False, True]]
    assert (b1 != biases[0]).tolist() == [True, False, True]


def test_masks_must_fit():
    weights, biases = network(np.random.default_rng(1), [2, 3, 1])
    kind = {"activation": "tanh", "output": "linear", "hidden_ratios": [0.5]}
    X, y = np.ones((1, 2)), np.zeros(1)
    with pytest.raises(ValueError, match="masks"):
        mlp.train(X, y, [0], weights, biases, **kind)
    with pytest.raises(ValueError, match="masks"):
        mlp.train(X, y, [0], weights, biases, masks=[[[True] * 2, [True] * 3]], **kind)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize("optimizer", [{}, SGD])
def test_max_w2_shrinks_what_is_above_it(activation, fast_mode, optimizer):
    rng = np.random.default_rng(3)
    weights, biases = network(rng, [5, 4, 3], activation)
    X, y = rng.normal(size=(1, 5)), np.array([1])
    call = {"activation": activation, "output": "softmax", "fast_mode": fast_mode, **optimizer}
    free_weights, free_biases, _ = mlp.train(X, y, [0], weights, biases, **call)
    held_weights, held_biases, _ = mlp.train(X, y, [0], weights, biases, max_w2=2.0, **call)
    n_shrunk = 0
    for free, held, before, bias in zip(free_weights, held_weights, weights, biases, strict=True):
        channels = 2 if activation == "maxout" and free is free_weights[0] else 1
        shape = len(bias) // channels, before.shape[1], channels
        rows = [a.reshape(shape).swapaxes(1, 2).reshape(len(bias), -1) for a in (free, held, before)]
        for of_free, of_held, of_before in zip(*rows, strict=True):
            square = of_free @ of_free
            moved = not fast_mode or np.any(of_free != of_before)
            factor = np.sqrt(2.0 / square) if square > 2.0 and moved else 1.0
            n_shrunk += factor < 1.0
            np.testing.assert_allclose(of_held, factor * of_free, rtol=1e-12)
    assert n_shrunk > 1
    for free, held in zip(free_biases, held_biases, strict=True):
        np.testing.assert_array_equal(free, held)


def batch_problem(activation="tanh", objective="cross_entropy"):
    """A small network, five rows with some zeros, their weights, and the words for `mlp.train`."""
    rng = np.random.default_rng(3)
    is_class = objective == "cross_entropy"
    weights, biases = network(rng, [5, 4, 3 if is_class else 1], activation)
    X, y = rng.normal(size=(5, 5)), np.array([1, 0, 2, 1, 1]) if is_class else rng.uniform(size=5)
    X[rng.uniform(size=X.shape) < 0.3] = 0.0
    kind = {"activation": activation, "output": "softmax" if is_class else "linear", "objective": objective}
    return weights, biases, X, y, np.array([1.5, 0.5, 1.0, 2.0, 0.25]), kind


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("objective", ["cross_entropy", "gaussian", "poisson"])
@pytest.mark.parametrize("fast_mode", [False, True])
def test_plain_batch_step_goes_down_the_mean_gradient(activation, objective, fast_mode):
    weights, biases, X, y, weight, kind = batch_problem(activation, objective)
    rows = [0, 2, 1, 4]
    of_rows = [mlp.loss_and_gradient(X[i], y[i], weights, biases, weight=weight[i], **kind)[1:] for i in rows]
    of_rows = [[*of_weights, *of_biases] for of_weights, of_biases in of_rows]
    new_weights, new_biases, state = mlp.train(
        X, y, rows, weights, biases, batch=4, sample_weight=weight, fast_mode=fast_mode, **SGD, **kind
    )
    assert state.n_seen == 4
    for old, new, *gradients in zip([*weights, *biases], [*new_weights, *new_biases], *of_rows, strict=True):
        np.testing.assert_allclose(new, old - 0.1 * np.mean(gradients, axis=0), rtol=1e-12)


def assert_same(one, other, **tolerance):
    """Two answers of `mlp.train` hold the same network."""
    for a, b in zip([*one[0], *one[1]], [*other[0], *other[1]], strict=True):
        np.testing.assert_allclose(a, b, **(tolerance or {"rtol": 0.0}))


@pytest.mark.parametrize("optimizer", [{}, {**SGD, "momentum_start": 0.2, "momentum_ramp": 12, "momentum_stable": 0.9}])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_batch_of_one_row_again_and_again_is_that_row(optimizer, activation):
    # The mean of equal gradients is that gradient, penalties count once, and so does ADADELTA's memory.
    weights, biases, X, y, _, kind = batch_problem(activation)
    kind |= {"l1": 0.01, "l2": 0.02, "max_w2": 3.0, **optimizer}
    once = mlp.train(X, y, [0], weights, biases, **kind)
    again = mlp.train(X, y, [0] * 4, weights, biases, batch=4, **kind)
    assert_same(once, again, rtol=1e-13)
    assert (once[2].n_seen, again[2].n_seen) == (1, 4)


def test_last_batch_may_be_smaller_and_rates_follow_the_rows_before_the_batch():
    weights, biases, X, y, weight, kind = batch_problem()
    kind |= {"l1": 0.01, **SGD, "rate_annealing": 0.5, "momentum_stable": 0.5, "momentum_ramp": 4.0}
    rows = [4, 1, 0, 2, 3]
    whole = mlp.train(X, y, rows, weights, biases, batch=2, sample_weight=weight, **kind)
    state, pieces = None, (weights, biases)
    for first, n_seen in [(0, 0), (2, 2), (4, 4)]:
        assert state is None or state.n_seen == n_seen
        piece = rows[first : first + 2]
        *pieces, state = mlp.train(X, y, piece, *pieces, batch=2, sample_weight=weight, state=state, **kind)
    assert_same(whole, pieces)
    assert whole[2].n_seen == 5


@pytest.mark.parametrize("optimizer", [{}, SGD])
def test_a_row_that_is_left_over_counts_as_it_would_in_a_full_batch(optimizer):
    weights, biases, X, y, weight, kind = batch_problem()
    kind |= {"l1": 0.01, **optimizer}
    left_over = mlp.train(X, y, [3], weights, biases, batch=4, sample_weight=weight, **kind)
    a_quarter = mlp.train(X, y, [3], weights, biases, sample_weight=weight / 4, **kind)
    assert_same(left_over, a_quarter, rtol=1e-13)


def test_rows_of_weight_zero_take_no_place_in_a_batch():
    weights, biases, X, y, weight, kind = batch_problem()
    kind |= {"sample_weight": np.where(np.arange(5) == 1, 0.0, weight), "hidden_ratios": [0.5], "batch": 2}
    masks = [[np.random.default_rng(place).uniform(size=4) < 0.5] for place in range(5)]
    with_it = mlp.train(X, y, range(5), weights, biases, masks=masks, **kind)
    without = mlp.train(X, y, [0, 2, 3, 4], weights, biases, masks=[masks[0], *masks[2:]], **kind)
    assert_same(with_it, without)


def test_fast_mode_leaves_alone_what_cancels_in_a_batch():
    # Gradients +1 and -1 of two rows: the first weight's cancel, the second's do not, and the third has no input.
    weights, biases = [np.array([[1.0, 1.0, 1.0]])], [np.array([0.5])]
    X, y = np.array([[1.0, 1.0, 0.0], [1.0, 2.0, 0.0]]), np.array([-9.0, 9.0])
    call = {"activation": "tanh", "output": "linear", "objective": "laplace", "l2": 0.1, "batch": 2, **SGD}
    (w,), (b,), _ = mlp.train(X, y, [0, 1], weights, biases, **call)
    assert w[0].tolist() == pytest.approx([1.0, 1.0 - 0.1 * (-0.5 + 0.1), 1.0], abs=1e-15)
    # Neither delta was 0, so the bias moves, by its penalty.
    assert b[0] == pytest.approx(0.5 - 0.1 * 0.05, abs=1e-15)
    (w,), _, _ = mlp.train(X, y, [0, 1], weights, biases, fast_mode=False, **call)
    assert w[0].tolist() == pytest.approx([1.0 - 0.01, 1.0 - 0.1 * (-0.5 + 0.1), 1.0 - 0.01], abs=1e-15)


def test_adadelta_batch_by_hand():
    weights, biases = [np.array([[1.0, -1.0]])], [np.array([0.5])]
    X, y = np.array([[1.0, 3.0], [-1.0, 2.0]]), np.array([-9.0, 9.0])
    call = {"activation": "tanh", "output": "linear", "objective": "laplace", "batch": 2}
    weight = np.array([1.0, 0.5])
    (w,), (b,), _ = mlp.train(X, y, [0, 1], weights, biases, sample_weight=weight, **call)
    # Gradients (1, 3) and (-0.5) (-1, 2), of the bias 1 and -0.5; means (0.75, 1) and 0.25.
    etas = [np.sqrt(1e-8 / (0.01 * q + 1e-8)) for q in [0.75**2, 1.0, (0.75**2 + 1.0) / 2.0]]
    assert w[0].tolist() == pytest.approx([1.0 - etas[0] * 0.75, -1.0 - etas[1]], rel=1e-13)
    assert b[0] == pytest.approx(0.5 - etas[2] * 0.25, rel=1e-13)


@pytest.mark.parametrize("optimizer", [{}, SGD, {**SGD, "momentum_start": 0.5, "momentum_stable": 0.5}])
@pytest.mark.parametrize("batch", [1, 3])
def test_sparsity_pulls_hidden_biases_by_the_running_mean(optimizer, batch):
    rng = np.random.default_rng(5)
    weights, biases = network(rng, [4, 3, 4])
    X = rng.normal(size=(3, 4))
    kind = {"activation": "tanh", "output": "activation"}
    call = {**kind, "batch": batch, **optimizer}
    sparse = {"sparsity_beta": 0.5, "average_activation": -0.2}
    rows = range(batch)
    plain_weights, plain_biases, state = mlp.train(X, X, rows, weights, biases, **call)
    sparse_weights, sparse_biases, sparse_state = mlp.train(X, X, rows, weights, biases, **call, **sparse)
    # After one update nothing but hidden biases can tell.
    assert_same((plain_weights, plain_biases[1:]), (sparse_weights, sparse_biases[1:]))
    mean = np.zeros(3)
    for row in rows:
        mean = 0.999 * mean + 0.001 * mlp.forward(X[row], weights, biases, **kind)[0]
    rate = 0.1 * (1.0 - optimizer.get("momentum_start", 0.0))
    if not optimizer:
        rate = np.sqrt(1e-8 / (state.bias_gradients[0] + 1e-8))
    np.testing.assert_allclose(plain_biases[0] - sparse_biases[0], rate * 0.5 * (mean + 0.2), rtol=1e-10)
    np.testing.assert_allclose(sparse_state.mean_activations[0], mean, rtol=1e-14)
    # No velocity and no mean square remembers the pull.
    for kept, other in zip(
        [*state.bias_velocities, *state.bias_gradients, *state.bias_updates],
        [*sparse_state.bias_velocities, *sparse_state.bias_gradients, *sparse_state.bias_updates],
        strict=True,
    ):
        np.testing.assert_array_equal(kept, other)


def test_running_means_continue():
    rng = np.random.default_rng(5)
    weights, biases = network(rng, [4, 3, 2, 4])
    X = rng.normal(size=(6, 4))
    call = {"activation": "rectifier", "output": "activation", "sparsity_beta": 0.5, "average_activation": 0.3}
    *whole, end = mlp.train(X, X, range(6), weights, biases, **call)
    *half, middle = mlp.train(X, X, range(3), weights, biases, **call)
    *rest, state = mlp.train(X, X, range(3, 6), *half, state=middle, **call)
    assert_same(whole, rest)
    assert [a.shape for a in end.mean_activations] == [(3,), (2,)]
    for a, b in zip(end.mean_activations, state.mean_activations, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "wrong",
    [
        {"activation": "sigmoid"},
        {"output": "tweedie"},
        {"optimizer": "adam"},
        {"objective": "cross_entropy"},
        {"output": "softmax", "objective": "gaussian"},
        {"output": "activation", "activation": "maxout"},
    ],
)
def test_unknown_kinds_are_refused(wrong):
    with pytest.raises(ValueError, match="unknown"):
        mlp.Rules(**{"activation": "tanh", "output": "linear", **wrong})


@pytest.mark.parametrize("activation", ["rectifier", "tanh", "maxout"])
def test_contributions_add_up_to_the_difference_of_two_rows(activation):
    """And an input that is alike in both has none."""
    random = np.random.default_rng(0)
    c = 2 if activation == "maxout" else 1
    weights = [random.normal(size=shape) for shape in ((4 * c, 3), (5 * c, 4), (2, 5))]
    biases = [random.normal(size=len(w)) for w in weights]
    x, b = random.normal(size=(2, 3))
    x[1] = b[1]
    kind = {"activation": activation, "ratios": (0.5, 0.2)}
    found = contributions.of_pair(x, b, weights, biases, seed=lambda _, __: np.array([0.0, 1.0]), **kind)
    of_x, of_b = (
        mlp.forward(row, weights, biases, activation=activation, output="linear", hidden_ratios=(0.5, 0.2))[-1]
        for row in (x, b)
    )
    assert distance(found.sum(), of_x[1] - of_b[1]) < 1e-9
    assert found[1] == 0 and np.abs(found).max() > 0.01


def test_contributions_of_a_linear_network_are_weights_times_differences():
    w, x, b = np.array([[1.0, -2.0, 0.5]]), np.array([3.0, 1.0, 1.0]), np.array([1.0, 2.0, 1.0])
    found = contributions.of_pair(x, b, [w], [np.zeros(1)], activation="tanh", seed=lambda _, __: np.ones(1))
    assert found.tolist() == [2.0, 2.0, 0.0]


def test_multipliers_of_softmax_make_up_for_the_difference():
    z, z_b = np.array([2.0, -1.0, 0.5]), np.array([-1.0, 0.0, 1.0])
    for label in range(3):
        found = contributions.seed_of_softmax(label)(z, z_b) @ (z - z_b)
        assert distance(found, mlp.softmax(z)[label] - mlp.softmax(z_b)[label]) < 1e-6
