"""Dense tables of numbers: rows of a NumPy array under the names of its columns, without a frame around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def is_numeric_array(X: Any) -> bool:
    """Whether `X` is a NumPy array whose columns are all numbers as they stand: no dates, no objects, no mask."""
    return isinstance(X, np.ndarray) and X.dtype.kind in "biuf" and not isinstance(X, np.ma.MaskedArray)


@dataclass(frozen=True, eq=False)
class DensePart:
    """Rows of an array of numbers. A partition like a DataFrame, as far as its columns are concerned.

    A frame of one row takes ten times as long to make and to read as the network takes for its prediction.
    """

    array: NDArray[Any]  #: (n, p)
    names: tuple[str, ...]  #: of its columns

    @classmethod
    def of(cls, array: NDArray[Any], names: Sequence[str]) -> DensePart:
        """Rows of `is_numeric_array`."""
        return cls(np.asarray(array), tuple(names))

    def take(self, rows: slice | NDArray[np.int64]) -> DensePart:
        """Some rows."""
        return DensePart(self.array[rows], self.names)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, name: str) -> pd.Series[Any]:
        return pd.Series(self.array[:, self.names.index(name)], self.index)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        return self.names

    @property
    def index(self) -> pd.Index[Any]:
        """Index of the rows: their numbers."""
        return pd.RangeIndex(len(self.array))
