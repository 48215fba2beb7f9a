"""Sizes of instructions: what each one of a nest computes and moves, for any selection of them at once."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from hw.nfu.nest import Index, Nest

Flags = npt.NDArray[np.bool_]


class Steps:
    """Instructions `k` of a nest; every attribute is an array along them. Those outside of the nest move and do nothing.

    Parameters
    ----------
    nest : the loops.
    k : i64, numbers of instructions; -1 and ``len(nest)`` stand for what comes before and after all.
    """

    def __init__(self, nest: Nest, k: Index) -> None:
        self.nest, self.k = nest, k
        self.is_there: Flags = (k >= 0) & (k < len(nest))
        self.at = self._digits(k)

    def _digits(self, k: Index) -> dict[str, Index]:
        return self.nest.digits(np.minimum(np.maximum(k, 0), len(self.nest) - 1))

    @cached_property
    def _before(self) -> dict[str, Index]:
        """Loop indices of the instructions before."""
        return self._digits(self.k - 1)

    def _size(self, loop: str, step: int, whole: int) -> Index:
        """Of a cut extent: `step`, and of the last iteration the rest."""
        return np.minimum(step, whole - self.at[loop] * step)

    def _moved(self, *loops: str) -> Flags:
        """One of these loops went on since the instruction before, or there is none before."""
        moved: Flags = self.k == 0
        for loop in self.nest.long.keys() & loops:
            moved = moved | (self.at[loop] != self._before[loop])
        return moved & self.is_there

    def _first(self, *loops: str) -> Flags:
        """In the first iteration of each of these loops."""
        found = self.is_there
        for loop in self.nest.long.keys() & loops:
            found = found & (self.at[loop] == 0)
        return found

    def _last(self, *loops: str) -> Flags:
        """In the last iteration of each of these loops."""
        found = self.is_there
        for loop in self.nest.long.keys() & loops:
            found = found & (self.at[loop] == self.nest.long[loop] - 1)
        return found

    # --- extents ---

    @cached_property
    def positions_y(self) -> Index:
        return self._size("y", self.nest.schedule.rows, self.nest.layer.oy)

    @cached_property
    def positions_x(self) -> Index:
        return self._size("x", self.nest.schedule.columns, self.nest.layer.ox)

    @cached_property
    def positions(self) -> Index:
        """Positions of the tile."""
        return self.positions_y * self.positions_x

    @cached_property
    def taps_y(self) -> Index:
        return self._size("window_y", self.nest.schedule.window_rows, self.nest.layer.ky)

    @cached_property
    def taps_x(self) -> Index:
        return self._size("window_x", self.nest.schedule.window_columns, self.nest.layer.kx)

    @cached_property
    def block(self) -> Index:
        """Number of the block of output neurons; of pooling of maps."""
        return self.at["block"] + self.at["inner_block"]

    @cached_property
    def first_word(self) -> Index:
        """Of the group's input maps, the first that this instruction reads."""
        chunk = self.block if self.nest.is_pool else self.at["maps"]
        return chunk * (self.nest.schedule.maps * self.nest.layer.lanes(self.nest.nfu))

    @cached_property
    def words(self) -> Index:
        """Input maps that it reads of each pixel."""
        layer = self.nest.layer
        step = self.nest.schedule.maps * layer.lanes(self.nest.nfu)
        return np.minimum(step, layer.ni // layer.groups - self.first_word)

    @cached_property
    def map_rows(self) -> Index:
        """Rows of NBin that these take."""
        return -(-self.words // self.nest.layer.lanes(self.nest.nfu))

    @cached_property
    def row(self) -> Index:
        """Number of the row of output neurons, in the group."""
        return self.block * self.nest.schedule.block + self.at["row"]

    @cached_property
    def neurons(self) -> Index:
        """Lanes of the result that are used."""
        layer, nfu = self.nest.layer, self.nest.nfu
        if self.nest.is_pool:
            return np.minimum(layer.lanes(nfu), self.words)
        return np.minimum(nfu.tn, layer.no // layer.groups - self.row * nfu.tn)

    @cached_property
    def first_output(self) -> Index:
        """Of the group's output maps, the first of the block."""
        return self.first_word if self.nest.is_pool else self.block * (self.nest.schedule.block * self.nest.nfu.tn)

    @cached_property
    def outputs(self) -> Index:
        """Output maps of the block."""
        if self.nest.is_pool:
            return self.words
        layer = self.nest.layer
        return np.minimum(self.nest.schedule.block * self.nest.nfu.tn, layer.no // layer.groups - self.first_output)

    # --- when ---

    @cached_property
    def begins(self) -> Flags:
        """Sums of its neurons begin with it."""
        return self._first("window_y", "window_x", "maps")

    @cached_property
    def stores(self) -> Flags:
        """With it the sums of a block are complete: it hands them to the function units and to memory."""
        return self._last("window_y", "window_x", "maps", "row")

    @cached_property
    def loads_inputs(self) -> Flags:
        """NBin has something else than the instruction before left there."""
        loops: tuple[str, ...] = ("group", "image", "y", "x", "window_y", "window_x", "maps")
        return self._moved(*loops, *(("block", "inner_block") if self.nest.is_pool else ()))

    @cached_property
    def loads_synapses(self) -> Flags:
        """SB has something else than the instruction before left there."""
        if self.nest.is_pool:
            return np.zeros(len(self.k), np.bool_)
        loops = ("group", "block", "inner_block", "window_y", "window_x", "maps", "row")
        return self._moved(*loops, "image", "y", "x") if self.nest.layer.is_private else self._moved(*loops)

    @cached_property
    def loads_bias(self) -> Flags:
        """Its sums begin with a bias."""
        return self.begins & self.nest.layer.has_bias

    # --- words and rows moved ---

    @cached_property
    def patch_rows(self) -> Index:
        """Pixels of the box that NBin holds, from top to bottom."""
        return (self.positions_y - 1) * self.nest.layer.sy + self.taps_y

    @cached_property
    def patch_columns(self) -> Index:
        """From left to right."""
        return (self.positions_x - 1) * self.nest.layer.sx + self.taps_x

    @cached_property
    def input_words(self) -> Index:
        """Loaded into NBin."""
        return np.where(self.loads_inputs, self.patch_rows * self.patch_columns * self.words, 0)

    @cached_property
    def synapse_words(self) -> Index:
        """Loaded into SB: of its rows those that are there."""
        return np.where(self.loads_synapses, self.chunk_words, 0)

    @cached_property
    def chunk_words(self) -> Index:
        """Synapses that it uses."""
        each = self.taps_y * self.taps_x * self.words * self.neurons
        return each * self.positions if self.nest.layer.is_private else each

    @cached_property
    def bias_words(self) -> Index:
        """Loaded into NBout."""
        return np.where(self.loads_bias, self.neurons, 0)

    @cached_property
    def result_words(self) -> Index:
        """Stored."""
        return np.where(self.stores, self.positions * self.outputs, 0)

    @property
    def neuron_bytes(self) -> Index:
        """Loaded into NBin and, biases, into NBout."""
        return (self.input_words + self.bias_words) * self.nest.nfu.word_bytes

    @property
    def synapse_bytes(self) -> Index:
        """Loaded into SB."""
        return self.synapse_words * self.nest.nfu.synapse_bytes

    @property
    def result_bytes(self) -> Index:
        """Stored."""
        return self.result_words * self.nest.nfu.word_bytes

    @cached_property
    def cycles(self) -> Index:
        """In which NFU-1 and NFU-2 work."""
        return np.where(self.is_there, self.positions * self.taps_y * self.taps_x * self.map_rows, 0)

    @cached_property
    def sum_rows(self) -> Index:
        """Rows of NBout that it adds to."""
        return np.where(self.is_there, self.positions * (self.map_rows if self.nest.is_pool else 1), 0)

    @cached_property
    def function_rows(self) -> Index:
        """Rows of NBout that go through the function units."""
        lanes = self.nest.layer.lanes(self.nest.nfu) if self.nest.is_pool else self.nest.nfu.tn
        return np.where(self.stores, self.positions * -(-self.outputs // lanes), 0)
