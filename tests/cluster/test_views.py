"""Trainings on a view of stored rows: the weights of `fit` on the table cut to the same rows."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from cluster.tables import PLAIN, make_table

from dask_dl import parameters
from dask_dl.cluster import LocalBackend
from dask_dl.frame.affine import Affine
from dask_dl.frame.encoder import Encoder, Encoding
from dask_dl.frame.recipe import Recipe
from dask_dl.frame.row_selection import AllBut, Fold, Sample
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.source import Source, open_source
from dask_dl.frame.subset import Subset
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
        options = options._replace(view=None, groups=groups, n_all=scanned.n_used)
        super().load(table, self.whole, scanned, recipe, options, storage, progress)
        return sum(Subset(self.shard.tables[table], View(table, self.rows)).n_visits().values())

    def trainer(self, setup, *more):
        return super().trainer(replace(setup, view=setup.view._replace(rows=self.rows, inputs=self.inputs)), *more)


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
    model, failure = train(Request(source, task, requested), backend)
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
