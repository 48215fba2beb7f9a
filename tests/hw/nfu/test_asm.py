"""Programs as text: there and back, and all mistakes at once with their places."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.errors import HwError
from hw.nfu.asm import NEUTRAL, assemble, disassemble
from hw.nfu.config import Nfu
from hw.nfu.isa import KEYS, OPERANDS, Op, Program
from hw.nfu.layer import Function, Kind, Layer, Pooling
from hw.nfu.lower import lower, places
from hw.nfu.nest import Nest
from hw.nfu.schedule import best

LAYERS = (
    Layer(name="a", kind=Kind.CONV, nx=9, ny=8, kx=3, ky=2, sx=2, ni=40, no=36, groups=2, has_bias=True, function=Function.TANH),
    Layer(name="b", kind=Kind.CONV, nx=4, ny=4, kx=2, ky=2, ni=5, no=7, is_private=True, batch=2),
    Layer(name="c", kind=Kind.CLASSIFIER, nx=3, ni=2000, no=50, function=Function.SIGMOID),
    Layer(name="d", kind=Kind.POOL, nx=9, ny=9, kx=3, ky=3, sx=2, sy=2, ni=40, no=40, pooling=Pooling.AVERAGE),
)


def single(**operands: int) -> Program:
    """One instruction, of neutral operands but these."""
    row = dict(zip(KEYS, NEUTRAL, strict=True)) | {"cp.end": 1} | {k.replace("_", ".", 1): v for k, v in operands.items()}
    return Program({k: np.array([v]) for k, v in row.items()})


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Any operands, whether or not they make sense together."""
    n = draw(st.integers(1, 5))
    columns = {}
    for o in OPERANDS:
        neutral = int(o.choices[0]) if o.choices else o.least
        some = st.sampled_from(o.choices) if o.choices else st.integers(o.least, o.most)
        columns[o.key] = np.array(draw(st.lists(some | st.just(neutral), min_size=n, max_size=n)), np.int64)
    columns["cp.end"] = (np.arange(n) == n - 1).astype(np.int64)
    return Program(columns, draw(st.just(1.0) | st.floats(0, 1e300, exclude_min=True)))


@settings(deadline=None, max_examples=50)
@given(programs())
def test_round_trip(program: Program) -> None:
    text = disassemble(program)
    assert assemble(text) == program
    assert disassemble(assemble(text)) == text


@pytest.mark.parametrize("layer", LAYERS, ids=lambda x: x.name)
def test_round_trip_of_layers(layer: Layer) -> None:
    nfu = Nfu()
    program = lower(Nest(layer, nfu, best(layer, nfu).schedule), places(layer)[0])
    text = disassemble(program)
    assert assemble(text) == program
    assert len([line for line in text.splitlines() if not line.startswith("scale")]) == len(program)


def test_what_is_neutral_is_left_out() -> None:
    assert disassemble(single()) == "CP end=1\n"
    loads = single(sb_op=Op.LOAD, sb_size=16, nbin_op=Op.LOAD, nfu_nfu1=Op.MULT, nfu_neurons=16)
    text = "CP end=1  SB op=LOAD address=0 size=16  NBin op=LOAD address=0 words=1  NFU nfu1=MULT neurons=16\n"
    assert disassemble(loads) == text
    other = "# the same\n\n NFU neurons=1_6 nfu1=MULT SB size=16 op=LOAD address=0 CP end=1 NBin op=LOAD words=1 address=0# !"
    assert assemble(other) == loads
    text = "CP\nCP end=1\n"
    assert disassemble(assemble(text)) == text


