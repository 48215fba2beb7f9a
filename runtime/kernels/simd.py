"""Vectors as Numba values: the small language in which the CPU kernels are written.

A kernel sees raw addresses (``intp``) and explicit vectors of `LANES` float32 (`Vf`), int32 (`Vi`) or lane masks (`Vm`), so the
machine code does what the source says on every shape: no alias checks, no scalar remainder loops, no reordering of sums.
Each function here emits a few LLVM instructions. Vectors take part in ``+ - * /`` and, for integers, ``& | ^``.

LLVM has no vector forms of exp or tanh without a vendor library; `runtime.kernels.mathematics` has polynomials.
"""

# mypy: disable-error-code="no-untyped-def"

import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.datamodel import PrimitiveModel, register_default
from numba.core.imputils import lower_builtin
from numba.extending import type_callable

from runtime.kernels.emit import (
    F32,
    I1,
    I8,
    I32,
    I64,
    LANES,
    VB,
    VF,
    VI,
    VL,
    VM,
    P,
    S,
    call,
    define,
    masked_load,
    masked_store,
    pointer,
    splat_value,
)


class _Vector(types.Type):
    """A Numba type whose value is an LLVM vector."""

    def __init__(self, name: str) -> None:
        super().__init__(name=f"{name}x{LANES}")


class _Float(_Vector):
    pass


class _Int(_Vector):
    pass


class _Mask(_Vector):
    pass


def _model(be: ir.Type) -> type:
    class Model(PrimitiveModel):
        def __init__(self, dmm: Any, fe_type: Any) -> None:
            super().__init__(dmm, fe_type, be)

    return Model


register_default(_Float)(_model(VF))
register_default(_Int)(_model(VI))
register_default(_Mask)(_model(VM))
Vf, Vi, Vm = _Float("f32"), _Int("i32"), _Mask("mask")


