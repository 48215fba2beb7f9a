"""Readers of data files: the shipped digits, IDX (the format of MNIST), the binary version of CIFAR-10, and noise.

Formats: IDX, http://yann.lecun.com/exdb/mnist/ (section "File formats"); CIFAR-10, https://www.cs.toronto.edu/~kriz/cifar.html
(section "Binary version"). Every reader checks what the format lets it check, and says which file is wrong and how. Nothing is
fetched: where files are not there, the message says where they can be had.
"""

import gzip
import zlib
from importlib.resources import files
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from graph.record import record
from runtime.data.dataset import Dataset, Pair, split
from runtime.data.order import permutation
from runtime.errors import DataError
from runtime.job import Source

_U8 = 0x08  # IDX code of unsigned bytes, the only element type of images and labels
_CIFAR = (32, 32, 3)
_BATCHES = tuple(f"data_batch_{k}.bin" for k in range(1, 6))


@record
class Published:
    """Where the files of a data set can be had, and what they are called.

    Parameters
    ----------
    title : of the data set.
    where : how to come by them.
    names : of the files, each plain or with ``.gz``.
    """

    title: str
    where: str
    names: tuple[str, ...]


CIFAR10 = Published(
    title="CIFAR-10",
    where="unpack https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz (162 MB), which makes cifar-10-batches-bin",
    names=(*_BATCHES, "test_batch.bin"),
)
MNIST = Published(
    title="MNIST",
    where="http://yann.lecun.com/exdb/mnist/ lists them",
    names=tuple(f"{part}-{what}" for part in ("train", "t10k") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")),
)
_NOISE_BYTES, _NOISE_MIN, _NOISE_MAX = 1 << 28, 8, 2048  # every worker has its own copy


def digits(source: Source, shape: tuple[int, ...], classes: int) -> Pair:
    """The 1,797 shipped 8x8 digits (UCI, see ``runtime/data/digits/NOTICE``), pixels 0..16, split by a fixed order."""
    raw = gzip.decompress(files("runtime.data").joinpath("digits", "digits.csv.gz").read_bytes())
    table = np.array(raw.replace(b"\n", b",").strip(b",").split(b","), dtype=np.int64).reshape(-1, 65)
    images = table[:, :64].astype(np.uint8).reshape(-1, 8, 8, 1)
    data = Dataset(name="UCI digits", images=images, labels=np.ascontiguousarray(table[:, 64]), classes=10, scale=1 / 16)
    return split(data, source.held_out)


def idx(source: Source, shape: tuple[int, ...], classes: int) -> Pair:
    """The four files of MNIST and its likes, plain or gzipped, in one folder."""
    folder = _folder(source, MNIST)

    def part(prefix: str) -> Dataset:
        images = read_idx(_find(folder, MNIST, f"{prefix}-images-idx3-ubyte", f"{prefix}-images.idx3-ubyte"), 3)
        labels = read_idx(_find(folder, MNIST, f"{prefix}-labels-idx1-ubyte", f"{prefix}-labels.idx1-ubyte"), 1)
        name = f"IDX files in {folder} ({prefix})"
        return Dataset(name=name, images=images[..., None], labels=labels.astype(np.int64), classes=10, scale=1 / 255)

    return part("train"), part("t10k")


def cifar10(source: Source, shape: tuple[int, ...], classes: int) -> Pair:
    """The binary version of CIFAR-10: five batches to train on and one to test, plain or gzipped, in one folder."""
    folder = _folder(source, CIFAR10)

    def part(names: tuple[str, ...]) -> Dataset:
        batches = [read_cifar10(_find(folder, CIFAR10, n)) for n in names]
        images, labels = (np.concatenate(a) for a in zip(*batches, strict=True))
        return Dataset(name=f"CIFAR-10 in {folder}", images=images, labels=labels, classes=10, scale=1 / 255)

    return part(_BATCHES), part(CIFAR10.names[len(_BATCHES) :])


def synthetic(source: Source, shape: tuple[int, ...], classes: int) -> Pair:
    """Noise: 2,048 samples of the net's own shape, fewer of large ones, with labels that mean nothing. For timing only."""
    h, w, c = shape if len(shape) == 3 else (1, 1, prod(shape))
    n = max(_NOISE_MIN, min(_NOISE_MAX, _NOISE_BYTES // (h * w * c)))
    raw = np.random.Philox(key=np.array([0, 3], dtype=np.uint64)).random_raw(-(-n * h * w * c // 8))
    images = raw.view(np.uint8)[: n * h * w * c].reshape(n, h, w, c)
    data = Dataset(name="noise", images=images, labels=permutation(n, 0, 4) % classes, classes=classes, scale=1 / 255)
    return split(data, 0.125)


def read_idx(path: Path, rank: int) -> npt.NDArray[np.uint8]:
    """An IDX file of unsigned bytes with `rank` axes; gzipped when its name ends in .gz. Raises `DataError`."""
    raw = _bytes(path)
    if len(raw) < 4 + 4 * rank:
        raise DataError(f"{path}: {len(raw)} bytes are too few for an IDX header of {rank} axes ({4 + 4 * rank})")
    magic, want = int.from_bytes(raw[:4], "big"), _U8 << 8 | rank
    if magic != want:
        raise DataError(f"{path}: magic number is 0x{magic:08x}, an IDX file of unsigned bytes with {rank} axes has 0x{want:08x}")
    shape = tuple(int.from_bytes(raw[4 + 4 * k : 8 + 4 * k], "big") for k in range(rank))
    body, size = len(raw) - 4 - 4 * rank, prod(shape)
    if body != size:
        raise DataError(
            f"{path}: its header says {'x'.join(map(str, shape))} = {size} bytes, it has {body}; the file is cut or damaged"
        )
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def read_cifar10(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """(images u8[n,32,32,3], labels i64[n]) of a batch file: a byte of label, then three planes of 32x32. Raises `DataError`."""
    h, w, c = _CIFAR
    raw, size = _bytes(path), 1 + h * w * c
    if not raw or len(raw) % size:
        raise DataError(
            f"{path}: {len(raw)} bytes are no whole number of records of {size}; the file is cut, empty or of another format"
        )
    table = np.frombuffer(raw, np.uint8).reshape(-1, size)
    return np.ascontiguousarray(table[:, 1:].reshape(-1, c, h, w).transpose(0, 2, 3, 1)), table[:, 0].astype(np.int64)


def _folder(source: Source, files: Published) -> Path:
    folder = Path(source.path)
    if not source.path:
        raise DataError(f"{files.title} needs a folder with its files, and none is named; {_way_out(files)}")
    if not folder.is_dir():
        raise DataError(f"{files.title} is not here: there is no folder {folder.resolve()}; {_way_out(files)}")
    return folder


def _find(folder: Path, files: Published, *names: str) -> Path:
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise DataError(f"{folder.resolve()} holds neither {names[0]} nor {names[0]}.gz; {_way_out(files)}")


def _way_out(files: Published) -> str:
    return f"{files.where}; run.data.folder of a scenario names the folder with {', '.join(files.names)}, plain or gzipped"


def _bytes(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as e:
        raise DataError(f"{path}: {e}") from e
