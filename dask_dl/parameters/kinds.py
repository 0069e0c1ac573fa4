"""Kinds of parameters: which values are legal, and their canonical form."""

from __future__ import annotations

import math
import numbers
import operator
import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_dl.synonyms import fold
from dask_dl.wording import closest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(frozen=True)
class Kind:
    """Legal values: `text` describes them, `read` returns one in its canonical form or raises ValueError (a hint)."""

    text: str
    read: Callable[[Any], Any]


def require(legal: object, hint: str = "") -> None:
    """Raise ValueError with a hint, unless a value is legal."""
    if not legal:
        raise ValueError(hint)


def plain(value: Any) -> Any:
    """Python's own number, word or list in place of NumPy's, without importing NumPy."""
    return value.tolist() if hasattr(value, "tolist") else value


def show(value: Any) -> str:
    """One short line; other objects by their type, because the repr of a table is long and may compute."""
    if isinstance(value, str):
        return f'"{value}"' if len(value) < 60 else reprlib.repr(value)
    plain = value is None or isinstance(value, (numbers.Number, list, tuple))
    return " ".join(reprlib.repr(value).split()) if plain else f"<{type(value).__name__}>"


def near(word: str, known: Iterable[str]) -> str:
    """Hint at the known word that is closest, or an empty string."""
    folded = {fold(k): k for k in known}
    close = closest(fold(word), folded)
    return f'did you mean "{folded[close]}"?' if close is not None else ""


def flag(value: Any) -> Any:
    """Read a flag."""
    value = plain(value)
    require(isinstance(value, bool))
    return value


def number_kind(cast: Callable[[Any], Any], low: float, high: float, ends: str, also: Sequence[float]) -> Kind:
    """Numbers between limits, and a few others.

    Parameters
    ----------
    cast : callable
        Reads a number: `to_float` or `to_int`.
    low, high : float
        Limits.
    ends : {"[)", "[]", "(]", "()"}
        Whether the limits themselves are legal.
    also : sequence of float
        Legal numbers beside those.

    Returns
    -------
    Kind
    """
    name = cast.__name__.removeprefix("to_")
    text = f"{name} in {ends[0]}{low}, {high}{ends[1]}"
    if math.isinf(high) and ends[1] == ")":
        text = f"{name} {'>=' if ends[0] == '[' else '>'} {low}"

    def read(value: Any) -> Any:
        number = cast(plain(value))
        above = low <= number if ends[0] == "[" else low < number
        below = number <= high if ends[1] == "]" else number < high
        require((above and below) or number in also)  # a NaN is neither above nor below
        return number

    return Kind(text + (f" or {', '.join(map(str, also))}" if also else ""), read)


def to_float(value: Any) -> float:
    """Read a number."""
    require(isinstance(value, numbers.Real) and not isinstance(value, bool))
    return float(value)


def to_int(value: Any) -> int:
    """Read a whole number."""
    if (
        isinstance(value, float) and value.is_integer()
    ):  # refused too: a fraction here is more likely a typo than intent
        raise ValueError(f"write {int(value)}")
    require(hasattr(value, "__index__") and not isinstance(value, bool))
    return operator.index(value)


def real(low: float = 0, high: float = math.inf, ends: str = "[)", also: Sequence[float] = ()) -> Kind:
    """Numbers from `low` to `high`, and a few others.

    Parameters
    ----------
    low, high : float
        Limits.
    ends : {"[)", "[]", "(]", "()"}
        Whether the limits themselves are legal.
    also : sequence of float
        Legal numbers beside those.

    Returns
    -------
    Kind
    """
    return number_kind(to_float, low, high, ends, also)


def integer(low: int, also: Sequence[int] = ()) -> Kind:
    """Whole numbers from `low` on, and a few others."""
    return number_kind(to_int, low, math.inf, "[)", also)


def choice(*words: str) -> Kind:
    """One of some words; case and underscores do not matter."""

    def read(value: Any) -> str:
        value = plain(value)
        require(isinstance(value, str))
        same = [word for word in words if fold(word) == fold(value)]
        require(same, near(value, words))
        return same[0]

    return Kind("{" + ", ".join(map(show, words)) + "}", read)


def list_of(item: Kind) -> Kind:
    """List, tuple or array of values of one kind, or one number; becomes a tuple."""

    def read(value: Any) -> tuple[Any, ...]:
        value = plain(value)
        if isinstance(value, numbers.Number):
            return (item.read(value),)
        hint = "" if value is None or isinstance(value, str) else "even one value goes in a list"
        require(isinstance(value, (list, tuple)), hint)
        items = []
        for i, v in enumerate(value):
            try:
                items.append(item.read(v))
            except ValueError as error:
                raise ValueError(joined(f"entry {i} is {show(v)}", error)) from None
        return tuple(items)

    return Kind(f"list of {item.text}", read)


def joined(text: str, hint: Exception) -> str:
    """Text with a hint, if there is one."""
    return f"{text}; {hint}" if str(hint) else text


def any_object(text: str, test: Callable[[Any], object] = lambda _: True) -> Kind:
    """Return the kind of other things, described in words; `test` catches gross mistakes."""

    def read(value: Any) -> Any:
        require(test(value))
        return value

    return Kind(text, read)


def is_generator(value: Any) -> bool:
    """Whether `value` is a RandomState or Generator of NumPy, without importing NumPy."""
    kinds = {kind.__name__ for kind in type(value).__mro__ if kind.__module__.startswith("numpy.random")}
    return bool(kinds & {"RandomState", "Generator"})


def seed() -> Kind:
    """Whole numbers from 0, -1, and generators, of which a seed is drawn where it is needed."""
    number = integer(0, also=(-1,))
    return Kind(
        f"{number.text}, or NumPy's RandomState or Generator", lambda v: v if is_generator(v) else number.read(v)
    )


def is_above_zero(value: Any) -> bool:
    """A flag, or a level of which 0 and below are False: as scikit-learn and Keras have it."""
    value = plain(value)
    return value if isinstance(value, bool) else bool(to_int(value) > 0)


def arrays(ndim: int) -> Kind:
    """Lists of arrays of so many dimensions, or None in their place."""

    def fits(value: Any) -> bool:
        shape = getattr(value, "shape", None)
        return value is None or (isinstance(value, (list, tuple)) if shape is None else len(shape) == ndim)

    return list_of(any_object(f"{ndim}-d arrays", fits))
