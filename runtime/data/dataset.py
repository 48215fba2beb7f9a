"""Samples in memory, the order in which training sees them, and where they come from.

The order is counter-based: the samples of a step are a function of (seed, step) alone, so a run that is resumed, or cut among
more workers, sees the same ones. Global order: one permutation of all training samples after the other; step k takes the next
`batch` of them; worker r of R takes the r-th part of a step, micro-batch m of M the m-th part of that.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.ir import Graph
from graph.record import record
from graph.registry import Registry
from runtime.data.order import permutation
from runtime.errors import DataError
from runtime.job import Job, Source

_SPLIT, _EPOCH = 1, 2  # what a stream of random numbers is for; part of its key


@record
class Dataset:
    """Labelled images.

    Parameters
    ----------
    name : where they come from, in words.
    images : u8[samples, height, width, channels].
    labels : i64[samples], each ``0 <= label < classes``.
    classes : how many there are.
    scale : a pixel is fed to the net as ``value * scale``.
    """

    name: str
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: int
    scale: float

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise DataError(f"{self.name}: images are u8[n,h,w,c], got {self.images.dtype}{list(self.images.shape)}")
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != np.int64:
            raise DataError(
                f"{self.name}: {len(self.images)} images need i64 labels, not {self.labels.dtype}{list(self.labels.shape)}"
            )
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.classes:
            raise DataError(f"{self.name}: labels lie in 0..{self.classes - 1}, got {self.labels.min()}..{self.labels.max()}")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, which: npt.NDArray[np.int64], name: str) -> "Dataset":
        """The samples with these numbers, in this order."""
        return Dataset(name=name, images=self.images[which], labels=self.labels[which], classes=self.classes, scale=self.scale)


def epoch_order(n: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order of the training samples in an epoch."""
    return permutation(n, seed, _EPOCH, epoch)


def split(data: Dataset, held_out: float, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Cut into samples to train on and samples set aside; the same cut whatever the seed of the training."""
    n = round(len(data) * held_out)
    if not 0 < n < len(data):
        raise DataError(
            f"{data.name}: held_out = {held_out} leaves {len(data) - n} of {len(data)} samples to train on; both parts need some"
        )
    order = permutation(len(data), seed, _SPLIT)
    return data.take(np.sort(order[n:]), data.name), data.take(np.sort(order[:n]), f"{data.name}, held out")


def samples_of(n: int, seed: int, step: int, batch: int, part: int = 0, parts: int = 1) -> npt.NDArray[np.int64]:
    """Numbers of the samples of one part of a step's batch, i64[batch / parts]: the definition that the input stage follows."""
    size = batch // parts
    first = step * batch + part * size
    at = np.arange(first, first + size)
    return np.array([epoch_order(n, seed, int(e))[i] for e, i in zip(*divmod(at, n), strict=True)], dtype=np.int64)


Pair = tuple[Dataset, Dataset]
Reader = Callable[[Source, tuple[int, ...], int], Pair]
SOURCES: Registry[Reader] = Registry("data source")


def load_for(job: Job, graph: Graph | None) -> Pair | None:
    """The data of a job, checked against what its net takes; None when it trains no net. Raises `DataError`."""
    if graph is None:
        return None
    return load(job.source, graph.type_of("x").shape[1:], graph.type_of(graph.outputs["logits"]).shape[-1])


def load(source: Source, shape: tuple[int, ...], classes: int) -> Pair:
    """(samples to train on, samples set aside) for a net whose samples have this shape, ``(h, w, c)`` or ``(d,)``.

    Raises `DataError` when the files are missing or damaged, or when they do not fit the net.
    """
    import runtime.data  # noqa: F401 - the package lists the sources

    train, test = SOURCES[source.name](source, shape, classes)
    for part in (train, test):
        have = part.images.shape[1:]
        fits: Any = tuple(shape) == have if len(shape) == 3 else prod(have) == prod(shape)
        if not fits:
            raise DataError(f"the net takes samples of shape {list(shape)}, {part.name} has {list(have)}")
        if part.classes > classes:
            raise DataError(f"the net tells {classes} classes apart, {part.name} has {part.classes}")
        if not len(part):
            raise DataError(f"{part.name} holds no samples")
    return train, test


def part_size(data: Dataset, batch: int, ranks: int, micro_batches: int, parts: int = 1) -> int:
    """Samples in a micro-batch of one worker, which is read in so many parts; raises `DataError` when the batch cannot be cut so,
    or the data is too short.
    """
    size, rest = divmod(batch, ranks * micro_batches)
    if rest or size % parts:
        cut = f" x {parts} parts" if parts > 1 else ""
        raise DataError(f"a batch of {batch} cannot be cut into {ranks} workers x {micro_batches} micro-batches{cut}")
    reach = size * ranks if parts > 1 else size
    if reach > len(data):
        raise DataError(f"a micro-batch of {reach} needs as many samples, {data.name} has {len(data)} to train on")
    return size
