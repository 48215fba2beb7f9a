"""The sizes at which CUDA kernels are calibrated: a grid that shares no shape with the zoo, and spans what its steps span.

The operators' own grids are those of a processor's core; a GPU is hardly begun by them. Here products go from a single block to
many rounds of blocks of each kind of tile, and what waits for memory from kilobytes to beyond any cache.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from graph.op import Attr, Attrs, Op, Size
from graph.ops.conv import extent
from graph.tensor_type import TensorType, f32

LARGEST = 192 << 20
"""Bytes of the largest operand, about."""
STEPS = 10
"""Sizes of an operator that has no grid of its own here: from `SMALLEST` to `LARGEST` bytes by equal factors."""
SMALLEST = 2 << 10

MATRICES: tuple[tuple[int, int, int, bool, bool], ...] = (
    (6, 30, 70, False, False), (24, 12, 500, False, False), (90, 14, 130, False, True), (60, 200, 92, True, False),
    (132, 92, 260, False, False), (250, 18, 1100, True, False), (700, 36, 52, False, False), (200, 1100, 300, False, True),
    (72, 1500, 2500, False, False), (140, 3000, 5000, False, False), (72, 5000, 3000, False, True),
    (280, 4500, 9500, False, False), (5000, 3100, 140, True, False), (9000, 4500, 72, True, False),
    (300, 2100, 2100, False, False), (301, 777, 555, False, False), (1001, 2001, 999, False, True),
    (2000, 30, 4100, False, False), (1400, 1400, 700, False, False), (1700, 1300, 2300, True, False),
    (2300, 2300, 1100, False, True), (3100, 2900, 2200, False, False), (4300, 4200, 1500, False, False),
    (6200, 2500, 1300, False, False), (3999, 1001, 501, False, False), (1, 1300, 700, False, False),
    (900, 1, 3000, False, False),
    (701, 1303, 402, False, False), (600, 700, 900, False, False), (900, 1100, 516, False, True), (48, 5000, 900, False, False),
    (516, 900, 3100, True, False), (1210, 1310, 260, False, False), (90, 1004, 4100, False, False),
    (72, 1004, 2500, False, False),
)  # fmt: skip
"""m, n, k, A transposed, B transposed."""

CONVOLUTIONS: tuple[tuple[int, int, int, int, int, int, int, int], ...] = (
    (24, 9, 1, 3, 7, 1, 1, 1), (48, 30, 1, 5, 6, 1, 0, 1), (48, 13, 7, 5, 17, 1, 0, 1), (300, 13, 6, 3, 18, 1, 1, 1),
    (12, 218, 3, 7, 72, 2, 3, 1), (40, 218, 3, 11, 88, 4, 2, 1), (20, 110, 3, 3, 40, 1, 1, 1), (48, 29, 104, 5, 264, 1, 2, 2),
    (40, 15, 248, 3, 392, 1, 1, 1), (56, 15, 376, 3, 264, 1, 1, 2), (6, 54, 80, 3, 80, 1, 1, 1), (40, 54, 80, 3, 80, 1, 1, 1),
    (36, 27, 144, 3, 144, 1, 1, 1), (8, 27, 144, 3, 144, 1, 1, 1), (40, 15, 288, 3, 288, 1, 1, 1),
    (40, 9, 520, 3, 520, 1, 1, 1), (9, 9, 520, 3, 520, 1, 1, 1), (24, 54, 136, 3, 136, 2, 1, 1), (24, 27, 264, 3, 264, 2, 1, 1),
    (40, 52, 72, 1, 280, 1, 0, 1), (40, 52, 280, 1, 72, 1, 0, 1), (40, 26, 520, 1, 136, 1, 0, 1),
    (40, 15, 1032, 1, 264, 1, 0, 1), (12, 15, 264, 1, 1032, 1, 0, 1), (40, 9, 2056, 1, 520, 1, 0, 1),
    (24, 52, 264, 1, 520, 2, 0, 1), (24, 26, 520, 1, 1032, 2, 0, 1),
    (16, 33, 200, 1, 56, 1, 0, 1), (40, 54, 280, 1, 56, 1, 0, 1), (6, 15, 264, 1, 136, 1, 0, 1), (16, 33, 56, 1, 200, 1, 0, 1),
    (40, 54, 56, 1, 48, 1, 0, 1), (20, 18, 776, 1, 200, 1, 0, 1), (20, 18, 40, 3, 56, 1, 1, 1), (20, 36, 200, 5, 72, 1, 2, 1),
    (20, 9, 776, 3, 392, 1, 1, 1), (12, 9, 392, 3, 776, 1, 1, 1), (12, 15, 776, 1, 1032, 1, 0, 1), (20, 9, 1032, 1, 776, 1, 0, 1),
)  # fmt: skip
"""Images, rows and columns, channels, rows and columns of a kernel, channels of the result, stride, pad, groups."""

IMAGES: tuple[tuple[int, int, int], ...] = (
    (12, 9, 24), (50, 30, 6), (50, 13, 18), (48, 15, 40), (9, 54, 80), (40, 28, 72), (36, 54, 80), (60, 27, 144), (40, 108, 72),
    (50, 13, 528), (72, 9, 2056), (12, 9, 520), (40, 52, 264), (24, 7, 1032),
)  # fmt: skip
"""Images, rows and columns, channels."""


def matrices() -> Iterable[Size]:
    """Of ``matmul``."""
    for m, n, k, ta, tb in MATRICES:
        a, b = ((k, m) if ta else (m, k)), ((n, k) if tb else (k, n))
        yield Size(types=(f32(*a), f32(*b)), attrs={"ta": ta, "tb": tb})


def convolutions(op: str) -> Iterable[Size]:
    """Of ``conv2d`` and its gradients."""
    for b, n, c, kernel, o, stride, pad, groups in CONVOLUTIONS:
        out = extent(n, kernel, stride, pad)
        x, w, y = f32(b, n, n, c), f32(kernel, kernel, c // groups, o), f32(b, out, out, o)
        attrs: dict[str, Attr] = {"stride": stride, "pad": (pad, pad), "groups": groups}
        if op == "conv2d":
            yield Size(types=(x, w), attrs=attrs)
        elif op == "conv2d_grad_input":
            yield Size(types=(y, w), attrs={**attrs, "height": n, "width": n})
        else:
            yield Size(types=(x, y), attrs={**attrs, "kh": kernel, "kw": kernel})


def _channels(before: int, after: int) -> Callable[[Attrs], Iterable[Size]]:
    """Of an operator with so many operands that are images, then so many with a number for each channel."""

    def sizes(attrs: Attrs) -> Iterable[Size]:
        for b, n, c in IMAGES:
            yield Size(types=(f32(b, n, n, c),) * before + (f32(c),) * after, attrs=attrs)

    return sizes


BY_CHANNEL: Mapping[str, Callable[[Attrs], Iterable[Size]]] = {
    "add_bias": _channels(1, 1),
    "bias_grad": _channels(1, 0),
    "batch_norm": _channels(1, 2),
    "batch_norm_inference": _channels(1, 4),
    "batch_norm_grad": _channels(2, 3),
}
"""Operators on images and numbers of their channels."""


def _stretched(size: Size, factor: int) -> Size:
    """With so many times as many samples: of every operand that has as many as the first."""
    count = size.types[0].shape[0] if size.types[0].shape else 0

    def longer(t: TensorType) -> TensorType:
        if not t.shape or t.shape[0] != count:
            return t
        return TensorType(shape=(count * factor, *t.shape[1:]), dtype=t.dtype)

    return Size(types=tuple(map(longer, size.types)), attrs=size.attrs)


def wanted() -> Iterator[float]:
    """Bytes of the first operand, or of the result where there is none."""
    for i in range(STEPS):
        yield SMALLEST * (LARGEST / SMALLEST) ** (i / (STEPS - 1))


def stretched(op: Op) -> Iterable[Size]:
    """An operator's own sizes in turn, with so many samples that the first operand has the bytes wanted."""
    own = sorted((s for s in op.sizes() if s.types and s.types[0].nbytes), key=lambda s: s.types[0].nbytes)
    for i, nbytes in enumerate(wanted() if own else ()):
        fitting = [s for s in own if s.types[0].nbytes <= nbytes] or own[:1]
        size = fitting[-1 - i % len(fitting)]
        yield _stretched(size, max(round(nbytes / size.types[0].nbytes), 1))


def fills(op: Op) -> Iterable[Size]:
    """Of ``fill``, whose shape is an attribute."""
    for nbytes in wanted():
        yield Size(types=(), attrs={**_attrs(op.sizes()), "shape": (round(nbytes / 4) + 1,)})


def sizes_of(op: Op) -> Callable[[], Iterable[Size]]:
    """The grid of an operator's CUDA kernels."""
    if op.name == "matmul":
        return matrices
    if op.name.startswith("conv2d"):
        return lambda: convolutions(op.name)
    if op.name == "fill":
        return lambda: fills(op)
    if op.name in BY_CHANNEL:
        return lambda: BY_CHANNEL[op.name](_attrs(op.sizes()))
    return lambda: stretched(op)


def _attrs(sizes: Iterable[Size]) -> Attrs:
    found: Sequence[Size] = tuple(sizes)
    return found[0].attrs if found else {}
