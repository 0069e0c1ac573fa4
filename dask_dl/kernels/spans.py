"""Parts of arrays that cost nothing to name.

A slice `a[i:j]` has its ends checked and moved into range, which takes as long as a lane of arithmetic. Nothing is checked
here: callers stay inside.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array


@intrinsic
def span(_context, array, _start, _n):
    """Part `array[start : start + n]` of a contiguous vector, unchecked and not copied.

    Parameters
    ----------
    _context : numba.core.typing.Context
        Given by the compiler.
    array : (m,) of any dtype
    _start, _n : int64
        First element, and their number.

    Returns
    -------
    signature, codegen : tuple
        What Numba needs of an intrinsic; called from a kernel, it returns the part, (n,) of the same dtype.
    """

    def codegen(context, builder, signature, arguments):
        kind = signature.args[0]
        whole, start, n = arguments
        data = builder.gep(make_array(kind)(context, builder, whole).data, [start])
        itemsize = context.get_constant(types.intp, kind.dtype.bitwidth // 8)
        part = make_array(kind)(context, builder)
        populate_array(part, data=data, shape=[n], strides=[itemsize], itemsize=itemsize, meminfo=None, parent=None)
        return part._getvalue()  # noqa: SLF001  # Numba's name

    return array(array, types.intp, types.intp), codegen
