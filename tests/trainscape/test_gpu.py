"""Scenarios on the GPU of this computer: what is asked for, what is predicted, and what is said where there is none."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from graph.parallel.plan import Rank
from hw.errors import StaleProfile
from hw.kernels.record import KERNELS, Platform
from runtime.cuda import driver
from trainscape import gpu_profile as profiles
from trainscape.build import Built
from trainscape.errors import MissingCapability, ScenarioError
from trainscape.exit_codes import ExitCode
from trainscape.host_profile import Status
from trainscape.load import load_text
from trainscape.predict import predict
from trainscape.scenario import RunsOn

TEXT = "name: s\nmodel: {{name: lenet, batch: 64}}\nsystem: {{name: {system}}}\nparallel: {{ranks: {ranks}, {more}}}\n"


def built(
    profile: Any, ranks: int = 1, more: str = "strategy: data", overrides: tuple[str, ...] = ("system.platform=cuda",)
) -> Built:
    text = TEXT.format(system="host", ranks=ranks, more=more)
    return Built(load_text(text, overrides=overrides).scenario, profile=profile)


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "find_driver", lambda: None)


def test_the_gpu_is_the_platform_of_every_role(gpu_profile: Any) -> None:
    b = built(gpu_profile)
    assert b.is_host and b.is_gpu and b.platform is Platform.CUDA
    assert {c.kernel.split(".")[0] for low in b.lowered.values() for c in low.calls} == {"cuda"}
    other = built(None, overrides=())
    assert not other.is_gpu and other.platform is Platform.CPU and other.plan.hash == b.plan.hash


def test_a_step_is_predicted_from_what_was_measured(gpu_profile: Any) -> None:
    found = predict(built(gpu_profile))
    numbers = found.numbers()
    assert numbers["cost_model"] == "calibrated" and numbers["memory_peak_bytes"][0] % (2 << 20) == 0
    calls = [c for low in found.built.lowered.values() for calls in low.segments.values() for c in calls]
    seconds = sum(found.built.placed.call_seconds(Rank("worker", (0,)), c) for c in calls)
    assert numbers["step_s"] == pytest.approx(seconds + gpu_profile.step_overhead_s, rel=1e-6)


def test_ranks_that_share_the_gpu_take_turns(gpu_profile: Any) -> None:
    one, two = predict(built(gpu_profile)), predict(built(gpu_profile, ranks=2))
    a, b = two.built.plan.ranks
    assert two.built.placed.place(a) == two.built.placed.place(b)
    assert two.stats.step_s > one.stats.step_s and two.stats.comm_s > 0
    each = [r for r in two.timeline if r.is_leaf and r.stream == "compute"]
    spans = sorted((r.start, r.end) for r in each)
    assert all(first[1] <= second[0] + 1e-12 for first, second in pairwise(spans))


def test_servers_on_the_host_stand_on_cores_beside_the_gpu(gpu_profile: Any, profile: Any) -> None:
    b = built(gpu_profile, 2, "strategy: parameter_server, servers: host, server_count: 2")
    kernels = {role: {c.kernel.split(".")[0] for c in low.calls} for role, low in b.lowered.items()}
    assert kernels == {"worker": {"cuda"}, "server": {"cpu"}}
    found = predict(b)
    assert {b.placed.places[r] for r in b.plan.ranks if r.role == "server"} == {"host"}
    assert found.stats.step_s > predict(built(gpu_profile)).stats.step_s and found.bytes_sent > 0
    update = next(c for c in b.lowered["server"].calls if c.kernel == "cpu.sgd")
    seconds = sum(n * 1e-9 for n in KERNELS["cpu.sgd"].terms(update.types, update.attrs).values())
    assert b.placed.call_seconds(b.plan.first_rank("server"), update) == pytest.approx(seconds)


def test_servers_on_the_host_want_the_cores_calibrated(gpu_profile: Any) -> None:
    said = r"cores beside the GPU are priced by .* this computer is not calibrated: run trainscape"
    with pytest.raises(StaleProfile, match=said):
        predict(built(gpu_profile, 2, "strategy: parameter_server, servers: host"))


def test_what_the_gpu_cannot_hold_is_refused_before_it_is_calibrated(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "require_gpu", lambda: driver.Gpu(name="Made Up", memory_nbytes=24 << 20))
    file = tmp_path / "s.yaml"
    file.write_text(TEXT.format(system="host", ranks=1, more="strategy: data").replace("batch: 64", "batch: 8192"))
    said = r"a rank needs [\d.]+ MB, but Made Up has 25.2 MB: .* too few; try parallel.micro_batches: \d+, or .*model.batch: \d+"
    for command in ("check", "train"):
        found = cli(command, file, "--device", "cuda")
        assert found.code == ExitCode.INFEASIBLE and re.search(said, found.err), found.err
    assert not (tmp_path / "runs").exists()


def test_a_catalogue_system_says_itself_what_it_is() -> None:
    for system, more in (("dgx1-v100", "cuda"), ("h200-sxm", "cpu")):
        with pytest.raises(ScenarioError, match=rf"{system} says itself what its devices are.*--set system.name=host"):
            load_text(TEXT.format(system=system, ranks=1, more="strategy: data"), overrides=(f"system.platform={more}",))


def test_a_catalogue_system_of_the_command_line_takes_the_files_place() -> None:
    text = TEXT.format(system="host, platform: cuda", ranks=1, more="strategy: data")
    found = load_text(text, overrides=("system.name=h200-sxm",))
    assert found.scenario.system.platform is None and len(found.warnings) == 1
    assert found.warnings[0].startswith("system.platform: cuda is of this computer and is left out")
    for overrides in ((), ("system.name=host",)):
        kept = load_text(text, overrides=overrides)
        assert kept.scenario.system.platform is RunsOn.CUDA and kept.warnings == ()
    for wrong, overrides in ((text.replace("host", "h200-sxm"), ()), (text, ("system.name=h200-sxm", "system.platform=cuda"))):
        with pytest.raises(ScenarioError, match="h200-sxm says itself what its devices are"):
            load_text(wrong, overrides=overrides)


def test_there_is_one_gpu() -> None:
    with pytest.raises(ScenarioError, match="all ranks share one GPU"):
        load_text(TEXT.format(system="host", ranks=2, more=""), overrides=("system.platform=cuda", "system.devices=2"))


def test_the_option_is_the_key(cli: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(TEXT.format(system="host", ranks=1, more="strategy: data"))
    for device in RunsOn:
        assert cli("check", file, "--device", device, "--json").document["settings"]["system"]["platform"] == device
    assert "platform" not in cli("check", file, "--json").document["settings"]["system"]
    assert "--device has no effect on 'hw list'" in cli("hw", "list", "--device", "cuda").err
    assert cli("check", file, "--device", "tpu").code == ExitCode.USAGE


@pytest.mark.usefixtures("no_driver")
def test_without_a_driver_every_command_ends_with_6_and_the_way_out(cli: Callable[..., Any], tmp_path: Path) -> None:
    file, out = tmp_path / "s.yaml", tmp_path / "out"
    file.write_text(TEXT.format(system="host", ranks=1, more="strategy: data"))
    for command in (("predict", file), ("train", file), ("validate", file), ("compare", file), ("demo",)):
        found = cli(*command, "--device", "cuda", "--out", out)
        assert found.code == ExitCode.MISSING_CAPABILITY, command
        assert "no CUDA driver" in found.err and "nvidia-smi" in found.err and "pip install" in found.err
        assert not out.exists()
    for command in ("calibrate", "doctor"):
        assert cli(command, "--device", "cuda").code == ExitCode.MISSING_CAPABILITY
    assert cli("doctor").code == ExitCode.OK and "install NVIDIA's driver" in cli("doctor").out


def test_states_of_the_profile(gpu_profile: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from hw.gpu_profile import places, save_gpu_profile

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(driver, "require_gpu", lambda: driver.Gpu(name="Made Up"))
    hashes = dict.fromkeys(gpu_profile.kernels, "0" * 16)
    monkeypatch.setattr("runtime.cuda.hashes.source_hashes", lambda: hashes)
    with pytest.raises(MissingCapability, match="Made Up, is not calibrated: run `trainscape calibrate --device cuda`"):
        profiles.require()
    path = save_gpu_profile(gpu_profile, places("Made Up")[0])
    assert profiles.state().status is Status.PRESENT and profiles.require() == gpu_profile
    hashes["cuda.relu"] = "1" * 16
    assert profiles.state().status is Status.STALE and "cuda.relu changed since" in profiles.state().text
    hashes.update(dict.fromkeys(hashes, "1" * 16))
    assert profiles.state().text.endswith("...; run `trainscape calibrate --device cuda`")
    path.write_text("[")
    assert profiles.state().status is Status.MISSING


def test_a_simulator_is_never_written_to_the_catalogue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert profiles.place_of(driver.SIMULATOR).is_relative_to(tmp_path)
    assert profiles.place_of("NVIDIA H200").name == "nvidia-h200.yaml"
