"""Class balance of a training: visits per row of every class, and the head that corrects for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_dl.errors import ParameterError
from dask_dl.frame.balance import Balance
from dask_dl.training.problem import class_counts
from dask_dl.training.settings import BalanceSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_dl.events import Listeners
    from dask_dl.frame.scan import Scan
    from dask_dl.tasks.head import Head


def balance_of(found: Scan, head: Head, e: Mapping[str, Any], tell: Listeners) -> tuple[Balance | None, Head]:
    """How often rows of every class are visited, and the head for that.

    Parameters
    ----------
    found : Scan
        Result of the scan of the training table.
    head : Head
        Knows the classes.
    e : mapping
        Effective parameters.
    tell : Listeners
        Warned of classes that are visited rarely.

    Returns
    -------
    balance : Balance or None
    head : Head

    Raises
    ------
    ParameterError
        When rows have weights.
    """
    settings = BalanceSettings.of(e)
    if settings is None:
        return None, head
    if not found.row_stats.has_one_weight:
        raise ParameterError(
            "balance_classes=True: rows have weights other than 0 and 1. Leave them out, or multiply those of every class by a "
            "factor instead."
        )
    counts = class_counts(found, head)
    balance = Balance.of(counts, *settings)
    for k in balance.rarely_visited(counts):
        text = f"balance_classes: rows of class {head.classes[k]!r} are visited rarely or never. Raise its factor."
        tell.warn(text)
    return balance, head.corrected(balance.correction(counts))
