"""Functions that kernels call.

Numba wants to know a device before it compiles a device function, and its inlining of Python into Python takes minutes where
functions nest. A `device_function` is compiled for no device in particular, once for all kernels and architectures that call it
with the same types, and inlined by NVVM: a kernel made of many small functions is compiled in a second and is as fast as one that
is written at length.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from collections.abc import Callable
from typing import Any

from numba import cuda
from numba.core import config

OLDEST = (7, 5)


def _compiled(function: Callable[..., Any]) -> Any:
    from numba.cuda.compiler import compile_cuda
    from numba.cuda.dispatcher import CUDADispatcher

    class DeviceFunction(CUDADispatcher):
        """As Numba's, less the question for a device."""

        def compile_device(self, args, return_type=None):
            if args not in self.overloads:
                made = compile_cuda(self.py_func, return_type, args, forceinline=True, nvvm_options={"opt": 3}, cc=OLDEST)
                made.target_context.insert_user_function(made.entry_point, made.fndesc, [made.library])
                self.overloads[args] = made
            return self.overloads[args]

    return DeviceFunction(function, targetoptions={"device": True, "opt": True, "fastmath": False})


def device_function(function: Callable[..., Any]) -> Any:
    """Decorator: a function that kernels and other such functions call; it may return numbers and tuples of them."""
    if not config.ENABLE_CUDASIM:
        return _compiled(function)
    names_cuda = "cuda" in function.__code__.co_names  # what does not is called as it is: the simulator takes its time
    return cuda.jit(device=True)(function) if names_cuda else function


def in_turn(body: Any, count: int) -> Any:
    """A device function (w, x, y, z, first) that calls ``body(w, x, y, z, i)`` for so many i, a power of two, in order.

    It is a loop unrolled by hand: once all is inlined i is a constant, so what it indexes has a constant place and stays in
    registers.
    """
    for half in (2**i for i in range(count.bit_length() - 1)):
        body = _twice(body, half)
    return body


def _twice(body, half):
    @device_function
    def twice(w, x, y, z, i):
        body(w, x, y, z, i)
        body(w, x, y, z, i + half)

    return twice
