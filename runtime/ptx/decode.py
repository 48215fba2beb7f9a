"""Each instruction as a function over the lanes that carry it out."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.ptx import numbers, warps
from runtime.ptx.numbers import BINARY, KINDS, UNARY
from runtime.ptx.parse import Const, Instruction, Memory, Name, Operand, Program, PtxError, Reg, Several, float_of

if TYPE_CHECKING:
    from runtime.ptx.machine import Lanes, Threads

Do = Callable[["Threads", "Lanes"], None]
Get = Callable[["Threads", "Lanes"], Any]
Put = Callable[["Threads", "Lanes", Any], None]
CONTROL = frozenset({"bra", "ret", "exit", "bar", "barrier"})
"""They say where to go on; the machine carries them out itself."""
_IGNORED = frozenset({"fence", "membar", "prefetch", "nanosleep"})
_SHIFTS = frozenset({"shl", "shr"})


def getter(program: Program, operand: Operand, kind: str) -> Get:
    """The value of an operand, as a type, in the lanes asked for."""
    dtype = np.dtype(KINDS[kind])
    if isinstance(operand, Const):
        value = _constant(operand, dtype)
        return lambda threads, lanes: value
    if isinstance(operand, Name):
        if operand.name not in program.shared:
            raise PtxError(f"{operand.name} is not known here")
        begin = np.array(program.shared[operand.name], np.uint64).astype(dtype)
        return lambda threads, lanes: begin
    if not isinstance(operand, Reg):
        raise PtxError(f"{operand} is no value")
    name = operand.name
    if name not in program.registers:
        return lambda threads, lanes: threads.special(name)[lanes.where].astype(dtype)
    own = np.dtype(KINDS[program.registers[name]])
    if own == dtype:
        return lambda threads, lanes: threads.registers[name][lanes.where]
    if own.itemsize == dtype.itemsize:
        return lambda threads, lanes: threads.registers[name][lanes.where].view(dtype)
    return lambda threads, lanes: threads.registers[name][lanes.where].astype(dtype)


def putter(program: Program, operand: Operand) -> Put:
    """Writes a register; narrower values are widened with the sign of their type."""
    if not isinstance(operand, Reg) or operand.name not in program.registers:
        raise PtxError(f"{operand} cannot be written")
    name, own = operand.name, np.dtype(KINDS[program.registers[operand.name]])

    def put(threads: "Threads", lanes: "Lanes", value: Any) -> None:
        value = np.asarray(value)
        if value.dtype != own:
            value = value.view(own) if value.dtype.itemsize == own.itemsize else value.astype(own)
        threads.register(name, own)[lanes.where] = value

    return put


def _constant(operand: Const, dtype: Any) -> Any:
    if operand.is_float:
        return dtype.type(float_of(operand.value, dtype.itemsize)) if dtype.kind == "f" else dtype.type(operand.value)
    if dtype.kind == "b":
        return np.bool_(operand.value)
    if dtype.kind == "f":
        return dtype.type(operand.value)
    bits = operand.value & ((1 << 8 * dtype.itemsize) - 1)
    return np.array(bits, np.uint64).astype(f"u{dtype.itemsize}").view(dtype)[()]


def decode(program: Program, ins: Instruction) -> Do:
    """The function of an instruction that is not in `CONTROL`.

    Raises
    ------
    PtxError : it is not known here.
    """
    try:
        return _Decoder(program, ins).made()
    except (KeyError, IndexError, PtxError) as e:
        raise PtxError(f"{ins}: not known here ({e})") from e


class _Decoder:
    def __init__(self, program: Program, ins: Instruction) -> None:
        self.program, self.ins, self.op, self.operands = program, ins, ins.op, ins.operands

    def get(self, i: int, kind: str) -> Get:
        return getter(self.program, self.operands[i], kind)

    def put(self, i: int = 0) -> Put:
        return putter(self.program, self.operands[i])

    def items(self, i: int) -> tuple[Operand, ...]:
        """The registers of an operand in braces, or the one that it is."""
        found = self.operands[i]
        return found.items if isinstance(found, Several) else (found,)

    def made(self) -> Do:
        name = self.op[0]
        own = getattr(self, f"_{name}", None)
        if own is not None:
            found: Do = own()
            return found
        if name in UNARY:
            return self._compute(UNARY[name], 1)
        if name in BINARY:
            return self._compute(BINARY[name], 2)
        if name in _IGNORED:
            return lambda threads, lanes: None
        raise PtxError("no such instruction")

    def _compute(self, f: Callable[..., Any], count: int) -> Do:
        name, kind = self.op[0], self.op[-1]
        if name == "mul" and "wide" in self.op:
            return self._wide(lambda a, b: a * b, 2)
        if name == "mul" and "hi" in self.op:
            f = numbers.high_word
        kinds = [kind] * count
        if name in _SHIFTS:
            kinds[1] = "u32"
        gets, put = [self.get(i + 1, k) for i, k in enumerate(kinds)], self.put()
        if count == 1:
            one = gets[0]
            return lambda threads, lanes: put(threads, lanes, f(one(threads, lanes)))
        left, right = gets

        def do(threads: "Threads", lanes: "Lanes") -> None:
            put(threads, lanes, f(left(threads, lanes), right(threads, lanes)))

        return do

    def _wide(self, f: Callable[..., Any], count: int) -> Do:
        kind, put = self.op[-1], self.put()
        wide = KINDS[f"{kind[0]}{2 * int(kind[1:])}"]
        gets = [self.get(i + 1, kind if i < 2 else f"{kind[0]}{2 * int(kind[1:])}") for i in range(count)]
        return lambda threads, lanes: put(threads, lanes, f(*(np.asarray(g(threads, lanes)).astype(wide) for g in gets)))

    def _mad(self) -> Do:
        if "wide" in self.op:
            return self._wide(lambda a, b, c: a * b + c, 3)
        if "lo" not in self.op:
            raise PtxError("only its lower half")
        return self._ternary(lambda a, b, c: a * b + c)

    def _fma(self) -> Do:
        if self.op[-1] != "f32" or not {"rn", "rm"} & set(self.op):
            raise PtxError("only of f32")
        return self._ternary(numbers.fused_down if "rm" in self.op else numbers.fused)

    def _ternary(self, f: Callable[[Any, Any, Any], Any]) -> Do:
        a, b, c = (self.get(i, self.op[-1]) for i in (1, 2, 3))
        put = self.put()
        return lambda threads, lanes: put(threads, lanes, f(a(threads, lanes), b(threads, lanes), c(threads, lanes)))

    def _setp(self) -> Do:
        if len(self.op) != 3:
            raise PtxError("combined with another predicate")
        f = numbers.comparison(self.op[1], self.op[2][0] == "f")
        a, b, put = self.get(1, self.op[2]), self.get(2, self.op[2]), self.put()
        return lambda threads, lanes: put(threads, lanes, f(a(threads, lanes), b(threads, lanes)))

    def _selp(self) -> Do:
        a, b, which, put = self.get(1, self.op[1]), self.get(2, self.op[1]), self.get(3, "pred"), self.put()
        return lambda threads, lanes: put(threads, lanes, np.where(which(threads, lanes), a(threads, lanes), b(threads, lanes)))

    def _cvt(self) -> Do:
        to, of = self.op[-2], self.op[-1]
        if to in ("bf16x2", "f16x2"):
            bits = numbers.bf16_bits if to == "bf16x2" else numbers.f16_bits
            high, low, put = self.get(1, of), self.get(2, of), self.put()

            def pack(threads: "Threads", lanes: "Lanes") -> None:
                words = bits(high(threads, lanes)).astype(np.uint32) << np.uint32(16) | bits(low(threads, lanes))
                put(threads, lanes, words)

            return pack
        one, put = self.get(1, of), self.put()
        f: Callable[[Any], Any]
        if to == "tf32":
            f = partial(numbers.to_tf32, to_even="rn" in self.op)
        elif "sat" in self.op:
            f = numbers.saturated
        elif of[0] == "f" and to[0] in "us":
            if "rzi" not in self.op:
                raise PtxError("only towards zero")
            f = lambda a: numbers.truncated(a, KINDS[to])  # noqa: E731 - one of several
        elif of[0] == "f" and set(self.op) & {"rmi", "rni", "rzi", "rpi"}:
            f = {"rmi": np.floor, "rni": np.rint, "rzi": np.trunc, "rpi": np.ceil}[next(x for x in self.op if x[-1] == "i")]
        else:
            f = lambda a: np.asarray(a).astype(KINDS[to])  # noqa: E731
        return lambda threads, lanes: put(threads, lanes, f(one(threads, lanes)))

    def _cvta(self) -> Do:
        """Addresses of shared memory are small numbers and those of arrays are not, so that both are generic as they are."""
        one, put = self.get(1, self.op[-1]), self.put()
        return lambda threads, lanes: put(threads, lanes, one(threads, lanes))

    # ------------------------------------------------------------------------------------------------------------ memory

    def _address(self, i: int) -> tuple[Get, int]:
        found = self.operands[i]
        if not isinstance(found, Memory):
            raise PtxError("no address")
        width = "u32" if isinstance(found.base, Reg) and self.program.registers[found.base.name].endswith("32") else "u64"
        return getter(self.program, found.base, width), found.offset

    def _ld(self) -> Do:
        space, kind = self.op[1], self.op[-1]
        puts = [putter(self.program, r) for r in self.items(0)]
        if space == "param":
            found = self.operands[1]
            if not isinstance(found, Memory) or not isinstance(found.base, Name) or found.offset:
                raise PtxError("only whole parameters")
            name, dtype = found.base.name, KINDS[kind]
            return lambda threads, lanes: puts[0](threads, lanes, np.asarray(threads.parameters[name]).astype(dtype))
        (base, offset), dtype = self._address(1), KINDS[kind]
        load = {"global": "load_global", "shared": "load_shared"}[space]

        def do(threads: "Threads", lanes: "Lanes") -> None:
            at = lanes.of(base(threads, lanes), np.int64) + offset
            values = getattr(threads, load)(lanes, at, dtype, len(puts))
            for k, put in enumerate(puts):
                put(threads, lanes.exactly, values[:, k])

        return do

    def _st(self) -> Do:
        space, kind = self.op[1], self.op[-1]
        (base, offset), dtype = self._address(0), KINDS[kind]
        gets = [getter(self.program, r, kind) for r in self.items(1)]
        store = {"global": "store_global", "shared": "store_shared"}[space]

        def do(threads: "Threads", lanes: "Lanes") -> None:
            at = lanes.of(base(threads, lanes), np.int64) + offset
            values = np.stack([lanes.of(g(threads, lanes), dtype) for g in gets], 1)
            getattr(threads, store)(lanes, at, values)

        return do

    def _cp(self) -> Do:
        if self.op[1] != "async" or len(self.op) < 3:
            raise PtxError("no such copy")
        if self.op[2] == "commit_group":
            return lambda threads, lanes: threads.commit(lanes)
        if self.op[2] == "wait_group":
            (count,) = self.operands
            if not isinstance(count, Const):
                raise PtxError("a number of groups that is no constant")
            most = count.value
            return lambda threads, lanes: threads.wait(lanes, most)
        (to, to_offset), (of, of_offset), (width,) = self._address(0), self._address(1), self.operands[2:3]
        if not isinstance(width, Const) or "global" not in self.op:
            raise PtxError("no such copy")
        nbytes = width.value
        count_of = self.get(3, "u32") if len(self.operands) > 3 else None

        def do(threads: "Threads", lanes: "Lanes") -> None:
            counts = lanes.of(count_of(threads, lanes) if count_of else np.uint32(nbytes), np.int64)
            there = lanes.of(to(threads, lanes), np.int64) + to_offset
            threads.copy(lanes, there, lanes.of(of(threads, lanes), np.int64) + of_offset, nbytes, counts)

        return do

    # ------------------------------------------------------------------------------------------------------------- warps

    def _shfl(self) -> Do:
        if self.op[1:] != ("sync", "bfly", "b32"):
            raise PtxError("only bfly")
        value, step = self.get(1, "b32"), self.get(2, "u32")
        put = putter(self.program, self.items(0)[0])

        def do(threads: "Threads", lanes: "Lanes") -> None:
            warps.whole_warps(lanes.numbers, str(self.ins))
            of = lanes.of(value(threads, lanes), np.uint32)
            put(threads, lanes.exactly, warps.exchanged(of, lanes.of(step(threads, lanes), np.uint32)))

        return do

    def _ldmatrix(self) -> Do:
        if "x4" not in self.op or "m8n8" not in self.op:
            raise PtxError("only four matrices of 8 x 8")
        (base, offset), turned = self._address(1), "trans" in self.op
        puts = [putter(self.program, r) for r in self.items(0)]

        def do(threads: "Threads", lanes: "Lanes") -> None:
            warps.whole_warps(lanes.numbers, str(self.ins))
            at = lanes.of(base(threads, lanes), np.int64) + offset
            words = threads.load_shared(lanes, at, np.uint32, 4)
            rows = np.ascontiguousarray(words).view(np.uint16).reshape(-1, 4, 8, 8)
            for put, word in zip(puts, warps.fragments(rows, turned), strict=True):
                put(threads, lanes.exactly, word)

        return do

    def _mma(self) -> Do:
        shape, kind = self.op[3], self.op[7]
        if (shape, kind) not in {("m16n8k8", "tf32"), ("m16n8k16", "f16"), ("m16n8k16", "bf16")} or self.op[6] != "f32":
            raise PtxError("no such product")
        a, b, c = ([getter(self.program, r, t) for r in self.items(i)] for i, t in ((1, "b32"), (2, "b32"), (3, "f32")))
        puts = [putter(self.program, r) for r in self.items(0)]
        sides = ((a, np.uint32), (b, np.uint32), (c, np.float32))

        def do(threads: "Threads", lanes: "Lanes") -> None:
            warps.whole_warps(lanes.numbers, str(self.ins))
            left, right, held = ([lanes.of(g(threads, lanes), t) for g in gets] for gets, t in sides)
            for put, x in zip(puts, warps.product(left, right, held, kind), strict=True):
                put(threads, lanes.exactly, x)

        return do
