"""CPU kernels against NumPy (and PyTorch, when it is installed): ratios of the shortest times, by thread CPU time.

    python benchmarks/kernels.py [KERNEL ...] [--rounds N]

Rivals take turns in one process, one thread each, so that a slow moment of the machine meets all of them. A ratio above 1 means
that ours is faster; differences below 10 % are ties. NumPy has no convolution: there the rival is im2col and its matrix product.
"""

import argparse
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from graph.ir import Phase
from graph.op import OPS, Array, Size, Work
from hw.kernels import KERNELS, Platform
from hw.kernels.record import Call, KernelRecord
from runtime.kernels.build import compile_all
from runtime.kernels.table import address, block, run_table

Rival = Callable[[], object]


def ours(kernel: KernelRecord, size: Size, inputs: list[Array]) -> Rival:
    """Our kernel on these arrays, a call through the table."""
    op = OPS[kernel.op]
    types = op.infer(size.types[: len(op.inputs)], {k: v for k, v in size.attrs.items() if k != "epilogue"})
    outputs = [np.zeros(t.shape, t.dtype.numpy) for t in types]
    names = tuple(map(str, range(len(inputs) + len(outputs))))
    workspace = kernel.workspace(size.types, size.attrs)
    call = Call(
        kernel=kernel.name, nodes=("n",), fused=(), reads=names[: len(inputs)], writes=names[len(inputs) :],
        types=size.types, attrs=size.attrs, work=Work(), workspace=workspace, layer="", phase=Phase.FORWARD,
    )  # fmt: skip
    scratch = np.zeros(workspace // 4 + 32, np.float32)
    words = block(call, [a.ctypes.data for a in (*inputs, *outputs)] + [scratch.ctypes.data + -scratch.ctypes.data % 64])
    table = np.array([address(kernel.name)]), np.array([words.ctypes.data])
    keep = (inputs, outputs, scratch, words)
    return lambda: (run_table(*table), keep)


def numpy_rival(kernel: KernelRecord, size: Size, inputs: list[Array]) -> Rival | None:
    """The same with NumPy, written as one would write it for speed; None where that is not obvious."""
    a: Any = size.attrs
    simple: dict[str, Callable[..., object]] = {
        "relu": lambda x: np.maximum(x, 0),
        "tanh": np.tanh,
        "add": np.add,
        "scale": lambda x: x * np.float32(a["factor"]),
        "relu_grad": lambda y, dy: dy * (y > 0),
        "tanh_grad": lambda y, dy: dy * (1 - y * y),
        "add_bias": np.add,
        "bias_grad": lambda dy: dy.reshape(-1, dy.shape[-1]).sum(0),
        "dot": lambda x, y: np.dot(x.ravel(), y.ravel()),
        "matmul": lambda x, w, *b: _epilogue((x.T if a["ta"] else x) @ (w.T if a["tb"] else w), b, a),
        "conv2d": lambda x, w, *b: _epilogue(_columns(x, w, a) @ w.reshape(-1, w.shape[3]), b, a),
        "sgd": lambda p, g, m: np.subtract(p, a["learning_rate"] * (a["momentum"] * m + (g + a["weight_decay"] * p))),
    }
    return (lambda: simple[kernel.op](*inputs)) if kernel.op in simple else None


def _epilogue(y: Array, bias: tuple[Array, ...], attrs: Any) -> Array:
    y = y + bias[0] if bias else y
    return np.maximum(y, 0) if "relu" in attrs.get("epilogue", "") else y


def _columns(x: Array, w: Array, attrs: Any) -> Array:
    pad, stride = attrs["pad"], attrs["stride"]
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, w[..., 0].size)


