"""Standard output and error of a command: a reader who goes away does not end its work."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator


class Unbreakable:
    """A text stream that drops what can no longer be written: to a closed pipe, a closed file, a full disk."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, or drop it."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            self._discard()
            return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._discard()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _discard(self) -> None:
        # Below Python, so that what is still buffered is dropped too: the interpreter would fail on it at its exit.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, self._stream.fileno())
            finally:
                os.close(nowhere)


@contextlib.contextmanager
def unbreakable_streams() -> Iterator[None]:
    """Run the body with such streams, and flush them when it ends."""
    out, err = (_opened(stream) for stream in (sys.stdout, sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            yield
        finally:
            out.flush()
            err.flush()


def _opened(stream: TextIO | None) -> Any:
    """The stream, unbreakable; one to nowhere where a shell started the command without it (`2>&-`)."""
    if stream is None:
        # It takes the free descriptor, 1 or 2: otherwise a model file would, and get what others write there.
        stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  # for as long as the process lives
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")  # a name of a column is no reason to end a training either
    return Unbreakable(stream)
