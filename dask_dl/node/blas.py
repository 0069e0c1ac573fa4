"""BLAS keeps quiet while kernels run: every library that brings one (NumPy and SciPy bring one each) is held to one thread."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from typing import TYPE_CHECKING

from threadpoolctl import ThreadpoolController

from dask_dl.node.threads import has_started

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds after which the keeper looks by itself, should an interrupt have kept somebody from telling it.
MAX_SPINS = 0.5
_lock = threading.Lock()
_holders: set[object] = set()
_keeper: _Keeper | None = None  #: that holds the limit now
_last: _Keeper | None = None  #: that held it before, and may still be putting things back


class _Keeper(threading.Thread):
    """Sets the limit and puts back what was there, where no interrupt can come between the two."""

    def __init__(self, before: _Keeper | None) -> None:
        super().__init__(name="dask_dl-blas", daemon=True)
        self.before = before
        self.holds, self.look, self.is_done = threading.Event(), threading.Event(), threading.Event()

    def run(self) -> None:
        global _keeper  # noqa: PLW0603  # limits belong to the process
        try:
            if self.before is not None:
                self.before.is_done.wait(10)
                self.before = None
            with _controller(len(sys.modules)).limit(limits=1, user_api="blas"):
                self.holds.set()
                while True:
                    self.look.wait(MAX_SPINS)
                    self.look.clear()
                    with _lock:
                        if not _holders:
                            _keeper = None
                            break
        finally:
            self.holds.set()
            self.is_done.set()


@functools.lru_cache(1)
def _controller(n_modules: int) -> ThreadpoolController:  # noqa: ARG001  # more modules may have brought more libraries
    """Knows the libraries that are loaded; looking for them takes 2 ms, which short rounds feel."""
    return ThreadpoolController()


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold every BLAS in the process to one thread inside the `with`, and put back what was there before.

    Of trainings that overlap in several threads the first sets the limit and the last puts back what was there. Libraries
    that are loaded meanwhile are not held, nor those that the caller holds by threadpoolctl itself.
    """
    global _keeper, _last  # noqa: PLW0603  # as in `run`: one limit in a process
    token = object()
    try:
        with _lock:
            _holders.add(token)
            keeper = _keeper
            if keeper is None:
                before = _last
                keeper = _keeper = _last = _Keeper(before)
                try:
                    keeper.start()
                except BaseException:  # whatever it is, it is raised again
                    if not has_started(keeper):
                        _keeper, _last = None, before
                    raise
        keeper.holds.wait()
        yield
    finally:
        _holders.discard(token)  # one step, that no interrupt can cut in two
        current = _keeper
        if current is not None:
            current.look.set()
            while not _holders and not current.is_done.wait(0.01):
                pass
