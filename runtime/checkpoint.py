"""Checkpoints: one npz file a step, whole or not there.

A file is written under a temporary name in its folder, flushed to the disk, then renamed, so a crash leaves the last good one. It
holds parameters and state as plain arrays, whole and under the model's names, so that a run may go on under another strategy;
and under `META` a JSON document. It can be read by NumPy alone. The position in the data is not stored: it follows from step,
seed and batch (`runtime.data.dataset`).
"""

import json
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.record import record
from graph.tensor_type import TensorType
from runtime.errors import CheckpointError

SCHEMA = "trainscape.checkpoint/1"
META = "trainscape.json"
Arrays = Mapping[str, npt.NDArray[Any]]


@record
class Checkpoint:
    """A training run between two steps.

    Parameters
    ----------
    step : steps completed.
    seed : of the run.
    batch : samples in a step; with step and seed the position in the data.
    data : name of the data source.
    values : parameters and state by name, whole, whatever the strategy.
    hashes : of what wrote it, e.g. ``{"plan": ..., "lowered": ...}``; for the reader, not compared.
    """

    step: int
    seed: int
    batch: int
    data: str
    values: Arrays
    hashes: Mapping[str, str]


def path_of(folder: Path, step: int) -> Path:
    """The file of a step."""
    return folder / f"step-{step:09d}.npz"


def _saved(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*.npz") if re.fullmatch(r"step-\d{9,}\.npz", p.name)) if folder.is_dir() else []


def latest(folder: Path) -> Path | None:
    """The newest checkpoint of a folder."""
    return max(_saved(folder), key=lambda p: (len(p.name), p.name), default=None)


def save(folder: Path, c: Checkpoint, *, keep: int = 3) -> Path:
    """Write a checkpoint atomically, and remove all but the `keep` newest. Returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path, part = path_of(folder, c.step), folder / f".step-{c.step:09d}.{os.getpid()}.part"
    meta = {"schema": SCHEMA, "step": c.step, "seed": c.seed, "batch": c.batch, "data": c.data, "hashes": dict(c.hashes)}
    try:
        with part.open("wb") as f:
            with zipfile.ZipFile(f, "w") as z:
                _write(z, META, np.frombuffer(json.dumps(meta).encode(), np.uint8))
                for name, a in c.values.items():
                    _write(z, name, a)
            f.flush()
            os.fsync(f.fileno())
        part.replace(path)
    except OSError as e:
        raise CheckpointError(f"cannot write checkpoint {path}: {e}") from e
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(folder)
    _sweep(folder)
    for old in sorted(_saved(folder), key=lambda p: (len(p.name), p.name))[: -max(keep, 1)]:
        old.unlink(missing_ok=True)
    return path


def _write(z: zipfile.ZipFile, name: str, a: npt.NDArray[Any]) -> None:
    """One array in npy form, straight from its memory: `numpy.savez` would copy it, and show up in the memory peak."""
    with z.open(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), "w", force_zip64=True) as f:
        a = a if a.flags.c_contiguous else a.copy()
        np.lib.format.write_array_header_1_0(f, np.lib.format.header_data_from_array_1_0(a))
        f.write(a.reshape(-1).view(np.uint8).data)


def _sweep(folder: Path) -> None:
    """Remove what processes that are gone have left half written."""
    for part in folder.glob(".step-*.part"):
        try:
            os.kill(int(part.name.split(".")[2]), 0)  # asks whether it is there, and no more
        except (ValueError, IndexError, PermissionError):
            continue
        except OSError:
            part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; a folder stands for its newest. Raises `CheckpointError`."""
    if path.is_dir():
        newest = latest(path) or latest(path / "checkpoints")
        if newest is None:
            raise CheckpointError(f"{path} holds no checkpoint")
        path = newest
    try:
        with path.open("rb") as f:
            if f.read(2) != b"PK":
                raise ValueError("not a zip file")
        with path.open("rb") as f, np.load(f, allow_pickle=False) as z:
            meta = json.loads(bytes(z[META]))
            if meta.get("schema") != SCHEMA:
                raise CheckpointError(f"{path}: schema is {meta.get('schema')!r}, not {SCHEMA!r}")
            values = {n: z[n] for n in z.files if n != META}
        return Checkpoint(
            step=meta["step"], seed=meta["seed"], batch=meta["batch"], data=meta["data"], hashes=meta["hashes"], values=values
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as e:
        raise CheckpointError(f"{path} is no checkpoint, or damaged: {e}") from e


def check_values(c: Checkpoint, wanted: Mapping[str, TensorType]) -> None:
    """Refuse a checkpoint that lacks one of these parameters and states, or has it with another shape; names the first.

    Raises `CheckpointError`.
    """
    for name, t in wanted.items():
        if name not in c.values:
            raise CheckpointError(
                f"the checkpoint has no {name!r}, which has shape {list(t.shape)} in the model; it is of another model"
            )
        found = c.values[name]
        if found.shape != t.shape or found.dtype != t.dtype.numpy:
            raise CheckpointError(
                f"{name!r} is {found.dtype}{list(found.shape)} in the checkpoint and {t.dtype.numpy}{list(t.shape)} in the "
                f"model; it is of another model"
            )


def check(c: Checkpoint, whole: Mapping[str, TensorType], *, seed: int, batch: int, data: str) -> None:
    """Refuse a checkpoint that a run cannot go on from.

    Parameters
    ----------
    c : the checkpoint.
    whole : parameters and state of the run's model, whole.
    seed, batch, data : of the run.

    Raises `CheckpointError` when it belongs to another model (the first tensor that differs is named, with both shapes) or when
    it would go on differently from how it began.
    """
    check_values(c, whole)
    if extra := [n for n in c.values if n not in whole]:
        raise CheckpointError(f"the checkpoint has {extra[0]!r}, which the model lacks; it is of another model")
    for what, then, now in (("seed", c.seed, seed), ("batch", c.batch, batch), ("data", c.data, data)):
        if then != now:
            raise CheckpointError(
                f"the checkpoint was made with {what} {then!r}, this run has {now!r}: it would not go on as it began"
            )
