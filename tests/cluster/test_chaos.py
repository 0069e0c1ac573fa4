"""Six trainings to which something happens, nearly all kinds of events among them; `python tests/chaos.py` tries more."""

from __future__ import annotations

import random

import chaos
import pytest

PLANS = [
    ("workers", "memory", ["kill", "stop", "memory"]),
    ("fixed", "disk", ["kill", "retire"]),
    ("elastic", "memory", ["kill all"]),
    ("workers", "disk", ["gone", "adaptive"]),
    ("fixed", "memory", ["driver"]),
    ("elastic", "memory", ["scheduler"]),
]
#: Less rest after rounds, and events closer together, than where hours are spent on it.
SHORT = {"REST": 0.1, "BETWEEN": (0.5, 1.5), "STOPS": (1.5, 4.0), "LEASE": 6.0, "WORKER_TIMEOUT": 2.0}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("forked_workers")
# A LocalCluster whose workers are killed leaves pipes to them for the garbage collector to close.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_trainings_end_as_they_should_whatever_happens(monkeypatch):
    for name, value in SHORT.items():
        monkeypatch.setattr(chaos, name, value)
    findings, gaps = chaos.run((seed, *plan, random.Random(seed)) for seed, plan in enumerate(PLANS))
    assert not findings
    assert len(gaps) == 9
