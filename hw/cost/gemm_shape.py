"""Which operators are matrix products or convolutions underneath, and of what shape.

A convolution by implicit GEMM (Chetlur et al., cuDNN: efficient primitives for deep learning, 2014, section 3): with b images of
c channels, o filters of kh x kw and results of y x x, the forward pass is (b y x) x o x (kh kw c), the gradient of the input
(b h w) x c x (kh kw o), the gradient of the filters (kh kw c) x o x (b y x). With a stride, or without padding, a pixel of the
input meets only kh kw (y x) / (h w) taps on average; libraries skip the others. Groups are as many products side by side.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from graph.op import Attrs
from graph.ops.conv import extent, pads
from graph.record import record
from graph.tensor_type import TensorType
from hw.errors import HwError


@record
class Gemm:
    """A product of m x k and k x n matrices, `batch` times."""

    m: int
    n: int
    k: int
    batch: int = 1

    @property
    def flop(self) -> int:
        """A multiply-add is 2."""
        return 2 * self.m * self.n * self.k * self.batch


class Direction(StrEnum):
    """Which of the three operators of a convolution."""

    FORWARD = "conv2d"
    GRAD_INPUT = "conv2d_grad_input"
    GRAD_WEIGHT = "conv2d_grad_weight"


@record
class Convolution:
    """A convolution, or one of its gradients.

    Parameters
    ----------
    direction : which.
    images : how many.
    rows, columns : of an image.
    channels, filters : of one group.
    kernel_rows, kernel_columns, stride : of the filters.
    out_rows, out_columns : of the result.
    groups : how many.
    """

    direction: Direction
    images: int
    rows: int
    columns: int
    channels: int
    filters: int
    kernel_rows: int
    kernel_columns: int
    stride: int
    out_rows: int
    out_columns: int
    groups: int = 1

    @property
    def gemm(self) -> Gemm:
        """The matrix product of implicit GEMM."""
        taps, pixels = self.kernel_rows * self.kernel_columns, self.images * self.out_rows * self.out_columns
        match self.direction:
            case Direction.FORWARD:
                return Gemm(m=pixels, n=self.filters, k=taps * self.channels, batch=self.groups)
            case Direction.GRAD_INPUT:
                m = self.images * self.rows * self.columns
                return Gemm(m=m, n=self.channels, k=math.ceil(taps * self.filters * pixels / m) if m else 0, batch=self.groups)
            case Direction.GRAD_WEIGHT:
                return Gemm(m=taps * self.channels, n=self.filters, k=pixels, batch=self.groups)


Types = Sequence[TensorType]


def _matmul(types: Types, attrs: Attrs) -> Gemm:
    (a0, a1), (b0, b1) = types[0].shape[-2:], types[1].shape[-2:]
    m, k = (a1, a0) if attrs.get("ta") else (a0, a1)
    batch = types[0].size // (a0 * a1) if a0 * a1 else 0
    return Gemm(m=m, n=b0 if attrs.get("tb") else b1, k=k, batch=batch)


def _whole(attrs: Attrs, name: str, default: int | None = None) -> int:
    value = attrs[name] if default is None else attrs.get(name, default)
    if not isinstance(value, int):
        raise HwError(f"attribute {name!r} is a whole number, got {value!r}")
    return value


def convolution(op: str, types: Types, attrs: Attrs) -> Convolution | None:
    """The convolution that an operator is; None when it is none."""
    if op not in set(Direction):
        return None
    direction, stride, groups = Direction(op), _whole(attrs, "stride"), _whole(attrs, "groups", 1)
    if direction is Direction.FORWARD:
        images, h, w, _ = types[0].shape
        kh, kw, c, o = types[1].shape
        pad_rows, pad_columns = pads(op, attrs)
        y, x = extent(h, kh, stride, pad_rows), extent(w, kw, stride, pad_columns)
    elif direction is Direction.GRAD_INPUT:
        images, y, x, _ = types[0].shape
        kh, kw, c, o = types[1].shape
        h, w = _whole(attrs, "height"), _whole(attrs, "width")
    else:
        images, h, w, c = types[0].shape
        _, y, x, o = types[1].shape
        kh, kw, c = _whole(attrs, "kh"), _whole(attrs, "kw"), c // groups
    return Convolution(
        direction=direction, images=images, rows=h, columns=w, channels=c, filters=o // groups, kernel_rows=kh, kernel_columns=kw,
        stride=stride, out_rows=y, out_columns=x, groups=groups,
    )  # fmt: skip


def gemm_shape(op: str, types: Types, attrs: Attrs, terms: Mapping[str, float]) -> Gemm | None:
    """The matrix product that an operator is; None when it is none.

    A kernel record may say so itself, by the terms ``gemm_m``, ``gemm_n``, ``gemm_k`` (and ``gemm_batch``): then nothing needs
    to be known of its operator here.
    """
    if {"gemm_m", "gemm_n", "gemm_k"} <= terms.keys():
        m, n, k, batch = (int(terms.get(f"gemm_{x}", 1)) for x in ("m", "n", "k", "batch"))
        return Gemm(m=m, n=n, k=k, batch=batch)
    return SHAPES[op](types, attrs) if op in SHAPES else None


def _of(op: Direction) -> Callable[[Types, Attrs], Gemm]:
    def shape(types: Types, attrs: Attrs) -> Gemm:
        found = convolution(op, types, attrs)
        if found is None:
            raise HwError(f"{op} is no convolution")
        return found.gemm

    return shape


SHAPES: Mapping[str, Callable[[Types, Attrs], Gemm]] = {"matmul": _matmul, **{d.value: _of(d) for d in Direction}}
"""Operator -> its matrix product."""
