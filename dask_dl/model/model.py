"""The fitted value: encoder, network, head, and a record of the training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from dask_dl.errors import ParameterError, warn
from dask_dl.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dask_dl.frame.encoder import Encoder
    from dask_dl.kernels.layout import Topology
    from dask_dl.model.record import TrainingRecord
    from dask_dl.tasks.head import Head


class TrainedNetwork(NamedTuple):
    """A network with its weights, and the state of the optimizer that trained them."""

    topology: Topology
    flat: NDArray[np.float32]  #: weights and biases, as `topology` lays them out
    states: tuple[NDArray[np.float32], ...]  #: optimizer state, each like `flat`


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network, what its inputs and outputs mean, and what is known of its training. Read-only."""

    encoder: Encoder
    network: TrainedNetwork
    head: Head
    record: TrainingRecord

    @property
    def task(self) -> str:
        """Task that was learned: "classification", "regression" or "autoencoder"."""
        return self.head.task

    @cached_property
    def predictor(self) -> Predictor:
        """Predictor of the model."""
        return Predictor(self.encoder, self.head, self.network.topology, self.network.flat)

    def at_threshold(self, threshold: float | str | None) -> Model:
        """Return this model with another rule for which of two classes it predicts.

        Parameters
        ----------
        threshold : float, str or None
            Probability of the second class from which on it is predicted; "max_f1", or "max_" and another of
            `metrics.thresholds.CRITERIA`: that of its largest value at the last scoring, of the validation table if there was
            one; None: the more probable class is.

        Returns
        -------
        Model

        Raises
        ------
        ParameterError
            When there are other than two classes, no such threshold, or no curve to find it on.
        """
        history, head = self.record.history, self.head.with_threshold(None)
        measured = history.measured.get(history.table)
        if isinstance(threshold, str):
            if measured is None or measured.curve is None:
                raise ParameterError(
                    f"threshold={threshold!r}: the file of this model is of an early version and has no thresholds. Take a "
                    f"number, such as evaluate(table).resolve({threshold!r})."
                )
            threshold = measured.curve.resolve(threshold)
        return replace(self, head=head.with_threshold(threshold))

    def missing_columns(self, names: Sequence[str], label: str) -> list[str]:
        """Columns of training that a table lacks: warned of, and filled with missing values.

        The rule: algorithm.md#columns-of-other-tables.
        """
        missing = self.encoder.match(names, label)
        if missing:
            text = f"{label} lacks {len(missing)} columns of training, taken as missing: {missing[:20]}."
            warn(text)
        return missing

    def confusion_matrix(self) -> pd.DataFrame | None:
        """(K, K) rows by class and prediction, of the table that is watched; None where it was not kept."""
        history = self.record.history
        measured = history.measured.get(history.table)
        if measured is None or measured.confusion is None:
            return None
        counts, labels = measured.confusion.matrix, self.head.labels
        whole = counts.astype(np.int64)
        return pd.DataFrame(
            whole if (whole == counts).all() else counts,
            index=pd.Index(labels, name=f"actual ({history.table})"),
            columns=pd.Index(labels, name="predicted"),
        )
