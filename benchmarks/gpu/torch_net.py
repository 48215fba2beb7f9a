"""A net of the zoo in PyTorch: its graph, node by node, as one writes it there. Bias goes with its convolution or product.

Images have PyTorch's axes; whether channels lie innermost or outermost is how its tensors lie in memory. Flattened features keep
our order, rows, columns, channels, so that weights mean the same.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.gpu.peer import Peer
from graph.ir import Graph, Kind, Node, Phase
from graph.ops.conv import pads

Array = npt.NDArray[Any]
Values = dict[str, Any]
Apply = Callable[[Values], None]
CONV, DENSE = "conv2d", "matmul"


class TorchNet:
    """A net with parameters and state of its own.

    Parameters
    ----------
    peer : on whose device.
    graph : forward and loss, of `graph.zoo`.
    initial : parameters and state, as ours begin.
    channels_last : channels lie innermost.
    """

    def __init__(self, peer: Peer, graph: Graph, initial: Mapping[str, Array], *, channels_last: bool) -> None:
        self.torch, self.graph, self._peer = peer.torch, graph, peer
        self.form = {"memory_format": peer.torch.channels_last if channels_last else peer.torch.contiguous_format}
        names = [v.name for kind in (Kind.PARAMETER, Kind.STATE) for v in graph.of_kind(kind)]
        self.values: Values = {name: self._laid(peer.given(self.turned(name, initial[name]))) for name in names}
        self.parameters = {v.name: self.values[v.name].requires_grad_() for v in graph.of_kind(Kind.PARAMETER)}
        self._taken: set[str] = set()  # nodes that go with the one before
        self._program: list[Apply] = []
        for node in graph.nodes:
            if node.phase is not Phase.UPDATE and node.name not in self._taken:
                self._program.append(self._applied(node))

    # --------------------------------------------------------------------------------------------------------- layouts

    def turned(self, name: str, a: Array) -> Array:
        """A parameter, or its gradient, in PyTorch's layout: OIHW, [out, in]."""
        readers = {n.op.name for n in self.graph.consumers[name]}
        if CONV in readers:
            return np.ascontiguousarray(a.transpose(3, 2, 0, 1))
        return np.ascontiguousarray(a.T) if DENSE in readers else np.ascontiguousarray(a)

    def _laid(self, t: Any) -> Any:
        return t.contiguous(**self.form) if t.dim() == 4 else t

    def images(self, x: Array) -> Any:
        """A batch as it lies in the host's memory, where its copies come from."""
        t = self.torch.from_numpy(x.copy())
        t = t.permute(0, 3, 1, 2).contiguous(**self.form) if t.dim() == 4 else t
        return t.pin_memory() if self._peer.is_gpu else t

    # --------------------------------------------------------------------------------------------------------- program

    def _bias_after(self, node: Node) -> Node | None:
        readers = self.graph.consumers[node.outputs[0].name]
        return readers[0] if len(readers) == 1 and readers[0].op.name == "add_bias" else None

    def _applied(self, node: Node) -> Apply:
        f, inputs, out = self.torch.nn.functional, node.inputs, node.outputs[0].name
        a: Any = node.attrs
        if node.op.name in (CONV, DENSE):
            return self._product(node, f, a)
        if node.op.name == "batch_norm":
            return self._batch_norm(node, f, a)
        functions: dict[str, Callable[..., Any]] = {
            "relu": f.relu,
            "tanh": self.torch.tanh,
            "add": self.torch.add,
            "add_bias": self.torch.add,
            "flatten": _flat,
            "max_pool": lambda x: f.max_pool2d(x, a["window"], a["stride"], a["pad"]),
            "avg_pool": lambda x: f.avg_pool2d(x, a["window"], a["stride"], a["pad"]),
            "lrn": lambda x: f.local_response_norm(x, a["size"], a["size"] * a["alpha"], a["beta"], a["k"]),
            "dropout": lambda x, *_: f.dropout(x, a["rate"], True),
            "concat": lambda *x: self.torch.cat(x, 1),
            "softmax_cross_entropy": lambda x, t: f.cross_entropy(x, t, reduction="sum") / a["denominator"],
        }
        return _call(functions[node.op.name], inputs, out)

    def _product(self, node: Node, f: Any, a: Any) -> Apply:
        bias, (x, w), out = self._bias_after(node), node.inputs[:2], node.outputs[0].name
        names = (x, w)
        if bias is not None:
            self._taken.add(bias.name)
            names, out = (*names, bias.inputs[1]), bias.outputs[0].name
        if node.op.name == DENSE:
            return _call(f.linear, names, out)
        stride, pad, groups = a["stride"], pads(CONV, a), a["groups"]
        return _call(lambda *o: f.conv2d(*o, stride=stride, padding=pad, groups=groups), names, out)

    def _batch_norm(self, node: Node, f: Any, a: Any) -> Apply:
        """With its running statistics, which PyTorch renews as it goes."""
        renew = [self.graph.consumers[v.name][0] for v in node.outputs[1:]]
        kept, names = 1 - float(renew[0].attrs["decay"]), (*node.inputs, *(n.inputs[0] for n in renew))

        def function(x: Any, scale: Any, shift: Any, mean: Any, variance: Any) -> Any:
            return f.batch_norm(x, mean, variance, scale, shift, True, kept, a["epsilon"])

        return _call(function, names, node.outputs[0].name)

    def loss(self, x: Any, labels: Any) -> Any:
        """Of a batch."""
        values = {**self.values, "x": x, "labels": labels}
        for apply in self._program:
            apply(values)
        return values[self.graph.outputs["loss"]]


