"""Whole training steps (forward, backward, SGD with momentum) against PyTorch in eager mode, one thread each.

    python benchmarks/step.py [NET ...] [--rounds N]

Both start from the same parameters and the same batch, and before anything is timed their losses and gradients are compared. Ours
is what a worker does: the executor plays a block of steps in one native call, each of which also copies its batch from the input
ring. PyTorch is timed as it is mostly written (NCHW) and with channels last; its optimizer is the fused one. Rivals take turns;
what counts is the shortest CPU time of the process. A ratio above 1 means that ours is faster; differences below 10 % are ties.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from kernels import Rival

from graph.init import init_parameters
from graph.ir import Kind
from graph.optimizer import Sgd
from graph.parallel.plan import Rank
from graph.parallel.strategies import STRATEGIES
from graph.record import record
from graph.zoo import MODELS
from hw.kernels.record import Platform
from hw.lower import lower
from runtime.executor import FOREVER, Board, Executor, data_layout
from runtime.kernels.build import compile_all

Array = npt.NDArray[Any]
NETS = {"LeNet-5": ("lenet", (28, 28, 1)), "digits LeNet": ("lenet", (8, 8, 1)), "MLP": ("mlp", (28, 28, 1))}
BATCHES = (1, 32, 64, 256)
RATE, MOMENTUM = 0.01, 0.9
CLOSE = 1e-4  # gradients, relative to the largest of each: far above rounding, far below any mistake
TURN = 5e-3  # seconds of a turn, at least


class OneBatch:
    """An input ring whose only batch is always there, so that no thread fills it while steps are timed."""

    def __init__(self, x: Array, labels: Array, offsets: Mapping[str, int], nbytes: int) -> None:
        self._counts = np.array([FOREVER, 0], np.int64)
        self._slot = np.zeros(nbytes, np.uint8)
        for name, a in (("x", x), ("labels", labels)):
            self._slot[offsets[name] : offsets[name] + a.nbytes] = np.frombuffer(a.tobytes(), np.uint8)
        self.filled, self.used = (int(self._counts.ctypes.data) + 8 * i for i in (0, 1))
        self.ring, self.slots, self.stride = int(self._slot.ctypes.data), 1, nbytes


class Ours:
    """Trainscape's executor, one rank, in this process."""

    def __init__(self, net: str, batch: int, rng: np.random.Generator) -> None:
        model, image = NETS[net]
        net, sgd = MODELS[model].build(batch, image=image, classes=10), Sgd(learning_rate=RATE, momentum=MOMENTUM)
        plan = STRATEGIES["data_parallel"](net, sgd, ranks=1, steps=1, bucket_bytes=1 << 20)
        lowered = lower(plan, "worker", Platform.CPU)
        graph = lowered.graph
        self.x = rng.random(graph.type_of("x").shape, np.float32)
        self.labels = rng.integers(0, 10, batch)
        initial = init_parameters(graph, 0)
        self.parameters = {v.name: initial[v.name] for v in graph.of_kind(Kind.PARAMETER)}
        stage: Any = OneBatch(self.x, self.labels, *data_layout(lowered))
        self.executor = Executor(lowered, Rank("worker", (0,)), stage=stage, batch=batch)
        self.executor.touch()
        self.executor.load(self.parameters)

    def first_step(self) -> tuple[float, dict[str, Array]]:
        """The first step's loss and gradients; the momentum is zero before it, and after it the gradient."""
        loss = self.executor.step()
        return loss, {p: self.executor.array(f"{p}.momentum").copy() for p in self.parameters}

    def steps(self, n: int) -> Rival:
        """`n` steps in one native call."""
        words, losses, ends = np.zeros(32, np.int64), np.zeros(n, np.float32), np.zeros(n, np.int64)
        words[16] = FOREVER
        at = int(words.ctypes.data)
        board = Board(
            abort=at, request=at + 64, stop_at=at + 128, progress=at + 192,
            losses=int(losses.ctypes.data), ends=int(ends.ctypes.data),
        )  # fmt: skip

        def play() -> object:
            first = self.executor.next_step
            return self.executor.play(first, first + n, board=board, origin=first), words, losses, ends

        return play


