"""What an NFU's control processor reads: instructions of five fields, one for each unit, that take effect together.

Units and the names of operations are those of DianNao's re-implementations (CP, SB, NBin, NBout, NFU; NOP LOAD READ STORE MULT
ADD MAX RESET NBOUT NFU3). One instruction brings a chunk of synapses and a patch of an image, and walks over both:

    for each position p of the patch (positions_y x positions_x)            a row of NBout
        for each tap of the window (taps_y x taps_x), each row of maps      a cycle: a row of NBin, a row of SB
            sum[p] += neurons x synapses

DMA engines move boxes: rows x columns of pixels, `words` of each, `pitch` words from pixel to pixel and `row_pitch` from row to
row in memory. Rows of a buffer that are not full are filled up with zeros. Addresses count words. Every operand is a whole
number; a program is one array for each operand (`Program`), so that a million instructions cost no more than a few arrays.
`hw.nfu.asm` has them as text.

========= ================= =====================================================================================================
unit      operand           meaning
========= ================= =====================================================================================================
CP        end               1: the last instruction
SB        op                NOP, LOAD (bring `size` words from `address`, then read them), READ (read what is there again)
SB        reuse             1: all positions use the same rows; 0: every position has rows of its own
SB        address, size     words, packed in the order in which they are used: [position][tap][neuron][map] of what there is
NBin      op                NOP, LOAD, READ
NBin      address           of the first word of the box
NBin      rows, columns     pixels of the box
NBin      words             of each pixel; ceil(words / lanes) rows of NBin
NBin      row_pitch, pitch  words from row to row, from pixel to pixel
NBin      stride_y stride_x pixels from position to position
NBout     read_op           NOP; LOAD: bring `neurons` biases from `bias` to all rows that this instruction adds to
NBout     bias              address of the biases
NBout     write_op          NOP; STORE: move the outputs to memory
NBout     address           of the first word of the box of outputs
NBout     words             of each position that are stored
NBout     row_pitch, pitch  words from row to row, from position to position
NBout     begin             first row of NBout that is added to; position p's is begin + p, of pooling + positions x row of maps
NFU       nfu1              NOP, MULT
NFU       nfu2              ADD, MAX
NFU       nfu2_in           RESET: sums begin anew; NBOUT: with what is in NBout
NFU       nfu2_out          NBOUT: sums go to NBout; NFU3: also on to the function units
NFU       nfu3              NOP, LINEAR, RELU, TANH, SIGMOID
NFU       positions_y _x    positions of the patch
NFU       taps_y, taps_x    pixels of the window, or of a part of it
NFU       neurons           lanes of the result that are used
NFU       output_begin _end rows of NBout that go through the function units
========= ================= =====================================================================================================
"""

from collections.abc import Iterator, Mapping
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from graph.record import record
from hw.errors import HwError
from hw.nfu.layer import Function

Column = npt.NDArray[np.int64]


class Op(IntEnum):
    """Operations, of all units."""

    NOP = 0
    LOAD = 1
    READ = 2
    STORE = 3
    MULT = 4
    ADD = 5
    MAX = 6
    RESET = 7
    NBOUT = 8
    NFU3 = 9
    LINEAR = 10
    RELU = 11
    TANH = 12
    SIGMOID = 13


FUNCTIONS: Mapping[Function, Op] = {
    Function.LINEAR: Op.LINEAR,
    Function.RELU: Op.RELU,
    Function.TANH: Op.TANH,
    Function.SIGMOID: Op.SIGMOID,
}


@record
class Operand:
    """One operand of an instruction.

    Parameters
    ----------
    unit : whose field it stands in.
    name : inside of the field.
    choices : the operations that it can be; empty: a number.
    least : of a number.
    """

    unit: str
    name: str
    choices: tuple[Op, ...] = ()
    least: int = 0

    @property
    def key(self) -> str:
        """Name of its column, e.g. ``"nbin.op"``."""
        return f"{self.unit.lower()}.{self.name}"

    @property
    def most(self) -> int:
        """Of a number: 1 of a switch, 2^40 of what counts words of the memory, 2^20 of any other count."""
        if self.name in ("end", "reuse"):
            return 1
        return 1 << (40 if self.name in ("address", "size", "bias", "row_pitch", "pitch", "words") else 20)


