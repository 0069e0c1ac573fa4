"""Whole trainings, from a table to a model: which rows are visited, what is scored, and what is refused."""

from __future__ import annotations

import itertools
import time

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from naive import mlp
from training.fifty import QUIET, fitted

from dask_dl import DeepLearningRegressor, parameters
from dask_dl.cluster import LocalBackend, LocalTrainer, row_stream
from dask_dl.errors import DaskDLWarning, DivergedError, ParameterError, SchemaError
from dask_dl.frame.source import open_source
from dask_dl.frame.validation import open_validation
from dask_dl.node import replica
from dask_dl.training.engine import Request, train
from dask_dl.training.loop import Rounds


def test_time_is_counted_from_the_call_of_fit(monkeypatch):
    def opened_slowly(*given):
        time.sleep(1.1)
        return open_validation(*given)

    X = np.random.default_rng(0).normal(size=(100, 3))
    model = DeepLearningRegressor(
        hidden=(3,), epochs=1e6, stopping_rounds=0, regression_stop=-1, max_runtime_secs=1, n_jobs=1
    )
    monkeypatch.setattr("dask_dl.frame.validation.open_validation", opened_slowly)
    model.fit(X, X[:, 0])
    assert model.stopped_by_ == "max_runtime_secs" and model.n_iter_ <= 1


def test_the_kernel_that_scores_is_compiled_before_the_first_round(table, monkeypatch):
    seen, inner, run = [], replica.predict_batches, Rounds.run
    monkeypatch.setattr(replica, "predict_batches", lambda *given: seen.append("predict") or inner(*given))
    monkeypatch.setattr(Rounds, "run", lambda rounds: seen.append("rounds") or run(rounds))
    fitted(table, epochs=1)
    assert seen[0] == "predict" and "rounds" in seen


def test_trainings_on_one_thread_keep_the_same_network_every_time(table):
    given = {"hidden": (4,), "epochs": 30, "stopping_rounds": 0, "n_jobs": 1, "random_state": 3}
    one, two = (DeepLearningRegressor(**given).fit(table, "y") for _ in range(2))
    assert 10 < len(one.history_) < 45
    assert one.history_["samples"].tolist() == two.history_["samples"].tolist()
    np.testing.assert_array_equal(one.model_.network.flat, two.model_.network.flat)


def test_the_next_rows_are_gathered_while_these_are_trained(monkeypatch, table):
    monkeypatch.setattr("dask_dl.memory.SLICE", 1500)
    log = []
    gathered, trained = row_stream.gather, replica.train_rows

    def gather(subset, rows):
        log.append("gather")
        return gathered(subset, rows)

    def train_rows(rows, *more):
        done = trained(rows, *more)
        time.sleep(0.05)
        log.append("trained")
        return done

    monkeypatch.setattr(row_stream, "gather", gather)
    monkeypatch.setattr(replica, "train_rows", train_rows)
    fitted(table, epochs=1, train_samples_per_iteration=0)
    training = log[log.index("trained") + 1 :][:7]  # the first is the compilation
    assert training.count("gather") > 1
    assert all(pair != ("trained", "trained") for pair in itertools.pairwise(training[:-1]))
    assert training[:2] == ["gather", "gather"]


@pytest.mark.parametrize(
    ("given", "samples"),
    [
        ({"epochs": 3}, list(range(0, 151, 15))),  # a tiny table: ten rounds
        ({"epochs": 20}, list(range(0, 1001, 50))),  # a round is at most an epoch
        ({"epochs": 3, "train_samples_per_iteration": 0}, [0, 50, 100, 150]),
        ({"epochs": 3, "train_samples_per_iteration": -1}, [0, 50, 100, 150]),
        ({"epochs": 1, "train_samples_per_iteration": 20}, [0, 20, 40, 50]),
        ({"epochs": 2.5, "train_samples_per_iteration": 70}, [0, 70, 125]),
        ({"epochs": 0.3}, list(range(16))),
        ({"epochs": 0.001}, [0, 1]),
        ({"epochs": 1, "train_samples_per_iteration": 1000}, [0, 50]),
        ({"epochs": 0}, [0, 0]),
    ],
    ids=str,
)
def test_rows_of_a_training(table, given, samples):
    model = fitted(table, **given)
    assert model.history_["samples"].tolist() == samples
    np.testing.assert_allclose(model.history_["epochs"], np.array(samples) / 50)
    assert model.history_["iterations"].tolist() == list(range(len(samples)))
    assert model.n_iter_ == len(samples) - 1


