"""What a scan says of a table: odd partitions, rows that do not train, columns that teach nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from preflight.tables import SMALL, found, of_parts, parted, table

from dask_dl import check


def test_partitions():
    frame = table(6000).drop(columns="label")
    parts = [frame[:5000], frame[5000:5000], *(frame[5000 + k : 5100 + k] for k in range(0, 1000, 100))]
    report = check(of_parts(parts), "y", **SMALL)
    assert found(report, "warning", "have no rows: 1.").partition == 1
    skewed = found(report, "warning", "has 5,000 rows, and the median partition 100")
    assert skewed.partition == 0 and "repartition" in skewed.remedy


def test_rows_without_labels_and_without_weight():
    frame = table().drop(columns="y")
    frame.loc[:149, "label"] = None
    frame.loc[290:, "w"] = 0.0
    report = check(parted(frame), "label", sample_weight="w", **SMALL)
    missing = found(report, "warning", "150 of 300 rows (50.0%) have no target", "without any target: 0.")
    assert (missing.column, missing.partition) == ("label", 0)
    assert found(report, "note", "10 rows with a target have weight 0")


def test_identifiers_are_told_from_numbers_and_levels():
    random, n = np.random.default_rng(0), 3000
    frame = table(n).drop(columns=["label", "w"]).assign(
        customer_id=random.permutation(n * 1000)[:n],
        serial=np.arange(n) + 10**6,
        code=[f"c{k}" for k in range(n)],
        count=random.integers(0, 100, n),
        real=random.normal(size=n),
        some=random.choice([f"v{k}" for k in range(500)], n),
        sparse_ids=np.where(np.arange(n) % 100, np.nan, np.arange(n)),
    )  # fmt: skip
    for X in (frame, parted(frame, 500)):
        named = [f.column for f in check(X, "y", **SMALL).of("warning") if "identifier" in f.text]
        assert named == ["code", "customer_id", "serial", "sparse_ids"]


def test_values_that_float32_loses_beside_others_far_out_are_found():
    frame = table(300).drop(columns=["label", "w"])
    frame = frame.assign(z=frame["x"].where(frame.index != 7, 1e10), tail=np.exp(3 * frame["x"]), k=np.arange(300) % 50)
    for X in (frame, parted(frame)):
        (far,) = [f for f in check(X, "y", **SMALL).of("warning") if "float32" in f.text]
        assert far.column == "z" and "to 1e+10, deviation 5.7735e+08) that float32 leaves" in far.text
        assert not [f for f in check(X, "y", **SMALL, standardize=False).of("warning") if "float32" in f.text]


def test_many_useless_columns_are_not_named_one_by_one():
    frame = pd.concat([table(50), pd.DataFrame({f"c{k}": [1] * 50 for k in range(40)})], axis=1)
    constant = [f for f in check(frame, "y", **SMALL).of("warning") if "constant" in f.text]
    assert len(constant) == 31 and "11 more columns are constant or empty too" in constant[-1].text  # with `w`
