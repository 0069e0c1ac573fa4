"""Settings of a training, typed: the only place below the estimators where parameters are looked up by their names."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from dask_dl import parameters
from dask_dl.checkpoint.plain import plain
from dask_dl.errors import ParameterError
from dask_dl.frame.encoder import Encoding
from dask_dl.kernels.layout import Topology
from dask_dl.metrics.custom import custom_metric
from dask_dl.metrics.measurement import MetricSettings
from dask_dl.metrics.stopping import StoppingSettings, metric_of
from dask_dl.node.parallelism import ThreadSettings, cores
from dask_dl.tasks import HEADS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from dask_dl.distribution import Distribution
    from dask_dl.frame.encoder import Encoder
    from dask_dl.kernels.losses import Objective
    from dask_dl.tasks.head import Head

#: A network may have as many weights and biases (algorithm.md#limits): as many as in H2O.
MAX_PARAMETERS = 100_000_000


@dataclass(frozen=True)
class Preparation:
    """Settings that decide which rows and columns train, and what becomes of them."""

    encoding: Encoding
    skips: bool  #: whether rows with a missing input do not train
    ignores_constants: bool  #: whether constant columns are no inputs
    standardizes: bool  #: whether numbers, the target too, are learned in units of their standard deviation
    distribution: Distribution | None  #: of a numeric target

    @classmethod
    def of(
        cls, requested: Mapping[str, Any], task: str, seed: int, distribution: Distribution | None, *, is_sparse: bool
    ) -> Preparation:
        """Settings of requested parameters.

        Parameters
        ----------
        requested : mapping
            Parameters as `parameters.validate` returns them.
        task : str
            What is learned: a key of HEADS.
        seed : int
            Seed of the hashing of levels.
        distribution : Distribution or None
            Distribution of a numeric target.
        is_sparse : bool
            Whether the table is a sparse matrix.

        Returns
        -------
        Preparation
        """
        scheme, head = requested["categorical_encoding"], HEADS[task]
        encoding = Encoding(
            "one_hot_internal" if scheme == "auto" else scheme,
            requested["use_all_factor_levels"] or head.of_inputs,  # an input that is left out cannot be given back
            requested["standardize"],
            requested["max_categorical_features"],
            seed,
            requested["sparse"] or is_sparse,
            by_range=head.of_inputs and parameters.outputs_of(requested) != "linear",
        )
        return cls(
            encoding, skips_of(requested), requested["ignore_const_cols"], requested["standardize"], distribution
        )


def skips_of(requested: Mapping[str, Any]) -> bool:
    """Whether rows with a missing input do not train, by requested parameters."""
    return bool(requested["missing_values_handling"] == "skip")


class PlacementSettings(NamedTuple):
    """Settings of where a training runs, and of how its replicas are averaged."""

    momentum: float  #: of averages
    moving_rate: float | None  #: of elastic averaging; None: replicas become their average
    placement: Literal["sharded", "replicated", "single"]  #: of the rows
    balances: bool  #: whether rows move between workers
    timeout: float  #: seconds without a worker after which a training ends
    reproducible: bool
    n_shards: int | None  #: fixed number of shards, where one is asked for

    @classmethod
    def of(cls, requested: Mapping[str, Any]) -> PlacementSettings:
        """Settings of requested parameters."""
        replicates = requested["replicate_training_data"] and not requested["reproducible"]
        return cls(
            requested["averaging_momentum"],
            requested["elastic_averaging_moving_rate"] if requested["elastic_averaging"] else None,
            "sharded" if not replicates else "single" if requested["single_node_mode"] else "replicated",
            requested["force_load_balance"],
            requested["worker_timeout"],
            requested["reproducible"],
            requested["n_shards"],
        )


class ResumeSettings(NamedTuple):
    """Settings of checkpoints, and what a training must have in common with the one that it continues."""

    checkpoint_dir: str | None
    random_state: int | np.random.RandomState | np.random.Generator | None
    reproducible: bool
    n_shards: int | None  #: fixed number of shards, where one is asked for

    @classmethod
    def of(cls, requested: Mapping[str, Any]) -> ResumeSettings:
        """Settings of requested parameters."""
        return cls(*(requested[name] for name in cls._fields))


class NetworkSettings(NamedTuple):
    """Settings of the network and of what it begins with."""

    hidden: tuple[int, ...]
    activation: str  #: without "_with_dropout"
    dropout: tuple[float, ...]  #: of each hidden layer; empty where none drops
    loss: str
    weight_distribution: str
    weight_scale: float
    weights: Sequence[Any] | None  #: given ones: (inputs, units) of each layer, or None
    biases: Sequence[Any] | None
    output: str  #: output_activation
    has_means: bool  #: whether hidden units are drawn to a mean activation

    @classmethod
    def of(cls, e: Mapping[str, Any]) -> NetworkSettings:
        """Settings of effective parameters."""
        ratios = e["hidden_dropout_ratios"]
        return cls(
            e["hidden"],
            e["activation"].removesuffix("_with_dropout"),
            ratios if any(ratios) else (),
            e["loss"],
            e["initial_weight_distribution"],
            e["initial_weight_scale"],
            e["initial_weights"],
            e["initial_biases"],
            e["output_activation"],
            e["sparsity_beta"] > 0,
        )

    def objective(self, head: Head, distribution: Distribution) -> Objective:
        """Loss of the kernels."""
        return head.objective(self.loss, distribution)._replace(derives=self.output == "same_exact")

    def topology(self, encoder: Encoder, head: Head) -> Topology:
        """Sizes of the network. Raises ParameterError when it is too large."""
        topology = Topology(
            n_onehot=encoder.n_onehot,
            n_dense=encoder.n_dense,
            n_sparse=encoder.n_sparse,
            hidden=self.hidden,
            n_outputs=head.n_outputs(encoder),
            activation=self.activation,
            output="linear" if self.output == "linear" else head.outputs[0],
            dropout=self.dropout,
            has_means=self.has_means,
        )
        if topology.n_parameters > MAX_PARAMETERS:
            raise ParameterError(
                f"hidden={self.hidden} and {topology.n_inputs:,} inputs make {topology.n_parameters:,} weights and biases, "
                f"more than {MAX_PARAMETERS:,}. Use fewer units, or fewer inputs: max_categorical_features limits those of "
                f"levels."
            )
        return topology


class ScoringSettings(NamedTuple):
    """Settings of scoring: how often, and on how many rows."""

    interval: float  #: seconds between two events, at most
    duty_cycle: float  #: share of the time that scoring may take
    each_iteration: bool
    max_seconds: float  #: of the training; 0: no limit
    batch: int  #: rows of a mini-batch
    samples: Mapping[str, int]  #: rows of each table that are scored; 0: all
    is_stratified: bool = False  #: whether those of validation are drawn from each class its share
    keeps_layers: bool = False  #: whether an event has figures of every layer
    is_frugal: bool = False  #: whether nothing is free, as in longer trainings

    @classmethod
    def of(cls, e: Mapping[str, Any]) -> ScoringSettings:
        """Settings of effective parameters."""
        return cls(
            e["score_interval"],
            e["score_duty_cycle"],
            e["score_each_iteration"],
            e["max_runtime_secs"],
            e["mini_batch_size"],
            {table: e[f"score_{table}_samples"] for table in ("training", "validation")},
            e["score_validation_sampling"] == "stratified",
            e["layer_history"],
        )


class BalanceSettings(NamedTuple):
    """Settings of how often rows of each class are visited."""

    factors: Sequence[float] | None  #: of each class; None: all classes alike
    max_size: float  #: visits of an epoch, at most, in epochs without balance
    seed: int

    @classmethod
    def of(cls, e: Mapping[str, Any]) -> BalanceSettings | None:
        """Settings of effective parameters; None where classes are not balanced."""
        if not e["balance_classes"]:
            return None
        return cls(e["class_sampling_factors"], e["max_after_balance_size"], e["random_state"])


class FoldSettings(NamedTuple):
    """Settings of a cross-validation."""

    n: int  #: number of folds; 0: those of a column
    how: Literal["random", "modulo", "stratified"]
    judge: Literal["inner", "holdout", "training"]  #: rows by which a fold's training is judged while it lasts
    stops: bool  #: whether a training may end, or go back to a network, before all epochs
    n_jobs: int | None
    max_seconds: float  #: of all trainings together; 0: no limit
    balance: tuple[Sequence[float] | None, float] | None  #: factors and maximum size, where classes are balanced
    n_scored: int  #: training rows that are scored on; 0: all

    @classmethod
    def of(cls, requested: Mapping[str, Any]) -> FoldSettings:
        """Settings of requested parameters."""
        stops = bool(
            requested["stopping_rounds"] or requested["overwrite_with_best_model"] or requested["max_runtime_secs"]
        )
        n_jobs, how = requested["n_jobs"], requested["fold_assignment"]
        balance = requested["class_sampling_factors"], requested["max_after_balance_size"]
        return cls(
            requested["nfolds"],
            "random" if how == "auto" else how,
            requested["fold_stopping"] if stops else "training",
            stops,
            n_jobs if n_jobs is not None and n_jobs > 0 else None,
            requested["max_runtime_secs"],
            balance if requested["balance_classes"] else None,
            requested["score_training_samples"],
        )

    def fold(self, requested: Mapping[str, Any], n: int, n_parts: int, n_sharing: int) -> dict[str, Any]:
        """Parameters of the training of one fold.

        Parameters
        ----------
        requested : mapping
            Those of the cross-validation.
        n : int
            Folds.
        n_parts : int
            Folds that are trained at a time.
        n_sharing : int
            Folds that share the threads of `n_jobs` now; 1 where each fold has workers of its own.

        Returns
        -------
        dict
        """
        n_jobs = self.n_jobs and max(1, self.n_jobs // n_sharing)
        alone = {"n_jobs": n_jobs, "nfolds": 0, "fold_assignment": "auto", "checkpoint_dir": None}
        seconds = self.max_seconds / (-(-n // n_parts) + 1)
        return {**requested, **alone, "max_runtime_secs": seconds}

    def main(self, requested: Mapping[str, Any], epochs: float) -> dict[str, Any]:
        """Parameters of the training on all rows, which holds out none to be judged by: so many epochs, if folds may stop."""
        if not self.stops:
            return dict(requested)
        return {**requested, "epochs": epochs, "stopping_rounds": 0, "overwrite_with_best_model": False}


class RunSettings(NamedTuple):
    """Settings of the rounds: how many rows, for how long, and what is kept of them."""

    epochs: float
    per_iteration: int  #: rows of a round, or how they are chosen: train_samples_per_iteration
    share: float  #: of the time that averaging may take
    batch: int  #: rows of a mini-batch
    max_seconds: float  #: 0: no limit
    keeps_best: bool
    shuffles: bool
    storage: str  #: where encoded rows shall be
    reproducible: bool
    chooses_rounds: bool  #: whether the number of rows of a round was left to the training
    asked_each_iteration: bool  #: whether every round is to be scored, as it was asked for
    checkpoint_dir: str
    checkpoint_interval: float
    scoring: ScoringSettings
    stopping: StoppingSettings
    average: str  #: of areas under curves of several classes; "none": they are not measured
    custom: Any  #: the user's own metric

    @classmethod
    def of(cls, e: Mapping[str, Any], requested: Mapping[str, Any], task: str) -> RunSettings:
        """Settings of effective parameters, and of the requested ones of which they were made, for a task."""
        return cls(
            e["epochs"],
            e["train_samples_per_iteration"],
            e["target_ratio_comm_to_comp"],
            e["mini_batch_size"],
            e["max_runtime_secs"],
            e["overwrite_with_best_model"],
            e["shuffle_training_data"],
            e["storage"],
            e["reproducible"],
            requested["train_samples_per_iteration"] == -2,
            requested["score_each_iteration"],
            e["checkpoint_dir"] or "",
            e["checkpoint_interval"],
            ScoringSettings.of(e),
            stopping_of(e, task),
            "none" if e["auc_type"] == "auto" else e["auc_type"],
            e["custom_metric"] if e["custom_metric_func"] is None else e["custom_metric_func"],
        )

    @property
    def frugal(self) -> RunSettings:
        """Settings by which scoring takes no more than its share of a short training."""
        return self._replace(scoring=self.scoring._replace(is_frugal=True))

    @property
    def resolved(self) -> dict[str, Any]:
        """Parameters that became something else: the metric has the direction of a user's own."""
        return {"stopping_metric": self.stopping.metric}

    def metrics(self, head: Head, distribution: Distribution) -> MetricSettings:
        """Settings of what is measured at a scoring. Raises ParameterError for a metric of the user's that is none."""
        custom = custom_metric(self.custom, head.scorer_labels)
        return MetricSettings(distribution, self.average, custom, self.scoring.keeps_layers)