def places_visited(monkeypatch, table, **given):
    """Global row numbers in the order of their training: the target tells the row."""
    seen = []
    train = replica.Replica.train

    def spy(self, rows, *more):
        seen.extend(rows.target.tolist())
        return train(self, rows, *more)

    monkeypatch.setattr(replica.Replica, "train", spy)
    model = fitted(table, **given)
    target = (table["y"].to_numpy() - model.model_.head.shift) * model.model_.head.factor
    return pd.Index(target.astype(np.float32)).get_indexer(np.array(seen, np.float32))


def test_every_epoch_visits_every_row_once_in_a_fresh_order(monkeypatch, table):
    epochs = places_visited(monkeypatch, table, epochs=4, train_samples_per_iteration=33).reshape(4, 50)
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_stored_order_on_request(monkeypatch, table):
    assert places_visited(monkeypatch, table, epochs=2, shuffle_training_data=False).tolist() == [
        *range(50),
        *range(50),
    ]


def test_rounds_leave_no_trace_in_the_weights(table):
    whole, pieces = fitted(table, epochs=3), fitted(table, epochs=3, train_samples_per_iteration=7)
    np.testing.assert_array_equal(whole.coefs_[0], pieces.coefs_[0])


def test_training_equals_the_oracle_from_table_to_prediction(table):
    model = fitted(table, epochs=2, shuffle_training_data=False)
    start = fitted(table, epochs=0)
    X = (table[["a", "b", "c"]] - table[["a", "b", "c"]].mean()) / table[["a", "b", "c"]].std()
    y = (table["y"] - table["y"].mean()) / table["y"].std()
    weights, biases, _ = mlp.train(
        X.to_numpy(), y.to_numpy(), np.tile(np.arange(50), 2), [w.T.astype(float) for w in start.coefs_],
        [b.astype(float) for b in start.intercepts_], activation="rectifier", output="linear",
    )  # fmt: skip
    for mine, expected in zip(model.coefs_, weights, strict=True):
        np.testing.assert_allclose(mine.T, expected, rtol=1e-4, atol=1e-5)
    z = [mlp.forward(x, weights, biases, activation="rectifier", output="linear")[-1] for x in X.to_numpy()]
    expected = np.ravel(z) * table["y"].std() + table["y"].mean()
    np.testing.assert_allclose(model.predict(table), expected, rtol=1e-4)


@pytest.mark.parametrize("way", [{}, {"n_jobs": 2, "parallelism": "staleness"}, {"n_jobs": 2, "parallelism": "team"}])
def test_a_rate_without_hope_is_a_typed_error_with_remedies(table, way):
    with (
        pytest.warns(DaskDLWarning, match="of layer 1 .* Lower `rate`"),
        pytest.raises(DivergedError, match="halved 4 times, in vain"),
    ):
        DeepLearningRegressor(hidden=(20,), adaptive_rate=False, rate=1e6, random_state=1, epochs=5, **way).fit(
            table, "y"
        )


def test_inputs_out_of_this_world_are_a_typed_error(table):
    huge = table.assign(a=table["a"] * 1e30)
    with pytest.warns(DaskDLWarning), pytest.raises(DivergedError, match="turn `standardize` on"):
        fitted(huge, standardize=False, epochs=2)


