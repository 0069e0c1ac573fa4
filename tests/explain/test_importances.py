"""Importances by the weights: H2O's figures, and sums over the columns of a table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.explain.importances import gedeon
from dask_dl.kernels.layout import Topology
from dask_dl.model import TrainedNetwork

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = [
    case
    for path in sorted(GOLDEN.glob("*.json"))
    if path.name != "index.json" and "varimp" in (case := json.loads(path.read_text())) and case["varimp"]
]
SMALL = {"hidden": [6, 4], "epochs": 2, "random_state": 1, "n_jobs": 1}


def network_of(case):
    """H2O's trained network of a case, as the formula sees it: all inputs dense."""
    weights, biases = ([np.array(a, np.float32) for a in case[f"final_{part}"]] for part in ("weights", "biases"))
    is_maxout = "maxout" in case["effective_params"].get("activation", case["params"].get("activation", "")).lower()
    hidden = tuple(len(b) // (2 if is_maxout else 1) for b in biases[:-1])
    topology = Topology(0, weights[0].shape[1], hidden, len(biases[-1]), "maxout" if is_maxout else "tanh", "linear")
    return TrainedNetwork(topology, topology.pack(weights, [b.reshape(-1) for b in biases]), ()), is_maxout


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_importances_are_those_of_h2o(case):
    network, is_maxout = network_of(case)
    found = gedeon(network)
    found /= found.max()
    wanted = {name: relative for name, relative, *_ in case["varimp"]}
    for name, value in zip(case["input_names"], found, strict=True):
        if is_maxout:  # H2O reads a mislabelled half of these weights: only the names and the range are to be had
            assert 0 <= value <= 1
        elif wanted[name] or not name.endswith(".missing(NA)"):
            assert value == pytest.approx(wanted[name], abs=2e-6), name


def test_there_are_cases_of_every_kind():
    kinds = {network_of(case)[1] for case in CASES}
    assert len(CASES) > 60
    assert kinds == {True, False}


def written_out(first, second):
    """Gedeon's formula, a number at a time."""
    n_second, n_first, n_inputs = len(second), len(first), first.shape[1]
    total = np.zeros(n_inputs)
    for k in range(n_second):
        reaches = np.zeros(n_inputs)
        for i in range(n_inputs):
            for j in range(n_first):
                reaches[i] += abs(first[j, i]) / abs(first[j]).sum() * abs(second[k, j]) / abs(second[k]).sum()
        total += reaches / reaches.sum()
    return total


@pytest.mark.parametrize("activation", ["tanh", "maxout"])
def test_maxout_weighs_both_channels_of_a_unit(activation):
    topology = Topology(0, 5, (4, 3), 2, activation, "softmax")
    random = np.random.default_rng(0)
    flat = topology.pack(
        [random.normal(size=shape).astype(np.float32) for shape in topology.shapes],
        [random.normal(size=n).astype(np.float32) for n, _ in topology.shapes],
    )
    first, second = (
        np.abs(w).reshape(units, n, -1).mean(axis=2)
        for w, units, n in zip(topology.unpack(flat)[0], (4, 3), (5, 4), strict=False)
    )
    np.testing.assert_allclose(gedeon(TrainedNetwork(topology, flat, ())), written_out(first, second), rtol=1e-5)


def test_units_without_weights_count_for_nothing():
    topology = Topology(0, 3, (2,), 1, "tanh", "linear")
    weights = [np.array([[1, -2, 1], [0, 0, 0]], np.float32), np.array([[1, 5]], np.float32)]
    network = TrainedNetwork(topology, topology.pack(weights, [np.zeros(2, np.float32), np.zeros(1, np.float32)]), ())
    np.testing.assert_allclose(gedeon(network), [0.25, 0.5, 0.25])


def test_parts_of_the_second_layer_make_the_same_sum(monkeypatch):
    topology = Topology(0, 7, (5,), 40, "tanh", "softmax")
    flat = np.random.default_rng(0).normal(size=topology.size).astype(np.float32)
    whole = gedeon(TrainedNetwork(topology, flat, ()))
    monkeypatch.setattr("dask_dl.explain.importances.MAX_NUMBERS", 7 * 3)
    np.testing.assert_allclose(gedeon(TrainedNetwork(topology, flat, ())), whole, rtol=1e-6)


@pytest.fixture(scope="module")
def frame():
    random = np.random.default_rng(3)
    color = random.choice(["blue", "green", "red"], 600)
    size = pd.Series(random.choice(["l", "m", "s"], 600)).where(random.random(600) > 0.2)
    a, b = random.normal(size=(2, 600))
    y = 3 * (color == "red") + 0.1 * b + (size == "m")
    return pd.DataFrame({"b": b, "color": color, "a": a, "constant": 1.0, "size": size, "y": y})


def fitted(frame, **parameters):
    with pytest.warns(Warning, match="dropped 1 columns"):
        return DeepLearningRegressor(**(SMALL | {"epochs": 20} | parameters)).fit(frame, y="y")


def test_columns_have_the_sums_of_their_inputs(frame):
    model = fitted(frame)
    table, inputs = model.importances(), model.importances(per_input=True)
    assert set(table.index) == {"b", "color", "a", "size"}
    assert table.index[0] == "color"  # of which the target is made
    relative = inputs["relative"]
    assert table.loc["color", "relative"] == pytest.approx(relative[relative.index.str.startswith("color.")].sum())
    assert table.loc["a", "relative"] == relative["a"]
    for shown in (table, inputs):
        assert shown["relative"].is_monotonic_decreasing
        assert shown["share"].sum() == pytest.approx(1)
        assert shown["scaled"].iloc[0] == 1
    assert inputs["relative"].iloc[0] == 1


def test_missing_levels_count_where_a_value_was_missing(frame):
    inputs = fitted(frame).importances(per_input=True)["relative"]
    assert inputs["color.missing(NA)"] == 0
    assert inputs["size.missing(NA)"] > 0


def test_shares_of_columns_are_feature_importances_in_their_order(frame, tmp_path):
    model = fitted(frame)
    found = model.feature_importances_
    assert list(model.feature_names_in_) == ["b", "color", "a", "constant", "size"]
    assert found.sum() == pytest.approx(1)
    assert found[3] == 0
    assert dict(zip(model.feature_names_in_, found, strict=True))["color"] == model.importances()["share"]["color"]
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").feature_importances_, found)


def test_what_an_early_file_does_not_know_counts(frame):
    model = fitted(frame)
    model.model_ = replace(model.model_, record=replace(model.model_.record, complete_columns=frozenset()))
    assert model.importances(per_input=True)["relative"]["color.missing(NA)"] > 0


def test_hashed_levels_share_what_their_input_counts(frame):
    model = fitted(frame, max_categorical_features=4)
    inputs, table = model.importances(per_input=True)["relative"], model.importances()
    slots = model.encoder_.hashing.inputs(np.arange(8))  # three levels and the missing one, of color and size
    names = ["color"] * 3 + [None] + ["size"] * 4  # no color was missing
    wanted = dict.fromkeys(["color", "size"], 0.0)
    for slot, name in zip(slots, names, strict=True):
        if name:
            n = sum(other == slot and kept is not None for other, kept in zip(slots, names, strict=True))
            wanted[name] += inputs[f"hashed.{slot}"] / n
    for name, value in wanted.items():
        assert table.loc[name, "relative"] == pytest.approx(value)
    assert table["relative"].sum() == pytest.approx(inputs.sum())


@pytest.mark.parametrize("scheme", ["binary", "eigen", "label_encoder", "enum_limited", "sort_by_response"])
def test_every_encoding_adds_up(frame, scheme):
    model = fitted(frame, categorical_encoding=scheme)
    assert model.importances()["relative"].sum() == pytest.approx(model.importances(per_input=True)["relative"].sum())
    assert set(model.importances().index) == {"b", "color", "a", "size"}


def test_sparse_columns_a_linear_model_and_an_autoencoder_have_importances():
    from scipy.sparse import random_array

    X = random_array((300, 12), density=0.3, rng=np.random.default_rng(0), format="csr")
    y = np.asarray(X[:, [4]].toarray() > 0).ravel()
    model = DeepLearningClassifier(**(SMALL | {"hidden": [], "epochs": 10})).fit(X, y)
    assert np.argmax(model.feature_importances_) == 4
    coder = DeepLearningAutoEncoder(**SMALL).fit(X.toarray())
    assert coder.feature_importances_.shape == (12,)
    assert coder.feature_importances_.sum() == pytest.approx(1)
