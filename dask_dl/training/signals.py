"""Signals that end a training: Ctrl-C, and the end of a job's wall time."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class Signals:
    """Signals that came while this listened."""

    def __init__(self) -> None:
        self.interrupted = False  #: whether there was a Ctrl-C, which Python drops where it falls into a finalizer
        self.terminated = False  #: whether there was a SIGTERM

    @contextlib.contextmanager
    def listening(self, *, to_sigterm: bool) -> Iterator[None]:
        """Note every Ctrl-C beside what else it does, and every SIGTERM instead; on the main thread, which alone may."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {}
        on_interrupt = signal.getsignal(signal.SIGINT)

        def interrupt(number: int, frame: Any) -> None:
            self.interrupted = True
            assert callable(on_interrupt), "else this is not set"
            on_interrupt(number, frame)

        def terminate(_number: int, _frame: Any) -> None:
            self.terminated = True

        try:
            if callable(on_interrupt):
                before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
            if to_sigterm:
                before[signal.SIGTERM] = signal.signal(signal.SIGTERM, terminate)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
