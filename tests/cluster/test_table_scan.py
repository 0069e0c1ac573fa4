"""The scan of a table where its partitions lie."""

from __future__ import annotations

import numpy as np
import pytest
from cluster.tables import PLAIN, nothing_left, parted, two_workers
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import SchemaError


def broken(part):
    if 5 in part.index:
        raise ValueError("bad day")
    return part


@two_workers
async def test_errors_of_partitions_name_the_table(c, s, a, b):
    table = make_table(100)
    with pytest.raises(SchemaError, match=r"partition 0 of the training table cannot be read(.|\n)*bad day"):
        await DeepLearningRegressor(**PLAIN).fit(parted(table).map_partitions(broken, meta=table[:0]), "y")
    with pytest.raises(SchemaError, match="infinite values in partition 3"):
        await DeepLearningRegressor(**PLAIN).fit(
            parted(table.assign(a=np.where(table.index == 50, np.inf, 0.0)), 7), "y"
        )
    with pytest.raises(SchemaError, match="one class only"):
        await DeepLearningClassifier(**PLAIN).fit(parted(table.assign(label="one")), "label")
    await nothing_left(s, a, b)
