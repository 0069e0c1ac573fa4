"""Follow a training in MLflow: a callback that logs every scoring. Without MLflow the same lines are printed.

python examples/mlflow_callback.py        pip install mlflow, to see them in `mlflow ui`
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from dask_dl import DeepLearningClassifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

try:
    import mlflow
except ImportError:
    mlflow = None


def logger() -> Callable[[Mapping[str, Any]], None]:
    """What `fit` calls after every scoring."""

    def log(record: Mapping[str, Any]) -> None:
        numbers = {key: value for key, value in record.items() if isinstance(value, float) and not math.isnan(value)}
        if mlflow is None:
            print(f"round {record['iterations']}: " + ", ".join(f"{key}={value:.4g}" for key, value in numbers.items()))
        else:
            mlflow.log_metrics(numbers, step=record["iterations"])

    return log


def main() -> None:
    X, y = load_digits(return_X_y=True, as_frame=True)
    X_train, X_valid, y_train, y_valid = train_test_split(X, y.astype(str), random_state=1)
    model = DeepLearningClassifier(hidden=(50,), epochs=10, random_state=1, score_each_iteration=True)
    if mlflow is not None:
        mlflow.start_run()
        mlflow.log_params(
            {name: model.get_params()[name] for name in ("hidden", "epochs", "activation", "rho", "epsilon")}
        )
    model.fit(X_train, y_train, eval_set=(X_valid, y_valid), callbacks=[logger()])
    print(f"ended: {model.stopped_by_}; best {model.best_score_:.4f} in round {model.best_iteration_}")
    if mlflow is not None:
        mlflow.end_run()


if __name__ == "__main__":
    main()
