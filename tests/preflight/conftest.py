"""Trials of a moment, and workers that say something else."""

from __future__ import annotations

import pytest
from distributed import Client

from dask_dl.cluster import environment
from dask_dl.preflight import trial


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(trial, "SECONDS", 0.02)


@pytest.fixture
def answers(monkeypatch):
    """Changes of what workers say, by the order in which they are asked."""
    changes, run, asked = {}, Client.run, {}

    async def changed(told, worker, answer):
        said = (await told)[worker]
        return {worker: answer if isinstance(answer, Exception) else said | answer}

    def run_and_change(client, function, *args, workers=None, **more):
        told = run(client, function, *args, workers=workers, **more)
        if function is not environment.describe:
            return told
        numbers = asked.setdefault(client.id, {})
        return changed(told, *workers, changes.get(numbers.setdefault(*workers, len(numbers)), {}))

    monkeypatch.setattr(Client, "run", run_and_change)
    return changes
