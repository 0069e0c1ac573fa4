"""Settings of a training that every shard has to know, and those of a round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from dask_dl.frame.view import View
    from dask_dl.kernels.layout import Topology
    from dask_dl.kernels.losses import Objective
    from dask_dl.kernels.optimizers import Optimizer
    from dask_dl.metrics.measurement import MetricSettings
    from dask_dl.tasks.head import Head


@dataclass(frozen=True, eq=False)
class Setup:
    """Settings that every shard has to know of a training."""

    head: Head
    topology: Topology
    optimizer: Optimizer
    objective: Objective
    metrics: MetricSettings
    seed: int
    shuffle: bool
    view: View  #: the rows that are trained on
    scored: Mapping[str, View]  #: rows that are scored, by name
    trainer: str  #: identifier of the trainer
    #: (blocks + 1,) of `Subset`, where the view does not have all rows
    starts: NDArray[np.int64] | None = None
    n_shards: int = (
        1  #: that share the windows of rows that are not in memory: those of all of them may be in one process
    )

    @property
    def table(self) -> str:
        """Key of the table that is trained on."""
        return self.view.table

    @property
    def drops(self) -> bool:
        """Whether training drops inputs or units."""
        return self.optimizer.input_kept < 1 or any(self.topology.dropout)


class RoundSettings(NamedTuple):
    """Settings of a round, which change while a training goes on."""

    #: residual from which huber's loss is linear; None for other losses, and before a scoring
    delta: float | None = None
    step_scale: float = 1.0  #: factor of all steps: halved after divergence
