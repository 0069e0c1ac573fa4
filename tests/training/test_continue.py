"""Going on from a model: to the bits of one training on the same rows, and by stated rules on others."""

from __future__ import annotations

import copy

import dask
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load, parameters, prepare
from dask_dl.cluster import LocalBackend
from dask_dl.errors import ArchiveError, DaskDLWarning, ParameterError, SchemaError
from dask_dl.frame.source import open_source
from dask_dl.training.engine import Request, train

SETTINGS = {"hidden": (8,), "random_state": 3, "n_jobs": 1, "stopping_rounds": 0, "overwrite_with_best_model": False}
COLUMNS = ["a", "b", "level"]


@pytest.fixture(scope="module")
def table():
    return make_table(500, 0, noise=1.0)


@pytest.fixture(scope="module")
def first(table):
    return fit(table, epochs=3)


def fit(table, checkpoint=None, columns=COLUMNS, call=None, **given):
    return DeepLearningRegressor(**SETTINGS | given).fit(
        table[[*columns, "y"]], "y", checkpoint=checkpoint, **call or {}
    )


def bits(model):
    network = model.model_.network
    return [network.flat, *network.states]


def assert_same(one, other):
    for mine, theirs in zip(bits(one), bits(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


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
def test_what_may_not_change_is_refused_before_anything_is_read(table, first, monkeypatch, given, text):
    monkeypatch.setattr(LocalBackend, "scan", None)
    with pytest.raises(ParameterError, match=text):
        fit(table, first, **{"epochs": 5} | given)


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


def test_warm_start_adds_epochs(table, tmp_path):
    warm = DeepLearningRegressor(**SETTINGS, epochs=2, warm_start=True)
    for k in (1, 2, 3):
        warm.fit(table[[*COLUMNS, "y"]], "y")
        assert warm.model_.record.n_epochs == 2 * k
    assert_same(warm, fit(table, epochs=6))
    warm.save(tmp_path / "m.zip")
    again = load(tmp_path / "m.zip")
    assert (again.epochs, again.warm_start) == (2, True)  # as they were given, and not the sum
    again.fit(table[[*COLUMNS, "y"]], "y")
    assert again.model_.record.n_epochs == 8
    cold = clone(warm).fit(table[[*COLUMNS, "y"]], "y")
    assert cold.model_.record.n_epochs == 2
    warm.set_params(hidden=(9,))
    with pytest.raises(ParameterError, match=r"hidden=.*which cannot change"):
        warm.fit(table[[*COLUMNS, "y"]], "y")


def test_partial_fit_is_one_epoch_and_leaves_the_last_network(table):
    given = SETTINGS | {"epochs": 99, "overwrite_with_best_model": True, "regression_stop": 10.0}
    model, seen = DeepLearningRegressor(**given), 0
    for part in (table[:200], table[200:270], table[270:]):
        assert model.partial_fit(part[COLUMNS], part["y"]) is model
        seen += len(part)
        assert model.model_.record.n_seen == seen
    assert model.model_.record.n_epochs == 3
    assert model.get_params()["epochs"] == 99 and model.model_.record.requested["epochs"] == 99
    at_once = DeepLearningRegressor(**given | {"epochs": 1}).fit(table[COLUMNS], table["y"])
    assert model.score(table[COLUMNS], table["y"]) > 0.5 * at_once.score(table[COLUMNS], table["y"])
    twice = DeepLearningRegressor(**SETTINGS)
    for _ in range(2):
        twice.partial_fit(table[COLUMNS], table["y"])
    assert_same(twice, fit(table, epochs=2))


def test_partial_fit_takes_classes_that_come_later(table):
    labels = np.where(table["a"] > 0, 2, np.where(table["b"] > 0, 5, 9))
    order = np.argsort(labels, kind="stable")
    X, y = table[COLUMNS].iloc[order], labels[order]
    model = DeepLearningClassifier(**SETTINGS)
    model.partial_fit(X[:100], y[:100], classes=[9, 2, 5])
    assert model.classes_.tolist() == [2, 5, 9] and model.predict_proba(X).shape == (500, 3)
    for k in range(40):
        rows = np.arange(k % 5, 500, 5)
        model.partial_fit(X.iloc[rows], y[rows], sample_weight=np.ones(len(rows)))
    assert set(model.predict(X)) == {2, 5, 9} and model.score(X, y) > 0.7
    with pytest.raises(ParameterError, match=r"classes=\[2, 5\], and the first call had \[2, 5, 9\]"):
        model.partial_fit(X, y, classes=[2, 5])
    with pytest.raises(SchemaError, match=r"labels that are not in classes: \[9\]"):
        DeepLearningClassifier(**SETTINGS).partial_fit(X, y, classes=[2, 5])
    with pytest.raises(ParameterError, match="balance_classes=True: partial_fit does not know"):
        DeepLearningClassifier(**SETTINGS, balance_classes=True).partial_fit(X, y)
    with pytest.raises(SchemaError, match="classes that the model does not know: 7"):
        model.partial_fit(X, np.full(500, 7))


def test_a_column_that_is_constant_on_the_first_call_is_left_out_for_good_or_kept(table):
    later = table.assign(k=table["y"])
    begins = later[:100].assign(k=5.0)
    dropped, kept = (DeepLearningRegressor(**SETTINGS, ignore_const_cols=drops) for drops in (True, False))
    with pytest.warns(DaskDLWarning, match=r"dropped 1 columns .*: 'k'\. Later calls of partial_fit leave them out"):
        dropped.partial_fit(begins[[*COLUMNS, "k"]], begins["y"])
    kept.partial_fit(begins[[*COLUMNS, "k"]], begins["y"])
    for _ in range(5):
        for model in (dropped, kept):
            model.partial_fit(later[[*COLUMNS, "k"]], later["y"])
    assert "k" not in dropped.encoder_.columns and "k" in kept.encoder_.columns
    scores = [model.score(later[[*COLUMNS, "k"]], later["y"]) for model in (dropped, kept)]
    assert scores[1] > 0.9 > scores[0]
    with pytest.warns(DaskDLWarning, match=r"dropped 1 columns that are constant or empty: 'k'\.$"):
        DeepLearningRegressor(**SETTINGS).fit(begins[[*COLUMNS, "k"]], begins["y"])


def test_partial_fit_goes_on_from_fit(table, first):
    model = fit(table, epochs=3)
    model.partial_fit(table[COLUMNS], table["y"])
    assert_same(model, fit(table, epochs=4))


def test_partial_fit_leaves_the_last_network_even_if_it_is_worse(table):
    model = fit(table, epochs=8, adaptive_rate=False, rate=0.05, overwrite_with_best_model=True)
    before, score = model.model_.network.flat, model.score(table[COLUMNS], table["y"])
    model.set_params(l2=0.3).partial_fit(table[COLUMNS], table["y"])
    assert not np.array_equal(model.model_.network.flat, before) and model.score(table[COLUMNS], table["y"]) < score


def test_a_search_may_copy_and_go_on_with_models(table):
    # As searches of dask-ml do it: the better half of copies trains on, block after block.
    X, y = table[["a", "b"]].to_numpy(), (table["a"] > 0).to_numpy().astype(int)
    base = DeepLearningClassifier(hidden=(8,), random_state=1, n_jobs=1)
    models = [clone(base).set_params(rho=rho, l2=l2) for rho in (0.9, 0.99) for l2 in (0.0, 1e-3)]
    for k in range(3):
        rows = slice(100 * k, 100 * k + 100)
        for n, model in enumerate(models):
            before, models[n] = model, copy.deepcopy(model)
            models[n].partial_fit(X[rows], y[rows], classes=[0, 1])
            assert getattr(before, "n_iter_", 0) < models[n].n_iter_ if k else not hasattr(before, "model_")
        models.sort(key=lambda model: -model.score(X[300:], y[300:]))
        del models[max(1, len(models) // 2) :]
    assert len(models) == 1 and models[0].model_.record.n_epochs == 3 and models[0].score(X[300:], y[300:]) > 0.8


@pytest.mark.filterwarnings("ignore")  # dask-ml's own
def test_searches_of_dask_ml_train_by_partial_fit(table):
    model_selection, dask_ml = (pytest.importorskip(f"dask_ml{part}") for part in (".model_selection", ""))
    from distributed import Client

    X, y = table[["a", "b"]].to_numpy(), (table["a"] > 0).to_numpy().astype(int)
    estimator = DeepLearningClassifier(hidden=(8,), random_state=1, n_jobs=1)
    options = {"n_initial_parameters": 4, "decay_rate": None, "max_iter": 4, "random_state": 0}
    search = model_selection.IncrementalSearchCV(estimator, {"l2": [0.0, 1e-4], "rho": [0.9, 0.99]}, **options)
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None):
        try:
            search.fit(X, y, classes=[0, 1])
        except RuntimeError as error:
            if "asynchronous Client" not in str(error):
                raise
            pytest.skip(f"dask-ml {dask_ml.__version__} with Dask {dask.__version__}, whatever the estimator: {error}")
    assert search.best_score_ > 0.8
    assert max(record["partial_fit_calls"] for record in search.history_) >= 3


@pytest.mark.filterwarnings("ignore")  # as above
def test_blocks_of_a_dask_array_train_one_after_another_in_dask_ml(table):
    wrappers = pytest.importorskip("dask_ml.wrappers")
    import dask.array as da

    X, y = table[["a", "b"]].to_numpy(), (table["a"] > 0).to_numpy().astype(int)
    model = wrappers.Incremental(DeepLearningClassifier(hidden=(8,), random_state=1, n_jobs=1))
    model.fit(da.from_array(X, chunks=(100, 2)), da.from_array(y, chunks=100), classes=[0, 1])
    assert model.estimator_.model_.record.n_epochs == 5 and model.estimator_.score(X, y) > 0.8


@pytest.mark.parametrize("place", ["folder", "memory://exported"])
def test_finished_models_are_written_under_names_of_their_own(table, first, tmp_path, place):
    from fsspec.core import url_to_fs

    folder = place if "://" in place else str(tmp_path / place)
    models = [fit(table, first, epochs=n, export_checkpoints_dir=folder) for n in (4, 5, 5)]
    filesystem, path = url_to_fs(folder)
    names = sorted(name.rpartition("/")[2] for name in filesystem.ls(path, detail=False))
    assert len(names) == 2 and all(name.startswith("regression-") for name in names)
    found = {load(f"{folder}/{name}").model_.record.n_epochs: load(f"{folder}/{name}") for name in names}
    for model in models:
        assert_same(found[model.model_.record.n_epochs], model)


def test_models_of_folds_are_written_too(table, tmp_path):
    model = fit(table, epochs=1, nfolds=2, export_checkpoints_dir=str(tmp_path))
    written = [load(entry).model_.network.flat for entry in tmp_path.iterdir()]
    wanted = [m.model_.network.flat for m in (model, *model.cross_validation_models_)]
    assert len(written) == len(wanted) == 3
    assert all(any(np.array_equal(one, other) for other in written) for one in wanted)


def test_a_folder_that_cannot_take_models_is_said_before_training(table, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match="export_checkpoints_dir: nothing can be written to"):
        fit(table, epochs=1, export_checkpoints_dir=str(tmp_path / "file"))
    monkeypatch.setattr("dask_dl.model.exports.save_model", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.warns(DaskDLWarning, match="could not be written to .*: full"):
        model = fit(table, epochs=1, export_checkpoints_dir=str(tmp_path))
    assert model.model_.record.n_epochs == 1
