"""Contributions to the answers of models: they add up to the answers, by column as by input, and are those of the oracle."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from naive import contributions as oracle
from predicted import SMALL
from scipy.sparse import csr_array
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor
from dask_dl.explain.contributions import WORK_PER_SLICE, Contributions
from dask_dl.kernels.team import STOP

TABLE = make_table(300, gaps=0.1, labels=("a", "b", "c"))
X = TABLE[[*"abcde", "level"]]
ROWS, BACKGROUND = X.head(40), X.tail(120)
MEDIUM = SMALL | {"hidden": (9, 6), "epochs": 3}
TWO = TABLE["label"].replace("c", "b")


def answers(model, rows, output, **more):
    """What the contributions to each value have to add up to, (n, O)."""
    if not hasattr(model, "classes_"):
        found = np.asarray(model.predict(rows, **more))[:, None]
        is_log = model.parameters_["distribution"] in {"poisson", "gamma", "tweedie"} and output == "margin"
        return np.log(found) if is_log else found
    p = model.predict_proba(rows).astype(float)
    logs = np.log(p)
    if len(model.classes_) == 2:
        return (logs[:, 1:] - logs[:, :1]) if output == "margin" else p[:, 1:]
    return logs - logs.mean(axis=1, keepdims=True) if output == "margin" else p


def check(model, rows, background, more=None, of_background=None):
    """Contributions add up to answers, and those of inputs to those of columns, in both spaces."""
    more, of_background = more or {}, of_background or {}
    for output in ("margin", "response"):
        wanted, usual = answers(model, rows, output, **more), answers(model, background, output, **of_background)
        n, n_values = wanted.shape
        found = {}
        for per_input in (False, True):
            offsets = {f"background_{name}": value for name, value in of_background.items()}
            values = model.contributions(
                rows, background, output=output, per_input=per_input, n_background=None, **more, **offsets
            )
            values = np.asarray(values)
            values = values.transpose(0, 2, 1) if values.ndim == 3 else values.reshape(n, n_values, -1)
            scale = max(1.0, np.abs(wanted).max())
            assert np.abs(values.sum(axis=2) - wanted).max() < 1e-4 * scale
            assert np.abs(values[..., -1] - usual.mean(axis=0)).max() < 1e-4 * scale
            assert np.abs(values[..., :-1]).max() > 1e-3 * scale
            found[per_input] = values
        yield output, found


def check_columns(model, rows, background, **more):
    """The inputs of each column have what it has."""
    names = [name.partition(".")[0] for name in model.encoder_.input_names]
    for _, found in check(model, rows, background, **more):
        of_inputs = found[True]
        for k, column in enumerate(model.model_.record.feature_names):
            mine = [i for i, name in enumerate(names) if name == column]
            assert np.allclose(found[False][..., k], of_inputs[..., mine].sum(axis=2), atol=1e-6)


@pytest.mark.parametrize(
    "given",
    [
        {"activation": "rectifier"},
        {"activation": "tanh"},
        {"activation": "maxout"},
        {"activation": "tanh_with_dropout"},
        {"activation": "maxout_with_dropout", "hidden_dropout_ratios": (0.2, 0.6)},
        {"hidden": ()},
        {"standardize": False},
        {"use_all_factor_levels": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("target", ["number", "two classes", "three classes"])
def test_contributions_add_up(given, target):
    kind = DeepLearningRegressor if target == "number" else DeepLearningClassifier
    y = {"number": TABLE["y"], "two classes": TWO, "three classes": TABLE["label"]}[target]
    check_columns(kind(**MEDIUM | given).fit(X, y), ROWS, BACKGROUND)


def test_contributions_to_probabilities_that_jump_add_up():
    """Where 16 nodes are too few for the mean gradient of softmax."""
    model = DeepLearningClassifier(**MEDIUM).fit(X, TABLE["label"])
    rows, background = ROWS.assign(a=ROWS["a"] * 100), BACKGROUND.assign(c=BACKGROUND["c"] * 100)
    found = model.contributions(rows, background, output="response").to_numpy().reshape(40, 3, -1)
    p = model.predict_proba(rows)
    assert p.min() < 1e-20
    assert np.abs(found.sum(axis=2) - p).max() < 1e-4


@pytest.mark.parametrize("distribution", ["poisson", "gamma", "tweedie", "laplace", "huber", "quantile"])
def test_contributions_add_up_through_links(distribution):
    model = DeepLearningRegressor(distribution=distribution, **MEDIUM).fit(X, TABLE["y"].abs() * 20 + 0.1)
    check_columns(model, ROWS, BACKGROUND)


@pytest.mark.parametrize("distribution", ["gaussian", "poisson"])
def test_offsets_have_a_column(distribution):
    y, offset = TABLE["y"].abs(), TABLE["w"]
    model = DeepLearningRegressor(distribution=distribution, **MEDIUM).fit(X, y, offset=offset)
    more = {"more": {"offset": offset.head(40)}, "of_background": {"offset": offset.tail(120)}}
    for output, found in check(model, ROWS, BACKGROUND, **more):
        if output == "margin":
            assert np.allclose(found[False][:, 0, -2], offset.head(40) - offset.tail(120).mean(), atol=1e-5)
    named = DeepLearningRegressor(distribution=distribution, **MEDIUM).fit(X.assign(w=offset), y, offset="w")
    found = named.contributions(X.assign(w=offset).head(3), X.assign(w=offset))
    assert list(found.columns) == [*X.columns, "w", "BiasTerm"]


@pytest.mark.parametrize("encoding", ["enum_limited", "binary", "label_encoder", "eigen", "sort_by_response"])
def test_contributions_add_up_in_every_encoding(encoding):
    model = DeepLearningRegressor(categorical_encoding=encoding, **MEDIUM).fit(X, TABLE["y"])
    for _ in check(model, ROWS, BACKGROUND):
        pass


def test_balanced_classes_add_up():
    model = DeepLearningClassifier(balance_classes=True, **MEDIUM).fit(X, TABLE["label"])
    assert model.model_.head.correction
    check_columns(model, ROWS, BACKGROUND)


@pytest.mark.parametrize("sparse", [False, True])
def test_hashed_levels_have_columns_of_their_own(sparse):
    """A column whose level is that of all background rows contributes nothing, though it shares inputs with another."""
    table = X.assign(kind=np.where(TABLE["a"] > 0, "p", "q"))
    given = {"max_categorical_features": 2, "sparse": sparse}
    model = DeepLearningRegressor(**MEDIUM | given).fit(table, TABLE["y"])
    for _ in check(model, table.head(40), table.tail(120)):
        pass
    same = table.tail(120).assign(kind="p")
    found = model.contributions(table.head(40).assign(kind="p"), same, n_background=None)
    assert np.abs(found["kind"]).max() < 1e-6 < np.abs(found["level"]).max()


def test_sparse_matrices_add_up():
    numbers = np.where(TABLE[list("abcde")] > 0.3, TABLE[list("abcde")], 0.0)
    model = DeepLearningRegressor(sparse=True, **MEDIUM).fit(csr_array(numbers), TABLE["y"])
    for _ in check(model, csr_array(numbers[:40]), csr_array(numbers[-120:])):
        pass
    of_array = model.contributions(numbers[:40], numbers[-120:])
    assert (model.contributions(csr_array(numbers[:40]), csr_array(numbers[-120:])) == of_array).all()


def test_unknown_levels_and_absent_columns_are_as_in_predictions():
    model = DeepLearningClassifier(**MEDIUM).fit(X, TABLE["label"])
    check_columns(model, ROWS.assign(level="never seen"), BACKGROUND)
    with pytest.warns(UserWarning, match="the background lacks 1 columns"):
        model.contributions(ROWS, BACKGROUND.drop(columns="b"))


@pytest.mark.parametrize("activation", ["rectifier", "tanh", "maxout"])
@pytest.mark.parametrize("output", ["margin", "response"])
def test_contributions_are_those_of_the_oracle(activation, output):
    numbers = TABLE[list("abcde")].fillna(0.0).to_numpy()
    model = DeepLearningClassifier(activation=activation, **MEDIUM).fit(numbers, TABLE["label"])
    found = model.contributions(numbers[:3], numbers[-4:], output=output)
    weights, biases = model.model_.network.topology.unpack(model.model_.network.flat)
    inputs = model.encoder_.encode(pd.DataFrame(numbers, columns=[f"x{k}" for k in range(5)]), "").dense[:, :5]
    for i, k in ((0, 0), (1, 2), (2, 1)):
        seed = oracle.seed_of_softmax(k) if output == "response" else lambda z, _, k=k: np.eye(len(z))[k] - 1 / len(z)
        expected = oracle.contributions(inputs[i], inputs[-4:], weights, biases, activation=activation, seed=seed)
        assert np.allclose(found[i, :5, k], expected, rtol=1e-4, atol=1e-5)


def test_a_class_alone_has_what_it_has_among_all():
    model = DeepLearningClassifier(**MEDIUM).fit(X, TABLE["label"])
    for output in ("margin", "response"):
        whole = model.contributions(ROWS, BACKGROUND, output=output)
        alone = model.contributions(ROWS, BACKGROUND, output=output, label="b")
        assert list(alone.columns) == [*X.columns, "BiasTerm"]
        assert list(whole.columns) == [f"{label}.{name}" for label in "abc" for name in alone.columns]
        assert np.allclose(whole.filter(regex=r"^b\."), alone, atol=1e-7)


def test_columns_of_no_use_contribute_nothing():
    with pytest.warns(UserWarning, match="dropped 1 columns"):
        model = DeepLearningRegressor(**MEDIUM).fit(X.assign(constant=1.0), TABLE["y"])
    found = model.contributions(ROWS.assign(constant=2.0), BACKGROUND.assign(constant=1.0))
    assert list(found.columns) == [*X.columns, "constant", "BiasTerm"]
    assert (found["constant"] == 0).all() and (found["a"] != 0).any()


def explained(model, **more):
    given = {"offset": None, "n": None, "output": "margin", "label": None, "per_input": False, "called": ""} | more
    return Contributions.beside(model.model_, BACKGROUND, **given)


def test_a_chunk_is_of_few_bytes_and_of_little_work(monkeypatch):
    model = DeepLearningRegressor(**MEDIUM).fit(X, TABLE["y"])
    found = explained(model)
    assert found.rows_per_chunk() == WORK_PER_SLICE // (120 * (9 * (5 + 1 + 1) + 6 * 9 + 6))
    monkeypatch.setattr("dask_dl.node.predict.BYTES_PER_CHUNK", 8000)
    width = 7 + 3 * 16  # contributions and bias; sums and activations are half as wide
    assert found.rows_per_chunk() == 1000 // width and found.rows_per_chunk(2) == 1000 // width // 2


def test_a_thread_that_is_told_to_stop_stops():
    found, control = explained(DeepLearningRegressor(**MEDIUM).fit(X, TABLE["y"])), np.zeros(64, np.int64)
    assert (found.answers(ROWS, None, "", control)[:, 0, :-1] != 0).any()
    control[STOP] = 1
    assert (found.answers(ROWS, None, "", control)[:, 0, :-1] == 0).all()
