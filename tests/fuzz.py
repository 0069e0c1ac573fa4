"""Forged files, from seeds: models, MOJOs, checkpoints, scratch files and sparse matrices that somebody made to do harm.

    python tests/fuzz.py --n 10000 --seed 0        # as many as wanted; prints what was found, and ends with 1 if anything was
    python tests/fuzz.py --n 1 --seed 4711         # one of them again

Each forgery is a function of its seed. It is tried in a child process, so that a crash and a hang are seen too and belong
to a seed. What may come of it: a DaskDLError, or the right result. A file that loads answers with finite numbers and with
probabilities; a checkpoint is refused or gone on with. Nothing else: no other error, no code that is run, no load that
takes more time or memory than its file warrants.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from forgery import forged_archive, forged_bytes, forged_mojo
from scipy import sparse
from tables import UNSCORED

from dask_dl import DeepLearningClassifier, DeepLearningRegressor, load
from dask_dl.errors import DaskDLError, StorageError
from dask_dl.frame.block_store import OnDisk
from dask_dl.state import Entries, Rows, begins

DATA = Path(__file__).parent / "data"
MOJOS = sorted(path.stem for path in (DATA / "mojo").glob("*.zip"))
FORMATS = sorted(path.stem.removeprefix("format-") for path in DATA.glob("format-*.zip"))
#: Bytes that a load may take beside what its file warrants: that many times its size.
MAX_EXTRA, TIMES_FILE = 200 * 2**20, 8
#: Seconds after which a child that says nothing has hung.
SILENCE = 120.0
#: What loading never does, as Python tells its audit hooks.
FORBIDDEN = {
    "exec",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "pickle.find_class",
    "socket.connect",
    "subprocess.Popen",
}


class Finding(Exception):
    """What is wrong with a forgery's outcome."""


# What is forged


def make_table(n=200):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(5, 3, n), "c": rng.choice(list("uvwxyz"), n)})
    score = table["a"] + table["b"] - 5 + table["c"].isin(["u", "v"])
    return table.assign(y=np.where(score > 0, "p", "q"), z=np.exp(score / 4))


MODELS = {
    "classes": (DeepLearningClassifier, "y", {"activation": "maxout_with_dropout"}),
    "balanced": (DeepLearningClassifier, "y", {"balance_classes": True, "categorical_encoding": "eigen"}),
    "numbers": (
        DeepLearningRegressor,
        "z",
        {"initial_biases": [None, [0.5] * 4, [0.25]], "categorical_encoding": "binary"},
    ),
    "rates": (DeepLearningRegressor, "z", {"distribution": "poisson", "categorical_encoding": "label_encoder"}),
    "hashed": (DeepLearningRegressor, "z", {"max_categorical_features": 3, "sparse": True}),
}
CHECKPOINTS = {
    "adadelta": (DeepLearningClassifier, "y", {}),
    "momentum": (DeepLearningRegressor, "z", {"adaptive_rate": False, "momentum_start": 0.5, "distribution": "huber"}),
    "plain": (DeepLearningRegressor, "z", {"adaptive_rate": False, "categorical_encoding": "eigen"}),
}
COMMON = UNSCORED | {"hidden": (6, 4), "random_state": 1, "n_jobs": 1}


def estimator(kind, given, **more):
    return kind(**COMMON | given | more)


def predictors_and(target):
    return make_table()[["a", "b", "c", target]]


def resumed(name, folder, epochs):
    kind, target, given = CHECKPOINTS[name]
    model = estimator(kind, given, epochs=epochs, checkpoint_dir=str(folder), checkpoint_interval=1e6)
    table = predictors_and(target)
    return model.fit(table, target, eval_set=table[:50], resume=epochs > 2), table


def make_subjects(folder):
    """Sound files to forge from, in a folder."""
    for name, (kind, target, given) in MODELS.items():
        model = estimator(kind, given, epochs=2).fit(predictors_and(target), target)
        model.save(folder / f"model-{name}.zip")
    for name in FORMATS:
        shutil.copy(DATA / f"format-{name}.zip", folder / f"model-{name}.zip")
    for name in CHECKPOINTS:
        resumed(name, folder / name, 2)
        shutil.copy(max((folder / name).glob("*.zip")), folder / f"checkpoint-{name}.zip")
        shutil.rmtree(folder / name)


