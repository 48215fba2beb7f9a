"""The machine = loops over a layer, number after number: no program, no schedule, no buffers. So all schedules compute alike."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graph.fixed_point import Fixed, Rounding
from hw.errors import HwError
from hw.nfu.activation import apply, table
from hw.nfu.config import WIDE, Arithmetic, Cut, Nfu, Overflow
from hw.nfu.layer import Function, Kind, Layer, Pooling
from hw.nfu.nest import Nest, Order, Schedule
from runtime.nfu.values import layer_values

Words = npt.NDArray[np.int16]
SETTINGS = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
DETERMINISTIC = (Rounding.FLOOR, Rounding.ZERO, Rounding.NEAREST)


def values(layer: Layer, nfu: Nfu, naive: Any, x: Words, w: Words | None, biases: Words | None) -> Words:
    """A layer on `nfu`, where the order of additions does not matter."""
    n = naive(nfu, 1 / (layer.kx * layer.ky) if layer.kind is Kind.POOL and layer.pooling is Pooling.AVERAGE else 1.0)
    out = np.zeros((layer.batch, layer.oy, layer.ox, layer.no), np.int16)
    for b, y, x0, o in np.ndindex(*out.shape):
        window = x[b, y * layer.sy : y * layer.sy + layer.ky, x0 * layer.sx : x0 * layer.sx + layer.kx]
        if w is None:
            words = [n.word(int(v)) for v in window[:, :, o].ravel()]
            if layer.pooling is Pooling.MAX:
                total = max(words)
            else:
                total = 0
                for v in words:
                    total = n.add(total, v)
            out[b, y, x0, o] = n.output(total, layer.function, None)
            continue
        kernel = w[y, x0] if layer.is_private else w
        maps = layer.ni // layer.groups
        first = o // (layer.no // layer.groups) * maps
        total = 0 if biases is None else n.bias(int(biases[o]))
        for ky, kx in np.ndindex(layer.ky, layer.kx):
            for i in range(0, maps, nfu.ti):
                lanes = range(i, min(i + nfu.ti, maps))
                idle = [0] * (nfu.ti - len(lanes))
                neurons = [n.word(int(window[ky, kx, first + j])) for j in lanes] + idle
                synapses = [n.word(int(kernel[ky, kx, j, o]), True) for j in lanes] + idle
                total = n.add(total, n.tree(neurons, synapses, lambda _: 0))
        out[b, y, x0, o] = n.output(total, layer.function, lambda: 0)
    return out


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """Small ones of every kind."""

    def count(most: int) -> int:
        return draw(st.integers(1, most))

    kind = draw(st.sampled_from(Kind))
    function = draw(st.sampled_from(Function))
    if kind is Kind.CLASSIFIER:
        return Layer(name="c", kind=kind, nx=count(3), ni=count(11), no=count(7), has_bias=draw(st.booleans()), function=function)
    extents = {"kx": count(3), "ky": count(3), "sx": count(3), "sy": count(3), "batch": count(2)}
    extents["nx"] = extents["kx"] + draw(st.integers(0, 4))
    extents["ny"] = extents["ky"] + draw(st.integers(0, 3))
    if kind is Kind.POOL:
        maps = count(7)
        return Layer(name="p", kind=kind, ni=maps, no=maps, pooling=draw(st.sampled_from(Pooling)), function=function, **extents)
    groups = count(2)
    maps = {"ni": groups * count(5), "no": groups * count(4), "groups": groups}
    flags = {"is_private": draw(st.booleans()), "has_bias": draw(st.booleans())}
    return Layer(name="k", kind=kind, function=function, **maps, **extents, **flags)


@st.composite
def schedules(draw: st.DrawFn, layer: Layer, nfu: Nfu) -> Schedule:
    """Any: it is the buffers that are made to fit."""
    rows = 1 if layer.kind is Kind.POOL else layer.output_rows(nfu)
    return Schedule(
        rows=draw(st.integers(1, layer.oy)),
        columns=draw(st.integers(1, layer.ox)),
        window_rows=draw(st.integers(1, layer.ky)),
        window_columns=draw(st.integers(1, layer.kx)),
        maps=draw(st.integers(1, layer.input_rows(nfu))),
        block=draw(st.sampled_from([b for b in range(1, rows + 1) if rows % b == 0])),
        order=draw(st.sampled_from(Order)),
    )


@st.composite
def formats(draw: st.DrawFn) -> Fixed:
    bits = draw(st.sampled_from([4, 8, 16, 16]))
    return Fixed(bits=bits, fraction=draw(st.integers(0, bits - 1)))


@st.composite
def arithmetics(draw: st.DrawFn, neuron: Fixed, synapse: Fixed) -> Arithmetic:
    """Such that the order of additions cannot matter: they wrap, or saturate where only products can overflow."""
    cut, rounding = draw(st.sampled_from(Cut)), draw(st.sampled_from(DETERMINISTIC))
    least = 2 if cut is Cut.PRODUCT else neuron.bits + synapse.bits
    product = draw(st.integers(least, 34))
    if draw(st.booleans()):
        widths = {"tree_bits": draw(st.integers(2, 40)), "sum_bits": draw(st.integers(2, 40))}
        return Arithmetic(cut=cut, rounding=rounding, product_bits=product, **widths)
    return Arithmetic(cut=cut, rounding=rounding, product_bits=product, tree_bits=50, sum_bits=60, overflow=Overflow.SATURATE)


def operands(layer: Layer, seed: int) -> tuple[Words, Words | None, Words | None]:
    """Words of all magnitudes, zeros and both ends among them."""
    draws = np.random.default_rng(seed)

    def some(*shape: int) -> Words:
        words = (draws.integers(-(1 << 15), 1 << 15, shape) >> draws.integers(0, 16, shape)).astype(np.int16)
        return np.where(draws.random(shape) < 0.1, draws.choice([0, -32768, 32767], shape), words).astype(np.int16)

    window = (layer.ky, layer.kx, layer.ni // layer.groups, layer.no)
    images = some(layer.batch, layer.ny, layer.nx, layer.ni)
    synapses = some(*((layer.oy, layer.ox) if layer.is_private else ()), *window) if layer.kind is not Kind.POOL else None
    return images, synapses, some(layer.no) if layer.has_bias else None


@st.composite
def cases(draw: st.DrawFn) -> tuple[Layer, Nfu, list[Schedule]]:
    """A layer, several schedules of it, and an NFU whose buffers are just large enough for all."""
    layer, neuron, synapse = draw(layers()), draw(formats()), draw(formats())
    plain = Nfu(tn=draw(st.integers(1, 5)), ti=draw(st.integers(1, 5)), nbin_rows=1 << 20, nbout_rows=1 << 20, sb_rows=1 << 20)
    cut = [draw(schedules(layer, plain)) for _ in range(3)]
    needs = [Nest(layer, plain, s).rows for s in cut]
    nfu = Nfu(
        tn=plain.tn,
        ti=plain.ti,
        nbin_rows=max(r.nbin for r in needs),
        nbout_rows=max(r.nbout for r in needs),
        sb_rows=max(1, *(r.sb for r in needs)),
        neuron=neuron,
        synapse=synapse,
        arithmetic=draw(arithmetics(neuron, synapse)),
    )
    return layer, nfu, cut


@SETTINGS
@given(cases(), st.integers(0, 2**32))
def test_every_schedule_computes_what_the_loops_do(naive: Any, case: tuple[Layer, Nfu, list[Schedule]], seed: int) -> None:
    layer, nfu, cut = case
    x, w, biases = operands(layer, seed)
    wanted = values(layer, nfu, naive, x, w, biases)
    for schedule in cut:
        np.testing.assert_array_equal(layer_values(layer, nfu, x, w, biases, schedule), wanted, str(schedule))


LAYERS = {
    "shared": Layer(name="a", kind=Kind.CONV, nx=5, ny=4, kx=3, ky=2, ni=5, no=6, has_bias=True, function=Function.SIGMOID),
    "padded": Layer(name="a", kind=Kind.CONV, nx=6, ny=6, kx=3, ky=3, sx=2, sy=2, ni=3, no=5, border=(1, 1), batch=2),
    "grouped": Layer(name="b", kind=Kind.CONV, nx=4, ny=3, kx=2, ky=2, ni=6, no=10, groups=2, function=Function.RELU),
    "private": Layer(name="c", kind=Kind.CONV, nx=4, ny=4, kx=2, ky=3, sx=2, ni=3, no=5, is_private=True, function=Function.TANH),
    "classifier": Layer(name="d", kind=Kind.CLASSIFIER, nx=3, ni=13, no=9, has_bias=True, function=Function.TANH),
    "max": Layer(name="e", kind=Kind.POOL, nx=5, ny=5, kx=3, ky=3, sx=2, sy=2, ni=7, no=7),
    "average": Layer(name="f", kind=Kind.POOL, nx=4, ny=4, kx=2, ky=2, sx=2, sy=2, ni=5, no=5, pooling=Pooling.AVERAGE),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("cut", Cut)
@pytest.mark.parametrize("rounding", DETERMINISTIC)
def test_every_kind_with_every_cut_and_rounding(naive: Any, layer: Layer, cut: Cut, rounding: Rounding) -> None:
    x, w, biases = operands(layer, 1)
    rows, columns = layer.border
    x[:, :rows], x[:, layer.ny - rows :], x[:, :, :columns], x[:, :, layer.nx - columns :] = 0, 0, 0, 0
    wraps = Arithmetic(cut=cut, rounding=rounding, product_bits=16 if cut is Cut.PRODUCT else 32, tree_bits=34, sum_bits=20)
    wide = Arithmetic(cut=cut, rounding=rounding, product_bits=32, tree_bits=48, sum_bits=48, overflow=Overflow.SATURATE)
    for arithmetic in (wraps, wide):
        nfu = Nfu(tn=4, ti=3, nbin_rows=20, nbout_rows=9, sb_rows=11, arithmetic=arithmetic)
        np.testing.assert_array_equal(layer_values(layer, nfu, x, w, biases), values(layer, nfu, naive, x, w, biases))


def test_example_of_the_paper_takes_128_instructions() -> None:
    """8192 inputs, 256 outputs: chunks of 64 rows of NBin and SB, a row of NBout for each 16 outputs (the paper's example)."""
    layer = Layer(name="ex", kind=Kind.CLASSIFIER, ni=8192, no=256, function=Function.SIGMOID)
    nfu, schedule = Nfu(), Schedule(maps=64, block=16)
    assert len(Nest(layer, nfu, schedule)) == 128
    assert layer.nfu_cycles(nfu) == 8192
    draws = np.random.default_rng(3)
    x = draws.integers(0, 1024, (1, 1, 1, 8192)).astype(np.int16)
    w = np.rint(draws.normal(0, 1024 / 8192**0.5, (1, 1, 8192, 256))).astype(np.int16)
    products = x[0, 0, 0, :, None].astype(np.int64) * w[0, 0]
    sums = np.trunc(products / 1024).astype(np.int64).sum(axis=0)
    assert abs(sums).max() < 1 << 15
    got = layer_values(layer, nfu, x, w, schedule=schedule)[0, 0, 0]
    assert np.array_equal(got, apply(table(Function.SIGMOID, nfu), sums))
    plain = Layer(name="ex", kind=Kind.CLASSIFIER, ni=8192, no=256)
    assert np.array_equal(layer_values(plain, nfu, x, w, schedule=schedule)[0, 0, 0], sums)


def test_operands_of_another_shape_are_refused() -> None:
    layer = LAYERS["shared"]
    x, w, biases = operands(layer, 0)
    assert w is not None and biases is not None
    for got, message in (
        ((x[:, 1:], w, biases), r"wants inputs i16 \[1, 4, 5, 5\], got int16 \[1, 3, 5, 5\]"),
        ((x.astype(np.float32), w, biases), r"got float32 \[1, 4, 5, 5\]"),
        ((x, w[1:], biases), r"wants synapses i16 \[2, 3, 5, 6\]"),
        ((x, None, biases), r"wants synapses i16 \[2, 3, 5, 6\], got none"),
        ((x, w, None), r"wants biases i16 \[6\], got none"),
    ):
        with pytest.raises(HwError, match=message):
            layer_values(layer, Nfu(arithmetic=WIDE), *got)
    with pytest.raises(HwError, match="wants synapses none, got int16"):
        layer_values(LAYERS["max"], Nfu(), operands(LAYERS["max"], 0)[0], w)


@pytest.mark.parametrize(("tree_bits", "wanted"), [(33, 3), (34, 4)])
def test_the_greatest_sum_of_a_tree_saturates_where_it_does_not_fit(tree_bits: int, wanted: int) -> None:
    """Four products of 2^30 are one too many for 33 bits. The next four take 2^32 - 2^17 away; of the rest 2^15 make a step."""
    layer = Layer(name="t", kind=Kind.CLASSIFIER, ni=8, no=1)
    widths = {"product_bits": 32, "tree_bits": tree_bits, "sum_bits": 48}
    arithmetic = Arithmetic(cut=Cut.OUTPUT, rounding=Rounding.FLOOR, overflow=Overflow.SATURATE, **widths)
    nfu = Nfu(tn=1, ti=4, neuron=Fixed(bits=16, fraction=0), synapse=Fixed(bits=16, fraction=15), arithmetic=arithmetic)
    x = np.array([[[[-32768] * 4 + [32767] * 4]]], np.int16)
    w = np.full((1, 1, 8, 1), -32768, np.int16)
    assert layer_values(layer, nfu, x, w)[0, 0, 0, 0] == wanted
