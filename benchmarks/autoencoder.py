"""A wide autoencoder, 717-200-20-200-717, row by row and in batches of 32, beside PyTorch and scikit-learn at equal error.

Digits of the demo, the 717 pixels with the largest variance, standardised; tanh, linear outputs, squared error. After every
epoch the error on test rows is taken, outside the clock; seconds are those that each needs to the largest of their last errors,
between two epochs by a straight line. All in turn for each seed. PyTorch where it is installed, with Adam and with ADADELTA,
the rule that is learned by here.

H2O where it is installed (its wheel and Java 8 to 17) learns by row with tanh outputs of inputs that are divided by their
range; so does dask_dl then. Its error after some epochs is the one that both must reach.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from common import ALL_EPOCHS, FIGURE, figure, options, print_machine, print_table
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

from dask_dl import DeepLearningAutoEncoder
from dask_dl.demo import make_digits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

N_INPUTS, HIDDEN, BATCH = 717, (200, 20, 200), 32
ROWS, BATCHES, TORCH, SKLEARN = "dask_dl, rows", "dask_dl, batches", "PyTorch, adam", "scikit-learn, adam"
ADADELTA = "PyTorch, adadelta"
TARGETS = {TORCH: 3.0, ADADELTA: 3.0}  #: times faster in batches, to equal error
#: The same of H2O, by rows and in batches.
TIMES_H2O = 15.0


class Way(NamedTuple):
    """How the error falls: one entry for each epoch."""

    seconds: list[float]  #: of training, since its beginning
    errors: list[float]  #: mean squared error on the test rows

    def seconds_to(self, error: float) -> float:
        """Seconds until the error was reached; NaN where it never was."""
        reached = [k for k, value in enumerate(self.errors) if value <= error]
        if not reached:
            return float("nan")
        k = reached[0]
        if k == 0:
            return self.seconds[0]
        share = (self.errors[k - 1] - error) / (self.errors[k - 1] - self.errors[k])
        return self.seconds[k - 1] + share * (self.seconds[k] - self.seconds[k - 1])


def read_digits(n_rows: int) -> tuple[Floats, Floats]:
    """(training rows, test rows), standardised by the training rows."""
    with tempfile.TemporaryDirectory() as made:
        folders = make_digits(Path(made), n_train=n_rows, n_valid=2_000)
        train, test = (pd.read_parquet(folder).drop(columns="digit").astype(np.float64) for folder in folders)
    kept = train.columns[np.sort(np.argsort(-train.var().to_numpy(), kind="stable")[:N_INPUTS])]
    mean, deviation = train[kept].mean(), train[kept].std()
    return tuple(((rows[kept] - mean) / deviation).to_numpy(np.float32) for rows in (train, test))


def ours(batch: int, **other: Any) -> Callable[..., Way]:
    """Our way, with so many rows a step; `other` parameters make its outputs and units those of H2O."""

    def train(X: Floats, test: Floats, epochs: int, seed: int, threads: int) -> Way:
        model = DeepLearningAutoEncoder(
            **({"hidden": HIDDEN, "activation": "tanh", "output_activation": "linear", "standardize": False} | other),
            mini_batch_size=batch, epochs=epochs, train_samples_per_iteration=len(X), score_each_iteration=True,
            random_state=seed,
            n_jobs=threads, score_training_samples=100, ignore_const_cols=False, **ALL_EPOCHS,
        )  # fmt: skip
        history = model.fit(X, eval_set=test).history_
        history = history[history["epochs"] > 0]
        seconds = history["duration"] - history["scoring_seconds"]
        return Way(seconds.tolist(), np.square(history["validation_rmse"]).tolist())

    return train


def sklearn(X: Floats, test: Floats, epochs: int, seed: int, threads: int) -> Way:
    model, way, spent = (
        MLPRegressor(hidden_layer_sizes=HIDDEN, activation="tanh", batch_size=BATCH, random_state=seed),
        Way([], []),
        0.0,
    )
    with threadpool_limits(threads):
        for _ in range(epochs):
            began = time.perf_counter()
            model.partial_fit(X, X)
            spent += time.perf_counter() - began
            way.seconds.append(spent)
            way.errors.append(float(np.square(model.predict(test) - test).mean()))
    return way


def adam(X: Floats, test: Floats, epochs: int, seed: int, threads: int) -> Way:
    import torch

    return with_torch(lambda weights: torch.optim.Adam(weights, foreach=True), X, test, epochs, seed, threads)


def adadelta(X: Floats, test: Floats, epochs: int, seed: int, threads: int) -> Way:
    """PyTorch with our rule, loss and starting weights: it has to learn as much from as many rows."""
    import torch

    def made(weights: Any) -> Any:
        return torch.optim.Adadelta(weights, lr=1.0, rho=0.99, eps=1e-8, foreach=True)

    return with_torch(made, X, test, epochs, seed, threads, like_ours=True)


def with_torch(
    made: Callable[..., Any], X: Floats, test: Floats, epochs: int, seed: int, threads: int, *, like_ours: bool = False
) -> Way:
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    sizes, layers = [X.shape[1], *HIDDEN, X.shape[1]], []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.Tanh()]
    model = torch.nn.Sequential(*layers[:-1])
    for layer in model if like_ours else ():
        if hasattr(layer, "weight"):
            torch.nn.init.xavier_uniform_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    optimizer, scale = made(model.parameters()), X.shape[1] / 2 if like_ours else 1.0
    rows, held, way, spent = torch.from_numpy(X), torch.from_numpy(test), Way([], []), 0.0
    for _ in range(epochs):
        began = time.perf_counter()
        for batch in rows[torch.randperm(len(rows))].split(BATCH):
            optimizer.zero_grad()
            (scale * torch.nn.functional.mse_loss(model(batch), batch)).backward()
            optimizer.step()
        spent += time.perf_counter() - began
        way.seconds.append(spent)
        with torch.no_grad():
            way.errors.append(float(torch.nn.functional.mse_loss(model(held), held)))
    return way


def compare(X: Floats, test: Floats, epochs: int, seeds: range, threads: int) -> None:
    learners: dict[str, Any] = {ROWS: ours(1), BATCHES: ours(BATCH), SKLEARN: sklearn}
    if find_spec("torch"):
        learners |= {TORCH: adam, ADADELTA: adadelta}
    for train in learners.values():  # compiles
        train(X[:BATCH], test[:BATCH], 1, 0, threads)
    ways: dict[str, list[Way]] = {name: [] for name in learners}
    for seed in seeds:
        for name, train in learners.items():
            ways[name].append(train(X, test, epochs, seed, threads))
    targets = [max(way.errors[-1] for way in of_seed) for of_seed in zip(*ways.values(), strict=True)]
    times = {
        name: [way.seconds_to(target) for way, target in zip(found, targets, strict=True)]
        for name, found in ways.items()
    }
    print_table(
        [f"{N_INPUTS}-{'-'.join(map(str, HIDDEN))}-{N_INPUTS}", "rows/s", "error at the end", "seconds to equal error"],
        [
            (
                name,
                f"{median(epochs * len(X) / way.seconds[-1] for way in found):,.0f}",
                f"{median(way.errors[-1] for way in found):.4f}",
                f"{median(times[name]):.2f}",
            )
            for name, found in ways.items()
        ],
    )
    print()
    lines = []
    for mine in (ROWS, BATCHES):
        for rival in [name for name in ways if name not in (ROWS, BATCHES)]:
            wanted = {"min_value": TARGETS[rival]} if mine == BATCHES and rival in TARGETS else {}
            ratios = [theirs / own for theirs, own in zip(times[rival], times[mine], strict=True)]
            lines.append(figure(f"{mine}, times {rival} to equal error", ratios, **wanted))
            speeds = [b.seconds[-1] / a.seconds[-1] for a, b in zip(ways[mine], ways[rival], strict=True)]
            lines.append(figure(f"{mine}, times {rival} in rows/s", speeds))
    print_table(FIGURE, lines)


def beside_h2o(X: Floats, test: Floats, epochs: int, seeds: range, threads: int) -> None:
    """Seconds that each needs to the error that H2O has in the end, and its rows a second."""
    import h2o
    from h2o.estimators import H2OAutoEncoderEstimator

    given = {"output_activation": "same", "standardize": True}
    learners = {ROWS: ours(1, **given), BATCHES: ours(BATCH, **given)}
    for train in learners.values():  # compiles
        train(X[:BATCH], test[:BATCH], 1, 0, threads)
    speeds, times = {name: [] for name in learners}, {name: [] for name in learners}
    errors, seconds = [], []
    with tempfile.TemporaryDirectory() as place:
        h2o.init(nthreads=threads, max_mem_size="6G", ice_root=place, log_dir=place)
        h2o.no_progress()
        frames = []
        for name, rows in (("train", X), ("test", test)):
            path = Path(place) / f"{name}.csv"
            pd.DataFrame(rows).add_prefix("x").to_csv(path, index=False)  # a head of numbers would be a row
            frames.append(h2o.import_file(str(path)))
        try:
            for seed in seeds:
                model = H2OAutoEncoderEstimator(
                    hidden=list(HIDDEN), activation="tanh", epochs=epochs, seed=seed, ignore_const_cols=False,
                    score_duty_cycle=0.0, score_training_samples=100, stopping_rounds=0, overwrite_with_best_model=False,
                )  # fmt: skip
                model.train(x=frames[0].columns, training_frame=frames[0])
                speed = float(str(model.scoring_history()["training_speed"].dropna().iloc[-1]).split()[0])
                errors.append(float(model.anomaly(frames[1]).as_data_frame().to_numpy().mean()))
                seconds.append(epochs * len(X) / speed)
                for name, train in learners.items():
                    way = train(X, test, 4 * epochs, seed, threads)
                    speeds[name].append(4 * epochs * len(X) / way.seconds[-1] / speed)
                    times[name].append(seconds[-1] / way.seconds_to(errors[-1]))
        finally:
            h2o.cluster().shutdown()
    rate = median(epochs * len(X) / spent for spent in seconds)
    print(f"\nH2O {h2o.__version__}, {epochs} epochs: {rate:,.0f} rows/s, error {median(errors):.5f} in its unit\n")
    lines = []
    for name in learners:
        lines.append(figure(f"{name}, times H2O to equal error", times[name], min_value=TIMES_H2O))
        lines.append(figure(f"{name}, times H2O in rows/s", speeds[name]))
    print_table(FIGURE, lines)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads of each (2)")
    arguments = parser.parse_args()
    n_rows, epochs, n_seeds = (2_000, 3, 1) if arguments.quick else (20_000, 10, 3)
    print_machine("scikit-learn", *(["torch"] if find_spec("torch") else []))
    X, test = read_digits(n_rows)
    print(f"{len(X):,} rows, {epochs} epochs, {n_seeds} seeds, {arguments.threads} threads each\n")
    compare(X, test, epochs, range(1, 1 + n_seeds), arguments.threads)
    if find_spec("h2o"):
        beside_h2o(X[:4_000], test, 2, range(1, 1 + n_seeds), arguments.threads)  # some hundred rows a second


if __name__ == "__main__":
    main()
