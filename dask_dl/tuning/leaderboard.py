"""Table of what became of candidates, the best first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from dask_dl.metrics.table import METRICS, figures_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_dl.tuning.candidates import Tried


def leaderboard(tried: Sequence[Tried], metric: str) -> pd.DataFrame:
    """Table of candidates, the best first; those without a value of the metric last.

    Parameters
    ----------
    tried : sequence of Tried
    metric : str
        By which they are sorted.

    Returns
    -------
    pandas.DataFrame
        Indexed by the number of the `candidate`: chosen parameters, the metrics that were measured, `epochs`, `seconds`,
        `status` and `error`, and the path of the `model` where models are kept.
    """
    names = list(dict.fromkeys(name for one in tried for name in one.candidate.chosen))
    kinds = {one.model.head.kind for one in tried if one.model is not None}
    measured = dict.fromkeys([metric, *(name for kind in kinds for name in figures_of(kind))])
    figures = {name: [one.value(name) for one in tried] for name in measured}
    columns: dict[str, Any] = {
        name: pd.Series([one.candidate.chosen.get(name) for one in tried], dtype=object).infer_objects().array
        for name in names
    }
    columns |= {
        name: values
        for name, values in figures.items()
        if name not in columns
        and (name == metric or not all(map(math.isnan, values)))
        and (name, metric) != ("custom", "custom_increasing")  # the same
    }
    columns |= {
        "epochs": [math.nan if one.model is None else one.model.record.n_epochs for one in tried],
        "seconds": [one.seconds for one in tried],
        "status": [one.status for one in tried],
        "error": ["" if one.error is None else str(one.error) for one in tried],
    }
    if any(one.path for one in tried):
        columns["model"] = [one.path or "" for one in tried]
    table = pd.DataFrame(columns, index=pd.Index([one.candidate.number for one in tried], name="candidate"))
    return table.sort_values(metric, ascending=not METRICS[metric].greater_is_better, kind="stable", na_position="last")
