"""Trainings on a view of stored rows: the weights of `fit` on the table cut to the same rows."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import numpy as np
import pytest
from cluster.tables import PLAIN, assert_same_bits, in_process, nothing_left, parted, rounds
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, parameters
from dask_dl.cluster import LocalBackend
from dask_dl.cluster.dask_backend import DaskBackend
from dask_dl.frame.affine import Affine
from dask_dl.frame.encoder import Encoder, Encoding
from dask_dl.frame.recipe import Recipe
from dask_dl.frame.row_selection import AllBut, Fold, Sample
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.source import Source, open_source
from dask_dl.frame.view import View
from dask_dl.training.engine import Request, train

N = 900


class Viewing(LocalBackend):
    """Keeps the rows of a larger table, of which the table that it is asked to train on is a view.

    With `encodes` rows are stored as the larger table by itself is encoded, and brought into the other units by an affine map.
    """

    def __init__(self, whole, rows, *, encodes=False):
        super().__init__()
        self.whole, self.rows, self.encodes, self.inputs = whole, rows, encodes, None

    def load(self, table, source, found, recipe, options, storage, progress=None, *, trains=True):
        head, mean_weight = recipe.target, found.mean_weight
        scanned = self.scan(self.whole, ScanRequest(head.target_kind))
        if self.encodes:
            encoder = Encoder.fit(scanned, self.whole.predictors, Encoding())
            own, head = head, type(head).fit(scanned, standardize=True, link="identity")
            mean_weight = scanned.mean_weight
            targets = None if head.classes else (head, own)
            self.inputs = Affine.between(encoder, recipe.encoder, targets, (mean_weight, found.mean_weight))
            recipe = replace(recipe, encoder=encoder, target=head)
        recipe = Recipe.of(self.whole, scanned, recipe.encoder, head, mean_weight)
        groups = ("class",) if head.classes else ()
        options = options._replace(groups=groups)
        return super().load(table, self.whole, scanned, recipe, options, storage, progress)

    def trainer(self, setup, *more):
        view = setup.view._replace(rows=self.rows, inputs=self.inputs)
        return super().trainer(replace(setup, view=view, scored=dict(setup.scored) | {"training": view}), *more)


def parts(frame, n=5):
    """A table in partitions of unequal lengths."""
    edges = np.linspace(0, len(frame) ** 0.5, n + 1).astype(int) ** 2
    edges[-1] = len(frame)
    return [frame.iloc[lo:hi] for lo, hi in itertools.pairwise(edges)]


def source_of(frame, y, **roles):
    """Of uneven partitions, with whatever columns are no predictors left out."""
    kept = frame.drop(columns=list({"w", "y", "label"} - {y, *roles.values()}))
    source, pieces = open_source(kept, y, **roles), parts(frame)
    schema = source.schema
    return Source(schema, len(pieces), lambda k: open_source(pieces[k][kept.columns], y, **roles).read(0))


def fitted(backend, source, task, **given):
    requested = parameters.validate(PLAIN | given, task=task)
    model, failure, _ = train(Request(source, task, requested), backend)
    assert failure is None
    return model


def figures(model):
    return [event.metrics["training"] for event in model.record.history.events if event.metrics]


ROWS = [AllBut(Fold(1, 3)), Fold(2, 5, "modulo"), Sample(0.5, 3)]
CASES = {
    "numbers, weights": ("y", {"weight": "w"}, {}),
    "classes without labels": ("label", {}, {}),
    "balance, dropout": (
        "label",
        {},
        {"balance_classes": True, "class_sampling_factors": (0.7, 2.3), "activation": "tanh_with_dropout"},
    ),
    "mini-batches on disk": ("label", {}, {"mini_batch_size": 16, "storage": "disk"}),
    "dropout of inputs, streamed": ("y", {}, {"input_dropout_ratio": 0.2, "storage": "stream"}),
    "stored order": ("y", {}, {"shuffle_training_data": False}),
}


def table():
    frame = make_table(N, seed=3)
    frame.loc[::17, ["y", "label"]] = [np.nan, None]
    return frame


def task_of(y):
    return "classification" if y == "label" else "regression"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rows", ROWS, ids=repr)
def test_a_view_trains_to_the_bits_of_the_cut_table(rows, case):
    y, roles, given = CASES[case]
    given = {"epochs": 2, "train_samples_per_iteration": 250, "score_each_iteration": True, **given}
    given |= {"score_training_samples": 0}
    frame = table()
    cut = source_of(frame[rows.selects(np.arange(N), {})], y, **roles)
    expected = fitted(LocalBackend(), cut, task_of(y), **given)
    found = fitted(Viewing(source_of(frame, y, **roles), rows), cut, task_of(y), **given)
    assert expected.record.n_rows == found.record.n_rows
    np.testing.assert_array_equal(found.network.flat, expected.network.flat)
    for state, other in zip(found.network.states, expected.network.states, strict=True):
        np.testing.assert_array_equal(state, other)
    for mine, theirs in zip(figures(found), figures(expected), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-9, nan_ok=True)


@pytest.mark.parametrize(("y", "roles"), [("y", {"weight": "w"}), ("label", {})])
def test_a_view_in_units_of_its_own_trains_to_the_rounding_of_its_map(y, roles):
    rows, frame = ROWS[0], table()
    frame[list("abc")] = frame[list("abc")] * [1e-3, 30, 1] + [5.0, -100, 0]
    given = {"epochs": 2, "train_samples_per_iteration": 250, "score_training_samples": 0, "score_each_iteration": True}
    cut = source_of(frame[rows.selects(np.arange(N), {})], y, **roles)
    expected = fitted(LocalBackend(), cut, task_of(y), **given)
    backend = Viewing(source_of(frame, y, **roles), rows, encodes=True)
    found = fitted(backend, cut, task_of(y), **given)
    assert backend.inputs is not None and (found.network.flat != expected.network.flat).any()
    np.testing.assert_allclose(found.network.flat, expected.network.flat, atol=2e-4)
    for mine, theirs in zip(figures(found), figures(expected), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-6, nan_ok=True)
    backend = Viewing(source_of(frame, y, **roles), rows, encodes=True)
    backend.load = lambda *given, **more: (Viewing.load(backend, *given, **more), setattr(backend, "inputs", None))[0]
    without = fitted(backend, cut, task_of(y), **given)
    assert np.abs(without.network.flat - expected.network.flat).max() > 0.02  # what the map is for


@pytest.fixture
def folded(monkeypatch):
    """Every training is one on all rows but a fold, and scored on the fold too."""

    def fold(kind):
        inner = kind.trainer

        def trainer(self, setup, *more):
            view = setup.view._replace(rows=ROWS[0])
            scored = {"training": view, "validation": View("training", ROWS[0].rows)}
            return inner(self, replace(setup, view=view, scored=scored), *more)

        monkeypatch.setattr(kind, "trainer", trainer)

    fold(LocalBackend)
    fold(DaskBackend)


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)], timeout=180)
async def test_a_view_on_a_worker_has_the_bits_of_one_process(c, s, a, folded):
    for kind, y, given in (
        (DeepLearningRegressor, "y", {"sample_weight": "w"}),
        (DeepLearningClassifier, "label", {"balance_classes": True}),
    ):
        table = make_table().drop(columns="label" if y == "y" else "y")
        parts = {"sample_weight": "w"} if "sample_weight" in given else {}
        table = table if parts else table.drop(columns="w")
        settings = rounds(300) | {"epochs": 2} | {k: v for k, v in given.items() if k != "sample_weight"}
        X = parted(table)
        here = await asyncio.to_thread(in_process, kind(**settings), X, y, eval_set=X, **parts)
        there = await kind(**settings).fit(X, y, eval_set=X, **parts)
        assert_same_bits(there, here)
        assert 0.55 < there.model_.record.n_rows / ((parts and (table["w"] > 0).sum()) or 2000) < 0.8
        for name in ("training_rmse", "validation_rmse"):
            np.testing.assert_allclose(there.history_[name], here.history_[name], rtol=1e-9)
            assert (there.history_["training_rmse"] != there.history_["validation_rmse"]).all()
    await nothing_left(s, a)


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=180)
async def test_views_of_fixed_shards_and_of_workers(c, s, a, b, folded):
    X = parted(make_table()[["a", "b", "level", "y"]])
    fixed = rounds(300) | {"epochs": 2, "reproducible": True, "n_shards": 3}
    here = await asyncio.to_thread(in_process, DeepLearningRegressor(**fixed), X, "y", eval_set=X)
    there = await DeepLearningRegressor(**fixed).fit(X, "y", eval_set=X)
    assert_same_bits(there, here)
    n_rows = here.model_.record.n_rows
    assert n_rows == np.count_nonzero(ROWS[0].selects(np.arange(2000), {}))
    free = await DeepLearningRegressor(**rounds(300)).fit(X, "y", eval_set=X)
    assert free.model_.record.n_rows == n_rows
    assert free.model_.record.n_seen == 2 * n_rows
    await nothing_left(s, a, b)
