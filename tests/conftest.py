from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import hypothesis
import pytest

# Machines may be slow: what a test takes is no reason to fail.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


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


def pytest_collection_modifyitems(items):
    """Put files with many slow tests first: of several processes none is then left alone with one at the end."""
    n_slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -n_slow[item.path])
