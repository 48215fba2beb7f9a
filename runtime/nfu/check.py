"""What no NFU could execute is refused before anything is: operations that do not go together, boxes that fit no buffer or lie
outside of the memory, rows that are read before they are loaded or summed.

Everything is decided for all instructions at once. Instructions are counted from 0.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from hw.errors import HwError
from hw.nfu.config import Nfu
from hw.nfu.isa import KEYS, OPERANDS, Op, Program

MOST = 1 << 20
"""The greatest count of anything: rows of the largest buffer."""

Flags = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]
_NAMES = dict(zip(KEYS, (f"{o.unit} {o.name}" for o in OPERANDS), strict=True))


def check(program: Program, nfu: Nfu, words: int) -> None:
    """Raise `HwError`, naming an instruction and its operand, unless `nfu` can execute a program on a memory of so many words."""
    if not len(program):
        raise HwError("a program has at least one instruction, the last of which has CP end = 1")
    _Check(program, nfu, words).run()


class _Check:
    """A program's derived columns, and the rules by what they are about."""

    def __init__(self, program: Program, nfu: Nfu, words: int) -> None:
        self.p, self.nfu, self.memory = program, nfu, words
        self.k = np.arange(len(program))

    def run(self) -> None:
        """All rules; each may count on those before it."""
        self._each_operand()
        self._end()
        p = self.p
        self.is_product: Flags = p["nfu.nfu1"] == Op.MULT
        self.stores: Flags = p["nbout.write_op"] == Op.STORE
        self._together()
        self.positions = p["nfu.positions_y"] * p["nfu.positions_x"]
        self.lanes = np.where(self.is_product, self.nfu.ti, min(self.nfu.ti, self.nfu.tn))
        self.map_rows = -(-p["nbin.words"] // self.lanes)
        self._neurons()
        self._synapses()
        self._sums()
        self._results()

    # --- telling ---

    def _refuse(self, key: str, wrong: Flags, right: str, **columns: Index) -> None:
        """Refuse the first instruction that is wrong; `right` may name columns by {name}, and the operand's value by {got}."""
        if wrong.any():
            k = int(np.argmax(wrong))
            values = {name: f"{int(c[k]):,}" for name, c in columns.items()}
            raise HwError(f"instruction {k}: {_NAMES[key]}: " + right.format(got=f"{int(self.p[key][k]):,}", **values))

    def _refuse_op(self, key: str, wrong: Flags, right: str) -> None:
        """The same of an operation."""
        if wrong.any():
            k = int(np.argmax(wrong))
            raise HwError(f"instruction {k}: {_NAMES[key]} is {Op(int(self.p[key][k])).name}: {right}")

    # --- rules ---

    def _each_operand(self) -> None:
        for o in OPERANDS:
            if o.choices:
                names = ", ".join(c.name for c in o.choices)
                self._refuse(o.key, ~np.isin(self.p[o.key], o.choices), f"no operation {{got}}; it can be {names}")
            else:
                wrong = (self.p[o.key] < o.least) | (self.p[o.key] > o.most)
                self._refuse(o.key, wrong, f"must lie between {o.least:,} and {o.most:,}, got {{got}}")

    def _end(self) -> None:
        is_last = self.k == len(self.p) - 1
        ends = self.p["cp.end"] == 1
        self._refuse("cp.end", ends & ~is_last, "is 1, but another instruction follows")
        self._refuse("cp.end", is_last & ~ends, "must be 1, for it is the last one")

    def _together(self) -> None:
        p, product, stores = self.p, self.is_product, self.stores
        biases, forgets = p["nbout.read_op"] == Op.LOAD, p["nfu.nfu2_in"] == Op.RESET
        to_functions, nothing = p["nfu.nfu2_out"] == Op.NFU3, p["nfu.nfu3"] == Op.NOP
        for key, wrong, right in (
            ("nbin.op", p["nbin.op"] == Op.NOP, "every walk reads NBin; LOAD or READ it"),
            ("sb.op", product & (p["sb.op"] == Op.NOP), "products need synapses; LOAD or READ them"),
            ("sb.op", ~product & (p["sb.op"] != Op.NOP), "without NFU nfu1 = MULT nothing reads SB; it must be NOP"),
            ("nfu.nfu2", product & (p["nfu.nfu2"] == Op.MAX), "products are added; it must be ADD"),
            ("nbout.read_op", biases & ~product, "only sums of products begin with a bias (NFU nfu1 = MULT)"),
            ("nbout.read_op", biases & forgets, "NFU nfu2_in = RESET would forget the biases; it must be NBOUT"),
            ("nfu.nfu2_out", to_functions & ~stores, "outputs of NFU-3 need NBout write_op = STORE"),
            ("nbout.write_op", stores & ~to_functions, "only outputs of NFU-3 are stored; NFU nfu2_out must be NFU3"),
            ("nfu.nfu3", nothing & to_functions, "NFU nfu2_out = NFU3 needs a function; LINEAR changes nothing"),
            ("nfu.nfu3", ~nothing & ~to_functions, "a function needs NFU nfu2_out = NFU3"),
        ):
            self._refuse_op(key, wrong, right)

    def _neurons(self) -> None:
        p = self.p
        for along, extent in (("y", "rows"), ("x", "columns")):
            need = (p[f"nfu.positions_{along}"] - 1) * p[f"nbin.stride_{along}"] + p[f"nfu.taps_{along}"]
            right = f"the walk needs {{need}} {extent} of the box, got {{got}}"
            self._refuse(f"nbin.{extent}", need > p[f"nbin.{extent}"], right, need=need)
        rows = np.minimum(p["nbin.rows"] * p["nbin.columns"], MOST + 1) * np.minimum(self.map_rows, MOST + 1)
        right = f"the box takes {{rows}} rows, and NBin has {self.nfu.nbin_rows:,}"
        self._refuse("nbin.rows", rows > self.nfu.nbin_rows, right, rows=rows)
        loads = p["nbin.op"] == Op.LOAD
        self._loaded("nbin.op", loads, rows, "NBin")
        last = (p["nbin.rows"] - 1) * p["nbin.row_pitch"] + (p["nbin.columns"] - 1) * p["nbin.pitch"] + p["nbin.words"] - 1
        self._inside("nbin.address", loads, last)

    def _synapses(self) -> None:
        p, product = self.p, self.is_product
        most = np.where(product, self.nfu.tn, self.lanes)
        self._refuse("nfu.neurons", p["nfu.neurons"] > most, "there are {most} lanes, got {got}", most=most)
        copies = np.where(p["sb.reuse"] == 1, 1, np.minimum(self.positions, MOST))
        taps = np.where(product, p["nfu.taps_y"] * p["nfu.taps_x"], 0)
        rows = np.minimum(taps * self.map_rows, MOST + 1) * copies
        right = f"the walk takes {{rows}} rows, and SB has {self.nfu.sb_rows:,}"
        self._refuse("sb.size", rows > self.nfu.sb_rows, right, rows=rows)
        loads = p["sb.op"] == Op.LOAD
        size = np.where(loads, taps * copies * p["nbin.words"] * p["nfu.neurons"], 0)
        self._refuse("sb.size", loads & (p["sb.size"] != size), "the walk uses {size} words, got {got}", size=size)
        self._loaded("sb.op", loads, rows, "SB")
        self._inside("sb.address", loads, p["sb.size"] - 1)

    def _sums(self) -> None:
        p = self.p
        many = np.where(self.is_product, self.positions, np.minimum(self.positions, MOST + 1) * self.map_rows)
        end = p["nbout.begin"] + many
        right = f"the walk adds to rows {{got}} to {{end}}, and NBout has {self.nfu.nbout_rows:,}"
        self._refuse("nbout.begin", end > self.nfu.nbout_rows, right, end=end - 1)
        self._inside("nbout.bias", p["nbout.read_op"] == Op.LOAD, p["nfu.neurons"] - 1)
        begun = _first(
            self.nfu.nbout_rows, p["nbout.begin"], end, (p["nfu.nfu2_in"] == Op.RESET) | (p["nbout.read_op"] == Op.LOAD)
        )
        goes_on = (p["nfu.nfu2_in"] == Op.NBOUT) & (p["nbout.read_op"] == Op.NOP)
        wrong = _too_early(begun, p["nbout.begin"], end, goes_on)
        self._refuse_op(
            "nfu.nfu2_in", wrong, "the walk adds to rows of NBout that hold nothing yet; begin with RESET or with biases"
        )
        self.begun = begun

    def _results(self) -> None:
        p, stores = self.p, self.stores
        begin, end = p["nfu.output_begin"], p["nfu.output_end"]
        width = np.where(self.is_product, self.nfu.tn, self.lanes)
        rows = np.where(stores, self.positions * -(-p["nbout.words"] // width), 0)
        self._refuse("nbout.words", stores & (p["nbout.words"] < 1), "STORE takes at least 1 word of each position, got {got}")
        right = "{rows} rows go through the function units, so it must be {want}, got {got}"
        self._refuse("nfu.output_end", end - begin != rows, right, rows=rows, want=begin + rows)
        self._refuse("nfu.output_end", end > self.nfu.nbout_rows, f"NBout has {self.nfu.nbout_rows:,} rows, got {{got}}")
        wrong = _too_early(self.begun, begin, end, stores)
        self._refuse("nfu.output_begin", wrong, "of rows {got} to {last} of NBout not all hold a sum", last=end - 1)
        y, x = p["nfu.positions_y"] - 1, p["nfu.positions_x"] - 1
        self._inside("nbout.address", stores, y * p["nbout.row_pitch"] + x * p["nbout.pitch"] + p["nbout.words"] - 1)

    def _loaded(self, key: str, loads: Flags, rows: Index, buffer: str) -> None:
        have = np.maximum.accumulate(np.where(loads, rows, 0))
        right = f"the walk reads {{rows}} rows of {buffer}, and {{have}} have been loaded"
        wrong = (rows > have) & ~loads
        if wrong.any():
            k = int(np.argmax(wrong))
            self._refuse_op(key, wrong, right.format(rows=f"{int(rows[k]):,}", have=f"{int(have[k]):,}"))

    def _inside(self, key: str, moves: Flags, last: Index) -> None:
        end = self.p[key] + last
        right = f"words {{got}} to {{end}} are moved, and the memory has {self.memory:,}"
        self._refuse(key, moves & (end >= self.memory), right, end=end)


def _spans(begin: Index, end: Index, which: Flags) -> Iterable[tuple[int, int, int]]:
    """Different ranges of rows among instructions: begin, end, and the first instruction that has it."""
    at = np.flatnonzero(which)
    keys, first = np.unique(begin[at] * (4 * MOST) + end[at], return_index=True)
    yield from zip((keys // (4 * MOST)).tolist(), (keys % (4 * MOST)).tolist(), at[first].tolist(), strict=True)


def _first(rows: int, begin: Index, end: Index, which: Flags) -> Index:
    """Of each row of NBout the first instruction that begins a sum in it."""
    found = np.full(rows, np.iinfo(np.int64).max)
    for b, e, k in _spans(begin, end, which):
        found[b:e] = np.minimum(found[b:e], k)
    return found


def _too_early(begun: Index, begin: Index, end: Index, which: Flags) -> Flags:
    """Instructions that use rows before a sum has begun in all of them. Later uses of the same rows are no earlier."""
    wrong = np.zeros(len(begin), np.bool_)
    for b, e, k in _spans(begin, end, which):
        wrong[k] = e > b and int(begun[b:e].max()) > k
    return wrong
