"""Decisions about the network that follow from the columns of the tables and the parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dask_dl import parameters
from dask_dl.distribution import Distribution
from dask_dl.errors import ParameterError, SchemaError, warn
from dask_dl.frame.balance import Balance
from dask_dl.frame.dtypes import blurred_warning
from dask_dl.frame.encoder import Encoder, Encoding
from dask_dl.frame.inputs import dropped_warning, settle
from dask_dl.frame.row_roles import where_of
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import Scan, check_target, unseen_labels
from dask_dl.frame.source import TARGET, WEIGHT, Source
from dask_dl.frame.target import Target
from dask_dl.kernels.batches import train_batches
from dask_dl.kernels.layout import Topology
from dask_dl.kernels.network import train_rows
from dask_dl.kernels.optimizers import Optimizer, kind_of
from dask_dl.node.parallelism import Parallelism, overshoots
from dask_dl.training.checkpoints import TrainingFingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_dl.cluster.backend import Backend
    from dask_dl.show.progress import Progress


@dataclass
class Problem:
    """Tables that are understood, and the network that shall learn them."""

    task: parameters.Task
    tables: dict[str, tuple[Source, Scan]]  #: "training", and "validation" if there is one
    required: frozenset[str]  #: columns without which a row does not train
    encoder: Encoder
    target: Target
    balance: Balance | None
    distribution: Distribution
    topology: Topology
    optimizer: Optimizer
    effective: dict[str, Any]
    seed: int
    threads: Parallelism
    fingerprint: TrainingFingerprint

    @property
    def kernel(self) -> Any:
        """Kernel that trains."""
        return train_rows if self.optimizer.batch == 1 else train_batches

    @property
    def found(self) -> Scan:
        """Scan of the training table."""
        return self.tables["training"][1]


def prepare(
    source: Source,
    validation: Source | None,
    requested: Mapping[str, Any],
    task: parameters.Task,
    seed: int,
    progress: Progress,
    here: Backend,
) -> Problem:
    """Read the tables once, and decide what their columns and the parameters make of the network.

    Parameters
    ----------
    source : Source
        The training table.
    validation : Source or None
        The validation table, if there is one.
    requested : mapping
        Parameters as the user gave them.
    task : str
        "classification" or "regression".
    seed : int
        Seed of all random numbers.
    progress : Progress
        Prints what happens.
    here : Backend
        Scans the tables.

    Raises
    ------
    SchemaError
        When a table is of no use, or no column is left to learn from.
    ParameterError
        When a parameter does not fit the table.
    """
    progress.say(f"scanning {source.label}: {source.n_partitions:,} partitions, {len(source.predictors):,} columns")
    encoding = Encoding(
        "one_hot_internal" if requested["categorical_encoding"] == "auto" else requested["categorical_encoding"],
        requested["use_all_factor_levels"],
        requested["standardize"],
        requested["max_categorical_features"],
        seed,
        requested["sparse"] or source.is_sparse,
    )
    skips = requested["missing_values_handling"] == "skip"
    request = encoding.request(task, skips=skips, is_weighted=WEIGHT in source.roles)
    if task == "regression":
        request = request._replace(distribution=Distribution.of(parameters.effective(requested, task=task)))

    def scan(request: ScanRequest) -> Scan:
        if request.inputs is not None:
            progress.say("scanning it again: columns that are no inputs have gaps, for which no row is skipped")
        return here.scan(source, request, progress.reading("scan"))

    found, predictors, dropped, required = settle(scan, request, ignore_const_cols=requested["ignore_const_cols"])
    check_target(found, source, request)
    if found.row_stats.is_binary:
        text = (
            "the target holds only 0 and 1 and is learned as a number; for classes use DeepLearningClassifier, or make it a "
            "category (on the command line with --categorical)."
        )
        warn(text)
    n_classes = len(found.classes) or None
    parameters.validate(requested, task=task, n_classes=n_classes)
    effective = parameters.effective(requested, task=task, n_classes=n_classes) | {
        "random_state": seed,
        "sparse": encoding.sparse,
    }
    distribution = Distribution.of(effective)
    _check_range(found, source, distribution)
    target = Target.fit(found, task=task, standardize=requested["standardize"], link=distribution.link)
    balance = _balance(found, target, effective) if effective["balance_classes"] else None
    for k in balance.rarely_visited(class_counts(found, target)) if balance else ():
        text = f"balance_classes: rows of class {target.classes[k]!r} are visited rarely or never. Raise its factor."
        warn(text)
    if balance:
        target = replace(target, correction=balance.correction(class_counts(found, target)))
    if not predictors:
        raise SchemaError(
            f"no column is left to learn from: {dropped[:12]} are constant or empty (n_samples={found.n_rows})."
        )
    if dropped:
        warn(dropped_warning(dropped))
    blurred = [name for name in predictors if getattr(found.columns[name], "is_blurred", False)]
    if blurred:
        warn(blurred_warning(blurred))
    encoder = Encoder.fit(found, predictors, encoding)
    topology = Topology(
        n_onehot=encoder.n_onehot,
        n_dense=encoder.n_dense,
        n_sparse=encoder.n_sparse,
        hidden=effective["hidden"],
        n_outputs=len(target.classes) or 1,
        activation=effective["activation"].removesuffix("_with_dropout"),
        output="softmax" if target.classes else "linear",
        dropout=effective["hidden_dropout_ratios"] if any(effective["hidden_dropout_ratios"]) else (),
    )
    if topology.n_parameters > MAX_PARAMETERS:
        raise ParameterError(
            f"hidden={effective['hidden']} and {topology.n_inputs:,} inputs make {topology.n_parameters:,} weights and biases, "
            f"more than {MAX_PARAMETERS:,}. Use fewer units, or fewer inputs: max_categorical_features limits those of levels."
        )
    n_min = balance.n_min(class_counts(found, target)) if balance else found.n_used
    effective["mini_batch_size"] = min(effective["mini_batch_size"], n_min)
    optimizer = _optimizer(effective)
    threads = here.choose(topology, optimizer, found.n_used, effective)
    for text in overshoots(threads, optimizer):
        warn(text)
    tables = {"training": (source, found)}
    if validation is not None:
        scanned = _scan_validation(validation, encoder, target, task, progress, here)
        _check_range(scanned, validation, distribution)
        tables["validation"] = validation, scanned
    fingerprint = TrainingFingerprint(
        source.predictors,
        dict(source.roles),
        found.n_rows,
        found.n_used,
        tables["validation"][1].n_rows if validation else 0,
        encoder,
        target,
        topology,
        TrainingFingerprint.settings_of(requested),
        balance.ratios if balance else (),
    )
    return Problem(
        task,
        tables,
        required,
        encoder,
        target,
        balance,
        distribution,
        topology,
        optimizer,
        effective,
        seed,
        threads,
        fingerprint,
    )


#: A network may have as many weights and biases (algorithm.md#limits): as many as in H2O.
MAX_PARAMETERS = 100_000_000


def _balance(found: Scan, target: Target, e: Mapping[str, Any]) -> Balance:
    """How often rows of every class are visited. Raises ParameterError."""
    if not found.row_stats.has_one_weight:
        raise ParameterError(
            "balance_classes=True: rows have weights other than 0 and 1. Leave them out, or multiply those of every class by a "
            "factor instead."
        )
    return Balance.of(
        class_counts(found, target), e["class_sampling_factors"], e["max_after_balance_size"], e["random_state"]
    )


def class_counts(found: Scan, target: Target) -> list[int]:
    """Rows of every class."""
    return [found.classes[label] for label in target.classes]


def _scan_validation(
    validation: Source, encoder: Encoder, target: Target, task: str, progress: Progress, here: Backend
) -> Scan:
    missing = encoder.match(validation.predictors, validation.label)
    if missing:
        raise SchemaError(
            f"{validation.label} lacks columns of training: {missing[:12]}. Score on a table with the same columns."
        )
    found = here.scan(validation, ScanRequest(task, sparse=encoder.is_sparse), progress.reading("scan validation"))
    if found.n_used == 0:
        needs = " and a weight above zero" if WEIGHT in validation.roles else ""
        raise SchemaError(f"{validation.label} has no row with a target{needs}.")
    if target.classes:
        unseen_labels(found.classes, target.classes, where_of(validation.schema, TARGET))
    return found


def _check_range(found: Scan, source: Source, distribution: Distribution) -> None:
    """Whether the distribution allows these targets. Raises SchemaError."""
    wrong = distribution.forbids(found.row_stats.min_target, found.target.mean)
    if wrong is not None:
        raise SchemaError(f"the target of {source.label} {wrong}")


def _optimizer(e: Mapping[str, Any]) -> Optimizer:
    return Optimizer.of(
        kind=kind_of(e),
        rho=e["rho"],
        epsilon=e["epsilon"],
        rate=e["rate"],
        rate_annealing=e["rate_annealing"],
        rate_decay=e["rate_decay"],
        momentum_start=e["momentum_start"],
        momentum_ramp=float(e["momentum_ramp"]),
        momentum_stable=e["momentum_stable"],
        nesterov=e["nesterov_accelerated_gradient"],
        l1=e["l1"],
        l2=e["l2"],
        fast_mode=e["fast_mode"],
        pull=e["elastic_averaging_regularization"] if e["elastic_averaging"] else 0.0,
        batch=e["mini_batch_size"],
        max_w2=e["max_w2"],
        input_kept=1.0 - e["input_dropout_ratio"],
        average_activation=e["average_activation"],
        sparsity_beta=e["sparsity_beta"],
    )
