"""Square matrix products in every precision, against PyTorch's (cuBLAS)."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.gpu.bound import Bound, compile_calls
from benchmarks.gpu.contest import OURS, Rival, contest
from benchmarks.gpu.context import Context
from benchmarks.gpu.peer import Peer
from graph.op import Size
from graph.tensor_type import f32
from hw.kernels import KERNELS, Platform, algorithms
from hw.kernels.record import VENDOR
from runtime.calibration import call_of
from runtime.kernels.cuda.kernel import find

SIZES, TINY = (8192, 4096, 2048, 1024, 512), (8,)
ATTRS = {"ta": False, "tb": False}


def label(algorithm: str) -> str:
    """As items are called."""
    return algorithm or "f32"


def known(op: str) -> list[str]:
    """Algorithms of an operator, the one without a name first; a vendor's where its library is."""
    return ["", *(a for a in algorithms(Platform.CUDA).get(op, ()) if a in OURS and not absent(op, a))]


def absent(op: str, algorithm: str) -> str:
    """Why the library of an algorithm is not there."""
    library = find(record_name(op, algorithm)).library
    return library.absent() if library else ""


def record_name(op: str, algorithm: str) -> str:
    """Of an operator's record."""
    return f"cuda.{op}" + (f".{algorithm}" if algorithm else "")


def theirs_in(peer: Peer, algorithm: str) -> str:
    """What PyTorch computes in, where its tensors say so."""
    return "" if peer.dtype(algorithm) is peer.torch.float32 else f"{algorithm} tensors, sums in f32"


def _sizes(c: Context) -> tuple[int, ...]:
    return TINY if c.simulated else SIZES


def prepare(c: Context) -> None:
    for a in known("matmul"):
        sizes = (Size(types=(f32(n, n),) * 2, attrs={**ATTRS, "epilogue": ""}) for n in _sizes(c))
        compile_calls(call_of(KERNELS[record_name("matmul", a)], s) for s in sizes)
    _ = c.peer


def items(c: Context) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
    if why := absent("matmul", VENDOR):
        c.part.note(why)
    for n in _sizes(c):
        for a in known("matmul"):
            yield f"{label(a)} {n}", lambda n=n, a=a: product(c, n, a)


def product(c: Context, n: int, algorithm: str) -> Mapping[str, Any]:
    """One of ours and one of theirs, of the same operands."""
    work = Bound(c.device, record_name("matmul", algorithm), (f32(n, n),) * 2, ATTRS, np.random.default_rng(n))

    def rival(peer: Peer, work: Bound) -> Rival:
        a, b = (work.tensor(peer, k) for k in range(2))
        want = peer.torch.mm(a, b)
        a, b = a.to(peer.dtype(algorithm)), b.to(peer.dtype(algorithm))
        into = peer.torch.empty_like(a)
        return Rival(
            results=lambda: {0: want},
            works={"torch": lambda: peer.torch.mm(a, b, out=into)},
            words=theirs_in(peer, algorithm),
        )

    return contest(c, work, rival, algorithm=algorithm, flop=2 * n**3)
