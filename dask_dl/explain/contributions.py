"""Contributions of columns, or of inputs, to the answers to rows, beside background rows: DeepSHAP.

Lundberg and Lee 2017, with the rescale rule of DeepLIFT (Shrikumar et al. 2017); algorithm.md#contributions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dask_dl.explain.background import background_rows
from dask_dl.explain.inputs import Apart
from dask_dl.explain.output_space import OutputSpace
from dask_dl.kernels.atomics import LINE
from dask_dl.kernels.batches import max_active
from dask_dl.kernels.contributions import PairBuffers, Shares, add_contributions, pass_rows
from dask_dl.kernels.denormals import flushed
from dask_dl.kernels.team import ABORT, STOP
from dask_dl.node.predict import rows_per_chunk
from dask_dl.node.replica import kernel_calls
from dask_dl.state import Rows, aligned_zeros, padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.frame.encoder import Encoder
    from dask_dl.kernels.multipliers import Passed
    from dask_dl.model import Model

#: Name of the mean background answer, as in H2O.
BIAS = "BiasTerm"
#: Multiplications of a slice of rows, about: some tens of milliseconds of a thread, so that threads share few rows, too.
WORK_PER_SLICE = 2**30
NOTHING = np.zeros(0, np.float32)
NO_ROWS = Rows(np.zeros((0, 0), np.float32), np.zeros((0, 0), np.int32), NOTHING, NOTHING, NOTHING)


@dataclass(frozen=True, eq=False)
class Contributions(Apart):
    """Contributions as the answers to rows, (n, O, G + 1) float64: to O values, of G shares, and the bias."""

    space: OutputSpace = field(kw_only=True)
    names: tuple[str, ...] = field(kw_only=True)  #: of the shares
    shares: Shares = field(kw_only=True)
    background: Rows = field(kw_only=True, default=NO_ROWS)

    @classmethod
    def beside(
        cls,
        model: Model,
        table: Any,
        *,
        offset: Any,
        n: int | None,
        output: str,
        label: Any,
        per_input: bool,
        called: str,
    ) -> Contributions:
        """Contributions to the answers of a model, beside rows of a table.

        Parameters
        ----------
        model : Model
        table : Dask or pandas DataFrame, Dask Array, sparse matrix or array-like
            Background rows.
        offset : str, int, aligned collection or None
            Their offsets.
        n : int or None
            Background rows, at most.
        output, label : object
            See `OutputSpace.of`.
        per_input : bool
            Whether every input of the network has a share of its own, and not every column.
        called : str
            Name of the estimator, for errors.

        Returns
        -------
        Contributions

        Raises
        ------
        ParameterError, SchemaError
            When an argument is wrong, or the table does not fit the model.
        """
        space, encoder = OutputSpace.of(model.head, output, label), model.encoder
        names, shares = _shares_of_inputs(encoder) if per_input else _shares_of_columns(model)
        if model.record.offset_name is not None:
            name = model.record.offset_name or "offset"
            while name in names:
                name += "_"
            names, shares = [*names, name], shares._replace(of_offset=len(names))
        apart = cls.of(model.predictor, space=space, names=tuple(names), shares=shares)
        return replace(apart, background=background_rows(model, table, offset, n, apart, called))

    @cached_property
    def _there(self) -> Passed:
        """The background rows in the network."""
        return self._passed(self.background.copy())  # arrays that came from elsewhere may be read-only

    @property
    def bias(self) -> NDArray[np.float64]:
        """Mean value of the background rows, (O,)."""
        mean: NDArray[np.float64] = self._there.values.mean(axis=0)
        return mean

    def rows_per_chunk(self, n_threads: int = 1) -> int:
        """Rows that each thread explains at a time: of so few bytes, and few enough to share them among threads."""
        width = max(1, len(self.encoder.categories) + self.encoder.n_dense)
        n_bytes = 8 * self.space.n * (len(self.names) + 1) + 8 * sum(self.topology.widths)
        of_memory = rows_per_chunk(-(-n_bytes // 8), 4 * width, n_threads)
        n_weights = sum(n_out * n_in for n_out, n_in in self.topology.shapes[1:])
        n_weights += self.topology.shapes[0][0] * (self.topology.n_dense + len(self.encoder.categories) + 1)
        of_work = WORK_PER_SLICE // (max(1, self.background.n) * self.space.n * n_weights)
        return max(1, min(of_memory, of_work))

    def answers(self, part: Any, offset: Any, label: str, control: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Contributions and bias of every row.

        See `Predictor.answers`.
        """
        rows = self.encoded(part, offset, label)
        assert len(rows.offset) == rows.n or self.shares.of_offset < 0, "a model with offsets is given some"
        out = np.zeros((rows.n, self.space.n, len(self.names) + 1))
        here, there = self._passed(rows), self._there
        control = np.zeros(4 * LINE, np.int64) if control is None else control
        n_onehot, buffers = self.topology.onehot_size, PairBuffers.of(self.topology, there.n, self.space.n_nodes)
        weights = self.flat[:n_onehot], self.flat[n_onehot:]
        with flushed():
            for lo, hi in kernel_calls(0, rows.n):
                if control[STOP] or control[ABORT]:
                    break
                add_contributions(
                    lo, hi, here, there, self.topology.network, weights, self.space.explained, self.shares, buffers, out
                )
        out /= there.n
        out[:, :, -1] = self.bias
        return out

    def _passed(self, rows: Rows) -> Passed:
        """Rows in the network."""
        n, topology = rows.n, self.topology
        m, size = max_active(rows, n), n * sum(topology.widths)
        sums, acts = aligned_zeros(size + max(topology.widths)), aligned_zeros(size + max(topology.widths))
        slots, values, edges = np.empty(m, np.int32), np.empty(m, np.float32), np.empty(n + 1, np.int32)
        onehot, dense = self.flat[: topology.onehot_size], self.flat[topology.onehot_size :]
        with flushed():
            pass_rows(rows, n, topology.network, onehot, dense, slots, values, edges, sums, acts)
        return self.space.passed(rows, sums[:size], acts[:size], topology.widths[-1])

    @property
    def no_answers(self) -> NDArray[Any]:
        """Contributions to the answers to no rows."""
        return np.zeros((0, self.space.n, len(self.names) + 1))

    def each(self, answers: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, G + 1) of one value; (n, G + 1, O) of several."""
        return answers[:, 0] if self.space.n == 1 else answers.transpose(0, 2, 1)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns of a frame of `each`: of several classes with the class before them."""
        names = [*self.names, BIAS]
        return names if self.space.n == 1 else [f"{label}.{name}" for label in self.space.labels for name in names]

    def framed(self, values: NDArray[Any], index: pd.Index[Any]) -> pd.DataFrame:
        """`each` as a frame, one class after the other."""
        names = self.column_names
        flat = values if values.ndim == 2 else values.transpose(0, 2, 1).reshape(len(values), len(names))
        return pd.DataFrame(flat, index=index, columns=names)