# Whether it did harm


def check_model(model):
    """Whether a model that was loaded answers as a model does."""
    from sklearn.base import clone

    table = table_for(model)
    answer = answered(model, table)
    if isinstance(model, DeepLearningClassifier):
        p = model.predict_proba(table)
        if not (
            np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all() and np.allclose(p.sum(axis=1), 1, atol=1e-4)
        ):
            raise Finding(f"probabilities {p[:2].tolist()}")
        if not set(answer.tolist()) <= set(model.classes_.tolist()):
            raise Finding(f"labels {answer[:4].tolist()} of {model.classes_.tolist()}")
    elif not np.isfinite(answer).all():
        raise Finding(f"numbers {answer[:4].tolist()}")
    for look in (repr, clone, lambda m: (repr(m.encoder_), m.history_, m.coefs_, m.best_score_)):
        look(model)
    return table, answer


def answered(model, table):
    """A model's answers to a table: an autoencoder gives its rows back."""
    return model.predict(table) if hasattr(model, "predict") else np.asarray(model.reconstruct(table))


def table_for(model):
    """A table of a model's columns, with ordinary values, missing ones and levels that it does not know."""
    encoder, n = model.encoder_, 12
    columns = {name: np.zeros(n) for name in model.model_.record.feature_names}
    for k, number in enumerate(encoder.numbers):
        columns[number.name] = number.fill + np.random.default_rng(k).normal(size=n).clip(-2, 2) / number.factor
        columns[number.name][0] = np.nan
    for category in (*encoder.categories, *encoder.codes):
        levels = [*category.levels[:9], "never seen", None]
        columns[category.name] = pd.Series([levels[i % len(levels)] for i in range(n)], dtype=object)
    table = pd.DataFrame(columns)
    return table if model.model_.record.is_named else table.to_numpy(object)


def try_model(name, subjects, folder, rng):
    path = folder / "forged.zip"
    path.write_bytes(forged_archive((subjects / f"model-{name}.zip").read_bytes(), rng))
    model = measured(lambda: load(path), path.stat().st_size)
    try:
        table, answer = given_offset(model, check_model)
        model.save(folder / "again.zip")
        again = given_offset(load(folder / "again.zip"), lambda m: m.predict(table))
    except DaskDLError as error:
        raise Finding(f"loaded, and then {type(error).__name__}: {error}") from error
    if rng.random() < 0.1:  # it draws a picture, which takes longer than all the rest
        model._repr_html_()
    if not np.array_equal(answer, again):
        raise Finding("answers otherwise after it was saved and loaded again")


def try_mojo(name, _subjects, folder, rng):
    path = folder / "forged.zip"
    path.write_bytes(forged_mojo((DATA / "mojo" / f"{name}.zip").read_bytes(), rng))
    model = measured(lambda: load(path), path.stat().st_size)
    try:
        _, answer = given_offset(model, check_model)
        model.save(folder / "again.zip")
        again = given_offset(load(folder / "again.zip"), lambda m: answered(m, table_for(m)))
    except DaskDLError as error:
        raise Finding(f"loaded, and then {type(error).__name__}: {error}") from error
    if not np.array_equal(answer, again):
        raise Finding("answers otherwise after it was saved and loaded again")


def given_offset(model, work):
    """Do it with a model that needs no offsets; those that need them get a column of zeros."""
    if model.model_.record.offset_name is None:
        return work(model)
    inner = model.predict
    model.predict = lambda table: inner(table, offset=np.zeros(len(table)))
    try:
        return work(model)
    finally:
        del model.predict


def try_checkpoint(name, subjects, folder, rng):
    place = folder / "checkpoints"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    sound = (subjects / f"checkpoint-{name}.zip").read_bytes()
    number = rng.choice([1, 1, 1, 2])
    (place / f"checkpoint-0000000{number}.zip").write_bytes(forged_archive(sound, rng))
    if number == 2:  # a whole one is there to fall back to
        (place / "checkpoint-00000001.zip").write_bytes(sound)
    model, table = resumed(name, place, 3)
    answer = model.predict(table)
    if answer.dtype != object and not np.isfinite(answer).all():
        raise Finding(f"went on to {answer[:4].tolist()}")


