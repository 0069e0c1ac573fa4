"""Rows that stand in for others: all of a small table in its order, random ones of a large one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dask_dl import DeepLearningRegressor
from dask_dl.evaluation import opened
from dask_dl.explain import donors


@pytest.fixture(scope="module")
def parts():
    frame = pd.DataFrame({"a": np.arange(90.0), "b": np.arange(90.0) % 7, "y": np.arange(90.0)})
    frame.loc[::10, "y"] = np.nan
    model = DeepLearningRegressor(hidden=(3,), epochs=1, standardize=False, random_state=1).fit(frame, "y").model_
    source, names = opened(model, frame, "y", None, None, "DeepLearningRegressor")
    given = {"schema": source.schema, "names": names, "hashed": ("b",), "seed": 3, "head": model.head}
    whole = source.read(0)
    return [donors.donors_of(whole[lo : lo + 30], k, model.predictor, **given) for k, lo in enumerate((0, 30, 60))]


def test_a_small_table_keeps_all_rows_that_count_in_their_order(parts):
    found = parts[0].merge(parts[1]).merge(parts[2])
    wanted = [k for k in range(90) if k % 10]
    assert found.counts == (27, 27, 27) and found.n_rows == found.rows.n == 81
    np.testing.assert_array_equal(found.rows.dense[:, 0], wanted)
    np.testing.assert_array_equal(found.raw["b"].astype(float), np.array(wanted) % 7)


def test_of_a_large_one_the_least_keys_stay(parts, monkeypatch):
    keys = np.concatenate([part.keys for part in parts])
    monkeypatch.setattr(donors, "MAX_DONORS", 20)
    found = parts[0].merge(parts[1]).merge(parts[2])
    assert found.rows.n == len(found.raw) == 20 and found.n_rows == 81
    np.testing.assert_array_equal(np.sort(found.keys), np.sort(keys)[:20])
    np.testing.assert_array_equal(found.rows.dense[:, 0] % 7, found.raw["b"].astype(float))
