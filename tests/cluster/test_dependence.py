"""Partial dependence on a cluster: over lazy tables and over the rows of a Dataset, where they lie."""

from __future__ import annotations

import numpy as np
import pytest
from cluster.tables import nothing_left, parted, rounds
from distributed.utils_test import gen_cluster
from tables import make_table

import dask_dl
from dask_dl import DeepLearningRegressor
from dask_dl.errors import ParameterError

two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)


@two_workers
async def test_rows_of_a_dataset_answer_where_they_lie(c, s, a, b):
    table = make_table()[["a", "b", "level", "y"]]
    columns, points = ["a", "level", ("level", "a")], {"a": [-1.0, 0.5]}
    async with await dask_dl.prepare(parted(table), "y", **rounds(500)) as data:
        model = await DeepLearningRegressor(**rounds(500)).fit(data)
        found = await model.partial_dependence(data, columns, custom_values=points, kind="both", subsample=40)
        expected = model.partial_dependence(table, columns, custom_values=points, kind="both", subsample=len(table))
        for mine, others in zip(found, expected, strict=True):
            assert mine.n_rows == len(table) and len(mine.index) == 40 and mine.index.is_unique
            np.testing.assert_allclose(mine.average, others.average, atol=1e-5)
            np.testing.assert_allclose(mine.individual, others.individual[:, mine.index], atol=1e-5)
        quantiles = (await model.partial_dependence(data, "b")).grid_values[0]
        np.testing.assert_allclose(quantiles, model.partial_dependence(table, "b").grid_values[0], atol=1e-4)
        with pytest.raises(ParameterError, match="the client of the Dataset is asynchronous"):
            model.plot_partial_dependence(data, "a")
    await nothing_left(s, a, b)
