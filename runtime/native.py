"""The few machine operations that Numba lacks: memory at an address, acquire and release, pause, calls through an address.

Everything here works on plain integers (addresses), so that compiled code is the same for every process and can be cached.
`native` is the decorator for compiled functions: no interpreter lock, cached on disk, typed for the checker.
"""

import ctypes
import signal
from collections.abc import Callable
from typing import Any, TypeVar, cast

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from runtime.kernels.cache import SourceCache

F = TypeVar("F", bound=Callable[..., Any])
CLOCK_MONOTONIC = 1


def native(f: F) -> F:
    """Compile without the interpreter lock when first called, and keep it on disk (`runtime.kernels.cache`)."""
    dispatcher = njit(nogil=True)(f)
    dispatcher._cache = SourceCache(f)  # Numba's own refuses where neither the package nor the home can be written to
    return cast(F, dispatcher)


def _primitive(f: Callable[..., Any]) -> Callable[..., int]:
    """An intrinsic as its callers see it: without the typing context."""
    return cast(Callable[..., int], intrinsic(f))


def _pointer(builder: Any, address: Any, width: Any) -> Any:
    return builder.inttoptr(address, width.as_pointer())


_I64, _F32 = ir.IntType(64), ir.FloatType()


@_primitive
def load(typing: Any, address: Any) -> Any:
    """The i64 at an address; what was written before its `store` elsewhere is visible after it (acquire)."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_pointer(builder, args[0], _I64), "acquire", 8)

    return types.int64(types.int64), code


@_primitive
def store(typing: Any, address: Any, value: Any) -> Any:
    """Write an i64 to an address; what was written before is visible to whoever loads it (release)."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[1], _pointer(builder, args[0], _I64), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@_primitive
def fence(typing: Any) -> Any:
    """What was stored before is visible to all before anything after is loaded (sequentially consistent)."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), code


@_primitive
def peek(typing: Any, address: Any) -> Any:
    """The i64 at an address, without ordering."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(builder, args[0], _I64), align=8)

    return types.int64(types.int64), code


@_primitive
def poke(typing: Any, address: Any, value: Any) -> Any:
    """Write an i64 to an address, without ordering."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], _pointer(builder, args[0], _I64), align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@_primitive
def peek_f32(typing: Any, address: Any) -> Any:
    """The f32 at an address."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(builder, args[0], _F32), align=4)

    return types.float32(types.int64), code


@_primitive
def poke_f32(typing: Any, address: Any, value: Any) -> Any:
    """Write an f32 to an address."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], _pointer(builder, args[0], _F32), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), code


@_primitive
def as_f32(typing: Any, address: Any) -> Any:
    """A pointer to f32, for `numba.carray`: loops over arrays are vectorized, loops over addresses are not."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.float32)(types.int64), code


@_primitive
def copy_bytes(typing: Any, to: Any, source: Any, nbytes: Any) -> Any:
    """Copy memory between two places that do not overlap."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i8 = ir.IntType(8)
        cgutils.raw_memcpy(builder, _pointer(builder, args[0], i8), _pointer(builder, args[1], i8), args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


@_primitive
def pause(typing: Any) -> Any:
    """Tell the core that this is a spin loop."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [])
        builder.call(cgutils.get_or_insert_function(builder.module, function, _pause_name()), [])
        return context.get_dummy_value()

    return types.void(), code


def _pause_name() -> str:
    import platform

    return "llvm.x86.sse2.pause" if platform.machine() in ("x86_64", "AMD64") else "llvm.donothing"


@_primitive
def call(typing: Any, address: Any, argument: Any) -> Any:
    """Call the ``void(int64)`` at an address."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [_I64])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), [args[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@_primitive
def call_plain(typing: Any, address: Any) -> Any:
    """Call the ``int(void)`` at an address, e.g. `sched_yield`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = ir.FunctionType(ir.IntType(32), [])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.int64), code


@_primitive
def sleep_us(typing: Any, address: Any, microseconds: Any) -> Any:
    """Sleep; `address` is that of `usleep`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = ir.FunctionType(ir.IntType(32), [ir.IntType(32)])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), [builder.trunc(args[1], ir.IntType(32))])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@_primitive
def now_ns(typing: Any, address: Any) -> Any:
    """Nanoseconds of the monotonic clock; `address` is that of `clock_gettime`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        time = cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))
        i32, first = ir.IntType(32), builder.bitcast(time, _I64.as_pointer())
        function = ir.FunctionType(i32, [i32, _I64.as_pointer()])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), [ir.Constant(i32, CLOCK_MONOTONIC), first])
        seconds, rest = builder.load(first), builder.load(builder.gep(first, [ir.Constant(_I64, 1)]))
        return builder.add(builder.mul(seconds, ir.Constant(_I64, 1_000_000_000)), rest)

    return types.int64(types.int64), code


@native
def read_word(address: int) -> int:
    """`load`, for the interpreter."""
    return load(address)


@native
def write_word(address: int, value: int) -> None:
    """`store`, for the interpreter; what it loads afterwards was not loaded before."""
    store(address, value)
    fence()


def die_with_parent() -> None:
    """End this process when its parent ends, however that happens (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class System:
    """Addresses of the few functions of the C library that compiled code calls."""

    def __init__(self) -> None:
        c = ctypes.CDLL(None)
        self.clock_gettime, self.sched_yield, self.usleep = (
            cast(int, ctypes.cast(getattr(c, name), ctypes.c_void_p).value) for name in ("clock_gettime", "sched_yield", "usleep")
        )


SYSTEM = System()
