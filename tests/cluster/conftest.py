"""Kernels that are compiled before clocks of clusters tick, and tables that can be read again."""

from __future__ import annotations

import dask.dataframe as dd
import pytest
from cluster.tables import PLAIN, parted
from tables import make_table

from dask_dl import DeepLearningRegressor


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory):
    """Kernels are compiled, and zarr has its thread, before clocks of clusters tick and threads are counted."""
    DeepLearningRegressor(**PLAIN, checkpoint_dir=tmp_path_factory.mktemp("state")).fit(make_table(50), "y")


@pytest.fixture
def saved(tmp_path):
    """Tables of Parquet: those that can be read again."""

    def save(table, n=7):
        folder = tmp_path / f"table-{len(list(tmp_path.iterdir()))}"
        parted(table, n).to_parquet(folder)
        return dd.read_parquet(folder)

    return save
