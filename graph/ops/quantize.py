"""Fixed-point words for real numbers, and back (`graph.fixed_point`): where a plan crosses from floats to a fixed-point device.

Neither has a gradient rule. The derivative of rounding is zero wherever it exists, and nothing flows through whole numbers, so
training in fixed point needs an estimator and stochastic rounding; it is not built yet.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from graph.errors import GraphError, TypeMismatch, nearest
from graph.fixed_point import Fixed, Rounding, quantized, real
from graph.op import REQUIRED, Array, Attrs, Op, Sample, Size
from graph.ops.common import Types, integer, need, need_count, need_float, numbers, traffic
from graph.ops.elementwise import COUNTS
from graph.tensor_type import DType, TensorType, f32, i16

ROUNDINGS = (Rounding.FLOOR, Rounding.ZERO, Rounding.NEAREST)
"""Rules that `quantize` takes."""
SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (7,), (0, 3), (3, 5), (2, 3, 4, 5))


def format_of(op: str, attrs: Attrs) -> Fixed:
    """The format that attributes `bits` and `fraction` say; raises `TypeMismatch` when there is no such format."""
    bits, fraction = integer(op, attrs, "bits", 2), integer(op, attrs, "fraction", 0)
    try:
        return Fixed(bits=bits, fraction=fraction)
    except GraphError as e:
        raise TypeMismatch(f"{op}: {e}") from None


def rounding_of(op: str, attrs: Attrs) -> Rounding:
    """The rule that attribute `rounding` says; raises `TypeMismatch` when it is none of `ROUNDINGS`."""
    name = attrs["rounding"]
    if name == Rounding.STOCHASTIC:
        raise TypeMismatch(
            f"{op}: stochastic rounding serves training in fixed point, which is not built yet; take {', '.join(ROUNDINGS)}"
        )
    if name not in ROUNDINGS:
        raise TypeMismatch(f"{op}: unknown rounding {name!r}; {nearest(str(name), ROUNDINGS)}")
    return Rounding(name)


def _quantize_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_float("quantize", types, 1)
    format_of("quantize", attrs)
    rounding_of("quantize", attrs)
    return (i16(*types[0].shape),)


def _dequantize_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_count("dequantize", types, 1)
    need(types[0].dtype is DType.I16, "dequantize", types, "wants i16 words")
    format_of("dequantize", attrs)
    return (f32(*types[0].shape),)


def _quantize_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows saturates; signalling NaN
        return (np.asarray(quantized(arrays[0], format_of("quantize", attrs), rounding_of("quantize", attrs))),)


def _dequantize_reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    return (np.asarray(real(arrays[0], format_of("dequantize", attrs))),)


def awkward(fixed: Fixed) -> Array:
    """f32 numbers that are hard to quantize: ties and their neighbours, both ends and beyond, the tiniest, infinite ones, NaN."""
    few = np.array([0, 0.5, 1, 1.5, 2, 2.5, 1000.5, fixed.highest - 0.5, fixed.highest, fixed.highest + 0.5, fixed.highest + 1])
    words = np.concatenate([few, -few, [-fixed.highest - 1.5, -fixed.highest - 2, 1e6, -1e6]]).astype(np.float32)
    around = [np.nextafter(words, np.float32(to), dtype=np.float32) for to in (-np.inf, np.inf)]
    limits = np.finfo(np.float32)
    ends = np.array([np.inf, -np.inf, np.nan, limits.max, limits.min, limits.tiny, -limits.tiny, 1e-45, -1e-45, -0.0], np.float32)
    return np.concatenate([np.concatenate([words, *around]) * np.float32(fixed.step), ends])


def _quantize_samples() -> Iterable[Sample]:
    for k, shape in enumerate(SHAPES):
        yield Sample(inputs=(np.asarray(4 * numbers(*shape)),), attrs={"fraction": 10, "rounding": ROUNDINGS[k % 3]})
    for rounding in ROUNDINGS:
        for fixed in (Fixed(), Fixed(bits=16, fraction=0), Fixed(bits=16, fraction=15), Fixed(bits=8, fraction=4)):
            attrs: Attrs = {"fraction": fixed.fraction, "bits": fixed.bits, "rounding": rounding}
            yield Sample(inputs=(awkward(fixed),), attrs=attrs)
            yield Sample(inputs=((40 * numbers(4, 6))[:, ::2],), attrs=attrs)


def _dequantize_samples() -> Iterable[Sample]:
    for k, shape in enumerate(SHAPES):
        yield Sample(inputs=(np.asarray(30_000 * numbers(*shape)).astype(np.int16),), attrs={"fraction": 3 * k})
    ends = np.array([-(1 << 15), (1 << 15) - 1, 0, 1, -1, 255, -256, 77, -99], np.int16)
    for fraction in (0, 10, 15):
        yield Sample(inputs=(ends,), attrs={"fraction": fraction})
    yield Sample(inputs=(np.arange(-12, 12, dtype=np.int16).reshape(4, 6)[:, ::2],), attrs={"fraction": 4, "bits": 8})


quantize = Op(
    name="quantize",
    inputs=("x",),
    outputs=("q",),
    attrs={"fraction": REQUIRED, "bits": 16, "rounding": "nearest"},
    infer=_quantize_infer,
    work=lambda types, attrs: traffic(4 * types[0].size, types, _quantize_infer(types, attrs)),  # scaled, two bounds, rounded
    reference=_quantize_reference,
    vjp=None,
    samples=_quantize_samples,
    sizes=lambda: tuple(Size(types=(f32(n),), attrs={"fraction": 10}) for n in COUNTS),
    aliases={},
)
"""Fixed-point words of format (`bits`, `fraction`) for f32 or f64: rounded by `rounding`, saturating; NaN becomes 0."""

dequantize = Op(
    name="dequantize",
    inputs=("q",),
    outputs=("y",),
    attrs={"fraction": REQUIRED, "bits": 16},
    infer=_dequantize_infer,
    work=lambda types, attrs: traffic(types[0].size, types, _dequantize_infer(types, attrs)),
    reference=_dequantize_reference,
    vjp=None,
    samples=_dequantize_samples,
    sizes=lambda: tuple(Size(types=(i16(n),), attrs={"fraction": 10}) for n in COUNTS),
    aliases={},
)
"""What words of format (`bits`, `fraction`) mean, exactly, as f32."""

QUANTIZE = (quantize, dequantize)
