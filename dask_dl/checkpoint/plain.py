"""Parameters and records as JSON, which knows neither tuples nor NaN."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

_INFINITY = "infinity"


def plain(value: Any) -> Any:
    """JSON of a parameter or record: tuples as lists, NaN as null, infinity as a word, NumPy arrays as lists."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, dict) or hasattr(value, "items"):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else _INFINITY
    return value


def unplain(document: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters from their JSON."""
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in document.items()}
    return {key: math.inf if isinstance(value, str) and value == _INFINITY else value for key, value in values.items()}
