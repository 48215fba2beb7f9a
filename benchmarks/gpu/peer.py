"""PyTorch as the rival: imported only here, on the GPU; beside the simulator on the processor, to show that all of it runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.gpu.timing import Turn, times_for

Work = Callable[[], Any]


class PeerMissing(Exception):
    """There is no PyTorch that could be a rival, and why."""


class Peer:
    """PyTorch on a device.

    Parameters
    ----------
    simulated : on the processor, beside the simulator.

    Raises
    ------
    PeerMissing : it is not installed, or it has no GPU.
    """

    def __init__(self, simulated: bool) -> None:
        try:
            import torch
        except ImportError as e:
            raise PeerMissing(f"PyTorch is not there ({e}): nothing to compare with; pip install torch") from e
        if not simulated and not torch.cuda.is_available():
            raise PeerMissing(f"PyTorch {torch.__version__} finds no GPU: nothing to compare with; install its build for CUDA 13")
        self.torch: Any = torch
        self.is_gpu = not simulated
        self.device = torch.device("cuda" if self.is_gpu else "cpu")
        torch.backends.cudnn.benchmark = True  # it tries its algorithms, and takes the fastest

    @contextmanager
    def precision(self, name: str) -> Iterator[str]:
        """What its matrix products and convolutions compute in meanwhile: f32 or tf32; gives that in words."""
        matmul, cudnn = self.torch.backends.cuda.matmul, self.torch.backends.cudnn
        before = matmul.allow_tf32, cudnn.allow_tf32
        allows = name == "tf32"
        matmul.allow_tf32, cudnn.allow_tf32 = allows, allows
        try:
            yield "f32 tensors, allow_tf32 " + ("on" if allows else "off")
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before

    def dtype(self, name: str) -> Any:
        """Element type of its tensors for one of our algorithms."""
        return {"bf16": self.torch.bfloat16, "fp16": self.torch.float16}.get(name, self.torch.float32)

    def tensor(self, array: Any) -> Any:
        """An array of ours, as a tensor on the same memory."""
        if self.is_gpu:
            return self.torch.as_tensor(array, device=self.device)
        return self.torch.from_numpy(array._ary)

    def given(self, array: Any) -> Any:
        """A copy of an array of the host."""
        return self.torch.from_numpy(array.copy()).to(self.device)

    def synchronize(self) -> None:
        if self.is_gpu:
            self.torch.cuda.synchronize()

    def empty(self) -> None:
        """Give back memory that no tensor has."""
        if self.is_gpu:
            self.torch.cuda.empty_cache()

    def turn(self, work: Work) -> Turn:
        """Captured as one graph, as ours is, so that nothing of the host is in it."""
        with self.torch.no_grad():
            work()
            self.synchronize()
            if not self.is_gpu:
                return lambda: self.clocked(work)
            side = self.torch.cuda.Stream()
            side.wait_stream(self.torch.cuda.current_stream())
            with self.torch.cuda.stream(side):
                work()
            self.torch.cuda.current_stream().wait_stream(side)
            times = times_for(min(self._timed(work) for _ in range(3)))
            graph = self.captured(work, times)
        return lambda: self._timed(graph.replay) / times

    def captured(self, work: Work, times: int = 1) -> Any:
        """A graph of so many."""
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            for _ in range(times):
                work()
        return graph

    def _timed(self, work: Work) -> float:
        first, last = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        work()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) * 1e-3

    def clocked(self, work: Work) -> float:
        """Seconds by the computer's clock, until all is done."""
        began = time.perf_counter()
        work()
        self.synchronize()
        return time.perf_counter() - began
