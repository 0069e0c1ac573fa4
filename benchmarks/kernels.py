"""The kernels beside JAX, PyTorch and scikit-learn on the same rows, with the same batches, cores and start weights.

MNIST (digits of the demo without real tables), ADADELTA, rectifier; all in turn within each round, the rows shuffled before
the clock starts. A rival may use all threads or one, whichever was faster in trials. Rivals: `pip install -e '.[rivals]'`;
who is absent is skipped.
"""

# ruff: noqa: D102  # what the methods of those who take part do stands in `Learner`

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from common import figure, options, print_machine, print_table
from rows import read_digits, standardised
from threadpoolctl import threadpool_limits

from dask_dl.kernels.initial import initial_biases, initial_weights
from dask_dl.kernels.layout import Topology
from dask_dl.kernels.losses import CROSS_ENTROPY, Objective
from dask_dl.kernels.optimizers import ADADELTA, Optimizer
from dask_dl.node.parallelism import choose
from dask_dl.node.replica import NOTHING, Replica, predict
from dask_dl.state import Rows, aligned_zeros, padded

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

RHO, EPSILON = 0.99, 1e-8
SETTINGS = Optimizer(ADADELTA, RHO, EPSILON, 0.005, 1e-6, 1.0, 0.0, 1e6, 0.0, True, True)
N_CLASSES = 10
TRIALS = 3  #: epochs before the timed rounds: the first of them compiles, the others find the fastest number of threads
DASK_DL, JAX, TORCH, TORCH_UPDATE, TORCH_BY_HAND, SKLEARN = (
    "dask_dl", "JAX", "PyTorch", "PyTorch, update by hand", "PyTorch without autograd", "scikit-learn, adam",
)  # fmt: skip
PACKAGES = {JAX: "jax", TORCH: "torch", TORCH_UPDATE: "torch", TORCH_BY_HAND: "torch", SKLEARN: "sklearn"}


class Table(NamedTuple):
    """Rows that all see."""

    X: Floats  #: (n, inputs), standardised
    y: NDArray[np.int64]  #: (n,) digits

    def some(self, which: Any) -> Table:
        """Some rows."""
        return Table(self.X[which], self.y[which])


@dataclass(frozen=True)
class Case:
    """One network, and how many rows make a step."""

    hidden: tuple[int, ...] = (200, 200)
    batch: int = 1
    activation: str = "rectifier"
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0

    def topology(self, n_inputs: int) -> Topology:
        """The package's name for it."""
        dropout = (self.hidden_dropout,) * len(self.hidden) if self.hidden_dropout else ()
        return Topology(0, n_inputs, self.hidden, N_CLASSES, self.activation, "softmax", dropout)

    def start(self, n_inputs: int) -> list[tuple[Floats, Floats]]:
        """Weights (units, inputs) and biases of every layer, with which all begin."""
        topology = self.topology(n_inputs)
        weights, biases = initial_weights(topology, "uniform_adaptive", 1.0, 0), initial_biases(topology)
        return [(w, b.astype(np.float32)) for w, b in zip(weights, biases, strict=True)]


class Learner(Protocol):
    """One who takes part."""

    def prepared(self, rows: Table, epoch: int) -> Any:
        """The rows as the learner likes them best; not timed."""

    def train(self, rows: Any) -> None:
        """One epoch, in the rows' order; returns when all of it is done."""

    def probabilities(self, X: Floats) -> Floats:
        """(n, classes)."""


# ---- dask_dl -----------------------------------------------------------------------------------------------------------


