"""Who is dropped, by chance and by order, and what a row without them does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernels.problems import (
    ACTIVATIONS,
    KINDS,
    aim,
    assert_equals_oracle,
    given,
    predict,
    problem,
    settings,
    start_values,
    train,
    weighted,
)
from naive import mlp

from dask_dl.frame.order import keys_of
from dask_dl.jit import entry
from dask_dl.kernels import dropout

draw_mask, key_of = entry(dropout.draw_mask.py_func), entry(dropout.key_of.py_func)

FROZEN, _ = settings("plain", rate=0.0)
ONE = np.float32(1)
LEVELS, RATIOS, INPUT_RATIO = (4, 3), (0.5, 0.25), 0.2


def drawn(keys, layer, kept, n, first=0):
    """Flags (keys, n) of places from `first` on in a layer, -1 being the inputs."""
    masks = np.empty((len(keys), n), np.float32)
    for key, mask in zip(keys, masks, strict=True):
        draw_mask(np.uint64(key_of(key, layer)), first, np.float32(kept), ONE, mask)
    return masks.astype(np.uint8)


def masks(topology, keys, input_kept):
    """`Rows.kept` as these keys would draw it."""
    kept = topology.network.kept[:-1]
    of_inputs = (
        drawn(keys, -1, input_kept, topology.n_inputs) if input_kept < 1 else np.ones((len(keys), topology.n_inputs))
    )
    of_units = [
        drawn(keys, k, share, n) if share < 1 else np.ones((len(keys), n))
        for k, (n, share) in enumerate(zip(topology.hidden, kept, strict=True))
    ]
    return np.concatenate([of_inputs, *of_units], axis=1).astype(np.uint8)


# ---- given masks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("fast_mode", [True, False])
@pytest.mark.parametrize(
    "ratios, input_ratio", [(RATIOS, 0.0), ((), INPUT_RATIO), (RATIOS, INPUT_RATIO), ((0.0, 0.5), 0.0)]
)
def test_given_masks_equal_the_oracle(kind, activation, fast_mode, ratios, input_ratio):
    optimizer, rules = settings(kind, fast_mode=fast_mode, input_kept=1 - input_ratio)
    topology, rows, X = problem(n=40, levels=LEVELS, activation=activation, dropout=ratios)
    rows = rows._replace(kept=given(rows.n, topology, input_ratio))
    assert_equals_oracle(topology, rows, X, optimizer, rules)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("fast_mode", [True, False])
def test_dropout_with_all_else_equals_the_oracle(kind, activation, fast_mode):
    optimizer, rules = settings(
        kind, fast_mode=fast_mode, input_kept=1 - INPUT_RATIO, l1=0.01, l2=0.005, max_w2=0.8, sparsity_beta=0.05
    )
    topology, rows, X = problem(
        n=40, levels=LEVELS, hidden=(17, 4), activation=activation, dropout=RATIOS, objective="poisson", has_means=True
    )
    rows = weighted(rows._replace(kept=given(rows.n, topology, INPUT_RATIO)), shifted=True)
    assert_equals_oracle(topology, rows, X, optimizer, rules, objective="poisson")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_prediction_scales_what_training_drops(activation):
    topology, rows, X = problem(levels=LEVELS, activation=activation, dropout=RATIOS)
    weights, biases = start_values(topology)
    out = predict(topology, rows, topology.pack(weights, biases))
    rules = {"activation": activation, "output": "softmax", "hidden_ratios": RATIOS}
    expected = [mlp.forward(x, weights, biases, **rules)[-1] for x in X]
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-6)
    plain, _, _ = problem(levels=LEVELS, activation=activation)
    assert not np.allclose(out, predict(plain, rows, plain.pack(weights, biases)), rtol=1e-2)


def test_all_dropped_and_none_dropped():
    optimizer, rules = settings(input_kept=0.5)
    topology, rows, X = problem(n=20, levels=LEVELS, dropout=RATIOS)
    for value in (0, 1):
        kept = np.full((rows.n, topology.n_inputs + sum(topology.hidden)), value, np.uint8)
        assert_equals_oracle(topology, rows._replace(kept=kept), X, optimizer, rules)


# ---- drawn masks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    "ratios, input_ratio", [(RATIOS, 0.0), ((), INPUT_RATIO), (RATIOS, INPUT_RATIO), ((0.0, 0.5), 0.0)]
)
def test_drawn_masks_are_the_given_ones_of_the_same_draws(kind, activation, ratios, input_ratio):
    """Place p of a layer, one-hot inputs before numbers, is kept as draw p of the row's key says, and only so."""
    optimizer, _ = settings(kind, input_kept=1 - input_ratio)
    topology, rows, _ = problem(levels=LEVELS, hidden=(20, 18), activation=activation, dropout=ratios)
    keys = keys_of(np.arange(rows.n), 5, "epoch 0")
    start = start_values(topology)
    by_key, by_mask, by_none = (
        train(topology, changed, optimizer, *start)
        for changed in (
            rows._replace(key=keys),
            rows._replace(kept=masks(topology, keys, 1 - input_ratio)),
            rows._replace(kept=np.ones((rows.n, topology.n_inputs + 38), np.uint8)),
        )
    )
    np.testing.assert_array_equal(by_key[0], by_mask[0])
    np.testing.assert_array_equal(by_key[1], by_mask[1])
    assert by_key[2] == by_mask[2]
    assert (by_key[0] != by_none[0]).any()


