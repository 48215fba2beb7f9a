"""Checkpoints are whole or not there, know which model they are of, and are read without pickle."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from graph.tensor_type import TensorType, f32
from runtime import checkpoint
from runtime.checkpoint import Checkpoint
from runtime.errors import CheckpointError


def made(step: int = 7, **values: np.ndarray) -> Checkpoint:
    found = values or {"fc1.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "fc1.bias": np.zeros(3, np.float32)}
    return Checkpoint(step=step, seed=3, batch=16, data="digits", values=found, hashes={"plan": "abc"})


def check(c: Checkpoint, whole: dict[str, TensorType], **changes: object) -> None:
    checkpoint.check(c, whole, **{"seed": 3, "batch": 16, "data": "digits", **changes})


def test_round_trip_bit_for_bit(tmp_path: Path) -> None:
    odd = np.array([np.nan, -0.0, 1e-45, np.inf], np.float32)
    path = checkpoint.save(tmp_path, made(a=odd, b=np.zeros((0, 3), np.float32), c=np.float32(2).reshape(())))
    found = checkpoint.load(path)
    assert (found.step, found.seed, found.batch, found.data, dict(found.hashes)) == (7, 3, 16, "digits", {"plan": "abc"})
    assert found.values["a"].tobytes() == odd.tobytes()
    assert found.values["b"].shape == (0, 3)
    assert found.values["c"].shape == ()
    with np.load(path, allow_pickle=False) as z:  # NumPy alone reads it
        assert z["a"].tobytes() == odd.tobytes()


def test_keeps_the_newest_and_leaves_no_parts(tmp_path: Path) -> None:
    for step in (1, 2, 10, 3, 1_000_000_000, 999_999_999):
        checkpoint.save(tmp_path, made(step), keep=3)
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == ["step-000000010.npz", "step-1000000000.npz", "step-999999999.npz"]
    assert checkpoint.latest(tmp_path) == tmp_path / "step-1000000000.npz"
    assert checkpoint.load(tmp_path).step == 1_000_000_000


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, others = tmp_path / f".step-000000003.{gone.pid}.part", tmp_path / f".step-000000004.{os.getppid()}.part"
    left.touch()
    others.touch()
    checkpoint.save(tmp_path, made(5))
    assert not left.exists()
    assert others.exists()  # it may still be writing


def test_a_write_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, made(1))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match=r"cannot write checkpoint .*No space left"):
        checkpoint.save(tmp_path, made(2))
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000001.npz"]


def test_refuses_another_model_by_its_first_tensor() -> None:
    c = made()
    with pytest.raises(
        CheckpointError, match=r"'fc1.weight' is float32\[2, 3\] in the checkpoint and float32\[2, 4\] in the model"
    ):
        check(c, {"fc1.weight": f32(2, 4), "fc1.bias": f32(4)})
    with pytest.raises(CheckpointError, match=r"has no 'fc2.weight', which has shape \[3, 1\] in the model"):
        check(c, {"fc2.weight": f32(3, 1)})
    with pytest.raises(CheckpointError, match=r"has 'fc1.bias', which the model lacks"):
        check(c, {"fc1.weight": f32(2, 3)})


@pytest.mark.parametrize(("what", "now"), [("seed", 4), ("batch", 32), ("data", "idx")])
def test_refuses_to_go_on_otherwise_than_it_began(what: str, now: object) -> None:
    with pytest.raises(CheckpointError, match=f"made with {what} .*, this run has {now!r}: it would not go on as it began"):
        check(made(), {"fc1.weight": f32(2, 3), "fc1.bias": f32(3)}, **{what: now})


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, made())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match="is no checkpoint, or damaged"):
        checkpoint.load(path)
    path.write_bytes(b"no zip file at all")
    with pytest.raises(CheckpointError, match="is no checkpoint, or damaged: not a zip file"):
        checkpoint.load(path)
    np.savez(tmp_path / "other.npz", a=np.zeros(1))
    with pytest.raises(CheckpointError, match="is no checkpoint, or damaged"):
        checkpoint.load(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", **{checkpoint.META: np.array([{}], dtype=object)})
    with pytest.raises(CheckpointError, match="allow_pickle"):
        checkpoint.load(tmp_path / "objects.npz")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        checkpoint.load(_empty(tmp_path))


def _empty(folder: Path) -> Path:
    made = folder / "empty"
    made.mkdir()
    return made
