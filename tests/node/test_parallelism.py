"""Which way threads share a training, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest
from node.problems import optimizer
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.errors import DaskDLWarning
from dask_dl.kernels.layout import Topology
from dask_dl.node import parallelism
from dask_dl.node.parallelism import choose, rows_between


def net(hidden=(200, 200), n_dense=666, n_onehot=0, n_outputs=10):
    return Topology(n_onehot, n_dense, hidden, n_outputs, "rectifier", "softmax" if n_outputs > 1 else "linear")


@pytest.fixture(autouse=True)
def many_cores(monkeypatch, request):
    """As on a machine of 64 cores, except where a test asks for the real ones."""
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    if "affinity" not in request.node.name:
        monkeypatch.setattr(parallelism.joblib, "cpu_count", lambda: 64)


def chosen(topology, kind="adadelta", n_rows=100_000, **given):
    way = choose(topology, optimizer(kind), n_rows=n_rows, **given)
    return way.way, way.n_threads, way.interval


@pytest.mark.parametrize(
    ("kind", "intervals"),
    [
        ("adadelta", {1: 64, 2: 64, 3: 32, 4: 21, 8: 9, 16: 4, 17: 4, 33: 2, 64: 1, 1000: 1}),
        ("momentum", {2: 16, 3: 8, 4: 5, 5: 4, 8: 2, 16: 1}),
        ("plain", {2: 16, 5: 4}),
    ],
)
def test_rows_between_two_exchanges(kind, intervals):
    settings = optimizer(kind)
    maximum = 64 if kind == "adadelta" else 16
    for n, interval in intervals.items():
        assert rows_between(settings, n) == interval
        assert interval == 1 or (n - 1) * interval <= maximum


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"n_jobs": 1}, ("one thread", 1)),
        ({"n_jobs": 2}, ("staleness", 2)),
        ({"n_jobs": 16}, ("staleness", 16)),
        ({"n_jobs": 2, "parallelism": "team"}, ("team", 2)),
        ({"n_jobs": 64, "parallelism": "team"}, ("team", 13)),  # 200 units are 13 lanes
        ({"n_jobs": 64, "parallelism": "staleness"}, ("staleness", 64)),
        ({"n_jobs": 100, "parallelism": "staleness"}, ("staleness", 100)),  # as asked, though there are 64 cores
        ({"n_jobs": 100, "reproducible": True}, ("team", 13)),
        ({"n_jobs": 8, "reproducible": True}, ("team", 8)),
        ({"n_jobs": 1, "reproducible": True}, ("one thread", 1)),
        ({"n_jobs": 18}, ("staleness", 17)),  # K would be 3, and no more than 13 could share a row
        ({"n_jobs": 8, "kind": "momentum"}, ("team", 8)),  # K would be 2
        ({"n_jobs": 5, "kind": "momentum"}, ("staleness", 5)),
        ({"n_jobs": 2, "interval": 10}, ("staleness", 2)),
        ({"n_jobs": 8, "n_rows": 1999}, ("one thread", 1)),
        ({"n_jobs": 8, "n_rows": 3500}, ("staleness", 3)),
        ({"n_jobs": 8, "n_rows": 100, "parallelism": "staleness"}, ("staleness", 8)),
        ({"n_jobs": 8, "n_rows": 100, "reproducible": True}, ("team", 8)),
    ],
    ids=str,
)
def test_the_choice_for_a_network_of_ordinary_width(given, expected):
    assert chosen(net(), **given)[:2] == expected


def test_no_more_threads_than_cores(monkeypatch):
    monkeypatch.setattr(parallelism.joblib, "cpu_count", lambda: 2)
    assert chosen(net(), n_jobs=8)[:2] == ("staleness", 2)
    assert chosen(net(), n_jobs=8, reproducible=True)[:2] == ("team", 2)
    assert chosen(net(), n_jobs=8, parallelism="team")[:2] == ("team", 8)
    assert "n_jobs=8, but 2 cores" in choose(net(), optimizer(), n_rows=10**6, n_jobs=8).reason


def test_the_choice_for_other_widths():
    assert chosen(net((1024, 1024)), n_jobs=2)[:2] == ("team", 2)
    assert chosen(net((512, 512)), n_jobs=2)[:2] == ("staleness", 2)
    assert chosen(net((10,), n_dense=5), n_jobs=8)[:2] == ("staleness", 8)
    assert chosen(net((10,), n_dense=5), n_jobs=8, reproducible=True)[:2] == ("one thread", 1)
    assert chosen(net((50, 50)), "momentum", n_jobs=32)[:2] == ("staleness", 5)  # only 4 lanes for a team
    # A wide table of levels needs no copies.
    assert chosen(net((64,), n_dense=5, n_onehot=100_000), n_jobs=2)[:2] == ("staleness", 2)


@pytest.mark.parametrize(
    ("batch", "n_rows", "expected"),
    [
        (32, 8000, ("staleness", 4, 32)),
        (200, 8000, ("staleness", 4, 200)),
        (500, 8000, ("staleness", 2, 1000)),
        (1000, 8000, ("one thread", 1, 1000)),
        (4000, 8000, ("one thread", 1, 4000)),
    ],
)
def test_threads_have_several_batches_each(batch, n_rows, expected):
    settings = optimizer()._replace(batch=batch)
    found = choose(net(), settings, n_rows=n_rows, available=(4, "4 cores"))
    assert (found.way, found.n_threads, found.interval) == expected


def test_what_a_team_may_turn_into():
    wide = choose(net((1024, 1024)), optimizer(), n_rows=10**6, n_jobs=2)
    assert wide.fallback is not None and wide.fallback.way == "staleness" and wide.n_copies == 2
    too_wide = choose(net((4096, 4096)), optimizer(), n_rows=10**6, n_jobs=2)
    assert too_wide.way == "team" and too_wide.fallback is None and too_wide.n_copies == 0
    for given in ({"reproducible": True}, {"parallelism": "team"}):
        assert choose(net((1024, 1024)), optimizer(), n_rows=10**6, n_jobs=2, **given).fallback is None


def test_cores_are_those_of_the_process(monkeypatch):
    monkeypatch.setattr(parallelism.joblib, "cpu_count", lambda: 6)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    assert parallelism.cores(None) == (6, "6 cores") == parallelism.cores(-1)
    assert parallelism.cores(3) == (3, "n_jobs=3")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")  # as joblib sets it for its workers
    assert parallelism.cores(None) == (2, "NUMBA_NUM_THREADS=2")
    assert parallelism.cores(3) == (3, "n_jobs=3")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "nonsense")
    assert parallelism.cores(None)[0] == 6


def test_affinity_is_minded():
    import os

    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert parallelism.cores(None)[0] == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.fixture(scope="module")
def table():
    return make_table(2400).drop(columns=["w", "label"])


def fitted(table, **given):
    return DeepLearningRegressor(**({"hidden": (40, 40), "epochs": 1, "random_state": 1} | given)).fit(table, "y")


def test_intervals_that_are_not_asked_for_grow():
    settings = optimizer()
    topology = Topology(0, 50, (50, 50), 2, "tanh", "softmax")
    own = choose(topology, settings, n_rows=10**6, available=(2, "2 cores"))
    assert [own.interval_at(n) for n in (0, 4096, 5120, 65_536, 10**9)] == [4, 4, 5, 64, 64]
    asked = choose(topology, settings, n_rows=10**6, interval=32, available=(2, "2 cores"))
    assert asked.interval_at(0) == 32
    batches = choose(topology, settings._replace(batch=32), n_rows=10**6, available=(2, "2 cores"))
    assert batches.interval_at(0) == batches.interval


def test_the_choice_is_reported(table, capsys):
    model = fitted(table, n_jobs=2, verbose=True)
    said = capsys.readouterr().out
    assert model.parameters_["n_jobs"] == 2
    assert model.parameters_["exchange_interval"] == 64
    layers = model.parameters_["parallelism"]
    assert list(layers) == [
        "layer 1, 4 one-hot inputs x 40 and biases", "layer 1, 5 x 40", "layer 2, 40 x 40 and biases",
        "layer 3, 40 x 1 and biases",
    ]  # fmt: skip
    assert layers["layer 1, 4 one-hot inputs x 40 and biases"].startswith("hogwild: 2 threads on one shared copy")
    assert layers["layer 2, 40 x 40 and biases"] == "staleness: 2 threads (n_jobs=2) exchange every 64 rows"
    for layer, way in layers.items():
        assert f"{layer}: {way}" in said
    assert "MB network" in said or "kB network" in said


def test_the_report_is_saved_with_the_model(table, tmp_path):
    model = fitted(table, n_jobs=2, parallelism="team")
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.parameters_["parallelism"] == model.parameters_["parallelism"]
    assert again.get_params()["parallelism"] == "team"
    assert "team: 2 threads (as asked, n_jobs=2) share each row" in model.parameters_["parallelism"].values()
    assert model.parameters_["exchange_interval"] is None


def test_reproducible_is_the_same_for_any_number_of_threads(table):
    models = [fitted(table, n_jobs=n, reproducible=True, hidden=(96, 96)) for n in (1, 2, 5)]
    for other in models[1:]:
        np.testing.assert_array_equal(models[0].model_.network.flat, other.model_.network.flat)
        assert models[0].history_["training_rmse"].tolist()[1:] == other.history_["training_rmse"].tolist()[1:]
    assert models[2].parameters_["n_jobs"] > 1
    assert all("reproducible" in way for way in models[2].parameters_["parallelism"].values())


def test_a_small_table_trains_on_one_thread_and_is_deterministic(table):
    small = table.head(1500)
    models = [fitted(small, n_jobs=-1) for _ in range(2)]
    assert models[0].parameters_["n_jobs"] == 1
    np.testing.assert_array_equal(models[0].model_.network.flat, models[1].model_.network.flat)


def test_too_rare_an_exchange_is_warned_of(table):
    with pytest.warns(DaskDLWarning, match="an exchange every 64 rows with 4 threads .* Use 21, or fewer threads"):
        fitted(table, n_jobs=4, exchange_interval=64, parallelism="staleness")
    with pytest.warns(DaskDLWarning, match="an exchange every 1 rows with 20 threads .* Use fewer threads"):
        fitted(table, n_jobs=20, parallelism="staleness", adaptive_rate=False)


def test_scoring_on_several_threads_gives_the_numbers_of_one(table):
    classes = table.assign(y=np.where(table["y"] > 0, "high", "low"))
    measured = []
    for n in (1, 3):
        model = DeepLearningClassifier(hidden=(40,), epochs=0, random_state=1, n_jobs=n, parallelism="staleness")
        history = model.fit(classes, "y").history_
        measured.append(history.iloc[-1][["training_logloss", "training_rmse"]].tolist())
    assert measured[0] == measured[1]
