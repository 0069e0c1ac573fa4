"""Checks of the files that a command writes, made before the work and not after it."""

from __future__ import annotations

import fnmatch
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_dl.errors import ParameterError
from dask_dl.paths import is_url

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_file(path: str, option: str, *, overwrite: bool, others: Sequence[str]) -> None:
    """Whether a file can be written to a path or URL.

    Parameters
    ----------
    path : str
    option : str
        What names it, for errors.
    overwrite : bool
        Whether a file that exists may be replaced.
    others : sequence of str
        Paths, globs and URLs of what the command reads or writes besides, and must not replace.

    Raises
    ------
    ParameterError
    """
    there, place = filesystem_of(path, option)
    if is_local(there):
        _check_writable(Path(place), option)
    for name in others:
        if _is_one_of(there, place, name, option):
            raise ParameterError(f"{option}: {path} is {name}, another file of this command. Name a third one.")
    if not overwrite and exists(there, place, path, option):
        raise ParameterError(f"{option}: {path} exists; name another file, or add --overwrite.")


def filesystem_of(path: str, option: str) -> tuple[Any, str]:
    """(fsspec's file system, the path there). Raises ParameterError where it cannot be used."""
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    if not is_url(path):
        return LocalFileSystem(), path
    try:
        there, place = url_to_fs(path)
    except Exception as error:  # unknown protocols, packages that are missing, credentials, ...: each raises its own
        raise ParameterError(f"{option}: {path} cannot be used: {error}.") from error
    return there, str(place)


def is_local(there: Any) -> bool:
    """Whether a file system is that of this machine."""
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(there, LocalFileSystem)


def exists(there: Any, place: str, path: str, option: str) -> bool:
    """Whether there is something at a place.

    Parameters
    ----------
    there : fsspec.AbstractFileSystem
        File system of the place: see `filesystem_of`.
    place : str
        Path on that file system.
    path : str
        Path or URL as the user gave it, for errors.
    option : str
        Option that gave it, for errors.

    Returns
    -------
    bool

    Raises
    ------
    ParameterError
        When the file system does not answer.
    """
    try:
        return bool(there.exists(place))
    except Exception as error:  # as above
        raise ParameterError(f"{option}: cannot see whether {path} exists: {error}. Is it reachable?") from error


def _is_one_of(there: Any, place: str, name: str, option: str) -> bool:
    """Whether a place is the file, or one of the files of a glob, that `name` says."""
    other, files = filesystem_of(name, option)
    if is_local(there) and is_local(other):
        return fnmatch.fnmatch(str(Path(place).resolve()), str(Path(files).resolve()))
    return type(there) is type(other) and fnmatch.fnmatch(place, files)


def _check_writable(target: Path, option: str) -> None:
    if not target.name or target.is_dir() or (target.exists() and not target.is_file()):
        raise ParameterError(f"{option}: {str(target)!r} is not the name of a file.")
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise ParameterError(
            f"{option}: nothing can be written to the folder {str(target.parent)!r}: {error.strerror or error}."
        ) from error