def try_scratch(name, subjects, folder, rng):
    draw, n = np.random.default_rng(rng.randrange(2**32)), rng.randrange(1, 300)
    length = draw.integers(0, 4, n).astype(np.int32)
    pools = draw.integers(0, 50, int(length.sum())).astype(np.int32), draw.normal(size=int(length.sum())).astype("f4")
    entries = Entries(begins(length), length, *pools)
    dense, active = draw.normal(size=(n, 16)).astype("f4"), draw.integers(-1, 9, (n, 2)).astype(np.int32)
    none = np.zeros(0, np.float32)
    rows = Rows(dense, active, draw.normal(size=n).astype("f4"), none, none, entries=entries)
    block_store = OnDisk(folder, rng.choice([200, 5000, 10**6]), "forged")
    handles = [
        block_store.put(rows, None),
        block_store.put(rows.map(lambda part: part[::-1] if part.ndim == 1 else part), None),
    ]
    raw = handles[0].path.read_bytes()
    damaged = handles[1].path.read_bytes() if rng.random() < 0.1 else forged_bytes(raw, rng)
    handles[0].path.write_bytes(damaged)
    try:
        for lo in range(0, n, handles[0].n_segment):
            hi = min(lo + handles[0].n_segment, n)
            want = rows.cut(lo, hi).compact()
            got = want.map(np.zeros_like)
            block_store.read(handles[0], lo, got)
            if not all(np.array_equal(a, b) for a, b in zip(got.parts, want.parts, strict=True)):
                raise Finding("other rows were read than were written")
    except StorageError:
        if damaged == raw:
            raise
    finally:
        for handle in handles:
            block_store.drop(handle)


def try_matrix(name, subjects, folder, rng):
    X, y = make_matrix()
    model = SPARSE.get("model")
    if model is None:
        model = SPARSE["model"] = estimator(DeepLearningRegressor, {"sparse": True}, epochs=1).fit(X, y)
    forge_matrix(X, rng)
    if rng.random() < 0.3:
        model = estimator(DeepLearningRegressor, {"sparse": True}, epochs=0.2).fit(X, y)
    answer = model.predict(X)
    if answer.shape != (len(y),) or not np.isfinite(answer).all():
        raise Finding(f"numbers {answer[:4].tolist()}")


SPARSE = {}


def make_matrix():
    draw = np.random.default_rng(0)
    X = sparse.random(60, 12, 0.3, format="csr", random_state=np.random.RandomState(0))
    return X, X @ draw.normal(size=12) + draw.normal(size=60)


def forge_matrix(X, rng):
    """Damage a matrix where it lies, as scipy's own checks would not let it be made."""
    part = rng.choice(["indices", "indptr", "data"])
    array, value = getattr(X, part), rng.choice([-1, -(2**31), 2**31 - 1, 12, 10**6, 0, 61])
    how = rng.random()
    if how < 0.6:
        array[rng.randrange(len(array))] = value
    elif how < 0.75:
        setattr(X, part, array[: rng.randrange(len(array))].copy())
    elif how < 0.85:
        setattr(X, part, array[::-1].copy())
    elif how < 0.95:
        setattr(X, part, array.astype(rng.choice(["i8", "u1", "f8", "i2"])))
    else:
        X._shape = (X.shape[0], rng.choice([3, 12, 400]))


def measured(work, n_bytes):
    """Load a file; it is a Finding when that takes more time or memory than the file warrants, or runs code."""
    with Path("/proc/self/clear_refs").open("w") as file:
        file.write("5")  # the peak is counted from here
    before, began = memory("VmRSS"), time.process_time()
    HEARD.clear()
    try:
        WATCH.append(True)
        return work()
    finally:
        WATCH.clear()
        took, more = time.process_time() - began, memory("VmHWM") - before
        if took > LIMITS["seconds"] or more > MAX_EXTRA + TIMES_FILE * n_bytes:
            raise Finding(f"a file of {n_bytes:,} bytes took {took:.1f} s and {more / 2**20:,.0f} MB to load")
        if HEARD:
            raise Finding(f"loading did {HEARD}")


