"""Interface of a head: everything that depends on what is learned from a row, from the target's column to the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import numpy as np

from dask_dl.errors import ParameterError
from dask_dl.frame.target import TargetEncoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from dask_dl.distribution import Distribution
    from dask_dl.frame.affine import Standardized
    from dask_dl.frame.encoder import Encoder
    from dask_dl.frame.row_roles import RowRoles
    from dask_dl.frame.scan import Scan
    from dask_dl.kernels.layout import Topology
    from dask_dl.kernels.losses import Objective
    from dask_dl.metrics.measurement import Measurement, MetricSettings
    from dask_dl.metrics.stopping import Enough
    from dask_dl.state import Rows

Output = Literal["softmax", "linear", "activated"]
#: What files say of a target without labels, location and scale: each head writes what is its own.
NOTHING = {
    "classes": [], "types": [], "shift": 0.0, "factor": 1.0, "is_standardized": False, "link": "identity", "correction": [],
    "threshold": None,
}  # fmt: skip


class Head(TargetEncoder, Protocol):
    """A head: frozen, fitted to the training table, saved with the model, and sent to the workers.

    Defaults are for what a task knows nothing of: probabilities that need a correction, labels that were never seen, a unit
    of its own.

    Three forms of a row's target and answer: as the *table* has them; *encoded*, float32 of `Rows.target` and of the
    network's outputs; and as metrics compare them, by `truth` and `answers`.
    """

    task: ClassVar[str]  #: "classification", "regression" or "autoencoder"
    outputs: ClassVar[tuple[Output, ...]]  #: functions that the output layer may have; the first one unless asked
    of_inputs: ClassVar[bool] = False  #: whether a row's targets are its own inputs
    takes_offsets: ClassVar[bool] = False  #: whether a row may bring what is added to its output
    starts_at_constant: ClassVar[bool] = False  #: whether the output begins at the best constant, which the scan finds
    enough: ClassVar[Enough | None] = None  #: rule that ends a training whose training rows are learned well enough

    @property
    def kind(self) -> str:
        """Kind of problem, which decides what is measured: a key of `metrics.table.TASK_OF`."""
        return self.task

    # ---- fitting ----------------------------------------------------------------------------------------------------

    @classmethod
    def check(cls, found: Scan, name: str) -> None:
        """Refuse a training table from whose target, called `name`, nothing can be learned. Raises SchemaError."""

    @classmethod
    def fit(cls, found: Scan, *, standardize: bool, link: str) -> Self:
        """Head of a scanned table.

        Parameters
        ----------
        found : Scan
            Result of the scan.
        standardize : bool
            Whether numbers are learned less their mean, in units of their standard deviation.
        link : str
            "identity" or "log"; a log link learns numbers as they are.

        Returns
        -------
        Head
            Of the same task.
        """

    def corrected(self, correction: Sequence[float]) -> Self:
        """Head whose probabilities are multiplied by a factor for each class (algorithm.md#corrected-probabilities)."""
        return self

    def rescaled(self, mean: float, deviation: float) -> Self:
        """Head of some rows whose encoded targets have this mean and deviation."""
        return self

    @property
    def numbers(self) -> Standardized | None:
        """Units of the targets, where they are numbers."""
        return None

    def with_threshold(self, threshold: float | None) -> Self:
        """Head that predicts the second of two classes from a probability on, or None: the more probable one.

        Raises ParameterError for other heads, and for what is no probability.
        """
        raise ParameterError("threshold: only a model of two classes has one; leave it out.")

    # ---- the network ------------------------------------------------------------------------------------------------

    def n_outputs(self, encoder: Encoder) -> int:
        """Units of the output layer."""

    def objective(self, loss: str, distribution: Distribution) -> Objective:
        """Loss of the kernels; huber's begins to be linear at 1, in standardised units."""

    def start_of_bias(self, constant: float, *, has_offset: bool) -> float:
        """Bias of the output for which the network predicts a constant, or a constant above the offset.

        The constant is a logarithm where the link is one, else in the target's unit. An offset holds the target's mean.
        """
        return 0.0

    def encoded_residual(self, residual: float) -> float:
        """A residual in the target's unit as one of the network's output."""
        return residual

    def offsets(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Offsets in the units of the output's pre-activation: algorithm.md#offsets."""
        return values

    def has_unseen(self, labels: Mapping[Any, int]) -> bool:
        """Whether any of these labels was never seen in training."""
        return False

    # ---- answers ----------------------------------------------------------------------------------------------------

    @property
    def classes(self) -> tuple[Any, ...]:
        """Labels, sorted; empty for numbers and reconstructions."""
        return ()

    @property
    def labels(self) -> NDArray[Any]:
        """The classes as an array: numbers and booleans by their type, texts as objects."""
        return np.zeros(0)

    @property
    def correction(self) -> tuple[float, ...]:
        """Factors of the probabilities of classes that were balanced; else empty."""
        return ()

    @property
    def link(self) -> str:
        """`log` where the network's output is the logarithm of the answer, else `identity`."""
        return "identity"

    @property
    def scorer_labels(self) -> NDArray[Any] | None:
        """Labels that scorers of scikit-learn are told; None for numbers and reconstructions."""
        return self.labels if self.classes else None

    @property
    def has_text_labels(self) -> bool:
        """Whether the labels are strings, so that a file's column of them is read as strings."""
        return False

    def answers(self, outputs: NDArray[np.float32]) -> NDArray[Any]:
        """Answers to n rows, by the network's (n, outputs): (n, K) probabilities, (n,) numbers, or (n, inputs)."""

    def predicted(self, answers: NDArray[Any]) -> NDArray[Any]:
        """The single best answer to every row: its class in its original type, its number, or its inputs."""
        return answers

    def decoded(self, answers: NDArray[Any], encoder: Encoder) -> NDArray[Any]:
        """Answers in the units of the table, of whose columns an encoder made inputs."""
        return answers

    def table(
        self, answers: NDArray[Any], index: pd.Index[Any], kept: Mapping[str, Any], encoder: Encoder
    ) -> pd.DataFrame:
        """Table of kept columns, `predict`, and for classes one probability each; or of decoded answers. Every name once.

        Parameters
        ----------
        answers : ndarray of n rows
            As `answers` returns them.
        index : pandas.Index
            Of the n rows.
        kept : mapping
            Columns that come first, by name.
        encoder : Encoder
            Makes inputs of a table's columns.

        Returns
        -------
        pandas.DataFrame
        """

    def answers_in(self, table: pd.DataFrame) -> NDArray[Any]:
        """The answers of which `table` made a table."""
        return table["predict"].to_numpy()

    def column_names(self, encoder: Encoder) -> list[str]:
        """Names of the columns of a frame of answers."""
        return [str(label) for label in self.classes]

    # ---- measuring --------------------------------------------------------------------------------------------------

    def truth(self, rows: Rows, topology: Topology) -> NDArray[Any]:
        """Truth of encoded rows, as `measure` compares it to answers."""

    def measure(
        self,
        truth: NDArray[Any],
        answers: NDArray[Any],
        weights: NDArray[np.floating] | None,
        settings: MetricSettings,
    ) -> Measurement:
        """Measurement of the answers to some rows, one or more.

        Parameters
        ----------
        truth : ndarray of n rows
            As `truth` returns it.
        answers : ndarray of n rows
            As `answers` returns them.
        weights : (n,) float or None
            Weights of the rows; None: all 1.
        settings : MetricSettings
            Distribution of the target, and what is measured beside what always is.

        Returns
        -------
        Measurement
        """

    def measure_rows(
        self, rows: Rows, outputs: NDArray[np.float32], topology: Topology, settings: MetricSettings
    ) -> Measurement | None:
        """Measurement of the network's outputs for encoded rows.

        Parameters
        ----------
        rows : Rows
            n rows; those of weight 0 do not count.
        outputs : (n, outputs) float32
        topology : Topology
            Sizes of the network.
        settings : MetricSettings
            See `measure`.

        Returns
        -------
        Measurement or None
            None: no row counts.
        """
        weights = rows.weight if len(rows.weight) else None
        truth = self.truth(rows, topology)
        if weights is not None:
            used = weights > 0
            outputs, truth, weights = outputs[used], truth[used], weights[used]
        return self.measure(truth, self.answers(outputs), weights, settings) if len(truth) else None

    def check_scored(self, found: Mapping[Any, int], where: str) -> dict[Any, int]:
        """Labels, and their rows, that training never saw. Raises SchemaError where they are of another type."""
        return {}

    def scored_truth(self, roles: RowRoles) -> NDArray[Any]:
        """Truth of the rows of a table as scikit-learn's metrics take it.

        Numbers are in the target's unit; classes are their indices, and -1 is one that was never seen.
        """

    def is_known(self, truth: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether answers to each row can be compared to its `scored_truth`: not where it is a label never seen."""
        return np.ones(len(truth), bool)

    def scored_as(self, answers: NDArray[Any]) -> NDArray[Any]:
        """The single best answer to every row in the form of `scored_truth`."""
        return answers

    # ---- files ------------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Head as lists and dicts."""
        return dict(NOTHING)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Head of what `to_json` returned; what belongs to other tasks is not looked at."""
