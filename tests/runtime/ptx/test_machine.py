"""Programs carried out without a device: numbers, ways that part and meet, barriers, and everything that no thread may do."""

from typing import Any

import numpy as np
import pytest

from runtime.ptx.machine import Code, Threads
from runtime.ptx.memory import Global
from runtime.ptx.parse import PtxError, parse

HEAD = """.version 9.0
.target sm_90
.address_size 64
.visible .entry k(
    .param .u64 x, .param .u64 y, .param .u32 n
)
{
    .reg .pred %p<9>; .reg .b16 %rs<9>; .reg .b32 %r<32>; .reg .f32 %f<32>; .reg .b64 %rd<32>;
    .shared .align 16 .b8 s[1024];
    ld.param.u64 %rd1, [x]; ld.param.u64 %rd2, [y]; ld.param.u32 %r1, [n];
    mov.u32 %r2, %tid.x; mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x;
    mad.lo.s32 %r5, %r3, %r4, %r2;
    mul.wide.s32 %rd3, %r5, 4; add.s64 %rd4, %rd1, %rd3; add.s64 %rd5, %rd2, %rd3;
    mov.u64 %rd6, s; mul.wide.u32 %rd7, %r2, 4; add.s64 %rd8, %rd6, %rd7;
"""
# %r5: number of the thread; %rd4, %rd5: its elements of x and y; %rd8: its word of shared memory


def aligned(values: Any) -> Any:
    """The same numbers at a multiple of 16 bytes."""
    room = np.zeros(values.nbytes + 16, np.uint8)
    first = -room.ctypes.data % 16
    found = room[first : first + values.nbytes].view(values.dtype)
    found[:] = values
    return found


def play(body: str, x: Any, y: Any = None, *, n: int = 0, size: int = 32, blocks: int = 1) -> Any:
    """`y`, f32 zeros by default, after the program."""
    x = aligned(np.asarray(x))
    y = aligned(np.zeros(size * blocks, np.float32) if y is None else y)
    code = Code(parse(HEAD + body + "\n    ret;\n}\n"))
    parameters = {"x": np.uint64(x.ctypes.data), "y": np.uint64(y.ctypes.data), "n": np.uint32(n)}
    with np.errstate(all="ignore"):
        Threads(code, (blocks, 1, 1), size, range(blocks), parameters, Global([x, y])).run()
    return y


def computed(lines: str, x: Any, kind: str = "s32") -> Any:
    """What 32 threads make of their numbers: `%r10` or `%f10` to `%r11` or `%f11`."""
    reg = "f" if kind[0] == "f" else "r"
    x = np.resize(np.asarray(x), 32)
    body = f"ld.global.{kind} %{reg}10, [%rd4]; {lines} st.global.{kind} [%rd5], %{reg}11;"
    return play(body, x, np.zeros(32, x.dtype))


WHOLE = np.array([0, 1, -1, 7, -7, 2**31 - 1, -(2**31), 123456789], np.int32)


def test_whole_numbers() -> None:
    big = [int(v) for v in np.resize(WHOLE, 32)]
    wrap = lambda v: (v + 2**31) % 2**32 - 2**31  # noqa: E731 - as 32 bits hold it
    np.testing.assert_array_equal(computed("add.s32 %r11, %r10, 2000000000;", WHOLE), [wrap(v + 2_000_000_000) for v in big])
    np.testing.assert_array_equal(computed("mul.lo.s32 %r11, %r10, 77777;", WHOLE), [wrap(v * 77777) for v in big])
    np.testing.assert_array_equal(computed("div.s32 %r11, %r10, 3;", WHOLE), [int(v / 3) for v in big])
    np.testing.assert_array_equal(computed("rem.s32 %r11, %r10, -4;", WHOLE), [v - int(v / -4) * -4 for v in big])
    np.testing.assert_array_equal(computed("shr.s32 %r11, %r10, 40;", WHOLE), [v >> 31 for v in big])
    np.testing.assert_array_equal(computed("shl.b32 %r11, %r10, 33;", WHOLE), [0] * 32)
    np.testing.assert_array_equal(computed("neg.s32 %r11, %r10;", WHOLE), [wrap(-v) for v in big])
    high = computed("mul.hi.u32 %r11, %r10, 3528531795;", WHOLE.view(np.uint32))
    np.testing.assert_array_equal(high.view(np.uint32), [(v % 2**32) * 3528531795 >> 32 for v in big])
    np.testing.assert_array_equal(
        computed(
            "cvt.s64.s32 %rd10, %r10; mul.lo.s64 %rd10, %rd10, -3; shr.s64 %rd10, %rd10, 32; cvt.u32.u64 %r11, %rd10;", WHOLE
        ),
        [v * -3 >> 32 for v in big],
    )


