"""What the defaults learn of small real tables, whatever the seed."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from dask_dl import DeepLearningClassifier


def prostate(folder):
    return pd.read_csv(folder / "prostate.csv").drop(columns="ID").astype({"CAPSULE": str}), "CAPSULE"


def titanic(folder):
    columns = ["pclass", "sex", "age", "sibsp", "parch", "fare", "embarked", "survived"]
    table = pd.read_csv(folder / "titanic.csv", encoding="latin-1", usecols=columns).dropna(subset="survived")
    return table.astype({"survived": str}).reset_index(drop=True), "survived"


@functools.cache
def held_out(read, folder, **given):
    """Logloss of every fifth row, for five seeds; and of the shares of the classes."""
    table, target = read(folder)
    is_test = table.index % 5 == 0
    train, test = table[~is_test].reset_index(drop=True), table[is_test]
    losses = []
    for seed in range(1, 6):
        model = DeepLearningClassifier(random_state=seed, n_jobs=1, **given).fit(train, target)
        probabilities = model.predict_proba(test.drop(columns=target))
        losses.append(log_loss(test[target], probabilities, labels=list(model.classes_)))
    shares = np.tile(train[target].value_counts(normalize=True).sort_index(), (len(test), 1))
    return np.array(losses), log_loss(test[target], shares)


@pytest.mark.data
@pytest.mark.parametrize("read", [prostate, titanic])
@pytest.mark.parametrize("given", [{"epochs": 1}, {"epochs": 1, "mini_batch_size": 32}, {}], ids=str)
def test_no_seed_is_worse_than_the_constant(read, given, data_folder):
    losses, constant = held_out(read, data_folder, **given)
    assert losses.max() < constant


@pytest.mark.data
@pytest.mark.parametrize(("read", "maximum"), [(prostate, 0.58), (titanic, 0.52)])
def test_the_defaults_are_as_good_as_a_short_training(read, maximum, data_folder):
    """Output weights of four times the range, as in H2O, gave 0.87 and 0.57."""
    assert np.median(held_out(read, data_folder)[0]) < maximum
