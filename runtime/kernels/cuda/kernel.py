"""CUDA kernels as they are declared: the registry, launches, and what the compiler is held to.

A kernel of a record (`hw.kernels`) is a function that says what to launch for a call: device kernels with grids, blocks and
arguments. Everything that does not change from call to call is decided there, once, when a call is bound to its places; a launch
passes flat arrays and numbers. A device kernel is Python source with the types of its arguments, so that it can be compiled for
any architecture without a device, and runs in Numba's simulator as it is.

    RELU = DeviceKernel(name="relu", function=relu, types=(F32, F32), threads=256)

    @cuda_kernel("cuda.relu", kernels=(RELU,))
    def launches(call, places): return [RELU.over(places[0].size, places[0].operand, places[1].operand)]
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import cache, cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Union

from numba import cuda, types
from numba.core import config

from graph.record import record
from graph.registry import Registry
from graph.tensor_type import DType
from hw.kernels.record import Call
from runtime.cuda.driver import find_driver
from runtime.errors import MissingCapability, RunError
from runtime.kernels.cuda import FAMILIES

if TYPE_CHECKING:
    from runtime.kernels.cuda.library import Library, LibraryLaunch

SIMULATED = bool(config.ENABLE_CUDASIM)
"""Kernels run in Numba's simulator, in this process."""


class Machine(Enum):
    """What carries launches out."""

    DEVICE = "a GPU"
    SIMULATOR = "Numba's simulator: a kernel's source"
    EMULATOR = "runtime.ptx: the compiled kernel"


@cache
def machine() -> Machine:
    """In this process: the simulator where Numba was told so, else the GPU, and where there is none the emulator."""
    if SIMULATED:
        return Machine.SIMULATOR
    driver = find_driver()
    return Machine.DEVICE if driver and driver.gpus else Machine.EMULATOR


VECTOR = 16
"""Bytes of a 128-bit access; what it touches is aligned to as many."""


def flat(of: Any) -> Any:
    """The type of a one-dimensional array."""
    return types.Array(of, 1, "C")


F32, I64, U8, I16, I32 = (flat(t) for t in (types.float32, types.int64, types.uint8, types.int16, types.int32))
NUMBER, WHOLE = types.float32, types.int64
ELEMENTS = {DType.F32: F32, DType.F64: flat(types.float64), DType.I64: I64, DType.I32: I32, DType.I16: I16, DType.U8: U8}
"""Element type of a value -> type of the array that a kernel sees."""


@record
class Operand:
    """What a launch passes for a value: elements of the value at a place of the call, as one flat array.

    Parameters
    ----------
    index : of the call's reads, then writes, then workspace.
    dtype : of the elements as the kernel sees them.
    first : element at which the array begins.
    size : elements.
    """

    index: int
    dtype: DType
    first: int = 0
    size: int


@record
class Place:
    """Where an operand of a call lies.

    Parameters
    ----------
    index : of the call's reads, then writes, then workspace.
    address : in device memory, bytes.
    dtype : of its elements.
    size : elements.
    first : element of the operand at which this place begins.
    """

    index: int
    address: int
    dtype: DType
    size: int
    first: int = 0

    @property
    def operand(self) -> Operand:
        """All of it."""
        return Operand(index=self.index, dtype=self.dtype, first=self.first, size=self.size)

    def part(self, dtype: DType, first: int, size: int) -> "Place":
        """So many of its elements from one of them on, as elements of another type of which `first` is counted."""
        nbytes = dtype.itemsize
        begin = self.first * self.dtype.itemsize // nbytes + first
        return Place(index=self.index, address=self.address + first * nbytes, dtype=dtype, size=size, first=begin)

    @property
    def is_aligned(self) -> bool:
        """128-bit accesses may begin at its first element."""
        return self.address % VECTOR == 0


Argument = Operand | int | float | tuple[int, ...]


