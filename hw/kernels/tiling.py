"""How the CPU kernels cut their problems: the kernels follow it, their records count it.

The register tile is described in `runtime.kernels.cpu.tile`, its shape in `hw.kernels.geometry`.
"""

from collections.abc import Iterator, Sequence

from graph.op import Attrs
from graph.record import record
from graph.tensor_type import TensorType
from hw.kernels.geometry import Geometry, host_geometry

Types = Sequence[TensorType]

MOST_K = 512
"""Steps of one reduction block: an A row block and a B panel of so many steps fit the inner caches."""
MOST_M = 480
"""Rows of one row block: with `MOST_K` steps they fit a 1 MiB second-level cache."""
GROUP = 480
"""Pixels of a group of images that a convolution treats at once: a multiple of all tile heights."""
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


TOGETHER = 4
"""Neighbouring pixels that gather their taps at the same time."""
MOST_COLUMNS = 1 << 16
"""Floats of the column buffer of one group in `conv2d_grad_input.col2im`: it stays in the second-level cache."""


@record
class ConvCut:
    """How a convolution over images [b, h, w, ic] with kernels [kh, kw, ic, oc] is cut; extents first.

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
    group : images treated at once: enough for many full tiles, few enough to stay in the cache.
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
    group: int
    joined: int = 1

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
    def padded(self) -> int:
        """Floats of the padded images of one group; 0 when the images are read in place."""
        return self.group * self.hp * self.wp * self.ic if self.is_padded else 0

    @property
    def taps(self) -> int:
        """Weights of one output channel, joined."""
        return self.kh * self.kw * self.ic

    @property
    def pixels(self) -> int:
        """Output pixels of an image; joined ones are one."""
        return self.oh * self.ow

    @property
    def groups(self) -> Iterator[int]:
        """Images of each group."""
        return blocks(self.b, self.group)


def _joined(ow: int, kw: int, oc: int, stride: int) -> int:
    """How many pixels to join: what leaves the fewest multiply-adds for a pixel; few where that is equal."""
    fitting = [n for n in range(1, host_geometry().lanes // max(oc, 1) + 1) if ow % n == 0]
    return min(fitting or [1], key=lambda n: (kw + (n - 1) * stride) / n)


def _cut(
    image: Sequence[int], kernel: tuple[int, int], oc: int, stride: int, pad: tuple[int, int], most: int | None = None
) -> ConvCut:
    (b, h, w, ic), (kh, kw), (pad_y, pad_x) = image, kernel, pad
    oh, ow = (h + 2 * pad_y - kh) // stride + 1, (w + 2 * pad_x - kw) // stride + 1
    joined = 1 if most is not None else _joined(ow, kw, oc, stride)
    kw, oc, ow = kw + (joined - 1) * stride, oc * joined, ow // joined
    group = max(1, min(b, GROUP // max(oh * ow, 1)))
    if most is not None:
        group = max(1, min(group, most // max(oh * ow * kh * kw * ic, 1)))
    return ConvCut(
        b=b, h=h, w=w, ic=ic, kh=kh, kw=kw, oc=oc, stride=stride, pad_y=pad_y, pad_x=pad_x, oh=oh, ow=ow, group=group,
        joined=joined,
    )  # fmt: skip


def _number(attrs: Attrs, name: str) -> int:
    return int(attrs[name])  # type: ignore[arg-type]


def forward_cut(types: Types, attrs: Attrs) -> ConvCut:
    """Of ``conv2d(x, w; stride, pad)``."""
    kh, kw, _, oc = types[1].shape
    stride, pad = _number(attrs, "stride"), _number(attrs, "pad")
    return _cut(types[0].shape, (kh, kw), oc, stride, (pad, pad))


def weight_cut(types: Types, attrs: Attrs) -> ConvCut:
    """Of ``conv2d_grad_weight(x, dy; stride, pad, kh, kw)``."""
    kh, kw, stride, pad = (_number(attrs, k) for k in ("kh", "kw", "stride", "pad"))
    return _cut(types[0].shape, (kh, kw), types[1].shape[3], stride, (pad, pad))


def input_cut(types: Types, attrs: Attrs) -> ConvCut:
    """Of ``conv2d_grad_input(dy, w; stride, pad, height, width)`` by columns."""
    b, (kh, kw, ic, oc) = types[0].shape[0], types[1].shape
    h, w, stride, pad = (_number(attrs, k) for k in ("height", "width", "stride", "pad"))
    return _cut((b, h, w, ic), (kh, kw), oc, stride, (pad, pad), MOST_COLUMNS)


def flipped_cut(types: Types, attrs: Attrs) -> ConvCut | None:
    """The convolution of padded dy with flipped weights that gives the input's gradient; None where there is none."""
    kh, kw, ic, _ = types[1].shape
    pad = _number(attrs, "pad")
    if _number(attrs, "stride") != 1 or pad > min(kh, kw) - 1:
        return None
    return _cut(types[0].shape, (kh, kw), ic, 1, (kh - 1 - pad, kw - 1 - pad))


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
    return aligned(cut.padded), cut.group * cut.pixels * panel_width(cut.oc, g) if is_split(cut.oc, g) else joint


def input_workspace(cut: ConvCut) -> tuple[int, int]:
    """Floats of (turned weights, columns of one group)."""
    return aligned(cut.oc * cut.taps), cut.group * cut.pixels * cut.taps
