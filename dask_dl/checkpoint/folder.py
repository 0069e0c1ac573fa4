"""A folder of training checkpoints: numbered files of which the last few are kept; a local path or an fsspec URL."""

from __future__ import annotations

import contextlib
import errno
import re
import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dask_dl.checkpoint.archive import read_archive, write_archive
from dask_dl.errors import ArchiveError, ParameterError, warn
from dask_dl.paths import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

KEPT = 3
KIND = "training"
_NAME = re.compile(r"checkpoint-(\d{8,18})\.zip")
#: Seconds after which a half-written file is taken for that of a process that was killed.
ABANDONED = 3600.0


T = TypeVar("T")


def _read(path: str) -> Any:
    """Path, arrays and document of a checkpoint."""
    return path, *read_archive(path, kind=KIND)


class CheckpointFolder:
    """Checkpoints of one training, oldest first.

    Parameters
    ----------
    place : str
        Folder; it is made when it is not there, and stays the same when the working folder changes.
    parameter : str
        Parameter that names it, for errors.
    """

    def __init__(self, place: str, parameter: str = "checkpoint_dir") -> None:
        self._parameter = parameter
        place = place.rstrip("/") or place
        self.place = place if is_url(place) else str(Path(place).absolute())

    def prepare(self) -> None:
        """Make the folder and see that it can be written, before work starts. Raises OSError, ParameterError."""
        if is_url(self.place):
            self._prepare_url()
            return
        try:
            folder = self._made()
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            text = (
                f"{self._parameter}: nothing can be written there ({error.strerror}); name a folder that can be written"
            )
            raise type(error)(error.errno, text, self.place) from error
        for leftover in folder.glob(".dask_dl-*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - leftover.stat().st_mtime > ABANDONED:
                    leftover.unlink()

    def _made(self) -> Path:
        """The local folder, made anew where it has vanished."""
        folder = Path(self.place)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _prepare_url(self) -> None:
        """Write and remove an empty file. Raises ParameterError."""
        from fsspec.core import url_to_fs

        try:
            filesystem, path = url_to_fs(self.place)
            filesystem.makedirs(path, exist_ok=True)
            probe = f"{path}/.dask_dl-{secrets.token_hex(8)}.tmp"
            filesystem.pipe_file(probe, b"")
        except Exception as error:  # file systems raise whatever they like
            raise ParameterError(
                f"{self._parameter}: nothing can be written to {self.place}: {error!r}. Check its name, its protocol's package "
                f"and your rights."
            ) from error
        with contextlib.suppress(Exception):  # who may write need not be allowed to remove
            filesystem.rm_file(probe)

    def check_room(self, n_bytes: int) -> None:
        """See that a checkpoint of so many bytes would fit. Raises OSError."""
        if is_url(self.place):
            return  # who stores what is behind a URL does not tell
        free = shutil.disk_usage(self._made()).free
        if free < n_bytes:
            text = (
                f"{self._parameter}: {free:,} bytes are free, and a checkpoint takes {n_bytes:,}; make room or name another "
                f"folder"
            )
            raise OSError(errno.ENOSPC, text, self.place)

    def numbers(self) -> list[int]:
        """Numbers of the checkpoints that are there."""
        if is_url(self.place):
            from fsspec.core import url_to_fs

            filesystem, path = url_to_fs(self.place)
            found = (
                [name.rsplit("/", 1)[-1] for name in filesystem.ls(path, detail=False)]
                if filesystem.exists(path)
                else []
            )
        else:
            folder = Path(self.place)
            found = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(match[1]) for name in found if (match := _NAME.fullmatch(name)))

    def path(self, number: int) -> str:
        """Path of a checkpoint."""
        return f"{self.place}/checkpoint-{number:08d}.zip"

    def write(self, arrays: Mapping[str, np.ndarray], document: Mapping[str, Any]) -> str:
        """Add a checkpoint, whole or not at all, and drop the oldest; returns its path.

        A folder that has vanished is made anew.
        """
        if not is_url(self.place):
            self._made()
        numbers = self.numbers()
        path = self.path(numbers[-1] + 1 if numbers else 1)
        write_archive(path, arrays, document, kind=KIND)
        for number in numbers[: 1 - KEPT]:
            with contextlib.suppress(Exception):  # the new one is there
                self._remove(self.path(number))
        return path

    def newest(self, read: Callable[[str], T] = _read, warn: Callable[[str], None] = warn) -> T | None:
        """Return the newest checkpoint that is whole; None when there is none.

        Parameters
        ----------
        read : callable
            Reads the file of a path, and raises ArchiveError when it is not what it should be, or OSError. By default a
            checkpoint is its path, arrays and document.
        warn : callable
            Told of newer ones that are passed over.

        Returns
        -------
        object or None
            What `read` returns of it.

        Raises
        ------
        ArchiveError
            When there are checkpoints, and none can be read.
        """
        damaged = []
        for number in reversed(self.numbers()):
            path = self.path(number)
            try:
                found = read(path)
            except (ArchiveError, OSError) as error:  # a bad sector costs no more than a damaged file
                damaged.append(f"{path}: {error}")
                continue
            for text in damaged:
                warn(f"passed over: {text} Going on from {path} instead.")
            return found
        if damaged:
            raise ArchiveError(f"no checkpoint in {self.place} can be read. " + " ".join(damaged))
        return None

    def clear(self) -> None:
        """Remove all checkpoints, as far as that is allowed."""
        for number in self.numbers():
            with contextlib.suppress(Exception):
                self._remove(self.path(number))

    def _remove(self, path: str) -> None:
        if is_url(path):
            from fsspec.core import url_to_fs

            filesystem, remote = url_to_fs(path)
            filesystem.rm_file(remote)
        else:
            Path(path).unlink()
