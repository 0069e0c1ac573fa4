"""Heads, one for each task: all that depends on what is learned, from the column of the target to the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_dl.tasks.classes import Classes
from dask_dl.tasks.numbers import Numbers
from dask_dl.tasks.reconstruction import Reconstruction

if TYPE_CHECKING:
    from dask_dl.tasks.head import Head

#: Heads by the name of the task.
HEADS: dict[str, type[Head]] = {head.task: head for head in (Classes, Numbers, Reconstruction)}

__all__ = ["HEADS", "Classes", "Numbers", "Reconstruction"]
