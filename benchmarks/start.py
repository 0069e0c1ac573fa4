"""Held-out loss by the start of the output layer: random as in H2O, random as other layers, or zero; and of insurance claims.

Ten real tables (`real.py`), the defaults but for epochs, one thread, logloss of classes and squared error as a share of the
variance of numbers: medians of eight seeds, and the worst. H2O draws the output weights of a classifier four times as wide as
those of other layers. The last table counts rows until the tweedie deviance of `insurance.csv`, with the number of holders as
exposure, stays below a figure: with output weights and bias as in H2O, and with weights at 0 and the bias at the data.
"""

from __future__ import annotations

import warnings
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from common import ALL_EPOCHS, options, print_machine, print_table, real_tables
from quality import FIXED, Problem, losses, predict
from real import TABLES, Split

from dask_dl import DeepLearningClassifier, DeepLearningRegressor

if TYPE_CHECKING:
    from pathlib import Path

WIDTHS = (4, 1, 0)
FIGURES = (0.8, 0.6, 0.4, 0.2, 0.1, 0.05)  #: the best constant has 0.81


def with_start(model: Any, width: float, *fitted: Any, **more: Any) -> Any:
    """The model, with output weights drawn from `width` times the range of other layers, and an output bias of 0."""
    shape = type(model)(**model.get_params() | {"epochs": 0}).fit(*fitted, **more).coefs_[-1].shape
    reach = width * np.sqrt(6 / sum(shape))
    drawn = np.random.default_rng(model.random_state).uniform(-reach, reach, shape)
    others = [None] * len(model.hidden)
    return model.set_params(initial_weights=[*others, drawn], initial_biases=[*others, np.zeros(shape[1])])


def loss(problem: Problem, width: float, epochs: int, seed: int) -> float:
    estimator = DeepLearningClassifier if problem.is_class else DeepLearningRegressor
    model = estimator(epochs=epochs, random_state=seed, n_jobs=1, **ALL_EPOCHS)
    given = (problem.split.train, problem.target)
    model = with_start(model, width, *given).fit(*given)
    return problem.loss(predict(model, problem.split.test.drop(columns=problem.target)))


def rows_needed(claims: pd.DataFrame, *, is_old: bool, seed: int, epochs: int) -> list[float]:
    """Rows after which the deviance stays below each of FIGURES; infinite where it does not."""
    rounds = {"train_samples_per_iteration": 0, "score_each_iteration": True}
    model = DeepLearningRegressor(
        distribution="tweedie", epochs=epochs, random_state=seed, n_jobs=1, **rounds, **ALL_EPOCHS
    )
    model = with_start(model, 1, claims, "Claims", offset="exposure") if is_old else model
    history = model.fit(claims, "Claims", offset="exposure").history_.dropna(subset="training_deviance")
    rows, deviance = history["samples"].to_numpy(float), history["training_deviance"].to_numpy()
    last = [np.flatnonzero(deviance >= figure).max(initial=-1) for figure in FIGURES]
    return [rows[k + 1] if k + 1 < len(rows) else np.inf for k in last]


def insurance(folder: Path) -> pd.DataFrame:
    rows = pd.read_csv(folder / "insurance.csv").astype({"District": str})
    return rows.assign(exposure=np.log(rows.pop("Holders")))


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--tables", nargs="*", choices=TABLES, default=list(TABLES), help="which ones (all)")
    arguments = parser.parse_args()
    seeds, fixed = (range(2), (1,)) if arguments.quick else (range(8), FIXED)
    print_machine("pandas", "scikit-learn")
    folder = real_tables()
    if folder is None:
        return
    warnings.simplefilter("ignore")
    lines = []
    for name in arguments.tables:
        rows, target = TABLES[name](folder)
        problem = Problem(Split.of(rows, has_validation=False), target)
        for epochs in fixed:
            found = [losses(loss, seeds, problem, width, epochs) for width in WIDTHS]
            lines.append([name, epochs, *(f"{a:.3f} ({b:.2f})" for a, b in found)])
    print_table(["table", "epochs", *map(str, WIDTHS)], lines)
    claims = insurance(folder)
    print()
    lines = []
    for name, is_old in (("as in H2O", True), ("zero, bias at the data", False)):
        found = [
            rows_needed(claims, is_old=is_old, seed=seed, epochs=60 if arguments.quick else 1200) for seed in seeds
        ]
        lines.append([name, *(f"{median(each):,.0f} ({max(each):,.0f})" for each in zip(*found, strict=True))])
    print_table(["rows until the deviance stays below", *map(str, FIGURES)], lines)


if __name__ == "__main__":
    main()
