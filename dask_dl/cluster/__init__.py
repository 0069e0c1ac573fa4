"""Where rounds are trained: the in-process twin of a cluster."""

from __future__ import annotations

from dask_dl.cluster.place import Place
from dask_dl.cluster.twin import Twin

__all__ = ["Place", "Twin"]
