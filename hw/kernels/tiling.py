"""How the CPU kernels cut their problems: the kernels follow it, their records count it.

The register tile is described in `runtime.kernels.cpu.tile`, its shape in `hw.kernels.geometry`.
"""

import math
from collections.abc import Iterator, Sequence

from graph.op import Attrs
from graph.ops.conv import pads
from graph.record import record
from graph.tensor_type import TensorType
from hw.errors import HwError
from hw.kernels.geometry import Geometry, host_geometry

Types = Sequence[TensorType]

MOST_K = 512
"""Steps of one reduction block: an A row block and a B panel of so many steps fit the inner caches."""
MOST_M = 480
"""Rows of one row block: with `MOST_K` steps they fit a 1 MiB second-level cache."""
STACK = 480
"""Pixels of a stack of images that a convolution treats at once: a multiple of all tile heights."""
PAD = 16
"""Workspace regions start at a multiple of so many floats."""


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def aligned_to(n: int, multiple: int) -> int:
    """Rounded up to a multiple."""
    return ceil_div(n, multiple) * multiple


def aligned(floats: int) -> int:
    """Rounded up so that the next region starts aligned."""
    return aligned_to(floats, PAD)


def even_block(n: int, most: int, multiple: int = 1) -> int:
    """Size of blocks of nearly equal size, none above `most`, each but the last a multiple of `multiple`; at least 1."""
    if n <= most:
        return max(n, 1)
    return min(most, ceil_div(ceil_div(n, ceil_div(n, most)), multiple) * multiple)


def blocks(n: int, size: int) -> Iterator[int]:
    """Sizes of the blocks of `n`."""
    for start in range(0, n, size):
        yield min(size, n - start)


def panel_width(n: int, g: Geometry) -> int:
    """Columns of a panel: whole vectors, as even as possible."""
    vectors = max(ceil_div(n, g.lanes), 1)
    return ceil_div(vectors, ceil_div(vectors, len(g.heights))) * g.lanes


def heights(m: int, w: int, g: Geometry) -> tuple[tuple[int, int], ...]:
    """((tiles, rows of each), ...) of a panel: as few tiles as possible, of balanced height."""
    tiles = ceil_div(m, g.heights[ceil_div(w, g.lanes) - 1])
    low, taller = divmod(m, tiles) if tiles else (0, 0)
    return tuple((n, h) for n, h in ((taller, low + 1), (tiles - taller, low)) if n)


@record
class MatmulCut:
    """How a matrix product is cut.

    Parameters
    ----------
    m, n, k : extents.
    mb, kb, pw : rows of a row block, steps of a reduction block, columns of a panel.
    packed : panels of B are copied to the workspace (turned when B is transposed).
    """

    m: int
    n: int
    k: int
    mb: int
    kb: int
    pw: int
    packed: bool

    @property
    def workspace(self) -> int:
        """Bytes."""
        return 4 * self.pw * self.kb if self.packed else 0


def matmul_cut(types: Types, attrs: Attrs) -> MatmulCut:
    """The cut of this problem on this host."""
    g = host_geometry()
    a, b = types[0].shape, types[1].shape
    m, k = a[::-1] if attrs["ta"] else a
    n = b[0] if attrs["tb"] else b[1]
    packed = bool(attrs["tb"]) or (n >= 1024 and m >= 96)
    return MatmulCut(m=m, n=n, k=k, mb=even_block(m, MOST_M, 24), kb=even_block(k, MOST_K), pw=panel_width(n, g), packed=packed)


OUTER = 4
"""Axes beside those that a transposition copies or turns at once."""


@record
class TransposeCut:
    """How axes are put in another order; axes that stay together count as one.

    Parameters
    ----------
    outer : (extent, stride, stride in the result) of the other axes, `OUTER` of them, in floats.
    run : floats that are copied at once; 0: matrices are turned instead, whose
    rows, row_step : lie so many floats apart and become columns,
    columns, column_step : become rows so many floats apart.
    """

    outer: tuple[tuple[int, int, int], ...]
    run: int = 0
    rows: int = 0
    row_step: int = 0
    columns: int = 0
    column_step: int = 0

    @property
    def times(self) -> int:
        """How many runs are copied or matrices are turned."""
        return math.prod(n for n, _, _ in self.outer)


