"""The one place where Numba is configured: flags of every kernel, and where compiled kernels are kept."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
from numba.core import caching

# Reassociation lets sums use vector registers; `nnan` and `ninf` stay out, so that a divergence check still sees a NaN.
FASTMATH = frozenset({"nsz", "arcp", "contract", "afn", "reassoc"})


def kernel(function: Any, *, inline: bool = False) -> Any:
    """Compile `function` lazily: without the GIL, without Python's division check, cached across processes.

    The division check (`error_model="python"`) keeps loops out of vector registers and costs a factor of five. The
    caller's own Numba settings are neither read nor changed.
    """
    # Without its runtime Numba counts no references, whose atomic counters took longer than 64 weights of arithmetic, and
    # would bounce between the cores of threads; so kernels cannot allocate: callers pass scratch memory.
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(FASTMATH), "_nrt": False, "forceinline": inline}
    compiled = numba.njit(**options)(function)
    if cache_folder() is not None and hasattr(compiled, "_cache"):  # under NUMBA_DISABLE_JIT it is plain Python
        compiled._cache = _KernelCache(function)  # noqa: SLF001  # what `njit(cache=True)` does, with our folder
    return compiled


inlined = functools.partial(kernel, inline=True)
"""`kernel` for a small function on a hot path: a call with arrays among its arguments takes longer than 64 weights."""


def is_cached(compiled: Any) -> bool:
    """Whether a process on this machine has compiled `compiled` before: if not, the first call takes seconds."""
    folder = cache_folder()
    name = f"{Path(compiled.py_func.__code__.co_filename).stem}.{compiled.py_func.__qualname__}-"
    return folder is not None and any(folder.glob(f"{name}*.nbc"))


@functools.cache
def cache_folder() -> Path | None:
    """Folder of the compiled kernels, or None where nothing can be written.

    Its name is a hash of every kernel's source, of Numba's version and of the processor: Numba's own key misses an
    edit in another module, and a home directory shared by unlike machines.
    """
    name = f"kernels-{_fingerprint()}"
    chosen = os.environ.get("DASK_DL_CACHE_DIR")
    if chosen:
        candidates = [Path(chosen) / name]
    else:
        user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
        candidates = [user_cache / "dask_dl" / name, Path(tempfile.gettempdir()) / f"dask_dl-{os.getuid()}" / name]
    for folder in candidates:
        with contextlib.suppress(OSError, RuntimeError):
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            # A folder of another user could hold another user's code.
            if folder.stat().st_uid == folder.parent.stat().st_uid == os.getuid() and os.access(folder, os.W_OK):
                return folder
    return None


def processor() -> str:
    """Name of the processor, for which kernels are compiled."""
    return str(llvmlite.binding.get_host_cpu_name())


def _fingerprint() -> str:
    package = Path(__file__).parent
    sources = [Path(__file__), package / "state.py", *sorted((package / "kernels").glob("*.py"))]
    machine = (
        numba.__version__,
        processor(),
        llvmlite.binding.get_host_cpu_features().flatten(),
    )
    digest = hashlib.sha256("\n".join(machine).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


class _KernelLocator(caching._CacheLocator):  # type: ignore[misc]  # noqa: SLF001  # Numba's hook for cache folders
    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return "by folder name"

    def get_disambiguator(self) -> str:
        return "dask_dl"

    @classmethod
    def from_function(cls, _py_func: Any, _py_file: str) -> _KernelLocator:
        return cls()


class _KernelCacheImpl(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_KernelLocator,)


class _KernelCache(caching.FunctionCache):  # type: ignore[misc]
    """A cache that may only save time: a full disk, a half-written or an unreadable entry means compiling again."""

    _impl_class = _KernelCacheImpl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # noqa: BLE001  # a damaged entry can raise anything that unpickling can
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)
