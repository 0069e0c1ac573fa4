"""Going on from a model: its encoder and head for other rows, and what must not change (algorithm.md#going-on-from-a-model)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from dask_dl import parameters
from dask_dl.distribution import Distribution
from dask_dl.errors import ParameterError, SchemaError
from dask_dl.frame.row_roles import where_of
from dask_dl.frame.row_stats import ScanRequest
from dask_dl.frame.scan import Scan, check_used, name_of_target
from dask_dl.frame.source import OFFSET, TARGET, Source
from dask_dl.kernels.optimizers import N_STATES
from dask_dl.tasks import HEADS
from dask_dl.training.checkpoints import Checkpoint, unchanging, unlike
from dask_dl.training.class_balance import balance_of
from dask_dl.training.preparation import check_range, preparation_of, scan_validation
from dask_dl.training.problem import PreparedTables
from dask_dl.training.settings import skips_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_dl.cluster.backend import Backend
    from dask_dl.events import Listeners
    from dask_dl.frame.encoder import Encoder
    from dask_dl.model import Model
    from dask_dl.tasks.head import Head
    from dask_dl.training.problem import Problem

#: Levels and columns that a warning names.
MAX_SHOWN = 8


class Prior(NamedTuple):
    """How an earlier training makes inputs of columns, and targets, where this one has the same."""

    encoder: Encoder
    head: Head | None  #: None: the table decides

    @classmethod
    def of(cls, model: Model | None, checkpoint: Checkpoint | None) -> Prior | None:
        """That of a model, or of a checkpoint of a training that went on from one; None: the table decides.

        Raises ParameterError when a model is given and the checkpoint is of a training without one.
        """
        if checkpoint is None:
            return None if model is None else cls(model.encoder, _without_threshold(model.head))
        if checkpoint.is_continued:
            return cls(checkpoint.encoder, checkpoint.head)
        if model is not None:
            raise ParameterError(
                f"checkpoint: {checkpoint.path} is of a training that did not go on from a model. Leave checkpoint out, or "
                f"name another checkpoint_dir."
            )
        return None

    @classmethod
    def pretrained(cls, autoencoder: Model | None) -> Prior | None:
        """Inputs of an autoencoder, in whose units its hidden layers are, for another target."""
        return None if autoencoder is None else cls(autoencoder.encoder, None)


def _without_threshold(head: Head) -> Head:
    return head if getattr(head, "threshold", None) is None else head.with_threshold(None)


def restarted(model: Model, requested: Mapping[str, Any], task: parameters.Task, tell: Listeners) -> dict[str, Any]:
    """Parameters with which a training goes on from a model.

    Parameters
    ----------
    model : Model
        The model.
    requested : mapping
        Parameters as the user gives them now.
    task : str
        "classification" or "regression".
    tell : Listeners
        Warned of parameters that stay those of the model.

    Returns
    -------
    dict

    Raises
    ------
    ParameterError
        When the model is of another task, or a parameter may not change.
    """
    if model.task != task:
        raise ParameterError(
            f"checkpoint: the model learned a {model.task}, and this is a {task}. Train anew, without it."
        )
    found = parameters.restarted(
        model.record.requested, requested, task=task, n_classes=len(model.head.classes) or None
    )
    for text in found.warnings:
        tell.warn(text)
    return found.values


def check_offset(model: Model, source: Source) -> None:
    """Whether there are offsets exactly when the model was trained with some. Raises ParameterError."""
    had, has = model.record.offset_name is not None, OFFSET in source.roles
    if had != has:
        text = "with offsets, and none is given; pass offset=" if had else "without offsets; leave offset out"
        raise ParameterError(f"checkpoint: the model was trained {text}.")


def prepare_more(
    prior: Prior,
    source: Source,
    validation: Source | None,
    requested: Mapping[str, Any],
    task: parameters.Task,
    seed: int,
    tell: Listeners,
    here: Backend,
) -> PreparedTables:
    """Read tables once, whose columns become the inputs of an earlier training, and its targets where they are the same.

    Parameters
    ----------
    prior : Prior
        Encoder and, where training goes on with it, head of that training.
    source, validation, requested, task, seed, tell, here : object
        As of `preparation.prepare`.

    Returns
    -------
    PreparedTables

    Raises
    ------
    SchemaError
        When a table is of no use, has classes that the model does not know, or lacks inputs of an autoencoder.
    ParameterError
        When a parameter does not fit the table.
    """
    encoder, head = prior
    lacking = encoder.match(source.predictors, source.label)
    if lacking and head is None:
        raise SchemaError(
            f"{source.label} lacks {len(lacking)} columns of pretrained_autoencoder: {lacking[:MAX_SHOWN]}. Train it on the "
            f"columns that both have."
        )
    if lacking:
        tell.warn(f"{source.label} lacks {len(lacking)} columns of the model, taken as missing: {lacking[:MAX_SHOWN]}.")
    skips, inputs = skips_of(requested), frozenset(encoder.columns).difference(lacking)
    settings = preparation_of(source, requested, task, seed)
    request = ScanRequest(
        HEADS[task].target_kind, skips=skips, sparse=encoder.is_sparse, inputs=inputs if skips else None,
        distribution=settings.distribution if head is None else None,
    )  # fmt: skip
    tell.say(f"scanning {source.label}: {source.n_partitions:,} partitions, {len(source.predictors):,} columns")
    found = here.scan(source, request, tell.reading("scan"))
    check_used(found, source, request)
    if head is None:
        HEADS[task].check(found, name_of_target(source))
    else:
        _check_classes(found, head, source)
    n_classes = len(found.classes if head is None else head.classes) or None
    parameters.validate(requested, task=task, n_classes=n_classes)
    effective = parameters.effective(requested, task=task, n_classes=n_classes) | {"random_state": seed}
    distribution = Distribution.of(effective)
    check_range(found, source, distribution)
    _warn_of_levels(found, encoder, source, tell)
    if head is None:
        head = HEADS[task].fit(found, standardize=settings.standardizes, link=distribution.link)
    balance, head = balance_of(found, head, effective, tell)
    data = PreparedTables(
        task, {"training": (source, found)}, inputs if skips else frozenset(), encoder, head, balance, distribution,
        encoder.is_sparse, seed, is_adopted=True,
    )  # fmt: skip
    if validation is not None:
        scan_validation(data, validation, tell, here)
    return data


def _check_classes(found: Scan, head: Head, source: Source) -> None:
    """Whether the model knows all classes. Raises SchemaError."""
    unseen = head.check_scored(found.classes, where_of(source.schema, TARGET))
    if unseen:
        shown = ", ".join(map(repr, list(unseen)[:MAX_SHOWN]))
        raise SchemaError(
            f"{name_of_target(source)} has {len(unseen):,} classes that the model does not know: {shown}. It has an output for "
            f"each of its own, {', '.join(map(repr, head.classes[:MAX_SHOWN]))}. Leave these rows out, or train anew with all."
        )


def _warn_of_levels(found: Scan, encoder: Encoder, source: Source, tell: Listeners) -> None:
    """Warn of levels that the model has never seen: as in a prediction they are all one, the missing one."""
    unseen = {}
    # Where rare levels share an input, it is not known which of them were seen.
    known = {c.name: set(c.levels) for c in encoder.categories if not c.has_others} | {
        c.name: set(c.levels) for c in encoder.codes
    }
    for name, levels in known.items():
        stats = found.columns.levels.get(name)
        strange = [level for level in stats.ordered if level not in levels] if stats else []
        if strange:
            unseen[name] = strange
    if unseen:
        shown = "; ".join(f"{name!r}: {levels[:MAX_SHOWN]}" for name, levels in list(unseen.items())[:MAX_SHOWN])
        tell.warn(f"{source.label} has levels that the model has never seen, taken as such in predictions: {shown}.")


def adopted(prior: Prior, data: PreparedTables) -> PreparedTables:
    """Tables of a Dataset with encoder and head of an earlier training to the last bit.

    Raises ParameterError when the rows were encoded in another way.
    """
    keys = {"correction", "threshold"}  # which follow from the classes of these rows, or from the user
    heads = [] if prior.head is None else [prior.head, data.head]
    documents = [{k: v for k, v in head.to_json().items() if k not in keys} for head in heads]
    encoders = [encoder.to_json() for encoder in (prior.encoder, data.encoder)]
    found = [*unlike("columns", *encoders), *(unlike("target", *documents) if documents else ())]
    if found:
        raise ParameterError(
            f"the Dataset was encoded in another way than the rows of the model: {'; '.join(found[:3])}. Prepare it "
            f"from those rows, or pass the table itself, which is then encoded as the model does it."
        )
    correction = getattr(data.head, "correction", ())
    head = prior.head or data.head
    head = head.corrected(correction) if correction else head
    return replace(data, encoder=prior.encoder, head=head, is_adopted=True)


def check_network(model: Model, problem: Problem) -> None:
    """Whether the network of a model is the one that is planned. Raises ParameterError."""
    network, n_states = model.network, N_STATES[problem.optimizer.kind]
    found = unlike("network", unchanging(network.topology), unchanging(problem.topology))
    if len(network.states) not in {0, n_states}:
        found.append(f"vectors of optimizer state: {len(network.states)}, now {n_states}")
    if found:
        raise ParameterError(
            f"checkpoint: the network of the model is another one: {'; '.join(found[:6])}. Use the parameters with which "
            f"it was trained, or train anew, without it."
        )


def check_pretrained(autoencoder: Model, problem: Problem, tell: Listeners) -> None:
    """Whether a network can begin with the hidden layers of an autoencoder. Raises ParameterError."""
    theirs, ours = autoencoder.network.topology, problem.topology
    if theirs.hidden[: len(ours.hidden)] != ours.hidden:
        raise ParameterError(
            f"pretrained_autoencoder has the hidden layers {theirs.hidden}, and hidden={ours.hidden}: give all of them, or the "
            f"first few, which are then taken over."
        )
    if (theirs.activation == "maxout") != (ours.activation == "maxout"):
        raise ParameterError(
            f"pretrained_autoencoder has units of {theirs.activation}, and activation={ours.activation!r}: units of maxout "
            f"have twice as many weights. Use the same."
        )
    if theirs.activation != ours.activation:
        tell.warn(
            f"pretrained_autoencoder learned with {theirs.activation}, and activation={ours.activation!r}: its weights mean "
            f"something else here."
        )
