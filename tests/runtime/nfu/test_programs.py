"""The machine = an interpreter that takes instruction by instruction, number by number, and trips over what is not there.

Both see the same programs: of layers, made up, and spoilt. What the check lets pass, the interpreter must be able to do.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from graph.fixed_point import Fixed, Rounding
from hw.errors import HwError
from hw.nfu.config import Arithmetic, Cut, Nfu, Overflow
from hw.nfu.isa import FUNCTIONS, KEYS, OPERANDS, Op, Program
from hw.nfu.layer import Kind, Layer, Pooling
from hw.nfu.lower import lower, places
from hw.nfu.nest import Nest, Schedule
from runtime.nfu.check import check
from runtime.nfu.machine import run

SETTINGS = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
NEUTRAL = {o.key: int(o.choices[0]) if o.choices else o.least for o in OPERANDS}
FUNCTION = {int(op): function for function, op in FUNCTIONS.items()}


class Interpreter:
    """Buffers are dicts from a row (of SB and NBin also a lane) to a number, so what was never written is a KeyError."""

    def __init__(self, program: Program, nfu: Nfu, naive: Any, memory: list[int]) -> None:
        self.program, self.nfu, self.memory = program, nfu, memory
        self.n = naive(nfu, program.scale)
        self.nbin: dict[tuple[int, int], int] = {}
        self.sb: dict[tuple[int, int, int], int] = {}
        self.nbout: dict[int, list[int]] = {}

    def word(self, at: int) -> int:
        assert at >= 0
        return self.memory[at]

    def run(self) -> None:
        for k, now in enumerate(self.program):
            self.draw: Callable[[int, int, int], int] = self.n.generator(k)
            is_product = now["nfu.nfu1"] == Op.MULT
            self.width = self.nfu.ti if is_product else min(self.nfu.ti, self.nfu.tn)
            self.map_rows = -(-now["nbin.words"] // self.width)
            if now["sb.op"] == Op.LOAD:
                self.load_synapses(now)
            if now["nbin.op"] == Op.LOAD:
                self.load_neurons(now)
            self.begin(now, is_product)
            for cycle, (sums, row, synapses) in enumerate(self.walk(now, is_product)):
                for n in range(now["nfu.neurons"]):
                    self.add(now, sums, n, row, synapses, cycle)
            if now["nbout.write_op"] == Op.STORE:
                self.finish(now, is_product)
            assert (k == len(self.program) - 1) == bool(now["cp.end"])
        assert max(self.nbout) < self.nfu.nbout_rows
        assert max(r for r, _ in self.nbin) < self.nfu.nbin_rows
        assert max((r for r, _, _ in self.sb), default=0) < self.nfu.sb_rows

    def load_synapses(self, now: dict[str, int]) -> None:
        taps = now["nfu.taps_y"] * now["nfu.taps_x"]
        places = 1 if now["sb.reuse"] else now["nfu.positions_y"] * now["nfu.positions_x"]
        at = now["sb.address"]
        for tap in range(places * taps):
            for m in range(self.map_rows):
                self.sb.update({(tap * self.map_rows + m, n, i): 0 for n in range(self.nfu.tn) for i in range(self.nfu.ti)})
            for n in range(now["nfu.neurons"]):
                for i in range(now["nbin.words"]):
                    self.sb[tap * self.map_rows + i // self.nfu.ti, n, i % self.nfu.ti] = self.n.word(self.word(at), True)
                    at += 1
        assert at == now["sb.address"] + now["sb.size"]

    def load_neurons(self, now: dict[str, int]) -> None:
        for y in range(now["nbin.rows"]):
            for x in range(now["nbin.columns"]):
                first = (y * now["nbin.columns"] + x) * self.map_rows
                at = now["nbin.address"] + y * now["nbin.row_pitch"] + x * now["nbin.pitch"]
                for m in range(self.map_rows):
                    self.nbin.update({(first + m, i): 0 for i in range(self.nfu.ti)})
                for i in range(now["nbin.words"]):
                    self.nbin[first + i // self.width, i % self.width] = self.n.word(self.word(at + i))

    def begin(self, now: dict[str, int], is_product: bool) -> None:
        """What the sums are before the walk; None: nothing to compare with yet."""
        rows = now["nfu.positions_y"] * now["nfu.positions_x"] * (1 if is_product else self.map_rows)
        for row in range(now["nbout.begin"], now["nbout.begin"] + rows):
            if now["nbout.read_op"] == Op.LOAD:
                words = [self.word(now["nbout.bias"] + n) for n in range(now["nfu.neurons"])]
                self.nbout[row] = [self.n.bias(w) for w in words] + [0] * (self.nfu.tn - len(words))
            elif now["nfu.nfu2_in"] == Op.RESET:
                self.nbout[row] = [0] * self.nfu.tn
                if now["nfu.nfu2"] == Op.MAX:
                    self.nbout[row][: now["nfu.neurons"]] = [self.nfu.neuron.lowest] * now["nfu.neurons"]

    def walk(self, now: dict[str, int], is_product: bool) -> Iterator[tuple[list[int], int, int]]:
        """Cycle after cycle: a row of NBout, and the numbers of one of NBin and one of SB."""
        positions = now["nfu.positions_y"] * now["nfu.positions_x"]
        taps = now["nfu.taps_y"] * now["nfu.taps_x"]
        for p in range(positions):
            py, px = divmod(p, now["nfu.positions_x"])
            for tap in range(taps):
                ty, tx = divmod(tap, now["nfu.taps_x"])
                y, x = py * now["nbin.stride_y"] + ty, px * now["nbin.stride_x"] + tx
                assert y < now["nbin.rows"] and x < now["nbin.columns"]
                for m in range(self.map_rows):
                    synapses = (0 if now["sb.reuse"] else p * taps) + tap
                    sums = self.nbout[now["nbout.begin"] + p + (0 if is_product else positions * m)]
                    yield sums, (y * now["nbin.columns"] + x) * self.map_rows + m, synapses * self.map_rows + m

    def add(self, now: dict[str, int], sums: list[int], n: int, row: int, synapses: int, cycle: int) -> None:
        if now["nfu.nfu1"] == Op.MULT:
            lanes = range(self.nfu.ti)
            neurons, weights = [self.nbin[row, i] for i in lanes], [self.sb[synapses, n, i] for i in lanes]
            sums[n] = self.n.add(sums[n], self.n.tree(neurons, weights, lambda i: self.draw(cycle, n, i)))
        elif now["nfu.nfu2"] == Op.MAX:
            sums[n] = max(sums[n], self.nbin[row, n])
        else:
            sums[n] = self.n.add(sums[n], self.nbin[row, n])

    def finish(self, now: dict[str, int], is_product: bool) -> None:
        function, tn = FUNCTION[now["nfu.nfu3"]], self.nfu.tn
        for k, row in enumerate(range(now["nfu.output_begin"], now["nfu.output_end"])):
            sums = self.nbout[row]
            draws = [(lambda n=n, k=k: self.draw(k, n, 0)) if is_product else None for n in range(tn)]
            self.nbout[row] = [self.n.output(s, function, d) for s, d in zip(sums, draws, strict=True)]
        positions, width = now["nfu.positions_y"] * now["nfu.positions_x"], tn if is_product else self.width
        for p in range(positions):
            y, x = divmod(p, now["nfu.positions_x"])
            at = now["nbout.address"] + y * now["nbout.row_pitch"] + x * now["nbout.pitch"]
            for i in range(now["nbout.words"]):
                row = now["nfu.output_begin"] + i // width * positions + p
                assert row < now["nfu.output_end"]
                assert at + i >= 0
                self.memory[at + i] = self.nbout[row][i % width]


def compare(program: Program, nfu: Nfu, naive: Any, words: int, seed: int) -> None:
    """Both on the same memory, of numbers small and large."""
    draws = np.random.default_rng(seed)
    memory = (draws.integers(-(1 << 15), 1 << 15, words) >> draws.integers(0, 12, words)).astype(np.int16)
    mine: list[int] = memory.tolist()
    run(program, nfu, memory)
    Interpreter(program, nfu, naive, mine).run()
    np.testing.assert_array_equal(memory, mine)


@st.composite
def nfus(draw: st.DrawFn, rows: int = 1 << 20) -> Nfu:
    """Narrow ones, with every arithmetic that there is; adders so narrow that they overflow again and again."""
    neuron, synapse = (
        Fixed(bits=b, fraction=draw(st.integers(0, b - 1))) for b in draw(st.sampled_from([(8, 8), (16, 16), (6, 4)]))
    )
    cut = draw(st.sampled_from(Cut))
    product = draw(st.integers(3, 20)) if cut is Cut.PRODUCT else neuron.bits + synapse.bits
    arithmetic = Arithmetic(
        cut=cut,
        rounding=draw(st.sampled_from(Rounding)),
        product_bits=product,
        tree_bits=draw(st.integers(2, 26)),
        sum_bits=draw(st.integers(2, 30)),
        overflow=draw(st.sampled_from(Overflow)),
        seed=draw(st.sampled_from([0, 1, 2**63 - 1])),
    )
    sizes = dict.fromkeys(("nbin_rows", "nbout_rows", "sb_rows"), rows)
    return Nfu(
        tn=draw(st.integers(1, 5)), ti=draw(st.integers(1, 6)), neuron=neuron, synapse=synapse, arithmetic=arithmetic, **sizes
    )


LAYERS = (
    Layer(name="a", kind=Kind.CONV, nx=4, ny=4, kx=2, ky=3, ni=5, no=4, has_bias=True),
    Layer(name="b", kind=Kind.CONV, nx=4, ny=3, kx=2, ky=2, sx=2, ni=4, no=6, groups=2, is_private=True),
    Layer(name="c", kind=Kind.CLASSIFIER, nx=2, ni=9, no=5),
    Layer(name="d", kind=Kind.POOL, nx=4, ny=4, kx=2, ky=2, sx=2, sy=2, ni=7, no=7),
    Layer(name="e", kind=Kind.POOL, nx=4, ny=4, kx=2, ky=2, sx=1, sy=2, ni=7, no=7, pooling=Pooling.AVERAGE),
)


@st.composite
def lowered(draw: st.DrawFn) -> tuple[Program, Nfu, int]:
    """A program of a layer, an NFU that it fits exactly, and the words of its memory."""
    layer, nfu = draw(st.sampled_from(LAYERS)), draw(nfus())
    rows, columns = draw(st.integers(1, min(2, layer.oy))), draw(st.integers(1, min(2, layer.ox)))
    least = Schedule(rows=rows, columns=columns, window_columns=draw(st.integers(1, layer.kx)))
    nest = Nest(layer, nfu, least)
    sizes = {"nbin_rows": nest.rows.nbin, "nbout_rows": nest.rows.nbout, "sb_rows": max(1, nest.rows.sb)}
    fitting = Nfu(tn=nfu.tn, ti=nfu.ti, neuron=nfu.neuron, synapse=nfu.synapse, arithmetic=nfu.arithmetic, **sizes)
    where, words = places(layer)
    return lower(Nest(layer, fitting, least), where), fitting, words


@SETTINGS
@given(lowered(), st.integers(0, 2**32))
def test_programs_of_layers(naive: Any, case: tuple[Program, Nfu, int], seed: int) -> None:
    program, nfu, words = case
    compare(program, nfu, naive, words, seed)


@SETTINGS
@given(st.data(), lowered(), st.integers(0, 2**32))
def test_spoilt_programs_are_refused_or_executed(
    naive: Any, data: st.DataObject, case: tuple[Program, Nfu, int], seed: int
) -> None:
    program, nfu, words = case
    columns = {k: program[k].copy() for k in KEYS}
    for _ in range(data.draw(st.integers(1, 3))):
        o = data.draw(st.sampled_from(OPERANDS))
        k = data.draw(st.integers(0, len(program) - 1))
        old = int(columns[o.key][k])
        near = st.sampled_from([old - 1, old + 1, 0, 1, 2, 2 * old, -old, old + words, o.most, o.most + 1, 2**62])
        columns[o.key][k] = data.draw(st.sampled_from(o.choices) if o.choices else near)
    spoilt = Program(columns, program.scale)
    try:
        check(spoilt, nfu, words)
    except HwError:
        return
    compare(spoilt, nfu, naive, words, seed)


def instruction(draw: st.DrawFn, nfu: Nfu, words: int, begun: set[int]) -> dict[str, int]:
    """Anything that NFU-1 and NFU-2 can do; `begun` are the rows of NBout that hold something."""

    def count(most: int, least: int = 1) -> int:
        return draw(st.integers(least, most))

    is_product = draw(st.booleans())
    width = nfu.ti if is_product else min(nfu.ti, nfu.tn)
    now = {**NEUTRAL, "nfu.positions_y": count(2), "nfu.positions_x": count(2), "nfu.taps_y": count(2), "nfu.taps_x": count(2)}
    now |= {"nbin.words": count(2 * width), "nbin.stride_y": count(2), "nbin.stride_x": count(2)}
    for along, extent in (("y", "rows"), ("x", "columns")):
        walked = (now[f"nfu.positions_{along}"] - 1) * now[f"nbin.stride_{along}"] + now[f"nfu.taps_{along}"]
        now[f"nbin.{extent}"] = walked + draw(st.integers(0, 1))
    now |= {"nbin.op": draw(st.sampled_from([Op.LOAD, Op.READ])), "nbin.address": count(99), "nbin.row_pitch": count(20, 0)}
    now |= {
        "nbin.pitch": count(9, 0),
        "nfu.neurons": count(nfu.tn if is_product else width),
        "nfu.nfu1": Op.MULT if is_product else Op.NOP,
    }
    positions, map_rows = now["nfu.positions_y"] * now["nfu.positions_x"], -(-now["nbin.words"] // width)
    if is_product:
        now |= {"sb.op": draw(st.sampled_from([Op.LOAD, Op.READ])), "sb.reuse": draw(st.integers(0, 1)), "sb.address": count(99)}
        now["sb.size"] = now["nfu.taps_y"] * now["nfu.taps_x"] * now["nbin.words"] * now["nfu.neurons"]
        now["sb.size"] *= 1 if now["sb.reuse"] else positions
    else:
        now["nfu.nfu2"] = draw(st.sampled_from([Op.ADD, Op.MAX]))
    now["nbout.begin"] = count(4, 0)
    rows = set(range(now["nbout.begin"], now["nbout.begin"] + positions * (1 if is_product else map_rows)))
    if is_product and draw(st.booleans()):
        now |= {"nbout.read_op": Op.LOAD, "nbout.bias": count(99), "nfu.nfu2_in": Op.NBOUT}
    elif rows <= begun:
        now["nfu.nfu2_in"] = draw(st.sampled_from([Op.RESET, Op.NBOUT]))
    begun |= rows
    stored = count(2 * nfu.tn)
    first = count(4, 0)
    last = first + positions * -(-stored // (nfu.tn if is_product else width))
    if set(range(first, last)) <= begun and draw(st.booleans()):
        now |= {
            "nbout.write_op": Op.STORE,
            "nbout.address": count(words // 2),
            "nbout.words": stored,
            "nbout.row_pitch": count(40, 0),
        }
        now |= {"nbout.pitch": count(20, 0), "nfu.nfu2_out": Op.NFU3, "nfu.nfu3": draw(st.sampled_from(sorted(FUNCTION)))}
        now |= {"nfu.output_begin": first, "nfu.output_end": last}
    return now


@SETTINGS
@given(st.data(), nfus(rows=40), st.sampled_from([1.0, 0.25, 1 / 9]), st.integers(0, 2**32))
def test_made_up_programs(naive: Any, data: st.DataObject, nfu: Nfu, scale: float, seed: int) -> None:
    words = 900
    begun: set[int] = set()

    @st.composite
    def some(draw: st.DrawFn) -> list[dict[str, int]]:
        return [instruction(draw, nfu, words, begun) for _ in range(draw(st.integers(1, 5)))]

    rows = data.draw(some())
    rows[0]["nbin.op"] = Op.LOAD
    rows[0]["sb.op"] = Op.LOAD if rows[0]["nfu.nfu1"] == Op.MULT else Op.NOP
    rows[-1]["cp.end"] = 1
    program = Program({k: np.array([r[k] for r in rows], np.int64) for k in KEYS}, scale)
    try:
        check(program, nfu, words)
    except HwError as e:  # more rows are read than were loaded, or than there are: no other rule is broken
        assume("READ" not in str(e) and "has 40" not in str(e))
        raise
    compare(program, nfu, naive, words, seed)


@pytest.mark.parametrize(
    "operands", [{"sb.op": Op.READ}, {"nbin.op": Op.READ}, {"nbout.read_op": Op.LOAD, "nfu.nfu2_in": Op.NBOUT}]
)
def test_what_a_box_leaves_over_is_zeros(naive: Any, operands: dict[str, int]) -> None:
    """The second instruction loads less than the first one did: into NBin, SB or NBout. The third reads all of the rows."""
    full = {
        "sb.op": Op.LOAD,
        "sb.reuse": 1,
        "sb.size": 16,
        "nbin.op": Op.LOAD,
        "nbin.words": 4,
        "nfu.nfu1": Op.MULT,
        "nfu.neurons": 4,
    }
    stored = {"nbout.write_op": Op.STORE, "nbout.words": 4, "nfu.nfu2_out": Op.NFU3, "nfu.nfu3": Op.LINEAR, "nfu.output_end": 1}
    less = {"nbin.words": 2, "nfu.neurons": 2, "sb.size": 4, **operands}
    again = {"sb.op": Op.READ, "nbin.op": Op.READ, "nbout.address": 80, "cp.end": 1}
    first = {**NEUTRAL, **full, **stored, "nbout.address": 60}
    rows = [first, {**first, **less, "nbout.address": 70}, {**first, **again}]
    program = Program({k: np.array([r[k] for r in rows], np.int64) for k in KEYS})
    compare(program, Nfu(tn=4, ti=4, neuron=Fixed(bits=16, fraction=0), synapse=Fixed(bits=16, fraction=0)), naive, 90, 5)
