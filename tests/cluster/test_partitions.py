"""Partitions of a Dask collection: each comes with the part of the graph that it needs, and no more."""

from __future__ import annotations

import asyncio

import dask.dataframe as dd
import pandas as pd
import pytest
from cluster.tables import PLAIN, nothing_left, parted, two_workers
from distributed import get_worker
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.cluster.partitions import Partitions
from dask_dl.errors import SchemaError


@two_workers
async def test_what_partitions_share_is_computed_once_and_the_rest_where_it_is_wanted(c, s, a, b):
    table = make_table()[["a", "b", "y"]]
    a.reads, b.reads = [], []

    def read(k):
        get_worker().reads.append(k)
        return table[k::8]

    frame = dd.from_map(read, range(8), meta=table[:0])
    await DeepLearningRegressor(**PLAIN).fit(frame, "y")
    reads = sorted(a.reads + b.reads)
    assert reads == sorted([*range(8), *range(8)])  # for the scan, and for the blocks
    assert min(len(a.reads), len(b.reads)) >= 4
    frame["a"] = frame["a"] - frame["a"].mean()
    await DeepLearningRegressor(**PLAIN).fit(frame, "y")
    assert len(a.reads + b.reads) <= 16 + 4 * 8  # twice for the mean, twice for the rows
    await nothing_left(s, a, b)


def test_a_partition_comes_with_no_more_than_its_own_graph():
    frame = parted(make_table(100), 10)[["a"]].rename(columns={"a": "A"})
    partitions = Partitions(frame.to_delayed())
    few = partitions.some({"": [3, 7]})[""]
    assert few.keys() == {3, 7}
    for k, part in few.items():
        pd.testing.assert_frame_equal(part.compute(scheduler="sync"), frame.get_partition(k).compute(scheduler="sync"))
    alone = partitions.some({"": [3]})[""][3]
    assert len(dict(alone.__dask_graph__())) < len(dict(few[3].__dask_graph__())) <= 8


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda X: X, "in this process"),
        (lambda X: parted(X).persist(), "in the memory of the cluster"),
        (lambda X: parted(X).shuffle("level"), "share work"),
        (lambda X: parted(pd.concat([X] * 60, ignore_index=True), 2), "inside its graph"),
    ],
)
def test_a_table_that_cannot_be_read_again_is_not_streamed(make, text):
    @two_workers
    async def run(c, s, a, b):
        X = await asyncio.to_thread(make, make_table())
        with pytest.raises(SchemaError, match=rf"storage='stream': .*{text}.* Parquet"):
            await DeepLearningRegressor(**PLAIN, storage="stream").fit(X, "y")
        await nothing_left(s, a, b) if text != "in the memory of the cluster" else None

    run()
