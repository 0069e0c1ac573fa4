"""Tables that were scanned, and the network that shall learn them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from dask_dl.frame.view import View
from dask_dl.kernels.batches import train_batches
from dask_dl.kernels.network import train_rows
from dask_dl.training.checkpoints import TrainingFingerprint

if TYPE_CHECKING:
    from dask_dl import parameters
    from dask_dl.distribution import Distribution
    from dask_dl.frame.affine import Affine
    from dask_dl.frame.balance import Balance
    from dask_dl.frame.encoder import Encoder
    from dask_dl.frame.row_selection import RowSelection
    from dask_dl.frame.scan import Scan
    from dask_dl.frame.source import Source
    from dask_dl.kernels.layout import Topology
    from dask_dl.kernels.optimizers import Optimizer
    from dask_dl.node.parallelism import Parallelism
    from dask_dl.tasks.head import Head
    from dask_dl.training.settings import NetworkSettings, RunSettings


def class_counts(found: Scan, head: Head) -> list[int]:
    """Rows of every class."""
    return [found.classes.get(label, 0) for label in head.classes]


class FoldRows(NamedTuple):
    """Rows that a fold of a cross-validation looks at."""

    rows: RowSelection  #: that train
    inputs: Affine | None  #: own units over the stored ones
    scored: dict[str, View]  #: that every scoring looks at beside those that train
    holdout: View  #: that are measured in the end
    constant: float | None  #: the best one of its rows, where they tell it; None: that of the whole table


@dataclass
class PreparedTables:
    """Tables that were scanned, and how their columns become inputs and targets."""

    task: parameters.Task
    tables: dict[str, tuple[Source, Scan]]  #: "training", and "validation" if there is one
    required: frozenset[str]  #: columns without which a row does not train
    encoder: Encoder
    head: Head
    balance: Balance | None
    distribution: Distribution
    is_sparse: bool  #: whether inputs are taken as entries
    seed: int  #: of samples, visits and the hashing of levels
    #: whether the encoder is that of another model, whose units are those of every fold too
    is_adopted: bool = field(default=False, kw_only=True)
    fold: FoldRows | None = field(default=None, kw_only=True)  #: what a fold of a cross-validation looks at

    @property
    def found(self) -> Scan:
        """Scan of the training table."""
        return self.tables["training"][1]

    @property
    def view(self) -> View:
        """The rows that train, as often as they do."""
        if self.fold is not None:
            return View("training", self.fold.rows, self.balance, self.fold.inputs)
        return View("training", balance=self.balance)

    @property
    def scored(self) -> dict[str, View]:
        """The rows that every scoring looks at, by name: "training", and "validation" if there are any."""
        others = {name: View(name) for name in self.tables if name != "training"}
        return {"training": self.view} | (others if self.fold is None else self.fold.scored)

    @property
    def class_counts(self) -> list[int]:
        """Rows of every class."""
        return class_counts(self.found, self.head)


@dataclass
class Problem(PreparedTables):
    """Prepared tables, and the network that shall learn them."""

    topology: Topology
    network: NetworkSettings
    optimizer: Optimizer
    run: RunSettings
    effective: dict[str, Any]  #: parameters as the model will tell them
    requested: dict[str, Any]
    threads: Parallelism

    @property
    def tables_only(self) -> PreparedTables:
        """The tables without the network."""
        return PreparedTables(**{f.name: getattr(self, f.name) for f in fields(PreparedTables)})

    @property
    def kernel(self) -> Any:
        """Kernel that trains."""
        return train_rows if self.optimizer.batch == 1 else train_batches

    @property
    def fingerprint(self) -> TrainingFingerprint:
        """Fingerprint that a checkpoint must share to be continued by this training."""
        (source, found), validation = self.tables["training"], self.tables.get("validation")
        return TrainingFingerprint(
            source.predictors,
            dict(source.roles),
            found.n_rows,
            found.n_used,
            validation[1].n_rows if validation else 0,
            self.encoder,
            self.head,
            self.topology,
            TrainingFingerprint.settings_of(self.requested),
            self.balance.ratios if self.balance else (),
        )