class Ours:
    """A replica of the package, sharing the work as `fit` would for a table of n_rows."""

    def __init__(self, case: Case, n_inputs: int, n_rows: int, threads: int) -> None:
        self.case, topology = case, case.topology(n_inputs)
        optimizer = SETTINGS._replace(input_kept=1.0 - case.input_dropout, batch=case.batch)
        flat = topology.pack(*zip(*case.start(n_inputs), strict=True))
        parallelism = choose(topology, optimizer, n_rows=n_rows, n_jobs=threads)
        self.replica = Replica(topology, optimizer, Objective(CROSS_ENTROPY), flat, parallelism=parallelism)

    def prepared(self, rows: Table, epoch: int) -> Rows:
        dense = aligned_zeros(len(rows.X) * padded(rows.X.shape[1])).reshape(len(rows.X), -1)
        dense[:, : rows.X.shape[1]] = rows.X
        drops = self.case.input_dropout or self.case.hidden_dropout
        key = np.random.default_rng(epoch).integers(2**64, size=len(dense) if drops else 0, dtype=np.uint64)
        return Rows(dense, np.zeros((len(dense), 0), np.int32), rows.y.astype(np.float32), NOTHING, NOTHING, key)

    def train(self, rows: Rows) -> None:
        self.replica.train(rows)
        self.replica.merge()

    def probabilities(self, X: Floats) -> Floats:
        rows = self.prepared(Table(X, np.zeros(len(X), np.int64)), 0)
        return predict(self.replica.topology, self.replica.flat, rows)


# ---- rivals ------------------------------------------------------------------------------------------------------------


class Apart:
    """JAX in a process of its own: how many threads it uses is settled when it is imported."""

    def __init__(self, case: Case, n_inputs: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, case, n_inputs, threads), daemon=True)
        self.process.start()
        theirs.close()

    def _told(self, *call: Any) -> Any:
        self.connection.send(call)
        return self.connection.recv()

    def prepared(self, rows: Table, epoch: int) -> None:
        self._told("prepare", rows, epoch)

    def train(self, rows: None) -> None:  # noqa: ARG002  # they are there already
        self._told("train")

    def probabilities(self, X: Floats) -> Floats:
        return self._told("predict", X)

    def close(self) -> None:
        self.connection.close()
        self.process.join()


def serve(connection: Connection, case: Case, n_inputs: int, threads: int) -> None:
    """What that process does."""
    flags = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()} intra_op_parallelism_threads={threads}"
    os.environ |= {"NPROC": str(threads), "JAX_PLATFORMS": "cpu"}
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    learner, prepared = InJax(case, n_inputs), None
    while True:
        try:
            what, *call = connection.recv()
        except EOFError:
            return
        if what == "prepare":
            prepared = learner.prepared(*call)
        elif what == "train":
            learner.train(prepared)
        connection.send(learner.probabilities(*call) if what == "predict" else None)