class Torch:
    """The same net in PyTorch, in eager mode on one thread."""

    def __init__(self, ours: Ours, *, channels_last: bool = False) -> None:
        import torch

        torch.set_num_threads(1)
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self.parameters: dict[str, Any] = {}
        for name in ours.parameters:
            p = torch.from_numpy(self.turned(name, ours.parameters))
            self.parameters[name] = (p.contiguous(memory_format=self._layout) if p.dim() == 4 else p).requires_grad_()
        self.layers = list(dict.fromkeys(k.split(".")[0] for k in self.parameters))
        x = torch.from_numpy(ours.x.copy())
        self.x = x.permute(0, 3, 1, 2).contiguous(memory_format=self._layout) if "conv1" in self.layers else x.reshape(len(x), -1)
        self.labels = torch.from_numpy(ours.labels.copy())
        self.optimizer = torch.optim.SGD(self.parameters.values(), lr=RATE, momentum=MOMENTUM, fused=True)

    @staticmethod
    def turned(name: str, parameters: Mapping[str, Array]) -> Array:
        """A parameter in PyTorch's layout: OIHW, [out, in]; behind a convolution the features are in the order of NCHW."""
        p = parameters[name]
        if p.ndim == 4:
            return np.ascontiguousarray(p.transpose(3, 2, 0, 1))
        if p.ndim == 2:
            channels = parameters["conv2.weight"].shape[3] if name == "fc1.weight" and "conv2.weight" in parameters else 1
            return np.ascontiguousarray(p.reshape(-1, channels, p.shape[1]).transpose(2, 1, 0).reshape(p.shape[1], -1))
        return p.copy()

    def step(self) -> Any:
        """One step; its loss."""
        import torch.nn.functional as f

        self.optimizer.zero_grad(set_to_none=True)
        y = self.x
        for layer in self.layers:
            w, b = self.parameters[f"{layer}.weight"], self.parameters[f"{layer}.bias"]
            if layer.startswith("conv"):
                pad = 1 if w.shape[2] == 3 else 2 if layer == "conv1" else 0
                y = f.max_pool2d(f.relu(f.conv2d(y, w, b, padding=pad)), 2)
            else:
                y = f.linear(y.flatten(1), w, b)
                y = f.relu(y) if layer != self.layers[-1] else y
        loss = f.cross_entropy(y, self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def steps(self, n: int) -> Rival:
        """`n` steps."""
        return lambda: [self.step() for _ in range(n)]


@record
class Row:
    """One net and batch.

    Parameters
    ----------
    seconds : rival -> shortest CPU seconds of a step.
    difference : greatest difference of a gradient from PyTorch's, relative to the largest entry of that gradient.
    """

    net: str
    batch: int
    seconds: Mapping[str, float]
    difference: float

    def ratio(self, rival: str) -> float:
        return self.seconds[rival] / self.seconds["ours"]


def difference(ours: Ours, torch: Torch) -> float:
    """Take a step with both and compare losses and gradients; raises `SystemExit` when they are not the same net."""
    (loss, grads), other = ours.first_step(), float(torch.step())
    worst = abs(loss - other) / abs(other)
    for name, g in grads.items():
        mine, other_grad = torch.turned(name, {**ours.parameters, name: g}), torch.parameters[name].grad.numpy()
        worst = max(worst, float(np.abs(mine - other_grad).max() / np.abs(mine).max()))
    if not worst < CLOSE:
        raise SystemExit(f"gradients differ from PyTorch's by {worst:.1e} of their largest entry; nothing was timed")
    return worst


def measured(net: str, batch: int, rounds: int) -> Row:
    """Compare and time one net and batch."""
    ours = Ours(net, batch, np.random.default_rng(0))
    nets: dict[str, Any] = {"ours": ours, "torch": Torch(ours)}
    found = difference(ours, nets["torch"])
    if "conv1.weight" in ours.parameters:
        nets["torch channels last"] = Torch(ours, channels_last=True)
    turns, best = {}, {}
    for name, rival in nets.items():
        rival.steps(3)()
        start = time.process_time()
        rival.steps(3)()
        turns[name] = max(1, int(3 * TURN / (time.process_time() - start)))
    rivals = {name: rival.steps(turns[name]) for name, rival in nets.items()}
    for _ in range(rounds):
        for name, play in rivals.items():
            start = time.process_time()
            play()
            took = (time.process_time() - start) / turns[name]
            best[name] = min(best.get(name, took), took)
    return Row(net=net, batch=batch, seconds=best, difference=found)


def rows(nets: list[str], rounds: int) -> Iterator[Row]:
    for net in nets:
        for batch in BATCHES:
            yield measured(net, batch, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("nets", nargs="*", help=f"beginnings of names, of {', '.join(NETS)}; all by default")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each rival")
    given = parser.parse_args()
    compile_all()
    for row in rows([n for n in NETS if n.startswith(tuple(given.nets) or ("",))], given.rounds):
        times = "  ".join(f"{k} {v * 1e6:9.1f} us" for k, v in row.seconds.items())
        against = "  ".join(f"{k}/ours {row.ratio(k):5.2f}" for k in row.seconds if k != "ours")
        print(f"{row.net:12s} batch {row.batch:3d}  {times}  {against}  gradients differ by {row.difference:.1e}", flush=True)


if __name__ == "__main__":
    main()
