"""Doctor: what is found, and what is said about it. The machine under test is whatever it is; what is fixed is faked."""

import ctypes
from pathlib import Path
from typing import Any

import pytest

from trainscape import doctor
from trainscape.doctor import Status
from trainscape.host_profile import Status as ProfileStatus
from trainscape.host_profile import state


def finding(name: str) -> doctor.Finding:
    return next(f for f in doctor.examine() if f.name == name)


def test_the_report_as_a_document(cli: Any) -> None:
    found = cli("doctor", "--json")
    assert found.code == 0
    by_name = {f["name"]: f for f in found.document["findings"]}
    assert list(by_name) == ["versions", "cores", "memory", "shared memory", "cuda", "kernels", "profile", "extras"]
    assert by_name["versions"]["versions"]["numpy"]
    assert by_name["cores"]["cores"] >= 1 and by_name["memory"]["memory_bytes"] > 0
    assert {f["status"] for f in by_name.values()} <= {"ok", "warning", "missing"}


def test_the_report_for_people(cli: Any) -> None:
    out = cli("doctor").out
    for word in ("versions", "cores", "shared memory", "cuda", "profile"):
        assert word in out


def test_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 0.0, 0.0))
    found = finding("cores")
    assert found.status is Status.WARNING and "load 99.0" in found.text and found.advice


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert finding("cuda").status is Status.MISSING


def test_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        """Stands for libcuda with one device."""

        def cuInit(self, flags: int) -> int:
            return 0

        def cuDeviceGetCount(self, count: Any) -> int:
            count._obj.value = 1
            return 0

        def cuDriverGetVersion(self, number: Any) -> int:
            number._obj.value = 13020
            return 0

        def cuDeviceGet(self, device: Any, index: int) -> int:
            return 0

        def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
            name.value = b"NVIDIA H200"
            return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    found = finding("cuda")
    assert (found.status, found.text) == (Status.OK, "driver for CUDA 13.2: NVIDIA H200")
    assert found.values["devices"] == ["NVIDIA H200"]


def test_what_a_gpu_wants_is_missing_where_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda p: None if p == "numba-cuda" else real(p))
    assert (finding("extras").status, finding("extras").advice) == (Status.OK, "")
    asked = doctor._extras(is_gpu=True)
    assert asked.status is Status.MISSING and "cuda no" in asked.text and "trainscape[cuda]" in asked.advice


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda p: None if p == "simpy" else real(p))
    found = finding("versions")
    assert found.status is Status.MISSING and "simpy" in found.advice


def test_states_of_the_profile(profile: Any, tmp_path: Path) -> None:
    assert state().status is ProfileStatus.PRESENT
    assert finding("profile").status is Status.OK
    path = next(tmp_path.rglob("host-profile.json"))
    text = path.read_text()
    path.write_text(text.replace(profile.cpu, "another processor"))
    assert state().status is ProfileStatus.STALE
    assert finding("profile").advice == "run trainscape calibrate; it takes up to 3 minutes"
    path.write_text("{")
    assert state().status is ProfileStatus.MISSING
    path.unlink()
    assert finding("profile").status is Status.MISSING