class InJax:
    """An epoch is one compiled `lax.scan` over the batches, weights and states donated.

    The fastest found of: gradients by autodiff or by hand; weights (inputs, units) or (units, inputs), which decides for single
    rows and a little for batches; a single row as a vector or as a matrix of one row, which are equal; ADADELTA with one root,
    two, or reciprocal ones; biases as one more row of weights; all weights in one vector, four times slower; unrolled loops.
    Flags of XLA for vector width, fast arithmetic, flushed denormals and another scheduler change nothing; one thread instead
    of two is half as fast again for single rows of [200, 200].
    """

    def __init__(self, case: Case, n_inputs: int) -> None:
        import jax
        import jax.numpy as jnp

        self.batch = case.batch
        self.turned = case.batch == 1  # weights lie as (inputs, units)
        start = case.start(n_inputs)
        weights = [(jnp.asarray(w.T if self.turned else w), jnp.asarray(b)) for w, b in start]
        zeros = [jax.tree.map(jnp.zeros_like, weights) for _ in range(2)]
        self.state = (weights, *zeros)

        def loss(weights, x, y):
            for k, (w, b) in enumerate(weights):
                x = (x @ w if self.turned else x @ w.T) + b
                if k < len(weights) - 1:
                    x = jnp.maximum(x, 0)
            logs = jax.nn.log_softmax(x)
            return -logs[y] if self.batch == 1 else -jnp.take_along_axis(logs, y[:, None], 1).mean()

        def adadelta(w, gradient, squares, steps):
            squares = RHO * squares + (1 - RHO) * (gradient * gradient)
            ratio = (steps + EPSILON) / (squares + EPSILON)
            return w - jnp.sqrt(ratio) * gradient, squares, RHO * steps + (1 - RHO) * (ratio * (gradient * gradient))

        def step(state, rows):
            lost, gradients = jax.value_and_grad(loss)(state[0], *rows)
            updated = jax.tree.map(adadelta, state[0], gradients, *state[1:])
            return jax.tree.transpose(jax.tree.structure(state[0]), jax.tree.structure((0, 0, 0)), updated), lost

        self.epoch = jax.jit(lambda state, X, y: jax.lax.scan(step, state, (X, y)), donate_argnums=0)

    def prepared(self, rows: Table, epoch: int) -> tuple[Any, Any]:  # noqa: ARG002  # only dropout asks
        import jax.numpy as jnp

        shape = (-1,) if self.batch == 1 else (-1, self.batch)
        return jnp.asarray(rows.X.reshape(*shape, rows.X.shape[1])), jnp.asarray(rows.y.astype(np.int32).reshape(shape))

    def train(self, rows: tuple[Any, Any]) -> None:
        self.state, losses = self.epoch(self.state, *rows)
        self.state[0][0][0].block_until_ready()
        losses.block_until_ready()

    def probabilities(self, X: Floats) -> Floats:
        return forward(
            [(np.asarray(w).T if self.turned else np.asarray(w), np.asarray(b)) for w, b in self.state[0]], X
        )


class InTorch:
    """Autograd, and torch.optim.Adadelta for all tensors at once (foreach), its fastest mode."""

    def __init__(self, case: Case, n_inputs: int, threads: int) -> None:
        import torch

        torch.set_flush_denormal(True)
        self.torch, self.batch, self.threads = torch, case.batch, threads
        self.layers = [
            tuple(torch.from_numpy(part).requires_grad_() for part in layer) for layer in case.start(n_inputs)
        ]
        self.all = [part for layer in self.layers for part in layer]
        self.optimizer = torch.optim.Adadelta(self.all, lr=1.0, rho=RHO, eps=EPSILON, foreach=True)

    def prepared(self, rows: Table, epoch: int) -> tuple[Any, Any]:  # noqa: ARG002  # only dropout asks
        from_numpy = self.torch.from_numpy
        return from_numpy(rows.X).split(self.batch), from_numpy(rows.y).split(self.batch)

    def train(self, rows: tuple[Any, Any]) -> None:
        self.torch.set_num_threads(self.threads)
        functional, last = self.torch.nn.functional, len(self.layers) - 1
        for x, y in zip(*rows, strict=True):
            for k, (w, b) in enumerate(self.layers):
                x = functional.linear(x, w, b)  # noqa: PLW2901  # layer after layer
                if k < last:
                    x = x.relu()  # noqa: PLW2901  # as above
            gradients = self.torch.autograd.grad(functional.cross_entropy(x, y), self.all)
            with self.torch.no_grad():
                self.update(gradients)

    def update(self, gradients: Sequence[Any]) -> None:
        for part, gradient in zip(self.all, gradients, strict=True):
            part.grad = gradient
        self.optimizer.step()

    def probabilities(self, X: Floats) -> Floats:
        return forward([(w.detach().numpy(), b.detach().numpy()) for w, b in self.layers], X)


