"""Serial kernels on plain arrays: one row forward, one row backward. They know nothing of threads, pandas or Dask."""

from __future__ import annotations
