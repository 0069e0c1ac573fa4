"""Whether the workers can do the work: what is installed where, and on which processors."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import psutil

from dask_dl import jit
from dask_dl.cluster.machine import disk_of
from dask_dl.cluster.scratch import base
from dask_dl.errors import ClusterError, DaskDLWarning

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Packages whose versions had better be the same everywhere; of this one they must be.
PACKAGES = ("dask", "distributed", "numba", "numpy", "pandas", "pyarrow")
OWN = "dask_dl"
MISSING = "not installed"


def describe(dask_worker: Any = None) -> dict[str, Any]:
    """Of this process, which may be a worker's."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in (OWN, *PACKAGES)},
        "processor": jit.processor(),
        "cores": int(joblib.cpu_count()),
        "memory": int(psutil.virtual_memory().available),
        "disk": disk_of(Path(dask_worker.local_directory) if dask_worker is not None else base()),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return MISSING


def check(found: Mapping[str, Any]) -> list[DaskDLWarning]:
    """Judge what workers said of themselves, address -> `describe()` or what it raised there.

    Returns warnings of what may go wrong. Raises ClusterError for what will.
    """
    here = describe()
    missing = {worker: error for worker, error in found.items() if isinstance(error, BaseException)}
    if missing:
        first = next(iter(missing.values()))
        raise ClusterError(
            f"dask_dl cannot be used on {_named(missing)}: {first!r}. Install the same packages there: "
            f"pip install dask_dl=={here[OWN]} in the workers' environment, and restart them."
        )
    lacking = {
        worker: [name for name, version in facts.items() if version == MISSING]
        for worker, facts in found.items()
        if MISSING in facts.values()
    }
    if lacking:
        names = sorted({name for lacks in lacking.values() for name in lacks})
        raise ClusterError(
            f"{', '.join(names)}: not installed on {_named(lacking)}. Install the same packages everywhere."
        )
    strangers = {worker: facts[OWN] for worker, facts in found.items() if facts[OWN] != here[OWN]}
    if strangers:
        raise ClusterError(
            f"dask_dl is {here[OWN]} here and {', '.join(sorted(set(strangers.values())))} on {_named(strangers)}. "
            f"Install the same version everywhere, and restart the workers."
        )
    warnings = []
    for name in ("python", *PACKAGES):
        others = {worker: facts[name] for worker, facts in found.items() if facts[name] != here[name]}
        if others:
            text = (
                f"{name} is {here[name]} here and {', '.join(sorted(set(others.values())))} on {_named(others)}: results may "
                f"differ in their last digits, and objects may not survive the way. Install the same version everywhere."
            )
            warnings.append(DaskDLWarning(text))
    processors: dict[str, list[str]] = {}
    for worker, facts in found.items():
        processors.setdefault(facts["processor"], []).append(worker)
    if len(processors) > 1:
        kinds = "; ".join(f"{kind}: {_named(workers)}" for kind, workers in sorted(processors.items()))
        text = (
            f"workers have different processors ({kinds}): each compiles the kernels for its own, rounds wait for the slowest, "
            f"and results differ in their last digits. Use one kind where the same bits are wanted."
        )
        warnings.append(DaskDLWarning(text))
    return warnings


def _named(workers: Any, most: int = 4) -> str:
    names = sorted(workers)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
