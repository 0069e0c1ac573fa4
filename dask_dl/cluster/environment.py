"""Whether the workers can do the work: what is installed where, and on which processors."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import joblib
import psutil

from dask_dl import jit
from dask_dl.cluster.machine import disk_of
from dask_dl.cluster.scratch import base
from dask_dl.errors import ClusterError
from dask_dl.wording import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Packages whose versions should be the same everywhere; that of this package must be.
PACKAGES = ("dask", "distributed", "numba", "numpy", "pandas", "pyarrow")
OWN = "dask_dl"
MISSING = "not installed"


def describe(dask_worker: Any = None) -> dict[str, Any]:
    """Facts about this process, which may be a worker's."""
    return {
        **installed(),
        "host": socket.gethostname(),
        "cores": int(joblib.cpu_count()),
        "memory": int(psutil.virtual_memory().available),
        "disk": disk_of(Path(dask_worker.local_directory) if dask_worker is not None else base()),
    }


@functools.cache
def versions() -> Mapping[str, str]:
    """Versions of Python, of this package and of those that it needs, in this process."""
    return {"python": platform.python_version()} | {name: _version(name) for name in (OWN, *PACKAGES)}


@functools.cache
def installed() -> Mapping[str, Any]:
    """Versions and sources that must be the same, or should be, in all processes."""
    package = Path(__file__).parents[1]
    return {
        **versions(),
        "sources": sources(package),
        "processor": jit.processor(),
    }


def sources(package: Path) -> str | None:
    """Checksum of a package's modules, which tells two checkouts of one version apart; None where it is no folder of them."""
    try:
        modules = {file.relative_to(package).as_posix(): file.read_bytes() for file in package.rglob("*.py")}
    except OSError:
        return None
    digest = hashlib.sha256()
    for name, text in sorted(modules.items()):
        digest.update(f"{name} {len(text)}\n".encode() + text)
    return digest.hexdigest()[:12] if modules else None


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return MISSING


def objection(answer: Any, where: str) -> str | None:
    """The reason why a worker cannot take part, from its `describe()` or what that raised; None when it can.

    `where` names it, or several workers of the same answer, in the text.
    """
    here = installed()
    if isinstance(answer, BaseException):
        return (
            f"dask_dl cannot be used on {where}: {answer!r}. Install the same packages there: "
            f"pip install dask_dl=={here[OWN]} in the workers' environment, and restart them."
        )
    missing = [name for name, version in answer.items() if version == MISSING and here[name] != MISSING]
    if missing:
        return f"{', '.join(missing)}: not installed on {where}. Install the same packages everywhere."
    if answer[OWN] != here[OWN]:
        return (
            f"dask_dl is {here[OWN]} here and {answer[OWN]} on {where}. Install the same version everywhere, and restart the "
            f"workers."
        )
    theirs, ours = answer["sources"], here["sources"]
    if theirs and ours and theirs != ours:
        return (
            f"dask_dl {here[OWN]} has other sources here ({ours}) than on {where} ({theirs}). Install the same files "
            f"everywhere, and restart the workers."
        )
    return None


class Difference(NamedTuple):
    """Difference between this process and some workers, or among workers."""

    text: str
    workers: tuple[str, ...]
    is_fatal: bool  #: whether they cannot take part


def differences(found: Mapping[str, Any]) -> list[Difference]:
    """Judge what workers said of themselves, address -> `describe()` or what it raised there."""
    refused: dict[str, list[str]] = {}
    for worker, answer in found.items():
        if (why := objection(answer, "")) is not None:
            refused.setdefault(why, []).append(worker)
    seen = [
        Difference(str(objection(found[workers[0]], _named(workers))), tuple(workers), is_fatal=True)
        for workers in refused.values()
    ]
    known = {worker: facts for worker, facts in found.items() if objection(facts, "") is None}
    here = installed()
    for name in ("python", *PACKAGES):
        others = {worker: facts[name] for worker, facts in known.items() if facts[name] != here[name]}
        if others:
            text = (
                f"{name} is {here[name]} here and {', '.join(sorted(set(others.values())))} on {_named(others)}: results may "
                f"differ in their last digits, and objects may fail to deserialize. Install the same version everywhere."
            )
            seen.append(Difference(text, tuple(others), is_fatal=False))
    processors: dict[str, list[str]] = {}
    for worker, facts in known.items():
        processors.setdefault(facts["processor"], []).append(worker)
    if len(processors) > 1:
        kinds = "; ".join(f"{kind}: {_named(workers)}" for kind, workers in sorted(processors.items()))
        text = (
            f"workers have different processors ({kinds}): each compiles the kernels for its own, rounds wait for the slowest, "
            f"and results differ in their last digits. Use one kind where the same bits are wanted."
        )
        seen.append(Difference(text, tuple(known), is_fatal=False))
    return seen


def check(found: Mapping[str, Any]) -> list[str]:
    """Differences that may go wrong; see `differences`. Raises ClusterError for those that will."""
    seen = differences(found)
    if fatal := [difference.text for difference in seen if difference.is_fatal]:
        raise ClusterError(" ".join(fatal))
    return [difference.text for difference in seen]


def _named(workers: Any) -> str:
    return listed(sorted(workers), 4, str)