class InTorchUpdate(InTorch):
    """The same with the functions that torch.optim calls, and nothing around them: somewhat faster."""

    def __init__(self, case: Case, n_inputs: int, threads: int) -> None:
        super().__init__(case, n_inputs, threads)
        self.squares, self.steps = ([self.torch.zeros_like(part) for part in self.all] for _ in range(2))

    def update(self, gradients: Sequence[Any]) -> None:
        torch = self.torch
        torch._foreach_mul_(self.squares, RHO)  # the functions of torch.optim
        torch._foreach_addcmul_(self.squares, gradients, gradients, 1 - RHO)
        steps = torch._foreach_add(self.steps, EPSILON)  # noqa: SLF001  # as torch.optim does
        torch._foreach_div_(steps, torch._foreach_add(self.squares, EPSILON))  # noqa: SLF001  # as above
        torch._foreach_sqrt_(steps)
        torch._foreach_mul_(steps, gradients)
        torch._foreach_mul_(self.steps, RHO)
        torch._foreach_addcmul_(self.steps, steps, steps, 1 - RHO)
        torch._foreach_sub_(self.all, steps)


class InTorchByHand:
    """The gradients written out, and all weights in one vector: what is left of PyTorch is its arithmetic."""

    def __init__(self, case: Case, n_inputs: int, threads: int) -> None:
        import torch

        torch.set_flush_denormal(True)
        self.torch, self.batch, self.threads = torch, case.batch, threads
        start = case.start(n_inputs)
        self.flat = torch.cat([torch.from_numpy(part).reshape(-1) for layer in start for part in layer])
        self.gradients, self.squares, self.steps, self.step, self.rest = (torch.zeros_like(self.flat) for _ in range(5))
        sizes = [part.size for layer in start for part in layer]
        shapes = [part.shape for layer in start for part in layer]

        def views(vector):
            parts = [part.view(shape) for part, shape in zip(vector.split(sizes), shapes, strict=True)]
            return list(zip(parts[::2], parts[1::2], strict=True))

        self.layers, self.layer_gradients = views(self.flat), views(self.gradients)

    def prepared(self, rows: Table, epoch: int) -> tuple[Any, Any]:  # noqa: ARG002  # only dropout asks
        ones = self.torch.from_numpy(np.eye(N_CLASSES, dtype=np.float32)[rows.y])
        return self.torch.from_numpy(rows.X).split(self.batch), ones.split(self.batch)

    def train(self, rows: tuple[Any, Any]) -> None:
        torch, last = self.torch, len(self.layers) - 1
        torch.set_num_threads(self.threads)
        with torch.inference_mode():
            for x, y in zip(*rows, strict=True):
                inputs = [x]
                for k, (w, b) in enumerate(self.layers):
                    out = torch.addmm(b, inputs[-1], w.t())
                    inputs.append(out.relu_() if k < last else out)
                delta = inputs.pop().softmax(1).sub_(y).div_(self.batch)
                for k in range(last, -1, -1):
                    w_gradients, b_gradients = self.layer_gradients[k]
                    torch.mm(delta.t(), inputs[k], out=w_gradients)
                    torch.sum(delta, 0, out=b_gradients)
                    if k > 0:
                        delta = torch.mm(delta, self.layers[k][0]).mul_(inputs[k] > 0)
                self.update()

    def update(self) -> None:
        torch, step, rest = self.torch, self.step, self.rest
        self.squares.mul_(RHO).addcmul_(self.gradients, self.gradients, value=1 - RHO)
        torch.add(self.steps, EPSILON, out=step)
        torch.add(self.squares, EPSILON, out=rest)
        step.div_(rest).sqrt_().mul_(self.gradients)
        self.steps.mul_(RHO).addcmul_(step, step, value=1 - RHO)
        self.flat.sub_(step)

    def probabilities(self, X: Floats) -> Floats:
        return forward([(w.numpy(), b.numpy()) for w, b in self.layers], X)


class InSklearn:
    """scikit-learn has no ADADELTA: its adam, and its own start weights."""

    def __init__(self, case: Case, threads: int) -> None:
        from sklearn.neural_network import MLPClassifier

        self.threads = threads
        self.model = MLPClassifier(case.hidden, solver="adam", batch_size=case.batch, shuffle=False, random_state=0)

    def prepared(self, rows: Table, epoch: int) -> Table:  # noqa: ARG002  # only dropout asks
        return rows

    def train(self, rows: Table) -> None:
        with threadpool_limits(self.threads):
            self.model.partial_fit(*rows, classes=range(N_CLASSES))

    def probabilities(self, X: Floats) -> Floats:
        return self.model.predict_proba(X)


