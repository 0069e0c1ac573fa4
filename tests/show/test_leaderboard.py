"""The table of candidates while they are trained."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from dask_dl.events import Compared, Message
from dask_dl.show.leaderboard import LiveLeaderboard, shown

TABLE = pd.DataFrame({"l1": [0.1, 0.2], "logloss": [0.5, 0.6], "error": ["", "x" * 500], "model": ["a", "b"]})


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_best_come_with_their_metric_first():
    table = shown(pd.concat([TABLE] * 10), "logloss")
    assert list(table.columns) == ["logloss", "l1"] and len(table) == 10


def test_a_terminal_keeps_the_table_below_the_lines(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    live = LiveLeaderboard(quiet=False, stream=stream)
    live(Message("one"))
    live(Compared(TABLE.iloc[:1], "logloss"))
    live(Message("two"))
    live(Compared(TABLE, "logloss"))
    before, after = stream.getvalue().split("two")
    assert before.startswith("one\n   logloss") and before.endswith("\x1b[2A\x1b[J")
    assert after.count("\x1b[2A\x1b[J") == 1 and after.endswith("0.2\n")
    assert max(map(len, after.splitlines())) < 40


def test_a_log_has_lines_only():
    stream = io.StringIO()
    live = LiveLeaderboard(quiet=False, stream=stream)
    live(Compared(TABLE, "logloss"))
    live(Message("one"))
    assert stream.getvalue() == "one\n"


@pytest.mark.parametrize("quiet", [True, False])
def test_a_notebook_shows_one_table_that_changes(monkeypatch, quiet):
    said = []
    handle = SimpleNamespace(update=lambda table: said.append(("update", len(table))))

    def display(table, display_id):
        said.append(("display", len(table)))
        return handle

    ipython = SimpleNamespace(
        get_ipython=lambda: SimpleNamespace(kernel=object()), display=SimpleNamespace(display=display)
    )
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    live = LiveLeaderboard(quiet=quiet, stream=io.StringIO())
    live(Compared(TABLE.iloc[:1], "logloss"))
    live(Compared(TABLE, "logloss"))
    assert said == ([] if quiet else [("display", 1), ("update", 2)])


def test_a_shell_of_ipython_is_no_notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=SimpleNamespace))
    stream = io.StringIO()
    LiveLeaderboard(quiet=False, stream=stream)(Compared(TABLE, "logloss"))
    assert not stream.getvalue()
