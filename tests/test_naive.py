"""The reference itself: against golden cases, worked examples and finite differences."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from naive import golden, mlp


def why_not_covered(case):
    """Say which part of a golden case the reference does not know, or nothing."""
    if case["kind"] != "train":
        return "no network"
    params, intended = case["params"], case["intended"]
    if "not_defined" in intended:
        return "nothing to compare with"
    if params["activation"] not in {"rectifier", "tanh"}:
        return "maxout or dropout"
    if params["input_dropout_ratio"] > 0.0:
        return "dropout"
    if params.get("autoencoder", False):
        return "autoencoder"
    if case["effective_params"]["distribution"] not in {"gaussian", "bernoulli", "multinomial"}:
        return "distribution"
    if golden.classes(case) is not None and params.get("loss", "automatic").lower() == "quadratic":
        return "loss"
    if "max_w2" in params:
        return "max_w2"
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
        sample_weight=rows.weight,
        offset=rows.offset,
        n_seen=n_seen,
        dtype=dtype,
        **rules,
    )
    assert state.n_seen == n_seen + len(intended["row_order"])
    distances = [distance(w, v) for w, v in zip(weights, intended["final_weights"], strict=True)]
    distances += [distance(b, v) for b, v in zip(biases, intended["final_biases"], strict=True)]
    for table in ["train", "test"]:
        rows = golden.encode(case, table)
        outputs = [
            mlp.forward(x, weights, biases, activation=rules["activation"], output=rules["output"], offset=offset)[-1]
            for x, offset in zip(rows.X, rows.offset, strict=True)
        ]
        columns = golden.predictions(case, np.array(outputs))
        expected = intended[f"{table}_predictions"]
        assert columns.keys() == expected.keys()
        distances += [distance(columns[name], expected[name]) for name in expected]
    return max(distances)


def test_covered_cases_are_not_lost():
    assert len(COVERED) == 48


@pytest.mark.parametrize("name", COVERED)
def test_golden_to_the_last_bits(name):
    # With the types of the golden answers (specification section 3.4) all weights agree in every bit; biases and
    # predictions, 64 bits wide, differ by 2e-15 at most: sums and exponentials round differently.
    assert distance_of_replay(golden.load(name), dtype=np.float32) < 1e-12


@pytest.mark.parametrize("name", COVERED)
def test_golden_in_float64(name):
    # The golden answers keep weights, their memory and the settings in 32 bits. Nothing but this rounding, 6e-8 a step,
    # stands between them and float64: the worst is 8e-7, after 1,000 rows of big_defaults_regression.
    assert distance_of_replay(golden.load(name)) < 2e-6


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
    if golden.classes(case) is None and params.get("standardize", True):
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


def test_adadelta_appendix_a():
    w, updates, gradients = 0.5, 0.0, 0.0
    expected = [
        (0.2, 4e-4, 0.0049999375, 9.99975e-9, 0.499000012),
        (-0.1, 4.96e-4, 0.0063499027, 1.39318789e-8, 0.499635003),
        (0.3, 0.00139104, 0.0041477926, 2.92763e-8, 0.498390665),
    ]
    for slope, *answers in expected:
        eta, updates, gradients = mlp.adadelta_rate(slope**2, updates, gradients, rho=0.99, epsilon=1e-8)
        w -= eta * slope
        np.testing.assert_allclose([gradients, eta, updates, w], answers, rtol=1e-6)


@pytest.mark.parametrize(
    ("nesterov", "ways"),
    [
        # Appendix A's heavy ball. Its velocities, in units of the slope, are -1, 1.5 and 0.25: here times r = 0.05.
        (False, [0.95, 1.025, 1.0375]),
        # By hand from the same velocities: each step is half the new velocity, and the plain step once more.
        (True, [0.925, 1.0625, 1.04375]),
    ],
)
def test_momentum_appendix_a(nesterov, ways):
    w, velocity = 1.0, 0.0
    for slope, way, expected in zip([1.0, -2.0, 0.5], ways, [-0.05, 0.075, 0.0125], strict=True):
        step, velocity = mlp.sgd_step(slope, velocity, rate=0.1, momentum=0.5, nesterov=nesterov)
        w += step
        assert velocity == pytest.approx(expected, abs=1e-15)
        assert w == pytest.approx(way, abs=1e-15)


def test_look_ahead_is_nesterovs_rule():
    # Nesterov takes the slope at w + m v and moves w by the new velocity. The weights of `sgd_step` are those points
    # looked ahead to, one step on.
    def slope_at(place):
        return 3.0 * place - 1.0

    momentum, rate = 0.7, 0.05
    w = ahead = 2.0
    velocity = remembered = 0.0
    for _ in range(20):
        velocity = momentum * velocity - rate * (1.0 - momentum) * slope_at(w + momentum * velocity)
        w += velocity
        step, remembered = mlp.sgd_step(slope_at(ahead), remembered, rate=rate, momentum=momentum, nesterov=True)
        ahead += step
        assert remembered == pytest.approx(velocity, rel=1e-12)
        assert ahead == pytest.approx(w + momentum * velocity, rel=1e-12)


def test_rate():
    assert mlp.rate_at(10**6, 0, rate=0.005, rate_annealing=1e-6, rate_decay=1.0) == 0.0025  # Appendix A
    assert mlp.rate_at(0, 2, rate=0.1, rate_annealing=0.5, rate_decay=0.5) == 0.025


def test_momentum_ramp():
    ramp = {"momentum_start": 0.2, "momentum_ramp": 10.0, "momentum_stable": 0.6}
    assert [mlp.momentum_at(n, **ramp) for n in [0, 5, 10, 11]] == pytest.approx([0.2, 0.4, 0.6, 0.6])
    assert mlp.momentum_at(0, momentum_start=0.2, momentum_ramp=0.0, momentum_stable=0.6) == 0.6


def test_softmax_appendix_a():
    p = mlp.softmax(np.array([1.0, 2.0, 0.5]))
    np.testing.assert_allclose(p, [0.231224, 0.628532, 0.140244], atol=5e-7)
    slopes = mlp.output_slopes(p, 1, output="softmax")
    np.testing.assert_allclose(slopes, [0.231224, -0.371468, 0.140244], atol=5e-7)
    np.testing.assert_allclose(mlp.softmax(np.array([1e3, -1e3])), [1.0, 0.0])


def test_penalty():
    assert mlp.penalty_slope(0.0, 9.0, l1=0.1, l2=0.2, pull=0.0) == 0.0
    assert mlp.penalty_slope(-3.0, 9.0, l1=0.1, l2=0.2, pull=0.0) == pytest.approx(-0.1 - 0.6)
    assert mlp.penalty_slope(-3.0, 1.0, l1=0.1, l2=0.2, pull=0.5) == pytest.approx(-0.1 - 0.6 - 2.0)


def network(rng, sizes):
    """Weights and biases of a small random network, with few dead rectifiers."""
    weights = [rng.normal(size=(units, inputs)) for inputs, units in pairwise(sizes)]
    return weights, [rng.uniform(size=units) for units in sizes[1:]]


@pytest.mark.parametrize("activation", ["rectifier", "tanh"])
@pytest.mark.parametrize("output", ["softmax", "linear"])
@pytest.mark.parametrize("hidden", [[], [4], [6, 5]])
def test_gradient_is_the_slope_of_the_loss(activation, output, hidden):
    rng = np.random.default_rng(7)
    sizes = [6, *hidden, 3 if output == "softmax" else 1]
    weights, biases = network(rng, sizes)
    x, target = rng.normal(size=6), 2 if output == "softmax" else 0.4
    settings = {"activation": activation, "output": output, "weight": 1.7, "offset": 0.3}
    _, *gradients = mlp.loss_and_gradient(x, target, weights, biases, **settings)
    # A layer without any slope would test nothing.
    assert all(np.any(g != 0.0) for of_kind in gradients for g in of_kind)

    h = 1e-6
    for parameters, of_kind in zip([weights, biases], gradients, strict=True):
        for layer, gradient in zip(parameters, of_kind, strict=True):
            for place in np.ndindex(*layer.shape):
                kept = layer[place]
                values = []
                for moved in [kept + h, kept - h]:
                    layer[place] = moved
                    values.append(mlp.loss_and_gradient(x, target, weights, biases, **settings)[0])
                layer[place] = kept
                assert (values[0] - values[1]) / (2.0 * h) == pytest.approx(gradient[place], rel=1e-6, abs=1e-8)


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


@pytest.mark.parametrize("wrong", [{"activation": "maxout"}, {"output": "tweedie"}, {"optimizer": "adam"}])
def test_unknown_kinds_are_refused(wrong):
    with pytest.raises(ValueError, match="unknown"):
        mlp.Rules(**{"activation": "tanh", "output": "linear", **wrong})
