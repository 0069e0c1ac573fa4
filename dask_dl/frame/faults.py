"""Faults of a table, noted by a scan that goes on where training would stop at the first."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A quoted value, or the end of a sentence before another one.
_TOKEN = re.compile(r"""(?<![\w'"])(?:'[^'\n]*'|"[^"\n]*")|(?P<end>[.?!])\s+(?=[A-Z`])""")


class Fault(NamedTuple):
    """Reason why a table cannot be trained on."""

    text: str  #: of the error that training would raise
    column: str | None = None
    partitions: tuple[int, ...] = ()  #: those that have it, as far as it lies in some; the text is of the first


def found_and_remedy(text: str) -> tuple[str, str]:
    """Split the text of an error or a warning: its first sentence says what was found, the others what to do."""
    for token in _TOKEN.finditer(text):
        if token["end"]:
            return text[: token.start() + 1], text[token.end() :]
    return text, ""


def gathered(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Faults of several partitions, in their order: those of a column with the same remedy are one."""
    found: dict[tuple[str | None, str], Fault] = {}
    for fault in faults:
        key = fault.column, found_and_remedy(fault.text)[1]
        first = found.setdefault(key, fault)
        if first is not fault:
            found[key] = first._replace(partitions=(*first.partitions, *fault.partitions))
    return tuple(found.values())
