"""Emitting LLVM instructions from Numba code: how the words of `runtime.kernels.simd` and the register tile are made.

Numba's compiler calls such a function with an LLVM builder and values; what it returns is the value of the call.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import Parameter, Signature
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hw.kernels.geometry import host_geometry

GEOMETRY = host_geometry()
LANES = GEOMETRY.lanes
F32 = ir.FloatType()
I1, I8, I32, I64 = (ir.IntType(n) for n in (1, 8, 32, 64))
VF, VI, VM, VB, VL = (ir.VectorType(t, LANES) for t in (F32, I32, I1, I8, I64))
P, S = types.intp, types.float32


def call(b: ir.IRBuilder, name: str, ret: ir.Type, args: Sequence[ir.Value]) -> ir.Value:
    """Call an LLVM intrinsic by its full name."""
    fn = cgutils.get_or_insert_function(b.module, ir.FunctionType(ret, [a.type for a in args]), name)
    return b.call(fn, args)


def pointer(b: ir.IRBuilder, address: ir.Value, to: ir.Type) -> ir.Value:
    """An address as a pointer to such a value."""
    return b.inttoptr(address, to.as_pointer())


def splat_value(b: ir.IRBuilder, x: ir.Value, vector: ir.VectorType) -> ir.Value:
    """A scalar in every lane of such a vector."""
    first = b.insert_element(ir.Constant(vector, ir.Undefined), x, ir.Constant(I32, 0))
    return b.shuffle_vector(first, ir.Constant(vector, ir.Undefined), ir.Constant(VI, [0] * LANES))


def masked_load(b: ir.IRBuilder, ptr: ir.Value, mask: ir.Value, vector: ir.VectorType, align: int) -> ir.Value:
    """Load the lanes of the mask; the others are 0."""
    kind = {F32: "f32", I32: "i32", I8: "i8"}[vector.element]
    fn = f"llvm.masked.load.v{LANES}{kind}.p0"
    return call(b, fn, vector, [ptr, ir.Constant(I32, align), mask, ir.Constant(vector, [0] * LANES)])


def masked_store(b: ir.IRBuilder, value: ir.Value, ptr: ir.Value, mask: ir.Value, align: int) -> None:
    """Store the lanes of the mask."""
    kind = {F32: "f32", I32: "i32", I8: "i8"}[value.type.element]
    call(b, f"llvm.masked.store.v{LANES}{kind}.p0", ir.VoidType(), [value, ptr, ir.Constant(I32, align), mask])


def define(result: types.Type, *params: types.Type) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: makes ``f(builder, *llvm values) -> llvm value`` an intrinsic with this signature."""

    def wrap(emit: Callable[..., Any]) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> Any:
            out = emit(builder, *args)
            return context.get_dummy_value() if result is types.void else out

        @wraps(emit)
        def typing(typingctx: Any, *args: Any) -> Any:
            return result(*params), codegen

        # Numba matches arguments to names, so there must be as many names as parameters
        names = ["typingctx", *(f"a{i}" for i in range(len(params)))]
        typing.__signature__ = Signature([Parameter(n, Parameter.POSITIONAL_OR_KEYWORD) for n in names])  # type: ignore[attr-defined]
        return intrinsic(typing)

    return wrap


@define(types.void)
def keep_small(b: ir.IRBuilder) -> None:
    """Said inside a function: compile it for size. Short inner loops lose by being unrolled, and compilation takes longer."""
    b.function.attributes.add("optsize")


def words(n: int) -> Any:
    """An intrinsic that reads the first `n` int64 of an argument block as a tuple; the kernel is compiled for size."""

    def typing(typingctx: Any, p: Any) -> Any:
        def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Sequence[ir.Value]) -> ir.Value:
            b.function.attributes.add("optsize")  # see `keep_small`
            first = pointer(b, args[0], I64)
            return context.make_tuple(b, signature.return_type, [b.load(b.gep(first, [ir.Constant(I64, i)])) for i in range(n)])

        return types.UniTuple(P, n)(P), codegen

    return intrinsic(typing)


def invoke(n: int) -> Any:
    """An intrinsic that calls the native function at an address with `n` integers."""

    def emit(b: ir.IRBuilder, address: ir.Value, *args: ir.Value) -> None:
        b.call(pointer(b, address, ir.FunctionType(ir.VoidType(), [I64] * n)), args)

    return define(types.void, *(P,) * (n + 1))(emit)


call_address = invoke(1)
"""``call_address(address, argument)``: call a kernel."""