def _flat(x: Any) -> Any:
    return (x.permute(0, 2, 3, 1) if x.dim() == 4 else x).reshape(x.shape[0], -1)


def _call(function: Callable[..., Any], inputs: Sequence[str], out: str) -> Apply:
    def apply(values: Values) -> None:
        values[out] = function(*(values[name] for name in inputs))

    return apply


class TorchStep:
    """A training in PyTorch: a batch comes from pinned memory, forward, backward, its fused SGD.

    Parameters
    ----------
    peer, graph, initial, channels_last : as of `TorchNet`.
    x, labels : the batch.
    sgd : ``lr``, ``momentum``, ``weight_decay``.
    is_compiled : by torch.compile.
    """

    def __init__(
        self, peer: Peer, graph: Graph, initial: Mapping[str, Array], x: Array, labels: Array, sgd: Mapping[str, float], *,
        channels_last: bool, is_compiled: bool = False,
    ) -> None:  # fmt: skip
        self.peer, self.net = peer, TorchNet(peer, graph, initial, channels_last=channels_last)
        self.from_host = self.net.images(x), self.net.torch.from_numpy(labels.copy())
        if peer.is_gpu:
            self.from_host = self.from_host[0], self.from_host[1].pin_memory()
        self.batch = tuple(t.to(peer.device) for t in self.from_host)
        self.loss = self._compiled() if is_compiled else self.net.loss
        self.optimizer = self.net.torch.optim.SGD(list(self.net.parameters.values()), fused=True, **sgd)

    def _compiled(self) -> Callable[..., Any]:
        """Of a copy of the code: what was compiled is kept with a function's code, and would be tried for every other net."""
        own = FunctionType(TorchNet.loss.__code__.replace(), globals())
        return self.net.torch.compile(partial(own, self.net))  # type: ignore[no-any-return]

    def momentum(self, name: str) -> Array:
        """Of a parameter; after the first step its gradient, with weight decay."""
        found = self.optimizer.state[self.net.parameters[name]]["momentum_buffer"]
        return found.detach().cpu().numpy()  # type: ignore[no-any-return]

    def step(self) -> Any:
        """One; its loss, which stays on the device."""
        for to, source in zip(self.batch, self.from_host, strict=True):
            to.copy_(source, non_blocking=True)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(*self.batch)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def steps(self, count: int) -> None:
        """So many."""
        for _ in range(count):
            self.step()

    def graphed(self) -> Callable[[int], None]:
        """Its step captured as a CUDA graph, as ours is."""
        torch = self.net.torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self.steps(3)
        torch.cuda.current_stream().wait_stream(side)
        graph = self.peer.captured(self.step)

        def steps(count: int) -> None:
            for _ in range(count):
                graph.replay()

        return steps
