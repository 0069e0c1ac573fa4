"""Permutation importance as a method: on Datasets, beside what they hold, and on two workers."""

from __future__ import annotations

import asyncio

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed.utils_test import gen_cluster

from dask_dl import DeepLearningRegressor, prepare
from dask_dl.errors import ParameterError

SMALL = {"hidden": [8], "epochs": 10, "random_state": 1, "reproducible": True, "score_duty_cycle": 0.0}


@pytest.fixture(scope="module")
def frame():
    a, b = np.random.default_rng(0).normal(size=(2, 600))
    return pd.DataFrame({"a": a, "b": b, "y": 3 * a + b})


@pytest.fixture(scope="module")
def model(frame):
    return DeepLearningRegressor(**SMALL).fit(frame, "y")


def test_a_dataset_has_its_target_already(frame, model):
    with prepare(frame, y="y", random_state=1) as data:
        with pytest.raises(ParameterError, match="y"):
            model.permutation_importance(data, "y")
        assert model.permutation_importance(data, n_repeats=2).index.tolist() == ["a", "b"]


def test_columns_are_named_or_counted(frame, model):
    by_name, by_place = (model.permutation_importance(frame, columns=given, n_repeats=1) for given in (["b"], [1]))
    pd.testing.assert_frame_equal(by_name, by_place)


def test_pictures_have_whiskers(frame, model):
    pytest.importorskip("matplotlib")
    ax = model.plot_importances(model.permutation_importance(frame, n_repeats=3))
    assert ax.get_xlabel().startswith("deviance: how much worse")
    assert len(ax.patches) == 2
    assert "by the weights" in model.plot_importances().get_xlabel()


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)
async def test_two_workers_answer_as_one_process(c, s, a, b, frame, model):
    wanted = model.permutation_importance(frame, n_repeats=2)
    table = dd.from_pandas(frame, npartitions=4)

    def work():
        with c.as_current():
            return model.permutation_importance(table, n_repeats=2)

    found = await asyncio.to_thread(work)
    pd.testing.assert_frame_equal(found, wanted, rtol=1e-5)
    assert s.transition_counter > 0
