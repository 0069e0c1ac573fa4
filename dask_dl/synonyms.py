"""
Names and words that people bring from scikit-learn, XGBoost, LightGBM, Keras, PyTorch and H2O, and what to write instead.

`SYNONYMS` is about names that are no parameter here, `WORDS` about values of those that are. Nothing is accepted by
these tables: they only answer, so that a script never means something else than it says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class GivenValue(NamedTuple):
    """The value that was given, where a parameter takes it: `factor * value ** power` of a number, other values as they are."""

    factor: float = 1.0
    power: int = 1
    times: int = 1  #: so often in a tuple

    def of(self, value: Any) -> Any:
        """Value that the parameter takes."""
        if self == VALUE or isinstance(value, bool) or not isinstance(value, (int, float)):
            return value
        number = value if self.factor == self.power == 1 else float(f"{self.factor * value**self.power:.6g}")
        return number if self.times == 1 else (number,) * self.times

    def __str__(self) -> str:
        number = "v" + f" * {self.factor:g}" * (self.factor != 1) + f" ** {self.power}" * (self.power != 1)
        return number if self.times == 1 else f"({', '.join([number] * self.times)})"


VALUE: Final = GivenValue()


@dataclass(frozen=True)
class Advice:
    """Advice on a name: parameters with their values to write instead, and a note on them; without any, leave it
    out.
    """

    write: Mapping[str, Any] = field(
        default_factory=dict
    )  #: parameter -> value; `GivenValue` is made of the value given
    note: str = ""

    def text(self, values: Mapping[str, str], where: str = "") -> str:
        """Return it in words, with the values as they are to be written, and where."""
        if not self.write:
            return f"leave it out; {self.note}"
        first, *others = (f"{name}={values[name]}" for name in self.write)
        rest = f", with {' and '.join(others)}" if others else ""
        return f"write {first}{rest}{where}{f' ({self.note})' if self.note else ''}"


def _write(note: str = "", **parameters: Any) -> Advice:
    return Advice(MappingProxyType(parameters), note)


def _nothing(note: str) -> Advice:
    return Advice(note=note)


@dataclass(frozen=True)
class Synonym:
    """Names that mean the same, the advice for them, and other advice for some of their values."""

    names: Sequence[str]
    advice: Advice
    by_value: Mapping[Any, Advice] = field(
        default_factory=dict
    )  #: flags, also for 0, and words, in lower case without underscores; "nan"

    def advice_for(self, value: Any) -> Advice:
        """Return what to answer to a value."""
        key = fold(value) if isinstance(value, str) else value
        if isinstance(key, (int, float)):
            key = "nan" if math.isnan(key) else key or False  # 0 is a flag, too
        plain = key is None or isinstance(key, (str, bool))
        return self.by_value.get(key, self.advice) if plain else self.advice


def fold(word: str) -> str:
    """Return a word as it is compared: case and underscores do not matter."""
    return word.replace("_", "").casefold()


# ---------------------------------------------------------------------------------------------------------------------
# Words that are values of parameters: parameter -> foreign word, folded -> legal word, or a sentence where there is none

_SQUARES = (
    "mse",
    "squarederror",
    "meansquarederror",
    "squaredloss",
    "l2",
    "mseloss",
    "leastsquares",
    "reg:squarederror",
)
_ABSOLUTES = ("mae", "absoluteerror", "meanabsoluteerror", "l1", "l1loss", "reg:absoluteerror")
_ENTROPIES = (
    "logloss", "crossentropy", "binarycrossentropy", "categoricalcrossentropy", "sparsecategoricalcrossentropy",
    "bce", "nll", "nllloss", "crossentropyloss", "bcewithlogitsloss", "logistic", "softmax",
)  # fmt: skip
_NO_UNIT = 'there is none; the nearest is "{}"'

WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "activation": {
        "relu": "rectifier", "rectified": "rectifier", "rectifiedlinear": "rectifier", "hyperbolictangent": "tanh",
        "reluwithdropout": "rectifier_with_dropout", "dropout": "rectifier_with_dropout",
        **dict.fromkeys(("logistic", "sigmoid", "softsign", "hardsigmoid"), _NO_UNIT.format("tanh")),
        **dict.fromkeys(
            ("leakyrelu", "prelu", "elu", "selu", "gelu", "silu", "swish", "mish", "softplus", "relu6"),
            _NO_UNIT.format("rectifier"),
        ),
        **dict.fromkeys(("identity", "linear", "none"), "linear units are as good as no hidden layers: write hidden=()"),
        "softmax": 'it is the function of a classifier\'s output in any case; hidden units take "rectifier"',
    },
    "loss": {
        **dict.fromkeys(_SQUARES, "quadratic"), **dict.fromkeys(_ABSOLUTES, "absolute"),
        **dict.fromkeys(_ENTROPIES, "cross_entropy"),
        "huberloss": "huber", "smoothl1": "huber", "pinball": "quantile", "auto": "automatic", "none": "automatic",
        **dict.fromkeys(("poisson", "gamma", "tweedie"), "it is a distribution: write distribution with that word"),
    },
    "distribution": {
        **dict.fromkeys(("normal", *_SQUARES), "gaussian"), **dict.fromkeys(_ABSOLUTES, "laplace"),
        **dict.fromkeys(("binary", "binomial", "binary:logistic", "logistic"), "bernoulli"),
        **dict.fromkeys(("multiclass", "categorical", "softmax", "multi:softmax", "multi:softprob"), "multinomial"),
        "count:poisson": "poisson", "reg:gamma": "gamma", "reg:tweedie": "tweedie", "pinball": "quantile",
        "reg:quantileerror": "quantile", "reg:pseudohubererror": "huber", "automatic": "auto",
    },
    "stopping_metric": {
        **dict.fromkeys(("loss", "valloss", "validationloss", "trainloss"), "auto"),
        **dict.fromkeys(("mlogloss", "neglogloss", *_ENTROPIES[1:9]), "logloss"),
        **dict.fromkeys(("accuracy", "acc", "valaccuracy", "valacc", "error", "merror", "binaryerror", "multierror",
                         "zerooneloss", "classificationerror", "balancedaccuracy"), "misclassification"),
        **dict.fromkeys(("l2", "meansquarederror", "negmeansquarederror", "squarederror"), "mse"),
        **dict.fromkeys(("rootmeansquarederror", "negrootmeansquarederror"), "rmse"),
        **dict.fromkeys(("l1", "meanabsoluteerror", "negmeanabsoluteerror", "absoluteerror"), "mae"),
        "r2": "mse",
    },
    "initial_weight_distribution": {
        **dict.fromkeys(("xavier", "glorot", "glorotuniform", "xavieruniform", "glorotnormal", "he", "heuniform",
                         "henormal", "kaiming", "kaiminguniform", "kaimingnormal", "lecun", "lecunnormal"),
                        "uniform_adaptive"),
        **dict.fromkeys(("gaussian", "randomnormal", "truncatednormal"), "normal"), "randomuniform": "uniform",
    },
    "missing_values_handling": {
        **dict.fromkeys(("mean", "impute", "imputation", "fill"), "mean_imputation"),
        **dict.fromkeys(("drop", "dropna", "omit", "ignore", "remove"), "skip"),
        "median": 'there is none; "mean_imputation" takes the mean',
    },
    "categorical_encoding": {
        **dict.fromkeys(("onehot", "one-hot", "onehotencoder", "onehotexplicit", "dummy", "dummies"), "one_hot_internal"),
        **dict.fromkeys(("label", "ordinal", "ordinalencoder", "integer", "enum"), "label_encoder"),
        **dict.fromkeys(("target", "targetencoder", "mean"), "sort_by_response"),
        "hash": "write max_categorical_features with the number of inputs: beyond it levels share inputs by hashing",
    },
    "storage": {"ram": "memory", "file": "disk", "ssd": "disk", "none": "stream", "source": "stream"},
}  # fmt: skip

# ---------------------------------------------------------------------------------------------------------------------
# Names

_ADADELTA = _nothing(
    "ADADELTA (adaptive_rate=True, the default) takes its place; adaptive_rate=False is SGD, by rate and momentum_stable"
)
_SGD = _write("with rate and, for momentum, momentum_start and momentum_stable", adaptive_rate=False)
_OF_TREES = _nothing("it belongs to trees; sizes of a network are given by hidden")
_OF_DATA = _nothing("it is seen from the data")
_HARDWARE = _nothing("it trains on the cores of this machine, or of a Dask cluster by client")
_BALANCED = _write("or give sample_weight to fit, a weight for every row", balance_classes=True)
_NO_STOPPING = _write(stopping_rounds=0)
_SPLIT = _write("split the table first, with sklearn.model_selection.train_test_split", eval_set=...)
_STOPPING = _write("it is on by default; eval_set in fit makes it go by validation rows", stopping_rounds=5)
_ROUNDS = _write(
    "means over an epoch, of small tables over 1,000 rows; of the validation rows, with eval_set in fit",
    stopping_rounds=VALUE,
)
_COLUMN = "the name of a column of X, or its values"

#: (names, advice[, advice by value])
_ENTRIES: Final[Sequence[tuple[Any, ...]]] = (
    # Network
    (("hidden_layer_sizes hidden_layers hidden_units hidden_dims hidden_dim hidden_size hidden_sizes n_hidden num_hidden "
     "layers layer_sizes layer_units units neurons n_units num_units n_neurons architecture"), _write(hidden=VALUE)),
    ("n_layers num_layers n_hidden_layers num_hidden_layers depth",
     _nothing("hidden has a number for every hidden layer: (200, 200) are two layers of 200 units")),
    ("activation_function activations act act_fn nonlinearity hidden_activation", _write(activation=VALUE)),
    ("out_activation last_activation final_activation link",
     _nothing("it follows the task and the distribution")),
    ("kernel_initializer initializer weight_init init weights_init init_method", _write(initial_weight_distribution=VALUE)),
    ("coefs_init coef_init", _write("a matrix (inputs, units) for every layer", initial_weights=...)),
    ("biases bias_init intercepts_init intercept_init", _write("a vector (units,) for every layer", initial_biases=...)),
    ("use_bias fit_intercept bias intercept intercept_scaling bias_initializer", _nothing("units have biases in any case")),
    (("input_dim input_shape n_features n_features_in in_features num_features n_inputs output_dim out_features n_outputs "
     "num_class num_classes n_classes classes feature_name feature_names feature_types"), _OF_DATA),

    # Optimiser
    (("epoch n_epochs num_epochs max_epochs nb_epoch epochs_num max_iter n_iter num_iter max_iterations n_iterations "
     "n_estimators num_boost_round num_iterations num_rounds num_round n_rounds ntrees iterations"),
     _write("passes over the training rows", epochs=VALUE)),
    ("learning_rate learning_rate_init lr learn_rate eta eta0 step_size base_lr initial_learning_rate",
     _write("by default every weight finds a rate of its own", rate=VALUE, adaptive_rate=False),
     {"constant": _write(adaptive_rate=False, rate_annealing=0),
      "invscaling": _write("the rate is divided by 1 + rate_annealing * rows", adaptive_rate=False, rate_annealing=1e-6),
      "adaptive": _nothing("adaptive_rate=True is the default"), "optimal": _nothing("adaptive_rate=True is the default")}),
    ("solver optimizer optimiser optim algorithm", _ADADELTA,
     {"sgd": _SGD, "momentum": _SGD, "nesterov": _SGD, "adadelta": _nothing("adaptive_rate=True is the default: ADADELTA")}),
    ("momentum", _write(momentum_start=VALUE, momentum_stable=VALUE, adaptive_rate=False)),
    ("nesterov nesterovs_momentum use_nesterov", _write(nesterov_accelerated_gradient=VALUE)),
    ("beta_1 beta_2 betas amsgrad max_fun", _ADADELTA),
    ("eps adam_epsilon", _write(epsilon=VALUE)),
    ("lr_decay decay learning_rate_decay power_t lr_scheduler learning_rate_schedule schedule lr_schedule",
     _write("the rate is divided by 1 + rate_annealing * rows", rate_annealing=1e-6, adaptive_rate=False)),
    ("batch_size mini_batch batch n_batch per_device_train_batch_size", _write(mini_batch_size=VALUE),
     {"auto": _write("as scikit-learn's auto", mini_batch_size=200), None: _write(mini_batch_size=32)}),
    ("shuffle shuffle_data", _write(shuffle_training_data=VALUE)),
    (("steps_per_epoch validation_steps validation_batch_size validation_freq initial_epoch max_queue_size "
     "use_multiprocessing"), _nothing("an epoch is a pass over all rows, and epochs counts them")),
    ("seed random_seed rng random_number_seed random seed_value generator", _write(random_state=VALUE)),
    ("deterministic deterministic_histogram force_row_wise", _write("with random_state", reproducible=VALUE)),

    # Regularisation
    ("alpha", _write("if it is scikit-learn's, which is divided by the rows of a batch, 200; XGBoost's is l1",
                     l2=GivenValue(1 / 200))),
    (("weight_decay reg_lambda lambda lambda_l2 reg_l2 l2_reg l2_regularization l2_penalty l2_leaf_reg kernel_regularizer "
     "regularization reg ridge"), _write("a penalty per row on half the squares", l2=VALUE)),
    ("reg_alpha lambda_l1 reg_l1 l1_reg l1_regularization l1_penalty lasso", _write("a penalty per row", l1=VALUE)),
    ("C", _nothing("it is the inverse of a penalty: l2 is the penalty, 1e-5 for instance")),
    ("bias_regularizer activity_regularizer bias_constraint", _nothing("l1 and l2 hold for weights and biases alike")),
    ("penalty l1_ratio", _nothing("l1 and l2 are the strengths of both penalties"),
     {"l1": _write(l1=1e-5), "l2": _write(l2=1e-5)}),
    ("dropout dropout_rate dropout_p dropout_ratio hidden_dropout hidden_dropout_ratio p_dropout dropouts",
     _write("a ratio for every hidden layer", hidden_dropout_ratios=GivenValue(times=2), activation="rectifier_with_dropout"),
     {False: _nothing("there is none by default")}),
    ("input_dropout input_dropout_rate", _write(input_dropout_ratio=VALUE)),
    ("max_norm kernel_constraint", _write("the square of the norm", max_w2=GivenValue(power=2))),
    ("clipnorm clipvalue grad_clip gradient_clip gradient_clip_val clip_grad_norm global_clipnorm",
     _nothing("max_w2 limits the weights of a unit instead, max_w2=10 for instance")),
    ("use_ema ema_momentum average", _nothing("overwrite_with_best_model=True, the default, keeps the best network")),
    ("module model estimator network", _nothing("hidden and activation describe the network")),
    ("batch_norm batch_normalization use_bn layer_norm normalization residual", _nothing("there is no such layer")),

    # Data
    ("standardise normalize normalise scale scaling scaler preprocessing", _write(standardize=VALUE)),
    ("missing missing_values nan_mode use_missing imputer imputation na_handling nan_handling handle_missing na_action",
     _write(missing_values_handling=VALUE), {"nan": _nothing("NaN, None and NaT are missing values")}),
    ("categorical_feature categorical_features cat_features cat_cols categorical categorical_columns",
     _nothing('strings and categoricals are categories: X.astype({"column": "category"})')),
    ("enable_categorical", _nothing("strings and categoricals are categories in any case")),
    ("encoding encoder categorical_encoder", _write(categorical_encoding=VALUE)),
    ("max_bin max_bins n_bins max_cat_to_onehot max_cat_threshold", _OF_TREES),

    # Objective
    ("criterion loss_function loss_fn", _write(loss=VALUE)),
    ("obj feval", _nothing("the loss follows distribution and loss")),
    ("objective application family distribution_family", _write(distribution=VALUE),
     dict.fromkeys((*_ENTROPIES, "binary", "multiclass", "binary:logistic", "multi:softmax", "multi:softprob", "entropy"),
                   _nothing("a classifier takes cross entropy"))),
    ("quantile tau quantile_level", _write(quantile_alpha=VALUE, distribution="quantile")),
    ("delta huber_delta huber_slope", _nothing("huber_alpha is the quantile of the residuals at which huber turns linear")),
    ("tweedie_variance_power variance_power var_power p_tweedie", _write(tweedie_power=VALUE, distribution="tweedie")),
    ("class_weight class_weights is_unbalance is_unbalanced auto_class_weights",
     _nothing("give sample_weight to fit, a weight for every row, or use balance_classes=True"),
     {"balanced": _BALANCED, "balancedsubsample": _BALANCED, "auto": _BALANCED, "sqrtbalanced": _BALANCED, True: _BALANCED,
      False: _nothing("rows count alike by default"), None: _nothing("rows count alike by default")}),
    ("scale_pos_weight pos_weight",
     _nothing("give sample_weight to fit, larger for the rows of that class, or use balance_classes=True")),

    # Stopping, scoring, output
    ("early_stopping use_early_stopping do_early_stopping early_stop",
     _ROUNDS, {True: _STOPPING, "auto": _STOPPING, False: _NO_STOPPING, None: _NO_STOPPING}),
    ("n_iter_no_change early_stopping_rounds early_stopping_round patience early_stopping_patience od_wait",
     _ROUNDS, {None: _NO_STOPPING, False: _NO_STOPPING}),
    ("tol tolerance min_delta early_stopping_min_delta early_stopping_threshold",
     _write("relative to the metric", stopping_tolerance=VALUE)),
    ("eval_metric metric metrics scoring monitor early_stopping_metric stopping_criterion eval_metrics",
     _write(stopping_metric=VALUE)),
    ("restore_best_weights use_best_model save_best_only load_best save_best load_best_model_at_end",
     _write(overwrite_with_best_model=VALUE)),
    ("validation_fraction validation_split val_split valid_fraction train_split test_size val_size holdout", _SPLIT),
    (("validation_data valid_data val_data eval_data eval_sets valid_sets evals validation validation_set eval_dataset "
     "X_val y_val X_valid validation_table"), _write(eval_set=...)),
    ("sample_weight_eval_set eval_sample_weight eval_class_weight base_margin_eval_set eval_init_score eval_names",
     _write("(X, y, weight, offset), with what a validation row has", eval_set=...)),
    ("verbosity verbose_eval log_level debug print_progress progress progress_bar show_progress",
     _write(verbose=VALUE)),
    ("silent silent_mode quiet logging_level", _write("it is the default", verbose=False),
     {False: _write(verbose=True)}),
    ("log_interval print_every eval_freq eval_every eval_period metric_period log_every log_period score_every evaluation_freq",
     _nothing("score_interval has the seconds between two scorings, 5 by default, of which verbose=True prints each")),
    ("time_limit timeout time_budget max_time max_runtime max_train_time train_time_limit",
     _write("seconds", max_runtime_secs=VALUE)),
    ("evals_result history", _nothing("history_ has every scoring")),
    ("loss_weights weighted_metrics", _nothing("sample_weight counts in the loss and in all metrics")),
    ("importance_type", _nothing("there is one kind of importances")),

    # Going on
    ("init_model xgb_model initial_model pretrained pretrained_model start_model base_model",
     _write("a fitted estimator, or the path of a saved model; epochs counts those done, too", checkpoint=VALUE)),
    ("checkpoint_path checkpoint_folder checkpoints_dir model_dir save_dir output_dir snapshot_dir ckpt_dir train_dir",
     _write("where the state of training is saved as it goes; save(path) writes the model", checkpoint_dir=VALUE)),
    ("save_interval snapshot_interval checkpoint_freq checkpoint_every save_steps",
     _write("seconds", checkpoint_interval=VALUE)),

    # Where it trains
    (("n_threads nthread num_threads num_thread thread_count threads n_cores num_cores n_cpus jobs num_jobs "
     "num_workers workers n_workers"),
     _write("threads of a process; for processes and machines there is client", n_jobs=VALUE)),
    ("cluster dask_client scheduler scheduler_address address", _write("a dask.distributed.Client", client=...)),
    (("device device_type gpu gpu_id use_gpu task_type gpu_platform_id gpu_device_id dtype precision compute_dtype float32 "
     "n_gpus accelerator"), _HARDWARE),
    (("booster tree_method boosting boosting_type grow_policy max_depth max_leaves max_leaf_nodes num_leaves min_child_weight "
     "min_child_samples min_samples_leaf min_samples_split min_data_in_leaf min_split_gain gamma subsample subsample_freq "
     "colsample_bytree colsample_bylevel colsample_bynode bagging_fraction bagging_freq feature_fraction max_features "
     "max_samples max_delta_step num_parallel_tree base_score monotone_constraints monotonic_cst interaction_constraints "
     "interaction_cst sampling_method multi_strategy min_rows sample_rate col_sample_rate oob_score bootstrap "
     "min_weight_fraction_leaf min_impurity_decrease ccp_alpha subsample_for_bin data_sample_strategy feature_weights"),
     _OF_TREES),
    ("cv num_folds kfold n_splits", _nothing("use sklearn.model_selection.cross_val_score(model, X, y, cv=5)")),

    # Arguments of fit
    ("weight weights weights_column sample_weights case_weights instance_weight row_weights w",
     _write(_COLUMN, sample_weight=VALUE)),
    ("offset_column base_margin init_score exposure baseline",
     _write(_COLUMN + "; of an exposure its logarithm", offset=VALUE)),
    ("fold_column groups group fold", _nothing("folds are not available yet; sklearn.model_selection has cross_val_score")),
    ("validation_frame", _write("a frame with the same columns", eval_set=...)),
    ("training_frame train_data train_set training_data train dtrain dataset data train_dataset df",
     _nothing("give the table to fit: fit(X, y)")),
    ("target label labels response response_column target_column y label_column",
     _nothing("give the target to fit: fit(X, y), as values or as the name of a column of X")),
    ("x ignored_columns ignore_columns drop_columns exclude features feature_columns columns predictors",
     _nothing("give fit the columns to learn from: fit(X[columns], y)")),
    ("callback", _write("a list of callables", callbacks=...)),
    (("dual precompute positive selection maximize mode first_metric_only validate_parameters jit_compile run_eagerly compile "
      "use_caching torch_load_kwargs compile_kwargs iterator_train iterator_valid params kwargs"),
     _nothing("nothing here depends on it")),
    ("check_input copy copy_X X_train y_train", _nothing("fit(X, y) takes the table as it is")),
    ("model_id model_name name max_confusion_matrix_size", _nothing("nothing depends on it; save(path) names a model")),
    ("autoencoder", _nothing("DeepLearningAutoEncoder is one"),
     {False: _nothing("DeepLearningClassifier and DeepLearningRegressor are none")}),
)  # fmt: skip

SYNONYMS: Final[Mapping[str, Synonym]] = {
    fold(name): Synonym(tuple(names.split()), *rest) for names, *rest in _ENTRIES for name in names.split()
}