def memory(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


WATCH, HEARD, LIMITS = [], [], {"seconds": 1.0}


def listen(event, _arguments):
    if WATCH and event in FORBIDDEN:
        HEARD.append(event)


TARGETS = {
    "model": (try_model, [*MODELS, *FORMATS]),
    "checkpoint": (try_checkpoint, [*CHECKPOINTS]),
    "mojo": (try_mojo, MOJOS),
    "scratch": (try_scratch, [""]),
    "matrix": (try_matrix, [""]),
}
#: Of ten forgeries.
SHARES = {"model": 5, "checkpoint": 2, "mojo": 1, "scratch": 1, "matrix": 1}


def attempt(seed, targets, subjects, folder):
    """What came of a forgery: "refused", "fine", or what is wrong."""
    rng = random.Random(seed)
    target = rng.choices(targets, [SHARES[name] for name in targets])[0]
    work, names = TARGETS[target]
    name = rng.choice(names)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work(name, subjects, folder, rng)
    except DaskDLError:
        return "refused"
    except Finding as finding:
        return f"{target} {name}: {finding}"
    except Exception as error:  # noqa: BLE001  # any other error is what is looked for
        return f"{target} {name}: raw {type(error).__name__}: {error}"
    return "fine"


# Children


def work_through(seeds, targets, subjects, seconds):
    """In a child: a line before each seed, and one after it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    LIMITS["seconds"] = seconds
    sys.addaudithook(listen)
    with tempfile.TemporaryDirectory() as folder:
        load(subjects / "model-classes.zip").save(f"{folder}/sound.zip")  # imports run code, too: all are done by then
        for seed in seeds:
            print("begin", seed, flush=True)
            print("end", seed, json.dumps(attempt(seed, targets, subjects, Path(folder))), flush=True)


def run(n, seed=0, targets=tuple(TARGETS), seconds=1.0, batch=1000, say=lambda text: None):
    """Try n forgeries from a seed on; returns what was found, by seed, and how many were refused and how many fine."""
    findings, counts = {}, {"refused": 0, "fine": 0}
    with tempfile.TemporaryDirectory() as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make_subjects(Path(folder))
        at = seed
        while at < seed + n:
            stop = min(at + batch, seed + n)
            at = _watched(at, stop, targets, Path(folder), seconds, findings, counts)
            say(f"{at - seed:,} of {n:,}: {counts}, {len(findings)} findings")
    return findings, counts


def _watched(at, stop, targets, subjects, seconds, findings, counts):
    """Let a child try seeds, and note what it says; returns the seed to go on with."""
    arguments = [sys.executable, "-X", "faulthandler", __file__, "--child", str(subjects), "--seconds", str(seconds)]
    arguments += ["--seed", str(at), "--n", str(stop - at), "--targets", *targets]
    with tempfile.TemporaryFile("w+") as trouble:
        child = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=trouble, text=False, bufsize=0)
        current, text = None, b""
        try:
            while True:
                piece = _read(child.stdout.fileno())
                if piece is None:
                    findings[current if current is not None else at] = f"hung for {SILENCE:.0f} s"
                    break
                if not piece:
                    break
                *lines, text = (text + piece).split(b"\n")
                for line in lines:
                    word, number, *rest = line.decode().split(" ", 2)
                    if word == "begin":
                        current = int(number)
                        continue
                    verdict, current = json.loads(rest[0]), None
                    at = int(number) + 1
                    if verdict in counts:
                        counts[verdict] += 1
                    else:
                        findings[int(number)] = verdict
        finally:
            child.kill()
            code = child.wait()
            child.stdout.close()
        if current is not None and current not in findings:
            trouble.seek(0)
            findings[current] = f"died, exit status {code}: {trouble.read()[-800:]}"
        elif current is None and at < stop:
            trouble.seek(0)
            raise RuntimeError(f"a child ended before its first seed: {trouble.read()[-2000:]}")
    return at if current is None else current + 1


def _read(descriptor):
    """What a child says next, b"" at its end; None when it says nothing for too long."""
    import select

    ready, _, _ = select.select([descriptor], [], [], SILENCE)
    return os.read(descriptor, 1 << 16) if ready else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=[*TARGETS])
    parser.add_argument("--seconds", type=float, default=1.0, help="processor time that a load may take")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        work_through(range(given.seed, given.seed + given.n), given.targets, given.child, given.seconds)
        return 0
    findings, counts = run(given.n, given.seed, given.targets, given.seconds, say=lambda text: print(text, flush=True))
    for seed, finding in findings.items():
        print(f"seed {seed}: {finding}")
    print(f"{given.n:,} forgeries: {counts}, {len(findings)} findings")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
