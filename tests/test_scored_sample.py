"""Stratified rows to score on, in one process: of each class its share, the same rows wherever they lie."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pytest
from scored_rows import SCORED, SIZES, expected, labelled, look_at_scored_rows

import dask_dl
from dask_dl import DeepLearningClassifier
from dask_dl.errors import DaskDLWarning, ParameterError

HELD = labelled(2, has_strangers=True)
pytestmark = pytest.mark.filterwarnings("ignore:20 rows of")  # of a label that training never saw


@pytest.fixture
def seen(monkeypatch):
    """Numbers and classes of the validation rows of every measurement."""
    return look_at_scored_rows(monkeypatch)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Training and validation table, which can be read again and again."""
    folder = tmp_path_factory.mktemp("tables")
    for name, table, n in (("train", labelled(1), 3), ("held", HELD, 4)):
        dd.from_pandas(table, npartitions=n, sort=False).to_parquet(folder / name)
    return dd.read_parquet(folder / "train"), dd.read_parquet(folder / "held")


def fitted(tables, **given):
    more = {"resume": given.pop("resume", False)}
    table, held = tables
    return DeepLearningClassifier(**SCORED | given).fit(table, "label", sample_weight="w", eval_set=held, **more)


def check(seen):
    assert len(seen) > 1
    for numbers, classes in seen:
        assert sorted(numbers) == expected(HELD)  # once each, however often they would be visited
        assert np.bincount(classes).tolist() == SIZES
    seen.clear()


@pytest.mark.parametrize(
    "given",
    [{"storage": "memory"}, {"storage": "disk"}, {"storage": "stream"}, {"balance_classes": True}],
    ids=str,
)
def test_the_rows_are_the_same_wherever_they_lie(tables, seen, given):
    fitted(tables, **given)
    check(seen)


def test_fixed_shards_score_them_together(tables, seen):
    fitted(tables, reproducible=True, n_shards=3)
    assert {len(numbers) for numbers, _ in seen} != {40}
    for k in range(0, len(seen), 3):
        assert sorted(number for numbers, _ in seen[k : k + 3] for number in numbers) == expected(HELD)


def test_trainings_on_a_dataset(tables, seen):
    table, held = tables
    with dask_dl.prepare(table, "label", sample_weight="w", eval_set=held, **SCORED) as data:
        for hidden in ((3,), (4,)):
            DeepLearningClassifier(**SCORED | {"hidden": hidden}).fit(data)
            check(seen)
        with pytest.raises(ParameterError, match="score_validation_sampling"):
            DeepLearningClassifier(**SCORED | {"score_validation_sampling": "uniform"}).fit(data)


def test_a_resumed_training(tables, seen, tmp_path):
    fitted(tables, checkpoint_dir=tmp_path)
    check(seen)
    model = fitted(tables, checkpoint_dir=tmp_path, epochs=4, resume=True)
    check(seen)
    assert (np.diff(model.history_["scoring_seconds"]) >= 0).all()


def test_metrics_are_those_of_the_rows_drawn_without_weights(tables):
    model = fitted(tables, balance_classes=True)
    rows = HELD.iloc[expected(HELD)]
    error = (model.predict(rows[["number"]]) != rows["label"]).mean()
    assert model.history_["validation_classification_error"].iloc[-1] == pytest.approx(error)
    assert model.confusion_matrix_.sum(axis=1).tolist() == SIZES


def test_uniform_samples_have_their_size_beside_many_rows_of_other_labels(tables, seen):
    held = HELD.replace({"label": {"a": "z"}})
    with pytest.warns(DaskDLWarning, match="1,020 rows of"):
        fitted((tables[0], held), score_validation_sampling="uniform", score_validation_samples=150)
    assert {len(numbers) for numbers, _ in seen} == {150}
