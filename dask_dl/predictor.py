"""Part of a model that a prediction needs: the encoder, the network, and what its outputs mean. It travels to the
workers once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_dl.errors import SchemaError
from dask_dl.frame.dtypes import names_of
from dask_dl.node.replica import predict
from dask_dl.state import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.encoder import Encoder
    from dask_dl.frame.target import Target
    from dask_dl.kernels.layout import Topology


#: Bytes of the outputs that a prediction holds beside its answers, however many classes there are.
BYTES_PER_CHUNK = 2**26


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network with its encoder and target: small beside a `Model`, which also holds optimizer state and history.

    Prediction has two halves, so that the shape of an answer is known without one: `outputs` runs the network on a
    partition, whose columns have text names; the other methods say what the outputs mean.
    """

    encoder: Encoder
    target: Target
    topology: Topology
    flat: NDArray[np.float32]  #: weights and biases, as `topology` lays them out

    @property
    def rows_per_chunk(self) -> int:
        """Rows whose outputs and probabilities, 8 bytes each, take BYTES_PER_CHUNK at most; 1 or more."""
        return max(1, BYTES_PER_CHUNK // (8 * self.topology.n_outputs))

    def outputs(self, part: Any, offset: Any, label: str) -> NDArray[np.float32]:
        """(n, K) probabilities, or (n, 1) numbers in the units of the output, of a partition."""
        present = set(names_of(part))
        absent = [name for name in self.encoder.columns if name not in present]
        if absent:
            # Of sparse tables what is not there is 0 (algorithm.md#columns-of-other-tables).
            zeros = {number.name for number in self.encoder.numbers} if self.encoder.is_sparse else set()
            part = part.assign(**{name: 0.0 if name in zeros else np.nan for name in absent})
        dense, active, entries = self.encoder.encode(part, label)
        nothing = np.zeros(0, np.float32)
        shifts = (
            nothing if offset is None else self.target.offsets(_finite(offset, len(part), label)).astype(np.float32)
        )
        return self.target.probabilities(
            predict(self.topology, self.flat, Rows(dense, active, nothing, nothing, shifts, entries=entries))
        )

    def labels(self, outputs: NDArray[np.float32]) -> NDArray[Any]:
        """The most probable class of every row, the first of equals, in its original type."""
        labels: NDArray[Any] = self.target.labels[best_class(outputs)]
        return labels

    def probabilities(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, K), in the order of the classes."""
        return outputs

    def log_probabilities(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Natural logarithms of `probabilities`; minus infinity where one is 0."""
        with np.errstate(divide="ignore"):
            logarithms: NDArray[np.float32] = np.log(outputs)
        return logarithms

    def numbers(self, outputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predicted numbers, in the unit of the target."""
        return self.target.decode(outputs[:, 0])

    def framed(self, values: NDArray[Any], index: pd.Index[Any]) -> pd.Series[Any] | pd.DataFrame:
        """One value per row as a Series; one per row and class as a frame, whose columns are named by the classes."""
        if values.ndim == 1:
            dtype = pd.Index(self.target.labels).dtype if self.target.classes else None  # of no rows, too
            return pd.Series(values, index=index, name="predict", dtype=dtype)
        return pd.DataFrame(values, index=index, columns=[str(label) for label in self.target.classes])

    def table(self, part: pd.DataFrame, outputs: NDArray[np.float32], *, keep: Sequence[str] = ()) -> pd.DataFrame:
        """Kept columns, `predict`, and for classes one probability each, side by side; every name once."""
        columns: dict[str, Any] = {name: part[name] for name in keep}
        if not self.target.classes:
            return pd.DataFrame(columns | {"predict": self.numbers(outputs)}, index=part.index)
        columns["predict"] = self.framed(self.labels(outputs), part.index)
        for label, values in zip(self.target.classes, outputs.T, strict=True):
            # H2O puts a p before what reads as a whole number; here also before a name that is taken.
            name = f"p{label}" if str(label).lstrip("-").isdecimal() else str(label)
            while name in columns:
                name = f"p{name}"
            columns[name] = values
        return pd.DataFrame(columns, index=part.index)


def best_class(outputs: NDArray[np.float32]) -> NDArray[np.intp]:
    """Index of the most probable class of every row, the first of equals."""
    return outputs.argmax(axis=1) if len(outputs) else np.zeros(0, np.intp)


def _finite(offset: Any, n: int, label: str) -> NDArray[np.float64]:
    values = np.asarray(offset, np.float64)
    if values.shape != (n,):
        raise SchemaError(f"{label} has {n:,} rows and {values.size:,} offsets. They must be as many.")
    if not np.isfinite(values).all():
        raise SchemaError(f"{int((~np.isfinite(values)).sum()):,} offsets of {label} are missing or infinite.")
    return values
