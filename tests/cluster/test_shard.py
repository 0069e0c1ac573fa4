"""Replicas without a cluster: their averages, and what several of them learn together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from dask_dl import parameters
from dask_dl.cluster import LocalBackend, LocalTrainer
from dask_dl.cluster.averaging import Contribution, combined, momentum_of
from dask_dl.cluster.placement import apportioned
from dask_dl.cluster.shard import Shard
from dask_dl.frame.source import open_source
from dask_dl.memory import IN_MEMORY
from dask_dl.metrics.measurement import measure_classes, measure_numbers
from dask_dl.training.engine import Request, train


def part(n, *values):
    return Contribution(n, tuple(np.array(v, np.float32) for v in values))


# ---- replicas in one process --------------------------------------------------------------------------------------------


class Several(LocalBackend):
    """Makes a trainer of several replicas."""

    def __init__(self, n, momentum=None):
        super().__init__()
        self.n, self.momentum = n, momentum

    def trainer(self, setup, weights, on_change):
        super().trainer(setup, weights, on_change)
        return SeveralReplicas(self.shard, self.n, self.momentum, weights.n_seen)


class SeveralReplicas(LocalTrainer):
    """As many replicas as a cluster would have, one after the other in this process."""

    def __init__(self, shard, n, momentum, n_seen):
        super().__init__(shard)
        self.n, self.n_replicas, self.momentum = n, n, momentum
        store = self.shard.tables["training"]
        whole = store.blocks[0].handle
        assert len(store.blocks) == 1
        edges = np.linspace(0, whole.n, 4 * self.n + 1).astype(int)
        self.shards = []
        for k in range(self.n):
            mine = Shard()
            blocks = mine.open("training", edges.astype(np.int64), store.options, IN_MEMORY)
            for b in range(k, 4 * self.n, self.n):
                blocks.put(b, blocks.stored(b, whole.cut(edges[b], edges[b + 1])))
            states = [s.copy() for s in self.replica.states]
            mine.start(self.shard.setup, self.shard.flat.copy(), states, n_seen, self.replica.parallelism)
            self.shards.append(mine)
        self.seen, self.n_averages = n_seen, 0

    @property
    def n_seen(self):
        return self.seen

    def train(self, n, settings, on_rows=None):
        rows = [shard.visits.n_rows for shard in self.shards]
        starts, stops = apportioned(self.seen, rows), apportioned(self.seen + n, rows)
        momentum = momentum_of(self.n, self.n_averages) if self.momentum is None else self.momentum
        parts = []
        for shard, start, stop in zip(self.shards, starts, stops, strict=True):
            if momentum:
                shard.remember()
            shard.train(start, stop, settings)
            vectors = shard.contribution(stop - start).vectors
            parts.append(Contribution(stop - start, tuple(v.copy() for v in vectors)))
        mean = combined(parts)
        self.seen += n
        self.n_averages += 1
        for shard in self.shards:
            shard.receive(mean, momentum, self.seen)
        on_rows(n)

    def average(self):
        flat, states = self.shards[0].weights()
        self.replica.restore(flat, states, self.seen)
        assert all((shard.replica.flat == flat).all() for shard in self.shards)


def reached(place, rows, test, of="logloss", **given):
    settings = {"hidden": (50, 50), "random_state": 1, "n_jobs": 1, "stopping_rounds": 0, "classification_stop": -1}
    settings |= {"overwrite_with_best_model": False, "score_duty_cycle": 0.0}
    requested = parameters.validate(settings | given, task="classification")
    request = Request(open_source(rows, "y"), "classification", requested, open_source(test, "y"))
    model, failure, _ = train(request, place)
    assert failure is None
    return model.record.history.events[-1].metrics["validation"][of]


def digits():
    X, y = load_digits(return_X_y=True)
    used = X.std(axis=0) > 0
    frame = pd.DataFrame(X[:, used]).rename(columns=lambda k: f"p{k}").assign(y=y.astype(str))
    frame = frame.sample(frac=1, random_state=0)
    return frame[:1400], frame[1400:]


def test_one_of_several_is_the_twin_to_the_last_bit():
    train, test = digits()
    assert reached(Several(1), train, test, epochs=3) == reached(LocalBackend(), train, test, epochs=3)


def covtype(folder):
    table = pd.read_csv(folder / "covtype_20k.csv", header=None).sample(frac=1, random_state=0)
    y = table.pop(table.columns[-1]).astype(str)
    table = table.loc[:, table[:16_000].nunique() > 1].rename(columns=lambda k: f"c{k}").assign(y=y)
    return table[:16_000], table[16_000:]


def rounds(table, per_epoch):
    """Of the size that is automatic for small tables, whatever the clock says."""
    return {"train_samples_per_iteration": len(table) // per_epoch}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n_seeds", "epochs", "more"),
    [("digits", 6, 10, 1.4), pytest.param("covtype", 3, 5, 1.15, marks=pytest.mark.data)],
)
def test_eight_replicas_learn_as_much_from_the_same_rows(name, n_seeds, epochs, more, request):
    """Means of seeds, which scatter by 10 % on the 1,400 digits: there a replica sees 22 rows between two averages."""
    train, test = digits() if name == "digits" else covtype(request.getfixturevalue("data_folder"))
    train, test = train[:8_000], test[:2_000]
    one, eight, plain = (
        np.mean(
            [
                reached(place(), train, test, random_state=seed, epochs=epochs, **rounds(train, 8))
                for seed in range(n_seeds)
            ]
        )
        for place in (LocalBackend, lambda: Several(8), lambda: Several(8, momentum=0.0))
    )
    assert eight < more * one, (eight, one)
    assert eight < 0.95 * plain, (eight, plain)  # without momentum the bound would not hold


@pytest.mark.data
@pytest.mark.slow
def test_two_replicas_learn_as_much_on_covtype(data_folder):
    train, test = (table[:n] for table, n in zip(covtype(data_folder), (8_000, 2_000), strict=True))
    one, two = (
        np.mean([reached(place(), train, test, random_state=seed, epochs=5, **rounds(train, 4)) for seed in range(2)])
        for place in (LocalBackend, lambda: Several(2))
    )
    assert two < one + 0.02, (two, one)  # without momentum: + 0.029


def mnist(folder):
    table = pd.read_csv(folder / "mnist_10k.csv.gz", header=None)
    y = table.pop(table.columns[-1]).astype(str)
    table = table.loc[:, table[:8000].nunique() > 1].rename(columns=lambda k: f"p{k}")
    table = pd.concat([table, y.rename("y")], axis=1)
    return table[:8000], table[8000:]


@pytest.mark.data
@pytest.mark.slow
def test_two_replicas_misread_as_few_digits(data_folder):
    train, test = mnist(data_folder)
    one, two = (
        np.median(
            [
                reached(
                    place(), train, test, random_state=seed, epochs=4, of="classification_error", **rounds(train, 4)
                )
                for seed in range(3)
            ]
        )
        for place in (LocalBackend, lambda: Several(2))
    )
    assert two < one + 0.01, (two, one)


# ---- metrics that are measured in several places ------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_measured_in_parts_is_measured_in_one(weighted):
    random = np.random.default_rng(0)
    labels, p = random.integers(3, size=200), random.dirichlet(np.ones(3), 200)
    truth, predicted = random.normal(1e3, 1, 200), random.normal(1e3, 1, 200)
    w = random.random(200) if weighted else None
    cuts = [slice(0, 1), slice(1, 120), slice(120, 200)]
    for task, measure, a, b in (
        ("multinomial", measure_classes, labels, p),
        ("regression", measure_numbers, truth, predicted),
    ):
        whole = measure(a, b, w)
        first, second, third = (measure(a[c], b[c], None if w is None else w[c]) for c in cuts)
        merged = first.merge(second.merge(third))
        assert merged.metrics(task) == pytest.approx(whole.metrics(task), rel=1e-9)
        if whole.confusion is not None:
            np.testing.assert_allclose(merged.confusion.matrix, whole.confusion.matrix)
