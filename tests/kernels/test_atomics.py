"""Cells by which threads meet: nothing that several threads add is lost, and what was stored is loaded."""

from __future__ import annotations

import threading

import numpy as np

from dask_dl.jit import entry
from dask_dl.kernels import atomics
from dask_dl.kernels.atomics import LINE


@entry
def count(cells, n):
    for _ in range(n):
        atomics.fetch_add(cells, LINE, 1)


@entry
def add(cells, i, value):
    return atomics.fetch_add(cells, i, value)


@entry
def copied(cells, i, j):
    atomics.store(cells, j, atomics.load(cells, i))


@entry
def times():
    first = atomics.now()
    atomics.pause()
    atomics.yield_cpu()
    return first, atomics.now()


def test_additions_of_several_threads_all_count():
    cells = np.zeros(3 * LINE, np.int64)
    n_threads, n = 4, 200_000
    count(cells, 0)
    threads = [threading.Thread(target=count, args=(cells, n)) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cells[LINE] == n_threads * n
    assert not np.delete(cells, LINE).any()


def test_an_addition_returns_what_was_there():
    cells = np.zeros(2, np.int64)
    assert [add(cells, 1, 5), add(cells, 1, -2), add(cells, 0, 1)] == [0, 5, 0]
    assert cells.tolist() == [1, 3]


def test_a_cell_holds_what_was_stored():
    cells = np.array([0, 2**60 + 1, 0], np.int64)
    copied(cells, 1, 2)
    assert cells.tolist() == [0, 2**60 + 1, 2**60 + 1]


def test_the_clock_is_never_set_back():
    first, second = times()
    assert 0 < first <= second
