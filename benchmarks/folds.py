"""Cross-validation on two threads: rows and seconds beside one training, five fits of scikit-learn's, and leave-one-out."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pandas as pd
from common import ALL_EPOCHS, FIGURE, figure, options, print_machine, print_table, real_tables
from sklearn.model_selection import StratifiedKFold, cross_val_score

from dask_dl import DeepLearningClassifier, DeepLearningRegressor

SETTINGS = ALL_EPOCHS | {"hidden": (64, 64), "random_state": 1, "n_jobs": 2}
N_FOLDS = 5


def main() -> None:
    """Print figures of several repetitions, taken in turns."""
    quick = options(str(__doc__)).parse_args().quick
    print_machine("scikit-learn")
    folder = real_tables()
    if folder is None:
        return
    warnings.simplefilter("ignore")
    table = pd.read_csv(folder / "covtype_20k.csv")
    target = table.columns[-1]
    X, y = table.drop(columns=target), table[target].astype(str)
    if quick:
        frequent = y.isin(["1", "2"])
        X, y = X[frequent].head(2000), y[frequent].head(2000)
    given = SETTINGS | {"epochs": 1 if quick else 10}
    DeepLearningClassifier(**given | {"epochs": 0.1, "nfolds": 2}).fit(X, y)  # compiles
    seconds: dict[str, list[float]] = {"one": [], "folds": [], "scikit-learn": []}
    rows, errors = [], []
    for _ in range(1 if quick else 3):
        began = time.monotonic()
        one = DeepLearningClassifier(**given).fit(X, y)
        seconds["one"].append(time.monotonic() - began)
        began = time.monotonic()
        model = DeepLearningClassifier(**given, nfolds=N_FOLDS, fold_assignment="stratified").fit(X, y)
        seconds["folds"].append(time.monotonic() - began)
        learned = sum(fold.model_.record.n_seen for fold in model.cross_validation_models_)
        rows.append(learned / one.model_.record.n_seen)
        began = time.monotonic()
        split = StratifiedKFold(N_FOLDS, shuffle=True, random_state=1)
        found = cross_val_score(DeepLearningClassifier(**given), X, y, cv=split)
        seconds["scikit-learn"].append(time.monotonic() - began)
        errors.append((model.metrics_["cross_validation"]["misclassification"], 1 - float(np.mean(found))))
    ratios = [folds / one for folds, one in zip(seconds["folds"], seconds["one"], strict=True)]
    beside = [
        folds / (five + one)
        for folds, five, one in zip(*(seconds[k] for k in ("folds", "scikit-learn", "one")), strict=True)
    ]
    few = pd.read_csv(folder / "cal_housing.csv").head(60 if quick else 400)
    began = time.monotonic()
    alone = DeepLearningRegressor(**ALL_EPOCHS, hidden=(20,), epochs=10, random_state=1, n_jobs=2, nfolds=len(few))
    alone.fit(few.iloc[:, :-1], few.iloc[:, -1])
    left_out = time.monotonic() - began
    print_table(
        FIGURE,
        [
            figure("rows that folds learn, over those of one training", rows, max_value=4.5),
            figure("seconds of 5 folds and the main model, over those of one training", ratios, max_value=3.5),
            figure("the same over cross_val_score with 5 fits, and one more", beside, max_value=1),
            figure(f"seconds of leave-one-out of {len(few)} rows", [left_out], max_value=60),
            figure("error of the rows held out, in %", [100 * mine for mine, _ in errors]),
            figure("the same of cross_val_score", [100 * theirs for _, theirs in errors]),
        ],
    )


if __name__ == "__main__":
    main()
