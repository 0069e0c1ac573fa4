"""Part of a model that a prediction needs: the encoder, the network, and what its outputs mean. It travels to the
workers once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_dl.errors import SchemaError
from dask_dl.frame.encoder import Encoder, Number
from dask_dl.frame.prediction import offset_numbers
from dask_dl.node.predict import cut_after, cut_before, rows_per_chunk
from dask_dl.node.replica import predict
from dask_dl.state import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dask_dl.kernels.layout import Topology
    from dask_dl.metrics.measurement import Measurement, MetricSettings
    from dask_dl.tasks.head import Head


#: Name of the mean squared error of a row, as in H2O.
ERROR = "Reconstruction.MSE"


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network with its encoder and head: small beside a `Model`, which also holds optimizer state and history.

    Prediction has two halves, so that the form of an answer is known without one: `answers` runs the network on a partition,
    whose columns have text names; the other methods make of its answers what was asked for.
    """

    encoder: Encoder
    head: Head
    topology: Topology
    flat: NDArray[np.float32]  #: weights and biases, as `topology` lays them out
    layer: int | None = None  #: hidden layer whose activations are the answers; None: the head makes them of the output

    @cached_property
    def _network(self) -> tuple[Topology, NDArray[np.float32]]:
        """The network as far as it is needed."""
        return (self.topology, self.flat) if self.layer is None else cut_after(self.topology, self.flat, self.layer)

    def rows_per_chunk(self, n_threads: int = 1) -> int:
        """Rows that each thread answers at a time, so that many classes or columns take no more memory than few."""
        width = max(1, len(self.encoder.categories) + self.encoder.n_dense)
        return rows_per_chunk(self._network[0].n_outputs, 4 * width, n_threads)

    def answers(self, part: Any, offset: Any, label: str, control: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Answers to a partition, as `Head.answers` gives them; or (n, units) activations of a hidden layer.

        Parameters
        ----------
        part : pandas.DataFrame, SparsePart or DensePart
            n rows.
        offset : array-like of shape (n,) or None
        label : str
            Name of the table, for errors.
        control : (..., ) int64, optional
            See `node.replica.predict`.

        Returns
        -------
        (n, ..) ndarray

        Raises
        ------
        SchemaError
            When the partition does not fit the encoder, or offsets are missing or infinite.
        """
        rows = self._encoded(part, offset, label)
        return self._answered(predict(*self._network, rows, control=control))

    def _encoded(self, part: Any, offset: Any, label: str) -> Rows:
        """Inputs and offsets of the rows of a partition."""
        dense, active, entries = self.encoder.encode(self.encoder.filled(part), label)
        nothing = np.zeros(0, np.float32)
        shifts = nothing
        if offset is not None and self.layer is None:
            shifts = self.head.offsets(_finite(offset, len(part), label)).astype(np.float32)
        return Rows(dense, active, nothing, nothing, shifts, entries=entries)

    def compared(self, part: Any, label: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """Inputs of the rows of a partition and the answers to them, as `Head.measure` takes both."""
        rows = self._encoded(part, None, label)
        return self.head.truth(rows, self.topology), self._answered(predict(*self._network, rows))

    def measure(self, rows: Rows, settings: MetricSettings, n_threads: int = 1) -> Measurement | None:
        """Measurement of the answers to encoded rows, in the units of the encoder; None where no row counts.

        Parameters
        ----------
        rows : Rows
        settings : MetricSettings
        n_threads : int
            Maximum number of threads.

        Returns
        -------
        Measurement or None
        """
        return self.head.measure_rows(rows, predict(self.topology, self.flat, rows, n_threads), self.topology, settings)

    def _answered(self, outputs: NDArray[np.float32]) -> NDArray[Any]:
        return self.head.answers(outputs) if self.layer is None else outputs

    @property
    def no_answers(self) -> NDArray[Any]:
        """Answers to a table without rows."""
        return self._answered(np.zeros((0, self._network[0].n_outputs), np.float32))

    def predicted(self, answers: NDArray[Any]) -> NDArray[Any]:
        """The most probable class of every row, or its number: see `Head.predicted`."""
        return self.head.predicted(answers)

    def probabilities(self, answers: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, K), in the order of the classes."""
        return answers

    def log_probabilities(self, answers: NDArray[np.float32]) -> NDArray[np.float32]:
        """Natural logarithms of `probabilities`; minus infinity where one is 0."""
        with np.errstate(divide="ignore"):
            logarithms: NDArray[np.float32] = np.log(answers)
        return logarithms

    def activations(self, answers: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, units) of a hidden layer."""
        return answers

    def decoded(self, answers: NDArray[np.float32]) -> NDArray[Any]:
        """(n, inputs) in the units of the table: see `Head.decoded`."""
        return self.head.decoded(answers, self.encoder)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns of a frame of answers: of the classes, the inputs, or the units of a layer, as in H2O."""
        if self.layer is None:
            return self.head.column_names(self.encoder)
        n_hidden = len(self.topology.hidden)
        return [f"DF.L{self.layer % n_hidden + 1}.C{j + 1}" for j in range(self.topology.hidden[self.layer])]

    def framed(self, values: NDArray[Any], index: pd.Index[Any]) -> pd.Series[Any] | pd.DataFrame:
        """One value per row as a Series; several as a frame with the names of their columns."""
        if values.ndim == 1:  # the dtype is that of no rows, too
            series: pd.Series[Any] = pd.Series(
                values, index=index, name="predict", dtype=pd.Index(self.head.labels).dtype
            )
            return series
        return pd.DataFrame(values, index=index, columns=self.column_names)

    def table(self, part: pd.DataFrame, answers: NDArray[Any], *, keep: Sequence[str] = ()) -> pd.DataFrame:
        """Kept columns and predictions, side by side: see `Head.table`."""
        return self.head.table(answers, part.index, {name: part[name] for name in keep}, self.encoder)


@dataclass(frozen=True, eq=False)
class InputErrors(Predictor):
    """Squared errors of reconstructed inputs, (n, inputs) float64 in the network's unit, as the answers to rows."""

    is_per_feature: bool = field(default=True, kw_only=True)  #: whether `table` has those of every input

    @classmethod
    def of(cls, whole: Predictor, *, per_feature: bool) -> InputErrors:
        """Errors of the reconstructions of an autoencoder's predictor."""
        return cls(whole.encoder, whole.head, whole.topology, whole.flat, is_per_feature=per_feature)

    def answers(self, part: Any, offset: Any, label: str, control: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Squared errors of every input.

        See `Predictor.answers`.
        """
        rows = self._encoded(part, offset, label)
        found: NDArray[np.float64] = predict(*self._network, rows, control=control).astype(np.float64)
        found -= self.head.truth(rows, self.topology)
        return np.square(found, out=found)

    @property
    def no_answers(self) -> NDArray[Any]:
        """Errors of a table without rows."""
        return np.zeros((0, self.topology.n_outputs))

    def means(self, answers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean squared error of every row, (n,)."""
        found: NDArray[np.float64] = answers.mean(axis=1)
        return found

    def each(self, answers: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, inputs)."""
        return answers

    @property
    def column_names(self) -> list[str]:
        """Names of the columns of `each`, as in H2O."""
        return [f"{name}.SE" for name in self.head.column_names(self.encoder)]

    def framed(self, values: NDArray[Any], index: pd.Index[Any]) -> pd.Series[Any] | pd.DataFrame:
        """`means` or `each`, with H2O's names."""
        if values.ndim == 1:
            return pd.Series(values, index=index, name=ERROR)
        return pd.DataFrame(values, index=index, columns=self.column_names)

    def table(self, part: pd.DataFrame, answers: NDArray[Any], *, keep: Sequence[str] = ()) -> pd.DataFrame:
        """Kept columns, `means` and, if they are asked for, `each`, side by side."""
        kept = pd.DataFrame({name: part[name] for name in keep}, index=part.index)
        errors = [self.framed(self.means(answers), part.index)]
        if self.is_per_feature:
            errors.append(self.framed(answers, part.index))
        return pd.concat([kept, *errors], axis=1)


@dataclass(frozen=True, eq=False)
class Decoder(Predictor):
    """Part of an autoencoder that lies above a hidden layer: rows of activations are what it answers to."""

    inputs: Encoder = field(kw_only=True)  #: of the whole network

    @classmethod
    def of(cls, whole: Predictor, layer: int) -> Decoder:
        """Part of a network above hidden layer number `layer`. Raises ParameterError when there is none."""
        topology, flat = cut_before(whole.topology, whole.flat, layer)
        codes = tuple(Number(name, 0.0, 0.0, 1.0) for name in replace(whole, layer=layer).column_names)
        return cls(Encoder((), codes), whole.head, topology, flat, inputs=whole.encoder)

    def decoded(self, answers: NDArray[np.float32]) -> NDArray[Any]:
        """(n, inputs) in the units of the table: see `Head.decoded`."""
        return self.head.decoded(answers, self.inputs)

    @property
    def column_names(self) -> list[str]:
        """Names of the inputs."""
        return self.head.column_names(self.inputs)


def _finite(offset: Any, n: int, label: str) -> NDArray[np.float64]:
    if np.shape(offset) != (n,):
        raise SchemaError(f"{label} has {n:,} rows and {np.size(offset):,} offsets. Their lengths must match.")
    values = offset_numbers(offset, label)
    if not np.isfinite(values).all():
        raise SchemaError(f"{int((~np.isfinite(values)).sum()):,} offsets of {label} are missing or infinite.")
    return values
