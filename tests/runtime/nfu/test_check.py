"""What an NFU cannot execute is refused by the instruction's number and the operand, and nothing of it is executed."""

import numpy as np
import pytest

from hw.errors import HwError
from hw.nfu.config import Nfu
from hw.nfu.isa import KEYS, Op, Program
from hw.nfu.layer import Function, Kind, Layer, Pooling
from hw.nfu.lower import lower, places
from hw.nfu.nest import Nest, Schedule
from runtime.errors import RunError
from runtime.nfu.check import check
from runtime.nfu.machine import run

NFU = Nfu(tn=4, ti=4, nbin_rows=12, nbout_rows=4, sb_rows=8)
CONV = Layer(name="a", kind=Kind.CONV, nx=4, ny=4, kx=2, ky=2, ni=6, no=8, has_bias=True, function=Function.RELU)
POOL = Layer(name="b", kind=Kind.POOL, nx=4, ny=4, kx=2, ky=2, sx=2, sy=2, ni=6, no=6, pooling=Pooling.MAX)


def made(layer: Layer) -> tuple[Program, int]:
    """Of the convolution instructions 0, 1 | 2, 3 are the rows of output of the first tile's two chunks; 3 stores."""
    where, words = places(layer)
    maps = 2 if layer.kind is Kind.POOL else 1
    cut = Schedule(columns=2, window_columns=2, window_rows=2, maps=maps, block=1 if layer.kind is Kind.POOL else 2)
    nfu = Nfu(tn=NFU.tn, ti=NFU.ti, nbin_rows=16) if layer.kind is Kind.POOL else NFU
    return lower(Nest(layer, nfu, cut), where), words


CONV_PROGRAM, CONV_WORDS = made(CONV)
POOL_PROGRAM, POOL_WORDS = made(POOL)
LAST = len(CONV_PROGRAM) - 1


def spoilt(program: Program, k: int, **operands: int) -> Program:
    """With operands of an instruction changed, `sb_op` for "sb.op"."""
    columns = {key: program[key].copy() for key in KEYS}
    for name, value in operands.items():
        columns[name.replace("_", ".", 1)][k] = value
    return Program(columns, program.scale)


@pytest.mark.parametrize(
    ("k", "operands", "message"),
    [
        (1, {"sb_op": 77}, "SB op: no operation 77; it can be NOP, LOAD, READ"),
        (1, {"nfu_nfu3": Op.MULT}, "NFU nfu3: no operation 4; it can be NOP, LINEAR, RELU, TANH, SIGMOID"),
        (1, {"nfu_taps_x": 0}, "NFU taps_x: must lie between 1 and 1,048,576, got 0"),
        (1, {"sb_reuse": 2}, "SB reuse: must lie between 0 and 1, got 2"),
        (1, {"nbin_address": -3}, "NBin address: must lie between 0 and 1,099,511,627,776, got -3"),
        (0, {"cp_end": 1}, "CP end: is 1, but another instruction follows"),
        (LAST, {"cp_end": 0}, "CP end: must be 1, for it is the last one"),
        (1, {"nbin_op": Op.NOP}, "NBin op is NOP: every walk reads NBin"),
        (1, {"sb_op": Op.NOP}, "SB op is NOP: products need synapses"),
        (1, {"nfu_nfu1": Op.NOP}, "SB op is LOAD: without NFU nfu1 = MULT nothing reads SB"),
        (2, {"nfu_nfu2": Op.MAX}, "NFU nfu2 is MAX: products are added"),
        (0, {"nfu_nfu2_in": Op.RESET}, "NBout read_op is LOAD: NFU nfu2_in = RESET would forget the biases"),
        (1, {"nfu_nfu2_out": Op.NFU3}, "NFU nfu2_out is NFU3: outputs of NFU-3 need NBout write_op = STORE"),
        (3, {"nfu_nfu2_out": Op.NBOUT}, "NBout write_op is STORE: only outputs of NFU-3 are stored"),
        (3, {"nfu_nfu3": Op.NOP}, "NFU nfu3 is NOP: NFU nfu2_out = NFU3 needs a function"),
        (1, {"nfu_nfu3": Op.TANH}, "NFU nfu3 is TANH: a function needs NFU nfu2_out = NFU3"),
        (1, {"nbin_columns": 2}, "NBin columns: the walk needs 3 columns of the box, got 2"),
        (1, {"nfu_taps_y": 3}, "NBin rows: the walk needs 3 rows of the box, got 2"),
        (0, {"nbin_words": 9}, "NBin rows: the box takes 18 rows, and NBin has 12"),
        (0, {"nbin_op": Op.READ}, "NBin op is READ: the walk reads 6 rows of NBin, and 0 have been loaded"),
        (
            0,
            {"nbin_address": CONV_WORDS},
            f"NBin address: words {CONV_WORDS} to {CONV_WORDS + 39} are moved, and the memory has {CONV_WORDS}",
        ),
        (0, {"nbin_row_pitch": 1 << 40}, "NBin address: words 0 to 1,099,511,627,791 are moved"),
        (0, {"nfu_neurons": 5}, "NFU neurons: there are 4 lanes, got 5"),
        (0, {"sb_reuse": 0, "nfu_positions_x": 3, "nbin_columns": 4}, "SB size: the walk takes 12 rows, and SB has 8"),
        (0, {"sb_size": 65}, "SB size: the walk uses 64 words, got 65"),
        (0, {"sb_op": Op.READ}, "SB op is READ: the walk reads 4 rows of SB, and 0 have been loaded"),
        (1, {"sb_address": CONV_WORDS - 63}, "SB address: words"),
        (1, {"nbout_begin": 3}, "NBout begin: the walk adds to rows 3 to 4, and NBout has 4"),
        (0, {"nbout_bias": CONV_WORDS - 3}, "NBout bias: words"),
        (0, {"nbout_read_op": Op.NOP}, "NFU nfu2_in is NBOUT: the walk adds to rows of NBout that hold nothing yet"),
        (3, {"nbout_words": 0}, "NBout words: STORE takes at least 1 word of each position, got 0"),
        (3, {"nbout_words": 4}, "NFU output_end: 2 rows go through the function units, so it must be 2, got 4"),
        (0, {"nfu_output_end": 1}, "NFU output_end: 0 rows go through the function units, so it must be 0, got 1"),
        (3, {"nfu_output_begin": 1, "nfu_output_end": 5}, "NFU output_end: NBout has 4 rows, got 5"),
        (3, {"nbout_address": CONV_WORDS - 1}, "NBout address: words"),
    ],
)
def test_is_refused(k: int, operands: dict[str, int], message: str) -> None:
    memory = np.ones(CONV_WORDS, np.int16)
    with pytest.raises(HwError) as e:
        run(spoilt(CONV_PROGRAM, k, **operands), NFU, memory)
    assert str(e.value).replace(",", "").startswith(f"instruction {k}: {message}".replace(",", ""))
    assert (memory == 1).all()


