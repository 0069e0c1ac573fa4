"""What is made small: every loss under every activation, against the oracle and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.problems import (
    ACTIVATIONS,
    NOTHING,
    OF_CLASSES,
    OF_NUMBERS,
    SHAPES,
    aim,
    assert_equals_oracle,
    predict,
    problem,
    settings,
    start_values,
    target_of,
    train,
    weighted,
)
from naive import mlp

from dask_dl.state import Rows

FROZEN, _ = settings("plain", rate=0.0)
#: The weights that it leaves are the start minus the gradients.
ONE_STEP, _ = settings("plain", rate=1.0, rate_annealing=0.0, rate_decay=1.0)


@pytest.mark.parametrize("kind", ["adadelta", "plain"])  # ADADELTA hardly sees a factor on all gradients, SGD does
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("objective", [*OF_CLASSES, *OF_NUMBERS])
def test_training_equals_the_oracle(kind, activation, objective):
    optimizer, rules = settings(kind)
    topology, rows, X = problem(n=40, levels=(4, 3), activation=activation, objective=objective)
    rows = weighted(rows, shifted=objective in OF_NUMBERS)
    flat = assert_equals_oracle(topology, rows, X, optimizer, rules, objective=objective)
    without = rows._replace(weight=NOTHING), rows._replace(offset=NOTHING)
    for other in without[: 2 if objective in OF_NUMBERS else 1]:  # both have a say
        found, _, _ = train(topology, other, optimizer, *start_values(topology), objective=aim(objective)[0])
        assert not np.allclose(found, flat, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("objective", [*OF_CLASSES, *OF_NUMBERS])
def test_the_sum_of_losses_equals_the_oracle(activation, objective):
    topology, rows, X = problem(levels=(4,), activation=activation, objective=objective)
    rows = weighted(rows, shifted=objective in OF_NUMBERS)
    kernels, oracles = aim(objective)
    weights, biases = start_values(topology)
    _, _, loss = train(topology, rows, FROZEN, weights, biases, objective=kernels)
    expected = 0.0
    for i in range(rows.n):
        offset = float(rows.offset[i]) if len(rows.offset) else 0.0
        kind = {"activation": activation, "output": topology.output}
        prediction = mlp.forward(X[i], weights, biases, offset=offset, **kind)[-1]
        expected += rows.weight[i] * mlp.loss(
            prediction, target_of(topology, rows)[i], output=topology.output, **oracles
        )
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("objective", ["cross_entropy", *OF_NUMBERS])
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_a_step_follows_the_finite_differences_of_the_kernels_own_loss(activation, objective, weight):
    topology, rows, _ = problem(n=1, levels=(3,), activation=activation, objective=objective)
    offset = np.full(1, -0.2, np.float32) if objective in OF_NUMBERS else NOTHING
    rows = rows._replace(weight=np.full(1, weight, np.float32), offset=offset)
    kernels, _ = aim(objective)
    start = start_values(topology)
    if objective == "cross_entropy":  # a wrong answer, for large gradients
        answer = predict(topology, rows, topology.pack(*start))
        rows = rows._replace(target=answer.argmin(axis=1).astype(np.float32))
    flat, _, _ = train(topology, rows, ONE_STEP, *start, objective=kernels)
    moved = [a for part in topology.unpack(flat) for a in part]
    h = np.float32(2**-7)  # the loss is a float32: its rounding counts 2**7 times
    gradients, differences = [], []
    for array, after in zip([a for part in start for a in part], moved, strict=True):
        for place in np.ndindex(array.shape):
            kept, found = array[place], []
            for moved_to in (kept + h, kept - h):
                array[place] = moved_to
                found.append(train(topology, rows, FROZEN, *start, objective=kernels)[2])
            array[place] = kept
            gradients.append(kept - after[place])
            differences.append((found[0] - found[1]) / (2 * h))
    assert np.abs(gradients).max() > 0.05
    np.testing.assert_allclose(gradients, differences, rtol=2e-3, atol=1e-3 * np.abs(gradients).max())


def at_output(objective, sums, target, weight=1.0):
    """(loss, gradients by the output's sums) of a row whose output has these sums: the biases of a net without weights."""
    topology, _, _ = problem(n=1, n_dense=1, hidden=(), n_outputs=len(sums))
    one = np.ones(1, np.float32)
    rows = Rows(np.zeros((1, 16), np.float32), np.zeros((1, 0), np.int32), one * target, one * weight, NOTHING)
    biases = [np.array(sums, np.float32)]
    weights = [np.zeros((len(sums), 1), np.float32)]
    flat, _, loss = train(topology, rows, ONE_STEP, weights, biases, objective=aim(objective)[0])
    return loss, biases[0].astype(float) - topology.unpack(flat)[1][0]


@pytest.mark.parametrize("label", [0, 1, 2, 3])
def test_squared_errors_of_classes_take_the_diagonal_of_softmax(label):
    sums = np.array([0.5, -1.0, 1.5, 0.25])
    _, gradients = at_output("quadratic", sums, label)

    def own_term(j, z):
        """What class j adds to the loss where its own sum is z."""
        p = mlp.softmax(np.where(np.arange(4) == j, z, sums))[j]
        return (p - (j == label)) ** 2 / 2

    h = 1e-5
    expected = [(own_term(j, z + h) - own_term(j, z - h)) / (2 * h) for j, z in enumerate(sums)]
    np.testing.assert_allclose(gradients, expected, atol=2e-7)


@pytest.mark.parametrize("objective", OF_NUMBERS)
@pytest.mark.parametrize("y", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("z", [-30.0, -2.0, 0.0, 0.5, 0.75, 1.0, 3.0, 8.0])
def test_every_loss_of_a_number_equals_the_oracle(objective, y, z):
    # On both sides of the corners, on them, and beyond Huber's bend.
    loss, (gradient,) = at_output(objective, [z], y, weight=0.5)
    of_oracle = {"output": "linear", **aim(objective)[1]}
    expected = mlp.loss(np.array([z]), y, **of_oracle) / 2
    assert loss == pytest.approx(expected, rel=1e-5, abs=1e-6)
    # The bias is a float32, and so is the difference of two of them.
    (wanted,) = mlp.output_gradients(np.array([z]), y, **of_oracle) / 2
    assert gradient == pytest.approx(wanted, rel=1e-5, abs=4e-6)


@pytest.mark.parametrize(
    "objective, z, y, gradient",
    [
        ("poisson", 60.0, 1.0, 2e19),
        ("poisson", -200.0, 2.0, -4.0),
        ("gamma", -60.0, 1.0, -2e19),
        ("gamma", 200.0, 2.0, 2.0),
        ("tweedie", 200.0, 1.0, 2e19),
        ("tweedie", -200.0, 1.0, -2e19),
    ],
)
def test_exponentials_have_a_lid(objective, z, y, gradient):
    loss, found = at_output(objective, [z], y)
    assert np.isfinite(loss)
    np.testing.assert_allclose(found, gradient, rtol=1e-4)


@pytest.mark.parametrize("objective", OF_CLASSES)
@pytest.mark.parametrize("label", [0, 1])
def test_sure_answers_have_finite_losses(objective, label):
    loss, gradients = at_output(objective, [500.0, -500.0], label)
    assert np.isfinite(loss) and np.isfinite(gradients).all()
    if objective == "cross_entropy":
        assert loss == pytest.approx(0.0 if label == 0 else -np.log(1e-15), rel=1e-6)
        np.testing.assert_array_equal(gradients, [0, 0] if label == 0 else [1, -1])
    else:
        assert loss == label and not gradients.any()


@pytest.mark.parametrize("objective", [*OF_CLASSES, *OF_NUMBERS])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_nan_among_the_inputs_reaches_the_weights(objective, activation):
    topology, rows, _ = problem(objective=objective, activation=activation)
    rows.dense[7, 2] = np.nan
    flat, _, _ = train(topology, rows, settings("plain")[0], *start_values(topology), objective=aim(objective)[0])
    assert np.isnan(flat).any()


@pytest.mark.parametrize("objective", [*OF_CLASSES, *OF_NUMBERS])
def test_a_nan_at_the_output_is_a_nan_in_the_loss(objective):
    loss, _ = at_output(objective, [np.nan, 0.0][: 2 if objective in OF_CLASSES else 1], 0)
    assert np.isnan(loss)


@pytest.mark.parametrize("objective", SHAPES)
def test_the_shape_has_a_say(objective):
    topology, rows, _ = problem(objective=objective)
    kernels, _ = aim(objective)
    found = [
        train(topology, rows, FROZEN, *start_values(topology), objective=kernels._replace(shape=shape))[2]
        for shape in (kernels.shape, kernels.shape + 0.1)
    ]
    assert found[0] != pytest.approx(found[1], rel=1e-3)
