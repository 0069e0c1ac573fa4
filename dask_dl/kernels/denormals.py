"""Flush-to-zero for the calling thread while kernels run (algorithm.md#precision).

A well-fitted row has gradients of 1e-20, whose squares fall below float32's normal range. x86 processors handle such numbers
in microcode, a hundred times slower: training gets slower as it gets better (benchmarks/denormals.py). Flushed to zero
they change no result above 1e-38. The setting belongs to the thread, and is put back when the kernel returns.
"""

from __future__ import annotations

import contextlib
import platform
from typing import TYPE_CHECKING

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dask_dl.jit import entry

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Flush results and take denormal inputs as zero: bits 15 and 6 of x86's MXCSR; bit 24 of Arm's FPCR does both.
FLUSH = {"x86_64": (1 << 15) | (1 << 6), "aarch64": 1 << 24}.get(platform.machine(), 0)


@intrinsic
def _read_mode(_context):
    def codegen(_target, builder, _signature, _arguments):
        if platform.machine() == "aarch64":
            read = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.IntType(64), []), "llvm.aarch64.get.fpcr"
            )
            return builder.call(read, [])
        place = cgutils.alloca_once(builder, ir.IntType(32))
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t])
        read = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse.stmxcsr")
        builder.call(read, [builder.bitcast(place, cgutils.voidptr_t)])
        return builder.zext(builder.load(place), ir.IntType(64))

    return types.uint64(), codegen


@intrinsic
def _write_mode(_context, _word):
    def codegen(target, builder, _signature, arguments):
        if platform.machine() == "aarch64":
            kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)])
            write = cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.set.fpcr")
            builder.call(write, arguments)
        else:
            place = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(builder.trunc(arguments[0], ir.IntType(32)), place)
            kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t])
            write = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse.ldmxcsr")
            builder.call(write, [builder.bitcast(place, cgutils.voidptr_t)])
        return target.get_dummy_value()

    return types.void(types.uint64), codegen


@entry
def read_mode():
    """The thread's floating-point control word."""
    return _read_mode()


@entry
def write_mode(word):
    """Replace the thread's floating-point control word."""
    _write_mode(word)


@contextlib.contextmanager
def flushed() -> Iterator[None]:
    """Numbers below float32's normal range are zero for this thread, inside the `with`."""
    if not FLUSH:  # another processor: slower on such numbers, not wrong
        yield
        return
    before = read_mode()
    write_mode(before | FLUSH)
    try:
        yield
    finally:
        write_mode(before)
