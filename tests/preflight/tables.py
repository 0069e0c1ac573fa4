"""Tables to check, and what was found in them."""

from __future__ import annotations

import dask.dataframe as dd
from tables import make_table

SMALL = {"hidden": (4,), "epochs": 2, "n_jobs": 1}


def table(n=300, seed=0):
    frame = make_table(n, seed, labels=("down", "up"))[["a", "level", "w", "y", "label"]]
    return frame.rename(columns={"a": "x", "level": "city"}).assign(w=1.0)


def parted(frame, rows=100):
    parts = [frame[k : k + rows] for k in range(0, len(frame), rows)]
    return of_parts(parts)


def of_parts(parts):
    return dd.from_map(lambda k: parts[k], range(len(parts)), meta=parts[0][:0])


def found(report, level, *words):
    """The finding of a level in whose text all these words are."""
    (finding,) = [f for f in report.of(level) if all(word in f.text for word in words)]
    return finding


def whole(finding):
    return f"{finding.text} {finding.remedy}".strip()
