"""What `eval_set` may be: one table, with what stands beside it; everything else is refused in a sentence."""

from __future__ import annotations

from decimal import Decimal

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from tables import UNSCORED, make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import ParameterError, SchemaError

N = 40
SMALL = UNSCORED | {"hidden": (3,), "epochs": 1, "random_state": 1, "n_jobs": 1}


TABLE, HELD = (make_table(N, seed).rename(columns={"level": "town"}).assign(o=0.5) for seed in (0, 1))
X, XV = TABLE[["a", "b"]], HELD[["a", "b"]]


def fit(eval_set, X=X, y=TABLE["y"], **more):
    return DeepLearningRegressor(**SMALL).fit(X, y, eval_set=eval_set, **more)


@pytest.mark.parametrize(
    "eval_set",
    [
        (XV, HELD["y"]),
        [XV, HELD["y"]],
        [(XV, HELD["y"])],
        ((XV, HELD["y"]),),
        [[XV, HELD["y"].tolist()]],
        (HELD, "y"),
        [(XV, HELD[["y"]].squeeze())],
        (XV, HELD["y"], None),
        [(XV, HELD["y"], np.ones(N))],
    ],
    ids=range(9),
)
def test_one_table_is_taken_alone_or_in_a_list(eval_set):
    model = fit(eval_set)
    assert model.best_score_ == pytest.approx(np.mean((model.predict(XV) - HELD["y"]) ** 2), rel=1e-4)


def test_rows_in_lists_are_one_table():
    rows, targets = XV.to_numpy().tolist(), HELD["y"].tolist()
    for eval_set in (
        (rows, targets),
        [(rows, targets)],
        (rows[:2], targets[:2]),
        ([tuple(row) for row in rows], targets),
    ):
        model = DeepLearningRegressor(**SMALL).fit(X.to_numpy(), TABLE["y"], eval_set=eval_set)
        n = len(eval_set[-1]) if len(eval_set) == 2 else N
        assert model.best_score_ == pytest.approx(np.mean((model.predict(rows[:n]) - targets[:n]) ** 2), rel=1e-4)


@pytest.mark.parametrize(
    "eval_set",
    [
        [(XV, HELD["y"]), (X, TABLE["y"])],
        ((XV, HELD["y"], HELD["w"]), (X, TABLE["y"], TABLE["w"])),
        [(XV.to_numpy(), HELD["y"]), (X, TABLE["y"])],
        [(XV, HELD["y"])] * 5,
        {"held": (XV, HELD["y"])},
        {},
        (XV, XV),
        (HELD, TABLE),
        (XV, None),
        [(XV, None)],
        (XV,),
        (),
        [],
        [XV],
        (XV, HELD["y"], None, None, None),
        XV,
    ],
    ids=range(16),
)
def test_other_forms_are_refused_in_a_sentence_that_says_the_form(eval_set):
    with pytest.raises(ParameterError, match=r"eval_set.*\(X, y\)"):
        fit(eval_set)


@pytest.mark.parametrize(
    "eval_set, message",
    [
        ((XV, HELD["y"][:-1]), "the validation table has 40 rows and its target 39"),
        ((XV, HELD["y"], [1.0]), "the validation table has 40 rows and its weight 1"),
        ((XV, HELD["y"], -HELD["w"]), "weight of the validation table.*negative"),
        ((XV, HELD["y"], HELD["w"].where(HELD["w"] > 1.5)), "weight of the validation table.*missing"),
        ((XV, HELD["town"]), "target of the validation table.*not numbers"),
        ((XV, HELD["y"] * np.inf), "target of the validation table.*infinite"),
        ((XV, HELD["y"] * np.nan), "the validation table has no row with a target"),
        ((XV[["a"]], HELD["y"]), r"the validation table lacks columns of training: \['b'\]"),
        ((XV.assign(b=HELD["town"]), HELD["y"]), "'b'.*the validation table"),
        ((XV.assign(b=np.inf), HELD["y"]), "'b' of the validation table.*infinite"),
        (("held.csv", HELD["y"]), "the validation table is a str"),
        ((None, HELD["y"]), "the validation table is None"),
        ((XV["a"], HELD["y"]), "the validation table must have two dimensions"),
        ((XV.iloc[:0], HELD["y"][:0]), "the validation table has no rows"),
        ((HELD, "z"), "the validation table has no column 'z' for the target"),
        ((XV, HELD["y"], HELD["w"] * 0), "the validation table has no row with a target and a weight above zero"),
    ],
)
def test_validation_is_checked_as_strictly_as_training(eval_set, message):
    with pytest.raises(SchemaError, match=message):
        fit(eval_set)


@pytest.mark.parametrize(
    "parts, message",
    [
        ((XV, HELD["y"][:-1]), "the validation table has 40 rows and its target 39"),
        ((XV, HELD["y"], -HELD["w"]), "weight of the validation table.*negative"),
        ((XV[["a"]], HELD["y"]), "the validation table lacks columns of training"),
        ((XV.assign(b=HELD["town"]), HELD["y"]), "'b'.*the validation table"),
    ],
    ids=["lengths", "weights", "columns", "kinds"],
)
def test_the_same_of_dask_collections(parts, message):
    with pytest.raises(SchemaError, match=message):
        fit(tuple(dd.from_pandas(part, npartitions=1) for part in parts))


def test_offsets_stand_beside_both_tables_or_none():
    with pytest.raises(ParameterError, match="eval_set needs an offset exactly when"):
        fit((XV, HELD["y"], None, HELD["o"]))
    with pytest.raises(ParameterError, match="eval_set needs an offset exactly when"):
        fit((XV, HELD["y"]), offset=TABLE["o"])
    with pytest.raises(SchemaError, match=r"offset of the validation table.*missing or infinite"):
        fit((XV, HELD["y"], None, HELD["o"] * np.nan), offset=TABLE["o"])


@pytest.mark.parametrize("make", [np.asarray, da.asarray], ids=["numpy", "dask"])
def test_an_array_of_other_columns_is_refused(make):
    wide = np.zeros((N, 3))
    with pytest.raises(SchemaError, match="the validation table has 3 features, and the training table 2"):
        fit((make(wide), HELD["y"].to_numpy()), X=X.to_numpy(), y=TABLE["y"].to_numpy())
    with pytest.raises(SchemaError, match="1 features"):
        fit((make(wide[:, :1]), HELD["y"].to_numpy()), X=X.to_numpy(), y=TABLE["y"].to_numpy())


@pytest.mark.parametrize(
    "label, message",
    [
        (0.5, "of the validation table is continuous, for example 0.5"),
        (Decimal(1), "of the validation table has labels of type Decimal"),
        (pd.Timestamp(0), "of the validation table has labels of type Timestamp"),
        (
            "1",
            "of the validation table has labels of type str, for example '1', and the model learned labels of type int",
        ),
    ],
)
def test_labels_are_of_the_type_of_the_classes(label, message):
    labels = [0, 1] * (N // 2)
    for held in ([label] * N, [0, label] * (N // 2)) if isinstance(label, float) else ([label] * N,):
        with pytest.raises(SchemaError, match=message):
            DeepLearningClassifier(**SMALL).fit(X, labels, eval_set=(XV, held))


def test_labels_that_training_never_saw_alone_are_refused():
    with pytest.raises(SchemaError, match="no label of the validation table was seen in training"):
        DeepLearningClassifier(**SMALL).fit(X, TABLE["town"], eval_set=(XV, HELD["town"].str.upper()))
