"""What convolutions of real nets launch: kernels that are compiled, grids and operands that fit, no product in vain."""

import math
from typing import Any

import numpy as np
import pytest

from graph.ir import Phase
from graph.op import OPS, Sample, Work
from graph.ops.common import type_of
from graph.tensor_type import DType, TensorType, f32
from hw.kernels import KERNELS
from hw.kernels.cuda_conv import grad_input_cut, residues, windows
from hw.kernels.record import Call
from runtime.kernels.cuda.kernel import CUDA_KERNELS, Launch, Operand, Place, load_families

load_families()

# (images, kernel rows, kernel columns, out channels, stride, pad, groups): of AlexNet, VGG, Inception, ResNet-50, LeNet
LAYERS: tuple[Any, ...] = (
    ((256, 227, 227, 3), 11, 11, 96, 4, 0, 1),
    ((256, 27, 27, 96), 5, 5, 256, 1, 2, 2),
    ((128, 224, 224, 64), 3, 3, 64, 1, 1, 1),
    ((64, 17, 17, 128), 1, 7, 192, 1, (0, 3), 1),
    ((64, 56, 56, 128), 3, 3, 128, 2, 1, 1),
    ((64, 56, 56, 256), 1, 1, 512, 2, 0, 1),
    ((64, 14, 14, 1024), 1, 1, 256, 1, 0, 1),
    ((64, 7, 7, 512), 3, 3, 512, 1, 1, 1),
    ((1, 12, 12, 6), 5, 5, 16, 1, 0, 1),
)
OPERATORS = ("conv2d", "conv2d_grad_input", "conv2d_grad_weight")


def typed(op: str, layer: Any) -> tuple[tuple[TensorType, ...], dict[str, Any]]:
    """Operands and attributes of an operator of a layer."""
    x, kh, kw, out, stride, pad, groups = layer
    attrs: dict[str, Any] = {"stride": stride, "pad": pad, "groups": groups}
    image, weight = f32(*x), f32(kh, kw, x[3] // groups, out)
    (y,) = OPS["conv2d"].infer((image, weight), attrs)
    if op == "conv2d":
        return (image, weight), attrs
    if op == "conv2d_grad_input":
        return (y, weight), {**attrs, "height": x[1], "width": x[2]}
    return (image, y), {**attrs, "kh": kh, "kw": kw}


def launches(name: str, types: tuple[TensorType, ...], attrs: dict[str, Any], address: int) -> tuple[list[Launch], list[Place]]:
    """What a call launches whose operands lie at an address, and its places."""
    record = KERNELS[name]
    (result,) = OPS[record.op].infer(types, attrs)
    call = Call(
        kernel=name,
        nodes=("n",),
        fused=(),
        reads=("a", "b"),
        writes=("c",),
        types=types,
        attrs={**attrs, "epilogue": ""} if record.epilogue else attrs,
        work=Work(),
        workspace=record.workspace(types, attrs),
        layer="",
        phase=Phase.FORWARD,
    )
    places = [Place(index=i, address=address, dtype=DType.F32, size=t.size) for i, t in enumerate((*types, result))]
    places.append(Place(index=3, address=0, dtype=DType.U8, size=call.workspace))
    return list(CUDA_KERNELS[name].launches(call, places)), places


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("algorithm", ["", ".tf32", ".bf16"])
@pytest.mark.parametrize("op", OPERATORS)
def test_launches_fit(op: str, algorithm: str, layer: Any) -> None:
    types, attrs = typed(op, layer)
    for address in (0, 4):
        found, places = launches(f"cuda.{op}{algorithm}", types, attrs, address)
        assert found
        for launch in found:
            assert launch.kernel in CUDA_KERNELS[f"cuda.{op}{algorithm}"].kernels
            assert launch.grid[0] < 2**31 and max(launch.grid[1:]) < 2**16
            for a in launch.arguments:
                if isinstance(a, Operand):
                    place = places[a.index]
                    assert a.first >= 0 and (a.first + a.size) * a.dtype.itemsize <= place.size * place.dtype.itemsize
                elif isinstance(a, tuple):
                    assert all(-(2**31) <= n < 2**31 for n in a)


def test_rounded_precisions_use_tensor_cores_where_channels_come_in_fours() -> None:
    for op in OPERATORS:
        for layer in LAYERS:
            found, _ = launches(f"cuda.{op}.bf16", *typed(op, layer), 0)
            in_fours = layer[0][3] % 4 == 0
            assert any("mma.sync" in launch.kernel.wants for launch in found) == in_fours, (op, layer)


def test_more_elements_than_32_bits_number_are_done_in_turns() -> None:
    layer = ((1000, 224, 224, 64), 3, 3, 64, 1, 1, 1)
    for op in OPERATORS:
        found, places = launches(f"cuda.{op}", *typed(op, layer), 0)
        products = [launch for launch in found if launch.kernel.name.startswith("gemm")]
        assert len(products) == 2
        assert all(a.size < 2**31 for launch in products for a in launch.arguments if isinstance(a, Operand))
        if op != "conv2d_grad_weight":
            written = [launch.arguments[3] for launch in products]
            assert sum(a.size for a in written if isinstance(a, Operand)) == places[2].size


@pytest.mark.parametrize("sample", list(OPS["conv2d_grad_input"].samples()), ids=lambda s: str(dict(s.attrs)))
def test_every_pixel_and_every_tap_is_in_one_class(sample: Sample) -> None:
    types = [type_of(np.asarray(a)) for a in sample.inputs]
    w = windows("conv2d_grad_input", types, sample.attrs)
    seen, met, before = np.zeros(w.image, int), np.zeros(w.kernel, int), 0
    for r in residues(w):
        if 0 not in r.extent:
            seen[r.first[0] :: w.stride, r.first[1] :: w.stride] += 1
            assert seen[r.first[0] :: w.stride, r.first[1] :: w.stride].shape == r.extent
        met[r.tap[0] :: w.stride, r.tap[1] :: w.stride] += 1
        assert r.before == before
        before += r.taps[0] * r.taps[1]
    assert (seen == 1).all() and (met == 1).all() and before == w.taps


def test_strides_multiply_nothing_in_vain() -> None:
    """As many products as forward where the stride divides everything, not stride x stride times as many."""
    w = windows("conv2d_grad_input", *typed("conv2d_grad_input", LAYERS[4]))
    cuts = [grad_input_cut(w, r) for r in residues(w)]
    assert sum(c.m * c.n * c.k for c in cuts) == w.pixels * w.weights
    assert math.prod(LAYERS[4][0][:3]) == sum(c.m for c in cuts)