def torch_rival(kernel: KernelRecord, size: Size, inputs: list[Array]) -> Rival | None:
    """The same with PyTorch on one thread, in eager mode; None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    a: Any = size.attrs
    x = [torch.from_numpy(i) for i in inputs]
    f = torch.nn.functional

    def conv(x: Any, w: Any, *b: Any) -> Any:
        y = f.conv2d(x, w, *b, stride=a["stride"], padding=a["pad"])
        return f.relu(y) if "relu" in a.get("epilogue", "") else y

    def matmul(x: Any, w: Any, *b: Any) -> Any:
        x, w = x.T if a["ta"] else x, w.T if a["tb"] else w
        y = torch.addmm(b[0], x, w) if b else torch.mm(x, w)
        return f.relu(y) if "relu" in a.get("epilogue", "") else y

    if kernel.op == "conv2d":
        x[0], x[1] = x[0].permute(0, 3, 1, 2), x[1].permute(3, 2, 0, 1).contiguous()
    pool = {"max_pool": f.max_pool2d, "avg_pool": f.avg_pool2d}
    if kernel.op in pool:
        x[0] = x[0].permute(0, 3, 1, 2)
        return lambda: pool[kernel.op](x[0], a["window"], a["stride"])
    simple: dict[str, Callable[..., object]] = {
        "relu": torch.relu, "tanh": torch.tanh, "add": torch.add, "add_bias": torch.add, "conv2d": conv, "matmul": matmul,
        "scale": lambda t: t * a["factor"], "bias_grad": lambda t: t.reshape(-1, t.shape[-1]).sum(0),
    }  # fmt: skip
    return (lambda: simple[kernel.op](*x)) if kernel.op in simple else None


def shortest(rivals: dict[str, Rival], rounds: int) -> dict[str, float]:
    """Name -> shortest seconds of CPU time, measured in turns; short ones are repeated within a turn."""
    repeat = {}
    for name, f in rivals.items():
        f()
        start = time.thread_time()
        for _ in range(3):
            f()
        repeat[name] = max(1, int(2e-4 / max((time.thread_time() - start) / 3, 1e-7)))
    best = dict.fromkeys(rivals, float("inf"))
    for _ in range(rounds):
        for name, f in rivals.items():
            start = time.thread_time()
            for _ in range(repeat[name]):
                f()
            best[name] = min(best[name], (time.thread_time() - start) / repeat[name])
    return best


def arrays(size: Size) -> list[Array]:
    """Operands of this size; labels and window indices are 0."""
    rng = np.random.default_rng(0)
    return [
        np.asarray(rng.standard_normal(t.shape), np.float32) if t.dtype.is_float else np.zeros(t.shape, t.dtype.numpy)
        for t in size.types
    ]


def rows(kernel: KernelRecord, rounds: int) -> Iterable[str]:
    for size in kernel.sizes():
        inputs = arrays(size)
        rivals = {"ours": ours(kernel, size, inputs)}
        for name, rival in (("numpy", numpy_rival(kernel, size, inputs)), ("torch", torch_rival(kernel, size, inputs))):
            if rival is not None:
                rivals[name] = rival
        best = shortest(rivals, rounds)
        plain = {k: v for k, v in size.attrs.items() if k != "epilogue"}
        flop = OPS[kernel.op].work(size.types[: len(OPS[kernel.op].inputs)], plain).flop
        what = " ".join(map(str, size.types)) + " " + " ".join(f"{k}={v}" for k, v in size.attrs.items())
        against = "  ".join(f"{k}/ours {best[k] / best['ours']:6.2f}" for k in best if k != "ours")
        yield f"{kernel.name:30s} {best['ours'] * 1e6:9.2f} us {flop / best['ours'] / 1e9:7.1f} Gflop/s  {against}  {what}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kernels", nargs="*", help="beginnings of record names, e.g. cpu.matmul; all by default")
    parser.add_argument("--rounds", type=int, default=12, help="turns of each rival")
    given = parser.parse_args()
    compile_all()
    for kernel in KERNELS.values():
        if kernel.platform is Platform.CPU and kernel.op in OPS and kernel.name.startswith(tuple(given.kernels) or ("cpu.",)):
            for row in rows(kernel, given.rounds):
                print(row, flush=True)


if __name__ == "__main__":
    main()
