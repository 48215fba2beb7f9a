"""What an NFU computes for random numbers, bit by bit, beside what float64 makes of the same words.

Inputs are uniform on [0, 1), of a pooling on [-1, 1); synapses are normal with a standard deviation of 1 / sqrt(N), where N is
the number of products of a neuron, so that sums stay near 1 whatever the layer; biases are normal with a standard deviation of
0.1. All are rounded to the formats of the NFU first: the error is that of its arithmetic and of its function units. That of
rounding the operands stands beside it. A multiplier that rounds each product down takes half a step off on average, so sums of N
products lie N 2^-(fraction + 1) too low, N 2^-11 in Q6.10; a little less, since last bits of products are mostly zeros.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from graph.fixed_point import Rounding, quantized
from hw.errors import HwError
from hw.nfu.activation import exact
from hw.nfu.config import Cut, Nfu
from hw.nfu.layer import Function, Kind, Layer, Pooling
from hw.nfu.nest import Schedule

Reals = npt.NDArray[np.float64]
OPERATIONS_PER_SECOND = 2e8
"""Multiply-adds, or words of windows, that are computed bit by bit in a second; a cautious figure."""
MOST_SECONDS, MOST_BYTES = 60.0, 2 << 30
"""What is computed without being forced to."""


def products(layer: Layer) -> int:
    """Products of a neuron; of pooling words of a window."""
    window = layer.kx * layer.ky
    return window if layer.kind is Kind.POOL else window * (layer.ni // layer.groups)


def estimate(layer: Layer) -> tuple[float, int]:
    """Seconds that values take, about, and bytes of memory."""
    operations = layer.outputs * products(layer)
    words = layer.batch * layer.nx * layer.ny * layer.ni + layer.synapses + layer.outputs
    return operations / OPERATIONS_PER_SECOND, 24 * words  # two i16 and two f64 of each, and what is between


def refuse(layer: Layer) -> None:
    """Raise `HwError` for a layer whose values would take too long or too much memory; says how much, and what to do."""
    seconds, nbytes = estimate(layer)
    if seconds <= MOST_SECONDS and nbytes <= MOST_BYTES:
        return
    needs = f"about {_long(seconds)} and {nbytes / 1e9:,.1f} GB of memory"
    raise HwError(
        f"values of layer {layer.name!r} ({layer.outputs * products(layer):,} products or words of windows) would take {needs}; "
        f"describe a smaller one with --shape, its window and maps being what errors depend on, or insist with --force"
    )


def _long(seconds: float) -> str:
    for unit, size in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} s"


def values(layer: Layer, nfu: Nfu, schedule: Schedule | None, seed: int) -> dict[str, Any]:
    """Compute a layer for random numbers, and compare.

    Parameters
    ----------
    layer, nfu, schedule : what, on what, and how; None: under the best schedule.
    seed : of the numbers.

    Returns
    -------
    ``error`` and, of rounding the operands alone, ``quantization_error``: each ``max``, ``mean``, ``rms`` (of its magnitude) and
    ``bias`` (the mean with its sign); ``expected_bias``, where rounding down makes one; ``range`` of the exact outputs.

    Raises
    ------
    HwError : no schedule fits.
    """
    from runtime.nfu.values import layer_values

    rng = np.random.Generator(np.random.Philox(seed))
    real_x, real_w, real_b = _operands(layer, rng)
    x, w = quantized(real_x, nfu.neuron), None if real_w is None else quantized(real_w, nfu.synapse)
    b = None if real_b is None else quantized(real_b, nfu.neuron)
    found = layer_values(layer, nfu, x, w, b, schedule) * nfu.neuron.step
    step_x, step_w = nfu.neuron.step, nfu.synapse.step
    wanted = in_float(layer, _real(x, step_x), None if w is None else _real(w, step_w), None if b is None else _real(b, step_x))
    unrounded = in_float(layer, real_x, real_w, real_b)
    return {
        "seed": seed,
        "outputs": int(found.size),
        "range": [float(wanted.min()), float(wanted.max())],
        "error": errors(found - wanted),
        "quantization_error": errors(wanted - unrounded),
        "expected_bias": expected_bias(layer, nfu),
        "step": nfu.neuron.step,
    }


def _real(words: npt.NDArray[np.int16], step: float) -> Reals:
    return words.astype(np.float64) * step


def expected_bias(layer: Layer, nfu: Nfu) -> float | None:
    """The mean error of sums that cutting products off downwards makes, as long as nothing overflows; None: another rounding, or
    another function than the sum itself.
    """
    a = nfu.arithmetic
    if layer.kind is Kind.POOL or a.rounding is not Rounding.FLOOR or layer.function is not Function.LINEAR:
        return None
    count = {Cut.PRODUCT: products(layer), Cut.TREE: layer.kx * layer.ky * layer.input_rows(nfu), Cut.OUTPUT: 1}[a.cut]
    return -count * 0.5 * nfu.neuron.step if nfu.synapse.fraction else 0.0


def _operands(layer: Layer, rng: np.random.Generator) -> tuple[Reals, Reals | None, Reals | None]:
    is_pool = layer.kind is Kind.POOL
    x = rng.uniform(-1.0 if is_pool else 0.0, 1.0, (layer.batch, layer.ny, layer.nx, layer.ni))
    rows, columns = layer.border
    if rows or columns:
        inside = np.zeros_like(x)
        inside[:, rows : layer.ny - rows, columns : layer.nx - columns] = 1
        x = x * inside
    if is_pool:
        return x, None, None
    window = (layer.ky, layer.kx, layer.ni // layer.groups, layer.no)
    shape = (layer.oy, layer.ox, *window) if layer.is_private else window
    w = rng.normal(0.0, products(layer) ** -0.5, shape)
    return x, w, rng.normal(0.0, 0.1, layer.no) if layer.has_bias else None


def in_float(layer: Layer, x: Reals, w: Reals | None, b: Reals | None) -> Reals:
    """The layer in float64.

    Parameters
    ----------
    x : [image, row, column, map], its border included.
    w : [row, column, map of the group, output map], of private kernels with the output's row and column before them.
    b : [output map].

    Returns
    -------
    [image, row, column, output map].
    """
    patches = np.lib.stride_tricks.sliding_window_view(x, (layer.ky, layer.kx), axis=(1, 2))
    patches = patches[:, :: layer.sy, :: layer.sx]  # [image, row, column, map, row of the window, column of it]
    if w is None:
        taken = patches.max(axis=(4, 5)) if layer.pooling is Pooling.MAX else patches.mean(axis=(4, 5))
        return exact(layer.function, taken)
    found = np.empty((layer.batch, layer.oy, layer.ox, layer.no))
    ni, no = layer.ni // layer.groups, layer.no // layer.groups
    for g in range(layer.groups):
        mine, out = patches[:, :, :, g * ni : (g + 1) * ni], slice(g * no, (g + 1) * no)
        for y in range(layer.oy):  # a row at a time: the patches of all of an image would take ky x kx as much memory
            if layer.is_private:
                found[:, y, :, out] = np.einsum("bxiyk,xykin->bxn", mine[:, y], w[y, ..., out], optimize=True)
            else:
                found[:, y, :, out] = np.tensordot(mine[:, y], w[..., out], axes=((2, 3, 4), (2, 0, 1)))
    return exact(layer.function, found if b is None else found + b)


def errors(e: Reals) -> dict[str, float]:
    """What is said of errors of any shape."""
    size = np.abs(e)
    return {
        "max": float(size.max()),
        "mean": float(size.mean()),
        "rms": float(np.sqrt(np.square(e).mean())),
        "bias": float(e.mean()),
    }
