"""Every example runs, as a user would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

FOLDER = Path(__file__).parent.parent / "examples"


class Example(NamedTuple):
    """How an example is run here, and what comes of it."""

    says: str  #: a pattern
    arguments: tuple[str, ...] = ()
    picture: str | None = None
    needs_data: bool = False  #: others that would read real tables take small ones in their place


EXAMPLES = {
    "cluster.py": Example("misread"),
    "ecg.py": Example("of 23 heartbeats: 20, 21, 22\n", picture="ecg.png", needs_data=True),
    "explain.py": Example("claims by age", picture="claims.png", needs_data=True),
    "grid_search.py": Example("after 18 more epochs: ", picture="search-parallel.png"),
    "mlflow_callback.py": Example("ended: "),
    "optuna_search.py": Example("best loss|Optuna is not installed", ("6",)),
    "pretrained.py": Example("500 labels, pretrained", ("1",)),
    "rare_events.py": Example(r"autoencoder +AUC (0\.9|1\.0)", ("30_000",)),
    "typical_digits.py": Example("most typical: ", picture="typical_digits.png"),
}


def test_every_example_is_run():
    assert sorted(EXAMPLES) == [path.name for path in sorted(FOLDER.glob("*.py"))]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.data] * EXAMPLES[name].needs_data) for name in EXAMPLES]
)
def test_it_runs(name, tmp_path, request):
    example = EXAMPLES[name]
    environment = {name: value for name, value in os.environ.items() if name != "DASK_DL_DATA"}
    if example.needs_data:
        environment["DASK_DL_DATA"] = str(request.getfixturevalue("data_folder"))
    done = subprocess.run(
        [sys.executable, FOLDER / name, *example.arguments],
        cwd=tmp_path, env=environment | {"MPLBACKEND": "agg"}, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(example.says, done.stdout), done.stdout
    if example.picture:
        assert (tmp_path / example.picture).read_bytes().startswith(b"\x89PNG")
