"""BLAS keeps quiet while kernels run: every library that brings one (NumPy and SciPy bring one each) is held to one thread."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from collections.abc import Iterator

_lock = threading.Lock()
_n_holders = 0
_limit: contextlib.AbstractContextManager[object] | None = None


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold every BLAS in the process to one thread inside the `with`.

    Limits belong to the process: of trainings that overlap in several threads the first sets them and the last puts back
    what was there before. Libraries that are loaded meanwhile are not held.
    """
    global _n_holders, _limit  # noqa: PLW0603  # so do the libraries' own settings
    with _lock:
        if _n_holders == 0:
            _limit = ThreadpoolController().limit(limits=1, user_api="blas")
            _limit.__enter__()
        _n_holders += 1
    try:
        yield
    finally:
        with _lock:
            _n_holders -= 1
            if _n_holders == 0 and _limit is not None:
                _limit.__exit__(None, None, None)
                _limit = None
