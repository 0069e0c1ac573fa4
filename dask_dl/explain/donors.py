"""Rows of a table whose values stand in for those of other rows."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dask_dl.evaluation import renamed, rows_of
from dask_dl.explain.grid import least
from dask_dl.explain.responses import encoded
from dask_dl.frame.prediction import ROWS_PER_SLICE
from dask_dl.frame.row_roles import RowRoles, counting_rows
from dask_dl.frame.subset import Subset
from dask_dl.state import Rows, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.blocks import Blocks
    from dask_dl.frame.source import Schema
    from dask_dl.frame.view import View
    from dask_dl.predictor import Predictor
    from dask_dl.tasks.head import Head

#: Rows whose values stand in for those of others: all of a table with so many at most, which are permuted; else random ones,
#: of which one is drawn for each row.
MAX_DONORS = 10_000


class Donors(NamedTuple):
    """Rows of a table that count: random ones, with the least keys, and how many each partition has."""

    rows: Rows  #: encoded
    raw: pd.DataFrame | None  #: their columns with hashed levels
    keys: NDArray[np.float64]
    counts: tuple[int, ...]

    def merge(self, other: Donors) -> Donors:
        """Rows of both parts of a table."""
        keys = np.concatenate([self.keys, other.keys])
        places = least(keys, MAX_DONORS)
        raw = None if self.raw is None else pd.concat([self.raw, other.raw], ignore_index=True).iloc[places]
        rows = joined([self.rows, other.rows])
        rows = rows if len(places) == rows.n else rows.take(places)
        return Donors(rows, raw, keys[places], self.counts + other.counts)

    @property
    def n_rows(self) -> int:
        """Rows of the table that count."""
        return sum(self.counts)


def donors_of(
    part: Any,
    k: int,
    predictor: Predictor,
    *,
    schema: Schema,
    names: Sequence[str] | None,
    hashed: Sequence[str],
    seed: int,
    head: Head,
) -> Donors:
    """Take random rows of a partition that count.

    Parameters
    ----------
    part : pandas.DataFrame, SparsePart or DensePart
        The partition.
    k : int
        Its number.
    predictor : Predictor
        Encodes them.
    schema : Schema
        Columns of the table and their roles.
    names : sequence of str or None
        Names that the predictors had in training; None: those of the table.
    hashed : sequence of str
        Columns to keep as they are, too.
    seed : int
    head : Head

    Returns
    -------
    Donors

    Raises
    ------
    SchemaError
        When rows do not fit the encoder, or targets or weights are none.
    """
    roles = RowRoles.of(part, schema, k, counting_rows(part, schema, k), head.target_kind)
    keys = np.random.default_rng((seed, k)).random(roles.n)
    places = least(keys, MAX_DONORS)
    counts = rows_of(rows_of(part, roles.places), places)
    counts = counts if names is None else renamed(counts, schema.predictors, names)
    rows = encoded(counts, None, predictor.encoder, schema.label)
    raw = predictor.encoder.filled(counts)[list(hashed)].reset_index(drop=True).astype(object) if hashed else None
    return Donors(rows, raw, keys[places], (roles.n,))


def donors_of_blocks(store: Blocks, *, view: View, seed: int) -> Donors | None:
    """Random rows of blocks that count; None: there are none."""
    found: list[Donors] = []
    for k in store.numbers:
        block = store.blocks[k]
        random, counts, lo = np.random.default_rng((seed, k)), block.counting(0, block.n), 0
        for rows in Subset(store, view, [k], store.starts).slices(ROWS_PER_SLICE):
            places = np.flatnonzero(counts[lo : lo + rows.n])
            lo += rows.n
            if len(places):
                keys = random.random(len(places))
                chosen = least(keys, MAX_DONORS)
                copies = rows.take(places[chosen])
                found = [*found, Donors(copies, None, keys[chosen], (len(places),))]
                found = [functools.reduce(Donors.merge, found)]
    return found[0] if found else None
