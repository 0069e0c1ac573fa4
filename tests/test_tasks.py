"""Heads: what each makes of a table's target and of the network's outputs, and a training without any target."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from msgspec import convert

from dask_dl import DeepLearningAutoEncoder, load
from dask_dl.cluster import LocalBackend
from dask_dl.distribution import Distribution
from dask_dl.documents.target import TargetDocument
from dask_dl.frame.encoder import Encoder
from dask_dl.frame.row_roles import RowRoles
from dask_dl.frame.source import Schema, Source
from dask_dl.kernels.layout import Topology
from dask_dl.model.files import load_model, save_model
from dask_dl.parameters import validate
from dask_dl.state import NO_ENTRIES, Entries, Rows
from dask_dl.tasks import HEADS, Classes, Numbers, Reconstruction
from dask_dl.training.engine import Request, train

NO_COLUMNS = Encoder((), ())
EMPTY = np.zeros(0, np.float32)
GAUSSIAN = Distribution("gaussian")


def roles_of(labels=None, targets=None):
    n = len(labels if targets is None else targets)
    return RowRoles(None, n, labels, targets, None, None)


def rows_of(target):
    n = len(target)
    return Rows(np.zeros((n, 16), np.float32), np.zeros((n, 0), np.int32), target.astype(np.float32), EMPTY, EMPTY)


def test_every_task_has_its_head():
    assert {task: head.task for task, head in HEADS.items()} == {task: task for task in HEADS}
    assert [*HEADS] == ["classification", "regression", "autoencoder"]


TOPOLOGY = Topology(n_onehot=0, n_dense=1, hidden=(), n_outputs=1, activation="tanh", output="linear")


def test_classes_are_their_indices_on_the_way_in_and_labels_on_the_way_out():
    head = Classes(("a", "b", "c"))
    encoded = head.encode(roles_of(labels=pd.Series(["c", "a", "never"])))
    assert encoded.tolist()[:2] == [2, 0] and np.isnan(encoded[2]) and head.has_unseen({"a": 1, "never": 1})
    assert head.scored_truth(roles_of(labels=pd.Series(["c", "never"]))).tolist() == [2, -1]
    answers = head.answers(np.array([[0.1, 0.2, 0.7], [0.6, 0.4, 0.0]], np.float32))
    assert head.predicted(answers).tolist() == ["c", "a"] and head.scored_as(answers).tolist() == [2, 0]
    assert head.truth(rows_of(np.array([2, 0])), TOPOLOGY).dtype == np.int64
    assert head.table(answers, pd.RangeIndex(2), {"a": [1, 2]}, NO_COLUMNS).columns.tolist() == [
        "a",
        "predict",
        "pa",
        "b",
        "c",
    ]


@pytest.mark.parametrize("link", ["identity", "log"])
def test_numbers_come_back_in_their_unit(link):
    head = Numbers(50.0, 1 / 20.0, is_standardized=True) if link == "identity" else Numbers(link=link)
    numbers = np.array([10.0, 50.0, 90.0])
    encoded = head.encode(roles_of(targets=numbers))
    np.testing.assert_allclose(head.truth(rows_of(encoded), TOPOLOGY), numbers, rtol=1e-6)
    outputs = (encoded if link == "identity" else np.log(encoded)).astype(np.float32)[:, None]
    np.testing.assert_allclose(head.answers(outputs), numbers, rtol=1e-5)
    assert head.predicted(head.answers(outputs)).shape == (3,) and not head.classes


def test_inputs_are_their_own_truth():
    topology = Topology(n_onehot=5, n_dense=2, hidden=(3,), n_outputs=7, activation="tanh", output="activated")
    entries = Entries(
        np.array([0, 1]), np.array([1, 2], np.int32), np.array([4, 3, 4], np.int32), np.array([9, 8, 7], np.float32)
    )
    dense = np.zeros((2, 16), np.float32)
    dense[:, :2] = [[0.5, -1], [2, 3]]
    rows = Rows(dense, np.array([[0], [-1]], np.int32), EMPTY, EMPTY, EMPTY, entries=entries)
    expected = [[1, 0, 0, 0, 9, 0.5, -1], [0, 0, 0, 8, 7, 2, 3]]
    np.testing.assert_array_equal(Reconstruction().truth(rows, topology), expected)
    without = rows._replace(entries=NO_ENTRIES)
    expected = np.array([[1, 0, 0, 0, 0, 0.5, -1], [0, 0, 0, 0, 0, 2, 3]], np.float32)
    head = Reconstruction()
    np.testing.assert_array_equal(head.truth(without, topology), expected)
    found = head.measure(expected, expected + np.array([[1], [3]], np.float32), None, GAUSSIAN)
    assert found.metric("mse") == pytest.approx(5) and found.metric("rmse") == pytest.approx(5**0.5)


def inputs_table():
    random = np.random.default_rng(0)
    hidden = random.normal(size=(600, 2))
    frame = pd.DataFrame(np.tanh(hidden @ random.normal(size=(2, 6))), columns=list("uvwxyz"))
    return frame.assign(level=np.where(hidden[:, 0] > 0, "right", "left"))


def source_of(frame, label="the table"):
    return Source(Schema(tuple(frame.columns), {}, label), 2, lambda k: frame.iloc[300 * k : 300 * (k + 1)])


def request_of(validation=None, *, resume=False, **given):
    asked = {
        "hidden": (8, 3, 8),
        "activation": "tanh",
        "epochs": 30,
        "random_state": 1,
        "n_jobs": 1,
    } | given
    requested = validate(asked, task="autoencoder")
    return Request(source_of(inputs_table()), "autoencoder", requested, validation, resume=resume)


@pytest.mark.parametrize("batch", [1, 8])
def test_a_table_without_a_target_learns_to_give_its_inputs_back(batch):
    given = {"train_samples_per_iteration": 50, "score_each_iteration": True, "stopping_rounds": 0}
    model, failure, _ = train(request_of(mini_batch_size=batch, **given), LocalBackend())
    assert failure is None and model.network.topology.n_outputs == model.network.topology.n_inputs
    mse = model.record.history.to_pandas()["training_rmse"] ** 2
    assert model.record.history.metric == "mse" and mse.dropna().iloc[-1] < 0.5 * mse.dropna().iloc[0]


def test_a_model_without_a_target_is_saved_and_loaded(tmp_path):
    model, *_ = train(request_of(epochs=2), LocalBackend())
    path, frame = tmp_path / "model.zip", inputs_table()
    save_model(model, path)
    loaded = load_model(path)
    assert loaded.head == Reconstruction() and loaded.task == "autoencoder"
    assert loaded.record.history.records == model.record.history.records
    answers = [one.predictor.answers(frame, None, "the table") for one in (model, loaded)]
    assert answers[0].tobytes() == answers[1].tobytes()
    framed = loaded.predictor.framed(answers[1], frame.index)
    table = loaded.predictor.table(frame, answers[1], keep=["level"])
    assert [*table] == ["level", *framed] and next(iter(framed)) == "reconstr_level.left"
    np.testing.assert_array_equal(loaded.head.answers_in(table), loaded.predictor.decoded(answers[1]))
    assert isinstance(load(path), DeepLearningAutoEncoder)


def test_a_training_without_a_target_goes_on_where_it_broke_off(tmp_path):
    given = {"checkpoint_dir": str(tmp_path), "checkpoint_interval": 1e6, "overwrite_with_best_model": False}
    validation = source_of(inputs_table()[:100], "the validation table")
    train(request_of(validation, epochs=1, **given), LocalBackend())
    resumed, failure, _ = train(request_of(validation, epochs=2, resume=True, **given), LocalBackend())
    assert failure is None and resumed.record.history.events[-1].epochs == 2
    assert {event.epochs for event in resumed.record.history.events} >= {0, 1, 2}


@pytest.mark.parametrize("task", [*HEADS])
def test_a_document_is_read_by_the_head_of_its_task(task):
    head = {
        "classification": Classes(("a", "b"), (0.5, 2.0)),
        "regression": Numbers(3.0, 0.5, is_standardized=True),
        "autoencoder": Reconstruction(),
    }[task]
    assert convert(head.to_json(), TargetDocument).head(task) == head
    for other in (Classes(("a", "b")), Numbers(3.0, 0.5, is_standardized=True)):
        if other.task != task:  # the document says more than this head knows
            with pytest.raises(ValueError, match="do not belong together"):
                convert(other.to_json(), TargetDocument).head(task)
