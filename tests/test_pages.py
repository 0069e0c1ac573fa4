"""Pages of the documentation: their lines wrap, and the Python code of the guides runs, from top to bottom of a page."""

from __future__ import annotations

import re
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
from distributed import LocalCluster

ROOT = Path(__file__).parents[1]
DOCS = [
    *(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING")),
    *sorted((ROOT / "docs").glob("**/*.md")),
]
GUIDES = [ROOT / "README.md", ROOT / "docs/index.md", *sorted((ROOT / "docs/guide").glob("*.md"))]
WIDTH = 120
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "tcp://scheduler:8786"  #: in its place the code gets that of a cluster of the tests
QUEUE = "from dask_jobqueue import"  #: needs SLURM


def name_of(path):
    return str(path.relative_to(ROOT))


def long_lines(markdown):
    """Lines of prose that are too long: tables, code and the addresses of links do not count."""
    lines = FENCE.sub("", markdown).splitlines()
    return [
        line for line in lines if not line.startswith(("|", "    ")) and len(re.sub(r"\]\(\S+\)", "]", line)) > WIDTH
    ]


@pytest.mark.parametrize("path", DOCS, ids=name_of)
def test_lines_wrap(path):
    assert long_lines(path.read_text("utf-8")) == []


def test_a_long_line_is_found():
    long = "word " * 24 + "word"
    allowed = f"| {long} |\n\n```\n{long}\n```\n\n    {long}\n\n[word](https://{'x' * WIDTH}.org)\n"
    assert long_lines(f"{allowed}\n{long}\n") == [long]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder with the tables that the guides read."""
    folder, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    for year, n in ((2024, 200), (2025, 100)):
        hour = rng.integers(24, size=n)
        table = pd.DataFrame(
            {
                "flight_id": np.arange(n),
                "month": rng.integers(1, 13, size=n),
                "carrier": rng.choice(["AA", "BB", "CC"], size=n),
                "hour": hour,
                "distance": rng.gamma(2, 500, size=n),
                "delayed": np.where(rng.random(n) < hour / 40, "yes", "no"),
            }
        )
        (folder / f"flights/{year}").mkdir(parents=True)
        for k in range(4):
            table[k::4].to_parquet(folder / f"flights/{year}/{k}.parquet")
    exposure = rng.uniform(0.1, 1, size=100)
    claims = {
        "age": rng.integers(18, 80, size=100),
        "exposure": exposure,
        "claims": rng.poisson(exposure),
        "weight": 1.0,
    }
    pd.DataFrame(claims).to_csv(folder / "claims.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def address():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
@pytest.mark.parametrize("path", GUIDES, ids=name_of)
def test_code_runs(path, tables, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    for table in tables.iterdir():
        (tmp_path / table.name).symlink_to(table)
    names = {"__name__": path.stem}
    with dask.config.set({"temporary-directory": None}):  # what a page sets is set back
        for block in CODE.findall(path.read_text("utf-8")):
            if QUEUE in block:
                continue
            code = block.replace(ADDRESS, request.getfixturevalue("address")) if ADDRESS in block else block
            exec(compile(code, name_of(path), "exec"), names)
    if "client" in names:
        names["client"].close()