@pytest.mark.parametrize(
    ("k", "operands", "message"),
    [
        (0, {"sb_op": Op.READ}, "SB op is READ: without NFU nfu1 = MULT nothing reads SB; it must be NOP"),
        (0, {"nbout_read_op": Op.LOAD}, "NBout read_op is LOAD: only sums of products begin with a bias"),
        (0, {"nfu_neurons": 5}, "NFU neurons: there are 4 lanes, got 5"),
        (0, {"nfu_positions_x": 3, "nbin_columns": 6}, "NBin rows: the box takes 24 rows, and NBin has 16"),
        (0, {"nbout_begin": 61}, "NBout begin: the walk adds to rows 61 to 64, and NBout has 64"),
        (0, {"nbout_begin": 1}, "NFU output_begin: of rows 0 to 3 of NBout not all hold a sum"),
        (0, {"nfu_nfu2_in": Op.NBOUT}, "NFU nfu2_in is NBOUT: the walk adds to rows of NBout that hold nothing yet"),
    ],
)
def test_is_refused_of_pooling(k: int, operands: dict[str, int], message: str) -> None:
    nfu = Nfu(tn=4, ti=4, nbin_rows=16)
    check(POOL_PROGRAM, nfu, POOL_WORDS)
    with pytest.raises(HwError) as e:
        check(spoilt(POOL_PROGRAM, k, **operands), nfu, POOL_WORDS)
    assert str(e.value).startswith(f"instruction {k}: {message}")


def test_programs_of_layers_pass() -> None:
    check(CONV_PROGRAM, NFU, CONV_WORDS)
    with pytest.raises(HwError, match=f"and the memory has {CONV_WORDS - 1}"):
        check(CONV_PROGRAM, NFU, CONV_WORDS - 1)
    with pytest.raises(HwError, match="a program has at least one instruction"):
        check(Program({key: np.zeros(0, np.int64) for key in KEYS}), NFU, 1)


def test_rows_that_were_loaded_may_be_read_later() -> None:
    """The last instruction reads what the first one brought, and what only those before the last have left there."""
    columns = {key: np.repeat(POOL_PROGRAM[key][:1], 3) for key in KEYS}
    columns["cp.end"][:] = 0, 0, 1
    columns["nbin.op"][:] = Op.LOAD, Op.LOAD, Op.READ
    columns["nbin.columns"][1], columns["nfu.positions_x"][1], columns["nfu.output_end"][1] = 2, 1, 2
    nfu, first, later = Nfu(tn=4, ti=4, nbin_rows=16), np.zeros(POOL_WORDS, np.int16), np.zeros(POOL_WORDS, np.int16)
    first[:96] = later[:96] = np.random.default_rng(0).permutation(96)
    run(Program({key: c[[0, 2]] for key, c in columns.items()}), nfu, first)
    columns["nbin.address"][1] = 6
    run(Program(columns), nfu, later)
    assert first[:96].tolist() == later[:96].tolist()
    assert first.tolist() != later.tolist()  # rows 0 to 7 come from the second load, the others from the first


@pytest.mark.parametrize("memory", [np.zeros(99, np.int32), np.zeros((3, 33), np.int16), np.zeros(198, np.int16)[::2]])
def test_memory_of_another_kind_is_refused(memory: np.ndarray) -> None:
    with pytest.raises(RunError, match="a contiguous, writable vector of i16"):
        run(CONV_PROGRAM, NFU, memory)
