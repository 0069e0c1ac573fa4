"""Inputs of a row: any number of levels and numbers, dropped ones, and entries, one-hot inputs with a value of their own.

The oracle gets entries as numbers among others.
"""

from __future__ import annotations

import numpy as np
import pytest
from kernels.problems import (
    ACTIVATIONS,
    KINDS,
    aim,
    assert_equals_oracle,
    consensus,
    entries_of,
    expanded,
    given,
    predict,
    problem,
    settings,
    start_values,
    train,
)
from naive import mlp

from dask_dl.frame.order import keys_of
from dask_dl.kernels.layout import Topology
from dask_dl.state import NO_ENTRIES, Entries, padded

LEVELS, N_SPARSE = (4, 3), 9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("fast_mode", [True, False])
@pytest.mark.parametrize("penalty", [0.0, 0.01])
@pytest.mark.parametrize("batch", [1, 4, 32])
def test_training_equals_the_oracle(kind, activation, fast_mode, penalty, batch):
    optimizer, rules = settings(kind, fast_mode=fast_mode, l1=penalty, l2=penalty / 2, batch=batch)
    topology, rows, X = problem(n=40, levels=LEVELS, n_sparse=N_SPARSE, activation=activation)
    assert_equals_oracle(topology, rows, X, optimizer, rules)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("levels", "n_dense"), [(LEVELS, 5), ((), 17), ((), 0)])
@pytest.mark.parametrize("fast_mode", [True, False])
@pytest.mark.parametrize("batch", [1, 6])
def test_all_together_equals_the_oracle(activation, levels, n_dense, fast_mode, batch):
    more = {"max_w2": 0.7, "l2": 0.01, "pull": 0.02, "input_kept": 0.8, "batch": batch}
    if activation != "maxout":
        more |= {"sparsity_beta": 0.1, "average_activation": 0.2}
    optimizer, rules = settings(fast_mode=fast_mode, **more)
    topology, rows, X = problem(
        n=40, levels=levels, n_dense=n_dense, n_sparse=N_SPARSE, activation=activation, dropout=(0.5, 0.25),
        has_means=activation != "maxout",
    )  # fmt: skip
    rows = rows._replace(kept=given(rows.n, topology, 0.2))
    assert_equals_oracle(topology, rows, X, optimizer, rules, center=consensus(topology))


@pytest.mark.parametrize("n_sparse", [1, 9, 40])
def test_the_rule_for_biases_counts_a_sparse_column_as_one(n_sparse):
    optimizer, rules = settings()
    topology, rows, X = problem(levels=(60,), n_dense=1, n_sparse=n_sparse)
    assert topology.network.n_sparse == n_sparse  # the oracle is told of 2 + n_sparse columns
    assert_equals_oracle(topology, rows, X, optimizer, rules)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fast_mode", [True, False])
@pytest.mark.parametrize("batch", [1, 4])
def test_entries_of_value_1_are_levels_to_the_last_bit(kind, fast_mode, batch):
    optimizer, _ = settings(kind, fast_mode=fast_mode, batch=batch, input_kept=0.8, l2=0.01)
    topology, rows, _ = problem(levels=LEVELS, hidden=(20, 18), n_sparse=3)
    rows = rows._replace(entries=NO_ENTRIES, key=keys_of(np.arange(rows.n), 5, "epoch 0"))
    length = (rows.active >= 0).sum(axis=1).astype(np.int32)
    slot = rows.active[rows.active >= 0]
    sparse = rows._replace(
        active=np.full_like(rows.active, -1),
        entries=Entries(np.cumsum(length) - length, length, slot, np.ones(len(slot), np.float32)),
    )
    start = start_values(topology)
    np.testing.assert_array_equal(
        train(topology, rows, optimizer, *start)[0], train(topology, sparse, optimizer, *start)[0]
    )
    flat = topology.pack(*start)
    np.testing.assert_array_equal(predict(topology, rows, flat), predict(topology, sparse, flat))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dropout", [(), (0.5, 0.5)])
