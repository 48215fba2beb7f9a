"""How many blocks of a kernel a multiprocessor of a GPU holds at once, and what keeps it from holding more.

Arithmetic alone: what the assembler says of a kernel is enough, no device is asked. A block is held whole. Each of four things
allows so many blocks, and the least of them counts:

    blocks     those that a multiprocessor can tell apart
    threads    its warps; a block takes whole ones
    registers  a warp's are taken in units of 256, from the part of the multiprocessor that it runs on; there are four
    shared     memory in units, with what the driver keeps of every block; the greatest share of the memory that may be set aside

The numbers are those of NVIDIA, CUDA C++ Programming Guide 13.0, "Compute Capabilities", table "Technical Specifications per
Compute Capability": resident blocks, warps and shared memory; units, parts and what the driver keeps are those of its occupancy
calculator (cuda_occupancy.h of CUDA 13.0; NVIDIA Ampere GPU Architecture Tuning Guide, section 1.4.1: 1 KiB of every block).
"""

from collections.abc import Mapping

from graph.record import record
from hw.errors import HwError

WARP = 32
REGISTERS = 65_536
"""Of a multiprocessor, and the most of a block."""
REGISTERS_OF_THREAD = 255
REGISTER_UNIT = 256
PARTS = 4
"""Of a multiprocessor, each with its share of the registers."""
THREADS_OF_BLOCK = 1024
KIB = 1024
ANY = 1 << 30
"""Blocks, where a block takes nothing."""


@record
class Limits:
    """What a multiprocessor of an architecture holds.

    Parameters
    ----------
    blocks, warps : at once.
    shared_nbytes : shared memory of all its blocks.
    kept_nbytes : of that, kept by the driver for each block; the most that a block may ask for is so much less than all.
    unit_nbytes : in which it is taken.
    """

    blocks: int
    warps: int
    shared_nbytes: int
    kept_nbytes: int = KIB
    unit_nbytes: int = 128


LIMITS: Mapping[tuple[int, int], Limits] = {
    (7, 5): Limits(blocks=16, warps=32, shared_nbytes=64 * KIB, kept_nbytes=0, unit_nbytes=256),
    (8, 0): Limits(blocks=32, warps=64, shared_nbytes=164 * KIB),
    (8, 6): Limits(blocks=16, warps=48, shared_nbytes=100 * KIB),
    (8, 9): Limits(blocks=24, warps=48, shared_nbytes=100 * KIB),
    (9, 0): Limits(blocks=32, warps=64, shared_nbytes=228 * KIB),
    (10, 0): Limits(blocks=32, warps=64, shared_nbytes=228 * KIB),
    (12, 0): Limits(blocks=24, warps=48, shared_nbytes=100 * KIB),
}
"""Compute capability -> what a multiprocessor holds."""


@record
class Occupancy:
    """How full a multiprocessor is.

    Parameters
    ----------
    blocks : that it holds at once; 0: not even one.
    warps, most_warps : that it holds then, and could hold.
    limited_by : ``"blocks"``, ``"threads"``, ``"registers"`` and ``"shared"``: those of them that allow no more.
    """

    blocks: int
    warps: int
    most_warps: int
    limited_by: tuple[str, ...]

    @property
    def fraction(self) -> float:
        """Of its warps: what is commonly called occupancy."""
        return self.warps / self.most_warps


def occupancy(capability: tuple[int, int], *, threads: int, registers: int, shared_nbytes: int = 0) -> Occupancy:
    """Of a kernel.

    Parameters
    ----------
    capability : compute capability of the GPU, e.g. ``(9, 0)``.
    threads : of a block.
    registers : of a thread.
    shared_nbytes : of a block.

    Raises
    ------
    HwError : nothing is known of the capability, or a number cannot be.
    """
    if capability not in LIMITS:
        known = ", ".join(f"{a}.{b}" for a, b in LIMITS)
        raise HwError(
            f"how much a multiprocessor of compute capability {capability[0]}.{capability[1]} holds is not known; known: {known}"
        )
    for what, n, least in (("threads", threads, 1), ("registers", registers, 0), ("shared_nbytes", shared_nbytes, 0)):
        if n < least:
            raise HwError(f"occupancy: {what} is at least {least}, got {n}")
    limits, warps = LIMITS[capability], -(-threads // WARP)
    allowed = {
        "blocks": limits.blocks,
        "threads": limits.warps // warps if threads <= THREADS_OF_BLOCK else 0,
        "registers": _by_registers(warps, registers),
        "shared": _by_shared(shared_nbytes, limits),
    }
    blocks = min(allowed.values())
    limited_by = tuple(what for what, n in allowed.items() if n == blocks)
    return Occupancy(blocks=blocks, warps=blocks * warps, most_warps=limits.warps, limited_by=limited_by)


def _by_registers(warps: int, registers: int) -> int:
    of_warp = _whole(registers * WARP, REGISTER_UNIT)
    if registers > REGISTERS_OF_THREAD or of_warp * _whole(warps, PARTS) > REGISTERS:  # a block's are counted as if for all parts
        return 0
    return REGISTERS // PARTS // of_warp * PARTS // warps if of_warp else ANY


def _by_shared(nbytes: int, limits: Limits) -> int:
    taken = _whole(nbytes + limits.kept_nbytes, limits.unit_nbytes)
    return limits.shared_nbytes // taken if taken else ANY


def _whole(n: int, unit: int) -> int:
    """`n`, rounded up to a multiple."""
    return -(-n // unit) * unit