def transpose_cut(types: Types, attrs: Attrs) -> TransposeCut:
    """Of ``transpose(x; axes)``. Raises `HwError` when there are too many axes that do not stay together."""
    shape, order = types[0].shape, attrs["axes"]
    axes: list[tuple[int, int]] = []  # extent, stride; in the order of the result
    for k in order if isinstance(order, tuple) else ():
        n, stride = shape[k], math.prod(shape[k + 1 :])
        if axes and axes[-1][1] == stride * n and n:
            axes[-1] = (axes[-1][0] * n, stride)
        elif n != 1:
            axes.append((n, stride))
    steps = [math.prod(n for n, _ in axes[k + 1 :]) for k in range(len(axes))]
    found = [(n, stride, step) for (n, stride), step in zip(axes, steps)]
    if not types[0].size:
        return TransposeCut(outer=((0, 0, 0),) * OUTER)
    last = found.pop() if found else (1, 1, 1)
    if last[1] == 1:
        return TransposeCut(outer=_outer(found), run=last[0])
    (turned,) = (axis for axis in found if axis[1] == 1)
    found.remove(turned)
    return TransposeCut(
        outer=_outer(found), rows=last[0], row_step=last[1], columns=turned[0], column_step=turned[2]
    )  # fmt: skip


def _outer(axes: Sequence[tuple[int, int, int]]) -> tuple[tuple[int, int, int], ...]:
    if len(axes) > OUTER:
        raise HwError(f"transpose: no kernel for {len(axes)} axes beside those that are copied or turned; at most {OUTER}")
    return ((1, 0, 0),) * (OUTER - len(axes)) + tuple(axes)


LRN_PIXELS = 16
"""Pixels that the gradient of a response normalization treats at once."""
MOST_ROWS = 1 << 14
"""Floats of a block of rows whose column sums are added up before they join the others: it fits the first-level cache twice."""


