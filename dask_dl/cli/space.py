"""Space of a search in a file of TOML: lists of values, distributions by name, and sub-spaces."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from dask_dl.checkpoint.whole_file import opened
from dask_dl.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Key of a list of sub-spaces.
SUB_SPACES = "space"
#: Distributions and what their two numbers are.
DISTRIBUTIONS = ("uniform", "loguniform", "randint")


def read_space(path: str) -> list[dict[str, Any]]:
    """Spaces of a file.

    Parameters
    ----------
    path : str
        Local path or URL of a file such as `hidden = [[32, 32], [100]]`, `l1 = {loguniform = [1e-6, 1e-3]}`; with tables
        `[[space]]` these are sub-spaces, each with what stands above them.

    Returns
    -------
    list of dict

    Raises
    ------
    ParameterError
        When it is no TOML, or has other tables.
    """
    try:
        with opened(path) as file:
            document = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"--space: {path} is no TOML: {error}.") from error
    parts = document.pop(SUB_SPACES, [{}])
    if not (isinstance(parts, list) and all(isinstance(part, dict) for part in parts)):
        raise ParameterError(f"--space: in {path}, write [[{SUB_SPACES}]] above the parameters of each sub-space.")
    return [
        {name.replace("-", "_"): _values(path, name, value) for name, value in {**document, **part}.items()}
        for part in parts
    ]


def _values(path: str, name: str, value: Any) -> Any:
    """List as it is, or a distribution. Raises ParameterError."""
    if isinstance(value, list):
        return value
    known = ", ".join(f"{name} = {{{kind} = [low, high]}}" for kind in DISTRIBUTIONS)
    if not (isinstance(value, dict) and len(value) == 1 and next(iter(value)) in DISTRIBUTIONS):
        raise ParameterError(f"--space: in {path}, {name} is {value!r}; write a list of values, or {known}.")
    return _distribution(path, name, value)


def _distribution(path: str, name: str, value: Mapping[str, Any]) -> Any:
    from scipy import stats

    ((kind, limits),) = value.items()
    is_pair = isinstance(limits, list) and len(limits) == 2 and all(isinstance(n, int | float) for n in limits)
    if not is_pair or not limits[0] < limits[1] or (kind == "loguniform" and limits[0] <= 0):
        ends = "0 < low < high" if kind == "loguniform" else "low < high"
        raise ParameterError(f"--space: in {path}, {name} is {kind} of {limits!r}; give [low, high] with {ends}.")
    low, high = limits
    if kind == "randint":
        return stats.randint(low, high + 1)  # both ends may come, as people read it
    return stats.uniform(low, high - low) if kind == "uniform" else stats.loguniform(low, high)
