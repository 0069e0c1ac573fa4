"""Trainers on the rows of one backend, alone, in turns and at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from cluster.tables import rounds

from dask_dl import parameters
from dask_dl.cluster.setup import RoundSettings
from dask_dl.events import Listeners
from dask_dl.frame.row_selection import AllBut, AllRows, Fold
from dask_dl.frame.source import open_source
from dask_dl.frame.view import View
from dask_dl.training.engine import Request, encode
from dask_dl.training.preparation import plan
from dask_dl.training.start import Start

#: Rows that a trainer learns from, its hidden layers, and its seed.
TRAININGS = [
    (AllRows(), (6,), 1),
    (AllBut(Fold(0, 3)), (6,), 1),
    (Fold(0, 3), (4, 3), 2),
    (AllBut(Fold(1, 3, "modulo")), (6,), 1),
]
N_ROUNDS, N = 5, 300
TELL = Listeners()


class Training:
    """A trainer on a view, and what it has learned."""

    def __init__(self, backend, encoded, requested, which):
        rows, hidden, seed = which
        problem = plan(encoded.data, requested | {"hidden": hidden}, seed, TELL, backend)
        view = View("training", rows)
        scored = {"training": view}

        def trainer(setup, *more):
            return backend.trainer(replace(setup, view=view, scored=scored), *more)

        self.trainer = Start.fresh(problem).begin(problem, SimpleNamespace(trainer=trainer), lambda now: None)
        self.trainer.compile()
        self.losses = []

    def round(self):
        self.trainer.train(N, RoundSettings(), None)
        self.trainer.average()
        self.losses.append(self.trainer.measure("training").metric("rmse"))

    def learned(self):
        flat, states, _, averaging = self.trainer.snapshot()
        velocity = () if averaging is None or averaging.velocity is None else (averaging.velocity,)
        return self.trainer.n_rows, self.trainer.n_seen, self.losses, (flat, *states, *velocity)


def assert_same(found, expected):
    assert found[:2] == expected[:2]
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-12)
    for mine, theirs in zip(found[3], expected[3], strict=True):
        np.testing.assert_array_equal(mine, theirs)


def asked(X, given):
    requested = parameters.validate(rounds(N) | {"score_training_samples": 0} | given, task="regression")
    return requested, Request(open_source(X, "y"), "regression", requested)


def alone(opened, request, requested):
    """What each training learns on rows of its own."""
    found = []
    for which in TRAININGS:
        with opened() as backend:
            training = Training(backend, encode(request, backend), requested, which)
            for _ in range(N_ROUNDS):
                training.round()
            found.append(training.learned())
    return found


def in_turns(backend, encoded, requested):
    trainings = [Training(backend, encoded, requested, which) for which in TRAININGS[:3]]
    for k in range(N_ROUNDS):
        for training in trainings:
            training.round()
        if k == 1:  # one comes later
            trainings.append(Training(backend, encoded, requested, TRAININGS[3]))
    for _ in range(2):
        trainings[3].round()
    return trainings


def at_once(backend, encoded, requested):
    """From threads, which begin each round together."""
    barrier = threading.Barrier(len(TRAININGS), timeout=60)

    def run(which):
        training = Training(backend, encoded, requested, which)
        for _ in range(N_ROUNDS):
            barrier.wait()
            training.round()
        return training

    with ThreadPoolExecutor(len(TRAININGS)) as pool:
        return list(pool.map(run, TRAININGS))


def counted(monkeypatch, where):
    """Numbers of the partitions that are encoded."""
    numbers, inner = [], where.encode_partition

    def spy(part, recipe, k, n):
        numbers.append(k)
        return inner(part, recipe, k, n)

    monkeypatch.setattr(where, "encode_partition", spy)
    return numbers
