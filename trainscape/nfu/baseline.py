"""Layers on an NFU beside the SIMD core that DianNao is measured against (`hw.nfu.simd`)."""

from collections.abc import Sequence
from typing import Any

from hw.nfu.benchmark import TEN
from hw.nfu.config import Nfu
from hw.nfu.layer import Layer
from hw.nfu.simd import PUBLISHED_ENERGY, PUBLISHED_SPEEDUP, compared, geometric_mean
from trainscape.nfu.config import DEFAULT, nfu_of
from trainscape.nfu.figures import timing_key


def against(layers: Sequence[Layer], nfu: Nfu) -> dict[str, Any]:
    """Speedup and energy ratio of each layer, and their means beside the published ones, which are of DianNao on its ten layers;
    of anything else they are None.
    """
    found = compared(nfu, layers)
    is_published = tuple(layers) == TEN and timing_key(nfu) == timing_key(nfu_of(DEFAULT))
    rows = [
        {
            "name": name,
            "simd_s": a.simd_seconds,
            "nfu_s": a.nfu_seconds,
            "speedup": a.speedup,
            "simd_J": a.simd_joules,
            "nfu_J": a.nfu_joules,
            "energy_reduction": a.energy_reduction,
        }
        for name, a in found.items()
    ]
    n = max(len(rows), 1)
    return {
        "layers": rows,
        "mean_speedup": sum(a.speedup for a in found.values()) / n,
        "geometric_mean_speedup": geometric_mean(a.speedup for a in found.values()),
        "published_speedup": PUBLISHED_SPEEDUP if is_published else None,
        "mean_energy_reduction": sum(a.energy_reduction for a in found.values()) / n,
        "geometric_mean_energy_reduction": geometric_mean(a.energy_reduction for a in found.values()),
        "published_energy_reduction": PUBLISHED_ENERGY if is_published else None,
    }
