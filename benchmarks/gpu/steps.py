"""Whole training steps, as a worker does them, against PyTorch: eager, captured as a graph, and compiled.

Both begin with the same parameters and batch; loss and gradients of the first step are compared before anything is timed. Both
copy their batch from pinned memory in every step. What is timed is the computer's clock over many steps, with everything that the
host does; the ratio is to the fastest of PyTorch's eager ways.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np

from benchmarks.gpu.bound import same
from benchmarks.gpu.contest import OURS
from benchmarks.gpu.context import Context
from benchmarks.gpu.gemm import absent
from benchmarks.gpu.nets import DECAY, MOMENTUM, RATE, Case, OurStep, compile_steps
from benchmarks.gpu.peer import Peer
from benchmarks.gpu.timing import Turn, alternated, result
from benchmarks.gpu.torch_net import TorchStep
from graph.init import init_parameters
from graph.ir import Graph
from graph.zoo import MODELS
from hw.kernels.record import VENDOR

FIRST = (
    Case(net="mlp", batch=64), Case(net="lenet", batch=64),
    *(Case(net=net, batch=b, algorithm=a) for net, b in (("alexnet-owt", 128), ("resnet50", 32)) for a in ("", "tf32")),
)  # fmt: skip
"""What counts most; torch.compile is tried on these alone, as it takes its time."""
MORE = (
    Case(net="mlp", batch=1024), Case(net="lenet", batch=1024),
    *(Case(net=net, batch=b, algorithm=a) for net, b in (("alexnet-owt", 256), ("resnet50", 64)) for a in ("", "tf32")),
    Case(net="alexnet-owt", batch=128, algorithm=VENDOR), Case(net="resnet50", batch=32, algorithm=VENDOR),
)  # fmt: skip
TINY = (Case(net="mlp", batch=2, tiny=True),)
ROUNDS, TURN_SECONDS, WARM, MOST = 5, 0.08, 5, 400
CLOSE = {"": 0.05, VENDOR: 0.05, "tf32": 0.5}
"""Algorithm -> how far gradients may be off, each by the root of its squares."""
DAMPED, BY = "c.scale", 0.2
"""What residual blocks end with begins smaller. As it is usually begun, rounding grows on its way through ResNet-50 until tf32
has other gradients than f32 (0.7 apart, and 0.03 after a change of the images by 1e-7; so begun 0.1 and 0.003)."""
_prepared: dict[Case, TorchStep] = {}


@lru_cache(maxsize=2)
def _net(net: str, batch: int, tiny: bool) -> Graph:
    return MODELS[net].build(batch, **Case(net=net, batch=batch, tiny=tiny).options)


@lru_cache(maxsize=4)
def _initial(net: str, tiny: bool) -> dict[str, Any]:
    found = init_parameters(_net(net, 1, tiny), 0)
    return {name: a * np.float32(BY) if name.endswith(DAMPED) else a for name, a in found.items()}


def _cases(c: Context) -> tuple[Case, ...]:
    if c.simulated:
        return TINY
    has_library = not (absent("matmul", VENDOR) or absent("conv2d", VENDOR))
    return tuple(x for x in (*FIRST, *MORE) if x.algorithm != VENDOR or has_library)


def prepare(c: Context) -> None:
    """Compile ours, and theirs where torch.compile is tried."""
    compile_steps(list(_cases(c)))
    for case in FIRST if c.peer is not None and not c.simulated else ():
        rng = np.random.default_rng(0)
        x = rng.random((case.batch, *case.options["image"]), np.float32)
        labels = rng.integers(0, case.options["classes"], case.batch)
        try:
            with c.peer.precision(case.algorithm):
                made = _theirs(c.peer, case, x, labels, channels_last=True, is_compiled=True)
                made.steps(2)
            _prepared[case] = made
        except Exception as e:
            c.part.note(f"torch.compile of {case}: {type(e).__name__}: {str(e)[:200]}")


def items(c: Context) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
    for case in _cases(c):
        yield str(case), partial(step, c, case)


def _theirs(peer: Peer, case: Case, x: Any, labels: Any, **more: bool) -> TorchStep:
    sgd = {"lr": RATE, "momentum": MOMENTUM, "weight_decay": DECAY}
    return TorchStep(peer, _net(case.net, case.batch, case.tiny), _initial(case.net, case.tiny), x, labels, sgd, **more)


def compared(ours: OurStep, theirs: TorchStep, close: float) -> float:
    """Do the first step with both; the greatest difference, of the loss or of a gradient; raises `Wrong`."""
    loss, gradients = ours.first_step()
    other = float(theirs.step())
    worst = abs(loss - other) / abs(other)
    for name, g in gradients:
        mine, want = theirs.net.turned(name, g), theirs.momentum(name)
        worst = max(worst, float(np.linalg.norm(mine - want) / max(np.linalg.norm(want), 1e-12)))
    return same("loss or gradients", worst, close)


def step(c: Context, case: Case) -> Mapping[str, Any]:
    """One net, batch and precision."""
    ours, peer = OurStep(case, initial=_initial(case.net, case.tiny)), c.peer
    rivals: dict[str, Turn] = {"ours": _turn(c, ours.steps)}
    found, words, notes = None, "", list[str]()
    if peer is None:
        seconds = alternated(rivals, _rounds(c))
    else:
        with peer.precision(case.algorithm) as words:
            ways = _ways(peer, case, ours)
            found = compared(ours, ways["torch eager"], CLOSE[case.algorithm])
            for name, way in ways.items():
                rivals[name] = _turn(c, way.steps, peer)
            if peer.is_gpu:
                _graphed(c, peer, list(ways.values())[-1], rivals, notes)
            if case in _prepared:
                rivals["torch compile"] = _turn(c, _prepared[case].steps, peer)
            seconds = alternated(rivals, _rounds(c))
    captured = ours.executor.why_not_captured or "as one graph"
    return result(
        seconds, ours=OURS[case.algorithm], theirs=words, simulated=c.simulated, against="torch eager", difference=found,
        samples_per_s=case.batch / seconds["ours"]["median"], captured=captured, notes=notes,
    )  # fmt: skip


def _rounds(c: Context) -> int:
    return 1 if c.simulated else ROUNDS


def _ways(peer: Peer, case: Case, ours: OurStep) -> dict[str, TorchStep]:
    """PyTorch's eager ways; channels innermost makes a difference where there are any."""
    found = {"torch eager": _theirs(peer, case, ours.x, ours.labels, channels_last=False)}
    if ours.x.ndim == 4 and case.net != "mlp":
        found["torch eager channels last"] = _theirs(peer, case, ours.x, ours.labels, channels_last=True)
    return found


def _graphed(c: Context, peer: Peer, way: TorchStep, rivals: dict[str, Turn], notes: list[str]) -> None:
    try:
        rivals["torch graph"] = _turn(c, way.graphed(), peer)
    except Exception as e:
        notes.append(f"PyTorch's step could not be captured: {type(e).__name__}: {str(e)[:200]}")


def _turn(c: Context, steps: Callable[[int], Any], peer: Peer | None = None) -> Turn:
    """A turn of so many steps as take some time; their number is found at the first."""
    import time

    count = 0

    def timed(n: int) -> float:
        began = time.perf_counter()
        steps(n)
        if peer is not None:
            peer.synchronize()
        return (time.perf_counter() - began) / n

    def turn() -> float:
        nonlocal count
        if not count and not c.simulated:
            timed(WARM)
            count = min(max(int(TURN_SECONDS / timed(WARM)), 2), MOST)
        return timed(count or 1)

    return turn
