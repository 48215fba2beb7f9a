"""Seconds of the arithmetic of a matrix product on cores that each compute one tile of the result at a time.

It takes whole waves of tiles: a result that fills its last wave badly, or is smaller than one wave, leaves cores idle. The
library is taken to choose the best of the `TILES`, and to split the inner sum over several cores where there are few tiles, at
the price of writing and adding partial results. A tile is the slower the smaller it is, for it reads more for each multiply-add,
and has a prologue worth `depth_half` steps of the inner sum.

The tiles' relative speeds were found, together with `Efficiency.depth_half` and the launch floor, as those for which this model
agrees best with the dense matrix multiplications of Baidu DeepBench (commit da81ba782073, results/train, columns P100 and V100,
fp32, 160 shapes). Over those the error |log(model / measured)| has median 0.04 and 90th percentile 0.60 on P100, 0.06 and 0.27
on V100; products of more than 1e10 multiply-adds with no extent below 128 come within 0.11. Skinny ones took up to three times
as long on P100 as the model says. No whole model was looked at.
"""

import math

from hw.cost.gemm_shape import Gemm
from hw.device import Device

TILES = (
    (128, 128, 1.0),
    (128, 64, 0.92),
    (64, 128, 0.92),
    (64, 64, 0.8),
    (128, 32, 0.7),
    (32, 128, 0.7),
    (64, 32, 0.65),
    (32, 64, 0.65),
    (32, 32, 0.45),
)
"""(rows, columns, speed relative to the largest) of the tiles that a library chooses among."""

MAX_SPLIT = 32
"""Cores that one inner sum is split over at most."""


def bytes_seconds(nbytes: float, device: Device) -> float:
    """Seconds of moving many bytes between main memory and the cores."""
    return nbytes / (device.memory_bytes_per_second * device.efficiency.memory)


def gemm_seconds(g: Gemm, device: Device, dtype: str = "f32", *, speed: float = 1.0, can_split: bool = True) -> float:
    """Seconds of the arithmetic of a matrix product, launch and compulsory traffic not counted.

    Never below flop / peak, and never less for a larger m, n or k: a larger one has the same choices or fewer, each slower.

    Parameters
    ----------
    g : its shape.
    device : whose cores share the peak evenly.
    dtype : element type of the peak.
    speed : of its kernels, relative to those of matrix products.
    can_split : an inner sum may be split over cores.
    """
    peak, cores = device.flop_per_second(dtype) * device.efficiency.matrix * speed, device.cores
    best = math.inf
    for rows, columns, relative in TILES:
        tiles = math.ceil(g.m / rows) * math.ceil(g.n / columns) * g.batch
        tile_rate = peak / cores * relative
        split = 1
        while split == 1 or (can_split and split <= MAX_SPLIT and tiles * split <= 4 * cores):
            depth = math.ceil(g.k / split)
            waves = math.ceil(tiles * split / cores)
            seconds = waves * 2 * rows * columns * (depth + device.efficiency.depth_half) / tile_rate
            if split > 1:
                seconds += bytes_seconds((split + 1) * 4 * g.m * g.n * g.batch, device)
            best = min(best, seconds)
            split *= 2
    return best