def test_chunks_and_calls_have_no_say_in_masks():
    optimizer, _ = settings(input_kept=0.8)
    topology, rows, _ = problem(levels=LEVELS, hidden=(20, 18), dropout=RATIOS)
    rows = rows._replace(key=keys_of(np.arange(rows.n), 5, "epoch 0"))
    start = start_values(topology)
    whole, states, _ = train(topology, rows, optimizer, *start)
    for pieces, chunk in [(7, 7), (1, 1), (1, 1000), (60, 3)]:
        again, states_again, _ = train(topology, rows, optimizer, *start, pieces=pieces, chunk=chunk)
        np.testing.assert_array_equal(whole, again)
        np.testing.assert_array_equal(states, states_again)


@pytest.mark.parametrize("layer", [-1, 0, 1])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
def test_every_place_is_kept_as_often_as_asked(layer, kept):
    n, n_places = 4000, 200
    found = drawn(keys_of(np.arange(n), 1, "epoch 0"), layer, kept, n_places)
    deviation = np.sqrt(kept * (1 - kept))
    # 4.5 standard deviations of a binomial: of 200 places one in 700 tables would be beyond.
    assert np.abs(found.mean(axis=0) - kept).max() < 4.5 * deviation / np.sqrt(n)
    assert np.abs(found.mean(axis=1) - kept).max() < 5 * deviation / np.sqrt(n_places)  # of a row
    assert abs(found.mean() - kept) < 4 * deviation / np.sqrt(n * n_places)
    # Not only the mean: a row's number of kept places spreads as a binomial's does.
    spread = found.sum(axis=1).var() / (n_places * kept * (1 - kept))
    assert abs(spread - 1) < 5 * np.sqrt(2 / n)


@pytest.mark.parametrize("rows", [np.arange(4000), np.arange(4000) * 2**20], ids=["all", "far apart"])
def test_masks_of_places_layers_rows_and_epochs_are_independent(rows):
    keys, next_epoch = (keys_of(rows, 1, f"epoch {epoch}") for epoch in (0, 1))
    others = (keys_of(rows, 2, "epoch 0"), np.roll(keys, 1), keys ^ np.uint64(2**63), keys + np.uint64(1))
    parts = [drawn(keys, layer, 0.5, 40) for layer in (-1, 0, 1)]
    parts += [drawn(other, 0, 0.5, 40) for other in (next_epoch, *others)]
    correlations = np.corrcoef(np.concatenate(parts, axis=1).T)
    np.fill_diagonal(correlations, 0)
    # 320 columns have 51,040 pairs; beyond 5.5 standard deviations is one in 500 tables.
    assert np.abs(correlations).max() < 5.5 / np.sqrt(len(rows))
    for one, other in itertools.combinations(parts, 2):  # the same place of two masks, all places together
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4.5 / np.sqrt(one.size)


