"""Names and words of other libraries: each is answered with a parameter and a value that can be written."""

from __future__ import annotations

import ast
import pickle
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from tables import UNSCORED, make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.errors import ParameterError
from dask_dl.parameters import TABLE, validate
from dask_dl.synonyms import SYNONYMS, WORDS, GivenValue, fold

SMALL = UNSCORED | {"hidden": (4,), "epochs": 1, "n_jobs": 1}


def answers(call, *args, **given):
    """The lines of the error that a call raises, without their numbers."""
    with pytest.raises(ParameterError) as caught:
        call(*args, **given)
    return [line.split(". ", 1)[1] for line in str(caught.value).split("\n")[1:]]


@pytest.fixture(scope="module")
def table():
    frame = make_table(60)
    return frame[list("abc")].to_numpy(), frame["label"].to_numpy()


# ---- the tables -----------------------------------------------------------------------------------------------------


def test_a_name_has_one_meaning():
    named = Counter(
        fold(name) for synonym in {s.names: s for s in SYNONYMS.values()}.values() for name in synonym.names
    )
    assert [name for name, n in named.items() if n > 1] == []
    assert set(named) == set(SYNONYMS)
    taken = {fold(name) for name, row in TABLE.items() if row.scope in ("constructor", "fit")}
    assert taken.isdisjoint(named)


def test_every_name_of_the_h2o_face_is_answered():
    assert [name for name, row in TABLE.items() if row.scope == "h2o" and fold(name) not in SYNONYMS] == []


@pytest.mark.parametrize("name", WORDS)
def test_words_lead_to_legal_ones(name):
    for foreign, word in WORDS[name].items():
        assert fold(foreign) == foreign
        assert " " in word or TABLE[name].read(word) == word


@pytest.mark.parametrize("synonym", {s.names: s for s in SYNONYMS.values()}.values(), ids=lambda s: s.names[0])
def test_advice_names_parameters_and_says_something(synonym):
    for advice in (synonym.advice, *synonym.by_value.values()):
        assert advice.write or advice.note
        for name, value in advice.write.items():
            assert TABLE[name].scope in ("constructor", "fit")
            assert isinstance(value, GivenValue) or value is ... or TABLE[name].is_available(TABLE[name].read(value))


VALUES = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, 5, 32, 0.1, 1e-4, "adam", "auto", "mse", "accuracy", "balanced", (64, 32), [8]]
    ),
    st.integers(-3, 10**6),
    st.floats(allow_nan=False),
)
SETTING = re.compile(r'(\w+)=("[^"]*"|\([^)]*\)|\[[^\]]*\]|[^\s,]+)')


@given(
    name=st.sampled_from(sorted(SYNONYMS)), value=VALUES, place=st.sampled_from(["constructor", "set_params", "fit"])
)
@settings(deadline=None)
def test_what_is_advised_can_be_written(name, value, place):
    call = {
        "constructor": DeepLearningClassifier,
        "set_params": DeepLearningClassifier().set_params,
        "fit": lambda **given: DeepLearningClassifier().fit([[0.0]], [0], **given),
    }[place]
    (line,) = answers(call, **{name: value})
    text = line.partition("no such parameter; ")[2]
    assert text.startswith(("write ", "leave it out; "))
    if text.startswith("write "):
        settings = SETTING.findall(text.partition(" (")[0])  # before the note
        validate({parameter: ast.literal_eval(shown) for parameter, shown in settings if shown != "..."}, task=None)


