"""Going on from a model: to the bits of one training on the same rows, and by stated rules on others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tables import make_table, unread
from training.continued import COLUMNS, SETTINGS, assert_same, fit

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load, parameters, prepare
from dask_dl.cluster import LocalBackend
from dask_dl.errors import ArchiveError, DaskDLWarning, ParameterError, SchemaError
from dask_dl.frame.source import open_source
from dask_dl.training.engine import Request, train


@pytest.fixture(scope="module")
def table():
    return make_table(500, 0, noise=1.0)


@pytest.fixture(scope="module")
def first(table):
    return fit(table, epochs=3)


# ---- the same rows --------------------------------------------------------------------------------------------------


WAYS = {
    "one thread": {},
    "team": {"n_jobs": 2, "parallelism": "team"},
    "reproducible": {"reproducible": True},
    "stored order": {"shuffle_training_data": False},
    "momentum and annealing": {
        "adaptive_rate": False,
        "momentum_stable": 0.9,
        "momentum_ramp": 1500.0,
        "rate_annealing": 1e-3,
    },
    "dropout": {"activation": "maxout_with_dropout", "input_dropout_ratio": 0.1},
    "batches": {"mini_batch_size": 16},
    "parts of epochs": {"train_samples_per_iteration": 130},
}


@pytest.mark.parametrize("way", WAYS)
def test_some_epochs_and_then_more_are_one_training(table, way):
    whole = fit(table, epochs=6, **WAYS[way])
    half = 2 if way == "batches" else 2.5  # each epoch is cut into batches from its start
    more = fit(table, fit(table, epochs=half, **WAYS[way]), epochs=6, **WAYS[way])
    assert_same(more, whole)
    assert more.model_.record.n_seen == whole.model_.record.n_seen == 3000
    history = more.history_
    assert history["epochs"].is_monotonic_increasing and history["duration"].is_monotonic_increasing
    assert history["epochs"].iloc[-1] == 6 and history["scoring_seconds"].is_monotonic_increasing


def test_a_file_goes_on_as_its_model(table, first, tmp_path):
    first.save(tmp_path / "m.zip")
    more = [fit(table, checkpoint, epochs=5) for checkpoint in (first, first.model_, tmp_path / "m.zip")]
    for other in more[1:]:
        assert_same(other, more[0])
    with pytest.raises(ParameterError, match="a DeepLearningRegressor that is not fitted: give a fitted estimator"):
        fit(table, DeepLearningRegressor(), epochs=5)
    (tmp_path / "none.zip").write_bytes(b"nothing")
    with pytest.raises(ArchiveError):
        fit(table, tmp_path / "none.zip", epochs=5)


def test_weights_and_offsets_go_on(table):
    call = {"sample_weight": np.linspace(0, 2, len(table)), "offset": np.linspace(-1, 1, len(table))}
    whole, half = fit(table, call=call, epochs=4), fit(table, call=call, epochs=2)
    assert_same(fit(table, half, call=call, epochs=4), whole)
    with pytest.raises(ParameterError, match="trained with offsets, and none is given"):
        fit(table, half, epochs=4)
    with pytest.raises(ParameterError, match="trained without offsets; leave offset out"):
        fit(table, fit(table, epochs=1), call={"offset": call["offset"]}, epochs=4)


def test_the_seed_of_the_model_goes_on(table):
    half = fit(table, epochs=2, random_state=None)
    more = fit(table, half, epochs=4, random_state=None)
    assert more.parameters_["random_state"] == half.parameters_["random_state"]
    assert_same(more, fit(table, epochs=4, random_state=half.parameters_["random_state"]))


# ---- best network and stopping --------------------------------------------------------------------------------------


def test_the_network_of_the_model_is_the_best_one_until_another_is_better(table, first):
    # A rate at which nothing better comes.
    wild = {"adaptive_rate": False, "rate": 0.05, "overwrite_with_best_model": True}
    good = fit(table, epochs=8, **wild)
    more = fit(table, good, epochs=8.2, **wild, score_training_samples=50, l2=0.3)
    own = more.model_.record.history.own
    assert own[0].samples == good.model_.record.n_seen == 4000
    np.testing.assert_array_equal(more.model_.network.flat, good.model_.network.flat)
    assert more.best_score_ == more.model_.record.history.score_of(own[0])
    assert more.model_.record.n_seen == 4100


def test_early_stopping_counts_from_where_the_training_went_on(table):
    given = {"stopping_rounds": 1, "score_each_iteration": True, "train_samples_per_iteration": 0, "l2": 1.0}
    ended = fit(table, epochs=50, **given)
    assert ended.stopped_by_.startswith("stopping_rounds")
    more = fit(table, ended, epochs=100, **given)
    assert len(more.model_.record.history.own) >= 3  # the start, and two to compare


def test_a_loaded_model_has_the_best_event_of_its_own(table, first, tmp_path):
    more = fit(table, first, epochs=5, overwrite_with_best_model=True)
    more.save(tmp_path / "m.zip")
    again = load(tmp_path / "m.zip")
    assert (again.best_iteration_, again.best_score_) == (more.best_iteration_, more.best_score_)
    assert again.model_.record.history.n_earlier == len(first.history_)
    pd.testing.assert_frame_equal(again.history_, more.history_)


def test_a_validation_table_may_come_and_go(table, first):
    held = make_table(200, 1, noise=1.0)[[*COLUMNS, "y"]]
    judged = fit(table, first, call={"eval_set": held}, epochs=5, overwrite_with_best_model=True)
    values = judged.history_["validation_deviance"]
    n = len(first.history_)
    assert values[:n].isna().all() and values[n:].notna().all()
    np.testing.assert_allclose(values[n], np.mean((first.predict(held) - held["y"]) ** 2), rtol=1e-5)
    assert judged.best_score_ == values.min()
    alone = fit(table, judged, epochs=6)
    assert [name for name in alone.history_ if name.startswith("validation")] == []
    assert list(alone.metrics_) == ["training"]


# ---- other rows -----------------------------------------------------------------------------------------------------


def test_other_rows_are_visited_once_in_every_epoch(table):
    n, seen = 77, []

    def order(epoch):
        seen.append(epoch)
        return np.arange(n)

    requested = parameters.validate(SETTINGS | {"epochs": 3.0}, task="regression")
    source = open_source(table[[*COLUMNS, "y"]], "y")
    model = train(Request(source, "regression", requested), LocalBackend()).model
    few = open_source(table[[*COLUMNS, "y"]][:n], "y")
    more = train(Request(few, "regression", requested | {"epochs": 5.0}, model=model), LocalBackend(order=order)).model
    assert seen[-2:] == [3, 4]
    assert (more.record.n_seen, more.record.n_epochs, more.record.n_rows) == (1500 + 2 * n, 5.0, n)
    last = train(Request(source, "regression", requested | {"epochs": 6.0}, model=more), LocalBackend()).model
    assert last.record.n_seen == 1500 + 2 * n + 500


def test_means_and_levels_stay_those_of_the_model(table, first):
    other = make_table(300, 5).assign(a=lambda t: 10 * t["a"] + 3)
    more = fit(other, first, epochs=4)
    assert more.encoder_ == first.encoder_ and more.model_.head == first.model_.head


def test_columns_and_levels_that_differ_are_what_they_are_in_predictions(table, first):
    with pytest.warns(DaskDLWarning, match="lacks 1 columns of the model, taken as missing: \\['b'\\]"):
        lacking = fit(table, first, ["level", "a"], epochs=5)
    assert_same(lacking, fit(table.assign(b=np.nan), first, epochs=5))
    assert lacking.n_features_in_ == 3 and lacking.feature_names_in_.tolist() == COLUMNS
    assert_same(fit(table.assign(more=1.0), first, [*COLUMNS, "more"], epochs=5), fit(table, first, epochs=5))
    strange = table.assign(level=table["level"].where(table["a"] > 0, "strange"))
    with pytest.warns(DaskDLWarning, match="levels that the model has never seen.*'level': \\['strange'\\]"):
        unseen = fit(strange, first, epochs=5)
    assert_same(unseen, fit(table.assign(level=table["level"].where(table["a"] > 0)), first, epochs=5))
    held = table[["a", "level", "y"]]
    with pytest.warns(DaskDLWarning, match="lacks 1 columns"):
        fit(table, first, ["a", "level"], call={"eval_set": held}, epochs=4)
    with pytest.raises(SchemaError, match="the validation table lacks columns of training"):
        fit(table, first, call={"eval_set": held}, epochs=4)


def test_rows_are_skipped_for_inputs_of_the_model_only(table):
    with pytest.warns(DaskDLWarning, match="dropped 1 columns that are constant or empty: 'c'"):
        model = fit(table.assign(c=1.0), None, [*COLUMNS, "c"], epochs=2)
    gaps = table.assign(b=table["b"].where(table["a"] > 0), c=np.nan)
    more = fit(gaps, model, [*COLUMNS, "c"], epochs=5, missing_values_handling="skip")
    n_whole = int(gaps[COLUMNS].notna().all(axis=1).sum())
    assert more.model_.record.n_rows == more.model_.record.table_rows["training"][1] == n_whole


def test_tables_without_names_go_on_by_position(table):
    X, y = table[["a", "b"]].to_numpy(), table["y"].to_numpy()
    half = DeepLearningRegressor(**SETTINGS, epochs=2).fit(X, y)
    more = DeepLearningRegressor(**SETTINGS, epochs=4).fit(X, y, checkpoint=half)
    assert_same(more, DeepLearningRegressor(**SETTINGS, epochs=4).fit(X, y))
    with pytest.raises(SchemaError, match="X has 1 features, but DeepLearningRegressor is expecting 2 features"):
        DeepLearningRegressor(**SETTINGS, epochs=4).fit(X[:, :1], y, checkpoint=half)
    with pytest.raises(ParameterError, match="trained on a table without names of columns, and X is one with"):
        fit(table, half, epochs=4)


def test_classes_stay_those_of_the_model(table):
    labels = np.where(table["a"] > 0.5, "high", np.where(table["b"] > 0, "low", "middle"))
    known = labels != "middle"
    model = DeepLearningClassifier(**SETTINGS, epochs=2).fit(table[COLUMNS][known], labels[known])
    with pytest.raises(SchemaError, match=r"1 classes that the model does not know: 'middle'\. .* 'high', 'low'\."):
        DeepLearningClassifier(**SETTINGS, epochs=4).fit(table[COLUMNS], labels, checkpoint=model)
    high = labels == "high"
    model.set_threshold(0.9)
    more = DeepLearningClassifier(**SETTINGS, epochs=4, classification_stop=-1).fit(
        table[COLUMNS][high], labels[high], checkpoint=model
    )
    assert more.classes_.tolist() == ["high", "low"] and more.threshold_ is None
    assert more.model_.record.n_epochs == 4
    before, after = (m.predict_proba(table[COLUMNS][high])[:, 0].mean() for m in (model, more))
    assert after > before


def test_classes_that_are_balanced_stay_so(table):
    labels = np.where(table["a"] > 0.8, "rare", "often")
    given = SETTINGS | {"balance_classes": True, "classification_stop": -1}
    whole = DeepLearningClassifier(**given, epochs=4).fit(table[COLUMNS], labels)
    half = DeepLearningClassifier(**given, epochs=2).fit(table[COLUMNS], labels)
    more = DeepLearningClassifier(**given | {"balance_classes": False}, epochs=4).fit(
        table[COLUMNS], labels, checkpoint=half
    )
    assert_same(more, whole)
    assert more.model_.head.correction == whole.model_.head.correction


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"epochs": 3}, "epochs=3: the model has learned 3 already, and epochs counts them, too"),
        ({"epochs": 0}, "epochs=0: the model has learned 3 already"),
        (
            {"hidden": (8, 8)},
            r"hidden=\(8, 8\): the model was trained with hidden=\(8,\), which cannot change; write hidden",
        ),
        ({"activation": "tanh"}, 'activation="tanh": the model was trained with activation="rectifier"'),
        ({"adaptive_rate": False}, "adaptive_rate=False: the model was trained with adaptive_rate=True"),
        ({"initial_weights": [None, None]}, "starts from its checkpoint; leave out the others"),
        ({"nfolds": 3}, "not cross-validated"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_may_not_change_is_refused_before_anything_is_read(table, first, given, text):
    with pytest.raises(ParameterError, match=text):
        fit(unread(table), first, **{"epochs": 5} | given)


def test_another_task_is_refused(table, first):
    with pytest.raises(ParameterError, match="the model learned a regression, and this is a classification"):
        DeepLearningClassifier(**SETTINGS, epochs=5).fit(table[COLUMNS], table["a"] > 0, checkpoint=first)


def test_a_parameter_that_stays_that_of_the_model_is_warned_of(table):
    half = fit(table, epochs=2, score_each_iteration=True)
    more = fit(table, half, epochs=4)
    assert more.parameters_["score_each_iteration"] is True
    with pytest.warns(DaskDLWarning, match="score_each_iteration=True has no effect: .* that of the model, False"):
        fit(table, fit(table, epochs=1), epochs=2, score_each_iteration=True)


#: Values other than the defaults, where a quarter is none.
OTHERS = dict.fromkeys(
    (
        "hidden", "class_sampling_factors", "max_categorical_features", "gainslift_bins", "train_samples_per_iteration",
        "mini_batch_size", "score_training_samples", "score_validation_samples", "stopping_rounds", "n_shards", "random_state",
        "n_jobs", "exchange_interval",
    ), 7,
) | {
    "tweedie_power": 1.7, "initial_weights": [None], "initial_biases": [None], "hidden_dropout_ratios": [0.1],
    "custom_metric": "r2", "custom_metric_func": "r2", "checkpoint_dir": "a", "export_checkpoints_dir": "a",
    "client": "a",
}  # fmt: skip


@pytest.mark.parametrize("rule", ["no", "equal", "ignored", "yes", "request"])
def test_every_parameter_follows_its_rule(rule):
    now = parameters.validate({"epochs": 5.0}, task="classification")
    n = 0
    for row in parameters.TABLE.values():
        text = row.kind.text
        if row.scope != "constructor" or row.restart != rule:
            continue
        n += 1
        words = [word.strip('"') for word in text[1:-1].split(", ")] if text[0] == "{" else []
        other = next((w for w in words[2:] if w != row.default), words[0] if words else None)
        if other is None:
            other = not row.default if isinstance(row.default, bool) else OTHERS.get(row.name, 0.25)
        other = row.read(other)
        before = now | {row.name: other}
        if rule in {"no", "equal"}:
            with pytest.raises(ParameterError, match=f"{row.name}=.*which cannot change"):
                parameters.restarted(before, now, task="classification", n_classes=3)
            continue
        values, warnings = parameters.restarted(before, now, task="classification", n_classes=3)
        expected = before if rule == "ignored" else now
        assert values == expected and warnings == ()
        values, warnings = parameters.restarted(now, before, task="classification", n_classes=3)
        assert values[row.name] == (row.default if rule == "ignored" else other)
        assert [w.partition("=")[0] for w in warnings] == ([row.name] if rule == "ignored" else [])
    assert n >= 2
    same_in_effect = parameters.restarted(
        now | {"categorical_encoding": "one_hot_internal"}, now, task="classification", n_classes=3
    )
    assert same_in_effect.values == now


# ---- checkpoints of a training that went on -------------------------------------------------------------------------


@pytest.mark.parametrize("names_the_model", [True, False])
def test_a_training_that_went_on_is_resumed_to_the_same_bits(table, first, tmp_path, names_the_model):
    other = make_table(330, 4, noise=1.0)
    given = {
        "epochs": 7,
        "train_samples_per_iteration": 100,
        "overwrite_with_best_model": True,
    }
    held = {"eval_set": make_table(200, 1, noise=1.0)[[*COLUMNS, "y"]]}
    whole = fit(other, first, call=held, **given)
    stop = [lambda record: record["samples"] > 2000]
    given |= {"checkpoint_dir": str(tmp_path), "checkpoint_interval": 0.0}
    ended = fit(other, first, call=held | {"callbacks": stop}, **given)
    assert ended.stopped_by_ == "callback"
    more = fit(other, first if names_the_model else None, call=held | {"resume": True}, **given)
    assert_same(more, whole)
    columns = ["epochs", "samples", "validation_deviance"]
    pd.testing.assert_frame_equal(more.history_[columns], whole.history_[columns])
    assert (more.best_iteration_, more.best_score_) == (whole.best_iteration_, whole.best_score_)
    with pytest.raises(SchemaError, match="is of another training"):
        fit(table, first, call=held | {"resume": True}, **given)


def test_a_checkpoint_of_a_training_that_began_anew_is_not_gone_on_with_as_a_model(table, first, tmp_path):
    given = {"epochs": 5, "checkpoint_dir": str(tmp_path)}
    fit(table, **given)
    with pytest.raises(ParameterError, match=r"of a training that did not go on from a model\. Leave checkpoint out"):
        fit(table, first, call={"resume": True}, **given)


# ---- datasets, warm_start, partial_fit, exports ---------------------------------------------------------------------


def test_a_dataset_goes_on_where_its_rows_are_encoded_alike(table, first):
    with prepare(table[[*COLUMNS, "y"]], "y", hidden=(8,), random_state=3) as data:
        more = DeepLearningRegressor(**SETTINGS, epochs=5).fit(data, checkpoint=first)
    assert_same(more, fit(table, epochs=5))
    with (
        prepare(table[[*COLUMNS, "y"]][:300], "y", random_state=3) as data,
        pytest.raises(
            ParameterError, match=r"encoded in another way than the rows of the model: .*pass the table itself"
        ),
    ):
        DeepLearningRegressor(**SETTINGS, epochs=5).fit(data, checkpoint=first)
