"""A layer under a schedule as a program, and its synapses in the order in which the program reads them."""

import numpy as np
import numpy.typing as npt

from graph.record import record
from hw.errors import HwError
from hw.nfu.isa import FUNCTIONS, Op, Program
from hw.nfu.layer import Kind, Layer, Pooling
from hw.nfu.nest import Index, Nest
from hw.nfu.steps import Steps

LONGEST = 4_000_000
"""Instructions of the longest program that is written out at once: about a gigabyte."""


@record
class Images:
    """Where images lie in memory: word (b, y, x, i) at ``address + b image_pitch + y row_pitch + x pitch + i``.

    Parameters
    ----------
    address : of the first word.
    image_pitch, row_pitch, pitch : words from image to image, row to row, pixel to pixel.
    """

    address: int
    image_pitch: int
    row_pitch: int
    pitch: int

    @classmethod
    def dense(cls, address: int, rows: int, columns: int, maps: int) -> "Images":
        """Images without gaps."""
        return cls(address=address, image_pitch=rows * columns * maps, row_pitch=columns * maps, pitch=maps)


@record
class Places:
    """Where a layer's operands lie, in words; images with their borders.

    Parameters
    ----------
    inputs, outputs : images.
    synapses, biases : addresses.
    """

    inputs: Images
    outputs: Images
    synapses: int = 0
    biases: int = 0


def places(layer: Layer) -> tuple[Places, int]:
    """Everything one after the other (inputs, synapses, biases, outputs), and how many words it takes."""
    inputs = layer.batch * layer.ny * layer.nx * layer.ni
    synapses, biases = inputs, inputs + layer.synapses
    outputs = biases + layer.biases
    found = Places(
        inputs=Images.dense(0, layer.ny, layer.nx, layer.ni),
        outputs=Images.dense(outputs, layer.oy, layer.ox, layer.no),
        synapses=synapses,
        biases=biases,
    )
    return found, outputs + layer.outputs


def lower(nest: Nest, where: Places, *, first: int = 0, last: int | None = None) -> Program:
    """Instructions of a layer.

    Parameters
    ----------
    nest : the layer under a schedule.
    where : its operands.
    first, last : instructions ``first <= k < last``; by default all.

    Raises
    ------
    HwError : so many instructions do not fit memory; take them in parts.
    """
    end = len(nest) if last is None else last
    if end - first > LONGEST:
        raise HwError(
            f"layer {nest.layer.name!r} has {end - first:,} instructions, more than the {LONGEST:,} that are written out at "
            f"once; its cost needs none of them (hw.nfu.schedule)"
        )
    s = Steps(nest, np.arange(first, end, dtype=np.int64))
    layer = nest.layer
    scale = 1 / (layer.kx * layer.ky) if nest.is_pool and layer.pooling is Pooling.AVERAGE else 1.0
    return Program({**_control(s), **_synapses(s, where), **_inputs(s, where), **_outputs(s, where), **_walk(s)}, scale)


def _full(s: Steps, value: int) -> Index:
    return np.full(len(s.k), value, np.int64)


def _control(s: Steps) -> dict[str, Index]:
    return {"cp.end": (s.k == len(s.nest) - 1).astype(np.int64)}


def _synapses(s: Steps, where: Places) -> dict[str, Index]:
    if s.nest.is_pool:
        return {key: _full(s, 0) for key in ("sb.op", "sb.reuse", "sb.address", "sb.size")}
    return {
        "sb.op": np.where(s.loads_synapses, int(Op.LOAD), int(Op.READ)),
        "sb.reuse": _full(s, 0 if s.nest.layer.is_private else 1),
        "sb.address": where.synapses + chunk_at(s),
        "sb.size": s.chunk_words,
    }