REAL = np.array([0.0, -0.0, 1.5, -2.75, 3e38, np.inf, -np.inf, np.nan, 1e-45, 0.3], np.float32)


def test_floats() -> None:
    x = np.resize(REAL, 32).astype(np.float64)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(computed("fma.rn.f32 %f11, %f10, 0f3F800001, 0fBF800000;", REAL, "f32"),
                                      (x * float(np.float32(1.0000001)) - 1).astype(np.float32))  # fmt: skip
        np.testing.assert_array_equal(computed("max.f32 %f11, %f10, 0f3F800000;", REAL, "f32"), np.fmax(x, 1).astype(np.float32))
        np.testing.assert_array_equal(computed("copysign.f32 %f11, %f10, 0f3F800000;", REAL, "f32"), np.copysign(1, x))
        np.testing.assert_array_equal(computed("cvt.sat.f32.f32 %f11, %f10;", REAL, "f32"),
                                      np.nan_to_num(np.clip(x, 0, 1)).astype(np.float32))  # fmt: skip
    whole = computed("cvt.rzi.s32.f32 %r10, %f10; mov.b32 %f11, %r10;", REAL, "f32").view(np.int32)
    np.testing.assert_array_equal(whole[:10], [0, 0, 1, -2, 2**31 - 1, 2**31 - 1, -(2**31), 0, 0, 0])


@pytest.mark.parametrize(
    ("name", "want"), [("lt", 1), ("ltu", 2), ("ge", 1), ("geu", 2), ("ne", 2), ("neu", 3), ("nan", 1), ("num", 2)]
)
def test_comparisons_with_what_is_no_number(name: str, want: int) -> None:
    """Of 0, 2 and NaN with 1: how many hold."""
    x = np.resize(np.array([0, 2, np.nan], np.float32), 32)
    got = computed(f"setp.{name}.f32 %p1, %f10, 0f3F800000; selp.f32 %f11, 0f3F800000, 0f00000000, %p1;", x, "f32")
    assert got[:3].sum() == want


@pytest.mark.parametrize(("kind", "bits"), [("tf32", 10), ("bf16", 7), ("f16", 10)])
def test_rounding_to_fewer_bits(kind: str, bits: int) -> None:
    """Half a unit of the last place: to even, of tf32 away from zero."""
    unit = 2.0**-bits
    x = np.resize(np.array([1 + unit / 2, 1 + 1.5 * unit, -1 - unit / 2, 1 + unit / 2 + 2**-20], np.float32), 32)
    if kind == "tf32":
        got = computed("cvt.rna.tf32.f32 %r10, %f10; mov.b32 %f11, %r10;", x, "f32")
        want = [1 + unit, 1 + 2 * unit, -1 - unit, 1 + unit]
    else:
        words = computed(f"cvt.rn.{kind}x2.f32 %r10, 0f00000000, %f10; mov.b32 %f11, %r10;", x, "f32").view(np.uint32)
        assert (words >> 16 == 0).all()
        got = (words << 16).view(np.float32) if kind == "bf16" else words.astype(np.uint16).view(np.float16)
        want = [1, 1 + 2 * unit, -1, 1 + unit]
    np.testing.assert_array_equal(got[:4], want)


