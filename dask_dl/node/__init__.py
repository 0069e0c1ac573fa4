"""One machine: replicas of the network, and the threads that train them."""

from __future__ import annotations

from dask_dl.node.replica import Replica

__all__ = ["Replica"]
