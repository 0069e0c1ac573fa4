"""Inputs of one column within encoded rows, which those of other rows can take the place of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dask_dl.state import Entries, begins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.frame.encoder import Encoder
    from dask_dl.state import Rows


class ColumnInputs:
    """Places of a column's inputs: among active levels, dense numbers or entries.

    Parameters
    ----------
    encoder : Encoder
        Of the rows.
    column : str
        One of its columns.

    Raises
    ------
    ValueError
        When there is no such column, or its levels are hashed: their inputs are those of other columns, too.
    """

    def __init__(self, encoder: Encoder, column: str) -> None:
        self._level: int | None = None  #: of `Rows.active`
        self._numbers: slice | None = None  #: of `Rows.dense`
        self._slot = -1  #: of entries
        names = [category.name for category in encoder.categories]
        if column in names and encoder.hashing:
            raise ValueError(f"column {column!r} shares its inputs with others, by a hash.")
        if column in names:
            self._level = names.index(column)
            return
        for k, number in enumerate(encoder.numbers):
            if number.name == column and encoder.is_sparse:
                self._slot = encoder.n_level_inputs + k
                return
            if number.name == column:
                self._numbers = slice(k, k + 1)
                return
        first = 0 if encoder.is_sparse else len(encoder.numbers)
        for code in encoder.codes:
            if code.name == column:
                self._numbers = slice(first, first + code.width)
                return
            first += code.width
        raise ValueError(f"there is no column {column!r}.")

    def copied(self, rows: Rows, donors: Rows, which: NDArray[np.integer]) -> Rows:
        """Rows with the column's inputs of other rows; arrays in which nothing changes are not copied.

        Parameters
        ----------
        rows : Rows
            n rows.
        donors : Rows
            Rows that the same encoder made.
        which : (n,) int
            Number of the donor of each row.

        Returns
        -------
        Rows
        """
        if self._level is not None:
            active = rows.active.copy()
            active[:, self._level] = donors.active[which, self._level]
            return rows._replace(active=active)
        if self._numbers is not None:
            dense = rows.dense.copy()
            dense[:, self._numbers] = donors.dense[which, self._numbers]
            return rows._replace(dense=dense)
        return rows._replace(entries=_with_value(rows.entries, self._slot, _values(donors.entries, self._slot)[which]))


def _values(entries: Entries, slot: int) -> NDArray[np.float32]:
    """Value that each row has in a slot, (n,); 0 where it has none."""
    own = entries.compact()
    here = own.slot == slot
    values = np.zeros(len(own.length), np.float32)
    values[np.repeat(np.arange(len(own.length)), own.length)[here]] = own.value[here]
    return values


def _with_value(entries: Entries, slot: int, values: NDArray[np.float32]) -> Entries:
    """Entries of rows that have these values, (n,), in a slot, and in others what they had."""
    own = entries.compact()
    row = np.repeat(np.arange(len(own.length)), own.length)
    kept = own.slot != slot
    row, slots = row[kept], own.slot[kept]
    n_kept = np.bincount(row, minlength=len(own.length)).astype(np.int32)
    has = values != 0
    length = (n_kept + has).astype(np.int32)
    begin = begins(length)
    rank = np.arange(len(row)) - begins(n_kept)[row]
    is_after = slots > slot
    to = begin[row] + rank + (is_after & has[row])
    n_before = np.bincount(row[~is_after], minlength=len(own.length))
    new = (begin + n_before)[has]
    slot_of, value = np.empty(int(length.sum()), np.int32), np.empty(int(length.sum()), np.float32)
    slot_of[to], value[to] = slots, own.value[kept]
    slot_of[new], value[new] = slot, values[has]
    return Entries(begin, length, slot_of, value)
