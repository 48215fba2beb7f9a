"""From data files to accuracy: whole trainings on small files in the formats of MNIST and CIFAR-10, and on damaged ones."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCENARIOS = Path(__file__).parents[2] / "scenarios"
pytestmark = pytest.mark.xdist_group("processes")
TRAIN, TEST = 64, 20


def samples(n: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(pixels u8[n, size, size], labels u8[n]): a class is a bright band at a height of its own, in noise."""
    random = np.random.default_rng(n)
    labels = np.arange(n, dtype=np.uint8) % 10
    pixels = random.integers(0, 60, (n, size, size), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[2 * label + 2 : 2 * label + 5] += 180
    return pixels, labels


def idx(array: np.ndarray) -> bytes:
    return (0x0800 | array.ndim).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def mnist(folder: Path) -> None:
    for part, n in (("train", TRAIN), ("t10k", TEST)):
        pixels, labels = samples(n, 28)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))


def cifar10(folder: Path) -> None:
    for name, n in (*((f"data_batch_{k}.bin", TRAIN // 4) for k in range(1, 6)), ("test_batch.bin", TEST)):
        pixels, labels = samples(n, 32)
        (folder / name).write_bytes(b"".join(bytes([t]) + 3 * p.tobytes() for p, t in zip(pixels, labels, strict=True)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "files"
    path.mkdir()
    return path


def scenario(folder: Path, name: str, model: str = "mlp") -> Path:
    path = folder.parent / "s.yaml"
    path.write_text(
        f"name: files\nmodel: {{name: {model}, batch: 16, width: 0.5, input: {name}}}\nparallel: {{ranks: 2}}\n"
        f"run: {{steps: 60, learning_rate: 0.02, data: {{name: {name}, folder: files}}}}\n"
    )
    return path


@pytest.mark.parametrize(("name", "write", "model"), [("mnist", mnist, "lenet"), ("cifar10", cifar10, "mlp")])
def test_a_training_on_files(folder: Path, cli: Any, name: str, write: Callable[[Path], None], model: str) -> None:
    write(folder)
    found = cli("train", scenario(folder, name, model), "--json", "--out", "out")
    assert found.code == 0, found.err
    assert found.document["held_out"] == TEST
    assert found.document["accuracy"] > 0.5  # ten classes
    assert found.document["loss"] < 2.0


RESNET = SCENARIOS / "resnet-cifar10-gpu.yaml"


def test_the_resnet_on_files_of_cifar10(folder: Path, cli: Any) -> None:
    """As its scenario has it, but on cores, narrow, and on few images."""
    cifar10(folder)
    small = ("run.steps=60", "model.batch=16", "model.width=0.25", f"run.data.folder={folder}")
    found = cli("train", RESNET, "--device", "cpu", "--json", "--out", "out", *(x for s in small for x in ("--set", s)))
    assert found.code == 0, found.err
    assert found.document["held_out"] == TEST and found.document["accuracy"] > 0.5  # ten classes
    assert found.document["loss"] < 1.0


def test_the_resnet_without_its_files(folder: Path, cli: Any) -> None:
    for command in ("check", "plan"):
        found = cli(command, RESNET, "--device", "cpu", "--set", f"run.data.folder={folder}/none")
        assert found.code == 0 and f"there is no folder {folder}/none, so nothing can be trained on it here" in found.err
    for missing, said in (
        ("none", f"there is no folder {folder}/none"),
        ("", f"{folder} holds neither data_batch_1.bin nor data_b"),
    ):
        found = cli("train", RESNET, "--device", "cpu", "--set", f"run.data.folder={folder}/{missing}", "--out", "out")
        assert found.code == 3 and found.err.count(said) == 1 and not Path("out").exists()
        assert "cs.toronto.edu/~kriz/cifar-10-binary.tar.gz" in found.err and "data_batch_5.bin, test_batch.bin" in found.err


def no_samples(folder: Path) -> None:
    for path in folder.glob("t10k-*"):
        path.unlink()
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((0, 28, 28), np.uint8)))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(0, np.uint8)))


def other_shape(folder: Path) -> None:
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((TEST, 14, 14), np.uint8)))


def too_few(folder: Path) -> None:
    pixels, labels = samples(3, 28)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels))


def huge_header(folder: Path) -> None:
    head = (0x0803).to_bytes(4, "big") + 3 * (1 << 31).to_bytes(4, "big")  # their product is 0 in 64 bits
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(head))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (no_samples, "(t10k) holds no samples"),
        (other_shape, "(t10k) has [14, 14, 1]"),
        (too_few, "a micro-batch of 8 needs as many samples, "),
        (huge_header, "the file is cut or damaged"),
    ],
)
def test_files_that_cannot_be_trained_on_are_refused(folder: Path, cli: Any, harm: Callable[[Path], None], message: str) -> None:
    mnist(folder)
    harm(folder)
    found = cli("train", scenario(folder, "mnist"), "--json", "--out", "out")
    assert found.code == 3
    assert message in found.document["error"]["message"]
