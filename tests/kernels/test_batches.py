"""Training by mini-batches, against the oracle and against single rows."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.problems import (
    ACTIVATIONS,
    KINDS,
    OF_CLASSES,
    OF_NUMBERS,
    assert_equals_oracle,
    consensus,
    given,
    predict,
    problem,
    settings,
    start_values,
    train,
    weighted,
)

LEVELS = (4, 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("fast_mode", [True, False])
@pytest.mark.parametrize("batch", [2, 7, 32, 100])
def test_training_equals_the_oracle(kind, activation, fast_mode, batch):
    for penalty, hidden in ((0.0, (20, 33)), (0.01, (6, 4)), (0.0, ())):
        optimizer, rules = settings(kind, fast_mode=fast_mode, l1=penalty, l2=penalty / 2, batch=batch)
        topology, rows, X = problem(levels=LEVELS, activation=activation, hidden=hidden)
        assert_equals_oracle(topology, rows, X, optimizer, rules, n_seen=5)


@pytest.mark.parametrize("objective", [*OF_CLASSES, *OF_NUMBERS])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_objective_equals_the_oracle(objective, activation):
    optimizer, rules = settings("plain", batch=8)
    topology, rows, X = problem(levels=LEVELS, activation=activation, objective=objective)
    rows = weighted(rows, shifted=objective in OF_NUMBERS)
    X, rows = X[rows.weight > 0], rows.take(rows.weight > 0)
    assert_equals_oracle(topology, rows, X, optimizer, rules, objective=objective)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("levels", "n_dense"), [(LEVELS, 5), ((), 17), ((5,), 0)])
@pytest.mark.parametrize("fast_mode", [True, False])
def test_all_together_equals_the_oracle(activation, levels, n_dense, fast_mode):
    more = {"max_w2": 0.7, "l2": 0.01, "pull": 0.02, "input_kept": 0.8}
    if activation != "maxout":
        more |= {"sparsity_beta": 0.1, "average_activation": 0.2}
    optimizer, rules = settings(batch=6, fast_mode=fast_mode, **more)
    topology, rows, X = problem(
        levels=levels, n_dense=n_dense, activation=activation, dropout=(0.5, 0.25), has_means=activation != "maxout"
    )
    rows = rows._replace(kept=given(rows.n, topology, 0.2))
    assert_equals_oracle(topology, rows, X, optimizer, rules, center=consensus(topology))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dropout", [(), (0.5, 0.5)])
def test_batches_of_one_row_equal_single_rows(kind, activation, dropout):
    optimizer, _ = settings(kind, input_kept=0.8 if dropout else 1.0, max_w2=2.0)
    topology, rows, _ = problem(levels=LEVELS, activation=activation, dropout=dropout)
    rows = rows._replace(key=np.random.default_rng(0).integers(2**63, size=rows.n).astype(np.uint64))
    start = start_values(topology)
    alone, alone_states, alone_loss = train(topology, rows, optimizer, *start)
    batched, states, loss = train(topology, rows, optimizer, *start, batched=True)
    assert loss == pytest.approx(alone_loss, rel=1e-5)
    for mine, other in zip((batched, *states), (alone, *alone_states), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("objective", ["cross_entropy", "gaussian"])
def test_an_answer_does_not_depend_on_what_is_predicted_beside_it(activation, objective):
    topology, rows, _ = problem(n=40, levels=LEVELS, activation=activation, objective=objective, hidden=(20, 33))
    rows = rows._replace(offset=np.linspace(-1, 1, 40, dtype=np.float32) if objective == "gaussian" else rows.offset)
    flat = topology.pack(*start_values(topology))
    whole = predict(topology, rows, flat, size=32)
    for size in (1, 7, 64):
        np.testing.assert_array_equal(predict(topology, rows, flat, size=size), whole)
    one_by_one = [predict(topology, rows.cut(i, i + 1), flat, size=32) for i in range(40)]
    np.testing.assert_array_equal(np.concatenate(one_by_one), whole)
