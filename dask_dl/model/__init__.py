"""The fitted value, and files of it."""

from __future__ import annotations

from dask_dl.model.model import Model

__all__ = ["Model"]