class DeviceKernel:
    """A function that runs on a device.

    Parameters
    ----------
    name : unique.
    function : its source: returns nothing.
    types : of its arguments: `F32` and the like, `WHOLE`, `NUMBER`.
    threads : of a block.
    least : the first architecture that has its instructions, e.g. ``(8, 0)``.
    is_hot : speed depends on it: no register may spill.
    wants : instructions that must be in its code, e.g. ``"mma.sync"``.
    fast : arithmetic may be reordered and approximated; sums of products may always be fused.
    older : what is launched in its place, with the same grid and arguments, on architectures before `least`.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., None],
        types: Sequence[Any],
        *,
        threads: int = 256,
        least: tuple[int, int] = (7, 5),
        is_hot: bool = False,
        wants: Iterable[str] = (),
        fast: bool = False,
        older: "DeviceKernel | None" = None,
    ) -> None:
        self.name, self.function, self.types, self.threads = name, function, tuple(types), threads
        self.least, self.is_hot, self.wants, self.fast, self.older = least, is_hot, tuple(wants), fast, older

    @property
    def signature(self) -> Any:
        """As Numba writes it."""
        return types.void(*self.types)

    def on(self, architecture: tuple[int, int]) -> "DeviceKernel":
        """What is launched on an architecture: this, or what stands in for it; raises `MissingCapability` where nothing does."""
        if architecture >= self.least:
            return self
        if self.older is None:
            needs, got = (".".join(map(str, c)) for c in (self.least, architecture))
            raise MissingCapability(
                f"kernel {self.name!r} needs a GPU of compute capability {needs}, this one has {got}: leave system.algorithm "
                f"away, and all is computed in f32"
            )
        return self.older.on(architecture)

    @cached_property
    def compiled(self) -> Any:
        """What is launched: in the simulator Numba's own, on this process's device `Loaded`; there it is made ready by this."""
        if SIMULATED:
            return cuda.jit(self.function)
        from runtime.kernels.cuda.loaded import Loaded, capability

        found = self.on(capability())
        return Loaded(found) if found is self else found.compiled

    def launch(self, grid: Sequence[int] | int, *arguments: Argument) -> "Launch":
        """Launch on a grid of blocks."""
        x, y, z = (*((grid,) if isinstance(grid, int) else grid), 1, 1)[:3]
        return Launch(kernel=self, grid=(x, y, z), arguments=arguments)

    def over(self, count: int, *arguments: Argument, each: int = 1, most: int = 65_535) -> "Launch":
        """Launch with a thread for every `each` of `count` elements, in at most so many blocks."""
        return self.launch(min(max(-(-count // (each * self.threads)), 1), most), *arguments)


@record
class Launch:
    """One launch.

    Parameters
    ----------
    kernel : what.
    grid : blocks.
    arguments : arrays as operands of the call, numbers as they are.
    """

    kernel: DeviceKernel
    grid: tuple[int, int, int]
    arguments: tuple[Argument, ...]

    def __post_init__(self) -> None:
        if len(self.arguments) != len(self.kernel.types):
            raise RunError(f"kernel {self.kernel.name!r} takes {len(self.kernel.types)} arguments, got {len(self.arguments)}")
        if min(self.grid) < 1:
            raise RunError(f"kernel {self.kernel.name!r}: a grid has at least one block along each axis, got {self.grid}")
        for given, kind in zip(self.arguments, self.kernel.types, strict=True):
            if isinstance(given, Operand) and ELEMENTS[given.dtype] != kind:
                raise RunError(f"kernel {self.kernel.name!r} takes {kind}, got elements {given.dtype}")


AnyLaunch = Union[Launch, "LibraryLaunch"]
Launches = Callable[[Call, Sequence[Place]], Sequence[AnyLaunch]]


@record
class CudaKernel:
    """The kernel of a record.

    Parameters
    ----------
    name : of the record, ``"cuda.<op>"``.
    launches : (call, places of its reads, writes and workspace) -> what is launched, in order. Empty operands launch nothing.
    kernels : every device kernel that it may launch.
    library : whose calls it launches beside them; None: all of it is ours.
    """

    name: str
    launches: Launches
    kernels: tuple[DeviceKernel, ...]
    library: "Library | None" = None


CUDA_KERNELS: Registry[CudaKernel] = Registry("CUDA kernel")


def cuda_kernel(name: str, kernels: Iterable[DeviceKernel], library: "Library | None" = None) -> Callable[[Launches], Launches]:
    """Decorator: registers the kernel of a record."""

    def register(launches: Launches) -> Launches:
        CUDA_KERNELS.add(name, CudaKernel(name=name, launches=launches, kernels=tuple(kernels), library=library))
        return launches

    return register


def load_families() -> None:
    """Import every family of kernels, so that the registry is full."""
    for family in FAMILIES:
        import_module(f"runtime.kernels.cuda.{family}")


def find(name: str) -> CudaKernel:
    """A kernel by name; loads the families the first time one is asked for."""
    if name not in CUDA_KERNELS:
        load_families()
    return CUDA_KERNELS[name]
