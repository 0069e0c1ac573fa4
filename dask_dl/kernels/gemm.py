"""Products of matrices for mini-batches, in blocks of as many vector registers as the processor has.

Matrices are parts of contiguous vectors, row by row. The ones of a mini-batch are narrow (its rows) and used once, so that a
library's packing of them costs what it saves: benchmarks/products.py compares these blocks with the BLAS of NumPy. Every
number of a result is summed in an order of its own, whatever is computed beside it, so that the bits do not depend on who
computes what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from dask_dl.jit import FASTMATH, kernel
from dask_dl.state import LANE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Numbers of a vector register, and the shape of a block of them: with AVX-512 there are 32 registers, else 16 (or as much
#: room in twice as many, on Arm). ROWS x VECTORS (`combine`) and DOT_ROWS x UNITS (`add_dots`) sums stay in registers.
_HAS_512 = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))
WIDTH, ROWS, VECTORS, DOT_ROWS, UNITS = (16, 6, 4, 6, 4) if _HAS_512 else (8, 4, 2, 3, 4)

_LONG, _FLOAT = ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, WIDTH)
_FLAGS = tuple(sorted(FASTMATH))
#: Flags of additions whose order counts. Numba gives all of FASTMATH to those that have none, and this one, of divisions, means
#: nothing to them.
_IN_ORDER = ("arcp",)


class Matrix(NamedTuple):
    """Rows in a contiguous vector."""

    numbers: NDArray[np.float32]  #: (..,)
    start: int  #: place of the first row
    length: int  #: from one row to the next
    n: int  #: rows


class Factors(NamedTuple):
    """A matrix that may be turned: number (r, s) lies at `start + r by_row + s by_term`."""

    numbers: NDArray[np.float32]  #: (..,)
    start: int
    by_row: int
    by_term: int


@intrinsic
def flattened(_context, array):
    """All numbers of a contiguous matrix as a vector, not copied."""
    kind = types.Array(array.dtype, 1, "C")

    def codegen(context, builder, signature, arguments):
        whole = make_array(signature.args[0])(context, builder, arguments[0])
        part = make_array(kind)(context, builder)
        itemsize = context.get_constant(types.intp, kind.dtype.bitwidth // 8)
        populate_array(
            part,
            data=whole.data,
            shape=[whole.nitems],
            strides=[itemsize],
            itemsize=itemsize,
            meminfo=None,
            parent=None,
        )
        return part._getvalue()  # noqa: SLF001  # Numba's name

    return kind(array), codegen


class _Code:
    """Writes vector instructions."""

    def __init__(self, context, builder, signature):
        self.context, self.builder, self.signature = context, builder, signature

    def parts(self, k, matrix):
        """Pointer to the numbers of argument k, a `Matrix` or `Factors`; then its other fields."""
        kind = self.signature.args[k]
        numbers, *others = (self.builder.extract_value(matrix, i) for i in range(len(kind.types)))
        return make_array(kind.types[0])(self.context, self.builder, numbers).data, *others

    def at(self, start, step, k):
        """Start + k step."""
        return self.builder.add(start, self.builder.mul(step, ir.Constant(_LONG, k)))

    def number(self, data, place):
        return self.builder.load(self.builder.gep(data, [place]))

    def vector(self, data, place):
        found = self.builder.load(self._pointer(data, place))
        found.align = 4
        return found

    def put(self, value, data, place):
        self.builder.store(value, self._pointer(data, place)).align = 4

    def _pointer(self, data, place):
        return self.builder.bitcast(self.builder.gep(data, [place]), _VECTOR.as_pointer())

    def spread(self, number):
        """A vector that holds one number everywhere."""
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        first = self.builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(
            first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        )

    def sums(self, n):
        """Zeros, which the compiler keeps in registers."""
        places = [cgutils.alloca_once(self.builder, _VECTOR) for _ in range(n)]
        for place in places:
            self.builder.store(ir.Constant(_VECTOR, [0.0] * WIDTH), place)
        return places

    def add_product(self, place, a, b):
        product = self.builder.fmul(a, b, flags=_FLAGS)
        self.builder.store(self.builder.fadd(product, self.builder.load(place), flags=_FLAGS), place)

    def folded(self, a, b, places, distance):
        """Numbers at some places of two vectors, one after the other, plus those at a distance from them."""
        near, far = (
            self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(part)), part))
            for part in (places, [place + distance for place in places])
        )
        return self.builder.fadd(near, far, flags=_IN_ORDER)

    def total(self, vector):
        """The sum of a vector: of its halves, of the halves of that, and so on."""
        n = WIDTH
        while n > 1:
            n //= 2
            vector = self.folded(vector, vector, list(range(n)), n)
        return self.builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    def totals(self, vectors):
        """A vector of the sums of four vectors, each made as `total` makes it, with a third of the instructions.

        What is left of the vectors shares registers from the first step on. The places are such that each step is one
        instruction (AVX-512: vshuff64x2, vunpcklpd, vshufps), and that they end in order.
        """
        half = list(range(WIDTH // 2))
        a, b = (self.folded(vectors[i], vectors[i + 2], half + [WIDTH + k for k in half], WIDTH // 2) for i in (0, 1))
        if WIDTH == 16:  # to two vectors of eight, without halving what is there
            a = self.folded(a, b, [8 * i + k for i in range(4) for k in range(4)], 4)
            b = ir.Constant(a.type, ir.Undefined)
        eight = self.folded(a, b, [0, 1, 8, 9, 4, 5, 12, 13], 2)
        return self.folded(eight, eight, [0, 2, 4, 6], 1)


def _combining(n_rows, n_vectors):
    """Make a block for n_rows rows and n_vectors vectors of columns: out[r] = sum of factors[r, s] rows[s].

    The sum is over n_terms rows of `rows`. The first numbers lie at the places that follow each matrix.
    """

    @intrinsic
    def block(_context, out, _o, factors, _f, rows, _m):
        def codegen(context, builder, signature, arguments):
            code = _Code(context, builder, signature)
            out, o, factors, f, rows, m = arguments
            to, _, ldo, _ = code.parts(0, out)
            by, _, by_row, by_term = code.parts(2, factors)
            of, _, ldm, n = code.parts(4, rows)
            sums = [code.sums(n_vectors) for _ in range(n_rows)]
            with cgutils.for_range(builder, n) as loop:
                row, factor = (
                    builder.add(m, builder.mul(loop.index, ldm)),
                    builder.add(f, builder.mul(loop.index, by_term)),
                )
                vectors = [code.vector(of, code.at(row, ir.Constant(_LONG, WIDTH), v)) for v in range(n_vectors)]
                for r in range(n_rows):
                    spread = code.spread(code.number(by, code.at(factor, by_row, r)))
                    for place, vector in zip(sums[r], vectors, strict=True):
                        code.add_product(place, spread, vector)
            for r in range(n_rows):
                for v, place in enumerate(sums[r]):
                    code.put(builder.load(place), to, code.at(code.at(o, ldo, r), ir.Constant(_LONG, WIDTH), v))
            return context.get_dummy_value()

        return types.void(out, types.intp, factors, types.intp, rows, types.intp), codegen

    return block


def _dotting(n_rows, n_units):
    """Make a block for n_rows rows a and n_units rows w of n numbers, whole vectors: out[r, u] += a[r] w[u].

    The first numbers lie at the places that follow each matrix.
    """

    @intrinsic
    def block(_context, out, _o, rows, _a, weights, _w, _n):
        def codegen(context, builder, signature, arguments):
            code = _Code(context, builder, signature)
            out, o, rows, a, weights, w, n = arguments
            to, _, ldo, _ = code.parts(0, out)
            of, _, lda, _ = code.parts(2, rows)
            by, _, ldw, _ = code.parts(4, weights)
            sums = [code.sums(n_units) for _ in range(n_rows)]
            with cgutils.for_range(builder, builder.udiv(n, ir.Constant(_LONG, WIDTH))) as loop:
                i = builder.mul(loop.index, ir.Constant(_LONG, WIDTH))
                vectors = [code.vector(of, builder.add(code.at(a, lda, r), i)) for r in range(n_rows)]
                for u in range(n_units):
                    weight = code.vector(by, builder.add(code.at(w, ldw, u), i))
                    for r in range(n_rows):
                        code.add_product(sums[r][u], vectors[r], weight)
            for r in range(n_rows):
                found = [builder.load(place) for place in sums[r]]
                place = builder.gep(to, [code.at(o, ldo, r)])
                if n_units == UNITS:
                    place, found = builder.bitcast(place, ir.VectorType(_FLOAT, UNITS).as_pointer()), code.totals(found)
                else:
                    found = code.total(found[0])
                before = builder.load(place)
                before.align = 4
                builder.store(builder.fadd(before, found, flags=_IN_ORDER), place).align = 4
            return context.get_dummy_value()

        long = types.intp
        return types.void(out, long, rows, long, weights, long, long), codegen

    return block


_combine_block, _combine_rows = _combining(ROWS, VECTORS), _combining(ROWS, LANE // WIDTH)
_combine_vectors, _combine_one = _combining(1, VECTORS), _combining(1, LANE // WIDTH)
_dot_block, _dot_rows, _dot_units, _dot_one = (
    _dotting(DOT_ROWS, UNITS), _dotting(DOT_ROWS, 1), _dotting(1, UNITS), _dotting(1, 1),
)  # fmt: skip


@kernel
def combine(out, factors, rows, n):
    """Multiply matrices: out (out.n, n) = factors (out.n, rows.n) times rows (rows.n, n).

    Parameters
    ----------
    out : Matrix
        Receives the product.
    factors : Factors
        Left matrix.
    rows : Matrix
        Right matrix.
    n : int
        Columns, whole lanes.
    """
    step = VECTORS * WIDTH
    r = 0
    while r < out.n:
        is_block = r + ROWS <= out.n
        i, to, by = 0, out.start + r * out.length, factors.start + r * factors.by_row
        while i + step <= n:
            if is_block:
                _combine_block(out, to + i, factors, by, rows, rows.start + i)
            else:
                _combine_vectors(out, to + i, factors, by, rows, rows.start + i)
            i += step
        while i < n:
            if is_block:
                _combine_rows(out, to + i, factors, by, rows, rows.start + i)
            else:
                _combine_one(out, to + i, factors, by, rows, rows.start + i)
            i += LANE
        r += ROWS if is_block else 1


@kernel
def add_dots(out, rows, weights, n):
    """Add a product: out (rows.n, weights.n) += rows (rows.n, n) times weights (weights.n, n), transposed.

    Parameters
    ----------
    out : Matrix
        Receives the sums.
    rows : Matrix
        Left matrix.
    weights : Matrix
        Right matrix, a row for each unit.
    n : int
        Numbers of a row, whole lanes.
    """
    u = 0
    while u < weights.n:
        is_block = u + UNITS <= weights.n
        w = weights.start + u * weights.length
        r = 0
        while r + DOT_ROWS <= rows.n:
            to, a = out.start + r * out.length + u, rows.start + r * rows.length
            if is_block:
                _dot_block(out, to, rows, a, weights, w, n)
            else:
                _dot_rows(out, to, rows, a, weights, w, n)
            r += DOT_ROWS
        while r < rows.n:
            to, a = out.start + r * out.length + u, rows.start + r * rows.length
            if is_block:
                _dot_units(out, to, rows, a, weights, w, n)
            else:
                _dot_one(out, to, rows, a, weights, w, n)
            r += 1
        u += UNITS if is_block else 1
