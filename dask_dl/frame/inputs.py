"""Which columns are inputs, and, where rows that lack an input are skipped, which rows train (algorithm.md#useless-columns).

One hangs on the other: a column is an input when it is of use in the rows that train, and a row trains when it lacks no
input. Rows and columns are settled in turn, from all rows with a target and a weight on, until both statements hold:

    inputs 0 = columns of use in all rows with target and weight
    rows 1   = those of them that lack none of inputs 0
    inputs 1 = columns of use in rows 1, ...

Mostly inputs 1 are inputs 0. Where columns and rows exclude each other in a circle, no choice makes both statements hold;
then the fewer rows train, and what is of no use in them is no input. Either way the table without the rows that do not
train gives the same inputs and loses no row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dask_dl.wording import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dask_dl.frame.column_stats import ColumnStats
    from dask_dl.frame.row_stats import ScanRequest
    from dask_dl.frame.scan import Scan


class Inputs(NamedTuple):
    """Columns to learn from, and what is known of the rows that train."""

    found: Scan
    predictors: list[str]
    dropped: list[str]
    required: frozenset[str]  #: columns without which a row does not train


def settle(scan: Callable[[ScanRequest], Scan], request: ScanRequest, *, ignore_const_cols: bool) -> Inputs:
    """Scan a table, and scan it again where columns that prove useless would cost rows. Raises SchemaError."""
    found = scan(request)
    candidates = found.candidates
    if candidates is None:
        return Inputs(found, *usable_predictors(found.columns, ignore_const_cols=ignore_const_cols), frozenset())

    def useful(columns: ColumnStats) -> frozenset[str]:
        return frozenset(usable_predictors(columns, ignore_const_cols=ignore_const_cols)[0])

    required, wanted, before = frozenset(candidates), useful(candidates), None
    while True:
        if any(candidates[name].n_missing for name in wanted ^ required):  # else the same rows train
            if before and before[0] == wanted:
                required, found = max((required, found), before, key=lambda one: len(one[0]))
                break
            before = required, found
            found = scan(request._replace(inputs=wanted))
        required = wanted
        wanted = useful(found.columns)
        if wanted == required or not found.n_used:
            break
    return Inputs(found, *usable_predictors(found.columns, ignore_const_cols=ignore_const_cols), required)


def usable_predictors(columns: ColumnStats, *, ignore_const_cols: bool) -> tuple[list[str], list[str]]:
    """(columns to learn from, columns dropped); those without any value always are (algorithm.md#useless-columns)."""
    useless = ~columns.has_values | (columns.is_constant & ignore_const_cols)
    judged = list(zip(columns, useless.tolist(), strict=True))
    return [name for name, drops in judged if not drops], [name for name, drops in judged if drops]


def dropped_warning(dropped: Sequence[str], *, more_follow: bool = False) -> str:
    """Warning about dropped columns, which are so for rows that follow, too."""
    text = f"dropped {len(dropped)} columns that are constant or empty: {listed(dropped, 8)}."
    if not more_follow:
        return text
    return (
        f"{text} Later calls of partial_fit leave them out, whatever they hold then: give the first call rows in which they "
        f"vary. ignore_const_cols=False keeps constant ones."
    )
