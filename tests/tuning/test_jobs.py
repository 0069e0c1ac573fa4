"""The order of trainings."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dask_dl.errors import ParameterError
from dask_dl.tuning.candidates import Candidate
from dask_dl.tuning.jobs import Halving, Once


def candidates(n):
    return [Candidate(k, {"rho": np.array([k])}, {}) for k in range(n)]  # not comparable


def run(jobs, value, n_beside=1):
    """Epochs of every candidate, where so many are trained at a time; each has the value of its number."""
    spent, values, running = {}, {}, []
    while True:
        while len(running) < n_beside and (job := jobs.next()) is not None:
            running.append(job)
        if not running:
            return spent
        job = running.pop(0)
        number = job.candidate.number
        assert job.epochs is None or job.epochs > spent.get(number, 0)
        spent[number] = job.epochs
        values.setdefault(number, []).append(value(number))
        jobs.ended(job.candidate, values[number])


def test_once_is_all_in_order():
    jobs = Once(candidates(3))
    jobs.ended(candidates(3)[1], [0.5])
    assert [jobs.next().candidate.number for _ in range(2)] == [0, 2]
    assert jobs.next() is None


@pytest.mark.parametrize("n_beside", [1, 3])
@pytest.mark.parametrize("greater", [True, False])
def test_the_best_third_goes_on(n_beside, greater):
    jobs = Halving(candidates(9), 9.0, None, 3, greater_is_better=greater)
    assert jobs.epochs == [1.0, 3.0, 9.0]
    spent = run(jobs, float, n_beside)
    best = 8 if greater else 0
    assert spent[best] == 9.0
    assert len(spent) == 9
    if n_beside == 1:
        assert sorted(spent.values()) == [1.0] * 6 + [3.0] * 2 + [9.0]
    # Side by side, some are among the best only until the others have ended.
    assert sum(1 for epochs in spent.values() if epochs > 1.0) <= 5


def test_rungs_begin_with_the_epochs_that_are_asked_for():
    assert Halving(candidates(30), 10.0, 1.0, 3, greater_is_better=False).epochs == [1.0, 3.0, 9.0, 10.0]
    assert Halving(candidates(30), 8.0, 1.0, 2, greater_is_better=False).epochs == [1.0, 2.0, 4.0, 8.0]
    assert Halving(candidates(2), 10.0, None, 3, greater_is_better=False).epochs == [10.0]
    with pytest.raises(ParameterError, match="min_epochs=10"):
        Halving(candidates(3), 10.0, 10.0, 3, greater_is_better=False)


def test_those_that_fail_go_nowhere():
    spent = run(Halving(candidates(9), 9.0, None, 3, greater_is_better=True), lambda n: math.nan if n % 3 else n)
    assert spent[6] == 9.0
    assert all(spent[n] == 1.0 for n in range(9) if n % 3)


def test_what_an_earlier_search_did_is_not_due():
    first = Halving(candidates(9), 9.0, None, 3, greater_is_better=True)
    for candidate in candidates(9):
        first.ended(candidate, [float(candidate.number)])
    first.ended(candidates(9)[8], [8.0, 8.5])
    due = []
    while (job := first.next()) is not None:
        due.append((job.candidate.number, job.rung, job.epochs))
    assert due == [(7, 1, 3.0), (6, 1, 3.0)]