def _shares_of_inputs(encoder: Encoder) -> tuple[list[str], Shares]:
    """A share for each input: its name, and where contributions go."""
    n_onehot, numbers = encoder.n_onehot, np.zeros(padded(encoder.n_dense), np.int64)
    numbers[: encoder.n_dense] = n_onehot + np.arange(encoder.n_dense)
    of_category = np.full(len(encoder.categories), -1, np.int64)
    return encoder.input_names, Shares(of_category, np.arange(n_onehot, dtype=np.int64), numbers, -1)


def _shares_of_columns(model: Model) -> tuple[list[str], Shares]:
    """A share for each column of the training table, in its order, those of no use included: they contribute nothing."""
    encoder, place = model.encoder, {name: k for k, name in enumerate(model.record.feature_names)}
    of_category = np.array([place[c.name] for c in encoder.categories], np.int64)
    of_slot, of_number = np.zeros(encoder.n_onehot, np.int64), np.zeros(padded(encoder.n_dense), np.int64)
    of_columns = [place[number.name] for number in encoder.numbers]
    of_codes = [place[code.name] for code in encoder.codes for _ in range(code.width)]
    if encoder.is_sparse:
        of_slot[encoder.n_level_inputs :] = of_columns
        of_columns = []
    of_number[: encoder.n_dense] = of_columns + of_codes
    return list(place), Shares(of_category, of_slot, of_number, -1)
