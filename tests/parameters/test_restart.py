"""Parameters of a training that goes on: what may change, what is refused, and what stays that of the model."""

from __future__ import annotations

import pytest

from dask_dl.errors import ParameterError
from dask_dl.parameters import constructor_defaults, restarted, validate


def going_on(before, now, task="regression", n_classes=None):
    return restarted(before, validate(now, task=task, n_classes=n_classes), task=task, n_classes=n_classes)


def test_what_may_change_is_what_is_asked_for():
    found = going_on({"epochs": 10.0, "verbose": False}, {"epochs": 20, "verbose": True})
    assert found.values == constructor_defaults() | {"epochs": 20.0, "verbose": True} and found.warnings == ()


def test_every_parameter_that_may_not_change_is_named_with_that_of_the_model():
    with pytest.raises(ParameterError, match="2 mistakes") as caught:
        going_on({"hidden": (5,), "standardize": False}, {"hidden": [7]})
    assert [line.partition(":")[0] for line in caught.value.mistakes] == ["hidden=(7,)", "standardize=True"]
    assert "write standardize=False, or train anew" in caught.value.mistakes[1]


def test_another_word_for_the_same_is_no_change():
    assert (
        going_on({}, {"categorical_encoding": "one_hot_internal"}).values["categorical_encoding"] == "one_hot_internal"
    )
    with pytest.raises(
        ParameterError, match=r'categorical_encoding="eigen": .* trained with categorical_encoding="auto"'
    ):
        going_on({}, {"categorical_encoding": "eigen"})


def test_what_is_ignored_stays_that_of_the_model():
    found = going_on({"auc_type": "macro_ovr"}, {"auc_type": "weighted_ovo"}, "classification", 3)
    assert found.values["auc_type"] == "macro_ovr"
    assert found.warnings == (
        'auc_type="weighted_ovo" has no effect: training goes on with that of the model, "macro_ovr".',
    )
    assert going_on({"auc_type": "macro_ovr"}, {}, "classification", 3).warnings == ()  # nobody asked for the default


def test_values_of_another_version_do_not_hinder():
    assert going_on({"storage": "tape", "curvature": 2}, {"epochs": 3}).values["storage"] == "auto"
    with pytest.raises(ParameterError, match=r'1 mistake .*\n.* activation="rectifier": the model was .* activation=3'):
        going_on({"activation": 3}, {})
