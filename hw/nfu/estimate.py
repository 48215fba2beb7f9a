"""Schedules that fit a layer, and about what each of them costs: all of them at once."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from hw.nfu.config import Nfu
from hw.nfu.layer import Kind, Layer
from hw.nfu.nest import Index, Nest, Order, Schedule

CUTS = 7
"""Sizes of a tile that are tried along an extent: the largest ones that cut it evenly."""
Reals = npt.NDArray[np.float64]
Values = Index | Reals


def _cuts(extent: int, most: int) -> list[int]:
    """Sizes up to `most` that cut an extent into parts as even as can be, the largest first, few of them, and 1."""
    found: list[int] = []
    parts = max(1, -(-extent // max(most, 1)))
    while parts <= extent and len(found) < CUTS:
        size = -(-extent // parts)
        found.append(size)
        parts = -(-extent // (size - 1)) if size > 1 else extent + 1
    return found if 1 in found else [*found, 1]


def candidates(layer: Layer, nfu: Nfu) -> Index:
    """Cuts that fit: i64 [6, n], rows, columns, window rows and columns, maps, block of each. They go with either order."""
    nest = Nest(layer, nfu, Schedule())
    outputs = 1 if nest.is_pool else layer.output_rows(nfu)
    window = nfu.nbin_rows if nest.is_pool else nfu.sb_rows
    sizes = (
        _cuts(layer.oy, nfu.nbout_rows),
        _cuts(layer.ox, nfu.nbout_rows),
        _cuts(layer.ky, window),
        _cuts(layer.kx, window),
        _cuts(layer.input_rows(nfu), min(window, nfu.nbin_rows)),
        [b for b in range(1, min(outputs, nfu.nbout_rows) + 1) if outputs % b == 0],
    )
    rows, columns, wy, wx, maps, block = np.ix_(*sizes)
    positions = rows * columns
    patch = ((rows - 1) * layer.sy + wy) * ((columns - 1) * layer.sx + wx)
    fits = (patch * maps <= nfu.nbin_rows) & (positions * (maps if nest.is_pool else block) <= nfu.nbout_rows)
    if not nest.is_pool:
        fits &= wy * wx * maps * (positions if layer.is_private else 1) <= nfu.sb_rows
    return np.stack([np.array(of, np.int64)[at] for of, at in zip(sizes, np.nonzero(fits), strict=True)])


class Estimate:
    """About what a layer costs under many schedules: attributes are arrays over `cuts`, or over orders (`Order`) and `cuts`.

    Parameters
    ----------
    layer, nfu : what, and on what.
    cuts : i64 [6, n], of `candidates`.
    """

    def __init__(self, layer: Layer, nfu: Nfu, cuts: Index) -> None:
        self.layer, self.nfu, self.cuts = layer, nfu, cuts
        self.rows, self.columns, self.wy, self.wx, self.maps, self.block = cuts
        self.is_pool = layer.kind is Kind.POOL
        self.cuts_y, self.cuts_x = -(-layer.ky // self.wy), -(-layer.kx // self.wx)
        self.parts = -(-layer.input_rows(nfu) // self.maps)
        self.blocks = self.parts if self.is_pool else layer.output_rows(nfu) // self.block
        self.tiles_y, self.tiles_x = -(-layer.oy // self.rows), -(-layer.ox // self.columns)
        self.tiles = layer.batch * self.tiles_y * self.tiles_x
        self.rate = nfu.clock_hz / nfu.dram_bytes_per_second
        chunks = self.cuts_y * self.cuts_x * (1 if self.is_pool else self.parts)
        outside = np.array([[order is Order.SYNAPSES] for order in Order])
        again = (chunks > 1) | (outside & (self.tiles > 1))
        self.passes = np.where(again & (not self.is_pool), self.blocks, 1)  # over the inputs
        self.instructions = chunks * self.blocks * self.block  # of a tile, in a group
        self.loads = chunks * np.where(again | self.is_pool, self.blocks, 1)  # of inputs, among these
        self.stay = (chunks == 1) & (self.block == 1) & (outside | (self.blocks == 1)) & (not layer.is_private)

    @cached_property
    def alike(self) -> npt.NDArray[np.bool_]:
        """Both orders are the same program."""
        found: npt.NDArray[np.bool_] = (self.blocks == 1) | (self.tiles == 1)
        return found

    def schedule(self, i: int) -> Schedule:
        """That of item `i` of an array over orders and cuts, counted through."""
        order, at = divmod(i, self.cuts.shape[1])
        rows, columns, wy, wx, maps, block = self.cuts[:, at].tolist()
        return Schedule(
            rows=rows, columns=columns, window_rows=wy, window_columns=wx, maps=maps, block=block, order=list(Order)[order]
        )

    @cached_property
    def dram_bytes(self) -> Index:
        """Moved, exactly."""
        layer, nfu = self.layer, self.nfu
        high = self.cuts_y * layer.sy * (layer.oy - self.tiles_y) + self.tiles_y * layer.ky  # of all boxes of a column
        wide = self.cuts_x * layer.sx * (layer.ox - self.tiles_x) + self.tiles_x * layer.kx
        inputs = layer.batch * layer.ni * high * wide * self.passes
        synapses = layer.synapses * np.where(self.stay, 1, layer.batch if layer.is_private else self.tiles)
        biases = layer.biases * self.tiles
        found: Index = (inputs + biases + layer.outputs) * nfu.word_bytes + synapses * nfu.synapse_bytes
        return found

    @property
    def cycles(self) -> Reals:
        """As the closed form, but all chunks of a tile are taken to be alike, and what is moved seldom to be moved together with
        what is moved more often. Of schedules that take as long, the one with fewer instructions comes first.
        """
        found: Reals = self._sums[0] + self._edges + 1e-3 * self.tiles * self.instructions
        return found

    @property
    def moved(self) -> Reals:
        """Cycles of the transfers, those of biases left out."""
        return self._sums[1]

    @cached_property
    def _sums(self) -> tuple[Reals, Reals]:
        """Over all tiles, of `_tile`."""
        layer = self.layer
        total = np.where(self.stay, (layer.groups * self.blocks - 1) * self._synapse, 0.0)
        moved = total.copy()
        heights = ((self.rows, self.tiles_y - 1), (layer.oy - (self.tiles_y - 1) * self.rows, np.ones_like(self.rows)))
        widths = ((self.columns, self.tiles_x - 1), (layer.ox - (self.tiles_x - 1) * self.columns, np.ones_like(self.rows)))
        for high, many_y in heights:
            for wide, many_x in widths:
                many = layer.groups * layer.batch * many_y * many_x
                if many.any():
                    found = self._tile(high, wide)
                    total += many * found[0]
                    moved += many * found[1]
        return total, moved

    @cached_property
    def _synapse(self) -> Reals:
        """Cycles for a chunk of synapses."""
        layer = self.layer
        positions = layer.ox * layer.oy if layer.is_private else 1
        each: Reals = layer.synapses / positions / layer.groups / self.instructions
        return each * self.nfu.synapse_bytes * self.rate * (not self.is_pool)

    def _tile(self, high: Index, wide: Index) -> tuple[Reals, Reals]:
        """Cycles of the instructions of a tile, in a group, and of what they move."""
        layer, nfu = self.layer, self.nfu
        window = layer.ky * layer.kx * layer.input_rows(nfu) * (1 if self.is_pool else layer.output_rows(nfu))
        compute = high * wide * window / self.instructions
        patch = ((high - 1) * layer.sy + layer.ky / self.cuts_y) * ((wide - 1) * layer.sx + layer.kx / self.cuts_x)
        inputs = patch * (layer.ni / layer.groups / self.parts) * nfu.word_bytes * self.rate
        stores = high * wide * (layer.no / layer.groups / self.blocks) * nfu.word_bytes * self.rate
        chunk = np.where(self.stay, 0.0, self._synapse * (high * wide if layer.is_private else 1))
        # every instruction has a chunk; some load inputs or store results, and of these as many as can be do both
        both, either = np.minimum(self.loads, self.blocks), np.maximum(self.loads, self.blocks)
        other = np.where(self.loads > self.blocks, inputs, stores)
        found: Reals = both * np.maximum(compute, np.ceil(inputs + stores + chunk))
        found += (either - both) * np.maximum(compute, np.ceil(other + chunk))
        found += (self.instructions - either) * np.maximum(compute, np.ceil(chunk))
        return found, self.loads * inputs + self.instructions * chunk + self.blocks * stores

    @cached_property
    def _edges(self) -> Reals:
        """Cycles of the first load and of the last store."""
        layer, nfu = self.layer, self.nfu
        words = np.minimum(self.maps * layer.lanes(nfu), layer.ni // layer.groups)
        patch = ((self.rows - 1) * layer.sy + self.wy) * ((self.columns - 1) * layer.sx + self.wx)
        neurons = 0 if self.is_pool else min(nfu.tn, layer.no // layer.groups)
        chunk = self.wy * self.wx * words * neurons * (self.rows * self.columns if layer.is_private else 1)
        load = patch * words * nfu.word_bytes + chunk * nfu.synapse_bytes
        high, wide = layer.oy - (self.tiles_y - 1) * self.rows, layer.ox - (self.tiles_x - 1) * self.columns
        store = high * wide * (layer.no / layer.groups / self.blocks) * nfu.word_bytes
        edges: Reals = np.ceil(load * self.rate) + np.ceil(store * self.rate)
        return edges
