"""Hashes follow the program text; compiled code is kept, found again, and never stale."""

import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from numba import types

from hw.kernels import KERNELS, Platform
from hw.kernels.cpu import RECORDS
from runtime import native
from runtime.errors import RunError
from runtime.kernels import build, cache, folder, table
from runtime.kernels.cpu import FAMILIES


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the sources, which hashes then come from."""
    for part in ("runtime/kernels", "hw/kernels"):
        shutil.copytree(build.ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(build, "ROOT", tmp_path)
    _forget()
    yield tmp_path
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    for f in (build._tree, build._digest, build._imports, build.file_hash, build._homes):
        f.cache_clear()


def _changed(at: Path, old: str, new: str) -> set[str]:
    """Kernels whose hash changes with this change of a file."""
    _forget()
    before = build.source_hashes()
    text = at.read_text()
    assert old in text
    at.write_text(text.replace(old, new))
    _forget()
    after = build.source_hashes()
    at.write_text(text)
    return {k for k in before if before[k] != after[k]}


def test_every_cpu_record_has_a_hash() -> None:
    hashes = build.source_hashes()
    assert set(hashes) == {r.name for r in KERNELS.values() if r.platform is Platform.CPU}
    assert all(len(h) == 16 for h in hashes.values())


def test_families_are_the_files() -> None:
    assert {f.stem for f in (build.ROOT / "runtime/kernels/cpu").glob("*.py")} == {*FAMILIES, "__init__"}
    assert {f.stem for f in (build.ROOT / "hw/kernels/cpu").glob("*.py")} <= {*FAMILIES, "__init__", "common"}


def test_a_record_lies_in_the_family_of_its_kernel() -> None:
    """Else a change of its terms would leave the kernel's hash as it is."""
    for record in RECORDS:
        home = inspect.getmodule(record.terms)
        assert home is not None
        assert home.__name__ in (f"hw.kernels.cpu.{build._homes()[record.name].stem}", "hw.kernels.cpu.common"), record.name


def test_hash_needs_no_compiler() -> None:
    code = "import sys; from runtime.kernels.build import source_hashes; source_hashes(); assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=build.ROOT)


def test_unknown_kernel() -> None:
    with pytest.raises(RunError, match=r"^unknown CPU kernel 'cpu.matmull'; did you mean 'cpu.matmul'\?$"):
        build.source_hash("cpu.matmull")


def test_hash_follows_what_a_kernel_is_made_of(copy: Path) -> None:
    everything = set(build.source_hashes())
    assert _changed(copy / "runtime/kernels/cpu/reduce.py", "r in range(rows)", "r in range(rows + 0)") == {
        "cpu.add_bias", "cpu.bias_grad", "cpu.dot",
    }  # fmt: skip
    tiles = _changed(copy / "runtime/kernels/cpu/tile.py", "TALLEST = GEOMETRY", "TALLEST = 0 or GEOMETRY")
    copying = {"cpu.concat", "cpu.slice_last", "cpu.transpose"}
    assert tiles == copying | {k for k in everything if k.startswith(("cpu.matmul", "cpu.conv2d", "cpu.local_conv2d"))}
    assert _changed(copy / "runtime/kernels/emit.py", "F32 = ", "F32 = 0 or ") == everything
    assert _changed(copy / "runtime/kernels/cache.py", '"boundscheck": False', '"boundscheck": True') == everything
    assert _changed(copy / "hw/kernels/cpu/pool.py", "max(0, pad - o", "max(1, pad - o") == {
        "cpu.max_pool", "cpu.max_pool_grad", "cpu.avg_pool", "cpu.avg_pool_grad",
    }  # fmt: skip
    assert _changed(copy / "hw/kernels/cpu/common.py", "return 0", "return 1") == everything
    assert _changed(copy / "hw/kernels/count.py", "LATENCY_SLOTS = 8", "LATENCY_SLOTS = 9") == everything
    assert _changed(copy / "hw/kernels/tiling.py", "STACK = 480", "STACK = 240") >= tiles


def test_comments_and_docstrings_do_not_matter(copy: Path) -> None:
    assert not _changed(copy / "runtime/kernels/cpu/reduce.py", '"""The bias, its', '"""A bias, its')
    assert not _changed(copy / "runtime/kernels/cpu/reduce.py", "import numpy as np", "import numpy as np  # said why")


def test_compiled_code_is_found_again_until_the_source_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    table.load_families()
    function = table.CPU_KERNELS["cpu.input"].function
    assert not cache.is_cached(function)
    first = cache.compile_native(function, (types.intp,))
    assert first.cache_hits == 0
    assert cache.is_cached(function)
    assert cache.compile_native(function, (types.intp,)).cache_hits == 1
    monkeypatch.setattr(cache, "file_hash", lambda file: "0" * 64)
    assert not cache.is_cached(function)
    assert cache.compile_native(function, (types.intp,)).cache_hits == 0


def test_read_only_source_folder_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.mkdir

    def refuse(self: Path, *args: Any, **kwargs: Any) -> None:
        if self.name == "__pycache__":
            raise PermissionError(str(self))
        real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr(folder.platformdirs, "user_cache_dir", lambda name: str(tmp_path))
    assert folder.folder.__wrapped__() == tmp_path / "kernels"


def test_with_a_read_only_home_all_processes_of_a_user_share_a_folder_that_nobody_else_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "__file__", "/proc/no/such/file.py")
    monkeypatch.setattr(folder.platformdirs, "user_cache_dir", lambda name: "/proc/no/such")
    monkeypatch.setattr(folder.tempfile, "tempdir", str(tmp_path))
    shared = tmp_path / f"trainscape-{os.getuid()}"
    assert folder.folder.__wrapped__() == shared == folder.folder.__wrapped__()
    assert shared.stat().st_mode & 0o777 == 0o700
    shared.chmod(0o777)
    assert folder.folder.__wrapped__() != shared
    shared.rmdir()
    shared.symlink_to(tmp_path)
    assert folder.folder.__wrapped__() != shared


def test_functions_of_the_runtime_are_kept_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.read_word._cache.cache_path == str(folder.folder())
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    again = native.native(native.read_word.py_func)
    assert not cache.is_cached(again.py_func)
    again.compile("i8(i8)")
    assert cache.is_cached(again.py_func)
    assert build.file_hash(Path(native.__file__).with_name("scheduler.py")) != build.file_hash(Path(native.__file__))
    assert Path(native.__file__) in build._imports(Path(native.__file__).with_name("scheduler.py"))


class _Seen:
    """What an instrument is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_phase(self, what: str) -> None:
        self.told.append(what)

    def on_part(self, done: int, total: int) -> None:
        self.told.append((done, total))


def test_compile_all_reports_and_loads() -> None:
    build.compile_all()
    seen = _Seen()
    build.compile_all(["cpu.add"], instruments=[seen])
    assert seen.told == ["loading kernels"]  # all was there
    assert table.address("cpu.add") and table.address("helper.panel")


def test_compiling_in_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _Seen()
    monkeypatch.setattr(build, "_cold", lambda names: ["cpu.add", "cpu.input", "cpu.fill", "cpu.dot"])
    build.compile_all(instruments=[seen])
    assert seen.told == ["compiling kernels", (1, 4), (2, 4), (3, 4), (4, 4)]
    monkeypatch.setattr(build, "_cold", lambda names: ["cpu.add", "cpu.nothing"])
    with pytest.raises(RunError, match=r"(?s)compiling kernels failed: .*unknown CPU kernel 'cpu.nothing'"):
        build.compile_all()
