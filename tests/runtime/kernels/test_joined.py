"""Convolutions with few output channels treat neighbouring pixels as one: the reference's numbers, from the cut that is meant."""

import numpy as np
import pytest

from graph.ir import Phase
from graph.op import OPS, Array, Attrs, Work
from graph.tensor_type import f32
from hw.kernels import KERNELS
from hw.kernels.geometry import host_geometry
from hw.kernels.record import Call
from hw.kernels.tiling import forward_cut
from runtime.kernels.table import address, block, run_table

CASES = [  # image, kernel, channels, stride, pad
    ((3, 8, 8, 1), 3, 6, 1, 1),
    ((5, 28, 28, 1), 5, 6, 1, 2),  # several groups of images
    ((2, 9, 12, 3), 5, 3, 1, 0),
    ((2, 9, 9, 2), 4, 4, 2, 1),
    ((3, 6, 6, 5), 3, 1, 1, 1),
]


def run(name: str, inputs: list[Array], like: Array, attrs: Attrs) -> Array:
    types = tuple(f32(*x.shape) for x in inputs)
    workspace = KERNELS[name].workspace(types, attrs)
    call = Call(
        kernel=name, nodes=("n",), fused=(), reads=tuple("abc"[: len(inputs)]), writes=("y",), types=types, attrs=attrs,
        work=Work(), workspace=workspace, layer="", phase=Phase.FORWARD,
    )  # fmt: skip
    result, scratch = np.full_like(like, np.nan), np.full(workspace // 4 + 1, np.nan, np.float32)
    words = block(call, [a.ctypes.data for a in (*inputs, result, scratch)])
    run_table(np.array([address(name)]), np.array([words.ctypes.data]))
    return result


@pytest.mark.parametrize(("image", "k", "oc", "stride", "pad"), CASES)
def test_joined_pixels(image: tuple[int, ...], k: int, oc: int, stride: int, pad: int) -> None:
    rng = np.random.default_rng(0)
    x, w, bias = (rng.standard_normal(s).astype(np.float32) for s in (image, (k, k, image[3], oc), (oc,)))
    geometry = {"stride": stride, "pad": pad, "groups": 1}
    (y,) = OPS["conv2d"].reference([x, w], geometry)
    cut = forward_cut((f32(*image), f32(*w.shape)), geometry)
    assert cut.joined > 1 or 2 * oc > host_geometry().lanes
    assert (cut.kw_single, cut.oc_single, cut.ow * cut.joined) == (k, oc, y.shape[2])
    close = {"rtol": 1e-5, "atol": 2e-5}
    got = run("cpu.conv2d.direct", [x, w, bias], y, {**geometry, "epilogue": "add_bias+relu"})
    np.testing.assert_allclose(got, np.maximum(y + bias, 0), **close)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    attrs: Attrs = {**geometry, "kh": k, "kw": k}
    (dw,) = OPS["conv2d_grad_weight"].reference([x, dy], attrs)
    got = run("cpu.conv2d_grad_weight.direct", [x, dy], dw, attrs)
    np.testing.assert_allclose(got, dw, rtol=1e-5, atol=2e-5 * float(np.abs(dw).max()))
    if stride == 1:
        attrs = {**geometry, "height": image[1], "width": image[2]}
        (dx,) = OPS["conv2d_grad_input"].reference([dy, w], attrs)
        np.testing.assert_allclose(run("cpu.conv2d_grad_input.flip", [dy, w], dx, attrs), dx, **close)
