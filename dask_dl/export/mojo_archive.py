"""Zip archives in H2O's format MOJO, read as untrusted: an ini file, and files of lines.

`model.ini` has the parts [info], of keys and their values, [columns], of names, and [domains], of columns with the
number of their levels and the file of these, such as `domains/d000.txt`. Files that begin with `_orig_` have columns and
levels as they were before an encoding. Lines are escaped.
"""

from __future__ import annotations

import re
import struct
import warnings
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from dask_dl.checkpoint.whole_file import opened, replaced
from dask_dl.errors import ArchiveError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

#: Entries, at most: a file for each column of levels.
MAX_ENTRIES = 2**17
#: Bytes to which an archive may be unpacked: so many, and so many times its size. Texts of numbers shrink to a half.
MAX_SMALL, MAX_RATIO = 2**24, 50
#: Bytes to which any archive may be unpacked: the text of more weights than H2O can write.
MAX_BYTES = 2**32
_CHUNK = 2**20
INI = "model.ini"
_DOMAIN = re.compile(r"(\d{1,9}): (\d{1,9}) (d\d{1,9}\.txt)")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_PLAIN = {"n": "\n", "r": "\r", "\\": "\\"}
_INTEGER = re.compile(r"-?\d{1,18}")
_BROKEN = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    zlib.error,
    ValueError,
    OSError,
    struct.error,
)


@dataclass(frozen=True)
class MojoArchive:
    """Content of an archive, as texts."""

    path: str  #: for errors
    info: Mapping[str, str]
    columns: tuple[str, ...]
    domains: Mapping[int, tuple[str, ...]]  #: levels by the place of their column
    lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  #: of other files, by name

    def fault(self, text: str) -> ArchiveError:
        """Error about this archive."""
        return ArchiveError(f"{self.path}: {text}.")

    def has(self, key: str) -> bool:
        """Whether a key has a value."""
        return self.info.get(key, "null") != "null"

    def text(self, key: str) -> str:
        """Value of a key. Raises ArchiveError where there is none, as the other methods do."""
        if not self.has(key):
            raise self.fault(f"{INI} has no {key}")
        return self.info[key]

    def flag(self, key: str) -> bool:
        """Value of a key that is true or false."""
        if (found := self.text(key)) not in {"true", "false"}:
            raise self.fault(f"{INI}: {key} = {found[:40]} is neither true nor false")
        return found == "true"

    def count(self, key: str) -> int:
        """Value of a key that is a number of things."""
        found = self.text(key)
        if not _INTEGER.fullmatch(found) or not 0 <= int(found) < 2**31:
            raise self.fault(f"{INI}: {key} = {found[:40]} is not a number from 0 to {2**31 - 1}")
        return int(found)

    def real(self, key: str) -> float:
        """Value of a key that is a finite number."""
        return float(self._parsed(key, self.text(key), 1)[0])

    def reals(self, key: str, n: int | None = None) -> NDArray[np.float64]:
        """Value of a key that is a list of finite numbers, of which there must be n."""
        found = self.text(key)
        if not (found.startswith("[") and found.endswith("]")):
            raise self.fault(f"{INI}: {key} is no list")
        return self._parsed(key, found[1:-1], n)

    def counts(self, key: str) -> list[int]:
        """Value of a key that is a list of numbers of things."""
        found = self.reals(key)
        if ((found < 0) | (found >= 2**31) | (found != np.floor(found))).any():
            raise self.fault(f"{INI}: {key} has numbers that are not whole, or not from 0 to {2**31 - 1}")
        return [int(number) for number in found]

    def _parsed(self, key: str, text: str, n: int | None) -> NDArray[np.float64]:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # what NumPy says of a text that is no number
            try:
                found = np.fromstring(text, np.float64, sep=",") if text.strip() else np.zeros(0)
            except (DeprecationWarning, ValueError) as error:
                raise self.fault(f"{INI}: {key} has parts that are no numbers") from error
        if n is not None and len(found) != n:
            raise self.fault(f"{INI}: {key} has {len(found):,} numbers, and {n:,} belong there")
        if not np.isfinite(found).all():
            raise self.fault(f"{INI}: {key} has numbers that are not finite")
        return found


