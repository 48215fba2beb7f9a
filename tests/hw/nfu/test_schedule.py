"""Layers under schedules: the closed form against counting instruction by instruction, event by event, and against bounds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hw.errors import HwError
from hw.nfu.benchmark import LAYERS
from hw.nfu.config import Nfu
from hw.nfu.estimate import Estimate, candidates
from hw.nfu.isa import Op, Program
from hw.nfu.layer import Function, Kind, Layer, Pooling
from hw.nfu.lower import lower, places
from hw.nfu.nest import Nest, Order, Schedule
from hw.nfu.schedule import best, cost
from hw.nfu.steps import Steps
from hw.nfu.timing import moves_in, moves_of, timing
from runtime.nfu.check import check
from sim.nfu import play

DIANNAO = Nfu()


@st.composite
def nfus(draw: st.DrawFn) -> Nfu:
    """Small machines, some of them starved."""
    rows = st.sampled_from((4, 9, 16, 64))
    return Nfu(
        tn=draw(st.sampled_from((1, 3, 4, 16))),
        ti=draw(st.sampled_from((1, 2, 5, 16))),
        nbin_rows=draw(rows),
        nbout_rows=draw(rows),
        sb_rows=draw(rows),
        dram_bytes_per_second=draw(st.sampled_from((0.3e9, 7e9, 250e9, 4e12))),
        dram_latency_seconds=draw(st.sampled_from((0.0, 1e-7))),
    )


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """Small layers of every kind."""
    kind, small = draw(st.sampled_from(Kind)), st.integers(1, 9)
    if kind is Kind.CLASSIFIER:
        return Layer(name="l", kind=kind, nx=draw(small), ni=draw(st.integers(1, 40)), no=draw(st.integers(1, 40)),
                     has_bias=draw(st.booleans()))  # fmt: skip
    nx, ny = draw(small), draw(small)
    found = {
        "nx": nx,
        "ny": ny,
        "kx": draw(st.integers(1, min(nx, 4))),
        "ky": draw(st.integers(1, min(ny, 4))),
        "sx": draw(st.integers(1, 3)),
        "sy": draw(st.integers(1, 3)),
        "batch": draw(st.integers(1, 2)),
    }
    if kind is Kind.POOL:
        maps = draw(st.integers(1, 40))
        return Layer(name="l", kind=kind, ni=maps, no=maps, pooling=draw(st.sampled_from(Pooling)), **found)
    groups = draw(st.integers(1, 2))
    return Layer(name="l", kind=kind, ni=groups * draw(st.integers(1, 20)), no=groups * draw(st.integers(1, 20)), groups=groups,
                 is_private=draw(st.booleans()), has_bias=draw(st.booleans()), function=Function.RELU, **found)  # fmt: skip


@st.composite
def nests(draw: st.DrawFn) -> Nest:
    """A layer on a machine under any schedule that fits."""
    layer, nfu = draw(layers()), draw(nfus())
    groups = layer.output_rows(nfu)
    schedule = Schedule(
        rows=draw(st.integers(1, layer.oy)),
        columns=draw(st.integers(1, layer.ox)),
        window_rows=draw(st.integers(1, layer.ky)),
        window_columns=draw(st.integers(1, layer.kx)),
        maps=draw(st.integers(1, layer.input_rows(nfu))),
        block=1 if layer.kind is Kind.POOL else draw(st.sampled_from([b for b in range(1, groups + 1) if groups % b == 0])),
        order=draw(st.sampled_from(Order)),
    )
    try:
        nest = Nest(layer, nfu, schedule)
    except HwError:
        nest = Nest(layer, nfu, Schedule(order=schedule.order))
    assume(len(nest) <= 3000)
    return nest


many = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@many
@given(nests())
def test_closed_form_equals_counting_and_playing(nest: Nest) -> None:
    program = lower(nest, places(nest.layer)[0])
    closed = cost(nest.layer, nest.nfu, nest.schedule)
    counted = timing(nest.nfu, moves_in(program, nest.nfu))
    assert closed.total_cycles == counted.total_cycles
    assert closed.timing.busy_cycles == counted.busy_cycles == nest.layer.nfu_cycles(nest.nfu)
    assert closed.timing.stalls == pytest.approx(counted.stalls)
    assert sum(counted.stalls.values()) + counted.busy_cycles == pytest.approx(counted.total_cycles)
    played = play(program, nest.nfu)
    assert played.total_cycles == closed.total_cycles
    assert played.begins == tuple(counted.begins)
    of_nest = moves_of(Steps(nest, np.arange(len(nest))))
    for field in ("cycles", "function_rows", "synapse_bytes", "neuron_bytes", "result_bytes"):
        assert np.array_equal(getattr(of_nest, field), getattr(moves_in(program, nest.nfu), field))


@many
@given(nests())
def test_bounds_and_accesses(nest: Nest) -> None:
    layer, nfu = nest.layer, nest.nfu
    c, program = cost(layer, nfu, nest.schedule), lower(nest, places(nest.layer)[0])
    least = layer.compulsory_bytes(nfu) - nfu.word_bytes * (layer.needed - _read(layer))
    assert c.total_cycles >= max(layer.nfu_cycles(nfu), nfu.dram_cycles(least))
    assert c.dram_bytes >= least
    a = c.activity
    assert (a.instructions, a.dram_bytes) == (len(program), _moved(program, nfu))
    assert a.dram_write_bytes == layer.outputs * nfu.word_bytes
    assert a.nbin_reads == layer.nfu_cycles(nfu) == a.busy_cycles
    assert a.sb_reads == (0 if layer.kind is Kind.POOL else layer.nfu_cycles(nfu))
    lanes = layer.lanes(nfu) if layer.kind is Kind.POOL else nfu.tn
    assert a.function_rows == layer.positions * layer.groups * -(-(layer.no // layer.groups) // lanes) == a.nbout_drains
    assert a.nbout_writes >= a.function_rows


def _read(layer: Layer) -> int:
    """Words of the images that some window reads."""
    seen = np.zeros((layer.ny, layer.nx), np.bool_)
    for y, x in np.ndindex(layer.oy, layer.ox):
        seen[y * layer.sy : y * layer.sy + layer.ky, x * layer.sx : x * layer.sx + layer.kx] = True
    return layer.batch * layer.ni * int(seen.sum())


def _moved(program: Program, nfu: Nfu) -> int:
    """Bytes, added up instruction by instruction."""
    found = 0
    for i in program:
        found += nfu.synapse_bytes * i["sb.size"] * (i["sb.op"] == Op.LOAD)
        found += nfu.word_bytes * i["nbin.rows"] * i["nbin.columns"] * i["nbin.words"] * (i["nbin.op"] == Op.LOAD)
        found += nfu.word_bytes * i["nfu.neurons"] * (i["nbout.read_op"] == Op.LOAD)
        found += (
            nfu.word_bytes * i["nfu.positions_y"] * i["nfu.positions_x"] * i["nbout.words"] * (i["nbout.write_op"] == Op.STORE)
        )
    return found


@many
@given(nests())
def test_every_output_is_stored_once_and_every_synapse_used(nest: Nest) -> None:
    layer, (where, words) = nest.layer, places(nest.layer)
    stored, used = np.zeros(words, np.int64), np.zeros(words, np.int64)
    for i in lower(nest, where):
        if i["nbout.write_op"] == Op.STORE:
            for y in range(i["nfu.positions_y"]):
                for x in range(i["nfu.positions_x"]):
                    at = i["nbout.address"] + y * i["nbout.row_pitch"] + x * i["nbout.pitch"]
                    stored[at : at + i["nbout.words"]] += 1
        if i["sb.op"] != Op.NOP:
            used[i["sb.address"] : i["sb.address"] + i["sb.size"]] += 1
    outputs = slice(where.outputs.address, words)
    assert np.all(stored[outputs] == 1)
    assert not stored[: where.outputs.address].any()
    of_synapses = used[where.synapses : where.synapses + layer.synapses]
    assert used.sum() == of_synapses.sum()
    if layer.synapses:
        tiles = (
            layer.positions if layer.is_private else -(-layer.oy // nest.schedule.rows) * -(-layer.ox // nest.schedule.columns)
        )
        assert np.all(of_synapses == (layer.batch if layer.is_private else layer.batch * tiles))


SMALL = (
    Layer(name="lenet1", kind=Kind.CONV, nx=12, ny=12, kx=5, ky=5, ni=1, no=20),
    Layer(name="classes", kind=Kind.CLASSIFIER, nx=16, ni=300, no=120),
    Layer(name="pool", kind=Kind.POOL, nx=24, ny=24, kx=3, ky=3, sx=2, sy=2, ni=40, no=40),
    Layer(name="one", kind=Kind.CONV, nx=13, ny=13, kx=1, ky=1, ni=64, no=128),
)


@pytest.mark.parametrize("bandwidth", [250e9, 30e9, 4e9])
@pytest.mark.parametrize("layer", SMALL, ids=lambda layer: layer.name)
def test_the_best_is_as_good_as_trying_all(layer: Layer, bandwidth: float) -> None:
    nfu = replace(DIANNAO, dram_bytes_per_second=bandwidth, nbin_rows=16, nbout_rows=16, sb_rows=16)
    about = Estimate(layer, nfu, candidates(layer, nfu))
    every = [cost(layer, nfu, about.schedule(i)) for i in range(about.dram_bytes.size)]
    least = min(c.total_cycles for c in every)
    assert least <= best(layer, nfu).total_cycles <= 1.03 * least


@many
@given(layers(), nfus())
def test_bytes_of_estimates_are_exact(layer: Layer, nfu: Nfu) -> None:
    """The search leaves out what moves more than a schedule that is fast enough, and what is the same program."""
    about = Estimate(layer, nfu, candidates(layer, nfu))
    nbytes, n = about.dram_bytes.ravel().tolist(), len(about.alike)
    for at in range(0, n, max(1, n // 10)):
        of_order = [cost(layer, nfu, about.schedule(i)) for i in (at, at + n)]
        assert [c.dram_bytes for c in of_order] == [nbytes[at], nbytes[at + n]]
        assert [c.schedule.order for c in of_order] == list(Order)
        if about.alike[at]:
            assert of_order[0].timing.stalls == of_order[1].timing.stalls
            assert of_order[0].activity == of_order[1].activity


def test_the_worked_example() -> None:
    """8192 x 256 in 128 instructions of 64 cycles: the stream of the re-implementation that notes of the paper quote."""
    layer = Layer(name="example", kind=Kind.CLASSIFIER, ni=8192, no=256, function=Function.SIGMOID)
    nest = Nest(layer, DIANNAO, Schedule(maps=64, block=16))
    program = lower(nest, places(layer)[0])
    assert len(program) == 128
    assert cost(layer, DIANNAO, nest.schedule).timing.busy_cycles == 8192
    first, second, last = (list(program)[i] for i in (0, 1, 127))
    assert (first["sb.op"], first["sb.size"] * 2) == (Op.LOAD, 32_768)
    assert (first["nbin.op"], first["nbin.words"] * 2, second["nbin.op"]) == (Op.LOAD, 2_048, Op.READ)
    assert np.count_nonzero(program["nbin.op"] == Op.LOAD) == 8
    assert (first["nfu.nfu2_in"], last["nfu.nfu2_in"]) == (Op.RESET, Op.NBOUT)
    assert (last["nfu.nfu3"], last["nbout.words"] * 2, last["cp.end"]) == (Op.SIGMOID, 512, 1)
    assert _moved(program, DIANNAO) == 4_211_200
    assert np.count_nonzero(program["nbout.write_op"] == Op.STORE) == 1


def test_what_cannot_be_names_the_field() -> None:
    layer = Layer(name="c", kind=Kind.CONV, nx=8, ny=8, kx=3, ky=3, ni=4, no=40)
    for schedule, words in (
        (Schedule(rows=7), "rows"),
        (Schedule(block=2), "block"),
        (Schedule(maps=2), "maps"),
        (Schedule(window_rows=3, window_columns=3, rows=6, columns=6), "NBin"),
    ):
        nfu = replace(DIANNAO, nbin_rows=63)
        with pytest.raises(HwError, match=words):
            Nest(layer, nfu, schedule)
    for schedule, words in (
        (Schedule(rows=1.5), "rows of the schedule must lie"),
        (Schedule(order="inputs"), "must be a member of Order"),
    ):
        with pytest.raises(HwError, match=words):
            Nest(layer, DIANNAO, schedule)
    slow = replace(DIANNAO, dram_bytes_per_second=1.0)
    with pytest.raises(HwError, match=r"'CONV5': its cycles, up to .*, are more than can be counted"):
        best(LAYERS["CONV5"], slow)
    with pytest.raises(HwError, match="instructions"):
        lower(Nest(replace(layer, nx=6000, ny=6000), DIANNAO, Schedule()), places(layer)[0])


def test_bad_machines_are_refused() -> None:
    for change, words in (
        ({"sb_rows": 0}, "sb_rows"),
        ({"tn": 0}, "tn"),
        ({"clock_hz": 0.0}, "clock_hz"),
        ({"dram_bytes_per_second": float("nan")}, "dram_bytes_per_second"),
        ({"segments": 5}, "segments"),
        ({"stage_cycles": (3, 2)}, "stage_cycles"),
    ):
        with pytest.raises(HwError, match=words):
            replace(DIANNAO, **change)


def test_pixels_with_more_maps_than_a_count_has_bits_for() -> None:
    """Words of a pixel are counted like words of the memory, so large buffers can be filled by one instruction."""
    nfu = replace(DIANNAO, nbin_rows=1 << 17, sb_rows=1 << 17)
    layer = Layer(name="wide", kind=Kind.CLASSIFIER, ni=1 << 21, no=16)
    where, words = places(layer)
    program = lower(Nest(layer, nfu, Schedule(maps=1 << 17)), where)
    assert len(program) == 1 and program["nbin.words"][0] == 1 << 21
    check(program, nfu, words)
