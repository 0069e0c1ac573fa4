"""Held-out loss on ten real tables, beside scikit-learn's MLP and HistGradientBoosting: median of the seeds, and the worst.

Everything is at its defaults but for epochs, size of batches and number of threads; the MLP has the same hidden layers, adam
and batches of 32. Logloss of classes; of numbers the squared error as a share of the test rows' variance. Epochs are fixed,
or at most 100 with a validation table, early stopping and the best network kept: the MLP's by the loss after each epoch, with
a patience of ten. All have the same split (`real.py`). The constant is what a model without inputs predicts.
"""

from __future__ import annotations

import copy
import json
import sys
import warnings
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from common import ALL_EPOCHS, options, print_machine, print_table, real_tables
from real import TABLES, Split
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from dask_dl import DeepLearningClassifier, DeepLearningRegressor

if TYPE_CHECKING:
    from collections.abc import Callable

HIDDEN = (200, 200)
BATCH = 32
FIXED, STOPPED, PATIENCE = (1, 3, 10), 100, 10
#: Ours, by name: size of batches and threads.
WAYS = {"rows": (1, 1), "rows, 2 threads": (1, 2), "batches": (BATCH, 1), "batches, 2 threads": (BATCH, 2)}


class Problem(NamedTuple):
    """A table that is split, and how predictions of its test rows are judged."""

    split: Split
    target: str

    @property
    def is_class(self) -> bool:
        """Whether classes are learned."""
        return not pd.api.types.is_numeric_dtype(self.split.train[self.target])

    @property
    def classes(self) -> list[str]:
        """In the order of probabilities."""
        return sorted(self.split.train[self.target].unique())

    def parts(self) -> list[tuple[pd.DataFrame, pd.Series[Any]]]:
        """(inputs, target) of each part."""
        return [(rows.drop(columns=self.target), rows[self.target]) for rows in self.split]

    def loss(self, predicted: Any, rows: pd.DataFrame | None = None) -> float:
        """Of probabilities or numbers for the test rows, or others."""
        truth = (self.split.test if rows is None else rows)[self.target]
        if not self.is_class:
            return mean_squared_error(truth, predicted) / float(np.var(self.split.test[self.target]))
        p = np.asarray(predicted, np.float64)
        return log_loss(truth, p / p.sum(axis=1, keepdims=True), labels=self.classes)

    def constant(self) -> float:
        """The loss of a model without inputs."""
        target, n = self.split.train[self.target], len(self.split.test)
        if not self.is_class:
            return self.loss(np.full(n, target.mean()))
        return self.loss(np.tile(target.value_counts(normalize=True).sort_index(), (n, 1)))


def ours(problem: Problem, way: str, epochs: int, seed: int) -> float:
    batch, n_threads = WAYS[way]
    estimator = DeepLearningClassifier if problem.is_class else DeepLearningRegressor
    stops = len(problem.split.valid) > 0
    model = estimator(
        hidden=HIDDEN,
        epochs=epochs,
        mini_batch_size=batch,
        n_jobs=n_threads,
        random_state=seed,
        **({} if stops else ALL_EPOCHS),
    )
    model.fit(problem.split.train, problem.target, eval_set=problem.split.valid if stops else None)
    return problem.loss(predict(model, problem.split.test.drop(columns=problem.target)))


def predict(model: Any, X: Any) -> Any:
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def mlp(problem: Problem, epochs: int, seed: int) -> float:
    (X, y), (X_valid, _), (X_test, _) = problem.parts()
    texts = [name for name in X if not pd.api.types.is_numeric_dtype(X[name])]
    prepare = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts),
        remainder=make_pipeline(SimpleImputer(), StandardScaler()),
    )
    encoded = prepare.fit_transform(X)
    common = {"hidden_layer_sizes": HIDDEN, "batch_size": min(BATCH, len(X)), "random_state": seed}
    if problem.is_class:
        model, mean, deviation = MLPClassifier(**common), 0.0, 1.0
    else:
        model, mean, deviation = MLPRegressor(**common), y.mean(), y.std()
        y = (y - mean) / deviation
    best, minimum, since = model, np.inf, 0
    for _ in range(epochs):
        model.partial_fit(encoded, y, **({"classes": problem.classes} if problem.is_class else {}))
        if len(X_valid):
            answer = predict(model, prepare.transform(X_valid))
            loss = problem.loss(answer if problem.is_class else answer * deviation + mean, problem.split.valid)
            best, minimum, since = (copy.deepcopy(model), loss, 0) if loss < minimum else (best, minimum, since + 1)
            if since >= PATIENCE:
                break
    answer = predict(best, prepare.transform(X_test))
    return problem.loss(answer if problem.is_class else answer * deviation + mean)


def trees(problem: Problem, seed: int) -> float:
    (X, y), (X_valid, y_valid), (X_test, _) = problem.parts()
    texts = [name for name in X if not pd.api.types.is_numeric_dtype(X[name])]
    levels = {name: pd.CategoricalDtype(X[name].dropna().unique()) for name in texts}
    estimator = HistGradientBoostingClassifier if problem.is_class else HistGradientBoostingRegressor
    categorical = [name for name in texts if len(levels[name].categories) <= 255]
    others = [name for name in texts if name not in categorical]

    def encoded(part: pd.DataFrame) -> pd.DataFrame:
        part = part.astype({name: levels[name] for name in texts})
        return part.assign(**{name: part[name].cat.codes for name in others})

    model = estimator(random_state=seed, early_stopping=len(X_valid) > 0, categorical_features=categorical or None)
    held = {"X_val": encoded(X_valid), "y_val": y_valid} if len(X_valid) else {}
    model.fit(encoded(X), y, **held)
    return problem.loss(predict(model, encoded(X_test)))


def losses(run: Callable[..., float], seeds: range, *given: Any) -> tuple[float, float]:
    """(median, worst) over the seeds."""
    found = [run(*given, seed) for seed in seeds]
    return median(found), max(found)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES), help="which ones (all)")
    parser.add_argument("--seeds", type=int, default=8, help="how many (8)")
    arguments = parser.parse_args()
    seeds, fixed = (range(2), (1,)) if arguments.quick else (range(arguments.seeds), FIXED)
    print_machine("pandas", "scikit-learn")
    folder = real_tables()
    if folder is None:
        return
    warnings.simplefilter("ignore")
    lines = []
    for name in arguments.tables:
        rows, target = TABLES[name](folder)
        for epochs, has_validation in [*((n, False) for n in fixed), *([] if arguments.quick else [(STOPPED, True)])]:
            problem = Problem(Split.of(rows, has_validation=has_validation), target)
            found = {way: losses(ours, seeds, problem, way, epochs) for way in WAYS}
            with threadpool_limits(2):
                found["MLP"] = losses(mlp, seeds, problem, epochs)
            found["trees"] = losses(trees, range(1), problem)
            constant = problem.constant()
            until = f"<= {epochs}, stopped" if has_validation else epochs
            lines.append([name, until, *(f"{a:.3f} ({b:.3f})" for a, b in found.values()), f"{constant:.3f}"])
            print(json.dumps([name, epochs, has_validation, found, constant]), file=sys.stderr, flush=True)
    print_table(["table", "epochs", *WAYS, "scikit-learn MLP", "HistGradientBoosting", "constant"], lines)


if __name__ == "__main__":
    main()
