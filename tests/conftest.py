from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from multiprocessing import forkserver
from pathlib import Path

import dask
import pytest


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real tables that DASK_DL_DATA names; tests that want it are marked `data`."""
    value = os.environ.get("DASK_DL_DATA")
    if not value:
        pytest.skip("needs real tables: set DASK_DL_DATA to the folder that holds them")
    folder = Path(value)
    if not folder.is_dir():
        pytest.fail(f"DASK_DL_DATA={value} is no folder")  # a slip of the pen shall not pass as a skip
    return folder


@pytest.fixture(scope="session")
def forks():
    """A multiprocessing context whose processes have imported what a training needs, which takes others seconds each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distributed", "dask.dataframe", "dask_dl.estimators", "dask_dl.training.engine"])
    forkserver.ensure_running()
    return context


@pytest.fixture(scope="module")
def forked_workers(forks):
    """Have worker processes of clusters made so. Those of users import for themselves, as in the tests of examples."""
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield


def pytest_collection_modifyitems(items):
    """Put files with many slow tests first: of several processes none is then left alone with one at the end."""
    n_slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -n_slow[item.path])
