"""The fitted value, and files of it."""

from __future__ import annotations

from dask_dl.model.model import Model, TrainedNetwork
from dask_dl.model.record import TrainingRecord

__all__ = ["Model", "TrainedNetwork", "TrainingRecord"]
