"""What these tests share: the command line in this process, a made-up profile of this computer, small timelines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from graph.parallel.plan import Rank
from graph.timeline import Record, Timeline

SCENARIOS = Path(__file__).parents[2] / "scenarios"


class Outcome(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Stdout as the one JSON document that it must be."""

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is no JSON")

        found = json.loads(self.out, parse_constant=refuse)
        assert isinstance(found, dict)
        return found


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run the command line, in an empty folder."""
    from trainscape.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> Outcome:
        capsys.readouterr()
        code = main([str(a) for a in args])
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return run


@pytest.fixture
def profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A profile of this computer with made-up coefficients, kept where `trainscape` looks for it."""
    from hw.kernels import KERNELS
    from hw.kernels.record import Platform
    from hw.profile import Coefficients, KernelFit, LinkFit, Probes, Profile, cpu_name, save_profile
    from runtime.kernels.build import source_hashes

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    kernels = {}
    for name, source_hash in source_hashes().items():
        terms: dict[str, float] = {}
        if name in KERNELS and KERNELS[name].platform is Platform.CPU:
            for size in KERNELS[name].sizes():
                terms |= dict.fromkeys(KERNELS[name].terms(size.types, size.attrs), 1e-9)
        fit = Coefficients(seconds_per=terms, residuals=(0.02, -0.03))
        kernels[name] = KernelFit(source_hash=source_hash, busy={1: fit, 2: fit})
    link = LinkFit(
        send_overhead_s=1e-6,
        send_bytes_per_s=5e9,
        recv_copy_overhead_s=1e-6,
        recv_copy_bytes_per_s=5e9,
        recv_add_overhead_s=1e-6,
        recv_add_bytes_per_s=4e9,
        latency_s=5e-7,
    )
    probes = Probes(arith_s=1e-3, copy_s=1e-3)
    made = Profile(
        created="2026-01-01T00:00:00+00:00",
        cpu=cpu_name(),
        cores=2,
        memory_nbytes=8 << 30,
        memory_bytes_per_s={1: 1e10, 2: 8e9},
        kernels=kernels,
        link=link,
        probes={1: probes, 2: probes},
    )
    save_profile(made)
    return made


@pytest.fixture
def gpu_profile() -> Any:
    """A profile of a GPU that nobody has, with made-up coefficients."""
    from hw.gpu_profile import GpuCoefficients, GpuProfile
    from hw.kernels import KERNELS
    from hw.kernels.record import Platform
    from hw.profile import KernelFit, LinkFit

    per = {"call": 2e-6, "further": 2e-6, "flop": 1e-13, "bytes": 1e-12}
    kernels = {}
    for name in (n for n, k in KERNELS.items() if k.platform is Platform.CUDA):
        terms = {t for s in KERNELS[name].sizes() for t in KERNELS[name].terms(s.types, s.attrs)} | set(per)
        fit = GpuCoefficients(seconds_per={t: per.get(t, 1e-9) for t in sorted(terms)}, residuals=(0.02, -0.03))
        kernels[name] = KernelFit(source_hash="0" * 16, busy={1: fit})
    link = LinkFit(
        send_overhead_s=1e-5,
        send_bytes_per_s=5e9,
        recv_copy_overhead_s=1e-5,
        recv_copy_bytes_per_s=5e9,
        recv_add_overhead_s=2e-5,
        recv_add_bytes_per_s=4e9,
        latency_s=1e-6,
    )
    return GpuProfile(
        name="made-up",
        gpu="Made Up",
        created="2026-01-01T00:00:00+00:00",
        driver="13.0",
        capability="9.0",
        multiprocessors=4,
        memory_nbytes=8 << 30,
        memory_bytes_per_s=1e12,
        versions={"numba-cuda": "0.30"},
        kernels=kernels,
        link=link,
        launch_s=5e-6,
        step_overhead_s=1e-5,
    )


def record(step: int, kind: str, start: float, end: float, *, rank: int = 0, stream: str = "compute", last: object = 0) -> Record:
    """A leaf of a timeline."""
    return Record(rank=Rank("worker", (rank,)), id=(step, kind, "x", last), stream=stream, ready=start, start=start, end=end)


@pytest.fixture
def timeline() -> Timeline:
    """Two steps of 10 seconds: forward 3, backward 4, a transfer of which 1 is hidden and 1 not, update 1, the rest waiting."""
    found = []
    for step in (0, 1):
        t = 10.0 * step
        found += [
            record(step, "forward", t, t + 3),
            record(step, "backward", t + 3, t + 7),
            record(step, "allreduce", t + 6, t + 8, stream="comm>", last="send"),
            record(step, "update", t + 9, t + 10),
        ]
    return Timeline(found)
