"""How CUDA kernels cut convolutions: the kernels follow it, their records know the workspace from it.

Each of the three operators is a matrix product whose operands are read where they lie (implicit GEMM; Chetlur et al., cuDNN:
efficient primitives for deep learning, 2014, section 3). With b images of c channels, o channels of the result and kh x kw
kernels, per group:

    forward             rows: pixels of the result (b y x)     columns: o    k: taps and channels (kh kw c)
    gradient of images  rows: pixels of the images (b h w)     columns: c    k: taps and channels (kh kw o)
    gradient of weights rows: taps and channels (kh kw c)      columns: o    k: pixels of the result (b y x)

With a stride s, a pixel of an image meets only the taps that leave its remainder: pixels fall into s x s residue classes, each
with taps of its own, and the gradient of the images is a product for every class. So nothing is multiplied in vain; were all taps
tried at all pixels, s x s - 1 of s x s products would be with zeros. Weights are turned for it beforehand, into the workspace,
class by class.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from graph.op import Attrs
from graph.ops.common import integer
from graph.ops.conv import extent, pads
from graph.record import record
from graph.tensor_type import TensorType
from hw.kernels.cuda_gemm import GemmCut, gemm_cut
from hw.kernels.tiling import aligned

Types = Sequence[TensorType]
Pair = tuple[int, int]

TILES, SCALAR_TILES = (128, 64), (64,)
"""Sides of the tiles there are where channels come in fours, and where they do not."""


@record
class Windows:
    """A convolution.

    Parameters
    ----------
    images : how many.
    image, kernel, result : rows and columns of an image, of the kernel, of the result.
    channels, filters : of an image and of the result, of one group.
    stride, pad, groups : as those of the operator.
    """

    images: int
    image: Pair
    kernel: Pair
    result: Pair
    channels: int
    filters: int
    stride: int
    pad: Pair
    groups: int

    @property
    def taps(self) -> int:
        """Of the kernel."""
        return self.kernel[0] * self.kernel[1]

    @property
    def pixels(self) -> int:
        """Of all results, of one channel."""
        return self.images * self.result[0] * self.result[1]

    @property
    def weights(self) -> int:
        """Of all groups."""
        return self.taps * self.channels * self.filters * self.groups

    @property
    def is_pointwise(self) -> bool:
        """Results and images are the same pixels: the operands are matrices as they are."""
        return self.taps == self.stride == self.groups == 1 and self.pad == (0, 0)

    @property
    def in_fours(self) -> bool:
        """Channels of a group can be read four at once."""
        return self.channels % 4 == 0 and self.filters % 4 == 0


def windows(op: str, types: Types, attrs: Attrs) -> Windows:
    """Of a call of ``conv2d``, ``conv2d_grad_input`` or ``conv2d_grad_weight``."""
    stride, pad, groups = integer(op, attrs, "stride", 1), pads(op, attrs), integer(op, attrs, "groups", 1)
    n, *first, _ = types[0].shape
    a, b = first
    if op == "conv2d_grad_weight":
        kernel = integer(op, attrs, "kh", 1), integer(op, attrs, "kw", 1)
        channels, filters = types[0].shape[3] // groups, types[1].shape[3]
    else:
        kernel = (types[1].shape[0], types[1].shape[1])
        channels, filters = types[1].shape[2:]
    image = (integer(op, attrs, "height", 1), integer(op, attrs, "width", 1)) if op == "conv2d_grad_input" else (a, b)
    result = extent(image[0], kernel[0], stride, pad[0]), extent(image[1], kernel[1], stride, pad[1])
    return Windows(
        images=n, image=image, kernel=kernel, result=result, channels=channels, filters=filters // groups, stride=stride, pad=pad,
        groups=groups,
    )  # fmt: skip


@record
class Residue:
    """Pixels of an image whose rows and columns leave the same remainders: they meet the same taps, and only them.

    Parameters
    ----------
    first : row and column of the first of them.
    extent : how many rows and columns of them there are.
    tap : row and column of the first of the taps that they meet.
    taps : rows and columns of these taps.
    before : so many taps come before them when weights are put in order of their classes.
    """

    first: Pair
    extent: Pair
    tap: Pair
    taps: Pair
    before: int


def residues(w: Windows) -> Iterator[Residue]:
    """All classes that have pixels or taps, in order of their taps; a single one where the stride is 1."""
    before = 0
    for tap in product(range(w.stride), range(w.stride)):
        first = (tap[0] - w.pad[0]) % w.stride, (tap[1] - w.pad[1]) % w.stride
        rows, columns = (len(range(a, n, w.stride)) for a, n in zip(first, w.image, strict=True))
        u, v = (len(range(a, n, w.stride)) for a, n in zip(tap, w.kernel, strict=True))
        yield Residue(first=first, extent=(rows, columns), tap=tap, taps=(u, v), before=before)
        before += u * v


def _cut(w: Windows, m: int, n: int, k: int) -> GemmCut:
    if w.is_pointwise:
        return gemm_cut(m, n, k)
    return gemm_cut(m, n, k, w.groups, TILES if w.in_fours else SCALAR_TILES)


def unsplit(cut: GemmCut) -> GemmCut:
    """All of k in one part, which needs no workspace."""
    return replace(cut, parts=1, chunk=max(cut.k, 1))


def forward_cut(w: Windows) -> GemmCut:
    """Of the result."""
    return _cut(w, w.pixels, w.filters, w.taps * w.channels)


def grad_weight_cut(w: Windows) -> GemmCut:
    """Of the gradient of the weights: few rows and columns, so the many pixels are split."""
    return _cut(w, w.taps * w.channels, w.filters, w.pixels)


def grad_input_cut(w: Windows, r: Residue) -> GemmCut:
    """Of the gradient of a class of pixels. Where there are several their sums are not split: their rows do not lie in order."""
    k = r.taps[0] * r.taps[1] * w.filters
    cut = _cut(w, w.images * r.extent[0] * r.extent[1], w.channels, k)
    return cut if w.stride == 1 else unsplit(cut)


def forward_workspace(types: Types, attrs: Attrs) -> int:
    """Bytes: sums of the parts."""
    return forward_cut(windows("conv2d", types, attrs)).workspace


def grad_weight_workspace(types: Types, attrs: Attrs) -> int:
    """Bytes: sums of the parts."""
    return grad_weight_cut(windows("conv2d_grad_weight", types, attrs)).workspace


def grad_input_workspace(types: Types, attrs: Attrs) -> int:
    """Bytes: turned weights, then sums of the parts."""
    w = windows("conv2d_grad_input", types, attrs)
    parts = max(grad_input_cut(w, r).workspace for r in residues(w))
    return 4 * aligned(w.weights) + parts


WORKSPACES = {
    "conv2d": forward_workspace,
    "conv2d_grad_input": grad_input_workspace,
    "conv2d_grad_weight": grad_weight_workspace,
}
"""Operator -> bytes of its kernels' workspace."""
