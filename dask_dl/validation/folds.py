"""Folds of the rows of a table, and what each of them changes in its preparation (algorithm.md#folds)."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dask_dl.distribution import QUANTILES
from dask_dl.errors import SchemaError
from dask_dl.frame.affine import Affine
from dask_dl.frame.balance import Balance
from dask_dl.frame.moments import Moments, fold_keys, moments
from dask_dl.frame.row_selection import AllBut, Both, Fold, Sample, StratifiedFold, fold_cuts
from dask_dl.frame.source import OFFSET
from dask_dl.frame.target import sorted_labels
from dask_dl.frame.view import View
from dask_dl.training.problem import FoldRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_dl.cluster.backend import Backend
    from dask_dl.frame.encoder import Encoder
    from dask_dl.frame.row_selection import RowSelection
    from dask_dl.tasks.head import Head
    from dask_dl.training.problem import PreparedTables
    from dask_dl.training.settings import FoldSettings

#: Rows up to which folds differ by a row at most in size: a key of each travels to the driver. Of more rows folds are equal up
#: to chance.
MAX_SORTED = 2**25
#: Share of the rows that train a fold which is kept from it, to judge when to stop.
INNER_SHARE = 0.1
#: Where these would be fewer, the sample of the rows that train judges.
MIN_INNER = 20


class Folds(NamedTuple):
    """Rows of a table in folds, each of which is held out from one training."""

    selections: tuple[RowSelection, ...]
    values: tuple[Any, ...]  #: of the folds: 1, 2, ..., or those of a column
    moments: Moments  #: of the folds' rows

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the folds."""
        return tuple(map(str, self.values))

    @property
    def sizes(self) -> list[int]:
        """Rows of each fold that count."""
        return [int(n) for n in self.moments.n]


def make_folds(data: PreparedTables, settings: FoldSettings, here: Backend) -> Folds:
    """Divide the rows of the training table, which are encoded.

    Parameters
    ----------
    data : PreparedTables
        The table.
    settings : FoldSettings
        How to divide it.
    here : Backend
        Keeps the rows.

    Returns
    -------
    Folds

    Raises
    ------
    SchemaError
        When there are fewer than two folds, more than rows, one without a row that counts, or a class only within one.
    """
    found, source = data.found, data.tables["training"][0]
    selections: Sequence[RowSelection]
    if settings.n > found.n_used:
        raise SchemaError(
            f"nfolds={settings.n}, but {source.label} has {found.n_used:,} rows that count. Use fewer folds."
        )
    if settings.n == 0:
        values: tuple[Any, ...] = tuple(sorted_labels(found.row_stats.folds))
        if len(values) < 2:
            raise SchemaError(
                f"folds: {source.label} has {len(values)} fold with rows that count; two or more are needed."
            )
        n = len(values)
        selections = [Fold(k, n, "column") for k in range(n)]
    else:
        n, values = settings.n, tuple(range(1, settings.n + 1))
        selections = (
            [Fold(k, n, "modulo") for k in range(n)] if settings.how == "modulo" else _by_keys(data, settings, here)
        )
    folds = Folds(tuple(selections), values, _moments(data, selections, here))
    for name, size in zip(folds.names, folds.sizes, strict=True):
        if size == 0:
            raise SchemaError(
                f"fold {name} of {source.label} has no row with a target and a positive weight. Use fewer folds, or "
                f"fold_assignment='random'."
            )
    _check_classes(folds, data.head)
    return folds