# ---- the answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({"seed": 7}, "write random_state=7"),
        ({"hidden_layer_sizes": (100,)}, "write hidden=(100,)"),
        ({"dropout": 0.0}, "leave it out; there is none by default"),
        ({"missing": float("nan")}, "leave it out; NaN, None and NaT are missing values"),
        ({"hidden_dims": [64, 32]}, "write hidden=[64, 32]"),
        ({"learning_rate": 0.1}, "write rate=0.1, with adaptive_rate=False"),
        ({"eta": np.float64(0.25)}, "write rate=0.25, with adaptive_rate=False"),
        ({"lr": 0.001}, "write rate=0.001, with adaptive_rate=False"),
        ({"learning_rate": "adaptive"}, "leave it out; adaptive_rate=True is the default"),
        ({"max_iter": 200}, "write epochs=200"),
        ({"n_epochs": 20}, "write epochs=20"),
        ({"early_stopping": True}, "write stopping_rounds=5"),
        ({"early_stopping": False}, "write stopping_rounds=0"),
        ({"early_stopping": "auto"}, "write stopping_rounds=5"),
        ({"early_stopping": 20}, "write stopping_rounds=20"),  # LightGBM's is a number
        ({"n_iter_no_change": 5}, "write stopping_rounds=5"),
        ({"early_stopping_rounds": 10}, "write stopping_rounds=10"),
        ({"patience": 3}, "write stopping_rounds=3"),
        ({"class_weight": "balanced"}, "write balance_classes=True (or give sample_weight to fit"),
        ({"class_weight": {0: 1, 1: 5}}, "leave it out; give sample_weight to fit"),
        ({"init_model": "m.zip"}, 'write checkpoint="m.zip" in fit'),
        ({"alpha": 1e-4}, "write l2=5e-07"),
        ({"weight_decay": 0.01}, "write l2=0.01"),
        ({"reg_lambda": 1}, "write l2=1"),
        ({"reg_alpha": 0.5}, "write l1=0.5"),
        ({"batch_size": 32}, "write mini_batch_size=32"),
        ({"batch_size": "auto"}, "write mini_batch_size=200"),
        ({"solver": "adam"}, "leave it out; ADADELTA"),
        ({"optimizer": "SGD"}, "write adaptive_rate=False"),
        ({"optimizer": print}, "leave it out; ADADELTA"),
        ({"silent": True}, "write verbose=False"),
        ({"quiet": False}, "write verbose=True"),
        ({"momentum": 0.9}, "write momentum_start=0.9, with momentum_stable=0.9 and adaptive_rate=False"),
        ({"dropout": 0.2}, 'write hidden_dropout_ratios=(0.2, 0.2), with activation="rectifier_with_dropout"'),
        ({"max_norm": 3}, "write max_w2=9.0"),
        ({"metric": "accuracy"}, 'write stopping_metric="misclassification"'),
        ({"eval_metric": "auc"}, 'write stopping_metric="auc"'),
        ({"max_iter": "many"}, "write epochs=... (float >= 0)"),
        ({"objective": "count:poisson"}, 'write distribution="poisson"'),
        ({"objective": "binary:logistic"}, "leave it out; a classifier takes cross entropy"),
        ({"validation_fraction": 0.1}, "write eval_set=... in fit (split the table first"),
        ({"verbosity": 2}, "write verbose=2"),
        ({"nthread": 4}, "write n_jobs=4"),
        ({"max_depth": 6}, "leave it out; it belongs to trees"),
        ({"weights_column": "w"}, 'write sample_weight="w" in fit'),
        ({"training_frame": pd.DataFrame()}, "leave it out; give the table to fit"),
        ({"optimizer__lr": 0.01}, "write rate=0.01, with adaptive_rate=False"),
        ({"LearningRate": 0.01}, "write rate=0.01, with adaptive_rate=False"),
        ({"hidden_layer_size": 9}, 'if "hidden_layer_sizes" is meant, write hidden=9'),
        ({"sample_weights_": 1}, "write sample_weight=1 in fit"),
    ],
    ids=str,
)
def test_names_in_the_constructor_and_set_params(given, answer):
    for call in (DeepLearningClassifier, DeepLearningRegressor().set_params):
        (line,) = answers(call, **given)
        assert f": no such parameter; {answer}" in line


def test_a_name_that_belongs_elsewhere_is_sent_there(table):
    assert answers(DeepLearningClassifier, sample_weight="w") == [
        'sample_weight="w": not a parameter of the constructor; write sample_weight="w" in fit'
    ]
    given = {"epochs": 5, "batch_size": 32, "validation_data": table, "class_weight": "balanced", "verbose": 1}
    lines = answers(DeepLearningClassifier().fit, *table, **given)
    assert [line.partition("write ")[2].partition(" (")[0] for line in lines] == [
        "epochs=5 in the constructor",
        "mini_batch_size=32 in the constructor",
        "eval_set=...",
        "balance_classes=True in the constructor",
        "verbose=1 in the constructor",
    ]


def test_names_far_from_all_others_are_answered_with_the_nearest():
    (line,) = answers(DeepLearningClassifier, qqqq=1)
    nearest = re.search('the nearest is "(.*)"; if it is not meant, leave it out', line)[1]
    assert TABLE[nearest].scope == "constructor"
    assert answers(DeepLearningClassifier, hiden=1) == ['hiden=1: no such parameter; did you mean "hidden"?']
    assert answers(DeepLearningClassifier, ofset=1) == ['ofset=1: no such parameter; did you mean "offset" of fit?']


