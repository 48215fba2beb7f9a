"""The register tile: ``C[h, w] (+)= sum over b of A_b @ B_b``, on which matrix products and convolutions stand.

One entry, `panel`, computes all rows of a panel at most `GEOMETRY.width` columns wide, in tiles of balanced height. With
element offsets (float32 units), for row i, column j, block b and step k::

    A: row(i) + ta[b] + k * csa        row(i) = rows[i] (row_step 1, a_step 0), or i * a_step with one table of tile rows
    B: tb[b] + k * ldb + j
    C: i * ldc + j

Indirect rows let tiles run across the borders of image rows and images; tables of blocks do the same for reductions. A tile
keeps C in registers over the whole reduction: an accumulator per row and vector, A broadcast from memory in place, the last
vector of a row masked. Plain loops do not get there, because the compiler does not keep such a tile in registers; so it is
emitted as LLVM instructions. All tiles share one compiled library, and other kernels call it by address.

`transpose` turns a matrix by blocks held in registers.
"""

# mypy: disable-error-code="no-untyped-def"

from collections.abc import Sequence

from llvmlite import ir
from numba import types

from runtime.kernels.emit import (
    F32,
    GEOMETRY,
    I1,
    I8,
    I32,
    I64,
    LANES,
    VF,
    VI,
    call,
    define,
    invoke,
    masked_load,
    masked_store,
    pointer,
    splat_value,
)
from runtime.kernels.mathematics import inlined
from runtime.kernels.simd import first_lanes, load, load_masked, store, store_masked
from runtime.kernels.table import helper

ACCUMULATE, BIAS, RELU = 1, 2, 4
"""Flags of `panel`: start from C, start from the bias, end with ReLU. ACCUMULATE and BIAS exclude each other."""

_FP = F32.as_pointer()
_IP = I64.as_pointer()
# count, last, nb, kc, a, rows, row_step, a_step, csa, ta, b, tb, ldb, c, ldc, flags, bias
_SIGNATURE = ir.FunctionType(ir.VoidType(), [I64, I64, I64, I64, _FP, _IP, I64, I64, I64, _IP, _FP, _IP, I64, _FP, I64, I64, _FP])
P = types.intp


def _const(n: int) -> ir.Constant:
    return ir.Constant(I64, n)


class _Loop:
    """``for i in range(n)`` in LLVM, with further values carried from turn to turn."""

    def __init__(self, b: ir.IRBuilder, name: str, n: ir.Value, carried: Sequence[ir.Value]) -> None:
        self.b = b
        before = b.block
        self.head = b.append_basic_block(f"{name}.head")
        self.body = b.append_basic_block(f"{name}.body")
        self.end = b.append_basic_block(f"{name}.end")
        b.branch(self.head)
        b.position_at_end(self.head)
        self.i = b.phi(I64)
        self.carried = [b.phi(v.type) for v in carried]
        self.i.add_incoming(_const(0), before)
        for phi, v in zip(self.carried, carried, strict=True):
            phi.add_incoming(v, before)
        b.cbranch(b.icmp_signed("<", self.i, n), self.body, self.end)
        b.position_at_end(self.body)

    def close(self, carried: Sequence[ir.Value]) -> None:
        """End of the body; the builder goes on behind the loop, where `self.carried` hold the final values."""
        b = self.b
        self.i.add_incoming(b.add(self.i, _const(1)), b.block)
        for phi, v in zip(self.carried, carried, strict=True):
            phi.add_incoming(v, b.block)
        b.branch(self.head)
        b.position_at_end(self.end)


def _vector(b: ir.IRBuilder, row: ir.Value, v: int) -> ir.Value:
    return b.bitcast(b.gep(row, [_const(v * LANES)]), VF.as_pointer())


