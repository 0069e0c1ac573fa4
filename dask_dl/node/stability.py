"""Whether weights are still of this world (specification, section 4: unstable model)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dask_dl.kernels.layout import Topology

#: Largest mean and deviation of a layer's weights, and of its biases, that are taken for learning.
MOST = {"weights": 1e10, "biases": 1e5}


def instability(topology: Topology, flat: NDArray[np.float32]) -> str | None:
    """What is wrong with the first layer that is not finite or has exploded; None when all are sound."""
    for k, parts in enumerate(zip(*topology.unpack(flat), strict=True)):
        for name, values in zip(MOST, parts, strict=True):
            n_bad = int(np.count_nonzero(~np.isfinite(values)))
            if n_bad:
                return f"{n_bad:,} of {values.size:,} {name} of layer {k + 1} are not finite"
            mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
            if abs(mean) > MOST[name] or deviation > MOST[name]:
                return f"the {name} of layer {k + 1} have exploded: mean {mean:.3g}, deviation {deviation:.3g}"
    return None
