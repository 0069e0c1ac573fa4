"""Requests for memory before it is read.

Rows of a large one-hot block lie anywhere, so that the processor cannot guess which one comes next; a kernel knows. A
table that fits a core's second cache needs none of this, and asking would only take time.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

#: float32 numbers of a one-hot block from which on it pays to ask: with optimizer state, more than a core's second cache.
FAR = 2**17
LINE_BYTES = 64
_LONG, _NUMBER, _BYTES = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()


@intrinsic
def fetch_level(_context, weights, _state0, _state1, _slot, _width):
    """Ask for the weights that a one-hot input feeds, and for their optimizer state.

    Asking never fails: a slot of -1 does no harm, and a state need not be there.

    Parameters
    ----------
    _context : numba.core.typing.Context
        Given by the compiler.
    weights, _state0, _state1 : (..,) float32
        One-hot block and its optimizer state, which may be empty.
    _slot : int64
        The input.
    _width : int64
        Numbers that it feeds.

    Returns
    -------
    signature, codegen : tuple
        What Numba needs of an intrinsic; called from a kernel, it returns nothing.
    """

    def codegen(context, builder, signature, arguments):
        *arrays, slot, width = arguments
        ask = _asking(builder.module)
        places = [
            builder.bitcast(make_array(kind)(context, builder, array).data, _BYTES)
            for kind, array in zip(signature.args, arrays, strict=False)
        ]
        n_bytes = builder.mul(width, ir.Constant(_LONG, 4))
        builder.call(ask, [*places, builder.mul(slot, n_bytes), n_bytes])
        return context.get_dummy_value()

    return types.void(weights, weights, weights, types.intp, types.intp), codegen


def _asking(module):
    """A function of its own, and said to be rare: inside a kernel's loop it took a tenth of the time of rows that need none."""
    name = "dask_dl_fetch"
    if name in module.globals:
        return module.globals[name]
    kind = ir.FunctionType(ir.VoidType(), [_BYTES, _BYTES, _BYTES, _LONG, _LONG])
    function = ir.Function(module, kind, name)
    function.linkage = "internal"
    for attribute in ("noinline", "cold", "nounwind"):
        function.attributes.add(attribute)
    *arrays, start, n_bytes = function.args
    builder = ir.IRBuilder(function.append_basic_block())
    one = cgutils.get_or_insert_function(
        module, ir.FunctionType(ir.VoidType(), [_BYTES, _NUMBER, _NUMBER, _NUMBER]), "llvm.prefetch.p0i8"
    )
    with cgutils.for_range_slice(builder, start, builder.add(start, n_bytes), ir.Constant(_LONG, LINE_BYTES)) as (
        at,
        _,
    ):
        for array in arrays:
            # To be read, into all caches, data: a line that is written next comes alone while no other core has it.
            builder.call(one, [builder.gep(array, [at]), *(ir.Constant(_NUMBER, n) for n in (0, 3, 1))])
    builder.ret_void()
    return function
