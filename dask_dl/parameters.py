"""
Every parameter in one table: name, allowed values, default, what a restart may change, what has an effect, meaning.

Validation, the effective values, docs/reference/parameters.md, the estimators' docstrings and the command line are derived from
`TABLE`, `CONFLICTS` and `NO_EFFECT`; no default and no range is written anywhere else. What to answer to the names of
other libraries is in `synonyms`. Imports only the standard library, and at once.
"""

from __future__ import annotations

import difflib
import math
import numbers
import operator
import os
import re
import reprlib
import sys
import textwrap
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Literal

from dask_dl.errors import ParameterError
from dask_dl.metrics.table import METRICS, loss_of
from dask_dl.synonyms import SYNONYMS, VALUE, WORDS, Advice, GivenValue, fold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

# ---------------------------------------------------------------------------------------------------------------------
# Kinds of values


@dataclass(frozen=True)
class Kind:
    """Legal values: `text` describes them, `read` returns one in its canonical form or raises ValueError (a hint)."""

    text: str
    read: Callable[[Any], Any]


def _require(legal: object, hint: str = "") -> None:
    if not legal:
        raise ValueError(hint)


def _plain(value: Any) -> Any:
    """Python's own number, word or list in place of NumPy's, without importing NumPy."""
    return value.tolist() if hasattr(value, "tolist") else value


def show(value: Any) -> str:
    """One short line; other objects by their type, because the repr of a table is long and may compute."""
    if isinstance(value, str):
        return f'"{value}"' if len(value) < 60 else reprlib.repr(value)
    plain = value is None or isinstance(value, (numbers.Number, list, tuple))
    return " ".join(reprlib.repr(value).split()) if plain else f"<{type(value).__name__}>"


def _near(word: str, known: Iterable[str]) -> str:
    folded = {fold(k): k for k in known}
    close = difflib.get_close_matches(fold(word), folded, n=1)
    return f'did you mean "{folded[close[0]]}"?' if close else ""


def _flag(value: Any) -> Any:
    value = _plain(value)
    _require(isinstance(value, bool))
    return value


def _number(cast: Callable[[Any], Any], low: float, high: float, ends: str, also: Sequence[float]) -> Kind:
    """Numbers from `low` to `high`, with or without these as the brackets `ends` tell, and the values `also`."""
    name = cast.__name__.removeprefix("_to_")
    text = f"{name} in {ends[0]}{low}, {high}{ends[1]}"
    if math.isinf(high) and ends[1] == ")":
        text = f"{name} {'>=' if ends[0] == '[' else '>'} {low}"

    def read(value: Any) -> Any:
        number = cast(_plain(value))
        above = low <= number if ends[0] == "[" else low < number
        below = number <= high if ends[1] == "]" else number < high
        _require((above and below) or number in also)  # a NaN is neither above nor below
        return number

    return Kind(text + (f" or {', '.join(map(str, also))}" if also else ""), read)


def _to_float(value: Any) -> float:
    _require(isinstance(value, numbers.Real) and not isinstance(value, bool))
    return float(value)


