"""Saved models: the same numbers after loading, by any version that ever wrote the format."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from saved import TABLE, spoiled
from sklearn.base import clone

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load, parameters
from dask_dl.checkpoint import read_archive, write_archive
from dask_dl.errors import ArchiveError, ParameterError

DATA = Path(__file__).parents[1] / "data"

FORMATS = sorted(path.stem.removeprefix("format-") for path in DATA.glob("format-*.zip"))


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(4)
    n = 120
    frame = pd.DataFrame({"a": random.normal(size=n), "b": random.choice(["x", "y'\n\"", "ü 🙂", "NA"], n)})
    frame["y"] = np.where(frame["a"] > 0, "ja", "nein")
    frame["z"] = frame["a"] * 1e6 + 3e6
    return frame


@pytest.fixture(scope="module")
def models(table):
    given = {"hidden": (5, 3), "epochs": 2, "random_state": 7}
    start = {"initial_biases": [None, np.ones(3), [0.25]]}
    return {
        "classifier": DeepLearningClassifier(**given, activation="tanh").fit(table, "y", eval_set=table),
        "regressor": DeepLearningRegressor(**given, **start, adaptive_rate=False, momentum_start=0.5).fit(
            table[["a", "b", "z"]], "z", offset=None
        ),
    }


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_everything_comes_back(models, table, tmp_path, kind):
    model = models[kind]
    model.save(tmp_path / "model.zip")
    again = load(tmp_path / "model.zip")
    assert type(again) is type(model)
    np.testing.assert_array_equal(again.predict(table), model.predict(table))
    for one, other in zip(again.coefs_ + again.intercepts_, model.coefs_ + model.intercepts_, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(again.model_.network.states, model.model_.network.states, strict=True):
        np.testing.assert_array_equal(one, other)
    pd.testing.assert_frame_equal(again.history_, model.history_)
    assert repr(again.encoder_) == repr(model.encoder_)
    assert again.n_iter_ == model.n_iter_
    assert again.feature_names_in_.tolist() == model.feature_names_in_.tolist()
    assert again.model_.record.n_seen == model.model_.record.n_seen == 240
    assert again.parameters_.keys() == model.parameters_.keys()
    for name, value in model.parameters_.items():
        if name != "initial_biases":
            assert again.parameters_[name] == value or (math.isinf(value) and math.isinf(again.parameters_[name])), name


def test_start_values_travel_as_arrays(models, tmp_path):
    models["regressor"].save(tmp_path / "model.zip")
    first, second, third = load(tmp_path / "model.zip").initial_biases
    assert first is None
    np.testing.assert_array_equal(second, np.ones(3))
    np.testing.assert_array_equal(third, [0.25])


def test_a_loaded_model_can_be_fitted_and_saved_again(models, table, tmp_path):
    models["classifier"].save(tmp_path / "one.zip")
    again = load(tmp_path / "one.zip")
    again.save(tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    again.fit(table, "y", eval_set=table)
    np.testing.assert_array_equal(again.coefs_[0], models["classifier"].coefs_[0])


@pytest.mark.parametrize("labels", [[0, 1], [0.0, 1.0], [True, False], [0.5, 2], ["0", "1"]], ids=str)
def test_labels_keep_their_type(table, tmp_path, labels):
    if 0.5 in labels:
        labels = [-1.0, 2.0]
    y = np.array(labels)[(table["a"] > 0).astype(int)]
    model = DeepLearningClassifier(hidden=(3,), epochs=1).fit(table[["a"]], y)
    model.save(tmp_path / "model.zip")
    again = load(tmp_path / "model.zip")
    assert again.classes_.tolist() == model.classes_.tolist()
    assert again.classes_.dtype == model.classes_.dtype
    assert [type(v) for v in again.classes_.tolist()] == [type(v) for v in model.classes_.tolist()]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays, d: arrays.pop("network/weights/0"),
        lambda arrays, d: arrays.update({"network/weights/1": arrays["network/weights/1"].T.copy()}),
        lambda arrays, d: arrays.update({"network/biases/0": arrays["network/biases/0"][:-1]}),
        lambda arrays, d: d["topology"].update(hidden=[10**9, 3]),
        lambda arrays, d: d["topology"].update(n_dense=5),
        lambda arrays, d: d["topology"].update(activation="exec"),
        lambda arrays, d: d["encoder"]["numbers"]["fill"].pop(),
        lambda arrays, d: d["target"].update(types=["Decimal"]),
        lambda arrays, d: d.pop("history"),
        lambda arrays, d: d.update(task="autoencoder"),
        lambda arrays, d: d.update(n_states=3),
    ],
)
def test_content_that_does_not_fit_together_is_refused(models, tmp_path, spoil):
    models["classifier"].save(tmp_path / "model.zip")
    arrays, document = read_archive(tmp_path / "model.zip", kind="model")
    spoil(arrays, document)
    write_archive(tmp_path / "spoiled.zip", arrays, document, kind="model")
    with pytest.raises(ArchiveError):
        load(tmp_path / "spoiled.zip")


def test_fsspec_urls(models, table):
    models["regressor"].save("memory://bucket/model.zip")
    np.testing.assert_array_equal(load("memory://bucket/model.zip").predict(table), models["regressor"].predict(table))


@pytest.mark.parametrize("name", FORMATS)
def test_files_of_every_format_load_for_ever(name):
    """Written once by the first version of the format; never written again."""
    record = json.loads((DATA / f"format-{name}.json").read_text(encoding="utf-8"))
    model = load(DATA / f"format-{name}.zip")
    table = pd.DataFrame(record["table"])
    is_class = isinstance(model, DeepLearningClassifier)
    predicted = model.predict_proba(table) if is_class else model.predict(table)
    np.testing.assert_allclose(predicted, record["predicted"], rtol=1e-5)
    if is_class:
        assert model.predict(table).tolist() == record["answers"]
    assert model.history_["samples"].iloc[-1] == record["samples"]
    for part, metrics in record.get("metrics", {}).items():  # of files with measurements
        found = model.metrics_[part]
        assert {name: found[name] for name in metrics} == pytest.approx(metrics, rel=1e-9)


# Parameters of another version


def renamed(monkeypatch, old, new):
    """Let a parameter have another name, as if a later version had renamed it."""
    table = {new if name == old else name: row for name, row in parameters.TABLE.items()}
    for module in (parameters, parameters.table, parameters.checks):
        monkeypatch.setattr(module, "TABLE", table)
    monkeypatch.setattr(parameters.checks, "SYNONYMS", {})  # which lead to names of this version


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("parameter", ["rho", "hidden", "stopping_metric", "activation"])
def test_files_load_and_predict_when_a_parameter_has_another_name(name, parameter, tmp_path, monkeypatch):
    renamed(monkeypatch, parameter, "what_it_is_called_now")
    record = json.loads((DATA / f"format-{name}.json").read_text(encoding="utf-8"))
    model = load(DATA / f"format-{name}.zip")
    table = pd.DataFrame(record["table"])
    predict = model.predict_proba if isinstance(model, DeepLearningClassifier) else model.predict
    np.testing.assert_allclose(predict(table), record["predicted"], rtol=1e-5)
    assert parameter in repr(model.get_params()) and type(clone(model)) is type(model)
    assert repr(model) and model._repr_mimebundle_()
    model.save(tmp_path / "again.zip")
    np.testing.assert_array_equal(load(tmp_path / "again.zip").predict(table), model.predict(table))
    with pytest.raises(ParameterError, match=f"{parameter}=.*: no such parameter"):
        model.fit(table.assign(goal=1.0), "goal")


def with_parameter(sound, path, name, value):
    def spoil(arrays, document):
        for part in ("requested", "effective"):
            document[part][name] = value

    return spoiled(sound, path, "model", spoil)


def test_a_parameter_that_this_version_does_not_know_is_kept_aside_until_fit(model_file, tmp_path):
    path = with_parameter(model_file, tmp_path / "newer.zip", "curvature", {"degree": [2, None]})
    model = load(path)
    np.testing.assert_array_equal(model.predict(TABLE), load(model_file).predict(TABLE))
    assert "curvature" not in model.get_params() and model.hidden == (5, 3)
    model.save(tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == path.read_bytes()
    for one in (model, clone(model), load(tmp_path / "again.zip")):
        with pytest.raises(ParameterError, match=r"curvature=.*: no such parameter"):
            one.fit(TABLE[["a", "b", "y"]], "y")
    assert load(model_file).fit(TABLE[["a", "b", "y"]], "y").n_iter_ > 0  # without it everything is as it was


@pytest.mark.parametrize("name", ["self", "model_", "predict", "__class__", "_strange", ""])
def test_no_name_of_a_parameter_takes_the_place_of_anything(model_file, tmp_path, name):
    model = load(with_parameter(model_file, tmp_path / "odd.zip", name, "taken"))
    assert set(model.predict(TABLE)) <= {"p", "q"} and type(model) is DeepLearningClassifier
    with pytest.raises(ParameterError, match="no such parameter"):
        model.fit(TABLE[["a", "b", "y"]], "y")


def test_a_client_of_a_file_is_none(model_file, tmp_path):
    assert load(with_parameter(model_file, tmp_path / "odd.zip", "client", "tcp://there:8786")).client is None


@pytest.mark.parametrize(("name", "value"), [("rho", 2.0), ("hidden", "wide"), ("activation", None), ("epochs", [1])])
def test_values_that_are_not_legal_today_are_judged_by_fit(model_file, tmp_path, name, value):
    model = load(with_parameter(model_file, tmp_path / "odd.zip", name, value))
    assert set(model.predict(TABLE)) <= {"p", "q"} and repr(clone(model))
    with pytest.raises(ParameterError, match=f"{name}="):
        model.fit(TABLE[["a", "b", "y"]], "y")


def test_a_stopping_metric_of_another_version_leaves_the_loss(model_file, tmp_path):
    model = load(with_parameter(model_file, tmp_path / "newer.zip", "stopping_metric", ["auc"]))
    assert model.model_.record.history.metric == "logloss" and model.best_score_ == load(model_file).best_score_
