"""What driver there is, with and without one; the library is faked."""

import ctypes
from typing import Any

import pytest

from runtime.cuda import driver
from runtime.errors import MissingCapability


class Library:
    """Stands for libcuda with some devices."""

    def __init__(self, count: int, answer: int = 0) -> None:
        self.count, self.answer = count, answer

    def cuInit(self, flags: int) -> int:
        return self.answer

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.count
        return 0

    def cuDriverGetVersion(self, number: Any) -> int:
        number._obj.value = 13010
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        name.value = b"NVIDIA H200"
        return 0

    def cuDeviceTotalMem_v2(self, nbytes: Any, device: Any) -> int:
        nbytes._obj.value = 150 << 30
        return 0


def given(monkeypatch: pytest.MonkeyPatch, library: Library | None) -> None:
    def load(name: str) -> Library:
        if library is None:
            raise OSError(name)
        return library

    monkeypatch.setattr(ctypes, "CDLL", load)


def test_no_driver_says_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, None)
    assert driver.find_driver() is None
    with pytest.raises(MissingCapability, match=r"no CUDA driver.*install NVIDIA's driver.*nvidia-smi.*--device cpu"):
        driver.require_gpu()


@pytest.mark.parametrize("library", [Library(0), Library(1, answer=100)])
def test_a_driver_without_a_gpu(monkeypatch: pytest.MonkeyPatch, library: Library) -> None:
    given(monkeypatch, library)
    with pytest.raises(MissingCapability, match="finds no GPU"):
        driver.require_gpu()


def test_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, Library(2))
    found = driver.find_driver()
    assert found is not None and found.version == "13.1" and len(found.gpus) == 2
    assert driver.require_gpu() == driver.Gpu(name="NVIDIA H200", memory_nbytes=150 << 30)


def test_no_compiler_of_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, Library(1))
    monkeypatch.setattr(driver, "find_spec", lambda name: None)
    with pytest.raises(MissingCapability, match=r"numba-cuda, .*pip install 'trainscape\[cuda\]'.*Without a GPU: --device cpu"):
        driver.require_gpu()


def test_neither_driver_nor_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what can be installed in vain nothing is said first."""
    given(monkeypatch, None)
    monkeypatch.setattr(driver, "find_spec", lambda name: None)
    with pytest.raises(MissingCapability, match=r"^there is no CUDA driver.*; then pip install .*Without a GPU: --device cpu"):
        driver.require_gpu()
