"""Which operators are matrix products underneath, and of what shape.

A convolution by implicit GEMM (Chetlur et al., cuDNN: efficient primitives for deep learning, 2014, section 3): with b images of
c channels, o filters of kh x kw and results of y x x, the forward pass is (b y x) x o x (kh kw c), the gradient of the input
(b h w) x c x (kh kw o), the gradient of the filters (kh kw c) x o x (b y x). With a stride each pixel of the input meets only
every stride-th tap in each direction; libraries skip the others.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from graph.op import Attrs
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


Types = Sequence[TensorType]


def _matmul(types: Types, attrs: Attrs) -> Gemm:
    (a0, a1), (b0, b1) = types[0].shape[-2:], types[1].shape[-2:]
    m, k = (a1, a0) if attrs.get("ta") else (a0, a1)
    batch = types[0].size // (a0 * a1) if a0 * a1 else 0
    return Gemm(m=m, n=b0 if attrs.get("tb") else b1, k=k, batch=batch)


def _whole(attrs: Attrs, name: str) -> int:
    value = attrs[name]
    if not isinstance(value, int):
        raise HwError(f"attribute {name!r} is a whole number, got {value!r}")
    return value


def _out(size: int, window: int, attrs: Attrs) -> int:
    return (size + 2 * _whole(attrs, "pad") - window) // _whole(attrs, "stride") + 1


def _conv2d(types: Types, attrs: Attrs) -> Gemm:
    b, h, w, c = types[0].shape
    kh, kw, _, o = types[1].shape
    return Gemm(m=b * _out(h, kh, attrs) * _out(w, kw, attrs), n=o, k=kh * kw * c)


def _conv2d_grad_input(types: Types, attrs: Attrs) -> Gemm:
    b = types[0].shape[0]
    kh, kw, c, o = types[1].shape
    taps = math.ceil(kh / _whole(attrs, "stride")) * math.ceil(kw / _whole(attrs, "stride"))
    return Gemm(m=b * _whole(attrs, "height") * _whole(attrs, "width"), n=c, k=taps * o)


def _conv2d_grad_weight(types: Types, attrs: Attrs) -> Gemm:
    c = types[0].shape[3]
    b, y, x, o = types[1].shape
    return Gemm(m=_whole(attrs, "kh") * _whole(attrs, "kw") * c, n=o, k=b * y * x)


SHAPES: Mapping[str, Callable[[Types, Attrs], Gemm]] = {
    "matmul": _matmul,
    "conv2d": _conv2d,
    "conv2d_grad_input": _conv2d_grad_input,
    "conv2d_grad_weight": _conv2d_grad_weight,
}


def gemm_shape(op: str, types: Types, attrs: Attrs, terms: Mapping[str, float]) -> Gemm | None:
    """The matrix product that an operator is; None when it is none.

    A kernel record may say so itself, by the terms ``gemm_m``, ``gemm_n``, ``gemm_k`` (and ``gemm_batch``): then nothing needs
    to be known of its operator here.
    """
    if {"gemm_m", "gemm_n", "gemm_k"} <= terms.keys():
        m, n, k, batch = (int(terms.get(f"gemm_{x}", 1)) for x in ("m", "n", "k", "batch"))
        return Gemm(m=m, n=n, k=k, batch=batch)
    return SHAPES[op](types, attrs) if op in SHAPES else None
