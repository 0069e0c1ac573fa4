"""Rows of the table of parameters, and what is said of values that are given for them."""

from __future__ import annotations

import math
import re

import pytest

from dask_dl.errors import ParameterError
from dask_dl.parameters import TABLE, validate

CLS, REG, AE = "classification", "regression", "autoencoder"
ROWS = [pytest.param(row, id=name) for name, row in TABLE.items()]
RANGE = re.compile(
    r"(?P<list>list of )?(?P<type>int|float) (?:(?P<sign>>=?) (?P<least>\S+)|in (?P<ends>[\[(]\S+, \S+[\])]))"
)
RANGED = [pytest.param(row, id=name) for name, row in TABLE.items() if RANGE.match(row.allowed)]


def mistakes(given, task="regression", n_classes=None):
    """Lines of the report without their numbers; none if all is well."""
    try:
        validate(given, task=task, n_classes=n_classes)
    except ParameterError as error:
        title, *lines = str(error).split("\n")
        assert title == f"{len(lines)} mistake{'s' if len(lines) > 1 else ''} in the parameters:"
        assert [line.split(".")[0] for line in lines] == [f"  {i}" for i in range(1, len(lines) + 1)]
        return [line.split(". ", 1)[1] for line in lines]
    return []


def is_legal(row, value):
    return not any("must be" in line for line in mistakes({row.name: value}, task=None))


def documented_range(row):
    """Low, high, their brackets, and a function that makes the value of a number."""
    match = RANGE.match(row.allowed)
    if match["sign"]:
        low, high, ends = float(match["least"]), math.inf, "[)" if match["sign"] == ">=" else "()"
    else:
        low, high = map(float, match["ends"][1:-1].split(", "))
        ends = match["ends"][0] + match["ends"][-1]
    number = int if match["type"] == "int" else float
    return low, high, ends, lambda v: [number(v)] if match["list"] else number(v)


def illegal(given, **kwargs):
    return [line for line in mistakes(given, **kwargs) if "not available yet: today" not in line]
