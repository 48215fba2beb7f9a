"""The primitives of matrix products as instructions: copies with zeros, fragments of matrices, products on tensor cores.

A fragment is what a thread of a warp holds of a small matrix, as the PTX ISA lays it out (warp-level matrix instructions): 32-bit
words, each one tf32 number or two 16-bit ones. ldmatrix needs architecture 7.5, the products and cp.async need 8.0.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.cuda.extending import intrinsic

SHARED_ALIGNMENT: int | None = 16
"""Of shared memory that 128-bit accesses touch, bytes."""
_F32, _I16, _I32, _I64 = ir.FloatType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_NOTHING = ir.VoidType()
_SHARED, _GLOBAL = 3, 1


def _place(context, builder, kind, array, at, space):
    """Address of an element in a state space: 32 bits in shared memory, 64 in global memory."""
    place = builder.gep(context.make_array(kind)(context, builder, array).data, [at])
    if place.type.addrspace != space:
        place = builder.addrspacecast(place, ir.PointerType(place.type.pointee, space))
    return builder.ptrtoint(place, _I32 if space == _SHARED else _I64)


def _copy(words, text):
    """A copy of so many 4-byte words, or of zeros instead."""

    def code(context, builder, signature, args):
        there = _place(context, builder, signature.args[0], args[0], args[1], _SHARED)
        here = _place(context, builder, signature.args[2], args[2], args[3], _GLOBAL)
        count = builder.select(args[4], ir.Constant(_I32, 4 * words), ir.Constant(_I32, 0))
        kind = ir.FunctionType(_NOTHING, [_I32, _I64, _I32])
        builder.call(ir.InlineAsm(kind, text, "r,l,r,~{memory}", side_effect=True), [there, here, count])
        return context.get_dummy_value()

    return code


@intrinsic
def copy4_or_zero(typingctx, shared, to, array, at, is_there):
    """Copy 4 bytes to shared memory without waiting (cp.async.ca), or write a zero."""
    code = _copy(1, "cp.async.ca.shared.global [$0], [$1], 4, $2;")
    return types.void(shared, types.intp, array, types.intp, types.boolean), code


@intrinsic
def copy16_or_zero(typingctx, shared, to, array, at, is_there):
    """Copy 16 bytes to shared memory without waiting (cp.async.cg), or write zeros; both are aligned to 16 bytes."""
    code = _copy(4, "cp.async.cg.shared.global [$0], [$1], 16, $2;")
    return types.void(shared, types.intp, array, types.intp, types.boolean), code


def _store(words, kind):
    """Store so many 32-bit words at an element of shared memory."""

    def emit(context, builder, signature, args, values):
        place = builder.gep(context.make_array(signature.args[0])(context, builder, args[0]).data, [args[1]])
        wide = ir.Constant(ir.VectorType(kind, words), ir.Undefined)
        for i, v in enumerate(values):
            wide = builder.insert_element(wide, v, ir.Constant(_I32, i))
        store = builder.store(wide, builder.bitcast(place, wide.type.as_pointer(place.type.addrspace)))
        store.align = 4 * words
        return context.get_dummy_value()

    return emit


@intrinsic
def load2(typingctx, array, at):
    """Two elements, one 64-bit load; the first is aligned to 8 bytes."""
    result = types.UniTuple(types.float32, 2)

    def code(context, builder, signature, args):
        place = builder.gep(context.make_array(signature.args[0])(context, builder, args[0]).data, [args[1]])
        wide = builder.load(builder.bitcast(place, ir.VectorType(_F32, 2).as_pointer(place.type.addrspace)))
        wide.align = 8
        found = ir.Constant(context.get_value_type(result), ir.Undefined)
        for i in range(2):
            found = builder.insert_value(found, builder.extract_element(wide, ir.Constant(_I32, i)), i)
        return found

    return result(array, types.intp), code


@intrinsic
def store2(typingctx, array, at, a, b):
    """Write two elements, one 64-bit store; the first is aligned to 8 bytes."""

    def code(context, builder, signature, args):
        return _store(2, _F32)(context, builder, signature, args, args[2:4])

    return types.void(array, types.intp, types.float32, types.float32), code


def _packed(builder, low, high, kind):
    """Two numbers, rounded to the nearest (ties to even) of a 16-bit kind, in a word."""
    asm = ir.InlineAsm(ir.FunctionType(_I32, [_F32, _F32]), f"cvt.rn.{kind}x2.f32 $0, $1, $2;", "=r,f,f")
    return builder.call(asm, [high, low])


def _put4(kind):
    def code(context, builder, signature, args):
        words = [_packed(builder, args[2 + i], args[3 + i], kind) for i in (0, 2)]
        return _store(2, _I32)(context, builder, signature, args, words)

    return code


def _put(kind):
    def code(context, builder, signature, args):
        half = builder.trunc(_packed(builder, args[2], args[2], kind), _I16)
        place = builder.gep(context.make_array(signature.args[0])(context, builder, args[0]).data, [args[1]])
        builder.store(half, builder.bitcast(place, _I16.as_pointer(place.type.addrspace)))
        return context.get_dummy_value()

    return code


@intrinsic
def put4_bf16(typingctx, shared, at, a, b, c, d):
    """Round four numbers and store them side by side, 64 bits at once."""
    f = types.float32
    return types.void(shared, types.intp, f, f, f, f), _put4("bf16")


@intrinsic
def put4_fp16(typingctx, shared, at, a, b, c, d):
    """Round four numbers and store them side by side, 64 bits at once."""
    f = types.float32
    return types.void(shared, types.intp, f, f, f, f), _put4("f16")


@intrinsic
def put_bf16(typingctx, shared, at, a):
    """Round a number and store it."""
    return types.void(shared, types.intp, types.float32), _put("bf16")


@intrinsic
def put_fp16(typingctx, shared, at, a):
    """Round a number and store it."""
    return types.void(shared, types.intp, types.float32), _put("f16")


def _is_from(context, builder, architecture):
    """Whether code is made for an architecture or a later one: known when it is compiled, and the other way is left out."""
    name = context.insert_const_string(builder.module, "__CUDA_ARCH")
    asked = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_I32, [name.type]), "__nvvm_reflect")
    return builder.icmp_signed(">=", builder.call(asked, [name]), ir.Constant(_I32, architecture))


@intrinsic
def tf32(typingctx, number):
    """An f32 number, or the word that holds it, rounded to tf32, as a word; to nearest, ties to even from architecture 9.0 on,
    which has an instruction for it, and away from zero before."""

    def code(context, builder, signature, args):
        bits = args[0] if signature.args[0] == types.int32 else builder.bitcast(args[0], _I32)
        found, is_new = cgutils.alloca_once(builder, _I32), _is_from(context, builder, 900)
        with builder.if_else(is_new) as ways:
            for way, name in zip(ways, ("rn", "rna"), strict=True):
                with way:
                    asm = ir.InlineAsm(ir.FunctionType(_I32, [_I32]), f"cvt.{name}.tf32.f32 $0, $1;", "=r,r")
                    builder.store(builder.call(asm, [bits]), found)
        return builder.load(found)

    return (types.int32(number), code) if number in (types.int32, types.float32) else None


def _tuple(context, builder, kind, made, count):
    found = ir.Constant(context.get_value_type(kind), ir.Undefined)
    for i in range(count):
        found = builder.insert_value(found, builder.extract_value(made, i), i)
    return found


def _fragments(turned):
    text = f"ldmatrix.sync.aligned.m8n8.x4{turned}.shared.b16 {{$0, $1, $2, $3}}, [$4];"
    kind = ir.FunctionType(ir.LiteralStructType([_I32] * 4), [_I32])

    def code(context, builder, signature, args):
        here = _place(context, builder, signature.args[0], args[0], args[1], _SHARED)
        made = builder.call(ir.InlineAsm(kind, text, "=r,=r,=r,=r,r,~{memory}", side_effect=True), [here])
        return _tuple(context, builder, signature.return_type, made, 4)

    return code


@intrinsic
def fragments4(typingctx, shared, at):
    """Of four matrices of 8 rows of 16 bytes, a word each: lane l says where row l % 8 of matrix l // 8 begins, aligned to 16
    bytes, and gets word l % 4 of row l // 4 of every matrix (ldmatrix)."""
    return types.UniTuple(types.int32, 4)(shared, types.intp), _fragments("")


