"""Ten real tables, from the folder that DASK_DL_DATA names: how each is read, and what is learned of it.

Rows whose number is divisible by 5 are the test set; of the others every tenth is the validation table, where there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def adult(folder: Path) -> tuple[pd.DataFrame, str]:
    rows = pd.read_csv(folder / "adult.csv.gz", sep=" ", header=None, na_values="?", encoding="latin-1")
    return named(rows), f"c{rows.shape[1] - 1}"


def airlines(folder: Path) -> tuple[pd.DataFrame, str]:
    categories = ["Origin", "Dest", "UniqueCarrier", "Month", "DayofMonth", "DayOfWeek"]
    columns = [*categories, "Distance", "CRSDepTime", "IsDepDelayed"]  # others are known only after the flight
    rows = pd.read_csv(folder / "airlines_2k.zip", encoding="latin-1", low_memory=False, usecols=columns)[columns]
    return rows.astype(dict.fromkeys(categories, "category")), "IsDepDelayed"


def cars(folder: Path) -> tuple[pd.DataFrame, str]:
    rows = pd.read_csv(folder / "cars.csv").drop(columns="name")
    return rows[rows["economy"].notna()].reset_index(drop=True), "economy"


def covtype(folder: Path) -> tuple[pd.DataFrame, str]:
    rows = named(pd.read_csv(folder / "covtype_20k.csv", header=None))
    return rows.astype({"c54": str}), "c54"


def housing(folder: Path) -> tuple[pd.DataFrame, str]:
    rows = pd.read_csv(folder / "cal_housing.csv")
    return rows.assign(medianHouseValue=rows["medianHouseValue"] / 1e5), "medianHouseValue"


def iris(folder: Path) -> tuple[pd.DataFrame, str]:
    return pd.read_csv(folder / "iris.csv"), "class"


def mnist(folder: Path) -> tuple[pd.DataFrame, str]:
    rows = named(pd.read_csv(folder / "mnist_10k.csv.gz", header=None))
    return rows.astype({"c784": str}), "c784"


def prostate(folder: Path) -> tuple[pd.DataFrame, str]:
    return pd.read_csv(folder / "prostate.csv").drop(columns="ID").astype({"CAPSULE": str}), "CAPSULE"


def titanic(folder: Path) -> tuple[pd.DataFrame, str]:
    columns = ["pclass", "sex", "age", "sibsp", "parch", "fare", "embarked", "survived"]
    rows = pd.read_csv(folder / "titanic.csv", encoding="latin-1", usecols=columns)[columns]
    rows = rows[rows["survived"].notna()].reset_index(drop=True)
    return rows.assign(survived=rows["survived"].astype(int).astype(str)), "survived"


def weather(folder: Path) -> tuple[pd.DataFrame, str]:
    rows = pd.read_csv(folder / "weather.csv").drop(columns=["Date", "RISK_MM"])  # the latter is tomorrow's rain
    return rows.astype({"RainTomorrow": str}), "RainTomorrow"


def named(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.set_axis([f"c{k}" for k in range(rows.shape[1])], axis=1)


#: Folder -> (rows, name of the target), by name.
TABLES: dict[str, Callable[[Path], tuple[pd.DataFrame, str]]] = {
    read.__name__: read for read in (adult, airlines, cars, covtype, housing, iris, mnist, prostate, titanic, weather)
}


class Split(NamedTuple):
    """The rows of a table in three parts."""

    train: pd.DataFrame
    valid: pd.DataFrame
    test: pd.DataFrame

    @classmethod
    def of(cls, rows: pd.DataFrame, *, has_validation: bool) -> Split:
        """By the numbers of the rows."""
        is_test = np.arange(len(rows)) % 5 == 0
        train, test = rows[~is_test].reset_index(drop=True), rows[is_test].reset_index(drop=True)
        is_valid = (np.arange(len(train)) % 10 == 9) & has_validation
        return cls(train[~is_valid].reset_index(drop=True), train[is_valid].reset_index(drop=True), test)
