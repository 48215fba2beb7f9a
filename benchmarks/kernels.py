"""CPU kernels against NumPy (and PyTorch, when it is installed): ratios of the shortest times, by thread CPU time.

    python benchmarks/kernels.py [KERNEL ...] [--rounds N]

Rivals take turns in one process, one thread each, so that a slow moment of the machine meets all of them. A ratio above 1 means
that ours is faster; differences below 10 % are ties. NumPy has no convolution: there the rival is im2col and its matrix product.
NumPy's matrix products are OpenBLAS's, which is told to use one thread; PyTorch's are those of its own libraries.
"""

import argparse
import ctypes
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graph.ir import Phase
from graph.op import OPS, Array, Size, Work
from graph.record import record
from hw.kernels import KERNELS, Platform
from hw.kernels.record import Call, KernelRecord
from runtime.kernels.build import compile_all
from runtime.kernels.table import address, block, run_table

Rival = Callable[[], object]


def one_blas_thread() -> str | None:
    """Tell the OpenBLAS of NumPy's wheels to use one thread; returns which processor's code it chose, None when not found."""
    for file in (Path(np.__file__).parents[1] / "numpy.libs").glob("*openblas*"):
        library = ctypes.CDLL(str(file))
        for end in ("64_", ""):
            if hasattr(library, f"scipy_openblas_set_num_threads{end}"):
                getattr(library, f"scipy_openblas_set_num_threads{end}")(1)
                name = getattr(library, f"scipy_openblas_get_corename{end}")
                name.restype = ctypes.c_char_p
                return str(name().decode())
    return None


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
    if kernel.op in ("conv2d_grad_input", "conv2d_grad_weight"):
        return _torch_conv_gradient(kernel.op, x, a)
    pool = {"max_pool": f.max_pool2d, "avg_pool": f.avg_pool2d}
    if kernel.op in pool:
        x[0] = x[0].permute(0, 3, 1, 2)
        return lambda: pool[kernel.op](x[0], a["window"], a["stride"])
    simple: dict[str, Callable[..., object]] = {
        "relu": torch.relu, "tanh": torch.tanh, "add": torch.add, "add_bias": torch.add, "conv2d": conv, "matmul": matmul,
        "scale": lambda t: t * a["factor"], "bias_grad": lambda t: t.reshape(-1, t.shape[-1]).sum(0),
        "relu_grad": lambda y, dy: torch.ops.aten.threshold_backward(dy, y, 0),
        "tanh_grad": lambda y, dy: torch.ops.aten.tanh_backward(dy, y), "dot": lambda s, t: torch.dot(s.ravel(), t.ravel()),
    }  # fmt: skip
    return (lambda: simple[kernel.op](*x)) if kernel.op in simple else None


def _torch_conv_gradient(op: str, given: list[Any], a: Any) -> Rival:
    """One gradient of a convolution of images that lie in memory as ours do."""
    import torch

    if op == "conv2d_grad_input":
        dy, w = given[0].permute(0, 3, 1, 2), given[1].permute(3, 2, 0, 1).contiguous()
        x, mask = torch.empty(len(dy), a["height"], a["width"], w.shape[1]).permute(0, 3, 1, 2), [True, False, False]
    else:
        x, dy = (t.permute(0, 3, 1, 2) for t in given)
        w, mask = torch.empty(dy.shape[1], x.shape[1], a["kh"], a["kw"]), [False, True, False]
    stride, pad = [a["stride"]] * 2, [a["pad"]] * 2
    return lambda: torch.ops.aten.convolution_backward(dy, x, w, None, stride, pad, [1, 1], False, [0, 0], 1, mask)


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


@record
class Row:
    """One kernel at one size: `seconds` of CPU time by rival, the work, the size in words."""

    kernel: str
    seconds: Mapping[str, float]
    flop: float
    size: str

    def ratio(self, rival: str) -> float:
        return self.seconds[rival] / self.seconds["ours"]


def measured(kernel: KernelRecord, size: Size, rounds: int) -> Row:
    """All rivals at one size."""
    inputs = arrays(size)
    rivals = {"ours": ours(kernel, size, inputs)}
    for name, rival in (("numpy", numpy_rival(kernel, size, inputs)), ("torch", torch_rival(kernel, size, inputs))):
        if rival is not None:
            rivals[name] = rival
    plain = {k: v for k, v in size.attrs.items() if k != "epilogue"}
    flop = OPS[kernel.op].work(size.types[: len(OPS[kernel.op].inputs)], plain).flop
    what = " ".join(map(str, size.types)) + " " + " ".join(f"{k}={v}" for k, v in size.attrs.items())
    return Row(kernel=kernel.name, seconds=shortest(rivals, rounds), flop=flop, size=what)


def rows(kernel: KernelRecord, rounds: int) -> Iterator[Row]:
    """The kernel's calibration grid, size by size."""
    for size in kernel.sizes():
        yield measured(kernel, size, rounds)


def chosen(names: list[str]) -> list[KernelRecord]:
    """The CPU kernels of operators whose names begin so; all when none is given."""
    cpu = [k for k in KERNELS.values() if k.platform is Platform.CPU and k.op in OPS]
    return [k for k in cpu if k.name.startswith(tuple(names) or ("cpu.",))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kernels", nargs="*", help="beginnings of record names, e.g. cpu.matmul; all by default")
    parser.add_argument("--rounds", type=int, default=12, help="turns of each rival")
    given = parser.parse_args()
    compile_all()
    if not one_blas_thread():
        print("NumPy's BLAS may use several threads here: its ratios say little")
    for kernel in chosen(given.kernels):
        for row in rows(kernel, given.rounds):
            best = row.seconds["ours"]
            against = "  ".join(f"{k}/ours {row.ratio(k):6.2f}" for k in row.seconds if k != "ours")
            print(
                f"{row.kernel:30s} {best * 1e6:9.2f} us {row.flop / best / 1e9:7.1f} Gflop/s  {against}  {row.size}", flush=True
            )


if __name__ == "__main__":
    main()
