"""Single precision matrix products by the BLAS that SciPy brings, called from kernels without Python.

Matrices are parts of contiguous arrays, row by row: an array, the place of their first number, and the length of a row. BLAS
counts in columns, so it is told of everything transposed.
"""

from __future__ import annotations

import functools

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic
from numba.np.arrayobj import make_array, populate_array

from dask_dl.jit import inlined


@functools.cache
def sgemm_address() -> int:
    """Where `sgemm` lies in this process: an argument of kernels, which are kept for processes where it lies elsewhere."""
    return int(get_cython_function_address("scipy.linalg.cython_blas", "sgemm"))


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


@intrinsic
def _sgemm(_context, _address, _ta, _tb, _m, _n, _k, a, _a0, _lda, b, _b0, _ldb, _beta, c, _c0, _ldc):
    """C = op(A) op(B) + beta C, as Fortran sees it; `ta` and `tb` are letters by their codes."""

    def codegen(context, builder, signature, arguments):
        address, ta, tb, m, n, k, a, a0, lda, b, b0, ldb, beta, c, c0, ldc = arguments

        def by_reference(value):
            place = cgutils.alloca_once(builder, value.type)
            builder.store(value, place)
            return builder.bitcast(place, cgutils.voidptr_t)

        def narrow(value, kind):
            return by_reference(builder.trunc(value, kind))

        def numbers(index, array, start):
            data = make_array(signature.args[index])(context, builder, array).data
            return builder.bitcast(builder.gep(data, [start]), cgutils.voidptr_t)

        small, letter, one = ir.IntType(32), ir.IntType(8), ir.Constant(ir.FloatType(), 1.0)
        given = [
            narrow(ta, letter), narrow(tb, letter), narrow(m, small), narrow(n, small), narrow(k, small), by_reference(one),
            numbers(6, a, a0), narrow(lda, small), numbers(9, b, b0), narrow(ldb, small), by_reference(beta),
            numbers(13, c, c0), narrow(ldc, small),
        ]  # fmt: skip
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t] * len(given))
        builder.call(builder.inttoptr(address, kind.as_pointer()), given)
        return context.get_dummy_value()

    whole = types.intp
    return types.void(
        types.int64, whole, whole, whole, whole, whole, a, whole, whole, b, whole, whole, types.float32, c, whole, whole
    ), codegen


PLAIN, TRANSPOSED = ord("N"), ord("T")


@inlined
def times_transposed(sgemm, m, n, k, a, a0, lda, b, b0, ldb, beta, c, c0, ldc):
    """C (m, n) = A (m, k) B' + beta C, with B (n, k)."""
    _sgemm(sgemm, TRANSPOSED, PLAIN, n, m, k, b, b0, ldb, a, a0, lda, beta, c, c0, ldc)


@inlined
def times(sgemm, m, n, k, a, a0, lda, b, b0, ldb, beta, c, c0, ldc):
    """C (m, n) = A (m, k) B + beta C, with B (k, n)."""
    _sgemm(sgemm, PLAIN, PLAIN, n, m, k, b, b0, ldb, a, a0, lda, beta, c, c0, ldc)


@inlined
def transposed_times(sgemm, m, n, k, a, a0, lda, b, b0, ldb, beta, c, c0, ldc):
    """C (m, n) = A' B + beta C, with A (k, m) and B (k, n)."""
    _sgemm(sgemm, PLAIN, TRANSPOSED, n, m, k, b, b0, ldb, a, a0, lda, beta, c, c0, ldc)
