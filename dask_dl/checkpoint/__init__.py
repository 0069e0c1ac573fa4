"""Models and training checkpoints as files: one zarr archive each, written whole or not at all."""

from __future__ import annotations

from dask_dl.checkpoint.archive import read_archive, write_archive

__all__ = ["read_archive", "write_archive"]
