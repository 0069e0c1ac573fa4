"""The parser of a command: errors in two lines, help on two lines an option."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NoReturn

from dask_dl.wording import closest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Parser(argparse.ArgumentParser):
    """An argument parser that answers a mistake with what is wrong and one line of usage.

    Parameters
    ----------
    answer : callable
        Called with the name and the value of an option that does not exist: what to do instead, "" if that is not known.
    required : mapping
        Names in the namespace of options that must be given, and the options. They are checked after unknown options are
        refused: a misspelled one is then not called missing.
    **given : object
        Arguments of argparse.ArgumentParser.
    """

    def __init__(
        self,
        *,
        answer: Callable[[str, str], str] = lambda *_: "",
        required: Mapping[str, str] | None = None,
        **given: Any,
    ) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": _Formatter, **given})
        self._answer, self._required = answer, required or {}

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        message = message.replace("ignored explicit argument", "takes no value, but was given")
        self.exit(2, f"dask-dl: {message}\n{self.usage_line()}\n")

    def usage_line(self) -> str:
        """How the command is called, on one line."""
        return f"usage: {self.usage}" if self.usage else " ".join(self.format_usage().split())

    def check(self, options: argparse.Namespace, unknown: Sequence[str]) -> None:
        """Refuse unknown arguments and missing options."""
        if unknown:
            self.error(self._about(unknown))
        missing = [option for name, option in self._required.items() if getattr(options, name) is None]
        if missing:
            self.error(f"missing: {', '.join(missing)}")

    def _about(self, unknown: Sequence[str]) -> str:
        """Error text about unknown arguments."""
        place = next((k for k, word in enumerate(unknown) if word.startswith("-")), 0)
        name, has_value, value = unknown[place].partition("=")
        if not has_value:
            value = next((word for word in unknown[place + 1 : place + 2] if not word.startswith("--")), "")
        answer = self._answer(name, value)
        if answer:
            return f"{name} is no option: {answer}"
        shown = [action for action in self._actions if action.help is not argparse.SUPPRESS]
        known = [option for action in shown for option in action.option_strings]
        close = closest(name.replace("_", "-"), known)
        hint = f"; did you mean {close}?" if close else ""
        return f"unknown arguments: {' '.join(unknown)}{hint}"


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """An option on one line, its meaning on the next."""

    def __init__(self, prog: str, **given: Any) -> None:
        super().__init__(prog, **{**given, "max_help_position": 6})