@pytest.mark.parametrize("apart", [1, 2, 16])
def test_neighbouring_units_are_independent(apart):
    found = drawn(keys_of(np.arange(4000), 1, "epoch 0"), 0, 0.5, 200)
    left, right = found[:, :-apart].ravel(), found[:, apart:].ravel()
    assert abs(np.corrcoef(left, right)[0, 1]) < 4.5 / np.sqrt(left.size)


@pytest.mark.parametrize("kept", [0.5, 0.3])
def test_every_bit_of_a_key_decides_about_every_place(kept):
    keys, n = keys_of(np.arange(50), 1, "epoch 0"), 200

    def raw(keys):
        """Masks of these very keys, not of those that a layer makes of them."""
        masks = np.empty((len(keys), n), np.float32)
        for key, mask in zip(keys, masks, strict=True):
            draw_mask(key, 0, np.float32(kept), ONE, mask)
        return masks

    whole, wanted = raw(keys), 2 * kept * (1 - kept)
    for bit in range(64):
        share = (raw(keys ^ np.uint64(2**bit)) != whole).mean()
        # Neighbouring keys share draws, at other places, so that fewer than all 10,000 are independent.
        assert abs(share - wanted) < 5 * np.sqrt(wanted * (1 - wanted) / (whole.size / 2)), bit


def test_a_part_of_a_mask_is_that_part_of_the_whole():
    keys = keys_of(np.arange(50), 1, "epoch 0")
    whole = drawn(keys, 0, 0.5, 200)
    np.testing.assert_array_equal(drawn(keys, 0, 0.5, 100, first=64), whole[:, 64:164])


def test_a_greater_share_keeps_what_a_smaller_one_kept():
    keys = keys_of(np.arange(50), 1, "epoch 0")
    some, more = drawn(keys, 0, 0.3, 200), drawn(keys, 0, 0.8, 200)
    assert (some <= more).all() and (some < more).any()


# ---- the mean network ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hidden, ratios, input_ratio, activation",
    [
        ((), (), 0.3, "rectifier"),
        ((20,), (0.5,), 0.0, "rectifier"),
        ((20,), (0.5,), 0.0, "tanh"),  # one hidden layer: the output is linear in its mask, whatever the function
        ((20,), (0.5,), 0.0, "maxout"),
        ((20, 18), (0.5, 0.2), 0.3, "rectifier"),
    ],
)
def test_a_prediction_is_the_mean_of_training_over_many_masks(hidden, ratios, input_ratio, activation):
    n, low = 20_000, -64.0
    topology, rows, _ = problem(
        n=1, levels=LEVELS, hidden=hidden, activation=activation, dropout=ratios, objective="laplace", seed=4
    )
    weights, biases = start_values(topology)
    weights = [w / np.float32(4) for w in weights]
    for bias in biases[:-1] if activation == "rectifier" else []:
        bias[:] += np.float32(8)  # sums stay positive, whoever is dropped: all is linear
    (expected,) = predict(topology, rows, topology.pack(weights, biases))[0]
    optimizer = FROZEN._replace(input_kept=1 - input_ratio)

    def sum_of_losses(objective, target):
        many = rows.map(lambda part: np.repeat(part, n, axis=0) if len(part) else part)
        many = many._replace(key=keys_of(np.arange(n), 3, "epoch 0"), target=np.full(n, target, np.float32))
        return train(topology, many, optimizer, weights, biases, objective=aim(objective)[0])[2]

    # The loss tells the output: |z - y| of a target below all of them, and (z - y)**2 their spread.
    mean = sum_of_losses("laplace", low) / n + low
    deviation = np.sqrt(sum_of_losses("gaussian", expected) / n)
    assert deviation > 0.01
    assert abs(mean - expected) < 4 * deviation / np.sqrt(n)