def test_batches_of_one_row_equal_single_rows(kind, activation, dropout):
    optimizer, _ = settings(kind, input_kept=0.8 if dropout else 1.0, max_w2=2.0)
    topology, rows, _ = problem(levels=LEVELS, n_sparse=N_SPARSE, activation=activation, dropout=dropout)
    rows = rows._replace(key=keys_of(np.arange(rows.n), 5, "epoch 0"))
    start = start_values(topology)
    alone, alone_states, alone_loss = train(topology, rows, optimizer, *start)
    batched, states, loss = train(topology, rows, optimizer, *start, batched=True)
    assert loss == pytest.approx(alone_loss, rel=1e-5)
    for mine, other in zip((batched, *states), (alone, *alone_states), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 4])
def test_an_entry_is_dropped_by_the_draw_of_its_slot(batch):
    """As a number at the same place of the inputs would be."""
    optimizer, _ = settings(batch=batch, input_kept=0.7)
    topology, rows, X = problem(n_dense=0, n_sparse=N_SPARSE)
    rows = rows._replace(key=keys_of(np.arange(rows.n), 5, "epoch 0"))
    dense = np.zeros((rows.n, padded(N_SPARSE)), np.float32)
    dense[:, :N_SPARSE] = X
    same = Topology(0, N_SPARSE, topology.hidden, topology.n_outputs, topology.activation, topology.output)
    weights, biases = start_values(topology)
    sparse, _, loss = train(topology, rows, optimizer, weights, biases)
    as_numbers, _, same_loss = train(same, rows._replace(dense=dense, entries=NO_ENTRIES), optimizer, weights, biases)
    assert loss == pytest.approx(same_loss, rel=1e-5)
    for mine, other in zip(topology.unpack(sparse)[0], same.unpack(as_numbers)[0], strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("objective", ["cross_entropy", "gaussian"])
def test_predictions_equal_the_oracle(activation, objective):
    topology, rows, X = problem(levels=LEVELS, n_sparse=N_SPARSE, activation=activation, objective=objective)
    weights, biases = start_values(topology)
    rules = {"activation": activation, "output": topology.output}
    expected = [mlp.forward(x, weights, biases, **rules)[-1] for x in X]
    flat = topology.pack(weights, biases)
    out = predict(topology, rows, flat)
    np.testing.assert_allclose(out, np.reshape(expected, out.shape), rtol=2e-5, atol=2e-6)
    for size in (1, 32):
        np.testing.assert_array_equal(predict(topology, rows, flat, size=size), out)


@pytest.mark.parametrize("batched", [False, True])
def test_a_step_is_the_slope_of_the_loss(batched):
    topology, rows, _ = problem(n_dense=2, n_sparse=N_SPARSE, activation="tanh")
    rows = rows.take(np.array([rows.entries.length.argmax()]))
    rate, h = 1e-3, 1e-2
    optimizer, _ = settings("plain", rate=rate, rate_annealing=0.0, rate_decay=1.0)
    frozen = optimizer._replace(rate=0.0)
    weights, biases = start_values(topology)
    flat, _, _ = train(topology, rows, optimizer, weights, biases, batched=batched)
    gradients = (weights[0] - topology.unpack(flat)[0][0]) / rate
    for place in np.ndindex(*weights[0].shape):
        losses = []
        for sign in (1, -1):
            moved = [w.copy() for w in weights]
            moved[0][place] += sign * h
            losses.append(train(topology, rows, frozen, moved, biases, batched=batched)[2])
        assert gradients[place] == pytest.approx((losses[0] - losses[1]) / (2 * h), rel=0.02, abs=2e-3)


@pytest.mark.parametrize("batch", [1, 4])
def test_where_entries_lie_in_their_pools_does_not_matter(batch):
    topology, rows, _ = problem(levels=LEVELS, n_sparse=N_SPARSE)
    optimizer, start = settings(batch=batch)[0], start_values(topology)
    expected = train(topology, rows, optimizer, *start)
    for same in (
        rows.compact(),
        rows.copy(),
        rows.take(np.arange(rows.n)[::-1]).compact().take(np.arange(rows.n)[::-1]),
    ):
        found = train(topology, same, optimizer, *start)
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[2] == expected[2]


def test_rows_without_any_entry_and_of_all_slots():
    topology, rows, _ = problem(levels=LEVELS, n_sparse=N_SPARSE, n=30)
    slot = 7 + np.arange(N_SPARSE, dtype=np.int32)
    value = np.linspace(-1, 1, N_SPARSE, dtype=np.float32)
    for length in (np.zeros(30, np.int32), np.full(30, N_SPARSE, np.int32)):
        rows = rows._replace(entries=Entries(np.zeros(30, np.int64), length, slot, value))  # which all rows share
        for batch in (1, 4):
            optimizer, rules = settings(batch=batch)
            assert_equals_oracle(topology, rows, expanded(topology, rows), optimizer, rules)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fast_mode", [True, False])
def test_padding_stays_zero(kind, activation, fast_mode):
    topology, rows, _ = problem(levels=LEVELS, n_sparse=N_SPARSE, hidden=(5, 3), activation=activation)
    optimizer, _ = settings(kind, fast_mode=fast_mode, l1=0.01, l2=0.01, max_w2=0.5)
    flat, states, _ = train(topology, rows, optimizer, *start_values(topology))
    for vector in (flat, *states):
        np.testing.assert_array_equal(vector, topology.pack(*topology.unpack(vector)))


def test_a_nan_in_an_entry_reaches_the_weights():
    topology, rows, _ = problem(n_sparse=N_SPARSE)
    rows.entries.value[:] = np.nan
    for batch in (1, 4):
        flat, _, _ = train(
            topology, rows, settings(batch=batch)[0], *start_values(topology), objective=aim("gaussian")[0]
        )
        assert np.isnan(flat).any()


def test_entries_make_their_own_pools():
    entries = entries_of(50, 3, 8)
    assert len(entries.slot) > entries.n and entries.longest == entries.length.max()
    own = entries.compact()
    assert len(own.slot) == own.n == entries.n and np.isfinite(own.value).all() and (own.slot >= 3).all()
    for i in range(50):
        theirs, mine = (slice(e.begin[i], e.begin[i] + e.length[i]) for e in (entries, own))
        np.testing.assert_array_equal(entries.slot[theirs], own.slot[mine])
        np.testing.assert_array_equal(entries.value[theirs], own.value[mine])
    assert own.compact().slot.base is own.slot or own.compact().slot is own.slot  # nothing to copy
    part = own.of(slice(10, 20)).compact()
    assert part.begin[0] == 0 and part.slot.base is None  # else the whole pool would stay
    assert part.nbytes == 10 * 12 + 8 * part.n == own.of(slice(10, 20)).nbytes
    assert [a.dtype for a in own] == [np.int64, np.int32, np.int32, np.float32]
    empty = own.of(slice(0, 0)).compact()
    assert empty.n == len(empty.slot) == empty.longest == 0


@pytest.mark.parametrize("levels, n_dense", [((5, 2), 0), ((), 1), ((), 33), ((20,), 2), ((40,), 0)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_inputs_equal_the_oracle(levels, n_dense, kind):
    optimizer, rules = settings(kind)
    topology, rows, X = problem(levels=levels, n_dense=n_dense)
    assert_equals_oracle(topology, rows, X, optimizer, rules)


@pytest.mark.parametrize("levels, n_dense", [((), 20), ((5, 2), 0), ((20,), 2)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fast_mode", [True, False])
def test_dropped_inputs_of_any_table_equal_the_oracle(levels, n_dense, kind, fast_mode):
    optimizer, rules = settings(kind, fast_mode=fast_mode, input_kept=0.6)
    topology, rows, X = problem(n=40, levels=levels, n_dense=n_dense)
    rows = rows._replace(kept=given(rows.n, topology, 0.4))
    assert_equals_oracle(topology, rows, X, optimizer, rules)