def _tile(module: ir.Module, h: int, nv: int) -> ir.Function:
    """The function for `count` tiles of `h` rows and `nv` vectors, one below the other; the last vector has `last` lanes."""
    name = f"tile_{h}_{nv}"
    if name in module.globals:
        return module.globals[name]
    f = ir.Function(module, _SIGNATURE, name)
    f.linkage = "internal"
    f.attributes.add("noinline")
    count, last, nb, kc, a0, rows0, row_step, a_step, csa, ta, b0, tb, ldb, c0, ldc, flags, bias = f.args
    b = ir.IRBuilder(f.append_basic_block("entry"))
    has = lambda flag: b.icmp_signed("!=", b.and_(flags, _const(flag)), _const(0))  # noqa: E731
    lane = ir.Constant(VI, list(range(LANES)))
    mask = b.icmp_signed("<", lane, splat_value(b, b.trunc(last, I32), VI))
    all_lanes = ir.Constant(ir.VectorType(I1, LANES), [1] * LANES)
    biased, accumulate = has(BIAS), has(ACCUMULATE)
    bias_mask = [b.and_(splat_value(b, biased, ir.VectorType(I1, LANES)), mask if v == nv - 1 else all_lanes) for v in range(nv)]
    zero = ir.Constant(VF, [0.0] * LANES)
    floor = b.select(has(RELU), zero, ir.Constant(VF, [float("-inf")] * LANES))
    load = lambda row, v: masked_load(b, _vector(b, row, v), mask, VF, 4) if v == nv - 1 else b.load(_vector(b, row, v), align=4)  # noqa: E731

    tiles = _Loop(b, "tile", count, [a0, rows0, c0])
    a, rows, c = tiles.carried
    a_row = [b.load(b.gep(rows, [_const(i)])) for i in range(h)]
    c_row = [b.gep(c, [b.mul(ldc, _const(i))]) for i in range(h)]
    fresh, again, start = (b.append_basic_block(n) for n in ("fresh", "again", "start"))
    b.cbranch(accumulate, again, fresh)
    b.position_at_end(again)
    old = [load(r, v) for r in c_row for v in range(nv)]
    b.branch(start)
    b.position_at_end(fresh)
    first = [masked_load(b, _vector(b, bias, v), bias_mask[v], VF, 4) for v in range(nv)] * h
    b.branch(start)
    b.position_at_end(start)
    sums = [b.phi(VF) for _ in range(h * nv)]
    for phi, x, y in zip(sums, old, first, strict=True):
        phi.add_incoming(x, again)
        phi.add_incoming(y, fresh)

    blocks = _Loop(b, "block", nb, sums)
    a_block = b.gep(a, [b.load(b.gep(ta, [blocks.i]))])
    b_block = b.gep(b0, [b.load(b.gep(tb, [blocks.i]))])
    steps = _Loop(b, "step", kc, [a_block, b_block, *blocks.carried])
    a_step_at, b_row, *acc = steps.carried
    columns = [load(b_row, v) for v in range(nv)]
    new = []
    for i in range(h):
        value = splat_value(b, b.load(b.gep(a_step_at, [a_row[i]]), align=4), VF)
        new += [call(b, f"llvm.fma.v{LANES}f32", VF, [value, columns[v], acc[i * nv + v]]) for v in range(nv)]
    steps.close([b.gep(a_step_at, [csa]), b.gep(b_row, [ldb]), *new])
    blocks.close(acc)

    for i in range(h):
        for v in range(nv):
            x = blocks.carried[i * nv + v]
            x = b.select(b.fcmp_ordered("<", x, floor), floor, x)
            if v == nv - 1:
                masked_store(b, x, _vector(b, c_row[i], v), mask, 4)
            else:
                b.store(x, _vector(b, c_row[i], v), align=4)
    tiles.close([b.gep(at, [b.mul(step, _const(h))]) for at, step in ((a, a_step), (rows, row_step), (c, ldc))])
    b.ret_void()
    return f


def _tiles(b: ir.IRBuilder, h: ir.Value, nv: ir.Value, args: Sequence[ir.Value]) -> None:
    """Call the tile function for this height and number of vectors; heights count down from the tallest."""
    f = b.function
    done = f.append_basic_block("done")
    by_width = b.switch(nv, done)
    for v, tallest in enumerate(GEOMETRY.heights, 1):
        block = f.append_basic_block(f"vectors.{v}")
        by_width.add_case(_const(v), block)
        b.position_at_end(block)
        by_height = b.switch(h, done)
        for rows in range(1, tallest + 1):
            leaf = f.append_basic_block(f"tile.{v}.{rows}")
            by_height.add_case(_const(rows), leaf)
            b.position_at_end(leaf)
            b.call(_tile(b.module, rows, v), args)
            b.branch(done)
    b.position_at_end(done)


@define(types.void, *(P,) * 18)
def _run(b, h, nv, count, last, nb, kc, a, rows, row_step, a_step, csa, ta, bb, tb, ldb, c, ldc_flags, bias):
    """`count` tiles of height `h`; ``ldc_flags`` holds the flags in its low 3 bits."""
    ldc, flags = b.ashr(ldc_flags, _const(3)), b.and_(ldc_flags, _const(7))
    args = [count, last, nb, kc, pointer(b, a, F32), pointer(b, rows, I64), row_step, a_step, csa, pointer(b, ta, I64)]
    args += [pointer(b, bb, F32), pointer(b, tb, I64), ldb, pointer(b, c, F32), ldc, flags, pointer(b, bias, F32)]
    _tiles(b, h, nv, args)


TALLEST = GEOMETRY.heights
call_panel = invoke(17)
"""``call_panel(address, ...)``: `panel` from other kernels."""
call_transpose = invoke(6)
"""``call_transpose(address, ...)``: `transpose` from other kernels."""