def forward(layers: Sequence[tuple[Floats, Floats]], X: Floats) -> Floats:
    """Probabilities, computed here from a rival's weights, so that nobody is believed who has computed nothing."""
    for k, (w, b) in enumerate(layers):
        X = X @ w.T + b
        if k < len(layers) - 1:
            X = np.maximum(X, 0)
    X = np.exp(X - X.max(axis=1, keepdims=True))
    return X / X.sum(axis=1, keepdims=True)


#: How a rival is made, from the case, the number of inputs and that of threads.
RIVALS: dict[str, Callable[[Case, int, int], Learner]] = {
    JAX: Apart,
    TORCH: InTorch,
    TORCH_UPDATE: InTorchUpdate,
    TORCH_BY_HAND: InTorchByHand,
    SKLEARN: lambda case, _, threads: InSklearn(case, threads),
}


# ---- measuring ---------------------------------------------------------------------------------------------------------


@dataclass
class Comparison:
    """Who is compared with whom, by the rows that an epoch has."""

    name: str
    n: int  #: rows of an epoch
    first: Case  #: of dask_dl; its speed is divided by the others'
    targets: dict[str, float] = field(default_factory=dict)  #: rival: times its rows/s at least
    others: dict[str, Case] = field(default_factory=dict)  #: dask_dl's, instead of rivals
    label: str = DASK_DL  #: of the first


COMPARISONS = [
    Comparison("one row per step", 2_000, Case(), {JAX: 3, TORCH: 15}),
    Comparison("batch 32", 6_400, Case(batch=32), {JAX: 1.9, TORCH: 4.5}),
    Comparison("batch 200", 8_000, Case(batch=200), {JAX: 1.2}),
    Comparison("one row per step, wide", 100, Case((1024, 1024, 2048)), {JAX: 3}),
    Comparison(
        "maxout, one row per step; at most 2.2 times tanh's time per row is at least 0.4545 times its speed",
        2_000,
        Case(activation="maxout"),
        {"tanh": 0.4545},
        {"tanh": Case(activation="tanh"), "rectifier": Case()},
        "maxout",
    ),
    Comparison(
        "dropout of 0.1 of the inputs and half of the hidden units, one row per step",
        2_000,
        Case(input_dropout=0.1, hidden_dropout=0.5),
        {"without": 1},
        {"without": Case()},
        "with dropout",
    ),
]


def learners(asked: Comparison, n_inputs: int, n_rows: int, threads: int) -> dict[str, list[Learner]]:
    """All who take part, dask_dl first; rivals with all threads and with one."""
    own = {asked.label: asked.first, **asked.others}
    found: dict[str, list[Learner]] = {name: [Ours(case, n_inputs, n_rows, threads)] for name, case in own.items()}
    if not asked.others:
        counts = sorted({1, threads})
        installed = {name: maker for name, maker in RIVALS.items() if find_spec(PACKAGES[name])}
        found |= {name: [maker(asked.first, n_inputs, n) for n in counts] for name, maker in installed.items()}
    return found


def seconds_of(learner: Learner, rows: Table, epoch: int) -> float:
    """Of one epoch."""
    prepared = learner.prepared(rows, epoch)
    began = time.perf_counter()
    learner.train(prepared)
    return time.perf_counter() - began


def fastest(several: list[Learner], trials: list[Table]) -> Learner:
    """The one to go on with; the first of the trials is not timed: it compiles and wakes memory. All is learned from."""
    taken = [[seconds_of(learner, rows, epoch) for learner in several] for epoch, rows in enumerate(trials)]
    best = several[int(np.argmin(np.min(taken[1:], axis=0)))]
    for learner in several:
        if learner is not best and isinstance(learner, Apart):
            learner.close()
    return best


