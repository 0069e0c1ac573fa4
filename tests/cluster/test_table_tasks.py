"""Tasks that read partitions and keep blocks."""

from __future__ import annotations

import asyncio

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from cluster.tables import PLAIN, nothing_left, parted, rounds, training_plugins, two_workers
from distributed import Worker
from tables import make_table

from dask_dl import DeepLearningRegressor
from dask_dl.cluster import membership, table_tasks, tables
from dask_dl.errors import SchemaError


@two_workers
async def test_few_partitions_wait_on_a_worker_at_a_time(c, s, a, b, monkeypatch):
    monkeypatch.setattr(membership, "MIN_SECONDS", 1e9)  # all get as many blocks, however busy the machine is
    loop, new, waiting, held, before = asyncio.get_running_loop(), [], [], [], tables.PER_WAVE
    inner = table_tasks.keep

    def spy(*given, **more):
        waiting.append(sum(str(key).startswith("dask-dl-encode") for key in list(s.tasks)))
        return inner(*given, **more)

    async def start():
        return await Worker(s.address, nthreads=1)

    def join(record):
        if record["iterations"] == 3:
            new.append(asyncio.run_coroutine_threadsafe(start(), loop).result(30))
        if new:
            held.append(sum(len(p.shard.tables["training"].blocks) for p in training_plugins(new[0]) if p.shard.tables))
        return bool(held) and held[-1] >= 16

    table_tasks.keep, tables.PER_WAVE = spy, 4
    try:
        given = rounds(300) | {"epochs": 1e4}
        await DeepLearningRegressor(**given).fit(parted(make_table(), 60), "y", callbacks=[join])
    finally:
        table_tasks.keep, tables.PER_WAVE = inner, before
    assert len(waiting) >= 76 and max(waiting[:8]) <= 8  # those of earlier waves are released later
    assert held[-1] >= 16 and len({*held}) > 3  # a newcomer takes part with its first few
    await nothing_left(s, a, b, new[0])
    await new[0].close()


def test_a_recipe_travels_once(monkeypatch):
    """A graph of encoding tasks stays small, however many levels the categories have."""
    table = pd.DataFrame({"level": [f"level {k}" for k in range(20_000)], "y": np.arange(20_000.0)})
    sizes = []

    @two_workers
    async def run(c, s, a, b):
        update = s.update_graph

        async def spy(expr_ser, **more):
            sizes.append(sum(len(frame) for frame in expr_ser.frames))
            return await update(expr_ser=expr_ser, **more)

        s.stream_handlers["update-graph"] = spy
        frame = dask.datasets.timeseries(end="2000-01-03", freq="1h")  # a graph whose tasks make the data
        frame = frame.map_partitions(lambda part: table[: len(part)], meta=table[:0], enforce_metadata=False)
        await DeepLearningRegressor(**PLAIN | {"epochs": 0.01}).fit(frame, "y")

    run()
    assert sizes and max(sizes) < 3_000_000


def read_or_spoil(k, odd=None):
    """A third of the table, its columns in an order of its own; of the second third something else, if it is given."""
    table = make_table(300)
    part = table.iloc[100 * k : 100 * k + 100]
    if k == 1 and odd == "lacking":
        return part.drop(columns="a")
    if k == 1 and odd == "none":
        return None
    return part[np.roll(part.columns, k)]


@two_workers
async def test_partitions_list_columns_in_any_order_and_lack_none(c, s, a, b):
    table = make_table(300)
    meta = table.iloc[:0]
    X = dd.from_map(read_or_spoil, range(3), meta=meta).drop(columns="label")
    once = rounds(300) | {"epochs": 1}
    for storage in ("memory", "stream"):
        model = await DeepLearningRegressor(**once, storage=storage).fit(X, "y", sample_weight="w", eval_set=X)
        means = model.encoder_.describe()["mean"].dropna()
        weights = table["w"] / table["w"].sum()
        np.testing.assert_allclose(means, [(table[name] * weights).sum() for name in means.index], rtol=1e-6)
    predicted = await c.compute(model.predict(X))
    np.testing.assert_allclose(predicted, model.predict(table), rtol=1e-5)
    for odd, message in (("lacking", "partition 1 of the training table lacks the column 'a'"), ("none", "is None")):
        spoiled = dd.from_map(read_or_spoil, range(3), odd=odd, meta=meta).drop(columns="label")
        with pytest.raises(SchemaError, match=message):
            await DeepLearningRegressor(**once).fit(spoiled, "y")
        with pytest.raises(SchemaError, match="partition 1 of the table to predict"):
            await c.compute(model.predict(spoiled))