def row_block(columns: int) -> int:
    """Rows of such a block, the same on every host: so sums of many rows have a fixed order, and round little."""
    return max(8, MOST_ROWS // max(columns, 1))


TOGETHER = 4
"""Neighbouring pixels that gather their taps at the same time."""
MOST_COLUMNS = 1 << 16
"""Floats of the column buffer of one stack in `conv2d_grad_input.col2im`: it stays in the second-level cache."""


@record
class ConvCut:
    """How a convolution over images [b, h, w, ic] with kernels [kh, kw, ic, oc] is cut; extents first.

    In groups, it is so many convolutions one after the other, each on its own slice of the channels: `ic` and `oc` are those of
    one group, and images are always copied, the channels of a group beside each other.

    Few output channels would leave most lanes of a vector idle. So neighbouring output pixels of a row are joined: a window
    that covers all of theirs has the weights of each in columns of its own, and zeros where a pixel does not look. `kw`, `oc` and
    `ow` are those of the joined problem, whose output lies in memory as that of the single one. (A NaN spreads to all pixels
    of a join.)

    Parameters
    ----------
    stride : from pixel to pixel, also of joined ones.
    oh, ow : extents of the output.
    joined : how many pixels are joined; 1: none.
    hp, wp : extents of the padded image.
    stack : images treated at once: enough for many full tiles, few enough to stay in the cache.
    groups : of channels.
    """

    b: int
    h: int
    w: int
    ic: int
    kh: int
    kw: int
    oc: int
    stride: int
    pad_y: int
    pad_x: int
    oh: int
    ow: int
    stack: int
    joined: int = 1
    groups: int = 1

    @property
    def kw_single(self) -> int:
        """Columns of the kernel that was asked for."""
        return self.kw - (self.joined - 1) * self.stride

    @property
    def oc_single(self) -> int:
        """Channels that were asked for."""
        return self.oc // self.joined

    @property
    def taps_single(self) -> int:
        """Weights of one output channel that was asked for."""
        return self.kh * self.kw_single * self.ic

    @property
    def hp(self) -> int:
        return self.h + 2 * self.pad_y

    @property
    def wp(self) -> int:
        return self.w + 2 * self.pad_x

    @property
    def is_padded(self) -> bool:
        return self.pad_y + self.pad_x > 0

    @property
    def is_copied(self) -> bool:
        """Whether images are read from a copy: with a border, or of one group's channels."""
        return self.is_padded or self.groups > 1

    @property
    def padded(self) -> int:
        """Floats of the copied images of one stack; 0 when the images are read in place."""
        return self.stack * self.hp * self.wp * self.ic if self.is_copied else 0

    @property
    def row_in(self) -> int:
        """Floats from pixel to pixel of the images as they are given."""
        return self.ic * self.groups

    @property
    def row_out(self) -> int:
        """Floats from (joined) pixel to pixel of the output, and from tap to tap of the weights."""
        return self.oc * self.groups

    @property
    def taps(self) -> int:
        """Weights of one output channel, joined."""
        return self.kh * self.kw * self.ic

    @property
    def pixels(self) -> int:
        """Output pixels of an image; joined ones are one."""
        return self.oh * self.ow

    @property
    def stacks(self) -> Iterator[int]:
        """Images of each stack."""
        return blocks(self.b, self.stack)


def _joined(ow: int, kw: int, oc: int, stride: int) -> int:
    """How many pixels to join: what leaves the fewest multiply-adds for a pixel; few where that is equal."""
    fitting = [n for n in range(1, host_geometry().lanes // max(oc, 1) + 1) if ow % n == 0]
    return min(fitting or [1], key=lambda n: (kw + (n - 1) * stride) / n)


def _cut(
    image: Sequence[int],
    kernel: tuple[int, int],
    oc: int,
    stride: int,
    pad: tuple[int, int],
    groups: int,
    most: int | None = None,
) -> ConvCut:
    """`image` and `oc` with all channels."""
    (b, h, w, ic), (kh, kw), (pad_y, pad_x) = image, kernel, pad
    ic, oc = ic // groups, oc // groups
    oh, ow = (h + 2 * pad_y - kh) // stride + 1, (w + 2 * pad_x - kw) // stride + 1
    joined = 1 if most is not None or groups > 1 else _joined(ow, kw, oc, stride)
    kw, oc, ow = kw + (joined - 1) * stride, oc * joined, ow // joined
    stack = max(1, min(b, STACK // max(oh * ow, 1)))
    if most is not None:
        stack = max(1, min(stack, most // max(oh * ow * kh * kw * ic, 1)))
    return ConvCut(
        b=b, h=h, w=w, ic=ic, kh=kh, kw=kw, oc=oc, stride=stride, pad_y=pad_y, pad_x=pad_x, oh=oh, ow=ow, stack=stack,
        joined=joined, groups=groups,
    )  # fmt: skip


def _number(attrs: Attrs, name: str) -> int:
    return int(attrs[name])  # type: ignore[arg-type]


def _geometry(attrs: Attrs) -> tuple[int, tuple[int, int], int]:
    """(stride, pads of rows and columns, groups)"""
    return _number(attrs, "stride"), pads("conv2d", attrs), int(attrs.get("groups", 1))  # type: ignore[arg-type]


def forward_cut(types: Types, attrs: Attrs) -> ConvCut:
    """Of ``conv2d(x, w; stride, pad, groups)``."""
    kh, kw, _, oc = types[1].shape
    return _cut(types[0].shape, (kh, kw), oc, *_geometry(attrs))


def weight_cut(types: Types, attrs: Attrs) -> ConvCut:
    """Of ``conv2d_grad_weight(x, dy; stride, pad, groups, kh, kw)``."""
    return _cut(types[0].shape, (_number(attrs, "kh"), _number(attrs, "kw")), types[1].shape[3], *_geometry(attrs))


def input_cut(types: Types, attrs: Attrs) -> ConvCut:
    """Of ``conv2d_grad_input(dy, w; stride, pad, groups, height, width)`` by columns."""
    b, (kh, kw, ic, oc) = types[0].shape[0], types[1].shape
    stride, pad, groups = _geometry(attrs)
    h, w = (_number(attrs, k) for k in ("height", "width"))
    return _cut((b, h, w, ic * groups), (kh, kw), oc, stride, pad, groups, MOST_COLUMNS)


def flipped_cut(types: Types, attrs: Attrs) -> ConvCut | None:
    """The convolution of padded dy with flipped weights that gives the input's gradient; None where there is none."""
    kh, kw, ic, _ = types[1].shape
    stride, (pad_y, pad_x), groups = _geometry(attrs)
    if stride != 1 or pad_y > kh - 1 or pad_x > kw - 1:
        return None
    return _cut(types[0].shape, (kh, kw), ic * groups, 1, (kh - 1 - pad_y, kw - 1 - pad_x), groups)


def is_split(n: int, g: Geometry) -> bool:
    """Whether `n` columns take more than one panel: then weights are copied panel by panel."""
    return n > g.width


def forward_workspace(cut: ConvCut, g: Geometry) -> tuple[int, int]:
    """Floats of (padded images, weight panels or joined weights and bias)."""
    joint = aligned(cut.taps * cut.oc) + cut.oc if cut.joined > 1 else 0
    return aligned(cut.padded), cut.taps * cut.oc if is_split(cut.oc, g) else joint


def weight_workspace(cut: ConvCut, g: Geometry) -> tuple[int, int]:
    """Floats of (padded images, one panel of dy or the gradient of joined weights)."""
    joint = cut.taps * cut.oc if cut.joined > 1 else 0
    return aligned(cut.padded), cut.stack * cut.pixels * panel_width(cut.oc, g) if is_split(cut.oc, g) else joint


def input_workspace(cut: ConvCut) -> tuple[int, int]:
    """Floats of (turned weights, columns of one stack), for one group of channels."""
    return aligned(cut.oc * cut.taps), cut.stack * cut.pixels * cut.taps
