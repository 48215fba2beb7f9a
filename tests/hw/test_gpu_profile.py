"""Profiles of GPUs: they read back as they were written, are refused when stale or broken, and make a system."""

from dataclasses import replace
from pathlib import Path

import pytest

from hw.catalogue import host_gpu_system
from hw.cost import cost_model
from hw.errors import HwError, StaleProfile
from hw.gpu_profile import (
    CATALOGUE,
    GpuCoefficients,
    GpuProfile,
    file_name,
    find_gpu_profile,
    load_gpu_profile,
    places,
    save_gpu_profile,
)
from hw.kernels.record import Platform
from hw.link import DrivenBy
from hw.profile import KernelFit, LinkFit, Row

FIT = GpuCoefficients(seconds_per={"call": 1e-6, "bytes": 1.5e-12}, residuals=(0.1, -0.1), unseen=(0.2, -0.2))


def profile() -> GpuProfile:
    link = LinkFit(
        send_overhead_s=1e-5, send_bytes_per_s=5e9, recv_copy_overhead_s=1e-5, recv_copy_bytes_per_s=5e9,
        recv_add_overhead_s=2e-5, recv_add_bytes_per_s=4e9, latency_s=0.0, residuals=(0.01,),
    )  # fmt: skip
    return GpuProfile(
        name="made-up", gpu="Made Up", created="2026-01-01T00:00:00+00:00", driver="13.0", capability="9.0", multiprocessors=4,
        memory_nbytes=1 << 33, memory_bytes_per_s=1e12, versions={"python": "3.11"}, launch_s=5e-6, step_overhead_s=1e-5,
        repeat=0.01, kernels={"cuda.relu": KernelFit(source_hash="abc", busy={1: FIT})}, link=link,
        rows=(Row(kernel="cuda.relu", busy=1, what="f32[3]", measured_s=1e-6, fitted_s=1.1e-6),),
    )  # fmt: skip


def test_it_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = save_gpu_profile(profile(), tmp_path / "gpus" / "made-up.yaml")
    assert load_gpu_profile(path) == profile()
    text = path.read_text()
    assert "provenance:" in text and "driver: '13.0'" in text and "created:" in text


def test_names_and_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert file_name("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
    own, catalogue = places("Made Up")
    assert catalogue == CATALOGUE / "made-up.yaml" and own.is_relative_to(tmp_path)
    assert find_gpu_profile("Made Up") is None
    save_gpu_profile(profile(), own)
    assert find_gpu_profile("Made Up") == own


def test_other_sources_and_missing_kernels_are_stale() -> None:
    profile().check({"cuda.relu": "abc"})
    with pytest.raises(StaleProfile, match=r"cuda.relu changed since.*calibrate --device cuda"):
        profile().check({"cuda.relu": "abd"})
    with pytest.raises(StaleProfile, match=r"cuda.tanh not in it"):
        profile().check({"cuda.relu": "abc", "cuda.tanh": "x"})


def test_libraries_of_a_vendor_need_not_have_been_there() -> None:
    fit = KernelFit(source_hash="abc", busy={1: FIT})
    profile().check({"cuda.relu": "abc", "cuda.matmul.vendor": "x"})
    with pytest.raises(StaleProfile, match=r"cuda.matmul.vendor changed since"):
        replace(profile(), kernels={"cuda.relu": fit, "cuda.matmul.vendor": fit}).check({"cuda.matmul.vendor": "x"})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"schema": "x/0"}, StaleProfile, "schema 'x/0'"),
        ({"memory_nbytes": 0}, HwError, "memory_nbytes cannot be 0"),
        ({"kernels": {"cuda.relu": {}}}, HwError, "broken"),
        ({"link": {}}, HwError, "broken"),
        ({"more": 1}, HwError, "broken"),
    ],
)
def test_a_broken_document_is_refused(change: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        GpuProfile.of_document({**profile().document(), **change})


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for text, message in (("[", "cannot be read"), ("1", "is no mapping")):
        path.write_text(text)
        with pytest.raises(HwError, match=message):
            load_gpu_profile(path)


def test_the_system_has_one_gpu_and_the_host_issues_only_where_several_share_it() -> None:
    one, two = host_gpu_system(profile(), 1), host_gpu_system(profile(), 2)
    assert (one.count, one.device.platform, one.prefix) == (1, Platform.CUDA, "gpu")
    assert (one.device.issue_seconds, two.device.issue_seconds) == (0.0, 5e-6)
    (wire,) = one.wires
    assert wire.link.driven_by is DrivenBy.CORE and wire.link.copies is not None
    assert wire.link.copies.receive_add.seconds(4000) == pytest.approx(2.1e-5)
    assert cost_model(one.device, profile()).name == "calibrated"
    with pytest.raises(HwError, match=r"not in the calibration profile of 2026.*--device cuda"):
        cost_model(one.device, replace(profile(), kernels={})).seconds(_call())


def _call():  # type: ignore[no-untyped-def]
    from graph.op import Size
    from graph.tensor_type import f32
    from hw.kernels import KERNELS
    from runtime.calibration import call_of

    return call_of(KERNELS["cuda.relu"], Size(types=(f32(3),), attrs={}))[0]


def test_what_a_step_touches_is_held_against_the_cache_of_a_gpu() -> None:
    """16 MiB are found there, 64 MiB are not."""
    fit = GpuCoefficients(seconds_per={"call": 2.0}, small=0.5)
    seconds = [fit.of_step(nbytes)["call"] for nbytes in (1, 16 << 20, 32 << 20, 64 << 20, None)]
    assert seconds == pytest.approx([1.0, 1.0, 1.5, 2.0, 2.0])