def is_mojo(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an archive with the ini file of a MOJO. Raises FileNotFoundError, ArchiveError for a folder."""
    with opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return INI in archive.NameToInfo
        except _BROKEN:
            return False


def read_mojo_archive(path: str | os.PathLike[str]) -> MojoArchive:
    """Read an archive, whose sizes are bounded by that of the file. No code in it is run, and no file is written.

    Raises ArchiveError when it is damaged, of another form, or too large once unpacked; FileNotFoundError.
    """
    with opened(path) as file:
        try:
            texts = _texts(file, str(path))
        except _BROKEN as error:
            if isinstance(error, ArchiveError):
                raise
            raise ArchiveError(f"{path} is damaged: {error}.") from error
    if INI not in texts:
        raise ArchiveError(f"{path} has no {INI}: it is not a MOJO of H2O.")
    parts: dict[str, list[str]] = {"[info]": [], "[columns]": [], "[domains]": []}
    into: list[str] = []
    for line in map(str.strip, texts.pop(INI).split("\n")):
        if line in parts:
            into = parts[line]
        elif line and not line.startswith("#"):
            into.append(line)
    info: dict[str, str] = {}
    for line in parts["[info]"]:
        key, _, value = line.partition("=")
        if key.strip() in info:
            raise ArchiveError(f"{path}: {INI} has {key.strip()[:60]!r} twice.")
        info[key.strip()] = value.strip()
    bare = MojoArchive(str(path), info, tuple(parts["[columns]"]), {})
    is_escaped = bare.has("escape_domain_values") and bare.flag("escape_domain_values")
    lines = {name: _lines(text, is_escaped=is_escaped) for name, text in texts.items()}
    domains = _domains(bare, parts["[domains]"], lines)
    return MojoArchive(bare.path, info, bare.columns, domains, lines)


def _texts(file: IO[bytes], path: str) -> dict[str, str]:
    """Content of the files that matter, by name."""
    size = file.seek(0, 2)
    limit = min(max(MAX_SMALL, MAX_RATIO * size), MAX_BYTES)
    found: dict[str, str] = {}
    with zipfile.ZipFile(file) as archive:
        if len(archive.filelist) > MAX_ENTRIES:
            raise ArchiveError(f"{path} has {len(archive.filelist):,} entries; more than {MAX_ENTRIES:,} are not read.")
        for entry in archive.filelist:
            if not (entry.filename == INI or entry.filename.startswith(("domains/", "_orig_"))):
                continue
            if entry.filename in found:
                raise ArchiveError(f"{path} has {entry.filename[:60]!r} twice.")
            content = bytearray()
            with archive.open(entry) as unpacked:  # its size is believed only once it has been unpacked
                while part := unpacked.read(_CHUNK):
                    limit -= len(part)
                    if limit < 0:
                        raise ArchiveError(f"{path} unpacks to more than {MAX_RATIO} times its size: it is not read.")
                    content += part
            found[entry.filename] = content.decode("utf-8")
    return found


def _lines(text: str, *, is_escaped: bool) -> tuple[str, ...]:
    lines = [line.rstrip("\r") for line in text.split("\n")]
    lines = lines[:-1] if lines[-1] == "" else lines
    return tuple(
        _ESCAPED.sub(lambda found: _PLAIN.get(found[1], found[0]), line) if is_escaped else line for line in lines
    )


def _domains(
    bare: MojoArchive, described: Sequence[str], lines: Mapping[str, tuple[str, ...]]
) -> dict[int, tuple[str, ...]]:
    """Levels by the place of their column."""
    found: dict[int, tuple[str, ...]] = {}
    for line in described:
        parts = _DOMAIN.fullmatch(line)
        if parts is None:
            raise bare.fault(f"{INI}: [domains] has {line[:60]!r}, and not the number of a column and a file d000.txt")
        place, n, name = int(parts[1]), int(parts[2]), parts[3]
        levels = lines.get(f"domains/{name}")
        if levels is None or place in found or place >= len(bare.columns):
            raise bare.fault(f"{INI}: [domains] has {line[:60]!r}, of which there is no such file, or no such column")
        if len(levels) != n:
            raise bare.fault(f"domains/{name} has {len(levels):,} levels, and {INI} says {n:,}")
        found[place] = levels
    return found


def write_mojo_archive(
    path: str | os.PathLike[str],
    info: Mapping[str, object],
    columns: Sequence[str],
    domains: Mapping[int, Sequence[str]],
    lines: Mapping[str, Sequence[str]],
) -> None:
    """Write an archive, whole or not at all.

    Parameters
    ----------
    path : str or path-like
        A local path or an fsspec URL.
    info : mapping of str to object
        Flags, numbers, texts, arrays, or None, by key; as Java writes them.
    columns : sequence of str
    domains : mapping of int to sequence of str
        Levels by the place of their column.
    lines : mapping of str to sequence of str
        Other files, by name.

    Raises
    ------
    OSError
        The folder is missing, read-only or full; nothing was changed.
    """
    files = {f"domains/d{k:03}.txt": levels for k, levels in enumerate(domains.values())} | dict(lines)
    ini = [
        "[info]",
        *(f"{key} = {java(value)}" for key, value in info.items()),
        "",
        "[columns]",
        *columns,
        "",
        "[domains]",
    ]
    ini += [f"{place}: {len(levels)} d{k:03}.txt" for k, (place, levels) in enumerate(domains.items())]
    with replaced(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        # A bare ZipInfo is dated 1980: with the time of writing, equal models would differ.
        archive.writestr(zipfile.ZipInfo(INI), "\n".join(ini) + "\n", zipfile.ZIP_DEFLATED)
        for name, texts in files.items():
            content = "".join(f"{_escaped(text)}\n" for text in texts)
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def java(value: Any) -> str:
    """Text of a value as Java writes it: numbers of floats always have a point or an exponent."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return "[" + ", ".join(map(str, value)) + "]"
    if isinstance(value, (list, tuple, np.ndarray)):
        return "[" + ", ".join(repr(number) for number in np.asarray(value).tolist()) + "]"
    return str(value)
