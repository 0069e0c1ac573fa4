"""Compiled once per machine, and never at the price of a run."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numba
from numba.core.registry import CPUDispatcher

import dask_dl
from dask_dl import jit

PROBE = """
import numpy as np
from dask_dl import jit
from dask_dl.kernels.layers import dot as inner
dot = jit.entry(inner.py_func)
print(jit.cache_folder(), jit.is_cached(dot))
assert dot(np.ones(3, np.float32), np.ones(3, np.float32)) == 3
print(sum(dot.stats.cache_hits.values()), jit.is_cached(dot))
"""


def run(folder, **more):
    environment = os.environ | {"DASK_DL_CACHE_DIR": str(folder)} | more
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.split()


def test_second_process_finds_the_first_ones_code(tmp_path):
    folder, before, hits, after = run(tmp_path)
    assert folder.startswith(str(tmp_path)) and (before, hits, after) == ("False", "0", "True")
    assert run(tmp_path) == [folder, "True", "1", "True"]


def test_damaged_entries_are_compiled_again(tmp_path):
    run(tmp_path)
    for entry in tmp_path.rglob("*.nb?"):
        entry.write_bytes(b"nonsense")
    assert run(tmp_path)[2] == "0"


def test_nothing_writable_means_no_cache_and_no_error(tmp_path):
    occupied = tmp_path / "file"
    occupied.touch()
    assert run(occupied)[:2] == ["None", "False"]


def test_folder_name_follows_sources_version_and_processor(monkeypatch):
    before = jit.fingerprint()
    assert before == jit.fingerprint()
    monkeypatch.setattr(numba, "__version__", "0.0")
    assert jit.fingerprint() != before
    monkeypatch.undo()
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_name", lambda: "other")
    assert jit.fingerprint() != before


INSIDE = """
import numpy as np
from dask_dl import jit
from dask_dl.kernels.layers import dot

@jit.entry
def NAME(x):
    return dot(x, x)

a = np.ones(3, np.float32)
for _ in range(2):  # before it is compiled, and after
    try:
        dot(a, a)
    except TypeError as error:
        print("refused" if "called by kernels only" in str(error) else error)
    print(NAME(a))
print(sum(dot.stats.cache_hits.values()), jit.entry(dot.py_func)(a, a))
"""


def test_a_kernel_that_python_cannot_call_refuses_to_be_called(tmp_path):
    """It has no code to be called by: a call would crash the process. What the cache holds of it is told from an entry."""
    environment = os.environ | {"DASK_DL_CACHE_DIR": str(tmp_path)}
    for name, hits in (("first", "0"), ("second", "1")):  # the second is compiled with a kernel of the cache
        done = subprocess.run(
            [sys.executable, "-c", INSIDE.replace("NAME", name)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert done.stdout.split() == ["refused", "3.0", "refused", "3.0", hits, "3.0"]


def test_what_the_package_calls_of_kernels_are_entries():
    called = {}
    for path in Path(dask_dl.__file__).parent.rglob("*.py"):
        if path.parent.name != "kernels":
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dask_dl.kernels."):
                    module = importlib.import_module(node.module)
                    called |= {name.name: getattr(module, name.name) for name in node.names}
    compiled = {name: found for name, found in called.items() if isinstance(found, CPUDispatcher)}
    assert {"train_rows", "train_batches", "predict_batches"} <= compiled.keys()
    assert [name for name, found in compiled.items() if isinstance(found, jit.Kernel)] == []


def test_settings_of_the_caller_are_left_alone(tmp_path):
    code = """
import numba
before = vars(numba.config).copy()
import dask_dl.training.engine
print(vars(numba.config) == before)
"""
    environment = os.environ | {"DASK_DL_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "True"


def test_divergence_stays_visible():
    assert jit.FASTMATH.isdisjoint({"nnan", "ninf"})


def test_without_compilation_kernels_are_plain_python(tmp_path):
    code = "from dask_dl.kernels.network import pad; print(pad(17))"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "DASK_DL_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "32"
