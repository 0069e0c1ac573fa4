"""Products of matrices for mini-batches, in blocks of as many vector registers as the processor has.

Matrices are parts of contiguous vectors, row by row: an array, the place of their first number, and the length of a row. The
ones of a mini-batch are narrow (its rows) and used once, so that a library's packing of them costs what it saves:
benchmarks/products.py compares these blocks with the BLAS of NumPy. Every number of a result is summed in an order of its own,
whatever is computed beside it, so that the bits do not depend on who computes what.
"""

from __future__ import annotations

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from dask_dl.jit import FASTMATH, kernel
from dask_dl.state import LANE

#: Numbers of a vector register, and the shape of a block of them: with AVX-512 there are 32 registers, else 16 (or as much
#: room in twice as many, on Arm). ROWS x VECTORS (`combine`) and DOT_ROWS x UNITS (`add_dots`) sums stay in registers.
_HAS_512 = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))
WIDTH, ROWS, VECTORS, DOT_ROWS, UNITS = (16, 6, 4, 6, 4) if _HAS_512 else (8, 4, 2, 3, 4)

_LONG, _FLOAT = ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, WIDTH)
_FLAGS = tuple(sorted(FASTMATH))


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

    def data(self, k, array):
        return make_array(self.signature.args[k])(self.context, self.builder, array).data

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

    def total(self, vector):
        name = f"llvm.vector.reduce.fadd.v{WIDTH}f32"
        function = cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR]), name)
        return self.builder.call(function, [ir.Constant(_FLOAT, -0.0), vector], fastmath=_FLAGS)


def _combining(n_rows, n_vectors):
    """For n_rows rows and n_vectors vectors of columns: out[r] = sum of factors[r, s] rows[s], over n of them."""

    @intrinsic
    def block(_context, out, _o, _ldo, factors, _f, _by_row, _by_term, rows, _m, _ldm, _n):
        def codegen(context, builder, signature, arguments):
            code = _Code(context, builder, signature)
            out, o, ldo, factors, f, by_row, by_term, rows, m, ldm, n = arguments
            to, by, of = code.data(0, out), code.data(3, factors), code.data(7, rows)
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

        long = types.intp
        return types.void(out, long, long, factors, long, long, long, rows, long, long, long), codegen

    return block


def _dotting(n_rows, n_units):
    """For n_rows rows a and n_units rows w of n numbers, whole vectors: out[r, u] += a[r] w[u]."""

    @intrinsic
    def block(_context, out, _o, _ldo, rows, _a, _lda, weights, _w, _ldw, _n):
        def codegen(context, builder, signature, arguments):
            code = _Code(context, builder, signature)
            out, o, ldo, rows, a, lda, weights, w, ldw, n = arguments
            to, of, by = code.data(0, out), code.data(3, rows), code.data(6, weights)
            sums = [code.sums(n_units) for _ in range(n_rows)]
            with cgutils.for_range(builder, builder.udiv(n, ir.Constant(_LONG, WIDTH))) as loop:
                i = builder.mul(loop.index, ir.Constant(_LONG, WIDTH))
                vectors = [code.vector(of, builder.add(code.at(a, lda, r), i)) for r in range(n_rows)]
                for u in range(n_units):
                    weight = code.vector(by, builder.add(code.at(w, ldw, u), i))
                    for r in range(n_rows):
                        code.add_product(sums[r][u], vectors[r], weight)
            for r in range(n_rows):
                for u in range(n_units):
                    place = builder.gep(to, [builder.add(code.at(o, ldo, r), ir.Constant(_LONG, u))])
                    builder.store(builder.fadd(builder.load(place), code.total(builder.load(sums[r][u]))), place)
            return context.get_dummy_value()

        long = types.intp
        return types.void(out, long, long, rows, long, long, weights, long, long, long), codegen

    return block


_combine_block, _combine_rows = _combining(ROWS, VECTORS), _combining(ROWS, LANE // WIDTH)
_combine_vectors, _combine_one = _combining(1, VECTORS), _combining(1, LANE // WIDTH)
_dot_block, _dot_rows, _dot_units, _dot_one = (
    _dotting(DOT_ROWS, UNITS), _dotting(DOT_ROWS, 1), _dotting(1, UNITS), _dotting(1, 1),
)  # fmt: skip


@kernel
def combine(out, o, ldo, factors, f, by_row, by_term, n_rows, rows, m, ldm, n_terms, n):
    """Multiply matrices: out (n_rows, n) = factors (n_rows, n_terms) times rows (n_terms, n).

    Parameters
    ----------
    out : (..,) float32
        Receives the product.
    o, ldo : int
        Place of its first number, and from one row to the next.
    factors : (..,) float32
        Factor (r, s) lies at `f + r by_row + s by_term`.
    f, by_row, by_term : int
        Place of the first factor, and steps.
    n_rows : int
        Rows of `out`.
    rows : (..,) float32
        Right matrix.
    m, ldm : int
        Place of its first number, and from one row to the next.
    n_terms : int
        Rows of the right matrix.
    n : int
        Columns, whole lanes.
    """
    step = VECTORS * WIDTH
    r = 0
    while r < n_rows:
        is_block = r + ROWS <= n_rows
        i, to, by = 0, o + r * ldo, f + r * by_row
        while i + step <= n:
            if is_block:
                _combine_block(out, to + i, ldo, factors, by, by_row, by_term, rows, m + i, ldm, n_terms)
            else:
                _combine_vectors(out, to + i, ldo, factors, by, by_row, by_term, rows, m + i, ldm, n_terms)
            i += step
        while i < n:
            if is_block:
                _combine_rows(out, to + i, ldo, factors, by, by_row, by_term, rows, m + i, ldm, n_terms)
            else:
                _combine_one(out, to + i, ldo, factors, by, by_row, by_term, rows, m + i, ldm, n_terms)
            i += LANE
        r += ROWS if is_block else 1


@kernel
def add_dots(out, o, ldo, n_rows, rows, a, lda, n_units, weights, w, ldw, n):
    """Add a product: out (n_rows, n_units) += rows (n_rows, n) times weights (n_units, n), transposed.

    Parameters
    ----------
    out : (..,) float32
        Receives the sums.
    o, ldo : int
        Place of its first number, and from one row to the next.
    n_rows : int
        Rows of `out`.
    rows : (..,) float32
        Left matrix.
    a, lda : int
        Place of its first number, and from one row to the next.
    n_units : int
        Columns of `out`.
    weights : (..,) float32
        Right matrix, a row for each unit.
    w, ldw : int
        Place of its first number, and from one row to the next.
    n : int
        Numbers of a row, whole lanes.
    """
    u = 0
    while u < n_units:
        is_block = u + UNITS <= n_units
        r = 0
        while r + DOT_ROWS <= n_rows:
            if is_block:
                _dot_block(out, o + r * ldo + u, ldo, rows, a + r * lda, lda, weights, w + u * ldw, ldw, n)
            else:
                _dot_rows(out, o + r * ldo + u, ldo, rows, a + r * lda, lda, weights, w + u * ldw, ldw, n)
            r += DOT_ROWS
        while r < n_rows:
            if is_block:
                _dot_units(out, o + r * ldo + u, ldo, rows, a + r * lda, lda, weights, w + u * ldw, ldw, n)
            else:
                _dot_one(out, o + r * ldo + u, ldo, rows, a + r * lda, lda, weights, w + u * ldw, ldw, n)
            r += 1
        u += UNITS if is_block else 1
