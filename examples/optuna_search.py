"""An Optuna study of networks: hopeless ones are pruned while they train, and a study that was killed goes on.

python examples/optuna_search.py [TRIALS] [FILE]        pip install optuna

Each trial trains on one table that is read and encoded once. A callback reports every scoring to Optuna, and raises
TrialPruned where others had been better by then. Trials are kept in FILE, study.log by default: run the same line again
after a crash or Ctrl-C, and TRIALS counts those that are there.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import dask_dl
from dask_dl import DeepLearningClassifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

try:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
except ImportError:
    optuna = None

FIXED = {"epochs": 10, "random_state": 1, "mini_batch_size": 16, "score_each_iteration": True, "on_interrupt": "raise"}


def reporter(trial: Any) -> Callable[[Mapping[str, Any]], None]:
    """What `fit` calls after every scoring: it tells Optuna the loss, and ends trials that are to be pruned."""

    def report(record: Mapping[str, Any]) -> None:
        trial.report(record["validation_logloss"], step=record["iterations"])
        if trial.should_prune():
            raise optuna.TrialPruned

    return report


def main(n_trials: int = 12, file: str = "study.log") -> None:
    if optuna is None:
        print("Optuna is not installed: pip install optuna")
        return
    X, y = load_digits(return_X_y=True, as_frame=True)
    X_train, X_valid, y_train, y_valid = train_test_split(X, y.astype(str), random_state=1)
    data = dask_dl.prepare(X_train, y_train, eval_set=(X_valid, y_valid))

    def objective(trial: Any) -> float:
        width, depth = trial.suggest_int("width", 8, 128, log=True), trial.suggest_int("depth", 1, 3)
        model = DeepLearningClassifier(
            hidden=(width,) * depth,
            input_dropout_ratio=trial.suggest_float("input_dropout_ratio", 0.0, 0.3),
            l2=trial.suggest_float("l2", 1e-7, 1e-2, log=True),
            rho=trial.suggest_float("rho", 0.9, 0.999),
            **FIXED,
        )
        model.fit(data, callbacks=[reporter(trial)])
        return float(model.best_score_)

    study = optuna.create_study(
        study_name="digits",
        storage=JournalStorage(JournalFileBackend(file)),
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
    )
    State = optuna.trial.TrialState
    ended = (State.COMPLETE, State.PRUNED)  # one that was killed stays "running"
    before = len(study.get_trials(states=ended))
    study.sampler = optuna.samplers.TPESampler(seed=before)  # the same seed again would repeat the first trials
    study.optimize(objective, n_trials=max(0, n_trials - before))
    n_pruned = len(study.get_trials(states=(State.PRUNED,)))
    print(f"{len(study.get_trials(states=ended))} trials, {before} of them there before, {n_pruned} pruned")
    print(f"best loss {study.best_value:.4f}: {study.best_params}")


if __name__ == "__main__":
    main(*[cast(given) for cast, given in zip((int, str), sys.argv[1:], strict=False)])
