"""Seconds of the arithmetic of a convolution: the fastest of the algorithms that a library has.

Implicit GEMM
    one matrix product (`hw.cost.gemm_shape`); gradients at rates of their own, and the gradient of the input slower with a
    stride, for its pixels meet different taps.
Winograd's minimal filtering (Lavin and Gray, Fast algorithms for convolutional neural networks, CVPR 2016, F(2x2, 3x3))
    for 3x3 kernels with stride 1: a tile of 2x2 results takes 16 products instead of 36, which are 16 matrix products over
    tiles, channels and filters.
FFT (Mathieu, Henaff and LeCun, Fast training of convolutional networks through FFTs, ICLR 2014; in tiles, Vasilache et al.,
Fast convolutional nets with fbfft, ICLR 2015)
    with stride 1: images and filters are transformed in tiles of t x t, t = 16 or 32, which give (t - k + 1)^2 results each; for
    each of the t (t/2 + 1) frequencies of a real tile stands a product of complex matrices, 8 flop a multiply-add. Transformed
    images, filters and results are written and read once.

How fast each runs, relative to large matrix products, is the device's (`hw.device.ConvolutionLibrary`). What a library prefers
for want of workspace, or from a heuristic, is not modelled: the fastest is taken. Where operands are rounded for tensor cores
there is implicit GEMM alone: transforms would round what has been rounded.
"""

import math

from hw.cost.gemm import bytes_seconds, gemm_seconds
from hw.cost.gemm_shape import Convolution, Direction, Gemm
from hw.device import ConvolutionLibrary, Device
from hw.kernels.record import Platform

FFT_TILES = (16, 32)
COMPLEX = 8  # bytes of a frequency
WINOGRAD_IN, WINOGRAD_OUT = 16, 2  # products of a tile; rows and columns of results in it


def remark(device: Device) -> str:
    """What to know of a GPU whose library's rates nobody has published; empty for other devices."""
    if device.platform is not Platform.CUDA or device.convolution != ConvolutionLibrary():
        return ""
    return (
        f"{device.name}: no times of single convolutions are known, so a convolution runs at the speed of a matrix product, "
        "which may be too fast or too slow."
    )


def convolution_seconds(c: Convolution, device: Device, dtype: str = "f32", *, is_rounded: bool = False) -> float:
    """Seconds of the arithmetic, launch and compulsory traffic not counted.

    Parameters
    ----------
    c : its shape.
    device : whose library computes it.
    dtype : element type of the peak.
    is_rounded : operands are rounded to it first.
    """
    return _gemm(c, device, dtype) if is_rounded else min(algorithms(c, device, dtype).values())


def algorithms(c: Convolution, device: Device, dtype: str = "f32") -> dict[str, float]:
    """Algorithm (``gemm | winograd | fft16 | fft32``) -> seconds, of those that can compute it and that the device has."""
    found = {"gemm": _gemm(c, device, dtype)}
    speed = _winograd_speed(c, device)
    if c.kernel_rows == c.kernel_columns == 3 and c.stride == 1 and speed:
        found["winograd"] = gemm_seconds(_winograd(c), device, dtype, speed=speed, can_split=_is_weight(c))
    if c.kernel_rows > 1 and c.kernel_columns > 1 and c.stride == 1 and device.convolution.fft:
        for tile in FFT_TILES:
            if tile >= 2 * max(c.kernel_rows, c.kernel_columns) - 1:  # at least half of the rows of a tile are results
                found[f"fft{tile}"] = _fft(c, tile, device, dtype)
    return found


def _is_weight(c: Convolution) -> bool:
    return c.direction is Direction.GRAD_WEIGHT


def _gemm(c: Convolution, device: Device, dtype: str) -> float:
    library = device.convolution
    relative = {Direction.FORWARD: 1.0, Direction.GRAD_INPUT: library.grad_input, Direction.GRAD_WEIGHT: library.grad_weight}
    speed = library.forward * relative[c.direction]
    if c.direction is Direction.GRAD_INPUT and c.stride > 1:
        speed /= library.strided
    return gemm_seconds(c.gemm, device, dtype, speed=speed, can_split=_is_weight(c))


def _winograd_speed(c: Convolution, device: Device) -> float:
    library = device.convolution
    return library.forward * (library.winograd_grad_weight if _is_weight(c) else library.winograd)


def _extents(c: Convolution) -> tuple[int, int]:
    """Rows and columns that are computed from tiles: those of the input for its gradient, else those of the result."""
    return (c.rows, c.columns) if c.direction is Direction.GRAD_INPUT else (c.out_rows, c.out_columns)


def _product(c: Convolution, tiles: int) -> tuple[int, int, int]:
    """m, n, k of the product of one frequency (or one of Winograd's 16) over so many tiles."""
    match c.direction:
        case Direction.FORWARD:
            return tiles, c.filters, c.channels
        case Direction.GRAD_INPUT:
            return tiles, c.channels, c.filters
        case Direction.GRAD_WEIGHT:
            return c.channels, c.filters, tiles


def _winograd(c: Convolution) -> Gemm:
    rows, columns = _extents(c)
    m, n, k = _product(c, c.images * math.ceil(rows / WINOGRAD_OUT) * math.ceil(columns / WINOGRAD_OUT))
    return Gemm(m=m, n=n, k=k, batch=WINOGRAD_IN * c.groups)


def _fft(c: Convolution, tile: int, device: Device, dtype: str) -> float:
    rows, columns = _extents(c)
    tiles = c.images * math.ceil(rows / (tile - c.kernel_rows + 1)) * math.ceil(columns / (tile - c.kernel_columns + 1))
    frequencies = tile * (tile // 2 + 1)
    m, n, k = _product(c, tiles)
    product = Gemm(m=m, n=2 * n, k=2 * k, batch=frequencies * c.groups)  # as real matrices: as many flop
    values = tiles * (c.channels + c.filters) + c.channels * c.filters
    transforms = bytes_seconds(2 * COMPLEX * frequencies * values * c.groups, device)
    return gemm_seconds(product, device, dtype, speed=device.convolution.fft, can_split=False) + transforms
