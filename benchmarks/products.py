"""The matrix products of mini-batches: register blocks of the package beside the BLAS that NumPy brings, one thread each.

Shapes of MNIST [200, 200] and of a wide layer. GF: thousand million additions and multiplications a second.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np
from common import options, print_machine, print_table
from rows import update_speed
from threadpoolctl import threadpool_limits

from dask_dl.jit import entry
from dask_dl.kernels.gemm import Factors, Matrix, add_dots, combine
from dask_dl.state import aligned_zeros, padded

#: Inputs and units of a layer.
LAYERS = ((717, 200), (200, 200), (1024, 1024))


@entry
def forward(n, out, rows, weights, batch, units, stride, width):
    """Sums of units: out (batch, width) += rows (batch, stride) weights (units, stride)'."""
    for _ in range(n):
        add_dots(
            Matrix(out, 0, width, batch), Matrix(rows, 0, stride, batch), Matrix(weights, 0, stride, units), stride
        )


@entry
def errors(n, out, deltas, weights, batch, units, stride, width):
    """Errors by the layer below: out (batch, stride) = deltas (batch, width) weights."""
    for _ in range(n):
        combine(Matrix(out, 0, stride, batch), Factors(deltas, 0, width, 1), Matrix(weights, 0, stride, units), stride)


@entry
def gradients(n, out, deltas, rows, batch, units, stride, width):
    """Gradients of the weights: out (units, stride) = deltas' rows."""
    for _ in range(n):
        combine(Matrix(out, 0, stride, units), Factors(deltas, 0, 1, width), Matrix(rows, 0, stride, batch), stride)


def matrix(n, ld):
    flat = aligned_zeros(n * ld)
    flat[:] = np.random.default_rng(n).normal(size=n * ld)
    return flat, flat.reshape(n, ld)


def seconds_of(work, rounds):
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return taken


def limits(quick):
    """How near a training in batches of 32 is to what the arithmetic of its products and of ADADELTA allows, one thread."""
    from kernels import Case, Ours, Table  # which reads no table when it is imported

    batch, n_in, units, n_rows = 32, 717, 200, 1_600 if quick else 6_400
    (a, _), (b, _), out = matrix(64, 64), matrix(64, 64), aligned_zeros(64 * 64)
    n = 2_000 if quick else 50_000
    errors(1, out, a, b, 60, 64, 64, 64)
    peak = n * 2e-9 * 60 * 64 * 64 / min(seconds_of(lambda: errors(n, out, a, b, 60, 64, 64, 64), 5))
    ours = Ours(Case(batch=batch), n_in, n_rows, 1)
    random = np.random.default_rng(0)
    rows = ours.prepared(
        Table(random.normal(size=(n_rows, n_in)).astype(np.float32), random.integers(10, size=n_rows)), 0
    )
    ours.train(rows)
    speed = n_rows / median(seconds_of(lambda: ours.train(rows), 3 if quick else 15))
    weights = ours.replica.topology.dense_size
    passed_down = padded(units) * units + padded(units) * 10  # errors below the first layer nobody needs
    products = 2e-9 * batch * (2 * weights + passed_down) / peak
    updated = weights / update_speed(weights)
    limit = batch / (products + updated)
    print_table(
        ["what", "figure"],
        [
            ("additions and multiplications in a block that stays in the first cache", f"{peak:.0f} GF"),
            ("ADADELTA on that many weights alone", f"{1e-9 * weights / updated:.2f} thousand million weights/s"),
            ("a batch of 32: products by these", f"{1e6 * products:.0f} us"),
            ("... update", f"{1e6 * updated:.0f} us"),
            ("so at most", f"{limit:,.0f} rows/s"),
            ("one thread trains", f"{speed:,.0f} rows/s, {speed / limit:.0%} of that"),
        ],
    )


def main() -> None:
    asked = options(__doc__).parse_args()
    print_machine()
    rounds, lines = (3, []) if asked.quick else (9, [])
    with threadpool_limits(1, user_api="blas"):
        for n_in, units in LAYERS:
            stride, width = padded(n_in), padded(units)
            for batch in (8, 32, 200):
                (a, A), (d, D), (w, W) = matrix(batch, stride), matrix(batch, width), matrix(units, stride)
                D = np.ascontiguousarray(D[:, :units])
                cases = (
                    ("forward", forward, (aligned_zeros(batch * width), a, w), (A, W.T)),
                    ("errors", errors, (aligned_zeros(batch * stride), d, w), (D, W)),
                    ("gradients", gradients, (aligned_zeros(units * stride), d, a), (D.T, A)),
                )
                for name, ours, given, (left, right) in cases:
                    work = 2e-9 * batch * units * n_in
                    n = max(1, int((0.02 if asked.quick else 0.1) * 80 / work))
                    out = np.empty((left.shape[0], right.shape[1]), np.float32)
                    theirs = lambda x=left, y=right, z=out, n=n: [np.matmul(x, y, out=z) for _ in range(n)]  # noqa: E731  # bound to this shape
                    mine = lambda f=ours, g=given, n=n, b=batch, u=units, s=stride, v=width: f(n, *g, b, u, s, v)  # noqa: E731  # as above
                    mine(), theirs()  # compiled, and in memory
                    own, other = zip(
                        *((seconds_of(mine, 1)[0], seconds_of(theirs, 1)[0]) for _ in range(rounds)), strict=True
                    )
                    ratios = [b / a for a, b in zip(own, other, strict=True)]
                    lines.append(
                        (f"{n_in} x {units}", batch, name, f"{n * work / median(own):.0f}", f"{n * work / median(other):.0f}",
                         f"{median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}")
                    )  # fmt: skip
    print("MNIST [200, 200], batches of 32, and what the processor allows:\n")
    limits(asked.quick)
    print()
    print_table(["layer", "rows", "product", "GF", "GF of BLAS", "times BLAS", "range"], lines)


if __name__ == "__main__":
    main()
