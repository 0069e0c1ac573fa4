"""Inputs of the network as explanations have them: each by the column that it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from dask_dl.frame.interchange import as_table
from dask_dl.frame.source import local_table
from dask_dl.frame.sparse import as_csr, is_sparse
from dask_dl.predict import LABEL
from dask_dl.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.hashing import Hashing
    from dask_dl.model import Model
    from dask_dl.state import Rows


@dataclass(frozen=True, eq=False)
class Apart(Predictor):
    """A predictor that encodes hashed levels column by column, so that it is known which column an input comes from."""

    hashing: Hashing | None = field(kw_only=True)  #: of the model; `encoder` has none

    @classmethod
    def of(cls, whole: Predictor, **more: Any) -> Self:
        """Predictor with the network of another one."""
        encoder, hashing = replace(whole.encoder, hashing=None), whole.encoder.hashing
        return cls(encoder, whole.head, whole.topology, whole.flat, hashing=hashing, **more)

    def encoded(self, part: Any, offset: Any, label: str) -> Rows:
        """Inputs and offsets of the rows of a partition; the active input of each categorical column in its place."""
        rows = self._encoded(part, offset, label)
        if self.hashing is None:
            return rows
        n_levels = int(self.encoder.starts[-1])
        table = np.append(self.hashing.inputs(np.arange(n_levels)), -1).astype(np.int32)
        slot = rows.entries.slot + np.int32(self.hashing.n_inputs - n_levels)  # of numbers, which follow the levels
        return rows._replace(active=table[rows.active], entries=rows.entries._replace(slot=slot))


class InputValues(Apart):
    """Inputs of the network, (n, inputs) float64, as the answers to rows."""

    def answers(self, part: Any, offset: Any, label: str, control: NDArray[np.int64] | None = None) -> NDArray[Any]:  # noqa: ARG002
        """Value of every input.

        See `Predictor.answers`.
        """
        rows, n_onehot = self.encoded(part, offset, label), self.topology.n_onehot
        inputs = np.zeros((rows.n, self.topology.n_inputs))
        inputs[:, n_onehot:] = rows.dense[:, : self.topology.n_dense]
        row, column = np.nonzero(rows.active >= 0)
        np.add.at(inputs, (row, rows.active[row, column]), 1.0)  # hashed levels of several columns may meet
        if len(rows.entries.begin):
            row, places = np.repeat(np.arange(rows.n), rows.entries.length), rows.entries.places()
            inputs[row, rows.entries.slot[places]] = rows.entries.value[places]
        return inputs

    def each(self, answers: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, inputs)."""
        return answers


def table_values(model: Model, X: Any, names: Sequence[str]) -> pd.DataFrame:
    """Columns of a table in this process, by name, as they are; those that it has not are missing."""
    X = as_table(X, LABEL)
    table = pd.DataFrame(as_csr(X, LABEL).toarray()) if is_sparse(X) else local_table(X, LABEL)
    if not (model.record.is_named and hasattr(X, "columns")):
        table = table.set_axis(list(model.record.feature_names), axis=1)
    return table.reindex(columns=list(names))
