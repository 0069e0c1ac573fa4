"""Recipe by which the partitions of a table become rows of the network: inputs, targets, weights and offsets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_dl.errors import SchemaError
from dask_dl.frame.row_roles import MAX_FOLDS, RowRoles, check_in_network, check_ratios, counting_rows, where_of
from dask_dl.frame.row_stats import label_of
from dask_dl.frame.source import FOLD, OFFSET, TARGET, WEIGHT, Schema, Source
from dask_dl.frame.target import sorted_labels
from dask_dl.state import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.frame.dtypes import Places
    from dask_dl.frame.encoder import Encoder
    from dask_dl.frame.row_selection import Groups
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.sparse import SparsePart
    from dask_dl.frame.target import TargetEncoder


#: What helps against a source that gives other rows each time it is read.
SAVE = "Save a random or changing source to Parquet first."


@dataclass(frozen=True)
class Recipe:
    """How the partitions of a table become blocks.

    Weights are divided by `mean_weight`, the mean of training (algorithm.md#row-weights); a row that does not count, or
    whose label training has not seen, gets weight 0, and nothing else of it is kept. Without a mean every row of the table
    counts 1, and no weights are kept.
    """

    schema: Schema
    encoder: Encoder
    target: TargetEncoder
    mean_weight: float | None
    required: frozenset[str] = frozenset()  #: columns without which a row is skipped
    folds: tuple[Any, ...] = ()  #: values of the column of folds, in the order of their numbers

    @classmethod
    def of(
        cls,
        source: Source,
        found: Scan,
        encoder: Encoder,
        target: TargetEncoder,
        mean_weight: float,
        *,
        required: frozenset[str] = frozenset(),
    ) -> Recipe:
        """Recipe for a table that was scanned.

        Parameters
        ----------
        source : Source
            The table.
        found : Scan
            Result of its scan.
        encoder : Encoder
            Makes inputs of its columns.
        target : TargetEncoder
            Makes numbers of its target.
        mean_weight : float
            Mean weight of the training table; kept only where a row of this table may count other than 1.
        required : frozenset of str
            Columns without which a row is skipped.

        Returns
        -------
        Recipe

        Raises
        ------
        SchemaError
            When there are too many folds.
        """
        has_strangers = target.has_unseen(found.classes)
        weighted = WEIGHT in source.roles or found.n_used < found.n_rows or has_strangers
        folds = tuple(sorted_labels(found.row_stats.folds))
        if len(folds) > MAX_FOLDS:
            raise SchemaError(
                f"{where_of(source.schema, FOLD)} holds {len(folds):,} values; there may be {MAX_FOLDS:,} folds at most."
            )
        return cls(source.schema, encoder, target, mean_weight if weighted else None, required, folds)


def encode_partition(part: pd.DataFrame | SparsePart, recipe: Recipe, k: int, n: int) -> Rows:
    """Encode a partition.

    Parameters
    ----------
    part : pandas.DataFrame or SparsePart
        The partition.
    recipe : Recipe
        How it becomes rows.
    k : int
        Number of the partition.
    n : int
        Rows that it had when it was scanned.

    Returns
    -------
    Rows
        A row for each of the partition's, those that do not count included.

    Raises
    ------
    SchemaError
        When the partition has changed since, or a number is too large for the network.
    """
    source, encoder, target, mean_weight = recipe.schema, recipe.encoder, recipe.target, recipe.mean_weight
    if len(part) != n:
        raise SchemaError(
            f"{source.label} changed while it was read: partition {k} had {n:,} rows in the scan and has {len(part):,} "
            f"now. {SAVE}"
        )
    counts = counting_rows(part, source, k, recipe.required)
    roles = RowRoles.of(part, source, k, counts, target.target_kind)
    if mean_weight is None and roles.n < n:
        raise SchemaError(
            f"{source.label} changed while it was read: partition {k} had every target in the scan and lacks some now. {SAVE}"
        )
    nothing = np.zeros(0, np.float32)
    goal, weight, offset = nothing, nothing, nothing
    if TARGET in source.roles:
        values = target.encode(roles)
        if roles.labels is not None and np.isnan(values).any():
            counts[counts] = known = ~np.isnan(values)
            roles, values = RowRoles.of(part, source, k, counts, target.target_kind), values[known]
        elif roles.targets is not None:
            check_in_network(roles.targets, values, where_of(source, TARGET), k)
        goal = _in_whole(values, roles.places, n)
    if roles.offsets is not None:
        values = target.offsets(roles.offsets)
        check_in_network(roles.offsets, values, where_of(source, OFFSET), k)
        offset = _in_whole(values, roles.places, n)
    if mean_weight is not None:
        values = np.ones(roles.n)
        if roles.weights is not None:
            values = roles.weights / mean_weight
            check_ratios(roles.weights, values, where_of(source, WEIGHT), k)
        weight = _in_whole(values, roles.places, n)
    dense, active, entries = encoder.encode(encoder.filled(part), source.label, roles.places)
    return Rows(dense, active, goal, weight, offset, entries=entries)


def groups_of(part: pd.DataFrame | SparsePart, recipe: Recipe) -> Groups:
    """Groups of the rows of a partition that follow from its columns: the number of the fold of each, where there are folds.

    A row that does not count may be in none of them: it gets a number that no fold has.
    """
    name, none = recipe.schema.roles.get(FOLD), len(recipe.folds)
    if name is None:
        return {}
    number = {label: k for k, label in enumerate(recipe.folds)}
    codes, values = pd.factorize(part[name])
    return {"fold": np.array([*(number.get(label_of(value), none) for value in values), none], np.uint16)[codes]}


def _in_whole(values: NDArray[np.float64], places: Places, n: int) -> NDArray[np.float32]:
    """(n,): values at these places, and zeros."""
    if places is None:
        return values.astype(np.float32)
    whole = np.zeros(n, np.float32)
    whole[places] = values
    return whole
