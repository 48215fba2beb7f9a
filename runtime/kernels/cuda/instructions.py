"""The primitives as instructions: LLVM and inline PTX. See `runtime.kernels.cuda.primitives`.

Asynchronous copies need architecture 8.0 (PTX ISA, cp.async); all else runs on 7.5.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call"

from llvmlite import ir
from numba import cuda, types
from numba.core import cgutils
from numba.cuda import libdevice
from numba.cuda.extending import intrinsic

from graph.rng import MULTIPLIERS, ROUNDS, WEYL

WARP = 32
SCRATCH = 32
"""Elements of the shared memory that sums and maxima over a block need: one for each warp."""
ALL = 0xFFFFFFFF
_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)


def _address(context, builder, kind, array, at):
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


@intrinsic
def load4(typingctx, array, at):
    """Four elements, one load of 128 bits (64 of 16-bit elements); the first is aligned to as many."""
    of = array.dtype
    result = types.UniTuple(of, 4)

    def code(context, builder, signature, args):
        element = context.get_data_type(of)
        vector = ir.VectorType(element, 4)
        place = _address(context, builder, signature.args[0], args[0], args[1])
        wide = builder.load(builder.bitcast(place, vector.as_pointer(place.type.addrspace)))
        wide.align = min(of.bitwidth // 2, 16)
        found = ir.Constant(context.get_value_type(result), ir.Undefined)
        for i in range(4):
            found = builder.insert_value(found, builder.extract_element(wide, ir.Constant(_I32, i)), i)
        return found

    return result(array, types.intp), code


@intrinsic
def store4(typingctx, array, at, a, b, c, d):
    """Write four elements, one store of 128 bits (64 of 16-bit elements); the first is aligned to as many."""
    of = array.dtype

    def code(context, builder, signature, args):
        element = context.get_data_type(of)
        vector = ir.VectorType(element, 4)
        place = _address(context, builder, signature.args[0], args[0], args[1])
        wide = ir.Constant(vector, ir.Undefined)
        for i in range(4):
            wide = builder.insert_element(wide, args[2 + i], ir.Constant(_I32, i))
        store = builder.store(wide, builder.bitcast(place, vector.as_pointer(place.type.addrspace)))
        store.align = min(of.bitwidth // 2, 16)
        return context.get_dummy_value()

    return types.void(array, types.intp, of, of, of, of), code


@intrinsic
def copy16(typingctx, shared, to, array, at):
    """Copy 16 bytes from global to shared memory behind the back of the registers (cp.async.cg); both are aligned to 16 bytes."""

    def code(context, builder, signature, args):
        there = _address(context, builder, signature.args[0], args[0], args[1])
        here = _address(context, builder, signature.args[2], args[2], args[3])
        kind = ir.FunctionType(ir.VoidType(), [_I64, _I64])
        text = (
            "{ .reg .u64 t; .reg .u32 s; cvta.to.shared.u64 t, $0; cvt.u32.u64 s, t; cp.async.cg.shared.global [s], [$1], 16; }"
        )
        asm = ir.InlineAsm(kind, text, "l,l,~{memory}", side_effect=True)
        builder.call(asm, [builder.ptrtoint(_generic(builder, p), _I64) for p in (there, here)])
        return context.get_dummy_value()

    return types.void(shared, types.intp, array, types.intp), code


def _generic(builder, place):
    """A pointer as an address that any instruction understands."""
    if place.type.addrspace == 0:
        return place
    return builder.addrspacecast(place, ir.PointerType(place.type.pointee))


@intrinsic
def commit(typingctx):
    """The copies that were asked for since the last time are a group (cp.async.commit_group)."""

    def code(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [])
        builder.call(ir.InlineAsm(kind, "cp.async.commit_group;", "~{memory}", side_effect=True), [])
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def wait(typingctx, groups):
    """Until at most so many groups of copies, a constant, are under way (cp.async.wait_group)."""
    if not isinstance(groups, types.IntegerLiteral):
        return None  # types of constants are tried without their values first
    count = groups.literal_value

    def code(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [])
        builder.call(ir.InlineAsm(kind, f"cp.async.wait_group {count};", "~{memory}", side_effect=True), [])
        return context.get_dummy_value()

    return types.void(groups), code


@cuda.jit(device=True, inline="always")
def block_sum(x, scratch):
    """Sum over the threads of a block, for all of them: within warps by shuffles, between them through `scratch`."""
    me = cuda.threadIdx.x + cuda.blockDim.x * cuda.threadIdx.y
    warps = (cuda.blockDim.x * cuda.blockDim.y + WARP - 1) // WARP
    for step in (16, 8, 4, 2, 1):
        x += cuda.shfl_xor_sync(ALL, x, step)
    if me % WARP == 0:
        scratch[me // WARP] = x
    cuda.syncthreads()
    total = scratch[0]
    for i in range(1, warps):
        total += scratch[i]
    cuda.syncthreads()
    return total


@cuda.jit(device=True, inline="always")
def block_max(x, scratch):
    """Maximum over the threads of a block, for all of them."""
    me = cuda.threadIdx.x + cuda.blockDim.x * cuda.threadIdx.y
    warps = (cuda.blockDim.x * cuda.blockDim.y + WARP - 1) // WARP
    for step in (16, 8, 4, 2, 1):
        x = max(x, cuda.shfl_xor_sync(ALL, x, step))
    if me % WARP == 0:
        scratch[me // WARP] = x
    cuda.syncthreads()
    found = scratch[0]
    for i in range(1, warps):
        found = max(found, scratch[i])
    cuda.syncthreads()
    return found


@intrinsic
def quotient(typingctx, a, b):
    """``a // b`` of whole numbers that are not negative, with nothing to correct for signs; of two with 32 bits, in 32 bits."""
    kind = types.int32 if a == b == types.int32 else types.int64

    def code(context, builder, signature, args):
        return builder.udiv(args[0], args[1])

    return kind(kind, kind), code


