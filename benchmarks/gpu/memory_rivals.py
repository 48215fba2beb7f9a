"""What PyTorch's eager mode calls where we call our kernels that are bound by memory. Of each: results, and what is timed."""

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.gpu.bound import Bound
from benchmarks.gpu.contest import Rival
from benchmarks.gpu.peer import Peer

Maker = Callable[[Peer, Bound], Rival]


def _operands(peer: Peer, work: Bound) -> list[Any]:
    return [work.tensor(peer, k) for k in range(len(work.call.types))]


def _maps(t: Any) -> Any:
    """Images with their channels innermost, as PyTorch numbers their axes."""
    return t.permute(0, 3, 1, 2)


def _ours(t: Any) -> Any:
    return t.permute(0, 2, 3, 1)


def plain(function: Callable[..., Any]) -> Maker:
    """A function of PyTorch, the operands and the attributes that gives the one result."""

    def maker(peer: Peer, work: Bound) -> Rival:
        operands = _operands(peer, work)

        def run() -> Any:
            return function(peer.torch, operands, work.call.attrs)

        return Rival(results=lambda: {0: run()}, works={"torch eager": run})

    return maker


relu = plain(lambda torch, o, a: torch.relu(o[0]))
relu_grad = plain(lambda torch, o, a: torch.ops.aten.threshold_backward(o[1], o[0], 0))
tanh = plain(lambda torch, o, a: torch.tanh(o[0]))
tanh_grad = plain(lambda torch, o, a: torch.ops.aten.tanh_backward(o[1], o[0]))
add = plain(lambda torch, o, a: o[0] + o[1])
scale = plain(lambda torch, o, a: o[0] * a["factor"])
add_bias = plain(lambda torch, o, a: o[0] + o[1])
bias_grad = plain(lambda torch, o, a: o[0].sum((0, 1, 2)))
dot = plain(lambda torch, o, a: torch.dot(o[0], o[1]))
loss = plain(lambda torch, o, a: torch.nn.functional.cross_entropy(o[0], o[1]))
batch_norm = plain(
    lambda torch, o, a: _ours(torch.nn.functional.batch_norm(_maps(o[0]), None, None, o[1], o[2], True, 0.1, a["epsilon"]))
)
lrn = plain(
    lambda torch, o, a: _ours(
        torch.nn.functional.local_response_norm(_maps(o[0]), a["size"], a["size"] * a["alpha"], a["beta"], a["k"])
    )
)
avg_pool = plain(lambda torch, o, a: _ours(torch.nn.functional.avg_pool2d(_maps(o[0]), a["window"], a["stride"], a["pad"])))


def _untold(work: Callable[[], Any]) -> Rival:
    """What cannot be compared: its results are random, or it overwrites what ours is given."""
    return Rival(results=dict, works={"torch eager": work})


def dropout(peer: Peer, work: Bound) -> Rival:
    x, rate = _operands(peer, work)[0], work.call.attrs["rate"]
    return _untold(lambda: peer.torch.nn.functional.dropout(x, rate, True))


def accumulate(peer: Peer, work: Bound) -> Rival:
    own, letter = (t.clone() for t in _operands(peer, work))
    return _untold(lambda: own.add_(letter))


def sgd(peer: Peer, work: Bound) -> Rival:
    """Its fused optimizer, on one flat parameter; its step is repeated, so only times are compared."""
    p, g, _ = _operands(peer, work)
    a = work.call.attrs
    parameter = p.clone().requires_grad_()
    parameter.grad = g
    more = {"momentum": a["momentum"], "weight_decay": a["weight_decay"]}
    optimizer = peer.torch.optim.SGD([parameter], lr=a["learning_rate"], fused=True, **more)
    return _untold(optimizer.step)


def loss_grad(peer: Peer, work: Bound) -> Rival:
    """Its two kernels, from logarithms; ours reads probabilities."""
    torch, (probs, labels) = peer.torch, _operands(peer, work)
    logs, one, total = probs.log(), torch.ones((), device=peer.device), torch.tensor(float(len(labels)), device=peer.device)
    mean, ignored = 1, -100

    def run() -> Any:
        g = torch.ops.aten.nll_loss_backward(one, logs, labels, None, mean, ignored, total)
        return torch.ops.aten._log_softmax_backward_data(g, logs, 1, logs.dtype)

    return Rival(results=lambda: {0: run()}, works={"torch eager": run})


def batch_norm_grad(peer: Peer, work: Bound) -> Rival:
    dy, x, scale, mean, variance = _operands(peer, work)
    epsilon = work.call.attrs["epsilon"]
    inverse = (variance + epsilon).rsqrt()

    def run() -> Sequence[Any]:
        backward = peer.torch.ops.aten.native_batch_norm_backward
        return backward(_maps(dy), _maps(x), scale, None, None, mean, inverse, True, epsilon, [True] * 3)

    def results() -> dict[int, Any]:
        dx, dscale, dshift = run()
        return {0: _ours(dx), 1: dscale, 2: dshift}

    return Rival(results=results, works={"torch eager": run})


def max_pool(peer: Peer, work: Bound) -> Rival:
    x, a = _maps(_operands(peer, work)[0]), work.call.attrs

    def run() -> Sequence[Any]:
        return peer.torch.ops.aten.max_pool2d_with_indices(x, [a["window"]] * 2, [a["stride"]] * 2, [a["pad"]] * 2)

    return Rival(results=lambda: {0: _ours(run()[0])}, works={"torch eager": run})


def max_pool_grad(peer: Peer, work: Bound) -> Rival:
    """Of maxima of its own: where ours were told to be cannot be told to it."""
    torch, a = peer.torch, work.call.attrs
    dy = _maps(_operands(peer, work)[0])
    n, c = dy.shape[:2]
    x = torch.rand((n, c, a["height"], a["width"]), device=peer.device).contiguous(memory_format=torch.channels_last)
    sides = [[a["window"]] * 2, [a["stride"]] * 2, [a["pad"]] * 2]
    _, where = torch.ops.aten.max_pool2d_with_indices(x, *sides)
    return _untold(lambda: torch.ops.aten.max_pool2d_with_indices_backward(dy, x, *sides, [1, 1], False, where))


def avg_pool_grad(peer: Peer, work: Bound) -> Rival:
    torch, a = peer.torch, work.call.attrs
    dy = _maps(_operands(peer, work)[0])
    blank = torch.empty((*dy.shape[:2], a["height"], a["width"]), device=peer.device, memory_format=torch.channels_last)
    sides = [[a["window"]] * 2, [a["stride"]] * 2, [a["pad"]] * 2]

    def run() -> Any:
        return torch.ops.aten.avg_pool2d_backward(dy, blank, *sides, False, True, None)

    return Rival(results=lambda: {0: _ours(run())}, works={"torch eager": run})
