"""Answers of parts of a table merge to those of the table, whoever computes them."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from tables import UNSCORED, make_table

from dask_dl import DeepLearningRegressor
from dask_dl.evaluation import opened
from dask_dl.explain.grid import Axis
from dask_dl.explain.responses import Plan, Responses, moments_of, of_partition
from dask_dl.frame import prediction
from dask_dl.frame.column_stats import Moments

N = 500
TABLE = make_table(N, gaps=0.1)[["a", "b", "level", "y", "w"]]


@pytest.fixture(scope="module")
def model():
    given = UNSCORED | {"hidden": (4,), "epochs": 1, "random_state": 1, "n_jobs": 1}
    return DeepLearningRegressor(**given).fit(TABLE.drop(columns="w"), "y").model_


def plan(model, kind="both"):
    axes = [
        Axis("a", np.array([0.0, 1.0]), np.zeros(0)),
        Axis("level", np.array(["u", "v", None], object), np.zeros(0)),
    ]
    return Plan.of(axes, [(0,), (1, 0)], kind, None, 20, model.encoder)


def answers(model, table, the_plan, n_threads=1, weight=None):
    source, names = opened(model, table, None, weight, None, "a model")
    return of_partition(
        source.read(0), 0, model.predictor, schema=source.schema, names=names, plan=the_plan, threads=lambda: n_threads
    )


def assert_equal(found, expected):
    for mine, others in zip(found.moments, expected.moments, strict=True):
        np.testing.assert_allclose(mine.mean, others.mean, atol=1e-7)
        np.testing.assert_allclose(mine.deviation, others.deviation, atol=1e-7)
    for mine, others in zip(found.curves, expected.curves, strict=True):
        np.testing.assert_allclose(mine, others, atol=1e-6)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.keys, expected.keys)
    assert found.n_rows == expected.n_rows


@pytest.mark.parametrize("kind", ["average", "individual", "both"])
def test_slices_on_threads_answer_as_a_whole(model, kind, monkeypatch):
    expected = answers(model, TABLE, plan(model, kind), weight="w")
    monkeypatch.setattr(prediction, "ROWS_PER_SLICE", 33)
    for n_threads in (1, 3):
        assert_equal(answers(model, TABLE, plan(model, kind), n_threads, "w"), expected)
    assert bool(expected.moments) == (kind != "individual")
    assert len(expected.keys) == (0 if kind == "average" else 20)


def test_the_mean_of_parts_is_that_of_the_table_and_the_rows_with_the_least_keys_stay(model):
    the_plan = plan(model)
    whole = answers(model, TABLE, the_plan)
    parts = [answers(model, TABLE[lo : lo + 100], the_plan) for lo in range(0, N, 100)]
    found = functools.reduce(functools.partial(Responses.merge, n_curves=20), parts)
    for mine, others in zip(found.moments, whole.moments, strict=True):
        np.testing.assert_allclose(mine.mean, others.mean, atol=1e-12)
        np.testing.assert_allclose(mine.deviation, others.deviation, atol=1e-12)
    keys = np.concatenate([part.keys for part in parts])
    assert sorted(found.keys) == sorted(keys)[:20] and found.n_rows == N


def test_points_of_a_surface_are_those_of_its_columns_in_their_order(model):
    the_plan = plan(model)
    points = [tuple(map(the_plan.value, point)) for point in the_plan.points((1, 0))]
    assert points == [("u", 0.0), ("u", 1.0), ("v", 0.0), ("v", 1.0), (None, 0.0), (None, 1.0)]


@pytest.mark.parametrize("n", [0, 1, 50])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_moments_of_answers_are_those_of_numbers(n, is_weighted):
    random = np.random.default_rng(n)
    answers = (random.normal(size=(n, 3)) * [1, 1e-3, 0] + [0, 1e4, 1 / 3]).astype(np.float32)
    weights = random.random(n) + 0.1 if is_weighted else None
    found, expected = moments_of(answers, weights), Moments.of(answers.T.astype(np.float64), weights)
    for mine, others in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, others, rtol=1e-9, atol=1e-12)
    assert found.m2[2] == 0
