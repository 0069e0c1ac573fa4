"""Backends, which train rounds: in this process, or on a Dask cluster."""

from __future__ import annotations

from dask_dl.cluster.backend import Backend
from dask_dl.cluster.local import LocalBackend

__all__ = ["Backend", "LocalBackend"]
