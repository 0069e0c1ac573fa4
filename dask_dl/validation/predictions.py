"""Predictions for rows held out: each row by the model of the fold that it belongs to, in the order of the table."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dask_dl.errors import SchemaError
from dask_dl.frame.arrays import is_dask_array
from dask_dl.frame.dask_frames import frame_of_array, is_dask_frame, made_of_parts
from dask_dl.frame.interchange import as_column, as_table
from dask_dl.frame.moments import fold_of
from dask_dl.frame.row_stats import label_of
from dask_dl.frame.sparse import SparsePart, is_sparse
from dask_dl.predict import respond
from dask_dl.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.row_selection import RowSelection
    from dask_dl.model import Model

LABEL = "the training table"
#: Columns beside those of the table, while partitions are answered.
FOLD, OFFSET, CLASS = "__fold__", "__offset__", "__class__"


class HeldOut(NamedTuple):
    """Models of the folds, and what tells which of them answers a row."""

    predictors: tuple[Predictor, ...]
    selections: tuple[RowSelection, ...]
    groups: tuple[str, ...]  #: that the selections look at
    values: Mapping[Any, int]  #: of a column of folds, or labels of classes: by number

    @classmethod
    def of(cls, models: Sequence[Model], selections: Sequence[RowSelection], values: Sequence[Any]) -> HeldOut:
        """Models of folds; `values` are those of the column of folds, where that is what decides."""
        groups = tuple(dict.fromkeys(name for selection in selections for name in selection.groups))
        labels = values if "fold" in groups else models[0].head.classes
        numbers = {label: k for k, label in enumerate(labels)}
        return cls(tuple(model.predictor for model in models), tuple(selections), groups, numbers)

    def folds(self, part: Any, start: int) -> NDArray[np.int64]:
        """Fold of every row of a partition, -1 where a row has none; `start` is the number of its first row."""
        n = len(part)
        groups: dict[str, NDArray[np.unsignedinteger]] = {}
        for name, column in (("fold", FOLD), ("class", CLASS)):
            if name in self.groups:
                codes, labels = pd.factorize(part[column])
                none = len(self.values)
                numbers = np.array([*(self.values.get(label_of(label), none) for label in labels), none], np.uint32)
                groups[name] = numbers[codes]
        if "class" in groups:  # a row without a known class is in no fold
            known = groups["class"] < len(self.values)
            found = np.full(n, -1, np.int64)
            rows = np.flatnonzero(known)
            found[rows] = fold_of(self.selections, rows + start, {"class": groups["class"][rows]})
            return found
        return fold_of(self.selections, np.arange(start, start + n), groups)

    def table(self, part: Any, start: int) -> pd.DataFrame:
        """Predictions for the rows of a partition, in its order; missing where a row is in no fold."""
        folds = self.folds(part, start)
        offset = part[OFFSET] if OFFSET in part.columns else None
        inputs = part.drop(columns=[name for name in (FOLD, OFFSET, CLASS) if name in part.columns])
        tables, places = [], []
        for k in np.unique(folds[folds >= 0]).tolist():
            rows = np.flatnonzero(folds == k)
            shifts = None if offset is None else offset.iloc[rows]
            tables.append(respond(inputs.iloc[rows], self.predictors[k], shifts, answer=Predictor.table, label=LABEL))
            places.append(rows)
        if not tables:
            return self.empty(part)
        whole = pd.concat(tables, ignore_index=True).iloc[np.argsort(np.concatenate(places))]
        whole.index = pd.RangeIndex(len(whole))
        rows = np.sort(np.concatenate(places))
        if len(rows) < len(part):
            whole = whole.set_index(rows).reindex(np.arange(len(part)))
        found: pd.DataFrame = whole.set_axis(part.index)
        return found

    def empty(self, part: pd.DataFrame) -> pd.DataFrame:
        """Predictions of no row of a table."""
        none = self.predictors[0].table(part.iloc[:0], self.predictors[0].no_answers)
        found: pd.DataFrame = none.reindex(part.index) if len(part) else none
        return found


def held_out(
    models: HeldOut,
    X: Any,
    rows: Sequence[int],
    beside: Mapping[str, Any],
    names: Sequence[str],
    *,
    only_folds: bool = False,
) -> Any:
    """Predictions for all rows of a training table, or the number of each row's fold: lazy over Dask collections.

    Parameters
    ----------
    models : HeldOut
    X : Dask or pandas DataFrame, Dask Array, sparse matrix or array-like
    rows : sequence of int
        Rows of every partition of a Dask collection.
    beside : mapping of str to str or aligned collection
        Columns of folds, offsets and classes: those of FOLD, OFFSET and CLASS that are needed.
    names : sequence of str
        Names of the predictors, where the table has none.
    only_folds : bool
        Whether only folds are asked for.

    Returns
    -------
    dask.dataframe.DataFrame, dask.dataframe.Series, pandas.DataFrame or pandas.Series

    Raises
    ------
    SchemaError
        When partitions of a Dask collection are not those that were trained on.
    """
    X = as_table(X, LABEL)
    if is_dask_array(X):
        X = frame_of_array(X, names)
    if not is_dask_frame(X):
        return _answer(_local(X, beside, names), 0, models, only_folds=only_folds)
    X = X.assign(**{name: X[given] if isinstance(given, str) else given for name, given in beside.items()})
    parts = X.to_delayed()
    if len(parts) != len(rows):
        raise SchemaError(
            f"{LABEL} had {len(rows):,} partitions in training, and Dask makes {len(parts):,} of it now: predictions for rows "
            f"held out cannot be told apart. Leave out keep_cross_validation_predictions, or persist the table first."
        )
    return made_of_parts(X, parts, rows, partial(_answer, only_folds=only_folds), models)


def _answer(part: pd.DataFrame, start: int, models: HeldOut, *, only_folds: bool) -> Any:
    if not only_folds:
        return models.table(part, start)
    return pd.Series(models.folds(part, start), index=part.index, name="fold_assignment")


def _local(X: Any, beside: Mapping[str, Any], names: Sequence[str]) -> pd.DataFrame:
    """A local table as a frame, with the columns beside it."""
    if is_sparse(X):
        X = SparsePart.of(X, names).matrix.toarray()
    frame = X if isinstance(X, pd.DataFrame) else pd.DataFrame(np.asarray(X), columns=list(names))
    columns = {
        name: frame[given] if isinstance(given, str) else np.asarray(as_column(given, name))
        for name, given in beside.items()
    }
    return frame.assign(**columns)