def test_nothing_changes_when_a_name_is_refused():
    model = DeepLearningClassifier(epochs=3)
    assert len(answers(model.set_params, epochs=5, learning_rate=1, hiden=3)) == 2
    assert model.epochs == 3


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"activation": "relu"}, 'write "rectifier"'),
        ({"activation": "Sigmoid"}, 'there is none; the nearest is "tanh"'),
        ({"loss": "categorical_crossentropy"}, 'write "cross_entropy"'),
        ({"distribution": "normal"}, 'write "gaussian"'),
        ({"stopping_metric": "val_loss"}, 'write "auto"'),
        ({"missing_values_handling": "dropna"}, 'write "skip"'),
        ({"initial_weight_distribution": "he_normal"}, 'write "uniform_adaptive"'),
        ({"categorical_encoding": "one-hot"}, 'write "one_hot_internal"'),
    ],
)
def test_words_of_other_libraries(given, hint, table):
    (line,) = answers(DeepLearningClassifier(**given).fit, *table)
    assert line.endswith(f"; {hint}")


# ---- values that are taken as they come -------------------------------------------------------------------------------


def test_one_number_is_one_hidden_layer(table):
    model = DeepLearningClassifier(hidden=5, epochs=1, random_state=1).fit(*table)
    assert [w.shape for w in model.coefs_] == [(3, 5), (5, 2)]
    assert model.get_params()["hidden"] == 5
    assert model.parameters_["hidden"] == (5,)
    (line,) = answers(DeepLearningClassifier(hidden=0).fit, *table)
    assert line == "hidden=0: must be list of int >= 1 (default (200, 200))"


@pytest.mark.parametrize(("level", "prints"), [(0, False), (-1, False), (1, True), (2, True), (np.int64(10), True)])
def test_levels_of_verbosity(level, prints, table, capsys):
    DeepLearningClassifier(**SMALL, verbose=level, random_state=1).fit(*table)
    assert bool(capsys.readouterr().out) == prints


GENERATORS = {"RandomState": np.random.RandomState, "Generator": np.random.default_rng}


@pytest.mark.parametrize("make", GENERATORS.values(), ids=GENERATORS)
def test_generators_give_a_seed(make, table, tmp_path):
    generator = make(3)
    model = DeepLearningClassifier(**SMALL, random_state=generator)
    assert model.get_params()["random_state"] is generator
    state = pickle.dumps(generator)
    first, second = (np.concatenate([w.ravel() for w in model.fit(*table).coefs_]) for _ in range(2))
    assert pickle.dumps(generator) != state  # each fit draws from it
    assert not np.array_equal(first, second)
    assert model.random_state is generator

    same = clone(DeepLearningClassifier(**SMALL, random_state=make(3))).fit(*table)
    np.testing.assert_array_equal(np.concatenate([w.ravel() for w in same.coefs_]), first)
    seed = same.parameters_["random_state"]
    assert type(seed) is int
    same.save(tmp_path / "model")
    from dask_dl import load

    loaded = load(tmp_path / "model")
    assert loaded.random_state == seed  # a file holds what was drawn
    again = loaded.set_params(n_jobs=1).fit(*table)
    np.testing.assert_array_equal(np.concatenate([w.ravel() for w in again.coefs_]), first)


@pytest.mark.parametrize("make", GENERATORS.values(), ids=GENERATORS)
def test_generators_go_through_pickle_and_cross_validation(make, table):
    model = DeepLearningClassifier(**SMALL, random_state=make(3))
    copy = pickle.loads(pickle.dumps(model)).fit(*table)
    assert copy.parameters_["random_state"] == model.fit(*table).parameters_["random_state"]
    assert len(cross_val_score(DeepLearningClassifier(**SMALL, random_state=make(3)), *table, cv=2)) == 2


@pytest.mark.parametrize("make", GENERATORS.values(), ids=GENERATORS)
def test_a_training_that_goes_on_keeps_its_seed(make, table, tmp_path):
    given = UNSCORED | {
        "hidden": (4,),
        "n_jobs": 1,
        "checkpoint_dir": str(tmp_path),
        "checkpoint_interval": 0.0,
        "stopping_rounds": 0,
    }
    generator = make(3)
    seed = DeepLearningClassifier(**given, epochs=1, random_state=generator).fit(*table).parameters_["random_state"]
    later = DeepLearningClassifier(**given, epochs=2, random_state=generator).fit(*table, resume=True)
    assert later.parameters_["random_state"] == seed


@pytest.mark.parametrize("strange", ["0", 1.5, True, np.random, __import__("random").Random(0), -2])
def test_other_seeds_are_refused(strange, table):
    (line,) = answers(DeepLearningClassifier(random_state=strange).fit, *table)
    assert "must be int >= 0 or -1, or NumPy's RandomState or Generator or None" in line
