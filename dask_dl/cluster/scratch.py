"""Folders on the local disk that are gone when their process is done with them, or at the next start after it was killed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import dask

from dask_dl.errors import StorageError

if TYPE_CHECKING:
    from distributed.diskutils import WorkDir


def base() -> Path:
    """The folder of this process' scratch: Dask's, or the system's."""
    configured = dask.config.get("temporary-directory", None)
    user = os.getuid() if hasattr(os, "getuid") else 0
    return Path(configured or tempfile.gettempdir()) / f"dask-dl-scratch-{user}"


class Scratch:
    """A folder that is made when it is first wanted.

    Dask's `WorkSpace` locks it for this process, and removes the folders of processes that are gone.

    Parameters
    ----------
    base : Path
        Where it is made.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._folder: WorkDir | None = None

    def folder(self) -> Path:
        """The folder. Raises StorageError."""
        if self._folder is None:
            from distributed.diskutils import WorkSpace  # half a second, which only those pay who need it

            try:
                self._folder = WorkSpace(str(self._base)).new_work_dir(prefix="blocks-")
            except OSError as error:
                raise StorageError(
                    f"no folder for encoded rows can be made in {self._base}: {error}. Choose another one by Dask's setting "
                    f"temporary-directory."
                ) from error
        return Path(self._folder.dir_path)

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.release()


def purge(base: Path) -> None:
    """Remove what processes left that were killed."""
    if any(base.glob("*.dirlock")):
        with contextlib.suppress(StorageError):
            scratch = Scratch(base)
            scratch.folder()
            scratch.remove()
