"""Rules between parameters: what does not go together, and what has no effect by itself.

`p` holds all canonical values, and `task` and `n_classes` (None while unknown).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dask_dl.metrics.table import MAX_CURVE_CLASSES, METRICS
from dask_dl.parameters.table import FOR_CLASSES, FOR_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True)
class Rule:
    """Speaks of the parameters `names` when `applies`; `text` says what is wrong, or missing, and what to do."""

    names: tuple[str, ...]
    applies: Callable[[Any], Any]
    text: str


# fmt: off
LOSSES_OF: Final[Mapping[str, Sequence[str]]] = {  # the first is what automatic becomes
    "bernoulli": ("cross_entropy", "quadratic"), "multinomial": ("cross_entropy", "quadratic"),
    "gaussian": ("quadratic",), "laplace": ("absolute",), "quantile": ("quantile",), "huber": ("huber",),
    "poisson": (), "gamma": (), "tweedie": (),  # only their own deviance, which has no other name than automatic
}
_FAMILIES_OF: Final = {"classification": FOR_CLASSES, "regression": FOR_NUMBERS, "autoencoder": FOR_NUMBERS}


def _misfit(values: Sequence[Any] | None, length: int) -> bool:
    return values is not None and len(values) != length


def _out_of_reach(p: Any) -> bool:
    """Whether hidden units cannot take the mean activation that a sparse autoencoder asks for."""
    mean = p.average_activation
    outside = mean <= 0 if "rectifier" in p.activation else not -1 < mean < 1 or "maxout" in p.activation
    return bool(p.task == "autoencoder" and p.sparsity_beta and outside)


CONFLICTS: Final[Sequence[Rule]] = (
    Rule(("distribution",), lambda p: p.task and p.distribution not in _FAMILIES_OF[p.task],
         "bernoulli and multinomial are for classes, the others for numbers; use auto, or make the target a category"),
    Rule(("distribution",), lambda p: p.distribution == "bernoulli" and (p.n_classes or 2) > 2,
         "bernoulli is for two classes; use auto or multinomial"),
    Rule(("distribution",), lambda p: p.task == "autoencoder" and p.distribution in ("poisson", "gamma", "tweedie"),
         "inputs may be negative; use auto, gaussian, laplace, huber or quantile"),
    Rule(("loss",), lambda p: p.task == "classification" and p.loss in ("huber", "absolute", "quantile"),
         "a classifier takes automatic, cross_entropy or quadratic; use one of these"),
    Rule(("loss",), lambda p: p.task in ("regression", "autoencoder") and p.loss == "cross_entropy",
         "cross_entropy is for classes; use automatic, or a classifier"),
    Rule(("distribution", "loss"), lambda p: p.loss not in ("automatic", *LOSSES_OF.get(p.distribution, (p.loss,))),
         "they contradict each other; leave one of them automatic"),
    Rule(("hidden", "hidden_dropout_ratios"), lambda p: _misfit(p.hidden_dropout_ratios, len(p.hidden)),
         "give one ratio per hidden layer"),
    Rule(("activation", "hidden_dropout_ratios"),
         lambda p: any(p.hidden_dropout_ratios or ()) and not p.activation.endswith("_with_dropout"),
         "hidden dropout needs an activation with dropout; use for instance rectifier_with_dropout"),
    Rule(("hidden", "initial_weights"), lambda p: _misfit(p.initial_weights, len(p.hidden) + 1),
         "give one entry per hidden layer and one for the output layer; an entry may be None"),
    Rule(("hidden", "initial_biases"), lambda p: _misfit(p.initial_biases, len(p.hidden) + 1),
         "give one entry per hidden layer and one for the output layer; an entry may be None"),
    Rule(("initial_weights", "initial_biases", "checkpoint"),
         lambda p: p.checkpoint is not None and (p.initial_weights is not None or p.initial_biases is not None),
         "a training that goes on starts from its checkpoint; leave out the others"),
    Rule(("pretrained_autoencoder",), lambda p: p.task == "autoencoder" and p.pretrained_autoencoder is not None,
         "it starts a classifier or regressor; to train an autoencoder further, use checkpoint"),
    Rule(("pretrained_autoencoder", "checkpoint"),
         lambda p: p.pretrained_autoencoder is not None and p.checkpoint is not None,
         "a training that goes on starts from its checkpoint; leave out the other"),
    Rule(("adaptive_rate", "rho"), lambda p: p.adaptive_rate and not p.rho,
         "ADADELTA needs rho above 0; use 0.9 to 0.999, or adaptive_rate=False"),
    Rule(("adaptive_rate", "epsilon"), lambda p: p.adaptive_rate and not p.epsilon,
         "ADADELTA needs epsilon above 0; use 1e-10 to 1e-4, or adaptive_rate=False"),
    Rule(("reproducible", "parallelism"), lambda p: p.reproducible and p.parallelism == "staleness",
         "threads that exchange give other bits every time; use parallelism auto or team"),
    Rule(("n_shards", "reproducible"), lambda p: p.n_shards is not None and not p.reproducible,
         "the number of shards is fixed for the sake of the bits: use reproducible=True, or leave n_shards out"),
    Rule(("sparse", "elastic_averaging"), lambda p: p.sparse and p.elastic_averaging,
         "elastic averaging does not go with sparse inputs; leave one of them False"),
    Rule(("col_major",), lambda p: p.col_major, "this storage order is obsolete; leave it False"),
    Rule(("average_activation", "sparsity_beta"),
         lambda p: p.task in ("classification", "regression") and (p.average_activation or p.sparsity_beta),
         "sparsity is for autoencoders; leave both at 0"),
    Rule(("activation", "average_activation"), _out_of_reach,
         "units cannot take this mean; use one above 0 for rectifier, within (-1, 1) for tanh"),
    Rule(("activation", "output_activation"),
         lambda p: p.task == "autoencoder" and p.activation.startswith("maxout") and p.output_activation.startswith("same"),
         "outputs cannot be maxout; use tanh, or output_activation linear"),
    Rule(("activation", "output_activation"),
         lambda p: p.task == "autoencoder" and p.activation.startswith("rectifier") and p.output_activation == "same_exact",
         "a rectifier that starts at 0 has no gradient; use tanh, or output_activation linear"),
    Rule(("output_activation",), lambda p: p.task in ("classification", "regression") and p.output_activation != "auto",
         "only an autoencoder has a choice of outputs; leave it out"),
    Rule(("categorical_encoding",), lambda p: p.task == "autoencoder" and p.categorical_encoding == "sort_by_response",
         "an autoencoder has no response to sort by; use auto"),
    Rule(("balance_classes",), lambda p: p.task in ("regression", "autoencoder") and p.balance_classes,
         "only a classifier has classes to balance; leave it False"),
    Rule(("score_validation_sampling",),
         lambda p: p.task in ("regression", "autoencoder") and p.score_validation_sampling == "stratified",
         "only a classifier has classes to draw from; leave it uniform"),
    Rule(("balance_classes", "class_sampling_factors"),
         lambda p: not p.balance_classes and p.class_sampling_factors is not None,
         "the factors need balance_classes=True"),
    Rule(("class_sampling_factors",), lambda p: p.n_classes and _misfit(p.class_sampling_factors, p.n_classes),
         "give one factor per class"),
    Rule(("stopping_metric",),
         lambda p: p.task and p.stopping_metric != "auto" and p.task not in METRICS[p.stopping_metric].tasks,
         "this metric does not suit what is learned; use auto"),
    Rule(("stopping_metric",),
         lambda p: (p.n_classes or 2) > 2 and p.stopping_metric != "auto"
         and "multinomial" not in METRICS[p.stopping_metric].kinds, "this metric is of two classes; use auto"),
    Rule(("stopping_metric", "auc_type"),
         lambda p: (p.n_classes or 2) > 2 and p.stopping_metric in ("auc", "aucpr")
         and (p.auc_type in ("auto", "none") or p.n_classes > MAX_CURVE_CLASSES),
         f"of 3 to {MAX_CURVE_CLASSES} classes auc_type says which area is measured, of more none is; use macro_ovr or auto"),
    Rule(("custom_metric", "custom_metric_func"),
         lambda p: p.custom_metric is not None and p.custom_metric_func is not None, "these are one; leave out the second"),
    Rule(("stopping_metric", "custom_metric"),
         lambda p: p.stopping_metric.startswith("custom") and p.custom_metric is None and p.custom_metric_func is None,
         "a custom stopping metric needs custom_metric"),
    Rule(("custom_metric", "custom_metric_func"),
         lambda p: p.task == "autoencoder" and not (p.custom_metric is None and p.custom_metric_func is None),
         "an autoencoder takes no metric of the user's own; leave it out"),
    Rule(("nfolds",), lambda p: p.task == "autoencoder" and p.nfolds, "an autoencoder has no folds; leave it 0"),
    Rule(("folds",), lambda p: p.task == "autoencoder" and p.folds is not None, "an autoencoder has no folds; leave it out"),
    Rule(("nfolds", "folds"), lambda p: p.nfolds and p.folds is not None, "each makes folds; leave out one of them"),
    Rule(("nfolds", "fold_assignment"), lambda p: p.fold_assignment != "auto" and not p.nfolds,
         "fold_assignment needs nfolds of at least 2, and no folds of the user's own"),
    Rule(("fold_assignment",), lambda p: p.fold_assignment == "stratified" and p.task == "regression",
         "numbers have no classes to share out; use random or modulo"),
    Rule(("nfolds", "checkpoint"), lambda p: p.nfolds and p.checkpoint is not None,
         "a training that goes on is not cross-validated; leave out one of them"),
    Rule(("folds", "checkpoint"), lambda p: p.folds is not None and p.checkpoint is not None,
         "a training that goes on is not cross-validated; leave out one of them"),
    Rule(("folds", "warm_start"), lambda p: p.folds is not None and p.warm_start,
         "a training that goes on is not cross-validated; leave out one of them"),
    Rule(("nfolds", "warm_start"), lambda p: p.nfolds and p.warm_start,
         "a training that goes on is not cross-validated; leave out one of them"),
    Rule(("offset",), lambda p: p.task in ("classification", "autoencoder") and p.offset is not None,
         "offsets are for regression; leave it out"),
    Rule(("resume", "checkpoint_dir"), lambda p: p.resume and p.checkpoint_dir is None,
         "resume needs the checkpoint_dir of the training that broke off"),
)

NO_EFFECT: Final[Sequence[Rule]] = (
    Rule(("rate", "rate_annealing", "rate_decay", "momentum_start", "momentum_ramp", "momentum_stable",
          "nesterov_accelerated_gradient"), lambda p: p.adaptive_rate, "needs adaptive_rate=False"),
    Rule(("rho", "epsilon"), lambda p: not p.adaptive_rate, "needs adaptive_rate=True"),
    Rule(("stopping_metric",), lambda p: not p.stopping_rounds and not p.overwrite_with_best_model,
         "needs stopping_rounds above 0 or overwrite_with_best_model=True"),
    Rule(("stopping_tolerance",), lambda p: not p.stopping_rounds, "needs stopping_rounds above 0"),
    Rule(("initial_weight_scale",), lambda p: p.initial_weight_distribution == "uniform_adaptive",
         "needs initial_weight_distribution uniform or normal"),
    Rule(("quantile_alpha",), lambda p: "quantile" not in (p.distribution, p.loss), "needs distribution quantile"),
    Rule(("tweedie_power",), lambda p: p.distribution != "tweedie", "needs distribution tweedie"),
    Rule(("huber_alpha",), lambda p: "huber" not in (p.distribution, p.loss), "needs distribution huber"),
    Rule(("average_activation",), lambda p: not p.sparsity_beta, "needs sparsity_beta above 0"),
    Rule(("elastic_averaging_moving_rate", "elastic_averaging_regularization"), lambda p: not p.elastic_averaging,
         "needs elastic_averaging=True"),
    Rule(("max_after_balance_size",), lambda p: not p.balance_classes, "needs balance_classes=True"),
    Rule(("score_validation_sampling",), lambda p: not p.score_validation_samples,
         "needs score_validation_samples above 0; 0 are all rows"),
    Rule(("target_ratio_comm_to_comp",), lambda p: p.train_samples_per_iteration != -2,
         "needs train_samples_per_iteration=-2"),
    Rule(("replicate_training_data",), lambda p: p.reproducible, "needs reproducible=False"),
    Rule(("single_node_mode",), lambda p: not p.replicate_training_data, "needs replicate_training_data=True"),
    Rule(("exchange_interval",), lambda p: p.reproducible or p.parallelism == "team", "a team exchanges nothing"),
    Rule(("checkpoint_interval",), lambda p: p.checkpoint_dir is None, "needs checkpoint_dir"),
    Rule(("diagnostics",), lambda _: True, "obsolete"),
)