@cuda.jit(device=True, inline="always")
def power(x, y):
    """``x^y``, x > 0, as ``2^(y log2 x)`` in two instructions: about 2^-21 off, and as much more for every factor of 2^8."""
    return libdevice.fast_powf(x, y)


@cuda.jit(device=True, inline="always")
def lanes_sum(x, lanes, scratch):
    """Sum over so many neighbouring threads, a power of two up to a warp, for all of them. All threads of the block take part."""
    step = lanes // 2
    while step:
        x += cuda.shfl_xor_sync(ALL, x, step)
        step //= 2
    return x


@cuda.jit(device=True, inline="always")
def lanes_max(x, lanes, scratch):
    """Maximum over so many neighbouring threads, as `lanes_sum`."""
    step = lanes // 2
    while step:
        x = max(x, cuda.shfl_xor_sync(ALL, x, step))
        step //= 2
    return x


def multiply_high(builder, a, b):
    """The upper half of a product of words, in 32 bits (mul.hi.u32)."""
    kind = ir.FunctionType(_I32, (_I32, _I32))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.nvvm.mulhi.ui"), (a, b))


@intrinsic
def philox(typingctx, c0, c1, c2, c3, k0, k1):
    """Four random words for a counter and a key, Philox4x32-10 as in `graph.rng`; of the arguments the low 32 bits count."""
    words = types.UniTuple(types.uint32, 4)

    def code(context, builder, signature, args):
        a, b, c, d, *key = (builder.trunc(x, _I32) for x in args)
        for _ in range(ROUNDS):
            factors = [(x, ir.Constant(_I32, m)) for x, m in zip((a, c), MULTIPLIERS)]
            low, high = [builder.mul(*f) for f in factors], [multiply_high(builder, *f) for f in factors]
            a, c = builder.xor(builder.xor(high[1], b), key[0]), builder.xor(builder.xor(high[0], d), key[1])
            b, d = low[1], low[0]
            key = [builder.add(k, ir.Constant(_I32, w)) for k, w in zip(key, WEYL)]
        found = ir.Constant(context.get_value_type(words), ir.Undefined)
        for i, x in enumerate((a, b, c, d)):
            found = builder.insert_value(found, x, i)
        return found

    return words(*(types.int64,) * 6), code
