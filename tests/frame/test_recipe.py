"""Rows of the network made of partitions: weights, targets and classes in its units."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frame.test_blocks import blocks_of, cut, encode, random_frame, rows_of, source_of

from dask_dl.frame.encoder import Encoder, Encoding
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import scan
from dask_dl.frame.subset import Subset, visited_rows
from dask_dl.tasks import Classes


def test_weights_are_divided_by_the_mean_of_those_that_train():
    frame = pd.DataFrame({"x": [1.0, 2, 3, 4], "y": [1.0, 2, np.nan, 4], "w": [2.0, 0, 7, 6]})
    (block,) = rows_of(blocks_of(source_of(frame, target="y", weight="w")))
    assert block.weight.tolist() == [0.5, 0, 0, 1.5]  # the third row has no target: its weight of 7 is not in the mean


def test_rows_without_target_get_weight_zero_and_are_not_used():
    frame = random_frame(20).drop(columns="w")
    frame.loc[[0, 7, 19], "y"] = np.nan
    store = blocks_of(source_of(*cut(frame, [5, 0, 15]), target="y", offset="o"))
    weights = np.concatenate([block.weight for block in rows_of(store)])
    assert weights.tolist() == [float(k not in {0, 7, 19}) for k in range(20)]
    assert all(np.isfinite(block.target).all() for block in rows_of(store))
    assert visited_rows(Subset(store)).tolist() == [k for k in range(20) if k not in {0, 7, 19}]


def test_rows_of_weight_zero_are_not_used():
    frame = random_frame(50)
    store = blocks_of(source_of(*cut(frame, [20, 30]), target="y", weight="w"))
    assert visited_rows(Subset(store)).tolist() == np.flatnonzero(frame["w"]).tolist()


def test_weights_are_not_kept_when_every_row_counts_one():
    store = blocks_of(source_of(*cut(random_frame(50), [20, 30]), target="y"))
    assert all(block.weight.size == 0 for block in rows_of(store))
    assert visited_rows(Subset(store)).tolist() == list(range(50))


def test_targets_and_offsets_are_in_the_units_of_the_output():
    frame = pd.DataFrame({"x": [0.0, 1, 2], "y": [10.0, 20, 30], "o": [0.0, 5, -5]})
    (block,) = rows_of(blocks_of(source_of(frame, target="y", offset="o")))
    np.testing.assert_allclose(block.target, [-1, 0, 1])
    np.testing.assert_allclose(block.offset, [-2, -1.5, -2.5])  # (offset - mean) / deviation
    (raw,) = rows_of(blocks_of(source_of(frame, target="y", offset="o"), standardize=False))
    assert raw.target.tolist() == [10, 20, 30]
    assert raw.offset.tolist() == [0, 5, -5]


@pytest.mark.parametrize(
    "labels",
    [["b", "a", None, "b"], [7, -1, np.nan, 7], [True, False, None, True], pd.Categorical(["b", "a", None, "b"])],
)
def test_classes_are_numbered_in_their_order(labels):
    frame = pd.DataFrame({"x": [0.0, 1, 2, 3], "y": labels})
    (block,) = rows_of(blocks_of(source_of(frame, target="y"), "classification"))
    assert block.target.tolist() == [1, 0, 0, 1]
    assert block.weight.tolist() == [1, 1, 0, 1]


def test_labels_that_training_has_not_seen_get_weight_zero():
    frame = pd.DataFrame({"x": [0.0, 1, 2, 3], "y": ["a", "b", "b", "a"]})
    found = scan(source_of(frame, target="y"), ScanRequest("labels"))
    encoder = Encoder.fit(found, ["x"], Encoding())
    target = Classes.fit(found, standardize=True, link="identity")
    other = source_of(frame.assign(y=["a", "new", "b", "new"]), target="y")
    store = encode(other, scan(other, ScanRequest("labels")), encoder, target)
    assert rows_of(store)[0].weight.tolist() == [1, 0, 1, 0]
    assert np.isfinite(rows_of(store)[0].target).all()
    assert visited_rows(Subset(store)).tolist() == [0, 2]