def measure(asked: Comparison, train: Table, test: Table, threads: int, rounds: int) -> list[tuple[object, ...]]:
    """Lines of a table: rows/s, times dask_dl's, and what was learned."""
    random = np.random.default_rng(0)
    n = max(asked.first.batch, asked.n // asked.first.batch * asked.first.batch)
    seen = train.some(random.permutation(len(train.X))[:n])
    trials = [seen.some(random.permutation(n)) for _ in range(TRIALS)]
    several = learners(asked, train.X.shape[1], len(train.X), threads)
    found = {name: fastest(those, trials) for name, those in several.items()}
    speeds: dict[str, list[float]] = {name: [] for name in found}
    names = [*found]
    for epoch in range(TRIALS, TRIALS + rounds):
        rows = seen.some(random.permutation(n))
        for name in names[epoch % len(names) :] + names[: epoch % len(names)]:
            speeds[name].append(n / seconds_of(found[name], rows, epoch))
    lines = []
    for name, learner in found.items():
        ratio: tuple[str, ...] = ("", "", "", "")
        if name != asked.label:
            ratios = [own / other for own, other in zip(speeds[asked.label], speeds[name], strict=True)]
            ratio = figure(name, ratios, min_value=asked.targets.get(name))[1:]
        if isinstance(learner, Ours):  # as it ended: a team that waited too long on a busy machine has handed over
            way = learner.replica.parallelism
            does = f"{way.n_threads}, {way.way}"
        else:
            does = str(sorted({1, threads})[several[name].index(learner)])
        now, held = learner.probabilities(seen.X), learner.probabilities(test.X)
        lost = -np.log(np.maximum(now[np.arange(n), seen.y], 1e-15)).mean()
        error = (held.argmax(axis=1) != test.y).mean()
        lines.append((name, does, f"{median(speeds[name]):,.0f}", *ratio, f"{lost:.2g}", f"{error:.3f}"))
        if isinstance(learner, Apart):
            learner.close()
    return lines


def read_tables() -> tuple[str, Table, Table]:
    """(name, training rows, test rows)."""
    name, train, test = read_digits()
    pixels, held = (frame.drop(columns="digit").to_numpy(np.float64) for frame in (train, test))
    held = ((held - pixels.mean(axis=0)) / pixels.std(axis=0, ddof=1)).astype(np.float32)
    y = [frame["digit"].astype(int).to_numpy(np.int64) for frame in (train, test)]
    return name, Table(standardised(train), y[0]), Table(held, y[1])


def arguments() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads, and cores, of everybody (default: 2)")
    parser.add_argument("--only", default="", metavar="TEXT", help="comparisons whose name begins with this")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    # Before a rival looks how many cores there are.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.threads])
    absent = sorted({package for package in PACKAGES.values() if not find_spec(package)})
    print_machine("scikit-learn", *(package for package in ("jax", "torch") if package not in absent))
    for package in absent:
        print(f"{package} is not installed, and left out: pip install 'dask_dl[rivals]'\n")
    name, train, test = read_tables()
    rounds = 2 if asked.quick else 9
    for comparison in COMPARISONS:
        if not comparison.name.startswith(asked.only):
            continue
        comparison.n //= 4 if asked.quick else 1
        print(f"\n{comparison.name}\n")
        print(f"{name} {list(comparison.first.hidden)}, {comparison.n:,} rows, {rounds} rounds after {TRIALS} of trial, "
              f"{asked.threads} cores; loss of these rows at the end, error on {len(test.X):,} test rows.\n")  # fmt: skip
        lines = measure(comparison, train, test, asked.threads, rounds)
        print_table(
            [
                "who",
                "threads",
                "rows/s",
                f"{comparison.label}'s / this",
                "range",
                "target",
                "reached",
                "loss",
                "test error",
            ],
            lines,
        )


if __name__ == "__main__":
    main()
