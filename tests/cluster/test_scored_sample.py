"""Stratified rows to score on, on workers: together they score what a process on its own does."""

from __future__ import annotations

import numpy as np
import pytest
from cluster.tables import nothing_left, parted
from distributed.utils_test import gen_cluster
from scored_rows import SCORED, SIZES, expected, labelled, look_at_scored_rows

import dask_dl
from dask_dl import DeepLearningClassifier

HELD = labelled(2, has_strangers=True)


@pytest.mark.filterwarnings("ignore:20 rows of")  # of a label that training never saw
@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("given", [{}, {"reproducible": True, "n_shards": 3}], ids=str)
def test_workers_score_the_rows_of_one_process(monkeypatch, n_workers, given):
    seen = look_at_scored_rows(monkeypatch)
    X, held = parted(labelled(1)), parted(HELD, 5)

    def check():
        n_readers = given.get("n_shards", n_workers)
        assert len(seen) >= 2 * n_readers and len(seen) % n_readers == 0
        rows = [row for numbers, classes in seen for row in zip(numbers, classes, strict=True)]
        assert sorted({number for number, _ in rows}) == expected(HELD)
        assert len(rows) == 40 * len(seen) // n_readers  # no row is scored twice at a time
        assert np.bincount([k for _, k in set(rows)]).tolist() == SIZES
        seen.clear()

    @gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * n_workers, timeout=120)
    async def run(c, s, *workers):
        model = DeepLearningClassifier(**SCORED | given)
        await model.fit(X, "label", sample_weight="w", eval_set=held)
        check()
        async with await dask_dl.prepare(X, "label", sample_weight="w", eval_set=held, **SCORED | given) as data:
            for _ in range(2):
                await DeepLearningClassifier(**SCORED | given).fit(data)
                check()
        await nothing_left(s, *workers)

    run()
