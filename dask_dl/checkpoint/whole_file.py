"""Files that are replaced whole or not at all, on a local path or an fsspec URL."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from dask_dl.errors import ArchiveError
from dask_dl.paths import is_url

if TYPE_CHECKING:
    from collections.abc import Iterator

_REMEDIES = {
    errno.ENOENT: "create the folder first",
    errno.ENOTDIR: "a part of the path is a file: save into a folder",
    **dict.fromkeys([errno.EACCES, errno.EPERM, errno.EROFS], "save where you may write"),
    **dict.fromkeys([errno.ENOSPC, errno.EDQUOT, errno.EFBIG], "free some space or save elsewhere"),
}


@contextlib.contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Give a new empty file that takes the place of `path` when the body ends, and is gone if the body fails."""
    if is_url(path):
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        filesystem, remote = url_to_fs(path)
        if not isinstance(filesystem, LocalFileSystem):
            with tempfile.NamedTemporaryFile(prefix="dask_dl-") as file:
                yield file
                file.flush()
                filesystem.put_file(file.name, remote)
            return
        path = remote  # file:// is a local path, and fsspec would overwrite it in place
    target = Path(path).resolve()  # through links, as open() writes
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "cannot save over a folder; name a file inside it", str(path))
    if target.exists() and not target.is_file():  # as root, a rename would do away with /dev/null
        raise OSError(errno.EINVAL, "cannot save over a device; name an ordinary file", str(path))
    # In the same folder, for a rename is one step only within a file system.
    temporary = target.parent / f".dask_dl-{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("x+b") as file:
            if target.exists():  # before there is anything to read in it
                shutil.copymode(target, temporary)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        if error.errno is None:
            raise
        remedy = _REMEDIES.get(error.errno, "save elsewhere")
        msg = f"cannot save: {error.strerror}; {remedy}. A file already there is unchanged"
        raise OSError(error.errno, msg, str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # renamed already, or never made
            temporary.unlink()
    # The rename should survive a power cut too. Some network file systems cannot promise it; the file is whole anyway.
    with contextlib.suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open the file at `path`; while it is read it stays the same, even if `path` is replaced meanwhile."""
    if is_url(path):
        import fsspec

        with fsspec.open(path, "rb") as remote, tempfile.TemporaryFile(prefix="dask_dl-") as file:
            shutil.copyfileobj(remote, file)
            file.seek(0)
            yield file
    else:
        local = Path(path)
        if local.exists() and not local.is_file():  # a device could be read for ever
            raise ArchiveError(f"{path} is a {'folder' if local.is_dir() else 'device'}, not a saved file.")
        with local.open("rb") as file:
            yield file
