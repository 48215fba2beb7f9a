"""Compiled kernels on disk, never stale.

Numba's own cache looks at the file that defines a function, not at what that file imports. Here the stamp of a cached
function is the hash of its file, of everything of this package that the file imports, directly or not
(`runtime.kernels.build`), and of the register tile's shape. It is part of the file name too, so processes with different
sources do not meet. Numba adds its version, the processor and the signature. `runtime.kernels.folder` says where.
"""

import inspect
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import njit, types
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.ccallback import CFunc

from hw.kernels.geometry import host_geometry
from runtime.kernels.build import file_hash
from runtime.kernels.folder import folder

OPTIONS = {"error_model": "numpy", "boundscheck": False}


def _stamp(file: Path) -> str:
    """What the machine code of a file's functions depends on besides Numba and the processor."""
    return sha256(f"{file_hash(file)} {host_geometry()}".encode()).hexdigest()


class _Locator:
    """Tells Numba's cache where a function is kept, and what it depends on."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._py_file = file
        self._stamp = _stamp(Path(file))

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> "_Locator":
        return cls(function, file)

    def ensure_cache_path(self) -> None:
        folder().mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        return str(folder())

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> str:
        return self._stamp[:12]


class _Impl(CompileResultCacheImpl):
    _locator_classes = [_Locator]


class SourceCache(FunctionCache):
    """Numba's function cache, keyed by the hash of all sources a function depends on."""

    _impl_class = _Impl

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled, and remove what is out of date."""
        super().save_overload(sig, data)
        _prune(self._py_func)


def compile_native(function: Callable[..., Any], params: Sequence[Any]) -> CFunc:
    """The native function ``void(params)``, from disk or compiled; its ``address`` stays valid while it lives."""
    native = CFunc(function, (tuple(params), types.void), locals={}, options=dict(OPTIONS))
    native._cache = SourceCache(function)
    native.compile()
    return native


@cache
def compile_njit(function: Callable[..., Any], params: tuple[Any, ...]) -> Callable[..., Any]:
    """A function to be called from Python with these parameter types, without the interpreter lock; kept on disk."""
    dispatcher = njit(nogil=True, **OPTIONS)(function)
    dispatcher._cache = SourceCache(function)
    dispatcher._can_compile = True
    dispatcher.compile(tuple(params))
    dispatcher.disable_compile()
    return dispatcher  # type: ignore[no-any-return]


def _prune(function: Callable[..., Any]) -> None:
    """Remove what was compiled from earlier sources of a function and has not been touched for a day."""
    start, stamp = _file_start(function)
    for old in folder().glob(f"{start}-*.nb?"):
        if not old.name.startswith(f"{start}-{stamp}"):
            with suppress(OSError):  # another process may be faster
                if time.time() - old.stat().st_mtime > 86_400:
                    old.unlink()


def _file_start(function: Callable[..., Any]) -> tuple[str, str]:
    """How the names of a function's files begin, and the stamp that follows."""
    file = Path(inspect.getfile(function))
    return f"{file.stem}.{function.__qualname__}", _stamp(file)[:12]


def is_cached(function: Callable[..., Any]) -> bool:
    """Whether compiled code for the present source is on disk."""
    start, stamp = _file_start(function)
    return any(folder().glob(f"{start}-{stamp}.*.nbc"))
