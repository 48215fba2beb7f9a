"""Calls of libraries in place of launches: what stands beside `Launch` for kernels that a device's maker wrote.

Such a call is a description: pointers as operands, extents, strides, flags. It is told to the library when it is bound to arrays,
on a device; what is bound puts the library's kernels on a stream, and allocates nothing, so that it can be captured. Where there
is no device, a double carries out what the description says, on NumPy arrays: not what was meant, so that wrong strides give
wrong numbers there, too.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.record import record
from runtime.errors import MissingCapability
from runtime.kernels.cuda.kernel import Machine, Operand, machine

Flat = npt.NDArray[Any]
Bound = Callable[[int], None]
"""Carries out a call on a stream, by the driver's handle of it."""
EXTRA = "pip install 'trainscape[vendor]' (in a checkout: pip install -e '.[vendor]' -c constraints.txt)"


@record
class Library:
    """A library.

    Parameters
    ----------
    title : as its maker writes it.
    probe : asks it for its version; raises whatever, where it or its binding is not there.
    """

    title: str
    probe: Callable[[], object]

    def absent(self) -> str:
        """Why it cannot be used on a device, and the way out; ``""``: it can. Where there is no device it is not needed."""
        return _absent(self) if machine() is Machine.DEVICE else ""

    def require(self) -> None:
        """Raise `MissingCapability` where it cannot be used."""
        if why := self.absent():
            raise MissingCapability(why)


@cache
def _absent(library: Library) -> str:
    try:
        library.probe()
    except Exception as e:  # of any kind: bindings have errors of their own
        return (
            f"algorithm 'vendor' calls {library.title}, which cannot be used here ({type(e).__name__}: {e}): {EXTRA}, or leave "
            f"system.algorithm away"
        )
    return ""


@record
class LibraryLaunch:
    """One call of a library.

    Parameters
    ----------
    name : of its function.
    library : whose.
    operands : what it reads, then what it writes, then its workspace.
    bind : tells the library of the call, its operands beginning at these addresses; only on a device.
    double : carries out what the description says on flat arrays, those of `operands` less the workspace; the last is written.
    """

    name: str
    library: Library
    operands: tuple[Operand, ...]
    bind: Callable[[Sequence[int]], Bound]
    double: Callable[[Sequence[Flat]], None]


def handle_of(stream: Any) -> int:
    """A stream as the driver knows it: of Numba's its handle, of a number itself; 0 is the default one."""
    return int(getattr(stream, "handle", stream))


def aligned(address: int, nbytes: int, to: int) -> tuple[int, int]:
    """(address, bytes) of what is left of memory that begins at a multiple of `to`."""
    skipped = -address % to
    return address + skipped, max(nbytes - skipped, 0)


def spread(flat: Flat, shape: Sequence[int], strides: Sequence[int]) -> Flat:
    """A view of a flat array, strides in elements; raises `IndexError` where it would leave the array."""
    last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if 0 not in shape else -1
    if last >= flat.size:
        raise IndexError(f"shape {tuple(shape)} with strides {tuple(strides)} reaches element {last} of {flat.size}")
    return np.lib.stride_tricks.as_strided(flat, tuple(shape), tuple(s * flat.itemsize for s in strides))
