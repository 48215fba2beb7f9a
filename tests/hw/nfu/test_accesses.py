"""What is counted from a program's text is what the closed form has for its layer, and what a loop over rows counts."""

from collections import Counter
from itertools import product

import pytest

from hw.nfu.accesses import activity_in, rows_in
from hw.nfu.benchmark import ALEXNET_GROUPED, LAYERS
from hw.nfu.config import Nfu
from hw.nfu.isa import Op
from hw.nfu.layer import Kind, Layer, Pooling
from hw.nfu.lower import lower, places
from hw.nfu.nest import Nest, Order, Schedule
from hw.nfu.schedule import best, cost

WIDE = Nfu(tn=8, ti=16, nbin_rows=32, nbout_rows=48, sb_rows=40, dram_bytes_per_second=90e9)
TALL = Nfu(tn=12, ti=5, nbin_rows=40, nbout_rows=24, sb_rows=30)
BIASED = Layer(name="x", kind=Kind.CONV, nx=9, ny=7, kx=3, ky=2, sx=2, ni=20, no=36, groups=2, batch=2, has_bias=True)
PRIVATE = Layer(name="x", kind=Kind.CONV, nx=6, ny=6, kx=2, ky=2, ni=18, no=20, is_private=True)
AVERAGE = Layer(name="x", kind=Kind.POOL, nx=9, ny=9, kx=3, ky=3, sx=2, sy=2, ni=40, no=40, pooling=Pooling.AVERAGE)
SAMPLES = Layer(name="x", kind=Kind.CLASSIFIER, nx=5, ni=100, no=70, has_bias=True)


@pytest.mark.parametrize("nfu", [Nfu(), WIDE], ids=["diannao", "other"])
@pytest.mark.parametrize(
    "layer", [LAYERS["CLASS1"], LAYERS["POOL3"], LAYERS["CONV4"], ALEXNET_GROUPED[1], BIASED, PRIVATE, AVERAGE, SAMPLES]
)
def test_a_program_does_what_its_layer_costs(layer: Layer, nfu: Nfu) -> None:
    found = best(layer, nfu)
    timed, done = activity_in(lower(Nest(layer, nfu, found.schedule), places(layer)[0]), nfu)
    assert done == found.activity
    assert timed.total_cycles == found.total_cycles
    assert timed.stalls == pytest.approx(found.timing.stalls)


@pytest.mark.parametrize("order", Order)
def test_under_a_schedule_that_is_not_the_best(order: Order) -> None:
    schedule = Schedule(rows=2, columns=3, window_columns=2, maps=1, block=3, order=order)
    found = cost(BIASED, WIDE, schedule)
    assert activity_in(lower(Nest(BIASED, WIDE, schedule), places(BIASED)[0]), WIDE)[1] == found.activity


@pytest.mark.parametrize("layer", [BIASED, PRIVATE, AVERAGE, SAMPLES])
def test_rows_of_the_buffers(layer: Layer) -> None:
    nest = Nest(layer, WIDE, best(layer, WIDE).schedule)
    rows = rows_in(lower(nest, places(layer)[0]), WIDE)
    assert {k: int(c.max()) for k, c in rows.items()} == {k: getattr(nest.rows, k) for k in rows}


def counted(nest: Nest) -> dict[str, int]:
    """Accesses of a program, row by row, as the walk of `hw.nfu.isa` makes them.

    A sum stays in NFU-2 while its position lasts. One that is completed goes on to NFU-3 without NBout, those that wait there are
    read again, and every result is written.
    """
    done = Counter[str]()
    nfu, is_pool = nest.nfu, nest.is_pool
    lanes = min(nfu.ti, nfu.tn) if is_pool else nfu.ti
    for i in lower(nest, places(nest.layer)[0]):
        maps = range(0, i["nbin.words"], lanes)
        positions = i["nfu.positions_y"] * i["nfu.positions_x"]
        taps = i["nfu.taps_y"] * i["nfu.taps_x"]
        if i["nbin.op"] == Op.LOAD:
            done["nbin_fills"] += len(maps) * i["nbin.rows"] * i["nbin.columns"]
        if i["sb.op"] == Op.LOAD:
            done["sb_fills"] += len(maps) * taps * (1 if i["sb.reuse"] else positions)
        mine = {i["nbout.begin"] + k for k in range(positions * (len(maps) if is_pool else 1))}
        for _ in mine:
            done["nbout_fills"] += i["nbout.read_op"] == Op.LOAD
            done["nbout_reads"] += i["nfu.nfu2_in"] == Op.NBOUT
            done["nbout_writes"] += 1
        for _position, first in product(range(positions * taps), maps):
            done["nbin_reads"] += 1
            done["sb_reads"] += not is_pool
            done["products"] += 0 if is_pool else min(lanes, i["nbin.words"] - first) * i["nfu.neurons"]
        for row in range(i["nfu.output_begin"], i["nfu.output_end"]):
            done["function_rows"] += 1
            done["nbout_reads"] += row not in mine
            done["nbout_writes"] += row not in mine
        if i["nbout.write_op"] == Op.STORE:
            done["nbout_drains"] += positions * len(range(0, i["nbout.words"], lanes if is_pool else nfu.tn))
    return dict(done)


@pytest.mark.parametrize("nfu", [Nfu(), WIDE, TALL], ids=["diannao", "more inputs", "more neurons"])
@pytest.mark.parametrize("layer", [BIASED, PRIVATE, AVERAGE, SAMPLES])
def test_against_a_loop_over_rows(layer: Layer, nfu: Nfu) -> None:
    """Also where pooling uses fewer lanes than a row has (tn below ti), and than there are neurons (ti below tn)."""
    for schedule in (best(layer, nfu).schedule, Schedule()):
        done = cost(layer, nfu, schedule).activity
        found = counted(Nest(layer, nfu, schedule))
        assert {k: getattr(done, k) for k in found} == found
        assert layer.kind is Kind.POOL or found["products"] == layer.macs
