"""The type of a value: element type and shape. Layout of images is NHWC, of convolution weights (kh, kw, in, out)."""

import math
import re
from enum import StrEnum

import numpy as np

from graph.errors import GraphError
from graph.record import record


class DType(StrEnum):
    """Element types. The value is the name in the text form."""

    F32 = "f32"
    F64 = "f64"
    I16 = "i16"  # fixed-point words: `graph.fixed_point`
    I32 = "i32"
    I64 = "i64"
    U8 = "u8"

    @property
    def numpy(self) -> np.dtype:
        return _NUMPY[self]

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return _ITEMSIZE[self]

    @property
    def is_float(self) -> bool:
        return self in _FLOATS


_NUMPY = {DType(d): np.dtype(n) for d, n in {"f32": "f4", "f64": "f8", "i16": "i2", "i32": "i4", "i64": "i8", "u8": "u1"}.items()}
_ITEMSIZE = {d: n.itemsize for d, n in _NUMPY.items()}
_FLOATS = frozenset({DType.F32, DType.F64})


@record
class TensorType:
    """Shape and element type of a value.

    Parameters
    ----------
    shape : extents, each >= 0; ``()`` is a scalar.
    dtype : element type.
    """

    shape: tuple[int, ...]
    dtype: DType = DType.F32

    def __post_init__(self) -> None:
        for n in self.shape:
            if not isinstance(n, int) or isinstance(n, bool) or n < 0:
                raise GraphError(f"a shape holds whole numbers >= 0, got {self.shape!r}")

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of a dense array of this type."""
        return self.size * self.dtype.itemsize

    @property
    def rank(self) -> int:
        return len(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype.value}[{','.join(map(str, self.shape))}]"

    @classmethod
    def parse(cls, text: str) -> "TensorType":
        """The inverse of ``str``; raises `GraphError`."""
        m = re.fullmatch(r"(\w+)\[((?:\d+(?:,\d+)*)?)\]", text)
        if m is None or m[1] not in set(DType):
            raise GraphError(f"not a tensor type: {text!r}; write e.g. f32[64,8,8,1]")
        return cls(shape=tuple(int(n) for n in m[2].split(",") if n), dtype=DType(m[1]))


def f32(*shape: int) -> TensorType:
    """A float32 type of this shape."""
    return TensorType(shape=shape)


def i16(*shape: int) -> TensorType:
    """An int16 type of this shape."""
    return TensorType(shape=shape, dtype=DType.I16)


def i64(*shape: int) -> TensorType:
    """An int64 type of this shape."""
    return TensorType(shape=shape, dtype=DType.I64)


def u8(*shape: int) -> TensorType:
    """A uint8 type of this shape."""
    return TensorType(shape=shape, dtype=DType.U8)
