"""What is counted from a program's text is what the closed form has for its layer."""

import pytest

from hw.nfu.accesses import activity_in, rows_in
from hw.nfu.benchmark import ALEXNET_GROUPED, LAYERS
from hw.nfu.config import Nfu
from hw.nfu.layer import Kind, Layer, Pooling
from hw.nfu.lower import lower, places
from hw.nfu.nest import Nest, Order, Schedule
from hw.nfu.schedule import best, cost

WIDE = Nfu(tn=8, ti=16, nbin_rows=32, nbout_rows=48, sb_rows=40, dram_bytes_per_second=90e9)
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
