"""Parts of messages: lists that end in time, and the word that may have been meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence, Sized


def listed(values: Sequence[Any], limit: int = 12, show: Callable[[Any], str] = repr) -> str:
    """Values with commas between them, the first of many: "'a', 'b' and 3 more"."""
    return ", ".join(show(value) for value in values[:limit]) + and_more(values, limit)


def and_more(values: Sized, limit: int) -> str:
    """Number of values beyond the first ones, such as " and 3 more"; empty where there are none."""
    return f" and {len(values) - limit:,} more" if len(values) > limit else ""


def closest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that is most like a word; None where none is as like as `cutoff`, from 0 to 1."""
    import difflib

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)


def shortened(text: str, limit: int = 40) -> str:
    """A text of `limit` characters at most: of a longer one its beginning and its end."""
    if len(text) <= limit:
        return text
    n = limit - 1
    return f"{text[: n - n // 3]}…{text[len(text) - n // 3 :]}"
