"""The peak that is printed before work starts: its terms, and the whole of it."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from dask_dl import DeepLearningRegressor, memory
from dask_dl.cluster import Twin

RUN = """
import re, sys
import dask.dataframe as dd
from dask_dl import DeepLearningRegressor
table = dd.read_parquet(sys.argv[1])
DeepLearningRegressor(hidden=(8,), epochs=1.5, random_state=1, verbose=True).fit(table, "y", eval_set=table)
status = open("/proc/self/status").read()  # ru_maxrss would begin with the peak of the process that started this one
print("peak", int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024)
"""
UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def figures(line):
    """Bytes by name of a printed line."""
    parts = re.findall(r"([\d.,]+) (B|kB|MB|GB)(?: = | (?=[a-z]))?([a-z ]*)", line)
    return [(float(number.replace(",", "")) * UNITS[unit], name.strip()) for number, unit, name in parts]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("rows")
    random = np.random.default_rng(0)
    for k in range(6):
        part = pd.DataFrame(random.normal(size=(50_000, 12)), columns=[f"c{i}" for i in range(12)])
        part["level"] = random.choice([f"level {i}" for i in range(300)], len(part))
        part["y"] = part["c0"] * 2 + random.normal(size=len(part))
        part.to_parquet(place / f"{k}.parquet")
    return place


def test_real_peak_stays_below_the_printed_one(folder):
    done = subprocess.run([sys.executable, "-c", RUN, folder], capture_output=True, text=True, check=True, timeout=200)
    line = next(line for line in done.stdout.splitlines() if line.startswith("memory: at most"))
    printed = figures(line)[0][0]
    real = float(done.stdout.split("peak")[1])
    assert real <= printed * 1.005, line  # it is printed with three digits
    assert real > 0.6 * printed, line  # a bound that says nothing is no bound


def test_terms_of_blocks_and_network_are_those_of_the_arrays(monkeypatch, capsys):
    random = np.random.default_rng(0)
    n = 5000
    table = pd.DataFrame(random.normal(size=(n, 20)), columns=[f"c{i}" for i in range(20)])
    table = table.assign(level=random.choice(["a", "b"], n), y=random.normal(size=n), w=random.random(n), o=0.5)
    twins = []
    start = Twin.__init__

    def spy(self, *arguments, **more):
        start(self, *arguments, **more)
        twins.append(self)

    monkeypatch.setattr(Twin, "__init__", spy)
    DeepLearningRegressor(hidden=(30, 7), epochs=0.1, verbose=True).fit(table, "y", sample_weight="w", offset="o")
    terms = {name: n_bytes for n_bytes, name in figures(capsys.readouterr().out.split("memory: ")[1].splitlines()[0])}
    (twin,) = twins
    assert terms["encoded rows"] == pytest.approx(twin._store.nbytes, rel=0.01)
    arrays = [twin.replica.flat, *twin.replica.states]
    assert terms["network"] == pytest.approx(sum(a.nbytes for a in arrays), rel=0.01)


def test_the_peak_is_the_sum_of_its_terms():
    need = memory.estimate(
        n_rows=10**6, n_validation=10**5, n_scored=10**4, bytes_per_row=100, n_weights=10**6, n_states=2, n_outputs=10,
        largest_partition=10**8, compiles=True,
    )  # fmt: skip
    total, *terms = figures(str(need))
    assert total[0] == pytest.approx(sum(n for n, _ in terms), rel=0.01) == pytest.approx(need.peak, rel=0.01)
    assert {name for _, name in terms} >= {"imports", "compiler", "encoded rows", "network"}


@pytest.mark.parametrize(("n", "text"), [(5, "5 B"), (1500, "1.5 kB"), (12_345_678, "12.3 MB"), (2.5e12, "2,500 GB")])
def test_sizes_for_people(n, text):
    assert memory.size(n) == text
