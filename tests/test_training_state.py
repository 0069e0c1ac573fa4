"""How far a training has come: epochs, and everything but weights as JSON."""

from __future__ import annotations

import json

import numpy as np

from dask_dl.checkpoint.plain import plain
from dask_dl.metrics.history import History
from dask_dl.training_state import Snapshot, TrainingState


def state_of(**more):
    history = History("regression", has_validation=False)
    history.start()
    return TrainingState(history, n_seen=250, n_rounds=3, **more)


def test_epochs_are_of_the_visits_on_this_table():
    assert state_of().epochs(100) == 2.5
    assert state_of(shift=-50).epochs(100) == 2.0  # earlier rows were of a larger table


def test_json_tells_where_the_best_network_was_and_holds_no_weights():
    best = Snapshot(np.ones(4, np.float32), (), n_seen=200, n_rounds=2)
    told = json.loads(json.dumps(plain(state_of(best=best, delta=0.5, n_halvings=1).to_json())))
    assert told["best"] == [200, 2] and (told["n_seen"], told["delta"], told["n_halvings"]) == (250, 0.5, 1)
    assert [record["samples"] for record in told["history"]] == [0] and told["n_earlier"] == 0
    assert state_of().to_json()["best"] is None


def test_a_snapshot_is_taken_by_a_trainer():
    weights = Snapshot(np.ones(4, np.float32), (np.zeros(4, np.float32),), n_seen=200, n_rounds=2).weights
    assert weights.n_seen == 200 and weights.flat.sum() == 4 and len(weights.states) == 1
