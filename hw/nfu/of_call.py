"""What a lowered call asks of an NFU: the layer, and the formats of its words.

Assumptions
-----------
* A border is stored around an image. The call that makes the image writes into the place between, since DMA engines and the
  processor's kernels go by pitches, so nothing is copied for it; its memory is the kernel's workspace (`hw.kernels.nfu`). Words
  of the border are zeros; of a maximum the lowest word, so that they never win.
* The fully connected layers of a batch are one classifier with a pixel for each sample.
* An activation by itself does not see shapes: it is one pixel with as many maps as there are words, so that all lanes work.
* Synapses are brought into the order of the program when they are loaded, once, before the first step.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

from graph.fixed_point import Fixed
from graph.op import Attrs
from graph.tensor_type import TensorType
from hw.errors import HwError
from hw.nfu.config import Nfu
from hw.nfu.layer import Function, Kind, Layer, Pooling

if TYPE_CHECKING:
    from hw.kernels.record import Call

PREFIX = "nfu."
"""What names of an NFU's kernels begin with."""
FUNCTIONS = {"relu": Function.RELU, "tanh": Function.TANH}
CONVOLUTIONS = ("conv2d", "local_conv2d")
POOLINGS = {"max_pool": Pooling.MAX, "avg_pool": Pooling.AVERAGE}


def layer_of(call: "Call") -> Layer:
    """The layer of a lowered call; raises `HwError` when the call is none of an NFU's, or asks for what it cannot do."""
    if not call.kernel.startswith(PREFIX):
        raise HwError(f"kernel {call.kernel!r} is no layer of an NFU, whose kernels are named {PREFIX}...")
    return layer(call.kernel.removeprefix(PREFIX), call.types, call.attrs, name=call.nodes[0] if call.nodes else call.layer)


def layer(op: str, types: Sequence[TensorType], attrs: Attrs, *, name: str = "") -> Layer:
    """The layer of an operator with its epilogue.

    Parameters
    ----------
    op : conv2d, local_conv2d, matmul, max_pool, avg_pool, relu or tanh.
    types, attrs : as a call has them (`hw.kernels.record.Call`).
    name : of the layer.

    Raises
    ------
    HwError : an NFU cannot do it.
    """
    fused = str(attrs.get("epilogue", "")).split("+")
    functions = [FUNCTIONS[f] for f in (op, *fused) if f in FUNCTIONS]
    if len(functions) > 1:
        raise HwError(f"layer {name!r}: an NFU has one function behind a sum, got {' and then '.join(functions)}")
    function = functions[0] if functions else Function.LINEAR
    has_bias = "add_bias" in fused
    if op in CONVOLUTIONS:
        private = op == "local_conv2d"
        return _convolution(types, attrs, name=name, function=function, has_bias=has_bias, is_private=private)
    if op == "matmul":
        return _classifier(types, attrs, name=name, function=function, has_bias=has_bias)
    if op in POOLINGS:
        return _pool(types, attrs, name=name, function=function, pooling=POOLINGS[op])
    if op in FUNCTIONS:
        words = prod(types[0].shape)
        return Layer(name=name, kind=Kind.POOL, ni=words, no=words, function=function)
    raise HwError(f"layer {name!r}: an NFU has no operator {op!r}")


def _convolution(types: Sequence[TensorType], attrs: Attrs, **rest: Any) -> Layer:
    batch, height, width, ni = types[0].shape
    ky, kx, _, no = types[1].shape[-4:]
    pad: Any = attrs["pad"]
    rows, columns = (pad, pad) if isinstance(pad, int) else pad
    stride, groups = _number(attrs, "stride"), int(attrs.get("groups", 1))  # type: ignore[arg-type]  # private ones have none
    return Layer(
        kind=Kind.CONV, nx=width + 2 * columns, ny=height + 2 * rows, border=(rows, columns), kx=kx, ky=ky, sx=stride, sy=stride,
        ni=ni, no=no, groups=groups, batch=batch, **rest,
    )  # fmt: skip


def _classifier(types: Sequence[TensorType], attrs: Attrs, **rest: Any) -> Layer:
    if attrs["ta"]:
        raise HwError(f"layer {rest['name']!r}: an NFU reads the neurons of a sample one after another; its input is transposed")
    (samples, ni), (a, b) = types[0].shape, types[1].shape
    return Layer(kind=Kind.CLASSIFIER, nx=samples, ni=ni, no=a if attrs["tb"] else b, **rest)


def _pool(types: Sequence[TensorType], attrs: Attrs, **rest: Any) -> Layer:
    batch, height, width, maps = types[0].shape
    window, stride, pad = (_number(attrs, key) for key in ("window", "stride", "pad"))
    return Layer(
        kind=Kind.POOL, nx=width + 2 * pad, ny=height + 2 * pad, border=(pad, pad), kx=window, ky=window, sx=stride, sy=stride,
        ni=maps, no=maps, batch=batch, **rest,
    )  # fmt: skip


def _number(attrs: Attrs, key: str) -> int:
    return int(attrs[key])  # type: ignore[arg-type]  # the operator has checked it


def bordered_nbytes(op: str, types: Sequence[TensorType], attrs: Attrs) -> int:
    """Bytes of a call's images with their border; 0 where they have none."""
    x = layer(op, types, attrs)
    return x.batch * x.ny * x.nx * x.ni * types[0].dtype.itemsize if any(x.border) else 0


def formatted(nfu: Nfu, call: "Call") -> Nfu:
    """The NFU with its words in the formats of a call: those of what it makes, and of its synapses, where it has any.

    Raises `HwError` when the words of the call are not as wide as those of the NFU.
    """
    neuron = _fixed(call, "quantize.")
    has_synapses = layer_of(call).kind is not Kind.POOL
    synapse = _fixed(call, "dequantize.1.") if has_synapses else nfu.synapse
    for what, words, mine in (("neurons", neuron, nfu.neuron), ("synapses", synapse, nfu.synapse)):
        if words.bits != mine.bits:
            raise HwError(f"{call.nodes[0]!r} has {what} of {words.bits} bits, but those of the NFU have {mine.bits}")
    return replace(nfu, neuron=neuron, synapse=synapse)


def _fixed(call: "Call", of: str) -> Fixed:
    return Fixed(bits=_number(call.attrs, f"{of}bits"), fraction=_number(call.attrs, f"{of}fraction"))