def test_a_rate_that_is_somewhat_too_large_is_halved_and_learns(table):
    # Plain SGD with rate 1 diverges here, with an eighth of it it learns.
    with pytest.warns(DaskDLWarning, match="steps are [248] times smaller"):
        model = DeepLearningRegressor(hidden=(), adaptive_rate=False, rate=1.0, random_state=1, epochs=20).fit(
            table, "y"
        )
    assert model.score(table, "y") > 0.9
    assert np.isfinite(model.coefs_[0]).all()


def test_what_was_learned_before_a_divergence_stays_usable(table, monkeypatch):
    calls = []
    inner = LocalTrainer.average

    def diverges_later(self):
        inner(self)
        calls.append(self.n_seen)
        if len(calls) > 5:
            raise DivergedError("layer 1 has gone.")

    monkeypatch.setattr(LocalTrainer, "average", diverges_later)
    monkeypatch.setattr("dask_dl.training.loop.SECONDS_PER_COPY", 0.0)
    monkeypatch.setattr("dask_dl.training.loop.TIMES_PER_COPY", 0.0)  # however long a copy takes
    model = DeepLearningRegressor(hidden=(4,), random_state=1, epochs=20)
    with pytest.warns(DaskDLWarning), pytest.raises(DivergedError, match="layer 1 has gone"):
        model.fit(table, "y")
    assert model.stopped_by_ == "diverged"
    assert len(model.predict(table)) == 50 and model.model_.record.n_seen == calls[4]


def test_divergence_is_seen_within_a_round(table, monkeypatch):
    monkeypatch.setattr("dask_dl.memory.SLICE", 1000)  # a few rows a slice
    with pytest.warns(DaskDLWarning, match="not finite after") as warned, pytest.raises(DivergedError):
        fitted(table, epochs=100, train_samples_per_iteration=5000, adaptive_rate=False, rate=1e30)
    first = next(str(w.message) for w in warned if "not finite after" in str(w.message))
    assert int(first.split(" after ")[1].split()[0].replace(",", "")) < 50


def test_too_large_a_network_is_refused_before_it_is_allocated(table):
    with pytest.raises(ParameterError, match="more than 100,000,000"):
        DeepLearningRegressor(hidden=(50_000, 50_000)).fit(table, "y")


def test_values_that_switch_later_features_off_are_accepted(table):
    given = {"force_load_balance": False, "export_weights_and_biases": True, "reproducible": True, **QUIET}
    model = fitted(table, epochs=1, **given)
    assert model.parameters_["train_samples_per_iteration"] == -1
    assert model.parameters_["n_jobs"] == 1


def test_an_order_given_from_outside_is_followed(table):
    requested = parameters.validate({"hidden": (4,), "epochs": 1, "random_state": 1}, task="regression")
    order = np.array([7] * 50)
    same = [
        train(
            Request(open_source(table, "y"), "regression", requested),
            LocalBackend(lambda _: order),
        ).model
        for _ in range(2)
    ]
    np.testing.assert_array_equal(same[0].network.flat, same[1].network.flat)
    assert (same[0].network.flat != fitted(table, epochs=1).model_.network.flat).any()


@pytest.mark.parametrize("empty", [[0], [3], [0, 1, 3]])
def test_empty_partitions_anywhere(table, empty):
    import dask.dataframe as dd

    table = table.assign(w=np.linspace(0.5, 2, 50))
    parts = [table.iloc[:0] if k in empty else table.iloc[k * 12 : (k + 1) * 12] for k in range(4)]
    frame = dd.from_map(lambda k: parts[k], range(4), meta=table.iloc[:0])
    whole = pd.concat(parts)
    models = [
        DeepLearningRegressor(hidden=(4,), random_state=1, epochs=2).fit(t, "y", sample_weight="w", eval_set=t)
        for t in (frame, whole)
    ]
    np.testing.assert_allclose(models[0].coefs_[0], models[1].coefs_[0], rtol=1e-5, atol=1e-6)
    for name in ("training_rmse", "validation_rmse"):
        assert models[0].history_[name].iloc[-1] == pytest.approx(models[1].history_[name].iloc[-1], rel=1e-5)
    assert len(models[0].predict(frame).compute()) == len(whole)


