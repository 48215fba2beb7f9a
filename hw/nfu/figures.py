"""The three figures by which accelerators are compared, as this template has them. Published ones: `hw.catalogue.published`."""

from collections.abc import Mapping

from hw.nfu.area import area_m2
from hw.nfu.config import Nfu
from hw.nfu.energy import watts


def figures(nfu: Nfu) -> Mapping[str, float]:
    """``operations`` of products and trees per second at full rate (decimal: 486.08e9 for DianNao, whose paper prints 452 for
    486.08e9 / 2^30), ``multiply_adds`` per second, ``area`` in square metres and ``power`` in watts at full rate, without memory.
    """
    return {
        "operations": nfu.operations * nfu.clock_hz,
        "multiply_adds": nfu.multipliers * nfu.clock_hz,
        "area": area_m2(nfu),
        "power": watts(nfu),
    }
