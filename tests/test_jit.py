"""Compiled once per machine, and never at the price of a run."""

from __future__ import annotations

import os
import subprocess
import sys

import numba

from dask_dl import jit

PROBE = """
import numpy as np
from dask_dl import jit
from dask_dl.kernels.layers import dot
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
    before = jit._fingerprint()
    assert before == jit._fingerprint()
    monkeypatch.setattr(numba, "__version__", "0.0")
    assert jit._fingerprint() != before
    monkeypatch.undo()
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_name", lambda: "other")
    assert jit._fingerprint() != before


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
