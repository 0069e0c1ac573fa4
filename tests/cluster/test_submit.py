"""Waiting for tasks on certain workers."""

from __future__ import annotations

from types import SimpleNamespace

from dask_dl.cluster.plugin import GoneError
from dask_dl.cluster.submit import Submitter


class ClosedLoop:
    """An event loop that takes nothing more: futures are looked at, and tell nothing by themselves."""

    def call_soon_threadsafe(self, *_):
        raise RuntimeError


class Task:
    """A future that changes its status, and that of others, when something is asked of it."""

    def __init__(self, status, *others):
        self.status, self.others, self._state = status, others, None

    def exception(self):
        for other in self.others:
            other.status = "error"
        return GoneError("gone")


def submitter():
    client = SimpleNamespace(loop=SimpleNamespace(asyncio_loop=ClosedLoop()), cancel=lambda futures: None)
    alive = SimpleNamespace(looked=float("inf"))
    return Submitter(client, alive, "job", 1.0, lambda line: None)


def test_a_task_that_fails_while_another_is_asked_for_its_error_is_lost_too():
    second = Task("pending")
    assert submitter().wait({"b": second, "a": Task("error", second)}) == {"a", "b"}


def test_a_task_that_ends_well_is_not_lost():
    assert submitter().wait({"b": Task("finished"), "a": Task("error")}) == {"a"}
