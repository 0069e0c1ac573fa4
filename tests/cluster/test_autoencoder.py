"""Autoencoders on a cluster: the bits of one process, and rows that are answered to where they lie."""

from __future__ import annotations

import asyncio

import numpy as np
import pandas as pd
import pytest
from cluster.tables import assert_same_bits, in_process, nothing_left, parted, rounds
from distributed.utils_test import gen_cluster
from tables import make_table

from dask_dl import DeepLearningAutoEncoder

TABLE, HELD = (make_table(n, seed, gaps=0.05).drop(columns=["y", "label", "w"]) for n, seed in ((2000, 0), (300, 1)))
FIXED = rounds(700) | {"hidden": (8, 3, 8), "activation": "tanh", "reproducible": True, "n_shards": 3}


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    """Kernels are compiled, and zarr has its thread, before clocks of clusters tick and threads are counted."""
    DeepLearningAutoEncoder(**FIXED, checkpoint_dir=tmp_path_factory.mktemp("state")).fit(TABLE[:50])


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1), ("127.0.0.1", 2)], timeout=180)
async def test_two_workers_give_the_bits_of_one_process(c, s, a, b):
    X, held = parted(TABLE), parted(HELD, 2)
    for given in ({"average_activation": -0.3, "sparsity_beta": 0.1}, {"output_activation": "linear", "loss": "huber"}):
        make = lambda given=given: DeepLearningAutoEncoder(**FIXED | given)  # noqa: E731
        here = await asyncio.to_thread(in_process, make(), X, None, held)
        there = await make().fit(X, eval_set=held)
        assert_same_bits(there, here)
        for metric in ("training_rmse", "validation_rmse"):
            pd.testing.assert_series_equal(there.history_[metric], here.history_[metric], check_exact=True)
    await nothing_left(s, a, b)


@gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=180)
async def test_rows_are_answered_to_where_they_lie(c, s, a, b):
    settings = FIXED | {"reproducible": False, "n_shards": None, "epochs": 4}
    model = await DeepLearningAutoEncoder(**settings).fit(parted(TABLE), eval_set=parted(HELD, 2))
    validation = model.history_["validation_rmse"].dropna()
    assert len(validation) > 4 and validation.iloc[-1] < validation.iloc[0]
    for answer in (model.anomaly, model.reconstruct, model.transform, lambda X: model.deep_features(X, "DF.L1")):
        found, here = await c.compute(answer(parted(HELD, 3))), answer(HELD)
        np.testing.assert_array_equal(found.to_numpy(), np.asarray(here))
        pd.testing.assert_index_equal(found.index, HELD.index)
    measured = await asyncio.to_thread(model.score, parted(HELD, 3))
    assert measured == pytest.approx(-model.anomaly(HELD).mean(), rel=1e-6)
    assert validation.iloc[-1] == pytest.approx((-measured) ** 0.5, rel=1e-5)
    del found
    await nothing_left(s, a, b)
