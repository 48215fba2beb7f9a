"""The loops around an NFU: a layer under a schedule as one nest, whose innermost body is an instruction.

    for group                           # of a convolution
     for block                          # order synapses: what is in SB is used for the whole image
      for image, y, x                   # tiles of the result
       for block                        # order inputs: what is in NBin is used for all output neurons
        for window row, column, maps    # chunks of synapses
         for row of the block           # Tn output neurons

Instruction k's loop indices are k's digits, so whatever is asked of instructions is answered for arrays of k, without making them
one by one. Loops are rectangular; only the last iteration of one may be smaller.
"""

from enum import StrEnum
from functools import cached_property
from math import ceil, prod

import numpy as np
import numpy.typing as npt

from graph.record import record
from hw.errors import HwError
from hw.nfu.config import Nfu, check_choice
from hw.nfu.layer import Kind, Layer

Index = npt.NDArray[np.int64]
LOOPS = ("group", "block", "image", "y", "x", "inner_block", "window_y", "window_x", "maps", "row")


class Order(StrEnum):
    """Which loop is outside."""

    SYNAPSES = "synapses"  # blocks of output neurons: synapses stay, inputs come again
    INPUTS = "inputs"  # tiles of the image: inputs stay, synapses come again


@record
class Schedule:
    """How a layer is cut. Rows of buffers that it takes: see `Nest.rows`.

    Parameters
    ----------
    rows, columns : of positions, in a tile.
    window_rows, window_columns : of the window, in a chunk.
    maps : rows of input maps (of Ti each) in a chunk; of pooling in a block.
    block : rows of output neurons (of Tn each) that are worked on between two chunks of inputs; divides all there are.
    order : of the outer loops.
    """

    rows: int = 1
    columns: int = 1
    window_rows: int = 1
    window_columns: int = 1
    maps: int = 1
    block: int = 1
    order: Order = Order.INPUTS


@record
class Rows:
    """Rows that an instruction takes of each buffer, at most."""

    nbin: int
    nbout: int
    sb: int


class Nest:
    """A layer on an NFU under a schedule.

    Raises
    ------
    HwError : the schedule is none of this layer, or its tile does not fit a buffer; names the field.
    """

    def __init__(self, layer: Layer, nfu: Nfu, schedule: Schedule) -> None:
        self.layer, self.nfu, self.schedule = layer, nfu, schedule
        self.is_pool = layer.kind is Kind.POOL
        self._check()

    def _check(self) -> None:
        s, limits = self.schedule, self._limits
        for field, most in limits.items():
            n = getattr(s, field)
            if not isinstance(n, int) or not 1 <= n <= most:
                raise HwError(f"layer {self.layer.name!r}: {field} of the schedule must lie between 1 and {most}, got {n}")
        check_choice(f"layer {self.layer.name!r}: order", s.order, Order)
        if limits["block"] % s.block:
            raise HwError(
                f"layer {self.layer.name!r}: block of the schedule is {s.block}, which does not divide {limits['block']} rows"
            )
        rows = self.rows
        for buffer, need, have in (
            ("NBin", rows.nbin, self.nfu.nbin_rows),
            ("NBout", rows.nbout, self.nfu.nbout_rows),
            ("SB", rows.sb, self.nfu.sb_rows),
        ):
            if need > have:
                raise HwError(f"layer {self.layer.name!r}: a tile takes {need} rows of {buffer}, which has {have}: {s}")
        longest = s.rows * s.columns * s.window_rows * s.window_columns * s.maps + rows.nbout
        longest += ceil(self.nfu.dram_cycles(2 * sum(self.nfu.buffer_bytes.values())))
        if len(self) * longest >= 2**63:
            raise HwError(f"layer {self.layer.name!r}: its cycles, up to {len(self) * longest:.1e}, are more than can be counted")

    @cached_property
    def _limits(self) -> dict[str, int]:
        layer = self.layer
        return {
            "rows": layer.oy,
            "columns": layer.ox,
            "window_rows": layer.ky,
            "window_columns": layer.kx,
            "maps": layer.input_rows(self.nfu),
            "block": 1 if self.is_pool else layer.output_rows(self.nfu),
        }

    @cached_property
    def rows(self) -> Rows:
        """Rows of the buffers that a full tile takes."""
        s, layer = self.schedule, self.layer
        patch = ((s.rows - 1) * layer.sy + s.window_rows) * ((s.columns - 1) * layer.sx + s.window_columns)
        positions, chunk = s.rows * s.columns, s.window_rows * s.window_columns * s.maps
        return Rows(
            nbin=patch * s.maps,
            nbout=positions * (s.maps if self.is_pool else s.block),
            sb=0 if self.is_pool else chunk * (positions if layer.is_private else 1),
        )

    @cached_property
    def extents(self) -> tuple[int, ...]:
        """Iterations of each of `LOOPS`."""
        s, layer, limits = self.schedule, self.layer, self._limits
        chunks = -(-limits["maps"] // s.maps)
        blocks = chunks if self.is_pool else limits["block"] // s.block
        outside = s.order is Order.SYNAPSES
        return (
            layer.groups,
            blocks if outside else 1,
            layer.batch,
            -(-layer.oy // s.rows),
            -(-layer.ox // s.columns),
            1 if outside else blocks,
            -(-layer.ky // s.window_rows),
            -(-layer.kx // s.window_columns),
            1 if self.is_pool else chunks,
            1 if self.is_pool else s.block,
        )

    def __len__(self) -> int:
        return prod(self.extents)

    @cached_property
    def long(self) -> dict[str, int]:
        """Iterations of those of `LOOPS` that have more than one."""
        return {loop: n for loop, n in zip(LOOPS, self.extents, strict=True) if n > 1}

    def digits(self, k: Index) -> dict[str, Index]:
        """Loop indices of instructions `k`."""
        found: dict[str, Index] = dict.fromkeys(LOOPS, np.zeros_like(k))
        if self.long:
            found.update(zip(self.long, np.unravel_index(k, tuple(self.long.values())), strict=True))
        return found

    def classes(self) -> tuple[Index, Index]:
        """Instructions, one of each class, and how many are like it: themselves, the one before and the one after.

        Of a loop only the first, the last, the one before it, and any one between can differ.
        """
        k, many = np.zeros(1, np.int64), np.ones(1, np.int64)
        for n in self.long.values():
            pick = np.arange(n) if n <= 4 else np.array([0, 1, n - 2, n - 1])
            count = np.ones(n, np.int64) if n <= 4 else np.array([1, n - 3, 1, 1])
            k, many = np.add.outer(k * n, pick).ravel(), np.multiply.outer(many, count).ravel()
        return k, many
