from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from multiprocessing import forkserver
from pathlib import Path

import dask
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


@pytest.fixture
def told(monkeypatch):
    """Warnings as events, of which the progress lines of a fit are told."""
    from dask_dl.events import Warned
    from dask_dl.show.progress import Progress

    found = []
    monkeypatch.setattr(Progress, "__call__", lambda _, event: found.append(event) if type(event) is Warned else None)
    return found


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    """A file of a classifier of `saved.TABLE` with a validation table, whose column b is numbers by `eigen`."""
    from saved import SETTINGS, TABLE

    from dask_dl import DeepLearningClassifier

    path = tmp_path_factory.mktemp("model") / "model.zip"
    given = SETTINGS | {"categorical_encoding": "eigen"}
    DeepLearningClassifier(**given).fit(TABLE[["a", "b", "y"]], "y", eval_set=TABLE).save(path)
    return path


COMPILE = """
import sys
import numpy as np
from dask_dl import DeepLearningRegressor
DeepLearningRegressor(hidden=(2,), epochs=1, mini_batch_size=int(sys.argv[1])).fit(np.eye(8), np.arange(8.0))
"""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes():
    """Compile what trains by rows and by batches, 20 s each, before several processes would each compile both."""
    compilers = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", COMPILE, batch]) for batch in ("1", "8")]
    assert [compiler.wait() for compiler in compilers] == [0, 0]


def pytest_collection_modifyitems(items):
    """Put files with many slow tests first: of several processes none is then left alone with one at the end."""
    n_slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -n_slow[item.path])
