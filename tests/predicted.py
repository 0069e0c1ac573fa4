"""Tables and labels to predict, and what a graph of predictions may weigh."""

from __future__ import annotations

import pickle

import cloudpickle
import dask
from tables import UNSCORED

from dask_dl.predictor import Predictor

N = 60
SMALL = UNSCORED | {"hidden": (3,), "epochs": 1, "random_state": 1}
LABELS = {
    "texts": ["no", "yes", "maybe"],
    "integers": [-1, 0, 7],
    "booleans": [False, True],
    "floats": [1.0, 2.0],
}


def fail(*_):
    raise AssertionError("this was to happen later")


def check_weights_travel_once(model, lazy):
    """A graph holds one predictor, and pickles to little more than the weights."""
    (optimized,) = dask.optimize(lazy)
    graph = dict(optimized.__dask_graph__())
    assert len(model.model_.network.states) == 2  # with them it would be three times the size
    weights = model.model_.network.flat.nbytes
    assert [type(task.value) for task in graph.values() if len(pickle.dumps(task)) > weights / 2] == [Predictor]
    for sent in (graph, lazy):  # what a scheduler in this process gets, and what a client sends
        assert len(cloudpickle.dumps(sent)) < 1.1 * weights
