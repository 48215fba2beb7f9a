"""Kernels made ready on disk before a GPU is touched; none is needed for it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from graph.autodiff import training_graph
from graph.optimizer import Sgd
from graph.parallel.strategies.data_parallel import data_parallel
from graph.zoo import MODELS
from hw.kernels.record import Platform
from hw.lower import lower
from hw.lowered import Lowered
from runtime.cuda import ahead
from runtime.errors import MissingCapability, RunError
from runtime.kernels.cuda import compile
from runtime.kernels.cuda.kernel import CUDA_KERNELS, DeviceKernel, load_families

load_families()
KERNELS = {k.name: k for c in CUDA_KERNELS.values() for k in c.kernels}
AMPERE = (8, 6)


class Watching:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.parts: list[tuple[int, int]] = []

    def on_phase(self, what: str) -> None:
        self.phases.append(what)

    def on_part(self, done: int, total: int) -> None:
        self.parts.append((done, total))


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[DeviceKernel]:
    """Kernels of which nothing is kept."""
    monkeypatch.setattr(compile, "folder", lambda: tmp_path)
    return [KERNELS["relu"], KERNELS["relu_4"]]


def test_what_is_missing_is_made_once(two: list[DeviceKernel]) -> None:
    first, again = Watching(), Watching()
    for watching in (first, again):
        ahead.compile_ahead(two, AMPERE, instruments=[watching])
    assert (first.phases, first.parts) == (["compiling kernels"], [(1, 2), (2, 2)])
    assert (again.phases, again.parts) == (["loading kernels"], [])
    assert all(compile.image(k, AMPERE).startswith(b"\x7fELF") and compile.is_kept(k, AMPERE) for k in two)
    assert ".target sm_80" in compile.ptx(two[0], compile.source_architecture(AMPERE))


def test_processes_share_the_work(
    two: list[DeviceKernel], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def here(module: str, shares: Sequence[Sequence[str]]) -> Iterator[str]:
        assert module == ahead.__name__ and len(shares) == 2
        for share in shares:
            ahead.main(*share)
            yield from capsys.readouterr().out.split()

    monkeypatch.setattr(ahead, "apart", here)
    watching = Watching()
    ahead.compile_ahead(two, AMPERE, instruments=[watching], processes=2)
    assert watching.parts == [(1, 2), (2, 2)] and all(compile.is_kept(k, AMPERE) for k in two)
    ahead.compile_ahead(two, AMPERE, instruments=[watching], processes=2)
    assert len(watching.parts) == 2  # nobody was started for nothing


def lowered(ranks: int, **algorithms: str) -> Lowered:
    net = MODELS["mlp"].build(8, image=(64,), classes=10, width=0.1, denominator=8 * ranks, seed=4)
    graph = training_graph(net, Sgd(learning_rate=0.1))
    plan = data_parallel(graph, ranks=ranks, steps=1, micro_batches=1, bucket_bytes=1024)
    return lower(plan, "worker", Platform.CUDA, algorithms=algorithms)


def test_only_what_a_plan_launches_is_made() -> None:
    alone, both = (ahead.launched([lowered(n)], (9, 0)) for n in (1, 2))
    sums = set(CUDA_KERNELS["cuda.accumulate"].kernels)
    assert sums & set(both) and not sums & set(alone) and set(alone) <= set(both)
    assert len(alone) == len(set(alone)) < len(KERNELS) / 3


def test_what_an_older_gpu_lacks_is_refused_before_anything_is_compiled() -> None:
    with pytest.raises(MissingCapability, match=r"needs a GPU of compute capability 8\.0, this one has 7\.5"):
        ahead.launched([lowered(1, matmul="tf32")], (7, 5))


def test_gpus_before_the_first_architecture_are_refused() -> None:
    assert [compile.source_architecture(a) for a in ((7, 5), (8, 9), (12, 1))] == [(7, 5), (8, 0), (9, 0)]
    with pytest.raises(RunError, match="sm_75 and later"):
        compile.source_architecture((7, 0))
