"""Scratch folders: made for a training, and removed after it, whatever became of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import dask
import pytest
from stored import SETTINGS, left_in, make_table

from dask_dl import DeepLearningRegressor
from dask_dl.cluster import scratch
from dask_dl.errors import StorageError


@pytest.fixture
def folder(tmp_path):
    """Where scratch goes."""
    with dask.config.set({"temporary-directory": str(tmp_path)}):
        yield tmp_path


KILLED = """
import sys
import dask
sys.path.insert(0, sys.argv[1])
from stored import SETTINGS, make_table
from dask_dl import DeepLearningRegressor
with dask.config.set({"temporary-directory": sys.argv[2]}):
    DeepLearningRegressor(**SETTINGS | {"epochs": 1e6}, storage="disk", verbose=True).fit(make_table(), "y")
"""


def test_what_a_killed_process_left_is_removed_at_the_next_start(folder):
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(Path(__file__).parents[1]), str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 100
        while not any(folder.rglob("*.rows")):
            assert time.monotonic() < deadline and child.poll() is None
            time.sleep(0.1)
    finally:
        child.kill()
        child.wait()
    assert left_in(folder)
    DeepLearningRegressor(**SETTINGS, storage="memory").fit(make_table(), "y")
    assert left_in(folder) == []


def test_a_folder_that_cannot_be_made_is_told(folder):
    (folder / f"dask-dl-scratch-{os.getuid()}").write_text("a file")
    with pytest.raises(StorageError, match=r"no folder for encoded rows can be made in .*temporary-directory"):
        DeepLearningRegressor(**SETTINGS, storage="disk").fit(make_table(), "y")
    assert scratch.base().is_file()
