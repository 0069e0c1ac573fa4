"""Table of a search's candidates while they are trained: in a terminal below the lines, in a notebook in place."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

from dask_dl.events import Compared
from dask_dl.show.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

    from dask_dl.events import Event

#: Candidates that are shown.
N_SHOWN = 10
#: Columns that say nothing of how good a candidate is.
UNSHOWN = ["error", "model"]


class LiveLeaderboard(Progress):
    """Listener that prints lines as `Progress` does, and keeps the best candidates in sight."""

    _n_lines = 0  #: of the table, which is below the last line
    _table: pd.DataFrame | None = None
    _display: Any = None  #: handle of the notebook's output

    def __call__(self, event: Event, /) -> None:
        """Print what an event says."""
        if not isinstance(event, Compared):
            super().__call__(event)
        elif not self.quiet:
            self._table = shown(event.leaderboard, event.metric)
            self._show()

    def say(self, text: str) -> None:
        """One line, above the table."""
        if self._n_lines:
            self._write(f"\x1b[{self._n_lines}A\x1b[J")
            self._n_lines = 0
            super().say(text)
            self._show()
        else:
            super().say(text)

    def _show(self) -> None:
        """Show the table anew, where it can be seen: what a log or a file gets are the lines."""
        assert self._table is not None
        if (display := notebook()) is not None:
            if self._display is None:
                self._display = display(self._table, display_id=True)
            else:
                self._display.update(self._table)
        elif self._is_terminal:
            if self._n_lines:
                self._write(f"\x1b[{self._n_lines}A\x1b[J")
            width = shutil.get_terminal_size().columns
            lines = [line[: width - 1] for line in self._table.to_string(max_colwidth=24).splitlines()]
            self._n_lines = len(lines)
            self._write("\n".join([*lines, ""]))

    @property
    def _is_terminal(self) -> bool:
        stream = self._stream or sys.stdout
        try:
            return bool(stream.isatty())
        except (AttributeError, ValueError):
            return False

    def _write(self, text: str) -> None:
        try:
            print(text, end="", file=self._stream or sys.stdout, flush=True)
        except (OSError, ValueError):  # as in `Progress`
            self.quiet = True


def shown(leaderboard: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The best candidates, with the metric that judges first."""
    table = leaderboard.drop(columns=[name for name in UNSHOWN if name in leaderboard])
    return table[[metric, *(name for name in table if name != metric)]].head(N_SHOWN)


def notebook() -> Any:
    """Function `display` of IPython where this is a notebook; else None."""
    ipython: Any = sys.modules.get("IPython")  # whoever runs a notebook has imported it
    if ipython is None or getattr(ipython.get_ipython(), "kernel", None) is None:
        return None
    return ipython.display.display
