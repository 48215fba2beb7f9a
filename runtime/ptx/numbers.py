"""What instructions compute of numbers, over arrays of lanes. Semantics: PTX ISA 9.0, chapter 9.7.

Sums of products are taken in double precision and rounded once more, which differs from one rounding in the last bit, rarely.
Approximations are the exact function, rounded.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
KINDS: Mapping[str, Any] = {
    "pred": np.bool_, "b8": np.uint8, "u8": np.uint8, "s8": np.int8, "b16": np.uint16, "u16": np.uint16, "s16": np.int16,
    "b32": np.uint32, "u32": np.uint32, "s32": np.int32, "b64": np.uint64, "u64": np.uint64, "s64": np.int64,
    "f32": np.float32, "f64": np.float64,
}  # fmt: skip


def quotient(a: Any, b: Any) -> Any:
    """Towards zero, as the instruction; of garbage in lanes that do not count anything."""
    q = a // b
    return q + ((a % b != 0) & ((a < 0) != (b < 0))).astype(q.dtype) if a.dtype.kind == "i" else q


def remainder(a: Any, b: Any) -> Any:
    """With the sign of the dividend."""
    return a - quotient(a, b) * b


def fused(a: Any, b: Any, c: Any) -> Any:
    """``a b + c``."""
    return (np.float64(1) * a * b + c).astype(np.float32)


def fused_down(a: Any, b: Any, c: Any) -> Any:
    """``a b + c``, rounded down."""
    exact = np.float64(1) * a * b + c
    near = exact.astype(np.float32)
    return np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)


def truncated(a: Any, kind: Any) -> Any:
    """A float as a whole number, towards zero, no further than the type reaches; what is no number is 0."""
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    wide = np.nan_to_num(np.trunc(np.float64(1) * a), nan=0.0)
    return np.where(wide >= high, high, np.where(wide <= low, low, wide)).astype(kind)


def saturated(a: Any) -> Any:
    """Within 0 and 1; what is no number is 0."""
    return np.where(np.isnan(a), np.float32(0), np.clip(a, np.float32(0), np.float32(1)))


def to_tf32(a: Any, *, to_even: bool) -> Any:
    """The nearest number of 10 bits behind the point, as a word; ties to even (cvt.rn) or away from zero (cvt.rna)."""
    bits = a.view(np.uint32)
    half = (bits >> np.uint32(13) & np.uint32(1)) + np.uint32((1 << 12) - 1) if to_even else np.uint32(1 << 12)
    up = (bits + half) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(a), up, bits)


def bf16_bits(a: Any) -> Any:
    """The nearest bfloat16, ties to even, as 16 bits."""
    bits = np.asarray(a, np.float32).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    found = ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(a), np.uint16(0x7FFF), found)


def f16_bits(a: Any) -> Any:
    """The nearest half, ties to even, as 16 bits."""
    return np.asarray(a, np.float32).astype(np.float16).view(np.uint16)


def high_word(a: Any, b: Any) -> Any:
    """Upper half of a product of words."""
    wide = np.int64 if a.dtype.kind == "i" else np.uint64
    return ((a.astype(wide) * b.astype(wide)) >> wide(32)).astype(a.dtype)


def at_least(a: Any, b: Any) -> Any:
    """The larger; of floats the one that is a number."""
    return np.fmax(a, b) if a.dtype.kind == "f" else np.maximum(a, b)


def at_most(a: Any, b: Any) -> Any:
    """The smaller; of floats the one that is a number."""
    return np.fmin(a, b) if a.dtype.kind == "f" else np.minimum(a, b)


def _shifted(left: bool) -> Callable[[Any, Any], Any]:
    def shift(a: Any, b: Any) -> Any:
        bits = a.dtype.itemsize * 8
        by = np.minimum(b, bits - 1).astype(a.dtype)
        moved = a << by if left else a >> by
        gone = a.dtype.type(0) if left or a.dtype.kind == "u" else moved
        return np.where(b >= bits, gone, moved)

    return shift


def _like(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda a: f(np.float64(1) * a).astype(a.dtype)


BINARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "and": lambda a, b: a & b,
    "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b, "max": at_least, "min": at_most, "rem": remainder,
    "div": lambda a, b: a / b if a.dtype.kind == "f" else quotient(a, b), "shl": _shifted(True), "shr": _shifted(False),
    "copysign": lambda a, b: np.copysign(b, a),
}  # fmt: skip
UNARY: Mapping[str, Callable[[Any], Any]] = {
    "neg": lambda a: (~a + a.dtype.type(1)) if a.dtype.kind != "f" else -a,
    "not": lambda a: ~a,
    "abs": np.abs,
    "mov": lambda a: a,
    "rcp": lambda a: a.dtype.type(1) / a,
    "sqrt": np.sqrt,
    "rsqrt": _like(lambda a: 1 / np.sqrt(a)),
    "ex2": _like(np.exp2),
    "lg2": _like(np.log2),
    "tanh": _like(np.tanh),
}
_PLAIN: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
}  # fmt: skip


def _with_numbers(f: Callable[[Any, Any], Any], otherwise: bool) -> Callable[[Any, Any], Any]:
    def compare(a: Any, b: Any) -> Any:
        none = np.isnan(a) | np.isnan(b)
        return f(a, b) | none if otherwise else f(a, b) & ~none

    return compare


def comparison(name: str, is_float: bool) -> Callable[[Any, Any], Any]:
    """By its name in the instruction; raises `KeyError`."""
    if not is_float:
        return _PLAIN[{"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}.get(name, name)]
    if name in ("num", "nan"):
        return _with_numbers(lambda a, b: np.full(np.broadcast(a, b).shape, name == "num"), name == "nan")
    return _with_numbers(_PLAIN[name.removesuffix("u")], name.endswith("u"))