def test_ways_part_and_meet() -> None:
    """Each thread goes round as often as its number says, odd ones take another way; some are over before."""
    body = """
    setp.ge.s32 %p1, %r5, %r1; @%p1 bra OUT;
    mov.u32 %r10, 0; mov.u32 %r11, 0; and.b32 %r12, %r2, 1; setp.eq.s32 %p2, %r12, 1;
LOOP: setp.ge.s32 %p3, %r10, %r2; @%p3 bra DONE;
    @%p2 bra ODD; add.s32 %r11, %r11, 1; bra.uni NEXT;
ODD: add.s32 %r11, %r11, 100;
NEXT: add.s32 %r10, %r10, 1; bra LOOP;
DONE: cvt.rn.f32.s32 %f1, %r11; @!%p2 neg.f32 %f1, %f1; st.global.f32 [%rd5], %f1;
OUT:"""
    got = play(body, np.zeros(1, np.float32), n=70, size=40, blocks=2)
    t = np.tile(np.arange(40), 2)
    np.testing.assert_array_equal(got, np.where(np.arange(80) < 70, np.where(t % 2, 100 * t, -t), 0))


PART = "setp.ge.s32 %p1, %r2, 4; @%p1 bra OUT; "
TURN = "ld.global.f32 %f1, [%rd4]; st.shared.f32 [%rd8], %f1; {} sub.s64 %rd9, %rd6, %rd7; ld.shared.f32 %f2, [%rd9+252]; {}"