def stopping_of(e: Mapping[str, Any], task: str) -> StoppingSettings:
    """Rules of early stopping of effective parameters, for a task."""
    enough = HEADS[task].enough
    metric, custom = metric_of(e["stopping_metric"], task), custom_metric(e["custom_metric"] or e["custom_metric_func"])
    if metric == "custom" and custom is not None and custom.greater_is_better:
        metric = "custom_increasing"
    return StoppingSettings(
        metric,
        e["stopping_rounds"],
        e["stopping_tolerance"],
        enough,
        -math.inf if enough is None else e[enough.parameter],
    )


def seed_of(e: Mapping[str, Any]) -> int | None:
    """Seed of effective parameters, where they know it."""
    seed = e.get("random_state")
    return seed if isinstance(seed, int) else None


def check_epochs(n_done: float, requested: Mapping[str, Any]) -> None:
    """Whether any epoch is left to train, after so many. Raises ParameterError."""
    if requested["epochs"] <= n_done:
        raise ParameterError(
            f"epochs={requested['epochs']:g}: the model has learned {n_done:g} already, and epochs counts them, too. Ask for "
            f"more than that."
        )


def limit_batches(e: Mapping[str, Any], n_rows: int) -> dict[str, Any]:
    """Effective parameters with mini-batches of so many rows at most."""
    return {**e, "mini_batch_size": min(e["mini_batch_size"], n_rows)}