def test_scale_is_a_line_of_its_own() -> None:
    program = Program({k: single()[k] for k in KEYS}, 1 / 9)
    assert disassemble(program) == f"scale {1 / 9!r}\nCP end=1\n"
    assert assemble(disassemble(program)) == program


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("", ["1:1: no instruction; a program has at least one, the last of which has CP end=1"]),
        ("# nothing\nscale 2\n", ["1:1: no instruction; a program has at least one, the last of which has CP end=1"]),
        ("CP\n\nSB reuse=1", ["3:1: the last instruction needs CP end=1"]),
        ("CP end=1\n  CP", ["2:3: an instruction after the last one (CP end=1 in line 1)"]),
        ("CP end=2", ["1:8: CP end: must lie between 0 and 1, got 2"]),
        ("NBim op=READ words=1\nCP end=1", ["1:1: unknown unit 'NBim'; did you mean 'NBin'?"]),
        ("scal 2\nCP end=1", ["1:1: unknown unit 'scal'; did you mean 'scale'?"]),
        ("CP end=1 LOAD", ["1:10: unknown unit 'LOAD'; known: CP, NBin, NBout, NFU, SB"]),
        ("op=READ words=2 CP end=1", ["1:1: operand 'op' of no unit; write one of CP, SB, NBin, NBout, NFU before it"]),
        ("CP end=1 NBin adress=2", ["1:15: NBin has no operand 'adress'; did you mean 'address'?"]),
        ("CP end=1 SB op=LOAF address=1 size=2", ["1:16: SB op: unknown operation 'LOAF'; did you mean 'LOAD'?"]),
        ("CP end=1 NFU nfu2=MULT", ["1:19: NFU nfu2: unknown operation 'MULT'; known: ADD, MAX"]),
        ("CP end=1 NFU taps_x=0", ["1:21: NFU taps_x: must lie between 1 and 1,048,576, got 0"]),
        (
            "CP end=1 NBin address=1099511627777",
            ["1:23: NBin address: must lie between 0 and 1,099,511,627,776, got 1099511627777"],
        ),
        (
            "CP end=1 NFU taps_x=1.5 taps_y=",
            ["1:21: NFU taps_x: a whole number, got '1.5'", "1:32: NFU taps_y: a whole number, got ''"],
        ),
        ("CP end=1 SB reuse=1 reuse=1", ["1:21: SB reuse is written a second time"]),
        ("CP end=1 SB reuse=1 SB size=1", ["1:21: a second SB; a line has one field of each unit"]),
        ("CP end=1 SB op=LOAD size=4", ["1:13: SB op=LOAD needs address"]),
        ("CP end=1 NBin op=LOAD", ["1:15: NBin op=LOAD needs address and words"]),
        ("CP end=1 NBin op=READ", ["1:15: NBin op=READ needs words"]),
        ("CP end=1 NBout read_op=LOAD", ["1:16: NBout read_op=LOAD needs bias"]),
        ("CP end=1 NBout write_op=STORE words=3", ["1:16: NBout write_op=STORE needs address"]),
        ("CP end=1 NFU nfu2_out=NFU3 nfu3=RELU", ["1:14: NFU nfu2_out=NFU3 needs output_end"]),
        ("scale -1\nCP end=1", ["1:7: scale is a number above 0, got '-1'"]),
        ("scale inf\nCP end=1", ["1:7: scale is a number above 0, got 'inf'"]),
        ("scale\nCP end=1", ["1:1: cannot read this; write scale NUMBER, e.g. scale 0.25"]),
        ("scale 1\n scale 2\nCP end=1", ["2:2: a second scale; the first is in line 1"]),
        ("CP end=1\nscale 2", ["2:1: scale stands before the first instruction"]),
        (
            "SB op=LOAD size=x\nCP emd=1 # here\n\nCP end=1\nCP end=1 NFU nfu4=ADD",
            [
                "1:4: SB op=LOAD needs address",
                "1:17: SB size: a whole number, got 'x'",
                "2:4: CP has no operand 'emd'; did you mean 'end'?",
                "5:1: an instruction after the last one (CP end=1 in line 4)",
                "5:14: NFU has no operand 'nfu4'; did you mean 'nfu3'?",
            ],
        ),
    ],
)
def test_all_mistakes_are_told_with_their_places(text: str, mistakes: list[str]) -> None:
    with pytest.raises(HwError) as e:
        assemble(text, "a.nfu")
    assert str(e.value).splitlines() == [f"a.nfu:{m}" for m in mistakes]


@settings(deadline=None)
@given(st.text("CPSBNinoutFU= \n#0123456789opendLADM_\t.-éscl", max_size=80))
def test_any_text_is_a_program_or_has_mistakes(text: str) -> None:
    try:
        program = assemble(text, "t")
    except HwError as e:
        told = str(e)
    else:
        told = "t:"
        assert assemble(disassemble(program)) == program
    assert all(line.startswith("t:") for line in told.splitlines())


def test_what_has_no_text_is_refused() -> None:
    with pytest.raises(HwError, match=r"instruction 0: SB op must be one of NOP, LOAD, READ, got 3"):
        disassemble(single(sb_op=Op.STORE))
    with pytest.raises(HwError, match=r"instruction 0: NFU taps_x must be between 1 and 1,048,576, got 0"):
        disassemble(single(nfu_taps_x=0))
    with pytest.raises(HwError, match=r"the scale of a program is a number above 0, got 0"):
        disassemble(Program({k: single()[k] for k in KEYS}, 0.0))