def test_a_barrier_orders_what_threads_see() -> None:
    x = np.arange(128, dtype=np.float32)
    got = play(TURN.format("bar.sync 0;", "st.global.f32 [%rd5], %f2;"), x, size=64, blocks=2)
    np.testing.assert_array_equal(got, [*range(63, -1, -1), *range(127, 63, -1)])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (TURN.format("", ""), "reads what thread .* of block 0 wrote since the last barrier: shared memory"),
        (TURN.format("bar.sync 0;", "st.shared.f32 [%rd8], %f2;"), "writes what .* read since the last barrier"),
        ("mov.f32 %f1, 0f00000000; st.shared.f32 [%rd6], %f1;", "and another thread write at once"),
        ("ld.shared.f32 %f1, [%rd8];", "reads what nobody has written"),
        ("mov.f32 %f1, 0f00000000; st.global.f32 [%rd2], %f1;", "and another thread write at once: array"),
        ("ld.global.f32 %f1, [%rd2]; st.global.f32 [%rd5], %f1;", "writes what several threads read"),
        ("ld.global.f32 %f1, [%rd5+256];", "outside of all arrays"),
        ("ld.global.f32 %f1, [%rd4+-4];", "outside of all arrays"),
        ("ld.shared.f32 %f1, [%rd8+1024];", "outside of the 1024 bytes"),
        ("ld.global.f32 %f1, [%rd4+2];", "no multiple"),
        ("ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd4];", "an access of 16 bytes at an address that is no multiple"),
        ("setp.eq.s32 %p1, %r2, 0; @%p1 bra OUT; bar.sync 0; OUT: @%p1 bar.sync 0;", "wait at different barriers"),
        (PART + "shfl.sync.bfly.b32 %r10|%p2, %r2, 1, 31, -1; OUT:", "not all threads of a warp"),
        ("LOOP: bra LOOP;", "does not end"),
    ],
)  # fmt: skip
def test_what_no_thread_may_do(body: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.ptx.machine.MOST_STEPS", 1000)
    with pytest.raises(PtxError, match=message):
        play(body, np.zeros(64, np.float32), size=64)


def test_blocks_meet_no_barrier() -> None:
    """A block reads what another one wrote."""
    body = "mov.f32 %f1, 0f3F800000; st.global.f32 [%rd5], %f1; bar.sync 0; ld.global.f32 %f2, [%rd2];"
    play("setp.ne.s32 %p1, %r3, 0; @%p1 bra OUT; " + body + " OUT:", np.zeros(4, np.float32), blocks=2)
    with pytest.raises(PtxError, match="thread 0 of block 1 reads what thread 0 of block 0 wrote"):
        play(body, np.zeros(4, np.float32), blocks=2)


def test_who_has_read_is_remembered_across_barriers() -> None:
    """Threads of a block have all read a number before a barrier: then one may write it, unless another block has read it too."""
    body = """ld.global.f32 %f1, [%rd1]; {} bar.sync 0; bar.sync 0; setp.ne.s32 %p1, %r2, 0; @%p1 bra OUT;
    {} mov.f32 %f2, 0f40000000; st.global.f32 [%rd1], %f2; OUT:"""
    x = np.zeros(4, np.float32)
    play(body.format("", ""), x)
    only_the_second = "setp.eq.s32 %p2, %r3, 0; @%p2 bra OUT;"
    with pytest.raises(PtxError, match="thread 0 of block 1 writes what several threads read"):
        play(body.format("", only_the_second), x, blocks=2)
    with pytest.raises(
        PtxError, match="thread 0 of block 1 writes what thread 5 of block 0 read"
    ):  # in another epoch than its own
        play(READ_BY_ONE, x, blocks=2)


READ_BY_ONE = """setp.eq.s32 %p1, %r3, 1; @%p1 bra SECOND;
    setp.ne.s32 %p2, %r2, 5; @%p2 bra OUT; ld.global.f32 %f1, [%rd1]; bra OUT;
SECOND: bar.sync 0; bar.sync 0; setp.ne.s32 %p2, %r2, 0; @%p2 bra OUT; mov.f32 %f2, 0f40000000; st.global.f32 [%rd1], %f2;
OUT:"""

COPY = """cvt.u32.u64 %r10, %rd8; setp.lt.s32 %p1, %r2, %r1; selp.b32 %r11, 4, 0, %p1;
    cp.async.ca.shared.global [%r10], [%rd4], 4, %r11; cp.async.commit_group; {}
    ld.shared.f32 %f1, [%rd8]; st.global.f32 [%rd5], %f1;"""


def test_copies_land_when_they_are_waited_for() -> None:
    x = np.arange(1, 33, dtype=np.float32)
    got = play(COPY.format("cp.async.wait_group 0;"), x, n=20)
    np.testing.assert_array_equal(got, np.where(x <= 20, x, 0))
    for too_early in ("", "cp.async.wait_group 1;"):
        with pytest.raises(PtxError, match="reads a copy that nobody waited for"):
            play(COPY.format(too_early), x, n=20)
    got = play(COPY.format("cp.async.commit_group; cp.async.wait_group 1;"), x, n=32)  # the last group is empty
    np.testing.assert_array_equal(got, x)


def test_shuffles() -> None:
    body = "ld.global.u32 %r10, [%rd4]; shfl.sync.bfly.b32 %r11|%p1, %r10, 5, 31, -1; st.global.u32 [%rd5], %r11;"
    x = np.arange(64, dtype=np.uint32) + 7
    got = play(body, x, np.zeros(64, np.uint32), size=64)
    np.testing.assert_array_equal(got, (np.arange(64) ^ 5) + 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("add.s32 %r1, %r2, %r99;", "line 15: register %r99 is not known here"),
        ("vote.sync.any.pred %p1, %p2, -1;", "line 15: vote.sync.any.pred: not known here"),
        (".local .align 8 .b8 d[8];", "line 15: .local is not known here"),
        ("st.global.f32 [nowhere], %f1;", "line 15: st.global.f32: not known here .nowhere"),
    ],
)
def test_what_is_not_known_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(PtxError, match=message):
        play(text, np.zeros(4, np.float32))
