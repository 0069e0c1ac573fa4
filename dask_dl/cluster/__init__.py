"""Backends, which keep rows, and trainers on them: in this process, or on a Dask cluster."""

from __future__ import annotations

from dask_dl.cluster.backend import Backend
from dask_dl.cluster.local import LocalBackend
from dask_dl.cluster.local_trainer import LocalTrainer
from dask_dl.cluster.trainer import Trainer

__all__ = ["Backend", "LocalBackend", "LocalTrainer", "Trainer"]
