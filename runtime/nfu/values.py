"""The values of a layer by itself: lowered, packed, run."""

import numpy as np
import numpy.typing as npt

from hw.errors import HwError
from hw.nfu.config import Nfu
from hw.nfu.layer import Kind, Layer
from hw.nfu.lower import lower, packed, places
from hw.nfu.nest import Nest, Schedule
from hw.nfu.schedule import best
from runtime.nfu.machine import run

Words = npt.NDArray[np.int16]


def layer_values(
    layer: Layer, nfu: Nfu, inputs: Words, synapses: Words | None, biases: Words | None = None, schedule: Schedule | None = None
) -> Words:
    """What `nfu` computes for a layer, bit by bit.

    Parameters
    ----------
    layer, nfu : what, and on what.
    inputs : i16 [batch, ny, nx, ni], borders included; of a classifier [1, 1, samples, ni].
    synapses : i16 [ky, kx, ni / groups, no], of private kernels [oy, ox, ky, kx, ni / groups, no]; of pooling None.
    biases : i16 [no] where the layer has them.
    schedule : how the layer is cut; by default the best one. Values depend on it where additions saturate or rounding is random.

    Returns
    -------
    i16 [batch, oy, ox, no].

    Raises
    ------
    HwError : operands of another shape, or a schedule that does not fit.
    """
    nest = Nest(layer, nfu, best(layer, nfu).schedule if schedule is None else schedule)
    _check(layer, "inputs", inputs, (layer.batch, layer.ny, layer.nx, layer.ni))
    _check(layer, "biases", biases, (layer.no,) if layer.has_bias else None)
    _check(layer, "synapses", synapses, _synapses(layer))
    where, words = places(layer)
    program = lower(nest, where)
    memory = np.zeros(words, np.int16)
    memory[where.inputs.address : where.inputs.address + inputs.size] = inputs.ravel()
    if synapses is not None:
        memory[where.synapses : where.synapses + layer.synapses] = packed(nest, synapses)
    if biases is not None:
        memory[where.biases : where.biases + layer.no] = biases
    run(program, nfu, memory)
    return memory[where.outputs.address :].reshape(layer.batch, layer.oy, layer.ox, layer.no)


def _synapses(layer: Layer) -> tuple[int, ...] | None:
    if layer.kind is Kind.POOL:
        return None
    window = (layer.ky, layer.kx, layer.ni // layer.groups, layer.no)
    return (layer.oy, layer.ox, *window) if layer.is_private else window


def _check(layer: Layer, what: str, got: Words | None, want: tuple[int, ...] | None) -> None:
    if (None if got is None else (got.shape, got.dtype)) != (None if want is None else (want, np.dtype(np.int16))):
        said = "none" if got is None else f"{got.dtype} {list(got.shape)}"
        raise HwError(f"layer {layer.name!r} wants {what} {'none' if want is None else f'i16 {list(want)}'}, got {said}")
