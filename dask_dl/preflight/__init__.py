"""Check before a training: everything that is wrong, and what the training will take."""

from __future__ import annotations

from dask_dl.preflight.findings import CheckReport, Finding
from dask_dl.preflight.steps import check

__all__ = ["CheckReport", "Finding", "check"]
