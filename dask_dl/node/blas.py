"""BLAS keeps quiet while kernels run: every library that brings one (NumPy and SciPy bring one each) is held to one thread."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from collections.abc import Iterator

_one_holds = threading.Lock()


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold every BLAS in the process to one thread inside the `with`, and put back what was there before.

    The limit belongs to the process. Of trainings that overlap in several threads one holds it: if each put back what it
    had found, the last could leave the limit of another behind for good.
    """
    if not _one_holds.acquire(blocking=False):
        yield
        return
    try:
        with ThreadpoolController().limit(limits=1, user_api="blas"):
            yield
    finally:
        _one_holds.release()
