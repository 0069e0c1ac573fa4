"""The head of a reconstruction, whose truth are the inputs, and trainings without any target."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tasks.rows import EMPTY

from dask_dl import DeepLearningAutoEncoder, load
from dask_dl.cluster import LocalBackend
from dask_dl.distribution import Distribution
from dask_dl.frame.source import Schema, Source
from dask_dl.kernels.layout import Topology
from dask_dl.model.files import load_model, save_model
from dask_dl.parameters import validate
from dask_dl.state import NO_ENTRIES, Entries, Rows
from dask_dl.tasks import Reconstruction
from dask_dl.training.engine import Request, train

GAUSSIAN = Distribution("gaussian")


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
