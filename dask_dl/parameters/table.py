"""Table of parameters: name, allowed values, default, what a restart may change, what has an effect, meaning.

No default and no range is written anywhere else.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from dask_dl.metrics.table import METRICS
from dask_dl.parameters.kinds import (
    Kind,
    any_object,
    arrays,
    choice,
    flag,
    integer,
    is_above_zero,
    list_of,
    number_kind,
    real,
    seed,
    show,
    to_int,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


Task = Literal["classification", "regression", "autoencoder"]
Scope = Literal["constructor", "fit", "h2o"]


@dataclass(frozen=True)
class Parameter:
    """One row. None is legal exactly where it is the default."""

    group: str  #: heading of its section
    scope: Scope
    name: str
    kind: Kind
    default: Any
    restart: Literal["yes", "no", "equal", "ignored", "request", "n/a"]  #: see RESTART
    available: tuple[Any, ...] | Literal["all"]  #: what has an effect today, besides the default; in lists, each item
    doc: str
    canonical: Callable[[Any], Any] | None = None  #: turns several legal values that mean one into that one
    same_as: str = ""  #: the row whose other name this is

    @property
    def allowed(self) -> str:
        """The legal values in words."""
        return f"{self.kind.text} or None" if self.default is None else self.kind.text

    @property
    def brief(self) -> str:
        """The first clause of the meaning: one line where there is little room."""
        return re.split(r"[.;](?: |$)", self.doc, maxsplit=1)[0]

    @property
    def has_effect(self) -> bool:
        """Whether anything follows from a value other than the default today."""
        return bool(self.available) and self.name not in INERT

    @property
    def today(self) -> str:
        """The available values in words."""
        return "all" if self.available == "all" else ", ".join(map(show, (self.default, *self.available)))

    def read(self, value: Any) -> Any:
        """Return a legal value in its canonical form; ValueError otherwise."""
        if value is None and self.default is None:
            return None
        value = self.kind.read(value)
        return self.canonical(value) if self.canonical else value

    def is_default(self, value: Any) -> bool:
        """Whether a canonical value is the default."""
        return _equal(value, self.default)

    def is_available(self, value: Any) -> bool:
        """Whether a canonical value has an effect today."""
        if self.available == "all" or self.is_default(value):
            return True
        items = value if isinstance(value, tuple) and value else (value,)
        return all(any(_equal(item, known) for known in self.available) for item in items)


def _equal(value: Any, known: Any) -> bool:
    # Frames and arrays answer == with a table: only plain values are compared by it.
    return value is known or (isinstance(value, (int, float, str, tuple)) and bool(value == known))


#: Parameters that are accepted for the sake of H2O's scripts, and change nothing today.
INERT: Final = frozenset({"col_major", "diagnostics", "variable_importances", "export_weights_and_biases"})

#: Parameters that decide how the rows of a table are encoded, and where: those of a prepared table and of a training agree.
PREPARED: Final = (
    "output_activation", "use_all_factor_levels", "standardize", "missing_values_handling", "max_categorical_features",
    "categorical_encoding", "ignore_const_cols", "sparse", "loss", "distribution", "quantile_alpha", "tweedie_power",
    "huber_alpha", "score_training_samples", "score_validation_samples", "score_validation_sampling", "balance_classes",
    "class_sampling_factors", "max_after_balance_size", "force_load_balance", "replicate_training_data", "single_node_mode",
    "reproducible", "n_shards", "averaging_momentum", "elastic_averaging", "elastic_averaging_moving_rate", "worker_timeout",
    "storage",
)  # fmt: skip

RESTART: Final[Mapping[str, str]] = {
    "yes": "may change, and the new value takes effect",
    "no": "a change is refused",
    "equal": "must be the same in effect",
    "ignored": "the value of the first training stays in force",
    "request": "always the value of the new request",
    "n/a": "does not apply",
}


def _is_scorer(value: Any) -> bool:
    """Whether it may be a metric: see `metrics.custom.custom_metric`, which needs more imports than a table should have."""
    return isinstance(value, str) or callable(value) or all(hasattr(value, m) for m in ("measure", "merge", "value"))


# fmt: off
_FLAG, _LEVEL, _SHARE, _AMOUNT = Kind("bool", flag), Kind("bool or int", is_above_zero), real(0, 1, "[]"), real()
_COUNT, _GROUPS, _SEED = integer(0), integer(0, also=(-1,)), seed()
_FRAME, _COLUMN, _COLUMNS = any_object("frame"), any_object("column name"), list_of(any_object("column names"))
_VECTOR = any_object("name or position of a column, or collection aligned with X")
_PATH = any_object("path or URL", lambda v: isinstance(v, (str, os.PathLike)) and os.fspath(v))
_ACTIVATION = choice(*(word + drop for word in ("tanh", "rectifier", "maxout") for drop in ("", "_with_dropout")))
_STARTS = choice("uniform_adaptive", "uniform", "normal")
_OUTPUTS = choice("auto", "same", "same_exact", "linear")
_SCORER = any_object("scorer or its name", _is_scorer)
_AUC = choice("auto", "none", "macro_ovr", "weighted_ovr", "macro_ovo", "weighted_ovo")
_ENCODING = choice("auto", "one_hot_internal", "binary", "eigen", "label_encoder", "sort_by_response", "enum_limited")
_LOSS = choice("automatic", "cross_entropy", "quadratic", "huber", "absolute", "quantile")
FOR_CLASSES = ("auto", "bernoulli", "multinomial")
FOR_NUMBERS = ("auto", "gaussian", "poisson", "gamma", "tweedie", "laplace", "quantile", "huber")
_FAMILY = choice(*FOR_CLASSES, *FOR_NUMBERS[1:])
_METRIC = choice("auto", *(name for name, metric in METRICS.items() if metric.in_history))
_FLOAT32_MAX: Final = 3.4028234663852886e38


def _no_seed(value: Any) -> Any:
    return None if isinstance(value, int) and value == -1 else value


def _no_limit(value: float) -> float:
    return math.inf if value >= _FLOAT32_MAX else value


# Not formatted, so that a row is read as a row: name, kind, default, restart, available today, meaning.
SECTIONS: Final[Sequence[tuple[str, Scope, Sequence[tuple[Any, ...]]]]] = (
    ("Network and initial state", "constructor", (
        ("hidden", list_of(integer(1)), (200, 200), "equal", "all",
         "Units of each hidden layer, input side first; a number is one layer. An empty list makes a linear model."),
        ("activation", _ACTIVATION, "rectifier", "no", "all",
         "Activation of the hidden units; rectifier is max(0, x), maxout the larger of two sums; with or without dropout."),
        ("output_activation", _OUTPUTS, "auto", "no", "all",
         "Outputs of an autoencoder; same: as hidden units, by H2O's gradient or exactly; auto: same if tanh, else linear."),
        ("initial_weight_distribution", _STARTS, "uniform_adaptive", "yes", "all",
         "Distribution of the starting weights; uniform_adaptive sets its width by the sizes of the layers it joins."),
        ("initial_weight_scale", _AMOUNT, 1.0, "yes", "all",
         "Half-width (uniform) or standard deviation (normal) of starting weights."),
        ("initial_weights", arrays(2), None, "yes", "all",
         "Starting weights as in `coefs_`, (inputs, units) for each layer; an entry None leaves that layer random."),
        ("initial_biases", arrays(1), None, "yes", "all",
         "Starting biases as in `intercepts_`, (units,) for each layer; an entry None leaves that layer as usual."),
        ("pretrained_autoencoder", any_object("path or URL of a saved autoencoder, or a fitted one"), None, "yes", "all",
         "Autoencoder of the same columns; the network begins with its hidden layers."),
    )),
    ("Data preparation", "constructor", (
        ("use_all_factor_levels", _FLAG, True, "no", "all",
         "Give every level of a category an input; False leaves out the first. Missing values have one in any case."),
        ("standardize", _FLAG, True, "no", "all",
         "Bring numbers, the target too, to mean 0 and variance 1. Predictions keep the original unit."),
        ("missing_values_handling", choice("mean_imputation", "skip"), "mean_imputation", "yes", "all",
         "Fill in missing inputs, or skip the row; numbers become the training mean, categories the missing level."),
        ("max_categorical_features", integer(1), 2**31 - 1, "no", "all",
         "Largest number of inputs for all categories together; beyond it levels share inputs by hashing."),
        ("categorical_encoding", _ENCODING, "auto", "equal", "all",
         "How categories become inputs; auto is one_hot_internal: an input per level, one for missing and unseen."),
        ("ignore_const_cols", _FLAG, True, "no", "all", "Leave out columns with a single value: they teach nothing."),
        ("sparse", _FLAG, False, "no", "all", "Treat numeric inputs as mostly zero; they are scaled, but not centred."),
        ("col_major", _FLAG, False, "no", "all",  # True is not awaited but refused for good, in CONFLICTS
         "Obsolete storage order; only False is legal."),
    )),
    ("Objective", "constructor", (
        ("loss", _LOSS, "automatic", "yes", "all",
         "Loss function to minimise; automatic follows the distribution."),
        ("distribution", _FAMILY, "auto", "no", "all",
         "Distribution of the target; auto is bernoulli or multinomial for classes, for numbers the one of the loss."),
        ("quantile_alpha", _SHARE, 0.5, "no", "all", "The quantile that the quantile loss estimates; 0.5 is the median."),
        ("tweedie_power", real(1, 2, "()"), 1.5, "no", "all",
         "Variance power of the tweedie distribution; towards 1 it resembles poisson, towards 2 gamma."),
        ("huber_alpha", _SHARE, 0.9, "no", "all",
         "Quantile of absolute residuals beyond which the huber loss is linear; below, it is quadratic."),
    )),
    ("Optimiser", "constructor", (
        ("epochs", _AMOUNT, 10.0, "yes", "all",
         "Passes over the training rows, fractions included; 0 only scores the starting network."),
        ("train_samples_per_iteration", integer(1, also=(-2, -1, 0)), -2, "yes", "all",
         "Rows trained by all workers before each average; 0 an epoch, -1 all that the workers hold, -2 automatic."),
        ("target_ratio_comm_to_comp", real(ends="()"), 0.05, "yes", "all",
         "Communication per computing time to aim at, on several workers; for the automatic train_samples_per_iteration."),
        ("adaptive_rate", _FLAG, True, "no", "all",
         "ADADELTA: learning rates per weight, by rho and epsilon. False: SGD by rate and momentum."),
        ("rho", real(0, 1), 0.99, "no", "all",
         "ADADELTA: decay rate of the means of squared gradients and steps."),
        ("epsilon", _AMOUNT, 1e-8, "no", "all", "ADADELTA: added under the root; sets the size of the first steps."),
        ("rate", _AMOUNT, 0.005, "no", "all", "SGD: step per row, before annealing, decay and a factor 1 - momentum."),
        ("rate_annealing", _AMOUNT, 1e-6, "no", "all",
         "SGD: the rate is divided by 1 + rate_annealing * rows trained so far."),
        ("rate_decay", _AMOUNT, 1.0, "no", "all", "SGD: factor on the rate from layer to layer, input side first."),
        ("momentum_start", real(0, 1), 0.0, "no", "all", "SGD: momentum at the first row."),
        ("momentum_ramp", _AMOUNT, 1e6, "no", "all",
         "SGD: rows over which momentum goes from its start to momentum_stable; 0 is at once."),
        ("momentum_stable", real(0, 1), 0.0, "no", "all", "SGD: momentum after the ramp."),
        ("nesterov_accelerated_gradient", _FLAG, True, "no", "all",
         "SGD: with momentum, look ahead (Nesterov); False is the classical heavy ball."),
        ("mini_batch_size", integer(1), 1, "yes", "all", "Rows per update: the sum of their gradients is divided by it."),
        ("fast_mode", _FLAG, True, "yes", "all",
         "Skip weights whose input or unit is silent for a row; and with them their penalties and running means."),
    )),
    ("Regularisation", "constructor", (
        ("input_dropout_ratio", real(0, 1), 0.0, "yes", "all",
         "Probability of dropping an input for a row in training; kept ones are enlarged to make up for it."),
        ("hidden_dropout_ratios", list_of(real(0, 1)), None, "yes", "all",
         "Probability of dropping a unit for a row, per hidden layer; None is 0.5 if activation has dropout, else 0."),
        ("l1", _AMOUNT, 0.0, "yes", "all", "Penalty per row on the size of weights and biases: makes many zero."),
        ("l2", _AMOUNT, 0.0, "yes", "all", "Penalty per row on half their squares: keeps them small."),
        ("max_w2", real(ends="(]"), math.inf, "yes", "all",
         "Limit on the sum of squares of a unit's incoming weights; 3.4028235e38 and more is none.", _no_limit),
        ("average_activation", real(-1, math.inf, "()"), 0.0, "yes", "all",
         "Sparse autoencoder: the mean activation that hidden units are drawn to."),
        ("sparsity_beta", _AMOUNT, 0.0, "no", "all", "Sparse autoencoder: strength of the pull to average_activation."),
        ("elastic_averaging", _FLAG, False, "yes", "all",
         "Each worker keeps its own network, drawn to a consensus; without it, each iteration starts at the average."),
        ("elastic_averaging_moving_rate", real(0, 1, "(]"), 0.9, "yes", "all", "Share of new averages in the consensus."),
        ("elastic_averaging_regularization", _AMOUNT, 1e-3, "yes", "all", "Pull of the consensus on each network."),
    )),
    ("Scoring, stopping and output", "constructor", (
        ("score_interval", _AMOUNT, 5.0, "yes", "all",
         "Seconds after which the network is scored again; short trainings, and early stopping, are scored for sooner."),
        ("score_duty_cycle", _SHARE, 0.1, "yes", "all",
         "Share of time for scoring, beside what early stopping needs; 0 scores only at the end."),
        ("score_each_iteration", _FLAG, False, "ignored", "all", "Score after every iteration, whatever the time."),
        ("score_training_samples", _COUNT, 10_000, "yes", "all",
         "Size of the fixed random sample of training rows to score; 0 = all."),
        ("score_validation_samples", _COUNT, 0, "yes", "all",
         "Size of the fixed random sample of validation rows to score; 0 = all."),
        ("score_validation_sampling", choice("uniform", "stratified"), "uniform", "yes", "all",
         "Draw validation rows all alike, or of each class its share."),
        ("classification_stop", real(also=(-1,)), 0.0, "yes", "all",
         "Stop when the classification error on training rows is at most this; -1 never."),
        ("regression_stop", real(also=(-1,)), 1e-6, "yes", "all",
         "Stop at this mean squared error on training rows, per target variance; -1 never."),
        ("stopping_rounds", _COUNT, 5, "yes", "all",
         "k: stop when the metric has not improved over k values; each is the mean of an epoch's scorings; 0 never."),
        ("stopping_metric", _METRIC, "auto", "yes", "all",
         "Metric of early stopping and of the best model; auto is logloss, deviance, or for autoencoders mse."),
        ("stopping_tolerance", real(0, 1), 0.0, "yes", "all", "Improvements smaller than this (relative) are ignored."),
        ("overwrite_with_best_model", _FLAG, True, "yes", "all",
         "Return the network of the best scoring, not the last one."),
        ("max_runtime_secs", _AMOUNT, 0.0, "request", "all",
         "Longest time, in seconds, from the call of fit to the end of training; 0 is no limit."),
        ("auc_type", _AUC, "auto", "ignored", "all",
         "Average of areas under the curves of 3 to 50 classes; auto is none."),
        ("gainslift_bins", _GROUPS, -1, "ignored", "all",
         "Groups of the gains and lift table of an evaluation; -1 is automatic, 0 none."),
        ("custom_metric", _SCORER, None, "ignored", "all",
         "A metric of your own: a scorer or its name; an object that merges from Python."),
        ("custom_metric_func", _SCORER, None, "ignored", "all", "H2O's name of custom_metric: give one of them."),
        ("diagnostics", _FLAG, True, "yes", "all", "Without effect: `layer_summary_` is there in any case."),
        ("layer_history", _FLAG, False, "yes", "all",
         "Keep figures of layers at each scoring, `layer_history_`; warn of dead units."),
        ("variable_importances", _FLAG, True, "yes", "all",
         "Without effect: importances cost nothing until they are asked for, by `importances`."),
        ("export_weights_and_biases", _FLAG, False, "yes", "all",
         "Without effect: `weights(i)` and `biases(i)` are there in any case."),
        ("quiet_mode", _FLAG, False, "yes", "all", "Write less to the log."),
        ("verbose", _LEVEL, False, "request", "all", "Print a line at every scoring; a number above 0 does, as True."),
    )),
    ("Cross-validation", "constructor", (
        ("nfolds", integer(2, also=(0,)), 0, "n/a", "all", "Number of folds; 0 is no cross-validation."),
        ("fold_assignment", choice("auto", "random", "modulo", "stratified"), "auto", "n/a", "all",
         "Folds by chance (auto), by row number, or by chance within each class."),
        ("fold_stopping", choice("inner", "holdout", "training"), "inner", "n/a", "all",
         "Rows that judge a fold: a tenth of its own, the held out, or its sample."),
        ("keep_cross_validation_models", _FLAG, True, "n/a", "all",
         "Keep the models of the folds: `cross_validation_models_`."),
        ("keep_cross_validation_predictions", _FLAG, False, "n/a", "all",
         "Keep `cross_validation_predictions_`, of rows held out."),
        ("keep_cross_validation_fold_assignment", _FLAG, False, "n/a", "all",
         "Keep `cross_validation_fold_assignment_`, of every row."),
    )),
    ("Class balance", "constructor", (
        ("balance_classes", _FLAG, False, "ignored", "all",
         "Train on rows resampled to balance the classes; predicted probabilities are corrected back."),
        ("class_sampling_factors", list_of(_AMOUNT), None, "ignored", "all",
         "Sampling ratio of each class, in the order of `classes_`; None balances them."),
        ("max_after_balance_size", real(ends="()"), 5.0, "ignored", "all",
         "Largest number of balanced training rows, relative to the original ones."),
    )),
    ("Parallel work", "constructor", (
        ("force_load_balance", _FLAG, True, "yes", "all",
         "Cut partitions where workers would not get rows alike."),
        ("replicate_training_data", _FLAG, False, "yes", "all", "Every worker holds and trains all rows, not a share."),
        ("single_node_mode", _FLAG, False, "yes", "all",
         "Train on one worker only, which holds all rows; with replicate_training_data."),
        ("shuffle_training_data", _FLAG, True, "yes", "all",
         "Visit rows in a fresh random order every epoch. False keeps the stored order: bad if it is sorted."),
        ("reproducible", _FLAG, False, "yes", "all",
         "Same weights, bit for bit, from the same random_state; with the same data and parameters. Takes longer."),
        ("n_shards", integer(1), None, "yes", "all",
         "Shards with a replica each, of which the bits depend; with reproducible. None: one per worker at the start."),
        ("random_state", _SEED, None, "yes", "all",
         "Seed of the starting weights, of the order of rows and of every draw; None or -1 draws one, a generator gives one.",
         _no_seed),
        ("n_jobs", integer(1, also=(-1,)), None, "request", "all",
         "Threads per process, at most; None and -1 are as many as it may use cores, or as a Dask worker has threads."),
        ("parallelism", choice("auto", "staleness", "team"), "auto", "request", "all",
         "How threads work together; staleness: on rows of their own, exchanging what they learn; team: on every row (exact)."),
        ("exchange_interval", number_kind(to_int, 1, 64, "[]", ()), None, "request", "all",
         "Rows that a thread trains between two exchanges; None: 64, SGD 16, over the other threads; mini-batches 2 or 1."),
        ("client", any_object("dask.distributed.Client"), None, "request", "all",
         "Cluster to train on; None is that of the active client, or this process where there is none."),
        ("averaging_momentum", real(0, 1, "[)"), None, "yes", "all",
         "Outer momentum of the averages of n workers, 0 none; None: rises to (n - 1) / (n + 1), at most 0.95."),
        ("worker_timeout", _AMOUNT, 60.0, "request", "all",
         "Seconds to wait for a worker when a cluster has none; then training ends; 4 * 3600 where jobs queue for hours."),
        ("storage", choice("auto", "memory", "disk", "stream"), "auto", "request", "all",
         "Where encoded rows wait between epochs; in memory, on local disk, or nowhere (encoded anew each time)."),
        ("checkpoint_dir", _PATH, None, "request", "all",
         "Folder or URL where the state of training is saved as it goes; the last three are kept.", os.fspath),
        ("checkpoint_interval", _AMOUNT, 60.0, "request", "all", "Least time, in seconds, between two such states."),
        ("export_checkpoints_dir", _PATH, None, "request", "all",
         "Folder or URL for the model of every training, each under its own name.", os.fspath),
        ("warm_start", _FLAG, False, "request", "all",
         "Go on from the network of the last fit, if there is one, for epochs more passes."),
        ("on_interrupt", choice("return", "raise"), "return", "request", "all",
         "After Ctrl-C: return from fit with a warning, or raise KeyboardInterrupt; the estimator is fitted either way."),
    )),
    ("Arguments of fit", "fit", (
        ("sample_weight", _VECTOR, None, "yes", "all",
         "Weight >= 0 of each row in loss, means and metrics; a row of weight 0 never trains."),
        ("offset", _VECTOR, None, "equal", "all",
         "Known part of each prediction, added to the output before the link function; for regression only."),
        ("folds", _VECTOR, None, "n/a", "all", "Fold of each row, where nfolds does not make them."),
        ("eval_set", any_object("(X, y[, weight[, offset]]), or frame with the same columns"), None, "yes", "all",
         "Validation rows, scored along with training; early stopping and the best model go by them."),
        ("callbacks", any_object("list of callables", lambda v: isinstance(v, (list, tuple)) and all(map(callable, v))), None,
         "n/a", "all", "Called with the record of every scoring, read-only; one that returns True stops the training."),
        ("checkpoint", any_object("fitted estimator, or path or URL of a saved model"), None, "yes", "all",
         "Model from which training goes on, to `epochs` in all, on these rows or others of the same columns."),
        ("resume", _FLAG, False, "n/a", "all", "Go on from the newest state in checkpoint_dir, as after a crash."),
    )),
    ("H2O face only", "h2o", (
        ("model_id", any_object("str", lambda v: isinstance(v, str)), None, "n/a", (), "Name of the model."),
        ("training_frame", _FRAME, None, "request", (), "Table to train on, with its target."),
        ("validation_frame", _FRAME, None, "equal", (), "Validation rows: eval_set of fit."),
        ("x", _COLUMNS, None, "equal", (), "Columns to learn from; None is all the others."),
        ("ignored_columns", _COLUMNS, None, "equal", (), "Columns not to learn from, where x is None."),
        ("y", _COLUMN, None, "equal", (), "Target: numbers mean regression, categories classification."),
        ("response_column", _COLUMN, None, "equal", (), "Other name of y.", None, "y"),
        ("weights_column", _COLUMN, None, "equal", (), "Column of the weights: sample_weight of fit."),
        ("offset_column", _COLUMN, None, "equal", (), "Column of the offsets: offset of fit."),
        ("fold_column", _COLUMN, None, "n/a", (), "Column of the folds: folds of fit."),
        ("autoencoder", _FLAG, False, "no", (), "Learn to reproduce the inputs: DeepLearningAutoEncoder."),
        ("seed", _SEED, None, "yes", "all", "Other name of random_state.", _no_seed, "random_state"),
        ("max_confusion_matrix_size", _COUNT, 20, "yes", (), "Obsolete, without effect."),
    )),
)

TABLE: Final[Mapping[str, Parameter]] = {
    row[0]: Parameter(group, scope, *row) for group, scope, rows in SECTIONS for row in rows
}
#: Parameters that hold arrays, which files keep as such.
ARRAYS: Final = ("initial_weights", "initial_biases")
#: Parameters that may be objects, of which a file keeps only names.
OBJECTS: Final = ("custom_metric", "custom_metric_func", "pretrained_autoencoder")
