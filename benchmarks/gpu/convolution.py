"""Convolutions of AlexNet, VGG and ResNet-50, forward and both gradients, against PyTorch's (cuDNN).

Of each net the layers with the most arithmetic, all together; PyTorch has them with channels innermost, as ours are, and with
channels outermost, and its fastest counts.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.gpu.bound import Bound, compile_calls
from benchmarks.gpu.contest import Rival, contest
from benchmarks.gpu.context import Context
from benchmarks.gpu.gemm import known, label, record_name, theirs_in
from benchmarks.gpu.peer import Peer
from graph.ir import Graph
from graph.op import Attrs, Size
from graph.ops.conv import pads
from graph.record import record
from graph.tensor_type import TensorType
from graph.zoo import MODELS
from hw.kernels import KERNELS
from hw.kernels.record import VENDOR
from runtime.calibration import call_of

NETS = {"alexnet-owt": (128, 5), "vgg16": (32, 5), "resnet50": (32, 8)}
"""Net -> images, and how many of its layers."""
ALGORITHMS = ("", "tf32", "bf16", VENDOR)
DIRECTIONS = {"conv2d": "forward", "conv2d_grad_input": "grad input", "conv2d_grad_weight": "grad weight"}


@record
class Layer:
    """A convolution of a net.

    Parameters
    ----------
    net : which.
    x, w, y : its images, weights and results.
    attrs : of ``conv2d``.
    """

    net: str
    x: TensorType
    w: TensorType
    y: TensorType
    attrs: Attrs

    def __str__(self) -> str:
        (n, h, wide, c), (kh, kw, _, o) = self.x.shape, self.w.shape
        stride = f" /{self.attrs['stride']}" if self.attrs["stride"] != 1 else ""
        return f"{self.net} {n}x{h}x{wide}x{c} * {kh}x{kw} -> {o}{stride}"

    def call(self, op: str) -> tuple[tuple[TensorType, ...], Attrs]:
        """Operands and attributes in a direction."""
        if op == "conv2d":
            return (self.x, self.w), self.attrs
        if op == "conv2d_grad_input":
            return (self.y, self.w), {**self.attrs, "height": self.x.shape[1], "width": self.x.shape[2]}
        return (self.x, self.y), {**self.attrs, "kh": self.w.shape[0], "kw": self.w.shape[1]}

    @property
    def flop(self) -> int:
        """Of any direction."""
        return 2 * self.y.size * self.w.size // self.w.shape[3]

    @property
    def is_first(self) -> bool:
        """Nobody wants the gradient of its images."""
        return self.x.shape[3] <= 3


def layers() -> list[Layer]:
    """The layers that are timed: of each net those with the most arithmetic, counting how often they occur."""
    found = []
    for net, (batch, count) in NETS.items():
        seen, by_key = Counter[Any](), dict[Any, Layer]()
        for layer in convolutions(net, MODELS[net].build(batch)):
            key = (layer.x, layer.w, repr(sorted(layer.attrs.items())))
            by_key[key] = layer
            seen[key] += layer.flop
        found += [by_key[key] for key, _ in seen.most_common(count)]
    return found


def tiny_layer() -> Layer:
    """One that the simulator can do: the smallest of a small net that is no product of matrices as they are."""
    net = MODELS["resnet50"].build(1, **{**MODELS["resnet50"].tiny, "image": (4, 4, 3)})
    return min((x for x in convolutions("resnet50", net) if x.w.shape[0] > 1 and not x.is_first), key=lambda x: x.flop)


def convolutions(name: str, net: Graph) -> Iterator[Layer]:
    """All of a net."""
    for node in net.nodes:
        if node.op.name == "conv2d":
            x, w = map(net.type_of, node.inputs)
            yield Layer(net=name, x=x, w=w, y=node.outputs[0].type, attrs=node.attrs)


def _each(c: Context) -> Iterator[tuple[str, Layer, str]]:
    """(algorithm, layer, operator), what matters most first."""
    for a in (a for a in ALGORITHMS if a in known("conv2d")):
        for layer in [tiny_layer()] if c.simulated else layers():
            yield from ((a, layer, op) for op in DIRECTIONS if not (layer.is_first and op == "conv2d_grad_input"))


def prepare(c: Context) -> None:
    for a, layer, op in _each(c):
        types, attrs = layer.call(op)
        plain = {"epilogue": ""} if op == "conv2d" else {}
        compile_calls([call_of(KERNELS[record_name(op, a)], Size(types=types, attrs={**attrs, **plain}))])
    _ = c.peer


def items(c: Context) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
    for a, layer, op in _each(c):
        yield f"{label(a)} {layer} {DIRECTIONS[op]}", partial(convolution, c, layer, op, a)


def convolution(c: Context, layer: Layer, op: str, algorithm: str) -> Mapping[str, Any]:
    """One direction of one layer."""
    types, attrs = layer.call(op)
    work = Bound(c.device, record_name(op, algorithm), types, attrs, np.random.default_rng(1))
    return contest(c, work, partial(_rival, layer, op, algorithm), algorithm=algorithm, flop=layer.flop)


def _rival(layer: Layer, op: str, algorithm: str, peer: Peer, work: Bound) -> Rival:
    torch, a, kind = peer.torch, layer.attrs, peer.dtype(algorithm)
    pad, numbers = list(pads("conv2d", a)), (int(a["stride"]), int(a["groups"]))  # type: ignore[call-overload]
    first, second = (work.tensor(peer, k) for k in range(2))
    images = first.permute(0, 3, 1, 2)  # of images or results, channels innermost as they are
    other = second.permute(3, 2, 0, 1) if op != "conv2d_grad_weight" else second.permute(0, 3, 1, 2)

    def run(x: Any, w: Any) -> Any:
        stride, groups = numbers
        if op == "conv2d":
            return torch.nn.functional.conv2d(x, w, stride=stride, padding=pad, groups=groups)
        is_input = op == "conv2d_grad_input"
        like = _blank(peer, layer, x, w, is_input)
        dy, x, w = (x, like, w) if is_input else (w, x, like)
        mask = [is_input, not is_input, False]
        found = torch.ops.aten.convolution_backward(dy, x, w, None, [stride] * 2, pad, [1, 1], False, [0, 0], groups, mask)
        return found[0 if is_input else 1]

    want = run(images, other).permute((2, 3, 1, 0) if op == "conv2d_grad_weight" else (0, 2, 3, 1))
    last = {"memory_format": torch.channels_last}
    works = {}
    for name, form in (("torch channels last", last), ("torch", {"memory_format": torch.contiguous_format})):
        x, w = (t.to(kind).contiguous(**form) for t in (images, other))
        works[name] = partial(run, x, w)
    return Rival(results=lambda: {0: want}, works=works, words=theirs_in(peer, algorithm))


def _blank(peer: Peer, layer: Layer, x: Any, w: Any, is_input: bool) -> Any:
    """What has the form of the result, and is not read."""
    torch, given = peer.torch, (x if is_input else w)
    shape = layer.x.shape if is_input else layer.w.shape
    n, h, wide, c = shape if is_input else (shape[3], shape[0], shape[1], shape[2])
    is_last = given.is_contiguous(memory_format=torch.channels_last) and not given.is_contiguous()
    form = torch.channels_last if is_last else torch.contiguous_format
    return torch.empty((n, c, h, wide), dtype=given.dtype, device=given.device, memory_format=form)
