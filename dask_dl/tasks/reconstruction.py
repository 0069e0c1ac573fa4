"""Head of an autoencoder: the inputs themselves, which the network learns to give back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from dask_dl.frame.decoding import decoded
from dask_dl.kernels.losses import KINDS, Objective
from dask_dl.metrics.measurement import measure_inputs
from dask_dl.metrics.stopping import Enough
from dask_dl.tasks.head import Head, Output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dask_dl.distribution import Distribution
    from dask_dl.frame.encoder import Encoder
    from dask_dl.frame.row_roles import RowRoles, TargetKind
    from dask_dl.frame.scan import Scan
    from dask_dl.kernels.layout import Topology
    from dask_dl.metrics.measurement import Measurement, MetricSettings
    from dask_dl.state import Rows


#: Begins the name of a column of answers, before the name of its input, as in H2O.
COLUMN = "reconstr_"


@dataclass(frozen=True)
class Reconstruction(Head):
    """Inputs of a row as its target (algorithm.md#loss-of-reconstructions). See `Head`."""

    task: ClassVar[str] = "autoencoder"
    target_kind: ClassVar[TargetKind] = "nothing"
    outputs: ClassVar[tuple[Output, ...]] = ("activated", "linear")
    of_inputs: ClassVar[bool] = True
    enough: ClassVar[Enough | None] = Enough(
        "regression_stop", "mse", lambda mse: mse, "the mean squared error of training rows is {:.3g}"
    )

    @classmethod
    def check(cls, found: Scan, name: str) -> None:
        """Any table will do."""

    @classmethod
    def fit(cls, found: Scan, *, standardize: bool, link: str) -> Reconstruction:
        """Head without any state. See `Head.fit`."""
        return cls()

    def n_outputs(self, encoder: Encoder) -> int:
        """One unit for each input."""
        return encoder.n_onehot + encoder.n_dense

    def objective(self, loss: str, distribution: Distribution) -> Objective:
        """Loss of every input; huber's begins to be linear at 1, in the network's unit."""
        return Objective(
            KINDS[distribution.name], 1.0 if distribution.name == "huber" else distribution.shape, of_inputs=True
        )

    def encode(self, roles: RowRoles) -> NDArray[np.float64]:
        """Nothing: rows have no target."""
        return np.zeros(0)

    def answers(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inputs as the network gives them back, (n, inputs) float32."""
        return outputs

    def decoded(self, answers: NDArray[np.float32], encoder: Encoder) -> NDArray[np.float64]:
        """Numbers in the units of the table, and probabilities of levels: see `frame.decoding.decoded`."""
        return decoded(encoder, answers)

    def table(
        self, answers: NDArray[np.float32], index: pd.Index[Any], kept: Mapping[str, Any], encoder: Encoder
    ) -> pd.DataFrame:
        """Table of kept columns, and a column for each input.

        See `Head.table`.
        """
        columns = self.column_names(encoder)
        found = pd.DataFrame(self.decoded(answers, encoder), index=index, columns=columns)
        return pd.concat([pd.DataFrame(dict(kept), index=index), found], axis=1) if kept else found

    def answers_in(self, table: pd.DataFrame) -> NDArray[Any]:
        """The decoded inputs in a table by `table`."""
        return table[[name for name in table if str(name).startswith(COLUMN)]].to_numpy()

    def column_names(self, encoder: Encoder) -> list[str]:
        """A name for each input."""
        return [COLUMN + name for name in encoder.input_names]

    def truth(self, rows: Rows, topology: Topology) -> NDArray[np.float32]:
        """Inputs of encoded rows, (n, inputs) float32: one-hot ones first, then numbers."""
        inputs = np.zeros((rows.n, topology.n_inputs), np.float32)
        inputs[:, topology.n_onehot :] = rows.dense[:, : topology.n_dense]
        row, column = np.nonzero(rows.active >= 0)
        inputs[row, rows.active[row, column]] = 1
        if len(rows.entries.begin):
            places = rows.entries.places()
            inputs[np.repeat(np.arange(rows.n), rows.entries.length), rows.entries.slot[places]] = rows.entries.value[
                places
            ]
        return inputs

    def measure(
        self,
        truth: NDArray[np.float32],
        answers: NDArray[np.float32],
        weights: NDArray[np.floating] | None,
        settings: MetricSettings,
    ) -> Measurement:
        """Measurement of reconstructed inputs.

        See `Head.measure`.
        """
        return measure_inputs(truth, answers, weights)

    def scored_truth(self, roles: RowRoles) -> NDArray[np.float64]:
        """Nothing: a table has no targets."""
        return np.zeros(0)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Reconstruction:
        """Head without any state. See `Head.from_json`."""
        return cls()
