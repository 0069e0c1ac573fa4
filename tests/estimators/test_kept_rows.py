"""Rows that datasets of equal preparations share, for as long as one of them is open."""

from __future__ import annotations

import contextlib
import gc
import threading

import dask.dataframe as dd
import numpy as np
import pytest
from tables import make_table

import dask_dl
from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import ParameterError
from dask_dl.estimators.kept_rows import KeptRows

SMALL = {"hidden": (5,), "epochs": 2, "n_jobs": 1, "random_state": 3}


@pytest.fixture(scope="module")
def table():
    return make_table(600).drop(columns=["d", "e"]).rename(columns={"w": "weight"})


OPENED = []


def opened(k):
    """A partition whose readings are counted; its name is that of this function and of k."""
    OPENED.append(k)
    return make_table(200, seed=k)[["a", "b", "level", "label"]]


def test_datasets_of_equal_preparations_share_their_rows():
    def collection():
        return dd.from_map(opened, range(3), meta=make_table(1)[["a", "b", "level", "label"]].iloc[:0])

    def n_read(**given):
        before = len(OPENED)
        data = dask_dl.prepare(collection(), "label", **SMALL | given)
        return data, len(OPENED) - before

    first, once = n_read()
    assert once == 6  # scanned, and encoded
    second, none = n_read(hidden=(7,), epochs=1)  # which are not of the rows
    assert none == 0
    others = [n_read(standardize=False), n_read(random_state=4), n_read(storage="disk")]
    assert [n for _, n in others] == [6, 6, 6]
    drawn, none = n_read(random_state=None)  # whatever seed the open one has
    assert none == 0
    models = [DeepLearningClassifier(**SMALL).fit(data) for data in (first, second)]
    np.testing.assert_array_equal(models[0].model_.network.flat, models[1].model_.network.flat)
    first.close()
    del drawn
    gc.collect()
    assert "closed" in repr(first)
    with pytest.raises(ParameterError, match="closed"):
        models[0].fit(first)
    models[1].fit(second)  # the rows are there as long as one is open
    with n_read()[0] as third:
        second.close()
        models[1].fit(third)
    fourth, again = n_read()
    assert again == 6
    for data in (fourth, *(data for data, _ in others)):
        data.close()


def test_a_dataset_of_a_local_table_is_its_own(table):
    """What was changed in place between two preparations is another table."""
    local = table[["a", "b", "y"]].copy()
    with dask_dl.prepare(local, "y", **SMALL) as first:
        local["c"] = local["a"] * 2
        with dask_dl.prepare(local, "y", **SMALL) as second:
            assert (first.n_inputs, second.n_inputs) == (2, 3)


def test_two_threads_that_close_a_dataset_give_one_reference_back(table, monkeypatch):
    X = dd.from_pandas(table.drop(columns="label"), npartitions=2)
    first, second = (dask_dl.prepare(X, "y") for _ in range(2))  # of the same rows
    inner, together = KeptRows.release, threading.Barrier(2)

    def release(kept, **given):
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(0.5)  # for the other thread, if it comes here too
        inner(kept, **given)

    monkeypatch.setattr(KeptRows, "release", release)
    threads = [threading.Thread(target=first.close) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monkeypatch.undo()
    assert DeepLearningRegressor(hidden=(3,), epochs=1).fit(second).n_features_in_ > 0
    second.close()
