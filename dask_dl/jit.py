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
from numba.core.registry import CPUDispatcher

# Reassociation lets sums use vector registers; `nnan` and `ninf` stay out, so that a divergence check still sees a NaN.
FASTMATH = frozenset({"nsz", "arcp", "contract", "afn", "reassoc"})


def kernel(function: Any, *, inline: bool = False) -> Any:
    """Compile `function` lazily, to be called by other kernels: a call from Python raises TypeError.

    Wrappers by which Python, or C, could call it take a part of the compiler's time. See `entry` for all else.
    """
    return _compiled(function, {"forceinline": inline, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}, Kernel)


def entry(function: Any) -> Any:
    """Compile `function` lazily, to be called from Python: without the GIL or the division check, cached across processes.

    The division check (`error_model="python"`) keeps loops out of vector registers and costs a factor of five. The
    caller's own Numba settings are neither read nor changed.
    """
    return _compiled(function, {"no_cfunc_wrapper": True}, CPUDispatcher)


def _compiled(function: Any, options: dict[str, Any], kind: type[CPUDispatcher]) -> Any:
    if numba.config.DISABLE_JIT:
        return function
    # Without its runtime Numba counts no references, whose atomic counters took longer than 64 weights of arithmetic, and
    # would bounce between the cores of threads; so kernels cannot allocate: callers pass scratch memory.
    options |= {"nopython": True, "nogil": True, "error_model": "numpy", "fastmath": set(FASTMATH), "_nrt": False}
    compiled = kind(function, targetoptions=options)
    if cache_folder() is not None:
        # What `njit(cache=True)` does, with our folder.
        compiled._cache = _KernelCache(function, is_entry=kind is CPUDispatcher)  # noqa: SLF001
    return compiled


class Kernel(CPUDispatcher):  # type: ignore[misc]
    """A function without the code by which Python would call it."""

    def add_overload(self, cres: Any) -> None:
        """Keep what was compiled for kernels to call."""
        self.overloads[tuple(cres.signature.args)] = cres  # and not where calls from Python look, which would crash

    def _compile_for_args(self, *_args: Any, **_more: Any) -> Any:
        """Refuse a call from Python, which comes here when it finds no code."""
        name = self.py_func.__qualname__
        raise TypeError(
            f"{name} can be called by kernels only. To call it from Python, compile it by dask_dl.jit.entry."
        )


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
    name = f"kernels-{fingerprint()}"
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


def fingerprint() -> str:
    """Hash of everything that compiled kernels depend on."""
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

    def __init__(self, function: Any, *, is_entry: bool) -> None:
        super().__init__(function)
        self._is_entry = is_entry

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        """Key of an entry of the cache: what Python can call is another than what only kernels can."""
        return *super()._index_key(sig, codegen), self._is_entry

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
