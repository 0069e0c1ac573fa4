"""Why is a flight expected to be late, and a claim to cost what it does? Answers of two models are explained, and drawn.

python examples/explain.py [FOLDER]       flights.png and claims.png; the tables are read from DASK_DL_DATA
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from dask_dl import DeepLearningClassifier, DeepLearningRegressor

FOLDER = Path(os.environ["DASK_DL_DATA"])
#: What is known before a flight: the columns after it (DepDelay, ArrTime, ...) would tell the delay.
BEFORE = ["Month", "DayofMonth", "DayOfWeek", "CRSDepTime", "CRSArrTime", "UniqueCarrier", "Origin", "Dest", "Distance"]
#: Numbers that are names.
NAMES = ["Month", "DayOfWeek"]


def flights() -> tuple[pd.DataFrame, pd.DataFrame]:
    """(training rows, others) of the airlines' table."""
    table = pd.read_csv(FOLDER / "airlines_2k.zip", encoding="latin-1", low_memory=False)[[*BEFORE, "IsDepDelayed"]]
    table = table.astype(dict.fromkeys(NAMES, str)).sample(frac=1, random_state=1, ignore_index=True)
    return table[:30_000], table[30_000:]


def explain_flights(folder: Path) -> None:
    train, test = flights()
    model = DeepLearningClassifier(hidden=(100, 100), epochs=5, reproducible=True, random_state=1)
    model.fit(train, "IsDepDelayed")
    worth = model.permutation_importance(test, n_repeats=3)
    print(worth[["importance", "deviation"]].round(4).to_string())
    figure, panels = plt.subplots(2, 2, figsize=(14, 8), layout="constrained")
    model.plot_importances(worth, ax=panels[0, 0])
    late = model.predict_proba(test)[:, 1]
    flight = test.iloc[[int(np.argmax(late))]]
    model.plot_contributions(flight, background=train, ax=panels[0, 1])
    model.plot_partial_dependence(test, ["CRSDepTime", "UniqueCarrier"], ax=panels[1])
    figure.savefig(folder / "flights.png", dpi=72)
    found = model.contributions(flight, background=train).iloc[0].drop("BiasTerm")
    print(f"\nthe flight most likely to be late ({late.max():.0%}), the reasons:")
    print(found.reindex(found.abs().sort_values(ascending=False).index)[:4].round(2).to_string())


def explain_claims(folder: Path) -> None:
    table = pd.read_csv(FOLDER / "insurance.csv").astype({"District": str})
    table["holders"] = np.log(table["Holders"])
    model = DeepLearningRegressor(
        hidden=(20,), distribution="tweedie", tweedie_power=1.5, epochs=300, reproducible=True, random_state=1
    )
    model.fit(table[["District", "Group", "Age", "holders", "Claims"]], "Claims", offset="holders")
    figure, panels = plt.subplots(1, 3, figsize=(14, 3.8), layout="constrained")
    model.plot_partial_dependence(table, ["Age", "Group"], offset="holders", ax=panels[:2])
    model.plot_residuals(table, offset="holders", ax=panels[2])
    figure.savefig(folder / "claims.png", dpi=72)
    age = model.partial_dependence(table, "Age", offset="holders").to_pandas().set_index("Age")["average"]
    print(f"\nclaims by age, all else as it is:\n{age.round(1).to_string()}")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    explain_flights(folder)
    explain_claims(folder)


if __name__ == "__main__":
    main()
