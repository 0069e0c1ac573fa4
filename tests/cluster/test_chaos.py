"""Six trainings to which something happens, nearly all kinds of events among them; `python tests/chaos.py` tries more."""

from __future__ import annotations

import random

import pytest
from chaos import run

PLANS = [
    ("workers", "memory", ["kill", "stop", "memory"]),
    ("fixed", "disk", ["kill", "retire"]),
    ("elastic", "memory", ["kill all"]),
    ("workers", "disk", ["gone", "adaptive"]),
    ("fixed", "memory", ["driver"]),
    ("elastic", "memory", ["scheduler"]),
]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("forked_workers")
# A LocalCluster whose workers are killed leaves pipes to them for the garbage collector to close.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_trainings_end_as_they_should_whatever_happens(monkeypatch):
    monkeypatch.setattr("dask_dl.cluster.membership.PREPARING", 5.0)  # else a dead scheduler is waited for
    findings, gaps = run((seed, *plan, random.Random(seed)) for seed, plan in enumerate(PLANS))
    assert not findings
    assert len(gaps) == 9