def threads_of(e: Mapping[str, Any]) -> ThreadSettings:
    """Settings of threads of effective parameters."""
    return ThreadSettings(e["n_jobs"], e["parallelism"], e["exchange_interval"], e["reproducible"])


def has_folds(requested: Mapping[str, Any]) -> bool:
    """Whether requested parameters ask for a cross-validation."""
    return bool(requested["nfolds"])


def encoding_key(requested: Mapping[str, Any], task: parameters.Task) -> str:
    """Key that requested parameters have in common which encode a table alike, and draw the same samples of it."""
    return repr((parameters.prepared(requested, task), requested["random_state"]))


def beside_others(
    requested: Mapping[str, Any], n_beside: int, seconds: float, checkpoint_dir: str | None, epochs: float | None
) -> dict[str, Any]:
    """Parameters of one of several trainings side by side.

    Parameters
    ----------
    requested : mapping
        Those of the training alone.
    n_beside : int
        Trainings in one process, which share its threads.
    seconds : float
        Seconds that are left; 0: no limit.
    checkpoint_dir : str or None
        Folder of its checkpoints.
    epochs : float or None
        Epochs in all; None: as requested.

    Returns
    -------
    dict
    """
    found, own = dict(requested), requested["max_runtime_secs"]
    found["max_runtime_secs"] = min(own or seconds, seconds or own)
    if n_beside > 1:
        found["n_jobs"] = max(1, cores(requested["n_jobs"])[0] // n_beside)
    if epochs is not None:
        found["epochs"] = epochs
    return found | {"checkpoint_dir": checkpoint_dir}


#: Parameters that change nothing of what a training learns: where and how long it runs, and what it says and keeps.
BESIDE_THE_MODEL = frozenset({
    "client", "checkpoint_dir", "checkpoint_interval", "export_checkpoints_dir", "on_interrupt", "verbose", "quiet_mode",
    "max_runtime_secs", "worker_timeout", "n_jobs", "storage",
})  # fmt: skip


def identity_of(requested: Mapping[str, Any]) -> str:
    """Text that two trainings have in common whose parameters make the same model of a table."""
    return json.dumps(
        {name: plain(value) for name, value in requested.items() if name not in BESIDE_THE_MODEL},
        sort_keys=True,
        default=repr,
    )
