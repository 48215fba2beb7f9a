"""What an NFU is given to do: one layer, as extents. Counts that depend on no schedule stand here.

A classifier is a convolution of 1 x 1 windows over an image of one row that has a pixel for each sample; an activation by itself
is a pooling over windows of one pixel.
"""

from enum import StrEnum

from graph.record import record
from hw.errors import HwError
from hw.nfu.config import Nfu, check_choice

MOST_WORDS = 1 << 40
"""Of a layer's operands and results: addresses of programs have 40 bits (`hw.nfu.isa`)."""
MOST_STEPS = 1 << 60
"""Multiply-adds of a layer, of pooling words that its windows read: cycles are counted in 64 bits."""


class Kind(StrEnum):
    """Kinds of layers."""

    CONV = "conv"
    POOL = "pool"
    CLASSIFIER = "classifier"


class Function(StrEnum):
    """What the function units compute."""

    LINEAR = "linear"
    RELU = "relu"
    TANH = "tanh"
    SIGMOID = "sigmoid"


class Pooling(StrEnum):
    """What a pooling layer takes of a window."""

    MAX = "max"
    AVERAGE = "average"


@record
class Layer:
    """A layer. Images are [sample, row, column, map]; synapses of a convolution [row, column, input map, output map].

    Parameters
    ----------
    name : of the layer.
    kind : what it is.
    nx, ny : columns and rows of the image as it is stored, its border included; of a classifier samples and 1.
    kx, ky : window.
    sx, sy : its steps.
    ni, no : maps or neurons that come in and go out.
    groups : of a convolution: output maps of a group see the input maps of the same group alone.
    is_private : every output position has synapses of its own.
    batch : images.
    border : (rows, columns) of the image that are zeros around it, on each side; part of `nx` and `ny`.
    has_bias : a bias is added to every output map.
    function : what follows.
    pooling : of a pooling layer.
    """

    name: str
    kind: Kind
    nx: int = 1
    ny: int = 1
    kx: int = 1
    ky: int = 1
    sx: int = 1
    sy: int = 1
    ni: int
    no: int
    groups: int = 1
    is_private: bool = False
    batch: int = 1
    border: tuple[int, int] = (0, 0)
    has_bias: bool = False
    function: Function = Function.LINEAR
    pooling: Pooling = Pooling.MAX

    def __post_init__(self) -> None:
        for field, choices in (("kind", Kind), ("function", Function), ("pooling", Pooling)):
            check_choice(f"layer {self.name!r}: {field}", getattr(self, field), choices)
        counts = {k: getattr(self, k) for k in ("nx", "ny", "kx", "ky", "sx", "sy", "ni", "no", "groups", "batch")}
        for what, n in counts.items():
            if not isinstance(n, int) or n < 1:
                raise HwError(f"layer {self.name!r}: {what} must be a whole number of at least 1, got {n}")
        for what, window, extent in (("kx", self.kx, self.nx), ("ky", self.ky, self.ny)):
            if window > extent:
                raise HwError(f"layer {self.name!r}: {what} is {window}, but the image has only {extent}")
        if self.ni % self.groups or self.no % self.groups:
            raise HwError(f"layer {self.name!r}: {self.groups} groups do not divide {self.ni} and {self.no} maps")
        if self.kind is Kind.POOL and (self.ni != self.no or self.has_bias or self.groups > 1 or self.is_private):
            raise HwError(f"layer {self.name!r}: pooling has as many maps out as in, and no synapses, bias or groups")
        for edge, extent in zip(self.border, (self.ny, self.nx), strict=True):
            if not isinstance(edge, int) or edge < 0 or 2 * edge >= extent:
                raise HwError(
                    f"layer {self.name!r}: border is {self.border}; it lies within the {self.ny} rows and {self.nx} columns, on "
                    f"either side, and leaves at least one of each"
                )
        ones = (self.kx, self.ky, self.ny, self.batch, self.sx, self.sy)
        if self.kind is Kind.CLASSIFIER and (set(ones) != {1} or any(self.border) or self.is_private):
            raise HwError(
                f"layer {self.name!r}: of a classifier nx is the number of samples; ny, kx, ky, sx, sy and batch are 1, and it "
                f"has neither a border nor private kernels"
            )
        self._check_size()

    def _check_size(self) -> None:
        words = self.batch * self.ny * self.nx * self.ni + self.synapses + self.biases + self.outputs
        steps = self.outputs * self.kx * self.ky * (1 if self.kind is Kind.POOL else self.ni // self.groups)
        for what, n, most in (("words", words, MOST_WORDS), ("multiply-adds", steps, MOST_STEPS)):
            if n > most:
                raise HwError(f"layer {self.name!r}: {n:,} {what} are more than an NFU's programs count, {most:,}")

    @property
    def ox(self) -> int:
        """Columns of the result."""
        return (self.nx - self.kx) // self.sx + 1

    @property
    def oy(self) -> int:
        """Rows of the result."""
        return (self.ny - self.ky) // self.sy + 1

    @property
    def positions(self) -> int:
        """Places of a result, over all images."""
        return self.batch * self.ox * self.oy

    @property
    def macs(self) -> int:
        """Multiply-adds; 0 for pooling."""
        if self.kind is Kind.POOL:
            return 0
        return self.positions * self.kx * self.ky * (self.ni // self.groups) * self.no

    @property
    def inputs(self) -> int:
        """Words of the images, without their borders."""
        rows, columns = self.border
        return self.batch * (self.ny - 2 * rows) * (self.nx - 2 * columns) * self.ni

    @property
    def needed(self) -> int:
        """The same less what lies between windows that stand apart, which nobody reads.

        Rows at the bottom and columns at the right that are too few for another step count, as in tables of the paper's layers
        (of POOL1's 367 rows the last one), though instructions leave them out.
        """
        rows, columns = self.border
        high = _reached(self.ny, rows, self.ky, self.sy, self.oy)
        wide = _reached(self.nx, columns, self.kx, self.sx, self.ox)
        return self.batch * high * wide * self.ni

    @property
    def synapses(self) -> int:
        """Words, biases not counted."""
        if self.kind is Kind.POOL:
            return 0
        return self.kx * self.ky * (self.ni // self.groups) * self.no * (self.ox * self.oy if self.is_private else 1)

    @property
    def biases(self) -> int:
        """Words."""
        return self.no if self.has_bias else 0

    @property
    def outputs(self) -> int:
        """Words of the result."""
        return self.positions * self.no

    def compulsory_bytes(self, nfu: Nfu) -> int:
        """Each word moved once that has to be: `needed` inputs, results, biases, synapses."""
        return nfu.word_bytes * (self.needed + self.outputs + self.biases) + nfu.synapse_bytes * self.synapses

    def lanes(self, nfu: Nfu) -> int:
        """Words of a row of NBin that a cycle uses; pooling, which has an output for each, cannot use more than NBout has."""
        return min(nfu.ti, nfu.tn) if self.kind is Kind.POOL else nfu.ti

    def input_rows(self, nfu: Nfu) -> int:
        """Rows of NBin for the maps that a pixel has in a group."""
        return -(-(self.ni // self.groups) // self.lanes(nfu))

    def output_rows(self, nfu: Nfu) -> int:
        """Rows of NBout for the maps that a position has in a group."""
        return -(-(self.no // self.groups) // nfu.tn)

    def nfu_cycles(self, nfu: Nfu) -> int:
        """Cycles in which NFU-1 and NFU-2 work: one for Tn x Ti synapses, of pooling for a row of NBin."""
        window = self.positions * self.kx * self.ky
        if self.kind is Kind.POOL:
            return window * self.input_rows(nfu)
        return self.groups * window * self.input_rows(nfu) * self.output_rows(nfu)


def _reached(extent: int, edge: int, window: int, step: int, out: int) -> int:
    """Pixels along an extent, its border left out, that count as `Layer.needed`."""
    first, end = edge, extent - edge
    if window >= step:
        return end - first
    starts = range(0, step * out, step)
    return sum(max(0, min(at + window, end) - max(at, first)) for at in starts)
