"""Layers of trained models: weights under their names, their history, and what is told of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dask_dl import DeepLearningAutoEncoder, DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.errors import DaskDLWarning, ParameterError

SMALL = {"hidden": [6, 4], "epochs": 3, "random_state": 1, "n_jobs": 1}


@pytest.fixture(scope="module")
def frame():
    random = np.random.default_rng(0)
    color, a, b = random.choice(["blue", "green", "red"], 500), *random.normal(size=(2, 500))
    return pd.DataFrame({"a": a, "color": color, "b": b, "y": np.where(a + (color == "red") > 0.3, "yes", "no")})


@pytest.fixture(scope="module")
def model(frame):
    return DeepLearningClassifier(**SMALL).fit(frame, y="y")


def test_a_row_for_each_layer(model):
    table = model.layer_summary_
    assert table.index.tolist() == [1, 2, 3, 4]
    assert table["units"].tolist() == [6, 6, 4, 2]
    assert table["type"].tolist() == ["Input", "Rectifier", "Rectifier", "Softmax"]
    assert table["dropout"].tolist()[:3] == [0, 0, 0]
    assert table.loc[1, "l1":].isna().all()
    for k, (weights, biases) in enumerate(zip(model.coefs_, model.intercepts_, strict=True), 2):
        wanted = weights.mean(), weights.std(), biases.mean(), biases.std()
        found = table.loc[k, ["mean_weight", "weight_rms", "mean_bias", "bias_rms"]].astype(float)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)
    assert (table.loc[2:, "mean_rate"] > 0).all()
    assert "dead_units" not in table


def test_dropout_penalties_and_kinds_are_named(frame):
    model = DeepLearningClassifier(
        activation="tanh_with_dropout",
        hidden_dropout_ratios=[0.5, 0.25],
        input_dropout_ratio=0.1,
        l1=1e-5,
        l2=1e-4,
        **SMALL,
    ).fit(frame, y="y")
    table = model.layer_summary_
    assert table["type"].tolist() == ["Input", "TanhDropout", "TanhDropout", "Softmax"]
    assert table["dropout"].tolist()[:3] == [10, 50, 25]
    assert table["l1"].tolist()[1:] == [1e-5] * 3
    assert table["l2"].tolist()[1:] == [1e-4] * 3
    numbers = frame[["a", "b"]]
    assert DeepLearningRegressor(**SMALL).fit(numbers, y="b").layer_summary_["type"].iloc[-1] == "Linear"
    coder = DeepLearningAutoEncoder(activation="tanh", **SMALL).fit(numbers)
    assert coder.layer_summary_["type"].tolist() == ["Input", "Tanh", "Tanh", "Tanh"]


def test_weights_have_the_names_of_inputs_units_and_classes(model):
    first, second, last = map(model.weights, range(3))
    assert list(first.columns) == model.encoder_.input_names
    assert first.index.tolist() == second.columns.tolist() == [f"C{j + 1}" for j in range(6)]
    assert last.index.tolist() == model.biases(2).index.tolist() == ["no", "yes"]
    for k, table in enumerate((first, second, last)):
        np.testing.assert_array_equal(table, model.coefs_[k].T)
        np.testing.assert_array_equal(model.biases(k), model.intercepts_[k])
    for layer in (3, -1, True, "0"):
        with pytest.raises(ParameterError, match="3 layers with weights, 0 to 2; the last is the output"):
            model.weights(layer)


def test_maxout_has_a_row_for_each_channel(frame):
    model = DeepLearningClassifier(activation="maxout", **SMALL).fit(frame, y="y")
    table, biases = model.weights(0), model.biases(0)
    assert table.shape == (12, 6)
    assert table.index.names == ["unit", "channel"]
    pd.testing.assert_index_equal(table.index, biases.index)
    inputs = model.model_.encoder.encode(frame.drop(columns="y"), "x")
    row = np.zeros(6)
    row[inputs.active[0]] = 1
    row[4:] = inputs.dense[0, :2]
    sums = table.to_numpy(float) @ row + biases.to_numpy(float)
    np.testing.assert_allclose(model.deep_features(frame[:1], 0).iloc[0], sums.reshape(-1, 2).max(axis=1), atol=1e-5)


def test_numbers_and_reconstructions_name_their_outputs(frame):
    numbers = frame[["a", "b"]]
    assert DeepLearningRegressor(**SMALL).fit(numbers, y="b").weights(2).index.tolist() == ["predict"]
    coder = DeepLearningAutoEncoder(**SMALL).fit(frame.drop(columns="y"))
    assert coder.weights(2).index.tolist() == coder.encoder_.input_names


def test_a_history_of_layers_is_kept_where_it_is_asked_for(model, frame, tmp_path):
    with pytest.raises(AttributeError, match="layer_history=True"):
        _ = model.layer_history_
    kept = DeepLearningClassifier(layer_history=True, score_each_iteration=True, **SMALL).fit(frame, y="y")
    table = kept.layer_history_
    n_events = len(kept.history_) - 1  # the first one is of before any row
    assert table["layer"].tolist() == [2, 3, 4] * n_events
    assert table["dead_units"].notna().tolist() == [True, True, False] * n_events
    best = table[table["samples"] == kept.history_["samples"].iloc[-1]].iloc[-3:]
    summary = kept.layer_summary_
    if not kept.model_.record.history.repeats_best:
        np.testing.assert_allclose(best["weight_rms"], summary["weight_rms"].astype(float)[1:], rtol=1e-6)
    assert summary["dead_units"].tolist()[1:3] == best["dead_units"].tolist()[:2]
    kept.save(tmp_path / "model")
    again = load(tmp_path / "model")
    pd.testing.assert_frame_equal(again.layer_history_, table)
    pd.testing.assert_frame_equal(again.layer_summary_, summary)
    plain = DeepLearningClassifier(score_each_iteration=True, **SMALL).fit(frame, y="y")
    np.testing.assert_array_equal(kept.coefs_[0], plain.coefs_[0])  # looking changes nothing


def test_dead_units_are_warned_of(frame):
    numbers = frame[["a", "b"]]
    begun = [np.ones((1, 6)), np.ones((6, 4)) * 0.1, np.ones((4, 1))]
    biases = [np.array([-99.0] * 3 + [0.0] * 3), np.zeros(4), np.zeros(1)]
    model = DeepLearningRegressor(
        layer_history=True, initial_weights=begun, initial_biases=biases, adaptive_rate=False, rate=1e-4, **SMALL
    )
    with pytest.warns(DaskDLWarning, match="hidden layer 0: 3 of 6 units are 0 at every scored row"):
        model.fit(numbers, y="b")
    assert model.layer_summary_["dead_units"].tolist()[1] == 3
    assert len(model.layer_warnings_) == 1


def test_exploded_layers_are_told_without_a_history(frame):
    numbers = frame[["a", "b"]]
    begun = [np.full((1, 6), 200.0), None, None]
    model = DeepLearningRegressor(initial_weights=begun, adaptive_rate=False, rate=1e-9, **SMALL).fit(numbers, y="b")
    assert any("hidden layer 0 has exploded" in told for told in model.layer_warnings_)


def test_a_model_of_another_version_lacks_parameters(model):
    from dataclasses import replace

    effective = {name: value for name, value in model.model_.record.effective.items() if name != "rho"}
    other = DeepLearningClassifier(**SMALL)
    other.model_ = replace(model.model_, record=replace(model.model_.record, effective=effective))
    pd.testing.assert_frame_equal(other.layer_summary_, model.layer_summary_)
