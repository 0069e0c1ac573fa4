"""Balanced classes: rare ones are visited more often, and probabilities are those of the table."""

from __future__ import annotations

import numpy as np
import pytest
from training.levels import SETTINGS, make_table, rare

from dask_dl import DeepLearningClassifier
from dask_dl.errors import DaskDLWarning, ParameterError


@pytest.fixture(scope="module")
def table():
    return make_table()


def test_balanced_classes_find_the_rare_one_and_keep_the_priors(table):
    given = SETTINGS | {"epochs": 20}
    usual = DeepLearningClassifier(**given).fit(rare(table), "label")
    balanced = DeepLearningClassifier(**given, balance_classes=True).fit(rare(table), "label")
    counts = table["label"].value_counts()
    expected = 2 * counts["usual"]
    assert abs(balanced.model_.record.n_rows - expected) < 6 * counts["rare"] ** 0.5
    assert usual.model_.record.n_rows == len(table)
    held = make_table(2000, seed=3)
    for model in (usual, balanced):
        share = model.predict_proba(rare(held))[:, 0]
        assert np.asarray(share).mean() == pytest.approx(0.07, abs=0.03)  # as in the table, not a half
        assert np.corrcoef(share, held["label"] == "rare")[0, 1] > 0.5


def test_balance_is_scored_on_the_original_rows(table):
    # H2O scores the resampled rows with corrected probabilities, a mixture that is neither.
    from sklearn.metrics import log_loss

    model = DeepLearningClassifier(**SETTINGS, balance_classes=True, score_training_samples=0)
    model.fit(rare(table), "label")
    shares = model.predict_proba(rare(table)).astype(np.float64)
    expected = log_loss(
        table["label"], shares / shares.sum(axis=1, keepdims=True)
    )  # of float32, they add up to nearly 1
    assert model.history_["training_logloss"].min() == pytest.approx(expected, rel=1e-4)


def test_factors_and_size(table):
    counts = table["label"].value_counts()
    given = SETTINGS | {"epochs": 1, "balance_classes": True}
    one = DeepLearningClassifier(**given, class_sampling_factors=[3, 1]).fit(rare(table), "label")
    assert one.model_.record.n_rows == 3 * counts["rare"] + counts["usual"]
    small = DeepLearningClassifier(**given, max_after_balance_size=0.5).fit(rare(table), "label")
    assert abs(small.model_.record.n_rows - 450) < 6 * 450**0.5
    binary = rare(table).assign(w=np.arange(len(table)) % 2)
    half = DeepLearningClassifier(**given, class_sampling_factors=[3, 1]).fit(binary, "label", sample_weight="w")
    kept = binary.loc[binary["w"] > 0, "label"].value_counts()
    assert half.model_.record.n_rows == 3 * kept["rare"] + kept["usual"]


@pytest.mark.filterwarnings("ignore:balance_classes.*rarely")
@pytest.mark.parametrize(
    ("given", "weights", "message"),
    [
        ({}, "w", "rows have weights other than 0 and 1"),
        ({"class_sampling_factors": [1, 2, 3]}, None, "give one factor per class"),
        ({"max_after_balance_size": 1e-9, "random_state": 0}, None, "no row was drawn"),
        ({"class_sampling_factors": [1e-9, 1e-9]}, None, "no row was drawn. Raise class_sampling_factors"),
    ],
)
def test_what_cannot_be_balanced_is_refused(table, given, weights, message):
    if message == "no row was drawn":  # a chance of one in seven
        given = given | {"random_state": unlucky(table)}
    train = rare(table).assign(w=0.5) if weights else rare(table)
    model = DeepLearningClassifier(**SETTINGS | given, balance_classes=True)
    with pytest.raises(ParameterError, match=message):
        model.fit(train, "label", sample_weight=weights)


def test_a_class_that_may_never_be_visited_is_warned_of(table):
    with pytest.warns(DaskDLWarning, match="rows of class 'rare' are visited rarely or never. Raise its factor"):
        DeepLearningClassifier(**SETTINGS | {"epochs": 1}, balance_classes=True, class_sampling_factors=[0.01, 1]).fit(
            rare(table), "label"
        )


def unlucky(table):
    from dask_dl.frame.balance import Balance

    codes = (table["label"] == "usual").to_numpy().astype(np.uint16)
    counts = [int((codes == k).sum()) for k in (0, 1)]
    rows = np.arange(len(codes))
    return next(k for k in range(1000) if not Balance.of(counts, None, 1e-9, k).visits(codes, rows).any())
