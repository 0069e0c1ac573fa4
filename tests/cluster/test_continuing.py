"""Going on from a model on a cluster: on workers as in one process, and from one to the other."""

from __future__ import annotations

import copy

import numpy as np
from cluster.tables import PLAIN, assert_same_bits, nothing_left, parted, rounds
from distributed.utils_test import gen_cluster
from sklearn.base import clone
from tables import make_table

from dask_dl import DeepLearningClassifier, DeepLearningRegressor

one_worker = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)], timeout=120)
two_workers = gen_cluster(client=True, nthreads=[("127.0.0.1", 1)] * 2, timeout=120)
COLUMNS = ["a", "b", "level", "y"]


@one_worker
async def test_one_worker_goes_on_to_the_bits_of_one_training(c, s, a):
    X = parted(make_table()[COLUMNS])
    whole = await DeepLearningRegressor(**rounds(700) | {"epochs": 3}).fit(X, "y")
    half = await DeepLearningRegressor(**rounds(700) | {"epochs": 1}).fit(X, "y")
    more = await DeepLearningRegressor(**rounds(700) | {"epochs": 3}).fit(X, "y", checkpoint=half)
    assert_same_bits(more, whole)
    await nothing_left(s, a)


@two_workers
async def test_two_workers_go_on_with_other_rows(c, s, a, b, tmp_path):
    table, other = make_table()[COLUMNS], make_table(731, 3)[COLUMNS]
    local = DeepLearningRegressor(**PLAIN, client=None)
    await local.fit(parted(table), "y", sample_weight=None)
    n = local.model_.record.n_seen
    more = await DeepLearningRegressor(**PLAIN | {"epochs": 5}, export_checkpoints_dir=str(tmp_path)).fit(
        parted(other), "y", checkpoint=local
    )
    record = more.model_.record
    assert (record.n_seen, record.n_epochs) == (n + 3 * len(other), 5)
    assert record.history.own[0].samples == n
    assert more.encoder_ == local.encoder_
    assert more.score(table, "y") > local.score(table, "y") - 0.1
    assert [entry.suffix for entry in tmp_path.iterdir()] == [".zip"]
    warm = DeepLearningRegressor(**PLAIN, warm_start=True)
    await warm.fit(parted(table), "y")
    await warm.fit(parted(table), "y")
    await warm.partial_fit(parted(other), "y")
    assert warm.model_.record.n_epochs == 5
    await nothing_left(s, a, b)


@two_workers
async def test_a_reproducible_training_goes_on_to_the_bits_of_one_process(c, s, a, b):
    table, other = make_table()[COLUMNS], make_table(730, 3)[COLUMNS]
    given = PLAIN | {"reproducible": True, "n_shards": 3, "averaging_momentum": 0.0}
    half = await DeepLearningRegressor(**given).fit(parted(table), "y")
    there = await DeepLearningRegressor(**given | {"epochs": 4}).fit(parted(other), "y", checkpoint=half)
    again = await DeepLearningRegressor(**given | {"epochs": 4}).fit(parted(other), "y", checkpoint=half)
    assert_same_bits(there, again)
    whole = await DeepLearningRegressor(**given | {"epochs": 4}).fit(parted(table), "y")
    more = await DeepLearningRegressor(**given | {"epochs": 4}).fit(parted(table), "y", checkpoint=half)
    assert_same_bits(more, whole)
    assert np.isfinite(there.model_.network.flat).all()
    await nothing_left(s, a, b)


# ---- searches that train by partial_fit ---------------------------------------------------------------------------------


def created(estimator, number, **given):
    return clone(estimator).set_params(**given), {"model_id": number, "params": given, "partial_fit_calls": 0}


def trained(candidate, X, y, given):
    model, meta = candidate
    model = copy.deepcopy(model)
    return model.partial_fit(X, y, **given), {**meta, "partial_fit_calls": meta["partial_fit_calls"] + 1}


def trained_alone(model, blocks, given):
    for X, y in blocks:
        model.partial_fit(X, y, **given)
    return model


def scored(candidate, X, y):
    model, meta = candidate
    return {**meta, "score": model.score(X, y)}


@two_workers
async def test_a_search_trains_candidates_block_by_block_on_any_worker(c, s, a, b):
    """As IncrementalSearchCV and HyperbandSearchCV of dask-ml do: models travel, and a block ahead is trained on a guess."""
    table = make_table(700)
    X, y = table[["a", "b"]].to_numpy(), (table["a"] > 0).to_numpy().astype(int)
    cuts = [slice(100 * k, 100 * k + 100) for k in range(5)]
    blocks = [await c.scatter([X[cut], y[cut]]) for cut in cuts]
    held = await c.scatter([X[500:], y[500:]])
    estimator = DeepLearningClassifier(hidden=(8,), random_state=1, n_jobs=1)
    given = [{"rho": rho, "l2": l2} for rho in (0.9, 0.99) for l2 in (0.0, 1e-3)]
    models = {k: c.submit(created, estimator, k, **params) for k, params in enumerate(given)}
    called = {"classes": [0, 1]}

    def train_on(models, k, **more):
        where = [(a if (k + n) % 2 else b).address for n in models]  # always another one
        return {
            n: c.submit(trained, model, *blocks[k], called, workers=[worker], pure=False, **more)
            for (n, model), worker in zip(models.items(), where, strict=True)
        }

    models = train_on(models, 0)
    for k in range(1, 5):
        ahead = train_on(models, k, priority=-1)
        metas = await c.gather([c.submit(scored, model, *held, pure=False) for model in models.values()])
        assert {meta["partial_fit_calls"] for meta in metas} == {k}
        best = sorted(metas, key=lambda meta: -meta["score"])[: max(1, len(metas) // 2)]
        models = {meta["model_id"]: ahead[meta["model_id"]] for meta in best}
    ((number, future),) = models.items()
    model, meta = await future
    assert meta["params"] == given[number] and meta["partial_fit_calls"] == model.model_.record.n_epochs == 5
    alone = clone(estimator).set_params(**given[number])
    alone = await c.submit(trained_alone, alone, [(X[cut], y[cut]) for cut in cuts], called)
    assert_same_bits(model, alone)
    assert alone.score(X[500:], y[500:]) > 0.85