UNITS = ("CP", "SB", "NBin", "NBout", "NFU")

OPERANDS: tuple[Operand, ...] = (
    Operand(unit="CP", name="end"),
    Operand(unit="SB", name="op", choices=(Op.NOP, Op.LOAD, Op.READ)),
    Operand(unit="SB", name="reuse"),
    Operand(unit="SB", name="address"),
    Operand(unit="SB", name="size"),
    Operand(unit="NBin", name="op", choices=(Op.NOP, Op.LOAD, Op.READ)),
    Operand(unit="NBin", name="address"),
    Operand(unit="NBin", name="rows", least=1),
    Operand(unit="NBin", name="columns", least=1),
    Operand(unit="NBin", name="words", least=1),
    Operand(unit="NBin", name="row_pitch"),
    Operand(unit="NBin", name="pitch"),
    Operand(unit="NBin", name="stride_y", least=1),
    Operand(unit="NBin", name="stride_x", least=1),
    Operand(unit="NBout", name="read_op", choices=(Op.NOP, Op.LOAD)),
    Operand(unit="NBout", name="bias"),
    Operand(unit="NBout", name="write_op", choices=(Op.NOP, Op.STORE)),
    Operand(unit="NBout", name="address"),
    Operand(unit="NBout", name="words"),
    Operand(unit="NBout", name="row_pitch"),
    Operand(unit="NBout", name="pitch"),
    Operand(unit="NBout", name="begin"),
    Operand(unit="NFU", name="nfu1", choices=(Op.NOP, Op.MULT)),
    Operand(unit="NFU", name="nfu2", choices=(Op.ADD, Op.MAX)),
    Operand(unit="NFU", name="nfu2_in", choices=(Op.RESET, Op.NBOUT)),
    Operand(unit="NFU", name="nfu2_out", choices=(Op.NBOUT, Op.NFU3)),
    Operand(unit="NFU", name="nfu3", choices=(Op.NOP, *FUNCTIONS.values())),
    Operand(unit="NFU", name="positions_y", least=1),
    Operand(unit="NFU", name="positions_x", least=1),
    Operand(unit="NFU", name="taps_y", least=1),
    Operand(unit="NFU", name="taps_x", least=1),
    Operand(unit="NFU", name="neurons", least=1),
    Operand(unit="NFU", name="output_begin"),
    Operand(unit="NFU", name="output_end"),
)
KEYS: tuple[str, ...] = tuple(o.key for o in OPERANDS)


class Program:
    """Instructions as columns.

    Parameters
    ----------
    columns : key of an operand (`KEYS`) -> i64, one for each instruction.
    scale : what function units multiply sums by before any function: 1 over the window of an average, else 1.

    Raises
    ------
    HwError : a column is missing, unknown, or of another length.
    """

    def __init__(self, columns: Mapping[str, Column], scale: float = 1.0) -> None:
        if set(columns) != set(KEYS):
            odd = sorted(set(columns) ^ set(KEYS))
            raise HwError(f"a program has a column for each operand and no other; missing or unknown: {', '.join(odd)}")
        self.columns = {k: np.ascontiguousarray(columns[k], np.int64) for k in KEYS}
        self.scale = scale
        lengths = {len(c) for c in self.columns.values()}
        if len(lengths) != 1:
            raise HwError(f"columns of a program are of one length, got {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.columns["cp.end"])

    def __getitem__(self, key: str) -> Column:
        return self.columns[key]

    def __iter__(self) -> Iterator[dict[str, int]]:
        """Instruction after instruction, key -> value."""
        for i in range(len(self)):
            yield {k: int(c[i]) for k, c in self.columns.items()}

    def table(self) -> npt.NDArray[np.int64]:
        """i64 [instructions, operands], operands in the order of `KEYS`."""
        return np.stack([self.columns[k] for k in KEYS], axis=1)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Program):
            return NotImplemented
        return self.scale == other.scale and all(np.array_equal(self[k], other[k]) for k in KEYS)

    __hash__ = None  # type: ignore[assignment]
