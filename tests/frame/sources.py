"""Tables to scan and to read, in partitions."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from hypothesis import settings

from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import scan
from dask_dl.frame.source import OFFSET, TARGET, WEIGHT, Schema, Source

exact = settings(derandomize=True, database=None, deadline=None)
N = 30


def source_of(*parts, **roles):
    """A table of these partitions; `roles` name its target, weight and offset."""
    predictors = tuple(name for name in parts[0].columns if name not in roles.values())
    return Source(Schema(predictors, roles, "the table"), len(parts), parts.__getitem__)


def scan_column(*parts):
    """What the scan finds in one column that is cut into `parts`."""
    return scan(source_of(*(pd.DataFrame({"x": part}) for part in parts)), ScanRequest("numbers")).columns["x"]


def cut(frame, edges):
    edges = [0, *sorted(edges), len(frame)]
    return [frame.iloc[lo:hi] for lo, hi in itertools.pairwise(edges)]


def roles_table(**columns):
    frame = pd.DataFrame({"x": [1.0, 2, 3, 4], "y": [1.0, 2, 3, 4], "w": 1.0, "o": 0.0}).assign(**columns)
    return source_of(frame.iloc[:2], frame.iloc[2:], **{TARGET: "y", WEIGHT: "w", OFFSET: "o"})


def table_of_roles():
    """Two predictors and a column for each role."""
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "a": np.arange(N, dtype=float),
            "b": random.choice(["u", "v"], N),
            "y": random.normal(size=N),
            "w": random.uniform(size=N),
            "o": random.normal(size=N),
        },
        index=np.arange(N) * 10,
    )


def read_all(source):
    parts = [source.read(k) for k in range(source.n_partitions)]
    assert all(list(part.columns) == list(parts[0].columns) for part in parts)
    return pd.concat(parts)


def assert_same_columns(source, expected):
    """The source gives these columns, by name and in any order, row by row."""
    table = read_all(source)
    assert set(table.columns) == set(expected)
    for name, values in expected.items():
        assert table[name].tolist() == list(values)