@pytest.mark.parametrize("shift", [0.0, 1e6, 1e9])
def test_metrics_of_a_number_far_from_zero_are_exact(table, shift):
    moved = table.assign(y=table["y"] + shift)
    model = fitted(moved, epochs=3)
    error = moved["y"] - model.predict(moved)
    expected = float(np.sqrt((error**2).mean()))
    assert model.history_["training_rmse"].iloc[-1] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_warning_names_the_line_that_called_the_package(table, lazy):
    binary = table.assign(y=(table["y"] > 3).astype(int))
    with pytest.warns(DaskDLWarning, match="only 0 and 1") as caught:
        DeepLearningRegressor(hidden=(4,), epochs=1).fit(dd.from_pandas(binary, npartitions=2) if lazy else binary, "y")
    (warning,) = caught
    assert warning.filename == __file__


def test_columns_without_a_value_in_rows_that_count_are_dropped(table):
    weights = np.where(np.arange(50) < 25, 1.0, 0.0)
    late = np.where(weights > 0, np.nan, 1e6 * np.arange(50))
    same = np.where(weights > 0, 3.0, 1e6 * np.arange(50))
    with pytest.warns(DaskDLWarning, match="dropped 2 columns that are constant or empty: 'late', 'same'"):
        model = DeepLearningRegressor(hidden=(4,), epochs=1).fit(
            table.assign(late=late, same=same), "y", sample_weight=weights
        )
    assert model.encoder_.columns == ("a", "b", "c")


def test_prediction_can_be_interrupted_between_kernel_calls(table, monkeypatch):
    model = fitted(table, epochs=1)
    calls = []
    inner = replica.predict_batches

    def spy(rows, lo, hi, *more):
        calls.append((lo, hi))
        if len(calls) == 2:
            raise KeyboardInterrupt
        inner(rows, lo, hi, *more)

    monkeypatch.setattr(replica, "predict_batches", spy)
    with pytest.raises(KeyboardInterrupt):
        model.predict(table)
    assert calls == [(0, 16), (16, 50)]


def test_rows_of_another_order_are_refused(table):
    import dask.dataframe as dd

    frame = dd.from_pandas(table, npartitions=2).clear_divisions()
    shuffled = dd.from_pandas(table.sample(frac=1, random_state=0), npartitions=2, sort=False)
    with pytest.raises(SchemaError, match="different indexes: are their rows in one order"):
        DeepLearningRegressor(hidden=(4,), epochs=1).fit(frame[["a", "b"]], shuffled["y"].clear_divisions())


def test_persisted_frames_train_while_a_client_is_active(table):
    import dask.dataframe as dd
    from distributed import Client, LocalCluster

    frame = dd.from_pandas(table, npartitions=2)
    alone = fitted(frame, epochs=1)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        held = frame.persist()
        model = fitted(held, epochs=1)
        predicted = model.predict(held).compute()
    np.testing.assert_array_equal(model.coefs_[0], alone.coefs_[0])
    np.testing.assert_array_equal(predicted, alone.predict(table))


def test_where_the_clock_ends_rounds_does_not_decide_where_batches_end(table):
    # 50 rows are no whole number of batches of 8: every epoch is cut into batches from its own start.
    settings = QUIET | {"hidden": (4,), "random_state": 1, "mini_batch_size": 8, "epochs": 5, "n_jobs": 1}
    models = [DeepLearningRegressor(**settings, train_samples_per_iteration=n).fit(table, "y").model_ for n in (-2, 0)]
    np.testing.assert_array_equal(models[0].network.flat, models[1].network.flat)
    assert models[0].record.n_rounds > models[1].record.n_rounds


@pytest.mark.parametrize("batch", [50, 51, 10**9, 2**70])
def test_a_batch_is_no_larger_than_the_table(table, batch):
    model = fitted(table, mini_batch_size=batch, epochs=2)
    assert model.parameters_["mini_batch_size"] == 50 and model.get_params()["mini_batch_size"] == batch
