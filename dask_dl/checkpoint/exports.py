"""A folder that takes finished models: a local path or an fsspec URL."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dask_dl.errors import ParameterError
from dask_dl.paths import is_url


def check_exports(folder: str) -> None:
    """Make a local folder, and see that it can be written; URLs are tried when there is a model. Raises ParameterError."""
    if is_url(folder):
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ParameterError(
            f"export_checkpoints_dir: nothing can be written to {folder} ({error.strerror}). Name a folder that can be written."
        ) from error


def path_in(folder: str, name: str) -> str:
    """Path or URL of a file in the folder, which is made where it is not there."""
    if is_url(folder):
        from fsspec.core import url_to_fs

        filesystem, place = url_to_fs(folder)
        filesystem.makedirs(place, exist_ok=True)
    else:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return f"{folder.rstrip('/') or folder}/{name}"
