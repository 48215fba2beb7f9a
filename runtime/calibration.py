"""Times kernels one by one, in the state in which a graph would find them. A process of its own: JSON on stdin, JSON on stdout.

State. Timing one kernel over and over finds everything in the nearest cache and comes out 9 to 14 % low. Here kernels of like
footprint form chains, as the layers of one net do; a chain is played again and again, each kernel's freshest operand is written
anew just before (as its producer would), and the other operands were last touched one round ago.

Nets that fit the core's own caches find more there than others: so chains are made in two sizes (`hw.profile.SMALL`, `LARGE`).

What is timed is only kernels over `KernelRecord.sizes()`, a committed grid that shares no shape with the zoo. Never a model.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graph.ir import Phase
from graph.op import OPS, Size, Work
from graph.record import record
from graph.tensor_type import DType, TensorType
from hw.kernels.record import KERNELS, Call, KernelRecord
from runtime.kernels.table import address, block, load_families
from runtime.measure import memory_bytes_per_second
from runtime.native import SYSTEM, call, die_with_parent, native, now_ns, peek, poke

CHAIN_NBYTES = 1 << 20  # least footprint of a chain: what a step of a net touches that does not stay in a core's own caches
SMALL_NBYTES = 192 << 10  # and of one that does stay there
CHAIN_ITEMS = 48
VISITS = 5
ALIGN = 64
GRADIENTS = ("dy", "g")  # operands that hold an incoming gradient


def call_of(kernel: KernelRecord, size: Size) -> tuple[Call, tuple[TensorType, ...]]:
    """A call of this size outside any graph, and the types of what it writes."""
    if kernel.op in OPS:
        op = OPS[kernel.op]
        attrs = {**op.attrs, **size.attrs}
        plain = {k: v for k, v in attrs.items() if k != "epilogue"}
        outputs = op.infer(size.types[: op.operands(len(size.types))], plain)
        reads = len(size.types)
    else:  # kernels on buffers: the input copy writes what it is given types of, the sum of micro-batches its first operand
        attrs, outputs = dict(size.attrs), size.types if kernel.op == "input" else size.types[:1]
        reads = 0 if kernel.op == "input" else len(size.types)
    made = Call(
        kernel=kernel.name,
        nodes=(),
        fused=(),
        reads=tuple(f"r{i}" for i in range(reads)),
        writes=tuple(f"w{i}" for i in range(len(outputs))),
        types=tuple(size.types),
        attrs=attrs,
        work=Work(),
        workspace=kernel.workspace(size.types, attrs),
        layer="",
        phase=Phase.FORWARD,
    )
    return made, tuple(outputs)


@record
class Item:
    """One kernel at one size of the grid."""

    kernel: str
    index: int
    call: Call
    outputs: tuple[TensorType, ...]

    @property
    def nbytes(self) -> int:
        """Footprint; what is written in place counts once."""
        written = [t for k, t in enumerate(self.outputs) if k not in self.in_place]
        return sum(t.nbytes + ALIGN for t in (*self.call.types, *written)) + self.call.workspace

    @property
    def in_place(self) -> Mapping[int, int]:
        """Output -> operand that it overwrites, as `hw.lower` lays them out."""
        op = KERNELS[self.kernel].op
        return OPS[op].aliases if op in OPS else {0: 0} if op == "accumulate" else {}

    @property
    def fresh(self) -> int:
        """Which operand its producer has just written: the incoming gradient where there is one, else the first."""
        operands = OPS[KERNELS[self.kernel].op].inputs if KERNELS[self.kernel].op in OPS else ()
        for name in GRADIENTS:
            if name in operands:
                return operands.index(name)
        return 1 if self.call.attrs.get("ta") is True else 0


def items(names: Sequence[str]) -> list[Item]:
    """The grid of these kernels."""
    found = []
    for name in names:
        for index, size in enumerate(KERNELS[name].sizes()):
            made, outputs = call_of(KERNELS[name], size)
            found.append(Item(kernel=name, index=index, call=made, outputs=outputs))
    return found


def chains(grid: Sequence[Item], seed: int, nbytes: int) -> list[list[Item]]:
    """Kernels of like footprint together, in an order drawn by the seed.

    A chain ends when it holds more than `nbytes` or `CHAIN_ITEMS`; so the large ones never stand alone, where each would find its
    operands in the cache, and the last chain may borrow from the one before.
    """
    rng = np.random.default_rng(seed)
    found: list[list[Item]] = [[]]
    for item in sorted(grid, key=lambda i: (i.nbytes, i.kernel, i.index)):
        if sum(i.nbytes for i in found[-1]) > nbytes or len(found[-1]) >= CHAIN_ITEMS:
            found.append([])
        found[-1].append(item)
    if len(found) > 1 and sum(i.nbytes for i in found[-1]) <= nbytes:
        found[-2:] = [found[-2] + found[-1]]
    return [[chain[k] for k in rng.permutation(len(chain))] for chain in found]


class Chain:
    """A chain bound to memory and code, ready to be played."""

    def __init__(self, chain: Sequence[Item], seed: int, is_small: bool) -> None:
        self.items, self.is_small = list(chain), is_small
        rng = np.random.default_rng(seed)
        self._arena = np.zeros(sum(i.nbytes + 2 * ALIGN for i in chain) + (1 << 12), np.uint8)
        self._at = self._arena.ctypes.data + (-self._arena.ctypes.data % ALIGN)
        self._blocks = []
        function, argument, touch, words = [], [], [], []
        for item in chain:
            reads = [self._place(t, rng) for t in item.call.types] if item.call.reads else []
            held = item.in_place
            writes = [reads[held[k]] if k in held else self._place(t, None) for k, t in enumerate(item.outputs)]
            if KERNELS[item.kernel].op == "input":
                reads = [self._place(t, rng) for t in item.outputs]
            workspace = self._take(item.call.workspace)
            self._blocks.append(block(item.call, [*reads, *writes, workspace]))
            function.append(address(item.kernel))
            argument.append(self._blocks[-1].ctypes.data)
            fresh = min(item.fresh, len(reads) - 1)
            touch.append(reads[fresh] if reads else 0)
            words.append(item.call.types[fresh].nbytes // 8 if reads else 0)
        self._table = [np.array(x, np.int64) for x in (function, argument, touch, words)]

    def _take(self, nbytes: int) -> int:
        at, self._at = self._at, self._at + nbytes + (-nbytes % ALIGN)
        return at

    def _place(self, t: TensorType, rng: np.random.Generator | None) -> int:
        at = self._take(t.nbytes)
        start = at - self._arena.ctypes.data
        view = self._arena[start : start + t.nbytes].view(t.dtype.numpy)
        if rng is not None and t.dtype is DType.F32:
            view[:] = rng.standard_normal(t.size, np.float32) * np.float32(0.1)
        return at

    def play(self, rounds: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Nanoseconds, [rounds, kernels]."""
        out = np.zeros((rounds, len(self.items)), np.int64)
        function, argument, touch, words = self._table
        _play(function, argument, touch, words, 0, SYSTEM.clock_gettime, out)
        return out


