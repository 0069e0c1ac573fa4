"""What a file says is taken for nothing until it has the form that its schema gives it."""

from __future__ import annotations

import json
import math
import struct
import warnings
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from forgery import build, entries_of, forged_archive, seal
from sklearn.base import clone
from tables import UNSCORED, make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load, parameters
from dask_dl.checkpoint import read_archive, write_archive
from dask_dl.checkpoint.codec import Document, check_keys, decode
from dask_dl.checkpoint.folder import CheckpointFolder
from dask_dl.documents.history import Event, events_of
from dask_dl.documents.network import TopologyDocument, shapes_of
from dask_dl.errors import ArchiveError, DaskDLWarning, ParameterError
from dask_dl.metrics.history import History
from dask_dl.metrics.table import columns_of
from dask_dl.training.checkpoints import Checkpoint

DATA = Path(__file__).parent / "data"
FORMATS = sorted(path.stem.removeprefix("format-") for path in DATA.glob("format-*.zip"))


TABLE = make_table(120, seed=4, labels=("q", "p"))[["a", "level", "label", "y"]].set_axis(list("abyz"), axis=1)
SETTINGS = UNSCORED | {"hidden": (5, 3), "epochs": 2, "random_state": 7, "n_jobs": 1}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A classifier with a validation table, whose column b is numbers by `eigen`."""
    path = tmp_path_factory.mktemp("model") / "model.zip"
    given = SETTINGS | {"categorical_encoding": "eigen"}
    DeepLearningClassifier(**given).fit(TABLE[["a", "b", "y"]], "y", eval_set=TABLE).save(path)
    return path


def train(folder, *, resume=False, **given):
    given = SETTINGS | {"checkpoint_dir": str(folder), "checkpoint_interval": 1e6} | given
    return DeepLearningRegressor(**given).fit(TABLE[["a", "b", "z"]], "z", resume=resume)


@pytest.fixture(scope="module")
def checkpoint_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    train(folder, distribution="huber")
    return max(folder.glob("*.zip"))


def spoiled(sound, path, kind, spoil):
    """Write a file anew in which `spoil(arrays, document)` has changed something."""
    arrays, document = read_archive(sound, kind=kind)
    spoil(arrays, document)
    write_archive(path, arrays, document, kind=kind)
    return path


def put(*keys, value):
    """A change of the value at these keys of a document."""

    def change(arrays, document):
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return change


def drop(*keys):
    def change(arrays, document):
        for key in keys[:-1]:
            document = document[key]
        del document[keys[-1]]

    return change


def without(prefix):
    def change(arrays, document):
        for name in [name for name in arrays if name.startswith(prefix)]:
            del arrays[name]

    return change


def array(name, change):
    def spoil(arrays, document):
        arrays[name] = np.asarray(change(arrays[name]))

    return spoil


def at(place, value):
    def change(array):
        array.reshape(-1)[place] = value
        return array

    return change


#: (change, what the refusal says)
MODELS = {
    "no task": (drop("task"), "required field `task`"),
    "another task": (put("task", value="regression"), "do not belong together"),
    "a task that is not there": (put("task", value="ranking"), "Invalid enum value 'ranking'"),
    "an unknown field": (put("more", value=1), "unknown field `more`"),
    "an unknown field within": (put("topology", "more", value=1), "unknown field `more`"),
    "a bool for an int": (put("n_rows", value=True), "Expected `int`, got `bool`"),
    "an int for a bool": (put("is_named", value=1), "Expected `bool`, got `int`"),
    "a float for an int": (put("n_seen", value=240.0), "Expected `int`, got `float`"),
    "a text for a float": (put("encoder", "numbers", "fill", value=["0"]), "Expected `float`, got `str`"),
    "a negative count": (put("n_rounds", value=-1), "Expected `int` >= 0"),
    "a count that is too large": (put("n_seen", value=2**70), "n_seen"),
    "no rows": (put("n_rows", value=0), "Expected `int` >= 1"),
    "too many states": (put("n_states", value=3), "n_states"),
    "fewer states than arrays": (put("n_states", value=1), "belong to nothing"),
    "more states than arrays": (without("state/1"), "'state/1/weights/0' is missing"),
    "a hidden layer without units": (put("topology", "hidden", value=[0, 3]), "Expected `int` >= 1"),
    "another hidden layer": (put("topology", "hidden", value=[5, 4]), "needs float32 of shape (4, 5)"),
    "a huge hidden layer": (put("topology", "hidden", value=[2**31 - 1, 3]), "needs float32"),
    "too many hidden layers": (put("topology", "hidden", value=[1] * 2**13), "length <= "),
    "another activation": (put("topology", "activation", value="exec"), "Invalid enum value"),
    "dropout of 1": (put("topology", "dropout", value=[1.0, 0.5]), "< 1"),
    "dropout of another depth": (put("topology", "dropout", value=[0.5]), "not as many as hidden layers"),
    "other inputs than the encoder's": (put("topology", "n_dense", value=7), "and the encoder"),
    "no numbers": (put("encoder", "numbers", "name", value=[]), "different numbers of names"),
    "a factor of 0": (put("encoder", "numbers", "factor", value=[0.0]), "factor"),
    "a negative factor": (put("encoder", "numbers", "factor", value=[-1.0]), "factor"),
    "another factor than 1 / deviation": (put("encoder", "numbers", "factor", value=[3.0]), "and its deviation is"),
    "a negative deviation": (put("encoder", "numbers", "deviation", value=[-1.0]), "deviation"),
    "a mean that is not the centre": (put("encoder", "numbers", "fill", value=[1e9]), "which is not its mean"),
    "a mean that is too large": (
        lambda a, d: d["encoder"]["numbers"].update(fill=[1e40], shift=[0.0], factor=[1.0]), "too large for the network",
    ),
    "levels that repeat": (put("encoder", "codes", 0, "levels", value=["u", "u", "w"]), "levels of column 'b' repeat"),
    "levels that are no texts": (put("encoder", "codes", 0, "levels", value=["u", 1, "w"]), "Expected `str`, got `int`"),
    "another scheme": (put("encoder", "codes", 0, "scheme", value="label_encoder"), "does not have a mean"),
    "a scheme that is not there": (put("encoder", "codes", 0, "scheme", value="hash"), "Invalid enum value"),
    "fewer numbers than levels": (put("encoder", "codes", 0, "vector", value=[0.5]), "does not have a mean"),
    "numbers beyond float32": (put("encoder", "codes", 0, "vector", value=[1e300, 0.0, 0.0]), "too large for the network"),
    "columns that repeat": (put("encoder", "codes", 0, "name", value="a"), "names of columns repeat"),
    "a column of no table": (put("feature_names", value=["a", "c"]), "'b' is not among those"),
    "names of columns that repeat": (put("feature_names", value=["a", "b", "b"]), "names of columns repeat"),
    "hashing without levels": (put("encoder", "hashing", value={"n_inputs": 4, "seed": 1}), "than they have"),
    "a hash of no inputs": (put("encoder", "hashing", value={"n_inputs": 0, "seed": 1}), "n_inputs"),
    "another seed of the hash": (put("encoder", "hashing", value={"n_inputs": 1, "seed": 2**32}), "seed"),
    "labels that repeat": (put("target", "classes", value=["p", "p"]), "labels repeat"),
    "labels of another type": (put("target", "classes", value=["p", 1]), "labels are not of the types str"),
    "a type of labels that is not there": (put("target", "types", value=["Decimal"]), "Invalid enum value"),
    "more labels than outputs": (put("target", "classes", value=["p", "q", "r"]), "do not belong together"),
    "a single class": (put("target", "classes", value=["p"]), "a single class"),
    "a correction of 0": (put("target", "correction", value=[0.0, 1.0]), "correction"),
    "a correction beyond float32": (put("target", "correction", value=[1e-200, 1.0]), "correction"),
    "too few corrections": (put("target", "correction", value=[1.0]), "not as many as classes"),
    "another link": (put("target", "link", value="logit"), "Invalid enum value"),
    "classes with a logarithm": (put("target", "link", value="log"), "classes have a logarithm"),
    "classes with a mean": (put("target", "shift", value=1.0), "not standardised"),
    "no history": (put("history", value=[]), "length >= 1"),
    "an event without time": (drop("history", 0, "timestamp"), "required field `timestamp`"),
    "an event of no time": (put("history", 0, "timestamp", value="yesterday"), "timestamp"),
    "an event of the far future": (put("history", 0, "timestamp", value="9999-01-01 00:00:00"), "the year 9999"),
    "an event with another metric": (put("history", 0, "training_purity", value=0.5), "unknown field `training_purity`"),
    "an event of the other task": (put("history", 0, "training_mae", value=0.5), "not measured here"),
    "a metric that is a word": (put("history", 1, "training_rmse", value="low"), "training_rmse"),
    "an offset of a classifier": (put("offset_name", value="o"), "no offsets"),
    "a target that is a predictor": (lambda a, d: d.update(target_name=d["feature_names"][0]), "target is a predictor"),
    "a confusion of another size": (put("confusion", value={"training": [[1.0]]}), "2 rows and columns"),
    "a ragged confusion": (put("confusion", value={"training": [[1.0, 2.0], [1.0]]}), "2 rows and columns"),
    "a negative confusion": (put("confusion", value={"training": [[1.0, 2.0], [1.0, -1.0]]}), ">= 0"),
    "a confusion of another table": (put("confusion", value={"test": [[1.0, 2.0], [1.0, 1.0]]}), "not scored"),
    "a measurement of another table": (lambda a, d: d["measured"].update(test=d["measured"]["training"]), "not scored"),
    "a measurement without weight": (put("measured", "training", "weight", value=0.0), "weight"),
    "a mean that is a word": (put("measured", "training", "means", "mse", value="low"), "Invalid enum value"),
    "an average that is not there": (put("measured", "training", "average", value="mean"), "Invalid enum value"),
    "scores without end": (put("measured", "training", "scores", value=[0, 2**40]), "scores"),
    "curves of other classes": (put("measured", "training", "class_scores", value=[[0, 9]]), "of other than 2 classes"),
    "scores that are missing": (without("measured/training/scores/codes"), "are missing, or do not fit"),
    "scores out of order": (array("measured/training/scores/codes", lambda a: a[::-1].copy()), "in their order"),
    "a score above 1": (array("measured/training/scores/codes", lambda a: a | np.uint64(2**63)), "in their order"),
    "a score of a third class": (array("measured/training/scores/codes", lambda a: a | np.uint64(2)), "in their order"),
    "more scores than weights": (array("measured/training/scores/weights", lambda a: a[1:]), "do not fit"),
    "a negative weight": (array("measured/training/scores/weights", at(0, -1.0)), "cannot be weights"),
    "a matrix of another size": (array("measured/training/confusion", lambda a: a[:1]), "of shape (1, 2)"),
    "a matrix with NaN": (array("measured/training/confusion", at(0, math.nan)), "NaN"),
    "ranks of two classes": (lambda a, d: a.update({"measured/training/ranks": np.zeros(9)}), "does not suit 2 classes"),
    "a sample of classes without end": (
        lambda a, d: a.update({"measured/training/sample": np.zeros((2, 9999))}), "more than 2,000 rows",
    ),
    "an unknown array of a measurement": (
        lambda a, d: a.update({"measured/training/more": np.zeros(3)}), "belong to nothing, such as 'more'",
    ),
    "an array of no measurement": (
        lambda a, d: a.update({"measured/test/ranks": np.zeros(3)}), "belong to nothing",
    ),
    "rows of another table": (put("table_rows", "test", value=[1, 1]), "number of rows of 'test', a table that was not"),
    "more rows used than there are": (put("table_rows", "training", value=[5, 6]), "6 of 5 rows of the training table"),
    "rows of which none was used": (put("table_rows", "validation", value=[5, 0]), "0 of 5 rows of the validation table"),
    "a version that is a heap": (put("versions", "numpy", value="2" * 1000), "versions"),
    "versions without end": (put("versions", value={f"p{k}": "1" for k in range(1000)}), "versions"),
    "parameters that are no object": (put("requested", value=[1]), "requested: Expected `object`"),
    "parameters that are a heap": (put("effective", value={"a": [[]] * 20_000}), "lists, objects and keys"),
    "parameters without end": (put("requested", value={f"a{k}": k for k in range(20_000)}), "lists, objects and keys"),
    "an unknown array": (lambda a, d: a.update(extra=np.zeros(3, "f4")), "belong to nothing, such as 'extra'"),
    "start values of another layer": (lambda a, d: a.update({"initial_biases/9": np.zeros(3, "f4")}), "belong to nothing"),
    "start values of another shape": (lambda a, d: a.update({"initial_biases/0": np.zeros(3, "f4")}), "of shape (3,)"),
    "a float64 array": (array("network/biases/0", lambda a: a.astype("f8")), "is float64"),
    "a weight that is NaN": (array("network/weights/0", at(0, math.nan)), "not finite"),
    "a state that is infinite": (array("state/1/weights/0", at(0, math.inf)), "not finite"),
    "a mean of squares below 0": (array("state/0/weights/0", at(0, -1.0)), "negative means of squares"),
    "weights that have exploded": (array("network/weights/0", at(0, 1e30)), "have exploded"),
    "means of units that nobody asked for": (put("topology", "has_means", value=True), "'network/means/0' is missing"),
}  # fmt: skip


@pytest.mark.parametrize("what", MODELS)
def test_a_model_that_does_not_hold_together_is_refused_when_it_is_loaded(model_file, tmp_path, what):
    spoil, text = MODELS[what]
    path = spoiled(model_file, tmp_path / "spoiled.zip", "model", spoil)
    with pytest.raises(ArchiveError) as caught:
        load(path)
    assert text in str(caught.value) and str(path) in str(caught.value)


CHECKPOINTS = {
    "no seed": (drop("seed"), "required field `seed`"),
    "no identity": (drop("identity"), "required field `identity`"),
    "fewer states": (put("n_states", value=1), "has 2 vectors of state, and not 1"),
    "states without end": (put("n_states", value=2**32), "n_states"),
    "states of another optimizer": (put("identity", "settings", "adaptive_rate", value=False), "has 0 vectors"),
    "settings that are a heap": (put("identity", "settings", value={"a": [{}] * 20_000}), "lists, objects and keys"),
    "settings that are none": (put("identity", "settings", value=None), "settings"),
    "no training rows": (put("identity", "n_used", value=0), "of 120 rows have a target"),
    "more rows than there are": (put("identity", "n_used", value=121), "121 of 120 rows"),
    "a role that is not there": (put("identity", "roles", "fold", value="a"), "roles"),
    "checksums that are texts": (put("fingerprints", "training", value=["1"]), "Expected `int`, got `str`"),
    "a balance of classes that are none": (put("identity", "balance", value=[1.0]), "not as many as classes"),
    "rows learned in no time": (put("course", "training_seconds", value=0.0), "in no time"),
    "a negative time": (put("course", "seconds", value=-1.0), "seconds"),
    "a step that is halved without end": (put("course", "n_halvings", value=10**9), "n_halvings"),
    "another metric": (put("course", "metric", value="purity"), "Invalid enum value"),
    "a negative delta": (put("course", "delta", value=-1.0), "delta"),
    "a history without a beginning": (put("course", "history", 0, "samples", value=5), "does not begin"),
    "a validation that was not scored": (put("identity", "n_validation", value=9), "was not scored"),
    "a best model without weights": (without("best/"), "'best/network/weights/0' is missing"),
    "weights of no best model": (put("course", "best", value=None), "belong to nothing"),
    "a best model of three numbers": (put("course", "best", value=[1, 2, 3]), "best"),
    "an exploded best model": (array("best/network/biases/1", at(0, 1e30)), "have exploded"),
}  # fmt: skip


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_a_checkpoint_that_does_not_hold_together_is_refused_before_it_is_used(checkpoint_file, tmp_path, what):
    spoil, text = CHECKPOINTS[what]
    path = spoiled(checkpoint_file, tmp_path / "spoiled.zip", "training", spoil)
    with pytest.raises(ArchiveError) as caught:
        Checkpoint.read(str(path))
    assert text in str(caught.value) and str(path) in str(caught.value)


def test_a_checkpoint_of_another_optimizer_reaches_no_kernel(tmp_path):
    train(tmp_path / "sound")
    (tmp_path / "forged").mkdir()
    sound = max((tmp_path / "sound").glob("*.zip"))
    spoiled(sound, tmp_path / "forged" / "checkpoint-00000001.zip", "training", put("n_states", value=1))
    with pytest.raises(ArchiveError, match=r"no checkpoint in .* can be read.*2 vectors of state"):
        train(tmp_path / "forged", resume=True)


def test_training_goes_on_from_the_newest_checkpoint_that_holds_together(tmp_path):
    often = {"checkpoint_interval": 0.0, "score_each_iteration": True, "train_samples_per_iteration": 0}
    train(tmp_path, epochs=4, **often)
    folder = CheckpointFolder(str(tmp_path))
    older, newest = map(folder.path, folder.numbers()[-2:])
    spoiled(newest, newest, "training", put("course", "n_seen", value=-1))
    with pytest.warns(DaskDLWarning, match="passed over: ") as warned:
        model = train(tmp_path, epochs=6, resume=True)
    text = next(str(w.message) for w in warned if "passed over" in str(w.message))
    assert newest in text and f"Going on from {older}" in text
    assert model.model_.record.n_seen == 6 * 120


# Keys, numbers and depth


class Small(Document):
    n: int
    figure: float = 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"n": 1e999}', "n"),
        (b'{"n": NaN}', "malformed"),
        (b'{"n": 1, "figure": Infinity}', "malformed"),
        (b'{"n": 1, "figure": 1e999}', "out of range"),
        (b'{"n": %s}' % (b"9" * 100_000), "out of range"),
        (b"[" * 100_000, "Expected `object`"),
        (b'{"n": %s1%s}' % (b"[" * 100_000, b"]" * 100_000), "Expected `int`"),
        (b"{", "truncated"),
        (b"", "truncated"),
        (b"\xff", "malformed"),
        (b'{"n": 1} 2', "malformed"),
    ],
)  # fmt: skip
def test_odd_json_is_an_archive_error(text, message):
    with pytest.raises(ArchiveError, match=message):
        decode(text, Small, "here")


def test_depth_without_a_schema_is_an_archive_error():
    for text in (b"[" * 100_000, b'{"a":' * 100_000):
        with pytest.raises(ArchiveError):
            decode(text, dict, "here")
        with pytest.raises(ArchiveError):
            check_keys(text, "here")


def test_a_key_that_stands_twice_is_refused(model_file, tmp_path):
    assert decode(b'{"n": 1, "n": 2}', Small, "here").n == 2  # which is why it is looked for
    entries = entries_of(model_file.read_bytes())
    text = entries["zarr.json"].decode()
    for key, value in (("n_states", 1), ("is_sparse", False), ("rho", 0), ("dtype", "int8")):
        assert f'"{key}":' in text
        twice = text.replace(f'"{key}":', f'"{key}": {json.dumps(value)}, "{key}":', 1)
        (tmp_path / "twice.zip").write_bytes(build(entries | {"zarr.json": twice.encode()}))
        with pytest.raises(ArchiveError, match=f"the key '{key}' stands twice"):
            load(tmp_path / "twice.zip")


def test_records_come_back_as_they_were_measured():
    numbers = {f"training_{name}": k / 8 for k, name in enumerate(columns_of("regression"))}
    numbers |= {"training_rmse": None, "training_mae": "infinity"}
    event = {"timestamp": "2026-11-21 04:01:47", "duration": 0.5, "training_speed": None, "epochs": 1.0,
             "iterations": 2, "samples": 3, **numbers}  # fmt: skip
    events = events_of([msgspec.convert(event, Event)], "regression", has_validation=False)
    (record,) = History("regression", has_validation=False, events=events).records
    assert list(record) == list(event)  # early files know no other counters
    newer = msgspec.convert(event | {"communication": 0.5, "scoring_seconds": 0.25}, Event)
    assert events_of([newer], "regression", has_validation=False)[0].scoring_seconds == 0.25
    assert math.isnan(record["training_rmse"]) and record["training_mae"] == math.inf
    assert record["timestamp"] == event["timestamp"] and datetime.fromisoformat(record["timestamp"]).year == 2026
    event = msgspec.convert({name: event[name] for name in event if "r2" not in name}, Event)
    assert math.isnan(events_of([event], "regression", has_validation=False)[0].metrics["training"]["r2"])


def test_shapes_are_those_of_the_arrays_that_are_written(model_file, checkpoint_file):
    for path in (model_file, DATA / "format-2-hashed.zip"):
        model = load(path).model_
        named = model.network.topology.named("network", model.network.flat)
        assert shapes_of(model.network.topology, "network") == {name: array.shape for name, array in named.items()}


def test_outputs_of_a_reconstruction_are_legal_but_not_beside_maxout():
    given = {"n_onehot": 3, "n_dense": 2, "hidden": [4], "n_outputs": 5, "activation": "tanh", "output": "activated"}
    assert msgspec.convert(given, TopologyDocument).topology().output == "activated"
    with pytest.raises(msgspec.ValidationError, match="not 'maxout'"):
        msgspec.convert(given | {"activation": "maxout"}, TopologyDocument)


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


# Zip


def refusal(path):
    with pytest.raises(ArchiveError) as caught:
        load(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("method", "name"), [(8, "deflate"), (12, "bzip2"), (14, "lzma"), (9, "deflate64"), (93, "zstd"), (77, "method 77")]
)  # fmt: skip
def test_compression_is_refused_by_name(model_file, tmp_path, method, name):
    entries = entries_of(model_file.read_bytes())
    raw = bytearray(build(entries))
    place = raw.index(b"PK\x01\x02")
    raw[place + 10 : place + 12] = struct.pack("<H", method)
    (tmp_path / "packed.zip").write_bytes(seal(bytes(raw)))
    assert f"is compressed ({name})" in refusal(tmp_path / "packed.zip")


def change_at(raw, signature, offset, content):
    at = raw.index(signature) + offset
    return seal(raw[:at] + content + raw[at + len(content) :])


@pytest.mark.parametrize(
    ("signature", "offset", "content", "message"),
    [
        (b"PK\x01\x02", 8, b"\x01\x00", "is encrypted"),
        (b"PK\x01\x02", 8, b"\x08\x00", "never written"),  # sizes that stand behind the data
        (b"PK\x01\x02", 6, b"\x2d\x00", "never written"),  # a later version of zip
        (b"PK\x01\x02", 20, b"\x01", "never written"),  # another size in the archive than outside
        (b"PK\x01\x02", 42, b"\x01", "overlap"),
        (b"PK\x03\x04", 26, b"\x01", "overlap"),  # another length of the name than in the directory
        (b"PK\x03\x04", 28, b"\x01", "overlap"),  # an extra field that the directory does not know
        (b"PK\x03\x04", 18, b"\x01", "overlap"),
        (b"PK\x05\x06", 8, b"\xff\xff", "zip64"),
        (b"PK\x05\x06", 16, b"\xff\xff\xff\xff", "zip64"),
        (b"PK\x05\x06", 4, b"\x01", "does not lie where"),
        (b"PK\x05\x06", 8, b"\x01\x00\x01\x00", "no entry"),
        (b"PK\x05\x06", 8, b"\x00\x10\x00\x10", "shorter than"),
        (b"PK\x05\x06", 12, b"\x00\x00", "does not lie where"),
        (b"PK\x05\x06", 20, b"\x00", "does not lie where"),
    ],
)  # fmt: skip
def test_a_zip_of_another_form_is_refused(model_file, tmp_path, signature, offset, content, message):
    (tmp_path / "forged.zip").write_bytes(change_at(model_file.read_bytes(), signature, offset, content))
    assert message in refusal(tmp_path / "forged.zip")


def test_bytes_that_belong_to_no_entry_are_refused(model_file, tmp_path):
    path, raw = tmp_path / "forged.zip", model_file.read_bytes()
    start = raw.index(b"PK\x01\x02")
    end = raw.rindex(b"PK\x05\x06")
    for at in (start, end):
        path.write_bytes(seal(raw[:at] + b"hidden" + raw[at:]))
        refusal(path)
    # As far as the end record knows, too.
    moved = struct.pack("<I", start + 6)
    path.write_bytes(seal(raw[:start] + b"hidden" + raw[start : end + 16] + moved + raw[end + 20 :]))
    assert "belong to no entry" in refusal(path)


def test_a_directory_that_names_the_same_bytes_twice_is_refused(model_file, tmp_path):
    raw = model_file.read_bytes()
    start, end = raw.index(b"PK\x01\x02"), raw.rindex(b"PK\x05\x06")
    n = struct.unpack_from("<H", raw, end + 10)[0]
    record = raw[start : raw.index(b"PK\x01\x02", start + 4)]
    tail = struct.pack("<HHI", n + 1, n + 1, end - start + len(record))
    (tmp_path / "forged.zip").write_bytes(seal(raw[:end] + record + raw[end : end + 8] + tail + raw[end + 16 :]))
    assert "overlap" in refusal(tmp_path / "forged.zip")


@pytest.mark.parametrize(
    ("n", "message"), [(2000, "belong to nothing"), (17_000, "more than 16,384 are never written")]
)
def test_many_empty_arrays_are_refused(model_file, tmp_path, n, message):
    entries = entries_of(model_file.read_bytes())
    root = json.loads(entries["zarr.json"])
    metadata = json.loads(entries["network/biases/0/zarr.json"]) | {"shape": [0]}
    metadata["chunk_grid"]["configuration"]["chunk_shape"] = [1]
    for k in range(n):
        root["attributes"]["arrays"][f"e{k}"] = {"shape": [0], "dtype": "float32"}
        entries[f"e{k}/zarr.json"] = json.dumps(metadata).encode()
    (tmp_path / "many.zip").write_bytes(build(entries | {"zarr.json": json.dumps(root).encode()}))
    assert message in refusal(tmp_path / "many.zip")


def test_what_is_read_is_no_more_than_the_file(model_file, tmp_path):
    """Forgeries that say that they are large are refused before anything large is made of them."""
    import random
    import tracemalloc

    load(model_file)
    path = tmp_path / "forged.zip"
    for seed in range(25):
        raw = forged_archive(model_file.read_bytes(), random.Random(seed))
        path.write_bytes(raw)
        tracemalloc.start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                load(path)
        except ArchiveError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 16 * len(raw) + 2e6, seed


def test_a_deep_model_that_would_answer_nothing_but_nan_is_refused(tmp_path):
    table = TABLE[["a", "b", "y"]]
    model = DeepLearningClassifier(**SETTINGS | {"hidden": (4,) * 8, "epochs": 0.1}).fit(table, "y")
    model.save(tmp_path / "sound.zip")
    load(tmp_path / "sound.zip")
    signs = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), len(model.model_.network.flat))
    model.model_.network.flat[:] = np.where(model.model_.network.flat == 0, 0, 9e4 * signs)
    model.save(tmp_path / "forged.zip")
    with pytest.raises(ArchiveError, match="beyond float32"):
        load(tmp_path / "forged.zip")
