"""JSON as typed values: what a file says is taken for nothing until it has the form that a schema gives it.

A schema is a `Document`: fields with types and bounds, and `__post_init__` for what must hold between them, which raises
ValueError. A field with a default may be missing, as it is in files of versions that did not know it.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from dask_dl.errors import ArchiveError

T = TypeVar("T")

#: A number of things, or of something that happened; exact as a float.
Count = Annotated[int, Meta(ge=0, le=2**53)]
#: A statistic of a column: scan and encoding compute squares, and refuse columns whose squares leave the finite numbers.
Statistic = Annotated[float, Meta(ge=-1e300, le=1e300)]
Deviation = Annotated[float, Meta(ge=0, le=1e170)]
#: What a value is multiplied by: 1, or 1 / deviation.
Factor = Annotated[float, Meta(ge=1e-170, le=1e170)]
#: A measured number; what JSON has no number for is None (NaN) or a word.
Figure = float | None | Literal["infinity"]
#: A text that only people read.
Remark = Annotated[str, Meta(max_length=10_000)]
#: An object whose content is not looked at: it may be any JSON that `check_weight` lets pass.
Opaque = msgspec.Raw

#: Lists, objects and keys within an opaque object: an empty list takes 3 bytes of text and 64 of memory.
MAX_PARTS = 10_000


class Document(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of all schemas: an object with these keys and no others."""


def decode(text: bytes | Opaque, schema: type[T], where: str) -> T:
    """Return the value of a JSON text.

    Parameters
    ----------
    text : bytes
        UTF-8.
    schema : type
        What it must be.
    where : str
        File and part of it, for errors.

    Returns
    -------
    schema
        The value, of that type.

    Raises
    ------
    ArchiveError
        It is no JSON, or not of this form.
    """
    try:
        return msgspec.json.decode(text, type=schema)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ArchiveError(f"{where}: {error}.") from error


def check_keys(text: bytes, where: str) -> None:
    """Refuse JSON in which a key stands twice: `decode` would take the last one. Raises ArchiveError."""
    repeated: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            repeated.append(Counter(key for key, _ in pairs).most_common(1)[0][0])

    try:
        json.loads(text, object_pairs_hook=note)
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{where}: {error}.") from error
    if repeated:
        raise ArchiveError(f"{where}: the key {repeated[0][:60]!r} stands twice in one object.")


def check_weight(text: Opaque, what: str) -> None:
    """Refuse an opaque object that takes far more memory and time to open than it has bytes. Raises ValueError."""
    raw = bytes(text)
    if sum(map(raw.count, (b"[", b"{", b":"))) > MAX_PARTS:
        raise ValueError(f"{what}: more than {MAX_PARTS:,} lists, objects and keys")


def opened(text: Opaque, where: str) -> dict[str, Any]:
    """Return the content of an opaque object, whose weight was checked. Raises ArchiveError."""
    return decode(text, dict[str, Any], where)