@native
def rewrite(at: int, words: int, mask: int) -> None:
    """Write words anew, combined with a mask. A mask of 0 keeps them, but the compiler must not know that it is 0: it would leave
    out a store of what was just loaded.
    """
    for w in range(words):
        poke(at + 8 * w, peek(at + 8 * w) ^ mask)


@native
def _play(function: Any, argument: Any, touch: Any, words: Any, mask: int, clock: int, out: Any) -> None:
    for r in range(out.shape[0]):
        for i in range(out.shape[1]):
            rewrite(touch[i], words[i], mask)
            start = now_ns(clock)
            call(function[i], argument[i])
            out[r, i] = now_ns(clock) - start


@native
def _empty(clock: int, out: Any) -> None:
    for r in range(out.size):
        start = now_ns(clock)
        out[r] = now_ns(clock) - start


def prepare(names: Sequence[str], seed: int) -> list[Chain]:
    """The chains of these kernels' grid, bound, and played once: all code is loaded, all memory touched."""
    load_families()
    grid = items(names)
    small = [i for i in grid if i.nbytes <= SMALL_NBYTES // 2]
    found = [(c, False) for c in chains(grid, seed, CHAIN_NBYTES)] + [(c, True) for c in chains(small, seed, SMALL_NBYTES) if c]
    bound = [Chain(c, seed + k, is_small) for k, (c, is_small) in enumerate(found)]
    for c in bound:
        c.play(1)
    return bound


def measure(bound: Sequence[Chain], *, seconds: float) -> Iterator[dict[str, Any]]:
    """Time chains for about so many seconds; yields one row a kernel and size.

    Chains are visited several times, far apart, so that a slow moment of the machine does not fall on one of them alone;
    ``repeat`` is the relative standard deviation between the visits.
    """
    clock = np.zeros(2001, np.int64)
    _empty(SYSTEM.clock_gettime, clock)
    timer = float(np.median(clock))
    once = [max(float(np.median(c.play(3).sum(1))), 1.0) * 1e-9 for c in bound]
    share = seconds / len(bound) / VISITS
    seen: list[list[Any]] = [[] for _ in bound]
    for _ in range(VISITS):
        for k, c in enumerate(bound):
            rounds = int(min(max(share / once[k], 4), 400))
            seen[k].append(c.play(rounds + 1)[1:])  # the first round finds cold caches
    for c, blocks in zip(bound, seen, strict=True):
        times = np.maximum(np.concatenate(blocks).astype(float) - timer, 1.0) * 1e-9
        visits = np.array([np.median(b, axis=0) for b in blocks])
        repeat = visits.std(axis=0) / np.median(visits, axis=0)
        for i, item in enumerate(c.items):
            low, middle, high = map(float, np.quantile(times[:, i], (0.1, 0.5, 0.9)))  # in this order even where all are equal
            yield {
                "kernel": item.kernel,
                "size": item.index,
                "small": c.is_small,
                "median_s": middle,
                "p10_s": low,
                "p90_s": high,
                "repeat": float(repeat[i]),
                "rounds": len(times),
            }


def main() -> int:
    """Read ``{"kernels", "seconds", "seed", "cpu"}``, say ``ready``, wait, print ``{"memory_bytes_per_s", "rows"}``."""
    die_with_parent()
    job = json.loads(sys.stdin.readline())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {job["cpu"]})
    bound = prepare(job["kernels"], job["seed"])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()  # all begin together
    found = {"memory_bytes_per_s": memory_bytes_per_second(), "rows": list(measure(bound, seconds=job["seconds"]))}
    json.dump(found, sys.stdout, allow_nan=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