@intrinsic
def fragments4_turned(typingctx, shared, at):
    """As `fragments4`, of matrices of 16-bit numbers that are transposed on the way: lane l gets elements 2 (l % 4) and the next
    of column l // 4."""
    return types.UniTuple(types.int32, 4)(shared, types.intp), _fragments(".trans")


def _product(shape, kind, a, b):
    """``mma.sync`` with so many words of A and B in a thread, and four sums."""
    words = [f"${i}" for i in range(8 + a + b)]
    d, left, right, c = words[:4], words[4 : 4 + a], words[4 + a : 4 + a + b], words[4 + a + b :]
    text = f"mma.sync.aligned.{shape}.row.col.f32.{kind}.{kind}.f32 " + ", ".join(
        "{" + ", ".join(group) + "}" for group in (d, left, right, c)
    )
    constraints = ",".join(["=f"] * 4 + ["r"] * (a + b) + ["f"] * 4)
    made = ir.FunctionType(ir.LiteralStructType([_F32] * 4), [_I32] * (a + b) + [_F32] * 4)

    def code(context, builder, signature, args):
        return _tuple(context, builder, signature.return_type, builder.call(ir.InlineAsm(made, text + ";", constraints), args), 4)

    return code


def _signature():
    return types.UniTuple(types.float32, 4)(*[types.int32] * 6, *[types.float32] * 4)


@intrinsic
def multiply_tf32(typingctx, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    """C + A B of a warp: 16 x 8 times 8 x 8 (mma.sync m16n8k8)."""
    return _signature(), _product("m16n8k8", "tf32", 4, 2)


@intrinsic
def multiply_bf16(typingctx, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    """C + A B of a warp: 16 x 16 times 16 x 8 (mma.sync m16n8k16)."""
    return _signature(), _product("m16n8k16", "bf16", 4, 2)


@intrinsic
def multiply_fp16(typingctx, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    """C + A B of a warp: 16 x 16 times 16 x 8 (mma.sync m16n8k16)."""
    return _signature(), _product("m16n8k16", "f16", 4, 2)