def chunk_at(s: Steps) -> Index:
    """Where an instruction's synapses begin, in words: [tile] (of private kernels) [row of neurons] [chunk]."""
    layer, nest = s.nest.layer, s.nest
    maps, window = layer.ni // layer.groups, nest.schedule
    neuron = layer.ky * layer.kx * maps  # words of one
    before = s.at["group"] * (layer.no // layer.groups) + s.row * nest.nfu.tn  # neurons
    above = s.at["window_y"] * window.window_rows * layer.kx * maps
    beside = s.taps_y * s.at["window_x"] * window.window_columns * maps
    inside = above + beside + s.taps_y * s.taps_x * s.first_word
    at: Index = before * neuron + s.neurons * inside
    if not layer.is_private:
        return at
    earlier = s.at["y"] * window.rows * layer.ox + s.positions_y * s.at["x"] * window.columns  # positions
    of_tile: Index = earlier * (neuron * layer.no) + s.positions * at
    return of_tile


def _inputs(s: Steps, where: Places) -> dict[str, Index]:
    layer, cut, image = s.nest.layer, s.nest.schedule, where.inputs
    y = s.at["y"] * (cut.rows * layer.sy) + s.at["window_y"] * cut.window_rows
    x = s.at["x"] * (cut.columns * layer.sx) + s.at["window_x"] * cut.window_columns
    word = s.at["group"] * (layer.ni // layer.groups) + s.first_word
    return {
        "nbin.op": np.where(s.loads_inputs, int(Op.LOAD), int(Op.READ)),
        "nbin.address": image.address + s.at["image"] * image.image_pitch + y * image.row_pitch + x * image.pitch + word,
        "nbin.rows": s.patch_rows,
        "nbin.columns": s.patch_columns,
        "nbin.words": s.words,
        "nbin.row_pitch": _full(s, image.row_pitch),
        "nbin.pitch": _full(s, image.pitch),
        "nbin.stride_y": _full(s, layer.sy),
        "nbin.stride_x": _full(s, layer.sx),
    }


def _outputs(s: Steps, where: Places) -> dict[str, Index]:
    layer, cut, image = s.nest.layer, s.nest.schedule, where.outputs
    maps = layer.no // layer.groups
    at = image.address + s.at["image"] * image.image_pitch
    at = at + s.at["y"] * cut.rows * image.row_pitch + s.at["x"] * cut.columns * image.pitch
    bias = where.biases + s.at["group"] * maps + s.row * s.nest.nfu.tn if layer.has_bias else _full(s, 0)
    return {
        "nbout.read_op": np.where(s.loads_bias, int(Op.LOAD), int(Op.NOP)),
        "nbout.bias": np.where(s.loads_bias, bias, 0),
        "nbout.write_op": np.where(s.stores, int(Op.STORE), int(Op.NOP)),
        "nbout.address": np.where(s.stores, at + s.at["group"] * maps + s.first_output, 0),
        "nbout.words": np.where(s.stores, s.outputs, 0),
        "nbout.row_pitch": _full(s, image.row_pitch),
        "nbout.pitch": _full(s, image.pitch),
        "nbout.begin": s.at["row"] * s.positions,
    }


def _walk(s: Steps) -> dict[str, Index]:
    layer, is_pool = s.nest.layer, s.nest.is_pool
    is_max = is_pool and layer.pooling is Pooling.MAX
    return {
        "nfu.nfu1": _full(s, Op.NOP if is_pool else Op.MULT),
        "nfu.nfu2": _full(s, Op.MAX if is_max else Op.ADD),
        "nfu.nfu2_in": np.where(s.begins & ~s.loads_bias, int(Op.RESET), int(Op.NBOUT)),
        "nfu.nfu2_out": np.where(s.stores, int(Op.NFU3), int(Op.NBOUT)),
        "nfu.nfu3": np.where(s.stores, int(FUNCTIONS[layer.function]), int(Op.NOP)),
        "nfu.positions_y": s.positions_y,
        "nfu.positions_x": s.positions_x,
        "nfu.taps_y": s.taps_y,
        "nfu.taps_x": s.taps_x,
        "nfu.neurons": s.neurons,
        "nfu.output_begin": _full(s, 0),
        "nfu.output_end": s.function_rows,
    }


def packed(nest: Nest, synapses: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Synapses as the program of `nest` reads them.

    Parameters
    ----------
    nest : the layer under a schedule.
    synapses : i16 [ky, kx, ni / groups, no], of private kernels [oy, ox, ky, kx, ni / groups, no].

    Returns
    -------
    i16 [layer.synapses].
    """
    layer, cut = nest.layer, nest.schedule
    window = (layer.ky, layer.kx, layer.ni // layer.groups, layer.no)
    shape = (layer.oy, layer.ox, *window) if layer.is_private else window
    if layer.kind is Kind.POOL or synapses.shape != shape:
        raise HwError(f"layer {layer.name!r} wants synapses {list(shape)}, got {list(synapses.shape)}")
    if not layer.is_private:
        return _packed_tile(nest, synapses[None])
    tiles = [
        synapses[y : y + cut.rows, x : x + cut.columns].reshape(-1, *window)
        for y in range(0, layer.oy, cut.rows)
        for x in range(0, layer.ox, cut.columns)
    ]
    return np.concatenate([_packed_tile(nest, t) for t in tiles])


def _packed_tile(nest: Nest, synapses: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """[position, row, column, map, neuron] in chunks."""
    layer, cut, tn = nest.layer, nest.schedule, nest.nfu.tn
    step, each = cut.maps * layer.lanes(nest.nfu), layer.no // layer.groups
    parts = []
    for group in range(layer.groups):
        for n in range(0, each, tn):
            neurons = slice(group * each + n, group * each + min(n + tn, each))
            for y in range(0, layer.ky, cut.window_rows):
                for x in range(0, layer.kx, cut.window_columns):
                    for i in range(0, layer.ni // layer.groups, step):
                        chunk = synapses[:, y : y + cut.window_rows, x : x + cut.window_columns, i : i + step, neurons]
                        parts.append(np.ascontiguousarray(chunk.transpose(0, 1, 2, 4, 3)).ravel())
    return np.concatenate(parts)
