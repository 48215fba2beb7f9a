"""Layers: what they need of their images, counted pixel by pixel, and what no layer is."""

import re
from itertools import product

import pytest

from hw.errors import HwError
from hw.nfu.config import Nfu
from hw.nfu.layer import Function, Kind, Layer, Pooling
from hw.nfu.schedule import best

CONV = {"name": "c", "kind": Kind.CONV, "nx": 9, "ny": 9, "ni": 4, "no": 4}


def read(layer: Layer) -> int:
    """Words of the images, borders left out, that some window reads."""
    pixels = set()
    for y, x, ky, kx in product(range(layer.oy), range(layer.ox), range(layer.ky), range(layer.kx)):
        pixels.add((y * layer.sy + ky, x * layer.sx + kx))
    rows, columns = layer.border
    inside = [(y, x) for y, x in pixels if rows <= y < layer.ny - rows and columns <= x < layer.nx - columns]
    return layer.batch * layer.ni * len(inside)


@pytest.mark.parametrize("window", [1, 2, 3, 4])
@pytest.mark.parametrize("step", [1, 2, 3, 5])
@pytest.mark.parametrize("border", [0, 1, 2])
def test_what_is_needed_of_an_image(window: int, step: int, border: int) -> None:
    """All that is read, and the rest of an image that is too little for another step where windows touch."""
    for nx in range(max(window, 2 * border + 1), 14):
        layer = Layer(name="p", kind=Kind.POOL, nx=nx, ny=1, kx=window, sx=step, ni=3, no=3, border=(0, border), batch=2)
        rest = max(0, (nx - border) - max((layer.ox - 1) * step + window, border)) if window >= step else 0
        assert layer.needed == read(layer) + 6 * rest
        assert layer.inputs == 6 * (nx - 2 * border) >= layer.needed


@pytest.mark.parametrize("rate", [250e9, 1e9])
@pytest.mark.parametrize(
    "layer",
    [
        Layer(name="every third pixel", kind=Kind.POOL, nx=60, ny=60, sx=3, sy=3, ni=16, no=16),
        Layer(name="projection of a residual block", kind=Kind.CONV, nx=56, ny=56, sx=2, sy=2, ni=64, no=16),
    ],
    ids=lambda x: x.name,
)
def test_what_nobody_reads_is_not_compulsory(layer: Layer, rate: float) -> None:
    """With whole images the bound would lie above what the instructions take."""
    nfu = Nfu(dram_bytes_per_second=rate)
    found = best(layer, nfu)
    assert layer.compulsory_bytes(nfu) == 2 * (read(layer) + layer.synapses + layer.outputs) <= found.dram_bytes
    assert found.total_cycles >= max(layer.nfu_cycles(nfu), nfu.dram_cycles(layer.compulsory_bytes(nfu)))
    whole = nfu.dram_cycles(layer.compulsory_bytes(nfu) + 2 * (layer.inputs - layer.needed))
    assert rate > 2e9 or found.total_cycles < whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ni": 0}, "ni must be a whole number of at least 1, got 0"),
        ({"nx": 4.0}, "nx must be a whole number of at least 1, got 4.0"),
        ({"ky": 10}, "ky is 10, but the image has only 9"),
        ({"groups": 3}, "3 groups do not divide 4 and 4 maps"),
        ({"kind": "conv"}, "kind must be a member of Kind (conv, pool, classifier), got 'conv'"),
        ({"function": "relu"}, "function must be a member of Function"),
        ({"pooling": "max"}, "pooling must be a member of Pooling"),
        ({"border": (5, 0)}, "border is (5, 0); it lies within the 9 rows and 9 columns"),
        ({"border": (0, -1)}, "border is (0, -1); it lies within"),
        ({"kind": Kind.POOL, "no": 5}, "pooling has as many maps out as in"),
        ({"kind": Kind.CLASSIFIER, "ny": 1, "sx": 2}, "of a classifier nx is the number of samples; ny, kx, ky, sx, sy and"),
        ({"kind": Kind.CLASSIFIER, "ny": 1, "is_private": True}, "of a classifier nx is"),
        ({"nx": 10**6, "ny": 10**6, "ni": 10**6}, "words are more than an NFU's programs count, 1,099,511,627,776"),
        ({"kind": Kind.CONV, "nx": 1 << 15, "ny": 1 << 15, "ni": 1 << 5, "no": 1 << 5, "kx": 1 << 14, "ky": 1 << 14},
         "multiply-adds are more than an NFU's programs count"),
    ],
)  # fmt: skip
def test_what_is_no_layer(change: dict[str, object], message: str) -> None:
    with pytest.raises(HwError, match=re.escape(message)) as e:
        Layer(**{**CONV, **change})  # type: ignore[arg-type]
    assert str(e.value).startswith("layer 'c': ")


def test_members_of_enumerations_are_taken() -> None:
    for function, pooling in product(Function, Pooling):
        assert Layer(**{**CONV, "function": function, "pooling": pooling}).function is function  # type: ignore[arg-type]
