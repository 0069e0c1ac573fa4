"""Outputs of a network that learns its inputs: levels by softmax, numbers by squares, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.problems import (
    EXACT,
    NOTHING,
    OF_INPUTS,
    aim,
    assert_equals_oracle,
    expanded,
    given,
    oracle_output,
    predict,
    problem,
    settings,
    start_values,
    train,
)
from naive import mlp

from dask_dl.errors import ParameterError, SchemaError
from dask_dl.kernels.layout import Topology
from dask_dl.node.parallelism import Parallelism
from dask_dl.node.replica import Replica

OBJECTIVE, _ = aim("inputs")
#: Linear outputs with every function of hidden layers, and outputs with that function.
KINDS = [
    ("linear", "rectifier"),
    ("linear", "tanh"),
    ("linear", "maxout"),
    ("activated", "rectifier"),
    ("activated", "tanh"),
]
#: (levels, numbers, sparse inputs)
INPUTS = [((4, 3), 5, 6), ((), 17, 0), ((5, 30), 0, 0), ((), 0, 20)]


def reconstruction(output, activation, inputs=INPUTS[0], **more):
    levels, n_dense, n_sparse = inputs
    shape = {"levels": levels, "n_dense": n_dense, "n_sparse": n_sparse}
    return problem(objective="inputs", output=output, activation=activation, **shape, **more)


@pytest.mark.parametrize(("output", "activation"), KINDS)
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("batch", [1, 7])
def test_training_equals_the_oracle(output, activation, inputs, batch):
    topology, rows, X = reconstruction(output, activation, inputs)
    rows = rows._replace(weight=np.random.default_rng(1).uniform(0.1, 2, rows.n).astype(np.float32))
    for kind in ("plain", "adadelta"):
        optimizer, rules = settings(kind, batch=batch)
        assert_equals_oracle(topology, rows, X, optimizer, rules, objective="inputs")


@pytest.mark.parametrize("batch", [1, 7])
def test_targets_are_the_inputs_before_dropout(batch):
    optimizer, rules = settings("plain", batch=batch, input_kept=0.7)
    topology, rows, X = reconstruction("linear", "tanh")
    rows = rows._replace(kept=given(rows.n, topology, 0.3))
    assert_equals_oracle(topology, rows, X, optimizer, rules, objective="inputs")


@pytest.mark.parametrize(("output", "activation"), KINDS)
def test_an_answer_and_its_loss_are_the_oracles(output, activation):
    topology, rows, X = reconstruction(output, activation)
    weights, biases = start_values(topology)
    found = predict(topology, rows, topology.pack(weights, biases))
    kind = {"activation": activation, "output": oracle_output(topology)}
    expected = np.array([mlp.forward(x, weights, biases, **kind)[-1] for x in X])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for batch in (1, 7):
        frozen, _ = settings("plain", rate=0.0, batch=batch)
        _, _, loss = train(topology, rows, frozen, weights, biases, objective=OBJECTIVE)
        assert loss == pytest.approx(((expected - X) ** 2).sum(), rel=1e-5)


@pytest.mark.parametrize(("output", "activation"), KINDS)
@pytest.mark.parametrize("objective", EXACT)
@pytest.mark.parametrize("batch", [1, 4])
def test_a_step_follows_the_finite_differences_of_the_loss(output, activation, objective, batch):
    topology, rows, _ = reconstruction(output, activation, n=batch, hidden=(6,))
    objective, _ = aim(objective)
    step, _ = settings("plain", rate=1.0, rate_annealing=0.0, rate_decay=1.0, batch=batch)
    frozen = step._replace(rate=0.0)
    start = start_values(topology)
    flat, _, _ = train(topology, rows, step, *start, objective=objective)
    moved = [a for part in topology.unpack(flat) for a in part]
    h = np.float32(2**-11)  # small, so that no unit changes sides
    gradients, differences = [], []
    for array, after in zip([a for part in start for a in part], moved, strict=True):
        for place in np.ndindex(array.shape):
            kept, found = array[place], []
            for moved_to in (kept + h, kept - h):
                array[place] = moved_to
                found.append(train(topology, rows, frozen, *start, objective=objective)[2] / batch)
            array[place] = kept
            gradients.append(kept - after[place])
            differences.append((found[0] - found[1]) / (2 * h))
    assert np.abs(gradients).max() > 0.05
    np.testing.assert_allclose(gradients, differences, rtol=5e-3, atol=2e-3 * np.abs(gradients).max())


def replica(topology, objective, n_threads=1):
    way = Parallelism("team" if n_threads > 1 else "one thread", n_threads, 8, "as the test asks")
    flat = topology.pack(*start_values(topology))
    return Replica(topology, settings("adadelta")[0], objective, flat, parallelism=way)


def test_a_team_has_the_bits_of_one_thread():
    topology, rows, _ = reconstruction("linear", "rectifier", INPUTS[2], hidden=(33, 20))
    alone, team = replica(topology, OBJECTIVE), replica(topology, OBJECTIVE, 3)
    assert alone.train(rows) == team.train(rows)
    np.testing.assert_array_equal(alone.flat, team.flat)


def test_rows_without_targets_are_never_read_for_them():
    topology, rows, _ = problem(objective="gaussian")
    trained = replica(topology, aim("gaussian")[0])
    before = trained.flat.copy()
    with pytest.raises(SchemaError, match="40 rows have 0 targets"):
        trained.train(rows._replace(target=NOTHING))
    np.testing.assert_array_equal(trained.flat, before)


@pytest.mark.parametrize(("output", "n_outputs"), [("softmax", 8), ("linear", 7), ("linear", 9)])
def test_outputs_that_are_not_the_inputs_are_refused(output, n_outputs):
    with pytest.raises(ParameterError, match="8 inputs"):
        replica(Topology(5, 3, (4,), n_outputs, "tanh", output), OBJECTIVE)


def test_maxout_is_no_function_of_outputs():
    with pytest.raises(ParameterError, match="maxout"):
        Topology(5, 3, (4,), 8, "maxout", "activated")


def test_the_problem_has_all_kinds_of_inputs():
    topology, rows, X = reconstruction("linear", "tanh")
    assert topology.n_outputs == topology.n_inputs == X.shape[1] == 18
    assert not len(rows.target) and (expanded(topology, rows)[:, 7:13] != 0).any()


@pytest.mark.parametrize("objective", [*OF_INPUTS[1:], *EXACT])
@pytest.mark.parametrize(("output", "activation"), KINDS)
def test_every_loss_equals_the_oracle(objective, output, activation):
    topology, rows, X = reconstruction(output, activation, INPUTS[0])
    rows = rows._replace(weight=np.random.default_rng(1).uniform(0.1, 2, rows.n).astype(np.float32))
    for batch in (1, 7):
        optimizer, rules = settings("plain", batch=batch)
        assert_equals_oracle(topology, rows, X, optimizer, rules, objective=objective)