def _to_int(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():  # refused too: a fraction here is rather a slip than a wish
        raise ValueError(f"write {int(value)}")
    _require(hasattr(value, "__index__") and not isinstance(value, bool))
    return operator.index(value)


def _real(low: float = 0, high: float = math.inf, ends: str = "[)", also: Sequence[float] = ()) -> Kind:
    return _number(_to_float, low, high, ends, also)


def _int(low: int, also: Sequence[int] = ()) -> Kind:
    return _number(_to_int, low, math.inf, "[)", also)


def _choice(*words: str) -> Kind:
    """One of some words; case and underscores do not matter."""

    def read(value: Any) -> str:
        value = _plain(value)
        _require(isinstance(value, str))
        same = [word for word in words if fold(word) == fold(value)]
        _require(same, _near(value, words))
        return same[0]

    return Kind("{" + ", ".join(map(show, words)) + "}", read)


def _list_of(item: Kind) -> Kind:
    """List, tuple or array of values of one kind, or one number; becomes a tuple."""

    def read(value: Any) -> tuple[Any, ...]:
        value = _plain(value)
        if isinstance(value, numbers.Number):
            return (item.read(value),)
        hint = "" if value is None or isinstance(value, str) else "even one value goes in a list"
        _require(isinstance(value, (list, tuple)), hint)
        items = []
        for i, v in enumerate(value):
            try:
                items.append(item.read(v))
            except ValueError as error:
                raise ValueError(_joined(f"entry {i} is {show(v)}", error)) from None
        return tuple(items)

    return Kind(f"list of {item.text}", read)


def _joined(text: str, hint: Exception) -> str:
    return f"{text}; {hint}" if str(hint) else text


def _object(text: str, test: Callable[[Any], object] = lambda _: True) -> Kind:
    """Return the kind of other things, described in words; `test` catches gross mistakes."""

    def read(value: Any) -> Any:
        _require(test(value))
        return value

    return Kind(text, read)


def _is_generator(value: Any) -> bool:
    """Whether `value` is a RandomState or Generator of NumPy, without importing NumPy."""
    kinds = {kind.__name__ for kind in type(value).__mro__ if kind.__module__.startswith("numpy.random")}
    return bool(kinds & {"RandomState", "Generator"})


def _seed() -> Kind:
    """Whole numbers from 0, -1, and generators, of which a seed is drawn where it is needed."""
    number = _int(0, also=(-1,))
    return Kind(
        f"{number.text}, or NumPy's RandomState or Generator", lambda v: v if _is_generator(v) else number.read(v)
    )


def _is_above_zero(value: Any) -> bool:
    """A flag, or a level of which 0 and below are False: as scikit-learn and Keras have it."""
    value = _plain(value)
    return value if isinstance(value, bool) else bool(_to_int(value) > 0)


def _arrays(ndim: int) -> Kind:
    def fits(value: Any) -> bool:
        shape = getattr(value, "shape", None)
        return value is None or (isinstance(value, (list, tuple)) if shape is None else len(shape) == ndim)

    return _list_of(_object(f"{ndim}-d arrays", fits))


# ---------------------------------------------------------------------------------------------------------------------
# The table

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

RESTART: Final[Mapping[str, str]] = {
    "yes": "may change, and the new value takes effect",
    "no": "a change is refused",
    "equal": "must be the same in effect",
    "ignored": "the value of the first training stays in force",
    "request": "always the value of the new request",
    "n/a": "does not apply",
}

# fmt: off
_FLAG, _LEVEL, _SHARE, _AMOUNT = Kind("bool", _flag), Kind("bool or int", _is_above_zero), _real(0, 1, "[]"), _real()
_COUNT, _GROUPS, _SEED = _int(0), _int(0, also=(-1,)), _seed()
_FRAME, _COLUMN, _COLUMNS = _object("frame"), _object("column name"), _list_of(_object("column names"))
_VECTOR = _object("name or position of a column, or collection aligned with X")
_PATH = _object("path or URL", lambda v: isinstance(v, (str, os.PathLike)) and os.fspath(v))
_ACTIVATION = _choice(*(word + drop for word in ("tanh", "rectifier", "maxout") for drop in ("", "_with_dropout")))
_STARTS = _choice("uniform_adaptive", "uniform", "normal")
_AUC = _choice("auto", "none", "macro_ovr", "weighted_ovr", "macro_ovo", "weighted_ovo")
_ENCODING = _choice("auto", "one_hot_internal", "binary", "eigen", "label_encoder", "sort_by_response", "enum_limited")
_LOSS = _choice("automatic", "cross_entropy", "quadratic", "huber", "absolute", "quantile")
_FOR_CLASSES = ("auto", "bernoulli", "multinomial")
_FOR_NUMBERS = ("auto", "gaussian", "poisson", "gamma", "tweedie", "laplace", "quantile", "huber")
_FAMILY = _choice(*_FOR_CLASSES, *_FOR_NUMBERS[1:])
_OF_CLASSES = ("logloss", "auc", "aucpr", "lift_top_group", "misclassification", "mean_per_class_error")
_OF_ANYTHING = ("auto", "mse", "rmse", "mae", "rmsle", "custom", "custom_increasing")
_METRIC_WORDS = (*_OF_ANYTHING, "deviance", *_OF_CLASSES)
_METRIC = _choice(*_METRIC_WORDS)
_FLOAT32_MAX: Final = 3.4028234663852886e38


def _no_seed(value: Any) -> Any:
    return None if isinstance(value, int) and value == -1 else value


def _no_limit(value: float) -> float:
    return math.inf if value >= _FLOAT32_MAX else value


# Not formatted, so that a row is read as a row: name, kind, default, restart, available today, meaning.
_SECTIONS: Final[Sequence[tuple[str, Scope, Sequence[tuple[Any, ...]]]]] = (
    ("Network and initial state", "constructor", (
        ("hidden", _list_of(_int(1)), (200, 200), "equal", "all",
         "Units of each hidden layer, input side first; a number is one layer. An empty list makes a linear model."),
        ("activation", _ACTIVATION, "rectifier", "no", "all",
         "Activation of the hidden units; rectifier is max(0, x), maxout the larger of two sums; with or without dropout."),
        ("initial_weight_distribution", _STARTS, "uniform_adaptive", "yes", "all",
         "Distribution of the starting weights; uniform_adaptive sets its width by the sizes of the layers it joins."),
        ("initial_weight_scale", _AMOUNT, 1.0, "yes", "all",
         "Half-width (uniform) or standard deviation (normal) of starting weights."),
        ("initial_weights", _arrays(2), None, "yes", "all",
         "Starting weights as in `coefs_`, (inputs, units) for each layer; an entry None leaves that layer random."),
        ("initial_biases", _arrays(1), None, "yes", "all",
         "Starting biases as in `intercepts_`, (units,) for each layer; an entry None leaves that layer as usual."),
        ("pretrained_autoencoder", _object("fitted autoencoder"), None, "yes", (),
         "Autoencoder on the same inputs, whose hidden layers become the starting hidden layers."),
    )),
    ("Data preparation", "constructor", (
        ("use_all_factor_levels", _FLAG, True, "no", "all",
         "Give every level of a category an input; False leaves out the first. Missing values have one in any case."),
        ("standardize", _FLAG, True, "no", "all",
         "Bring numbers, the target too, to mean 0 and variance 1. Predictions keep the original unit."),
        ("missing_values_handling", _choice("mean_imputation", "skip"), "mean_imputation", "yes", "all",
         "Fill in missing inputs, or skip the row; numbers become the training mean, categories the missing level."),
        ("max_categorical_features", _int(1), 2**31 - 1, "no", "all",
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
         "What training makes small; automatic follows the distribution."),
        ("distribution", _FAMILY, "auto", "no", "all",
         "Distribution of the target; auto is bernoulli or multinomial for classes, for numbers the one of the loss."),
        ("quantile_alpha", _SHARE, 0.5, "no", "all", "The quantile that the quantile loss estimates; 0.5 is the median."),
        ("tweedie_power", _real(1, 2, "()"), 1.5, "no", "all",
         "Variance power of the tweedie distribution; towards 1 it resembles poisson, towards 2 gamma."),
        ("huber_alpha", _SHARE, 0.9, "no", "all",
         "Quantile of absolute residuals beyond which the huber loss is linear; below, it is quadratic."),
    )),
    ("Optimiser", "constructor", (
        ("epochs", _AMOUNT, 10.0, "yes", "all",
         "Passes over the training rows, fractions included; 0 only scores the starting network."),
        ("train_samples_per_iteration", _int(1, also=(-2, -1, 0)), -2, "yes", "all",
         "Rows trained by all workers before each average; 0 an epoch, -1 all that the workers hold, -2 automatic."),
        ("target_ratio_comm_to_comp", _real(ends="()"), 0.05, "yes", "all",
         "Communication per computing time to aim at, on several workers; for the automatic train_samples_per_iteration."),
        ("adaptive_rate", _FLAG, True, "no", "all",
         "ADADELTA: learning rates per weight, by rho and epsilon. False: SGD by rate and momentum."),
        ("rho", _real(0, 1), 0.99, "no", "all",
         "ADADELTA: memory of its running means of squared gradients and steps; nearer 1 remembers longer."),
        ("epsilon", _AMOUNT, 1e-8, "no", "all", "ADADELTA: added under the root; sets the size of the first steps."),
        ("rate", _AMOUNT, 0.005, "no", "all", "SGD: step per row, before annealing, decay and a factor 1 - momentum."),
        ("rate_annealing", _AMOUNT, 1e-6, "no", "all",
         "SGD: the rate is divided by 1 + rate_annealing * rows trained so far."),
        ("rate_decay", _AMOUNT, 1.0, "no", "all", "SGD: factor on the rate from layer to layer, input side first."),
        ("momentum_start", _real(0, 1), 0.0, "no", "all", "SGD: momentum at the first row."),
        ("momentum_ramp", _AMOUNT, 1e6, "no", "all",
         "SGD: rows over which momentum goes from its start to momentum_stable; 0 is at once."),
        ("momentum_stable", _real(0, 1), 0.0, "no", "all", "SGD: momentum after the ramp."),
        ("nesterov_accelerated_gradient", _FLAG, True, "no", "all",
         "SGD: with momentum, look ahead (Nesterov); False is the classical heavy ball."),
        ("mini_batch_size", _int(1), 1, "yes", "all", "Rows per update: the sum of their gradients is divided by it."),
        ("fast_mode", _FLAG, True, "yes", "all",
         "Skip weights whose input or unit is silent for a row; and with them their penalties and running means."),
    )),
    ("Regularisation", "constructor", (
        ("input_dropout_ratio", _real(0, 1), 0.0, "yes", "all",
         "Probability of dropping an input for a row in training; kept ones are enlarged to make up for it."),
        ("hidden_dropout_ratios", _list_of(_real(0, 1)), None, "yes", "all",
         "Probability of dropping a unit for a row, per hidden layer; None is 0.5 if activation has dropout, else 0."),
        ("l1", _AMOUNT, 0.0, "yes", "all", "Penalty per row on the size of weights and biases: makes many zero."),
        ("l2", _AMOUNT, 0.0, "yes", "all", "Penalty per row on half their squares: keeps them small."),
        ("max_w2", _real(ends="(]"), math.inf, "yes", "all",
         "Limit on the sum of squares of a unit's incoming weights; 3.4028235e38 and more is none.", _no_limit),
        ("average_activation", _real(-1, math.inf, "()"), 0.0, "yes", (),
         "Sparse autoencoder: the mean activation that hidden units are drawn to."),
        ("sparsity_beta", _AMOUNT, 0.0, "no", (), "Sparse autoencoder: strength of the pull to average_activation."),
        ("elastic_averaging", _FLAG, False, "yes", "all",
         "Each worker keeps its own network, drawn to a consensus; without it, each iteration starts at the average."),
        ("elastic_averaging_moving_rate", _real(0, 1, "(]"), 0.9, "yes", "all", "Share of new averages in the consensus."),
        ("elastic_averaging_regularization", _AMOUNT, 1e-3, "yes", "all", "Pull of the consensus on each network."),
    )),
    ("Scoring, stopping and output", "constructor", (
        ("score_interval", _AMOUNT, 5.0, "yes", "all",
         "Seconds after which the network is scored again; short trainings, and early stopping, are scored for sooner."),
        ("score_duty_cycle", _SHARE, 0.1, "yes", "all",
         "Share of time for scoring, beside what early stopping needs; 0 scores only at the end."),
        ("score_each_iteration", _FLAG, False, "ignored", "all", "Score after every iteration, whatever the time."),
        ("score_training_samples", _COUNT, 10_000, "yes", "all", "Training rows, drawn once, to score on; 0 is all."),
        ("score_validation_samples", _COUNT, 0, "yes", "all", "Validation rows, drawn once, to score on; 0 is all."),
        ("score_validation_sampling", _choice("uniform", "stratified"), "uniform", "yes", (),
         "Draw validation rows all alike, or such that classes come balanced."),
        ("classification_stop", _real(also=(-1,)), 0.0, "yes", "all",
         "Stop when the classification error on training rows is at most this; -1 never."),
        ("regression_stop", _real(also=(-1,)), 1e-6, "yes", "all",
         "Stop at this mean squared error on training rows, per target variance; -1 never."),
        ("stopping_rounds", _COUNT, 5, "yes", "all",
         "k: stop when the metric has not improved over k values; each is the mean of an epoch's scorings; 0 never."),
        ("stopping_metric", _METRIC, "auto", "yes",
         tuple(name for name in METRICS if name in _METRIC_WORDS),
         "Metric of early stopping and of the best model; auto is logloss, deviance, or for autoencoders mse."),
        ("stopping_tolerance", _real(0, 1), 0.0, "yes", "all", "Relative improvement that counts as none."),
        ("overwrite_with_best_model", _FLAG, True, "yes", "all",
         "Return the network of the best scoring, not the last one."),
        ("max_runtime_secs", _AMOUNT, 0.0, "request", "all",
         "Longest time, in seconds, from the call of fit to the end of training; 0 is no limit."),
        ("auc_type", _AUC, "auto", "ignored", (),
         "Area under the curve with several classes: mean over each against the rest, or over pairs; auto is none."),
        ("gainslift_bins", _GROUPS, -1, "ignored", (), "Groups of the gains and lift table; -1 is automatic, 0 none."),
        ("custom_metric_func", _object("callable", callable), None, "ignored", (), "The user's own metric."),
        ("diagnostics", _FLAG, True, "yes", "all", "Obsolete: the layer summary is always made."),
        ("variable_importances", _FLAG, True, "yes", "all",
         "Rate each input by the weights from it on (Gedeon). No effect yet."),
        ("export_weights_and_biases", _FLAG, False, "yes", "all",
         "Needed for weights(i) and biases(i) of the H2O face; `coefs_` is there in any case. No effect yet."),
        ("quiet_mode", _FLAG, False, "yes", "all", "Write less to the log."),
        ("verbose", _LEVEL, False, "request", "all", "Print a line at every scoring; a number above 0 does, as True."),
    )),
    ("Cross-validation", "constructor", (
        ("nfolds", _int(2, also=(0,)), 0, "n/a", (), "Number of folds; 0 is no cross-validation."),
        ("fold_assignment", _choice("auto", "random", "modulo", "stratified"), "auto", "n/a", (),
         "Rows go to folds by chance (auto), by row number, or by chance with equal shares of each class."),
        ("keep_cross_validation_models", _FLAG, True, "n/a", (), "Keep the models of the folds."),
        ("keep_cross_validation_predictions", _FLAG, False, "n/a", (), "Keep the predictions for rows held out."),
        ("keep_cross_validation_fold_assignment", _FLAG, False, "n/a", (), "Keep the fold of every row."),
    )),
    ("Class balance", "constructor", (
        ("balance_classes", _FLAG, False, "ignored", "all",
         "Train on rows resampled to balance the classes; predicted probabilities are corrected back."),
        ("class_sampling_factors", _list_of(_AMOUNT), None, "ignored", "all",
         "Sampling ratio of each class, in the order of `classes_`; None balances them."),
        ("max_after_balance_size", _real(ends="()"), 5.0, "ignored", "all",
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
        ("random_state", _SEED, None, "yes", "all",
         "Seed of the starting weights, of the order of rows and of every draw; None or -1 draws one, a generator gives one.",
         _no_seed),
        ("n_jobs", _int(1, also=(-1,)), None, "request", "all",
         "Threads per process, at most; None and -1 are as many as it may use cores, or as a Dask worker has threads."),
        ("parallelism", _choice("auto", "staleness", "team"), "auto", "request", "all",
         "How threads work together; staleness: on rows of their own, exchanging what they learn; team: on every row (exact)."),
        ("exchange_interval", _number(_to_int, 1, 64, "[]", ()), None, "request", "all",
         "Rows that a thread trains between two exchanges; None: 64, SGD 16, over the other threads; mini-batches 2 or 1."),
        ("client", _object("dask.distributed.Client"), None, "request", "all",
         "Cluster to train on; None is that of the active client, or this process where there is none."),
        ("averaging_momentum", _real(0, 1, "[)"), None, "yes", "all",
         "Outer momentum of the averages of n workers, 0 none; None: rises to (n - 1) / (n + 1), at most 0.95."),
        ("worker_timeout", _AMOUNT, 60.0, "request", "all",
         "Seconds to wait for a worker when a cluster has none; then training ends; 4 * 3600 where jobs queue for hours."),
        ("storage", _choice("auto", "memory", "disk", "stream"), "auto", "request", "all",
         "Where encoded rows wait between epochs; in memory, on local disk, or nowhere (encoded anew each time)."),
        ("checkpoint_dir", _PATH, None, "request", "all",
         "Folder or URL where the state of training is saved as it goes; the last three are kept.", os.fspath),
        ("checkpoint_interval", _AMOUNT, 60.0, "request", "all", "Least time, in seconds, between two such states."),
        ("on_interrupt", _choice("return", "raise"), "return", "request", "all",
         "After Ctrl-C: return from fit with a warning, or raise KeyboardInterrupt; the estimator is fitted either way."),
    )),
    ("Arguments of fit", "fit", (
        ("sample_weight", _VECTOR, None, "equal", "all",
         "Weight >= 0 of each row in loss, means and metrics; a row of weight 0 never trains."),
        ("offset", _VECTOR, None, "equal", "all",
         "Known part of each prediction, added to the output before the link function; for regression only."),
        ("folds", _VECTOR, None, "n/a", (), "Fold of each row, where nfolds does not make them."),
        ("eval_set", _object("(X, y[, weight[, offset]]), or frame with the same columns"), None, "equal", "all",
         "Validation rows, scored along with training; early stopping and the best model go by them."),
        ("callbacks", _object("list of callables", lambda v: isinstance(v, (list, tuple)) and all(map(callable, v))), None,
         "n/a", "all", "Called with the record of every scoring, read-only; one that returns True stops the training."),
        ("checkpoint", _object("fitted model, or its path"), None, "yes", (), "Model to train on, to more epochs."),
        ("resume", _FLAG, False, "n/a", "all", "Go on from the newest state in checkpoint_dir, as after a crash."),
    )),
    ("H2O face only", "h2o", (
        ("model_id", _object("str", lambda v: isinstance(v, str)), None, "n/a", (), "Name of the model."),
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
        ("export_checkpoints_dir", _PATH, None, "request", (), "Folder that takes every finished model.", os.fspath),
        ("max_confusion_matrix_size", _COUNT, 20, "yes", (), "Obsolete, without effect."),
    )),
)

TABLE: Final[Mapping[str, Parameter]] = {
    row[0]: Parameter(group, scope, *row) for group, scope, rows in _SECTIONS for row in rows
}


# ---------------------------------------------------------------------------------------------------------------------
# Rules between parameters. `p` holds all canonical values, and `task` and `n_classes` (None while unknown).


@dataclass(frozen=True)
class Rule:
    """Speaks of the parameters `names` when `applies`; `text` says what is wrong, or missing, and what to do."""

    names: tuple[str, ...]
    applies: Callable[[Any], Any]
    text: str


_LOSSES_OF: Final[Mapping[str, Sequence[str]]] = {  # the first is what automatic becomes
    "bernoulli": ("cross_entropy", "quadratic"), "multinomial": ("cross_entropy", "quadratic"),
    "gaussian": ("quadratic",), "laplace": ("absolute",), "quantile": ("quantile",), "huber": ("huber",),
    "poisson": (), "gamma": (), "tweedie": (),  # only their own deviance, which has no other name than automatic
}
_FAMILIES_OF: Final = {"classification": _FOR_CLASSES, "regression": _FOR_NUMBERS, "autoencoder": _FOR_NUMBERS}
_METRICS_OF: Final = {
    "classification": (*_OF_ANYTHING, *_OF_CLASSES), "regression": (*_OF_ANYTHING, "deviance"),
    "autoencoder": ("auto", "mse"),
}


def _misfit(values: Sequence[Any] | None, length: int) -> bool:
    return values is not None and len(values) != length


def _out_of_reach(p: Any) -> bool:
    """Whether hidden units cannot take the mean activation that a sparse autoencoder asks for."""
    mean = p.average_activation
    outside = mean <= 0 if "rectifier" in p.activation else not -1 < mean < 1
    return bool(p.task == "autoencoder" and p.sparsity_beta and outside)


CONFLICTS: Final[Sequence[Rule]] = (
    Rule(("distribution",), lambda p: p.task and p.distribution not in _FAMILIES_OF[p.task],
         "bernoulli and multinomial are for classes, the others for numbers; use auto, or make the target a category"),
    Rule(("distribution",), lambda p: p.distribution == "bernoulli" and (p.n_classes or 2) > 2,
         "bernoulli is for two classes; use auto or multinomial"),
    Rule(("loss",), lambda p: p.task == "classification" and p.loss in ("huber", "absolute", "quantile"),
         "a classifier takes automatic, cross_entropy or quadratic; use one of these"),
    Rule(("loss",), lambda p: p.task in ("regression", "autoencoder") and p.loss == "cross_entropy",
         "cross_entropy is for classes; use automatic, or a classifier"),
    Rule(("distribution", "loss"), lambda p: p.loss not in ("automatic", *_LOSSES_OF.get(p.distribution, (p.loss,))),
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
    Rule(("adaptive_rate", "rho"), lambda p: p.adaptive_rate and not p.rho,
         "ADADELTA needs rho above 0; use 0.9 to 0.999, or adaptive_rate=False"),
    Rule(("adaptive_rate", "epsilon"), lambda p: p.adaptive_rate and not p.epsilon,
         "ADADELTA needs epsilon above 0; use 1e-10 to 1e-4, or adaptive_rate=False"),
    Rule(("reproducible", "parallelism"), lambda p: p.reproducible and p.parallelism == "staleness",
         "threads that exchange give other bits every time; use parallelism auto or team"),
    Rule(("sparse", "elastic_averaging"), lambda p: p.sparse and p.elastic_averaging,
         "elastic averaging does not go with sparse inputs; leave one of them False"),
    Rule(("col_major",), lambda p: p.col_major, "this storage order is obsolete; leave it False"),
    Rule(("average_activation", "sparsity_beta"),
         lambda p: p.task in ("classification", "regression") and (p.average_activation or p.sparsity_beta),
         "sparsity is for autoencoders; leave both at 0"),
    Rule(("activation", "average_activation"), _out_of_reach,
         "units cannot take this mean; use one above 0 for rectifier, within (-1, 1) for tanh"),
    Rule(("activation",), lambda p: p.task == "autoencoder" and p.activation.startswith("maxout"),
         "an autoencoder takes tanh or rectifier, with or without dropout; use one of these"),
    Rule(("categorical_encoding",), lambda p: p.task == "autoencoder" and p.categorical_encoding == "sort_by_response",
         "an autoencoder has no response to sort by; use auto"),
    Rule(("balance_classes",), lambda p: p.task in ("regression", "autoencoder") and p.balance_classes,
         "only a classifier has classes to balance; leave it False"),
    Rule(("balance_classes", "class_sampling_factors"),
         lambda p: not p.balance_classes and p.class_sampling_factors is not None,
         "the factors need balance_classes=True"),
    Rule(("class_sampling_factors",), lambda p: p.n_classes and _misfit(p.class_sampling_factors, p.n_classes),
         "give one factor per class"),
    Rule(("stopping_rounds", "stopping_metric"),
         lambda p: p.task and p.stopping_rounds and p.stopping_metric not in _METRICS_OF[p.task],
         "this metric does not suit what is learned; use auto"),
    Rule(("stopping_rounds", "stopping_metric", "custom_metric_func"),
         lambda p: p.stopping_rounds and p.stopping_metric.startswith("custom") and p.custom_metric_func is None,
         "a custom stopping metric needs custom_metric_func"),
    Rule(("custom_metric_func",), lambda p: p.task == "autoencoder" and p.custom_metric_func is not None,
         "an autoencoder takes no metric of the user's own; leave it out"),
    Rule(("nfolds",), lambda p: p.task == "autoencoder" and p.nfolds, "an autoencoder has no folds; leave it 0"),
    Rule(("nfolds", "folds"), lambda p: p.nfolds and p.folds is not None, "each makes folds; leave out one of them"),
    Rule(("nfolds", "fold_assignment"), lambda p: p.fold_assignment != "auto" and not p.nfolds,
         "fold_assignment needs nfolds of at least 2, and no folds of the user's own"),
    Rule(("nfolds", "checkpoint"), lambda p: p.nfolds and p.checkpoint is not None,
         "a training that goes on is not cross-validated; leave out one of them"),
    Rule(("offset",), lambda p: p.task == "classification" and p.offset is not None,
         "offsets are for regression; leave it out"),
    Rule(("resume", "checkpoint_dir"), lambda p: p.resume and p.checkpoint_dir is None,
         "resume needs the checkpoint_dir of the training that broke off"),
    Rule(("resume", "checkpoint"), lambda p: p.resume and p.checkpoint is not None,
         "each names the state to go on from; leave out one of them"),
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
    Rule(("max_after_balance_size", "score_validation_sampling"), lambda p: not p.balance_classes,
         "needs balance_classes=True"),
    Rule(("target_ratio_comm_to_comp",), lambda p: p.train_samples_per_iteration != -2,
         "needs train_samples_per_iteration=-2"),
    Rule(("replicate_training_data",), lambda p: p.reproducible, "needs reproducible=False"),
    Rule(("single_node_mode",), lambda p: not p.replicate_training_data, "needs replicate_training_data=True"),
    Rule(("exchange_interval",), lambda p: p.reproducible or p.parallelism == "team", "a team exchanges nothing"),
    Rule(("checkpoint_interval",), lambda p: p.checkpoint_dir is None, "needs checkpoint_dir"),
    Rule(("diagnostics",), lambda _: True, "obsolete"),
)
# fmt: on


# ---------------------------------------------------------------------------------------------------------------------
# What is derived from them


def constructor_defaults() -> dict[str, Any]:
    """Names and defaults of the estimators' constructors, in order."""
    return {name: row.default for name, row in TABLE.items() if row.scope == "constructor"}


def _with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row.default for name, row in TABLE.items() if not row.same_as} | dict(values)


def _settings(names: Sequence[str], values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={show(values[name])}" for name in names)


def validate(given: Mapping[str, Any], *, task: Task | None, n_classes: int | None = None) -> dict[str, Any]:
    """
    Complete and canonical parameters, or every mistake at once.

    Parameters
    ----------
    given : mapping
        Parameters and arguments of fit by name; stays as it is.
    task : {"classification", "regression", "autoencoder"} or None
        None, while it is not known, leaves out the rules that depend on it.
    n_classes : int or None
        Number of classes, once known.

    Returns
    -------
    dict
        All parameters of the constructors and whatever else was given: words in lower case with underscores, numbers
        and flags as Python's own, lists as tuples, other names (seed) under the name they stand for.

    Raises
    ------
    ParameterError
        First what is never legal, then what is legal but not available yet.
    """
    mistakes = []
    read, wrong = {}, set()
    for name, value in given.items():
        row = TABLE.get(name)
        if row is None:
            wrong.add(name)
            mistakes.append(f"{_settings([name], given)}: {_instead(name, value)}")
            continue
        if row.same_as in given:
            mistakes.append(f"{_settings([name, row.same_as], given)}: two names of one thing; leave out one of them")
        try:
            read[row.same_as or name] = row.read(value)
        except (ValueError, OverflowError) as error:
            wrong.add(row.same_as or name)
            legal = f"must be {row.allowed} (default {show(row.default)})"
            word = _foreign_word(name, value)
            mistakes.append(_joined(f"{_settings([name], given)}: {legal}", ValueError(word) if word else error))

    values = _with_defaults(read)
    p = SimpleNamespace(**{**given, **values, "task": task, "n_classes": n_classes})
    mistakes += [
        f"{_settings(rule.names, values)}: {rule.text}"
        for rule in CONFLICTS
        if wrong.isdisjoint(rule.names) and rule.applies(p)
    ]
    mistakes += [
        f"{_settings([name], values)}: not available yet: today only {TABLE[name].today}"
        for name, value in values.items()
        if name not in wrong and not TABLE[name].is_available(value)
    ]
    _refuse(mistakes)
    return {name: value for name, value in values.items() if name in read or TABLE[name].scope == "constructor"}


def refuse_names(unknown: Mapping[str, Any], scope: Literal["constructor", "fit"]) -> None:
    """Refuse names that the constructor, or fit, does not take, if any, and say what to write. Raises ParameterError."""
    _refuse([f"{_settings([name], unknown)}: {_instead(name, value, scope)}" for name, value in unknown.items()])


def _refuse(mistakes: Sequence[str]) -> None:
    if mistakes:
        title = f"{len(mistakes)} mistake{'s' * (len(mistakes) > 1)} in the parameters:"
        raise ParameterError("\n".join([title, *(f"  {i}. {line}" for i, line in enumerate(mistakes, 1))]))


#: Where a parameter belongs, in words.
_SCOPES: Final = {"constructor": "the constructor", "fit": "fit"}


def _instead(name: str, value: Any, scope: Scope | None = None) -> str:
    """Advice on a name that is no parameter of a place."""
    if name in TABLE and TABLE[name].scope in _SCOPES:
        shown = _adopted(name, VALUE, value)
        return f"not a parameter of {_SCOPES[scope or 'fit']}; write {name}={shown} in {_SCOPES[TABLE[name].scope]}"
    word = fold(name.rpartition("__")[2] or name)  # optimizer__lr: of parts of other libraries
    synonym = SYNONYMS.get(word)
    if synonym:
        return f"no such parameter; {_advised(synonym.advice_for(_plain(value)), value, scope)}"
    known = {fold(word): word for word, row in TABLE.items() if row.scope in _SCOPES}
    near = difflib.get_close_matches(word, [*known, *SYNONYMS], n=1, cutoff=0.8)
    near = near or difflib.get_close_matches(word, known, n=1)
    if near and near[0] not in known:
        synonym = SYNONYMS[near[0]]
        known_name = next(name for name in synonym.names if fold(name) == near[0])
        advice = _advised(synonym.advice_for(_plain(value)), value, scope)
        return f'no such parameter; if "{known_name}" is meant, {advice}'
    if near:
        other = TABLE[known[near[0]]].scope
        where = f" of {_SCOPES[other]}" if scope not in (None, other) else ""
        return f'no such parameter; did you mean "{known[near[0]]}"{where}?'
    far = difflib.get_close_matches(word, known, n=1, cutoff=0)
    return f'no such parameter; the nearest is "{known[far[0]]}"; if it is not meant, leave it out'


def _advised(advice: Advice, value: Any, scope: Scope | None) -> str:
    """Return an advice in words, with the value that was given."""
    homes = {TABLE[name].scope for name in advice.write}
    where = "".join(f" in {_SCOPES[home]}" for home in homes if scope not in (None, home))
    return advice.text({name: _adopted(name, wanted, value) for name, wanted in advice.write.items()}, where)


def _adopted(name: str, wanted: Any, value: Any) -> str:
    """Value that a parameter is to be set to, as text; dots where that has to be found by the user."""
    row = TABLE[name]
    if isinstance(wanted, GivenValue):
        wanted = wanted.of(_plain(value))
        if isinstance(wanted, str):
            wanted = WORDS.get(name, {}).get(fold(wanted), wanted)
    try:
        shown = show(wanted) if row.is_available(row.read(wanted)) else f"... (today {row.today})"
    except (ValueError, OverflowError):
        return f"... ({row.allowed if row.today == 'all' else row.today})"
    return "..." if shown.startswith("<") else shown


def _foreign_word(name: str, value: Any) -> str:
    """Advice on a word of another library, if there is any."""
    word = WORDS.get(name, {}).get(fold(value), "") if isinstance(value, str) else ""
    return word if " " in word or not word else f"write {show(word)}"


def effective(parameters: Mapping[str, Any], *, task: Task, n_classes: int | None = None) -> dict[str, Any]:
    """
    Replace automatic choices by what they became (algorithm.md#automatic-choices).

    Parameters
    ----------
    parameters : mapping
        As `validate` returns them.
    task : {"classification", "regression", "autoencoder"}
        What is learned.
    n_classes : int or None
        Number of classes; needed for classification.

    Returns
    -------
    dict
        The same parameters. What depends on the machine stays as it is, a random_state of None too.
    """
    e = dict(parameters)
    if e["distribution"] == "auto" and task == "classification":
        assert n_classes is not None, "the distribution of classes depends on their number"
        e["distribution"] = "bernoulli" if n_classes == 2 else "multinomial"
    elif e["distribution"] == "auto":
        families = {"absolute": "laplace", "quantile": "quantile", "huber": "huber"}
        e["distribution"] = families.get(e["loss"], "gaussian")
    if e["loss"] == "automatic" and _LOSSES_OF[e["distribution"]]:
        e["loss"] = _LOSSES_OF[e["distribution"]][0]

    if e["hidden_dropout_ratios"] is None:
        e["hidden_dropout_ratios"] = (0.5 if e["activation"].endswith("_with_dropout") else 0.0,) * len(e["hidden"])
    if e["categorical_encoding"] == "auto":
        e["categorical_encoding"] = "one_hot_internal"
    if task == "autoencoder":
        e["use_all_factor_levels"] = True

    if e["reproducible"]:  # nothing may depend on the clock or on the number of threads
        e |= {"force_load_balance": True, "score_each_iteration": True, "replicate_training_data": False}
        if e["train_samples_per_iteration"] == -2:
            e["train_samples_per_iteration"] = -1

    if e["stopping_metric"] == "auto":
        e["stopping_metric"] = "mse" if task == "autoencoder" else loss_of(task)
    if e["nfolds"]:
        e["overwrite_with_best_model"] = False  # the model of all rows holds none out to be judged by
        if e["fold_assignment"] == "auto":
            e["fold_assignment"] = "random"
    return e


def warnings_for(parameters: Mapping[str, Any]) -> list[str]:
    """List what was changed from its default and has no effect; `parameters` are as `validate` returns them."""
    values = _with_defaults(parameters)
    p = SimpleNamespace(**values)
    return [
        f"{_settings([name], values)} has no effect: {rule.text}"
        for rule in NO_EFFECT
        if rule.applies(p)
        for name in rule.names
        if not TABLE[name].is_default(values[name])
    ]


def numpydoc() -> str:
    """Write the "Parameters" section of the constructors' docstrings."""
    lines = ["Parameters", "----------"]
    for row in TABLE.values():
        if row.scope == "constructor":
            limits = "" if row.available == "all" else f" Available today: {row.today}."
            lines += [f"{row.name} : {row.allowed}, default={show(row.default)}"]
            lines += textwrap.wrap(row.doc + limits, 110, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def document() -> str:
    """Write docs/reference/parameters.md."""
    lines = [
        "# Parameters",
        "",
        "Names, meanings and defaults are those of H2O Deep Learning, except that `shuffle_training_data` is on and",
        "`replicate_training_data` is off. Words ignore case and underscores: `RectifierWithDropout` is",
        "`rectifier_with_dropout`. All mistakes are named at once, before any work begins.",
        "",
        "*Today* lists the values that are accepted; other legal ones are refused as not available yet.",
        "",
        "*Restart* tells what becomes of a changed value when a training goes on from `checkpoint`:",
        "",
        *(f"- {word}: {meaning}" for word, meaning in RESTART.items()),
    ]
    for group, _, rows in _SECTIONS:
        lines += ["", f"## {group}", "", "| Name | Allowed | Default | Meaning | Today | Restart |", "|---" * 6 + "|"]
        for row in (TABLE[name] for name, *_ in rows):
            cells = (f"`{row.name}`", row.allowed, f"`{show(row.default)}`", row.doc, row.today, row.restart)
            lines += [f"| {' | '.join(cells)} |"]
    lines += ["", "## Names of other libraries", ""]
    lines += [
        "Names that are no parameter here are refused, and answered with what to write; `v` is the value given.",
        "",
    ]
    lines += ["| Name | Write |", "|---|---|"]
    for synonym in {synonym.names: synonym for synonym in SYNONYMS.values()}.values():
        write = synonym.advice.write
        values = {name: str(value) if isinstance(value, GivenValue) else show(value) for name, value in write.items()}
        text = synonym.advice.text({name: "..." if value[0] == "<" else value for name, value in values.items()})
        lines += [f"| {', '.join(f'`{name}`' for name in synonym.names)} | {text} |"]
    for title, rules in (("What does not go together", CONFLICTS), ("What has no effect by itself", NO_EFFECT)):
        lines += ["", f"## {title}", ""]
        for rule in rules:
            text = f"- {', '.join(f'`{name}`' for name in rule.names)}: {rule.text}"
            lines += textwrap.wrap(text, 120, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.stdout.write(document())
