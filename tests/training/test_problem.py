"""Prepared tables: the rows that train, and those that every scoring looks at."""

from __future__ import annotations

from types import SimpleNamespace

from dask_dl.frame.balance import Balance
from dask_dl.frame.row_selection import AllBut, Fold
from dask_dl.frame.view import View
from dask_dl.tasks import Classes
from dask_dl.training.problem import FoldRows, PreparedTables, class_counts

FOUND = SimpleNamespace(classes={"b": 7, "a": 3})


def tables(*names, balance=None, fold=None):
    head = Classes(("a", "b", "never"))
    scanned = dict.fromkeys(names, (None, FOUND))
    return PreparedTables("classification", scanned, frozenset(), None, head, balance, None, False, 7, fold=fold)


def test_rows_of_classes_are_counted_in_the_order_of_the_labels():
    data = tables("training")
    assert data.class_counts == class_counts(FOUND, data.head) == [3, 7, 0]


def test_all_rows_of_both_tables_are_looked_at():
    balance = Balance((1.0, 2.0, 1.0), 7)
    data = tables("training", "validation", balance=balance)
    assert data.view == View("training", balance=balance)
    assert data.scored == {"training": data.view, "validation": View("validation")}
    assert [*tables("training").scored] == ["training"]


def test_a_fold_looks_at_rows_of_its_own():
    out = Fold(1, 3, "modulo")
    holdout = View("training", out)
    rows = FoldRows(AllBut(out), None, {"validation": holdout}, holdout, None)
    data = tables("training", fold=rows)
    assert data.view == View("training", AllBut(out))
    assert data.scored == {"training": data.view, "validation": holdout}