def _by_keys(data: PreparedTables, settings: FoldSettings, here: Backend) -> list[RowSelection]:
    """Folds by random keys, of about equal size: of all rows, or of those of each class."""
    n_classes = len(data.head.classes) if settings.how == "stratified" else 0
    if data.found.n_used > MAX_SORTED:
        equal = tuple(k * (2**64 // settings.n) for k in range(1, settings.n))
        cuts = (equal,) * max(n_classes, 1)
    else:
        parts = here.over("training", functools.partial(fold_keys, n_classes=n_classes, seed=data.seed))
        cuts = tuple(fold_cuts(np.concatenate(keys), settings.n) for keys in zip(*parts, strict=True))
    return [StratifiedFold(k, cuts, data.seed) for k in range(settings.n)]


def _moments(data: PreparedTables, selections: Sequence[RowSelection], here: Backend) -> Moments:
    """Moments of every fold, from one pass over the encoded rows."""
    encoder, columns = data.encoder, data.found.columns
    lacks = [bool(getattr(columns[number.name], "n_missing", 0)) for number in encoder.numbers]
    has_missing = np.zeros(encoder.n_dense, bool)
    if not encoder.is_sparse:
        has_missing[: len(lacks)] = lacks
    count = functools.partial(
        moments,
        folds=tuple(selections),
        n_classes=len(data.head.classes),
        has_missing=has_missing,
        n_onehot=encoder.n_onehot if encoder.is_sparse else 0,
    )
    return functools.reduce(Moments.merge, here.over("training", count))


def _check_classes(folds: Folds, head: Head) -> None:
    """Every class needs a row outside of each fold, or its training would not know it. Raises SchemaError."""
    if not head.classes:
        return
    total = folds.moments.classes.sum(axis=0)
    for name, counts in zip(folds.names, folds.moments.classes, strict=True):
        missing = [str(head.classes[k]) for k in np.flatnonzero(total - counts == 0)]
        if missing:
            raise SchemaError(
                f"all rows of class {', '.join(missing[:5])} are in fold {name}, so its training would never see "
                f"{'them' if len(missing) > 1 else 'it'}. Use fold_assignment='stratified', or fewer folds."
            )


def fold_data(data: PreparedTables, folds: Folds, k: int, settings: FoldSettings) -> PreparedTables:
    """Preparation of the training that holds out fold k: on the same stored rows, in the units that its own rows have.

    Parameters
    ----------
    data : PreparedTables
        That of the whole table.
    folds : Folds
    k : int
        Number of the fold.
    settings : FoldSettings
        How folds are judged, and classes balanced.

    Returns
    -------
    PreparedTables
    """
    own, rest = folds.moments.without(k), AllBut(folds.selections[k])
    encoder = data.encoder if data.is_adopted else _own_encoder(data.encoder, own)
    head = _own_head(data.head, own)
    is_weighted = "weight" in data.tables["training"][0].roles
    mean_weights = (1.0, float(own.weight[0] / own.n[0])) if is_weighted else (1.0, 1.0)
    pair = (data.head.numbers, head.numbers) if data.head.numbers and head.numbers else None
    inputs = Affine.between(data.encoder, encoder, pair, mean_weights)
    balance = data.balance
    if balance is not None and settings.balance is not None:
        counts = own.classes[0].astype(np.int64).tolist()
        balance = Balance.of(counts, *settings.balance, balance.seed)
        head = head.corrected(balance.correction(counts))
    rows: RowSelection = rest
    scored: dict[str, View] = {}
    if "validation" in data.tables:
        scored["validation"] = View("validation", inputs=inputs)
    elif settings.judge == "holdout":
        scored["validation"] = View("training", folds.selections[k], inputs=inputs)
    elif settings.judge == "inner" and _n_inner(data, own, settings) >= MIN_INNER:
        inner = Sample(INNER_SHARE, data.seed)
        rows = Both(rest, AllBut(inner))
        scored["validation"] = View("training", Both(rest, inner), inputs=inputs)
    # Measurements of all folds are merged: their rows keep the weights that they have in the whole table.
    as_weighted = inputs if inputs is None else replace(inputs, weight=None)
    holdout = View("training", folds.selections[k], inputs=as_weighted, is_whole=True)
    fold = FoldRows(rows, inputs, scored, holdout, _constant(data, own))
    return replace(data, encoder=encoder, head=head, balance=balance, fold=fold)


def _n_inner(data: PreparedTables, own: Moments, settings: FoldSettings) -> float:
    """Rows that would judge a fold's training, on average: of those that train, as far as they are scored on."""
    n_scored = settings.n_scored or data.found.n_used
    return INNER_SHARE * float(own.n[0]) * min(1.0, n_scored / data.found.n_used)


def _constant(data: PreparedTables, own: Moments) -> float | None:
    """The constant with the least deviance of some rows' targets, where it is their mean."""
    numbers = data.head.numbers
    if numbers is None or OFFSET in data.tables["training"][0].roles or data.distribution.name in QUANTILES:
        return None
    mean = own.target_figures()[0] / numbers.factor + numbers.shift
    if data.distribution.link == "identity":
        return mean
    return math.log(mean) if mean > 0 else None


def _own_encoder(encoder: Encoder, own: Moments) -> Encoder:
    """Encoder whose numbers have the means and deviations of some rows; what is missing stays where it was stored."""
    if encoder.is_sparse:
        mean, deviation = (a[encoder.n_level_inputs :] for a in own.entry_figures())
    else:
        mean, deviation = own.figures()
    numbers = []
    for k, number in enumerate(encoder.numbers):
        if number.factor == 1 and number.shift == 0:  # not standardised
            numbers.append(number)
            continue
        own_deviation = float(deviation[k]) / number.factor
        shift = 0.0 if encoder.is_sparse else number.shift + float(mean[k]) / number.factor
        numbers.append(replace(number, shift=shift, factor=1 / (own_deviation or 1.0), deviation=own_deviation))
    return replace(encoder, numbers=tuple(numbers))


def _own_head(head: Head, own: Moments) -> Head:
    """Head with the mean and deviation of some rows' targets, where it has any."""
    mean, deviation = own.target_figures()
    return head.rescaled(mean, deviation)
