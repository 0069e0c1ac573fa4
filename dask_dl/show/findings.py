"""Findings of a check as a table for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_dl.show.page import template

if TYPE_CHECKING:
    from collections.abc import Sequence


def findings_html(summary: str, rows: Sequence[tuple[str, str, str, str]]) -> str:
    """Fragment of HTML: a table of (level, where, text, remedy) under a summary."""
    return template("findings.html").render(summary=summary, rows=rows)