@helper(*(P,) * 17)
def panel(m, w, nb, kc, a, rows, row_step, a_step, csa, ta, b, tb, ldb, c, ldc, flags, bias):
    """Rows 0..m of a panel of w columns (1 <= w <= `GEOMETRY.width`). Addresses are bytes, offsets and strides elements."""
    if m > 0:
        nv = (w + LANES - 1) // LANES
        tiles = (m + TALLEST[nv - 1] - 1) // TALLEST[nv - 1]
        low = m // tiles
        taller = m - low * tiles
        if not flags & BIAS:
            bias = c  # any valid address: a load without lanes from page 0 would be slow
        last, x = w - (nv - 1) * LANES, ldc * 8 + flags
        if taller:
            _run(low + 1, nv, taller, last, nb, kc, a, rows, row_step, a_step, csa, ta, b, tb, ldb, c, x, bias)
        done = taller * (low + 1)
        a, rows, c = a + 4 * done * a_step, rows + 8 * done * row_step, c + 4 * done * ldc
        _run(low, nv, tiles - taller, last, nb, kc, a, rows, row_step, a_step, csa, ta, b, tb, ldb, c, x, bias)


def _rows_of(b, first, stride, count):
    """Addresses of `LANES` rows; those beyond the count are the first one's.

    A masked access without lanes never faults, but one to a page that is not there costs a thousand cycles.
    """
    return [
        b.gep(first, [b.select(b.icmp_signed("<", _const(i), count), b.mul(stride, _const(i)), _const(0))]) for i in range(LANES)
    ]


def _turned(b, x):
    """The transpose of `LANES` vectors: log2(LANES) rounds, each swaps a bit of row and lane index."""
    x, d = list(x), 1
    while d < LANES:
        low = ir.Constant(VI, [j if not j & d else LANES + j - d for j in range(LANES)])
        high = ir.Constant(VI, [j + d if not j & d else LANES + j for j in range(LANES)])
        for i in range(LANES):
            if not i & d:
                x[i], x[i + d] = b.shuffle_vector(x[i], x[i + d], low), b.shuffle_vector(x[i], x[i + d], high)
        d *= 2
    return x


@define(types.void, *(P,) * 6)
def _turn(b, source, lds, rows, cols, to, ldd):
    """Transpose one block of at most `LANES` x `LANES` in registers."""
    first, out = pointer(b, source, F32), pointer(b, to, F32)
    vector = VF.as_pointer()
    whole = b.and_(b.icmp_signed("==", rows, _const(LANES)), b.icmp_signed("==", cols, _const(LANES)))
    with b.if_else(whole) as (then, otherwise):
        with then:
            x = []
            for i in range(LANES):
                row = b.gep(first, [b.mul(lds, _const(i))])
                x.append(b.load(b.bitcast(row, vector), align=4))
                ahead = b.bitcast(b.gep(row, [_const(3 * LANES)]), I8.as_pointer())
                call(b, "llvm.prefetch.p0", ir.VoidType(), [ahead, *(ir.Constant(I32, n) for n in (0, 3, 1))])  # read, keep, data
            for k, y in enumerate(_turned(b, x)):
                b.store(y, b.bitcast(b.gep(out, [b.mul(ldd, _const(k))]), vector), align=4)
        with otherwise:
            lane = ir.Constant(VI, list(range(LANES)))
            within = [b.icmp_signed("<", lane, splat_value(b, b.trunc(n, I32), VI)) for n in (rows, cols)]
            none = ir.Constant(within[0].type, [0] * LANES)

            def mask(i, count, lanes):
                return b.select(b.icmp_signed("<", _const(i), count), lanes, none)

            x = [
                masked_load(b, b.bitcast(row, vector), mask(i, rows, within[1]), VF, 4)
                for i, row in enumerate(_rows_of(b, first, lds, rows))
            ]
            y = _turned(b, x)
            for k, row in enumerate(_rows_of(b, out, ldd, cols)):
                masked_store(b, y[k], b.bitcast(row, vector), mask(k, cols, within[0]), 4)


@helper(*(P,) * 6)
def transpose(source, lds, rows, cols, to, ldd):
    """``to[k, j] = source[j, k]`` for j < rows, k < cols; `lds` and `ldd` are the row strides in elements."""
    for j in range(0, rows, LANES):
        for k in range(0, cols, LANES):
            _turn(source + 4 * (j * lds + k), lds, min(rows - j, LANES), min(cols - k, LANES), to + 4 * (k * ldd + j), ldd)


@inlined
def copy_floats(to, source, n):
    """`n` floats, vector by vector."""
    for i in range(0, n - LANES + 1, LANES):
        store(to + 4 * i, load(source + 4 * i))
    rest = n % LANES
    if rest:
        m = first_lanes(rest)
        i = n - rest
        store_masked(to + 4 * i, load_masked(source + 4 * i, m), m)


@inlined
def copy_rows(to, ldd, source, lds, rows, cols):
    """A matrix; strides in elements."""
    for r in range(rows):
        copy_floats(to + 4 * r * ldd, source + 4 * r * lds, cols)
