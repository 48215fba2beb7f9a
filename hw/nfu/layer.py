"""What an NFU is given to do: one layer, as extents. Counts that depend on no schedule stand here.

A classifier is a convolution of 1 x 1 windows over an image of one row that has a pixel for each sample; an activation by itself
is a pooling over windows of one pixel.
"""

from enum import StrEnum

from graph.record import record
from hw.errors import HwError
from hw.nfu.config import Nfu


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
        if self.kind is Kind.CLASSIFIER and (self.kx, self.ky, self.ny, self.batch) != (1, 1, 1, 1):
            raise HwError(f"layer {self.name!r}: of a classifier nx is the number of samples, and ny, kx, ky and batch are 1")

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
    def covered(self) -> int:
        """Words of the images that some window reads: strides can leave out columns at the right and rows at the bottom."""
        rows, columns = self.border
        reach = [
            sum(any(p <= at < p + window for p in range(0, step * out, step)) for at in range(edge, extent - edge))
            if window < step
            else min((out - 1) * step + window, extent - edge) - edge
            for extent, edge, window, step, out in (
                (self.ny, rows, self.ky, self.sy, self.oy),
                (self.nx, columns, self.kx, self.sx, self.ox),
            )
        ]
        return self.batch * reach[0] * reach[1] * self.ni

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
        """Each word moved once."""
        return nfu.word_bytes * (self.inputs + self.outputs + self.biases) + nfu.synapse_bytes * self.synapses

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
