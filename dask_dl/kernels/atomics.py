"""Ordered loads and stores, by which threads meet without a lock, and a polite way to wait.

Acquire and release are the orders of C11: what a thread wrote before `store` is seen by a thread after its `load` has
seen that store. Arrays are contiguous int64; cells that threads write in turn lie `LINE` apart.
"""

from __future__ import annotations

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

#: int64 numbers in 128 bytes: processors fetch cache lines in pairs.
LINE = 16
#: `clock_gettime`'s name of the clock that is never set back.
MONOTONIC = 6 if platform.system() == "Darwin" else 1


def _address(context, builder, kind, array, i):
    return builder.gep(context.make_array(kind)(context, builder, array).data, [i])


@intrinsic
def load(_context, cells, _i):
    """`cells[i]`, with everything that was written before it (acquire)."""

    def codegen(context, builder, signature, arguments):
        return builder.load_atomic(_address(context, builder, signature.args[0], *arguments), "acquire", 8)

    return types.int64(cells, types.intp), codegen


@intrinsic
def store(_context, cells, _i, _value):
    """Store `cells[i] = value`, after everything written before (release).

    Parameters
    ----------
    _context : numba.core.typing.Context
        Given by the compiler.
    cells : (n,) int64
    _i : int64
        Cell to write to.
    _value : int64

    Returns
    -------
    signature, codegen : tuple
        What Numba needs of an intrinsic; called from a kernel, it returns nothing.
    """

    def codegen(context, builder, signature, arguments):
        cells, i, value = arguments
        builder.store_atomic(value, _address(context, builder, signature.args[0], cells, i), "release", 8)
        return context.get_dummy_value()

    return types.void(cells, types.intp, types.int64), codegen


@intrinsic
def fetch_add(_context, cells, _i, _value):
    """Add `cells[i] += value` as one step.

    Parameters
    ----------
    _context : numba.core.typing.Context
        Given by the compiler.
    cells : (n,) int64
    _i : int64
        Cell to add to.
    _value : int64

    Returns
    -------
    int64
        The number that was there before.
    """

    def codegen(context, builder, signature, arguments):
        cells, i, value = arguments
        return builder.atomic_rmw("add", _address(context, builder, signature.args[0], cells, i), value, "acq_rel")

    return types.int64(cells, types.intp, types.int64), codegen


@intrinsic
def pause(_context):
    """Tell the processor that this is a waiting loop: it leaves its units to the other thread of the core."""

    def codegen(context, builder, _signature, _arguments):
        nothing = ir.FunctionType(ir.VoidType(), [])
        machine = platform.machine()
        if machine == "x86_64":
            builder.call(cgutils.get_or_insert_function(builder.module, nothing, "llvm.x86.sse2.pause"), [])
        elif machine == "aarch64":
            hint = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
            yield_hint = ir.Constant(ir.IntType(32), 1)
            builder.call(cgutils.get_or_insert_function(builder.module, hint, "llvm.aarch64.hint"), [yield_hint])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def yield_cpu(_context):
    """Let the operating system run another thread on this core."""

    def codegen(context, builder, _signature, _arguments):
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def now(_context):
    """Nanoseconds of a clock that is never set back."""

    def codegen(_target, builder, _signature, _arguments):
        long = ir.IntType(64)
        place = cgutils.alloca_once(builder, ir.ArrayType(long, 2))  # struct timespec
        pointer = builder.bitcast(place, cgutils.voidptr_t)
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32), cgutils.voidptr_t])
        read = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
        builder.call(read, [ir.Constant(ir.IntType(32), MONOTONIC), pointer])
        time = builder.load(place)
        seconds, rest = builder.extract_value(time, 0), builder.extract_value(time, 1)
        return builder.add(builder.mul(seconds, ir.Constant(long, 10**9)), rest)

    return types.int64(), codegen
