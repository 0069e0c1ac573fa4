"""An option for each parameter of the constructors, from the table of parameters."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.cli.options import names
from dask_dl.synonyms import SYNONYMS, VALUE, GivenValue, fold

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_dl.parameters import Parameter

_PYTHON_ONLY = "it takes a Python object; train from Python"
#: Constructor parameters that are no options, and what to do instead.
NO_OPTION: Mapping[str, str] = {
    "verbose": "",  # an option of every command
    "quiet_mode": "--quiet leaves out the progress",
    "client": "--scheduler, --scheduler-file and --workers say where to work",
    "warm_start": "--checkpoint MODEL goes on from a model",
    "on_interrupt": "Ctrl-C ends the training, and the best model so far is saved",
    "custom_metric_func": _PYTHON_ONLY,
    "initial_weights": _PYTHON_ONLY,
    "initial_biases": _PYTHON_ONLY,
}
#: What arguments of `fit` in other libraries are called here.
_OF_FIT: Mapping[str, str] = {
    **dict.fromkeys(
        ("y", "label", "response", "response_column", "target_column", "label_column"), "write --target NAME"
    ),
    **dict.fromkeys(("x", "features", "feature_columns", "predictors"), "write --columns A,B"),
    **dict.fromkeys(("ignored_columns", "ignore_columns", "drop_columns", "exclude"), "write --ignore A,B"),
    **dict.fromkeys(("name", "column_names"), "write --names A,B"),
    **dict.fromkeys(("categorical_feature", "categorical_features", "cat_features"), "write --categorical A,B"),
}
#: Options that are written instead of parameters of `fit`, and of those in `NO_OPTION`.
OTHER_OPTIONS: Mapping[str, str] = {
    "verbose": "--verbose or --quiet",
    "client": "--scheduler ADDRESS",
    "eval_set": "--validation DATA",
    "checkpoint": "--checkpoint MODEL",
    "sample_weight": "--weights NAME",
    "offset": "--offset NAME",
}
_FLAGS: Mapping[str, bool | None] = {"": True, "true": True, "1": True, "false": False, "0": False, "none": None}


def add_parameters(command: argparse.ArgumentParser) -> None:
    """An option for each constructor parameter, in the groups of the table; shown in the help if it has an effect."""
    groups: dict[str, Any] = {}
    for name, row in parameters.TABLE.items():
        if row.scope != "constructor" or name in NO_OPTION:
            continue
        if row.group not in groups:
            groups[row.group] = command.add_argument_group(row.group)
        _add(groups[row.group], row)


def option_of(name: str) -> str:
    """The option of a parameter."""
    return "--" + name.replace("_", "-")


def instead_of(option: str, value: str) -> str:
    """Advice on an option that does not exist, "" where there is none; `value` is "" for none."""
    name = option.removeprefix("--").replace("-", "_")
    synonym = SYNONYMS.get(fold(name))
    if synonym is None and name.startswith("no_"):  # as flags are written here
        name, value = name.removeprefix("no_"), "false"
        synonym = SYNONYMS.get(fold(name))
    known = NO_OPTION.get(name) or _OF_FIT.get(name)
    if known or synonym is None:
        return known or ""
    advice = synonym.advice_for(_FLAGS.get(value.lower(), value))
    if not advice.write:  # notes on calls are for Python
        return "" if "fit" in advice.note or "(X" in advice.note else f"leave it out; {advice.note}"
    words = [_as_typed(parameter, wanted, value) for parameter, wanted in advice.write.items()]
    return f"write {' '.join(words)}" if all(words) else ""


def _as_typed(name: str, wanted: Any, value: str) -> str:
    """The option that gives a parameter its value, as `synonyms` has it; "" where there is none."""
    row = parameters.TABLE[name]
    if name in OTHER_OPTIONS:
        return OTHER_OPTIONS[name]
    if row.scope != "constructor" or name in NO_OPTION:
        return ""
    if row.kind.text == "bool":
        is_on = _FLAGS.get(value.lower(), True) if isinstance(wanted, GivenValue) else wanted
        return option_of(name if is_on else f"no_{name}")
    if isinstance(wanted, GivenValue):
        wanted = wanted.of(value if wanted == VALUE else _number(value))
    return f"{option_of(name)} {'...' if wanted in (..., '') else _typed(wanted)}"


def _number(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value


def _add(group: Any, row: Parameter) -> None:
    option = option_of(row.name)
    shared: dict[str, Any] = {"dest": row.name, "default": argparse.SUPPRESS}
    default = f"(default: {_typed(row.default)})"
    brief = row.brief.replace("%", "%%")
    kind = row.kind.text
    if kind == "bool":
        text = f"{brief} {default}" if row.has_effect else argparse.SUPPRESS
        group.add_argument(option, action=argparse.BooleanOptionalAction, help=text, **shared)
        return
    if kind[0] == "{":
        words = [word.strip('"') for word in kind[1:-1].split(", ")]
        value = "{" + ",".join(word for word in words if row.is_available(word)) + "}"
    else:
        typed, _, _ = kind.partition(", or ")  # what follows are objects of Python
        first, _, rest = typed.removeprefix("list of ").partition(" ")
        value = f"{first.upper()}{',...' if kind.startswith('list') else ''} {rest}".strip()
    read = {"int": int, "float": float, "list": _numbers}.get(kind.split()[0], str)
    text = brief if row.has_effect else argparse.SUPPRESS
    group.add_argument(option, type=read, metavar=f"{value} {default}", help=text, **shared)


def _typed(value: Any) -> str:
    """A default as it is typed."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _numbers(text: str) -> list[float]:
    """A list such as 200,200 or 0.2,0.5."""
    try:
        return [float(part) if "." in part or "e" in part else int(part) for part in names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 200,200") from None
