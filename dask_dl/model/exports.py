"""Models that are written to a folder as they are finished."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from dask_dl.checkpoint.exports import check_exports, path_in
from dask_dl.model.files import save_model

if TYPE_CHECKING:
    from dask_dl.model.model import Model

__all__ = ["check_exports", "export_model"]


def export_model(model: Model, folder: str) -> str:
    """Write a model to a folder or URL; returns its path.

    Its name is its task and twelve digits of a hash of its weights and counters: equal models have one file.
    """
    record, network = model.record, model.network
    digest = hashlib.sha256(network.flat.tobytes() + repr((record.n_seen, record.n_rounds)).encode()).hexdigest()
    path = path_in(folder, f"{model.task}-{digest[:12]}.zip")
    save_model(model, path)
    return path