def _operator(symbol: Callable[..., Any], kind: types.Type, method: str, result: types.Type | None = None) -> None:
    @type_callable(symbol)
    def typer(context: Any) -> Any:
        def check(a: Any, b: Any) -> Any:
            return (result or kind) if a == kind and b == kind else None

        return check

    @lower_builtin(symbol, kind, kind)
    def lower(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
        return getattr(builder, method)(*args)


for _symbol, _method in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv")):
    _operator(_symbol, Vf, _method)
for _symbol, _method in (
    (operator.add, "add"), (operator.sub, "sub"), (operator.mul, "mul"),
    (operator.and_, "and_"), (operator.or_, "or_"), (operator.xor, "xor"),
):  # fmt: skip
    _operator(_symbol, Vi, _method)
_operator(operator.and_, Vm, "and_")


# --- memory ---


@define(Vf, P)
def load(b, p):
    """`LANES` floats from address `p`."""
    return b.load(pointer(b, p, VF), align=4)


@define(Vf, P, Vm)
def load_masked(b, p, m):
    """Like `load`; lanes outside the mask are not read and are 0."""
    return masked_load(b, pointer(b, p, VF), m, VF, 4)


@define(types.void, P, Vf)
def store(b, p, x):
    """`LANES` floats to address `p`."""
    b.store(x, pointer(b, p, VF), align=4)


@define(types.void, P, Vf, Vm)
def store_masked(b, p, x, m):
    """Like `store`; memory outside the mask is not touched."""
    masked_store(b, x, pointer(b, p, VF), m, 4)


@define(Vi, P, Vm)
def load_bytes(b, p, m):
    """`LANES` bytes from address `p` as int32, those outside the mask as 0."""
    return b.zext(masked_load(b, pointer(b, p, VB), m, VB, 1), VI)


@define(types.void, P, Vi, Vm)
def store_bytes(b, p, x, m):
    """The low byte of each lane to address `p`, under the mask."""
    masked_store(b, b.trunc(x, VB), pointer(b, p, VB), m, 1)


@define(types.void, P, P, P)
def copy_bytes(b, to, source, n):
    """`n` bytes; the regions must not overlap."""
    call(b, "llvm.memcpy.p0.p0.i64", ir.VoidType(), [pointer(b, to, I8), pointer(b, source, I8), n, ir.Constant(I1, 0)])


@define(types.void, P, P)
def zero_bytes(b, to, n):
    """`n` bytes of zeros."""
    call(b, "llvm.memset.p0.i64", ir.VoidType(), [pointer(b, to, I8), ir.Constant(I8, 0), n, ir.Constant(I1, 0)])


@define(P, P)
def get_int(b, p):
    """The int64 at address `p`."""
    return b.load(pointer(b, p, I64), align=8)


@define(S, P)
def get_float(b, p):
    """The float32 at address `p`."""
    return b.load(pointer(b, p, F32), align=4)


@define(types.void, P, S)
def set_float(b, p, x):
    """A float32 to address `p`."""
    b.store(x, pointer(b, p, F32), align=4)


@define(S, P)
def bits_float(b, n):
    """The float32 whose bits are the low half of `n`: how floats travel in an argument block."""
    return b.bitcast(b.trunc(n, I32), F32)


# --- lanes ---


@define(Vf, S)
def splat(b, x):
    """`x` in every lane."""
    return splat_value(b, x, VF)


@define(Vi, P)
def splat_int(b, n):
    """The low half of `n` in every lane."""
    return splat_value(b, b.trunc(n, I32), VI)


@define(Vi, P)
def iota(b, first):
    """``first, first + 1, ...``"""
    return b.add(splat_value(b, b.trunc(first, I32), VI), ir.Constant(VI, list(range(LANES))))


@define(Vm, P)
def first_lanes(b, n):
    """The mask of the first `n` lanes: none when ``n <= 0``, all when ``n >= LANES``."""
    most = ir.Constant(I64, LANES)
    n = b.select(b.icmp_signed("<", n, most), n, most)
    return b.icmp_signed("<", ir.Constant(VI, list(range(LANES))), splat_value(b, b.trunc(n, I32), VI))


@define(Vm, Vm, types.boolean)
def mask_if(b, m, condition):
    """The mask, or no lanes."""
    return b.select(condition, m, ir.Constant(VM, [0] * LANES))


@define(Vf, Vf, Vf, Vf)
def fma(b, x, y, z):
    """``x * y + z``, rounded once."""
    return call(b, f"llvm.fma.v{LANES}f32", VF, [x, y, z])


@define(Vm, Vf, Vf)
def greater(b, x, y):
    """Where ``x > y``; never for NaN."""
    return b.fcmp_ordered(">", x, y)


@define(Vm, Vi, Vi)
def equal(b, x, y):
    """Where ``x == y``."""
    return b.icmp_signed("==", x, y)


@define(Vm, Vi, Vi)
def below(b, x, y):
    """``x < y`` as unsigned numbers."""
    return b.icmp_unsigned("<", x, y)


@define(Vf, Vm, Vf, Vf)
def select(b, m, x, y):
    """`x` where the mask is set, else `y`."""
    return b.select(m, x, y)


@define(Vi, Vm, Vi, Vi)
def select_int(b, m, x, y):
    """`x` where the mask is set, else `y`."""
    return b.select(m, x, y)


@define(Vf, Vf, Vf)
def maximum(b, x, y):
    """The larger; `x` when it is NaN."""
    return b.select(b.fcmp_unordered(">=", x, y), x, y)


@define(Vf, Vf)
def absolute(b, x):
    """``|x|``"""
    return call(b, f"llvm.fabs.v{LANES}f32", VF, [x])


@define(Vf, Vf)
def square_root(b, x):
    """Rounded correctly; NaN below 0."""
    return call(b, f"llvm.sqrt.v{LANES}f32", VF, [x])


@define(Vf, Vf, Vf)
def copy_sign(b, x, sign):
    """``|x|`` with the sign of the other."""
    return call(b, f"llvm.copysign.v{LANES}f32", VF, [x, sign])


@define(Vf, Vf)
def nearest(b, x):
    """Rounded to a whole number, ties to even."""
    return call(b, f"llvm.nearbyint.v{LANES}f32", VF, [x])


@define(Vi, Vf)
def to_int(b, x):
    """Truncated to int32."""
    return b.fptosi(x, VI)


@define(Vf, Vi)
def to_float(b, x):
    """The nearest float32."""
    return b.sitofp(x, VF)


@define(Vi, Vf)
def float_to_bits(b, x):
    """The bits of each float32."""
    return b.bitcast(x, VI)


@define(Vf, Vi)
def bits_to_float(b, x):
    """The float32 with these bits."""
    return b.bitcast(x, VF)


@define(Vi, Vi, P)
def shift_left(b, x, n):
    """``x << n``"""
    return b.shl(x, splat_value(b, b.trunc(n, I32), VI))


@define(Vi, Vi, P)
def shift_right(b, x, n):
    """Unsigned."""
    return b.lshr(x, splat_value(b, b.trunc(n, I32), VI))


@define(Vi, Vi, Vi)
def multiply_high(b, x, y):
    """The upper 32 bits of the unsigned 64-bit product."""
    wide = b.mul(b.zext(x, VL), b.zext(y, VL))
    return b.trunc(b.lshr(wide, ir.Constant(VL, [32] * LANES)), VI)


@define(Vi, Vi, Vi, types.boolean)
def interleave(b, x, y, upper):
    """``x0 y0 x1 y1 ...`` of the lower or the upper halves."""
    low, high = (
        b.shuffle_vector(x, y, ir.Constant(VI, [k + i // 2 + LANES * (i % 2) for i in range(LANES)])) for k in (0, LANES // 2)
    )
    return b.select(upper, high, low)


def _fold(b: ir.IRBuilder, x: ir.Value, combine: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
    """Combine lanes as a tree: halves, quarters, ... so that the order never depends on the compiler."""
    n = LANES
    while n > 1:
        n //= 2
        order = [i + n if i < n else i for i in range(LANES)]
        x = combine(x, b.shuffle_vector(x, ir.Constant(VF, ir.Undefined), ir.Constant(VI, order)))
    return b.extract_element(x, ir.Constant(I32, 0))


@define(S, Vf)
def lane_sum(b, x):
    """The sum of all lanes, added as a tree."""
    return _fold(b, x, b.fadd)


@define(S, Vf)
def lane_max(b, x):
    """The largest lane."""
    return _fold(b, x, lambda p, q: b.select(b.fcmp_unordered(">=", p, q), p, q))
