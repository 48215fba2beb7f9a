"""The input stage: a thread that gathers and scales batches ahead of the step into a ring of slots.

The thread lives in one compiled call an epoch, which needs no interpreter: it fills free slots and naps while there are none. The
step copies the next slot into its data buffer (`runtime.scheduler`). A failure is told through the ring, so the step never waits
for a stage that is dead.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.data.dataset import Dataset, epoch_order, part_size
from runtime.errors import DataError
from runtime.native import SYSTEM, load, native, read_word, sleep_us, store, write_word

Words = npt.NDArray[np.int64]
Order = Callable[[int, int, int], npt.NDArray[np.int64]]

_LINE = 8  # words of a cache line
_FILLED, _USED, _STOP = 0, _LINE, 2 * _LINE  # places in the control words
_FAILED = -1
_NAP_MIN, _NAP_MAX = 50, 10_000  # microseconds
_RING_BYTES, _RING_MIN, _RING_MAX = 1 << 20, 4, 64  # a ring of about 1 MiB


@native
def _fill(
    first: int, last: int, order: Words, before: int, images: npt.NDArray[np.uint8], labels: Words, scale: np.float32,
    batch: int, mine: int, micro: int, micro_batches: int, size: int, part: int, skip: int, ring: npt.NDArray[np.uint8],
    slots: int, image_at: int, label_at: int, control: int, usleep: int, nap: int,
) -> int:  # fmt: skip
    """Fill the micro-batches ``first <= j < last``, or until told to stop; returns the nap it had come to, or -1 when stopped.

    `order` is the order of this epoch and the next, `before` the number of samples of earlier epochs. Of the `size` samples of a
    micro-batch each `part` stands together, the next one `skip` further; the next micro-batch begins `micro` further. `image_at`
    and `label_at` are -1 where images or labels are not wanted.
    """
    pixels = images.shape[1]
    for j in range(first, last):
        free = slots - (j - load(control + 8 * _USED))
        if free == 0:
            while free == 0:
                if load(control + 8 * _STOP) != 0:
                    return -1
                sleep_us(usleep, nap)
                free = slots - (j - load(control + 8 * _USED))
            if 4 * free > 3 * slots:  # woke late: nap shorter next time
                nap = max(_NAP_MIN, nap // 2)
            elif 2 * free < slots:  # woke early
                nap = min(_NAP_MAX, nap * 2)
        slot = ring[j % slots]
        start = (j // micro_batches) * batch + mine + (j % micro_batches) * micro - before
        if label_at >= 0:
            t = slot[label_at : label_at + 8 * size].view(np.int64)
            for b in range(size):
                t[b] = labels[order[start + b // part * skip + b % part]]
        if image_at >= 0:
            x = slot[image_at : image_at + 4 * size * pixels].view(np.float32)
            for b in range(size):
                sample = order[start + b // part * skip + b % part]
                for p in range(pixels):
                    x[b * pixels + p] = np.float32(images[sample, p]) * scale
        store(control + 8 * _FILLED, j + 1)
    return nap


def ring_layout(nbytes: int) -> tuple[int, int]:
    """(slots of the ring, bytes from slot to slot) for batches of so many bytes."""
    stride = -(-nbytes // 64) * 64
    return min(_RING_MAX, max(_RING_MIN, _RING_BYTES // stride)), stride


class InputStage:
    """Batches of one rank, prepared ahead.

    Parameters
    ----------
    data : the training samples.
    offsets : ``"x"``, ``"labels"``, or both -> offset in a slot; what is not there is not filled.
    nbytes : of a slot: the size of the plan's data buffer.
    batch : samples in a step, over all ranks and micro-batches.
    rank, ranks, micro_batches, parts : which part of each step is mine; `parts` is `sample_parts` of `graph.parallel.plan.Role`.
    seed : of the order.
    first_step : where to begin.
    order : (samples, seed, epoch) -> order of an epoch; others than the default are for tests.
    cores : where the thread shall run; empty: where the thread that makes the stage does.
    """

    def __init__(
        self, data: Dataset, *, offsets: Mapping[str, int], nbytes: int, batch: int, rank: int = 0, ranks: int = 1,
        micro_batches: int = 1, parts: int = 1, seed: int = 0, first_step: int = 0, order: Order = epoch_order,
        cores: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.data, self.batch, self.micro_batches = data, batch, micro_batches
        self.size = part_size(data, batch, ranks, micro_batches, parts)
        self.seed, self.error = seed, None  # type: int, BaseException | None
        self._part, self._order, self._offsets = self.size // parts, order, dict(offsets)
        self._skip = ranks * self._part  # from part to part
        self._mine, self._micro = (rank * micro_batches * self.size, self.size)
        if parts > 1:
            self._mine, self._micro = rank * self._part, parts * self._skip
        self.slots, self.stride = ring_layout(nbytes)
        self._memory = np.zeros(self.slots * self.stride + 64, np.uint8)
        skip = -self._memory.ctypes.data % 64
        self._ring = self._memory[skip : skip + self.slots * self.stride].reshape(self.slots, self.stride)
        self._ring[:] = 0
        self._flat = np.require(data.images.reshape(len(data), -1), requirements=["C", "W"])  # one kind of array to compile for
        self._labels = np.require(data.labels, requirements=["C", "W"])
        self._control = np.zeros(4 * _LINE, np.int64)
        self._cores = set(cores)
        self._first = first_step * micro_batches
        self._control[_FILLED] = self._control[_USED] = self._first
        self.thread = threading.Thread(target=self._work, name="input stage", daemon=True)

    @property
    def filled(self) -> int:
        """Address of the count of micro-batches filled since step 0; -1 there: the stage failed."""
        return int(self._control.ctypes.data) + 8 * _FILLED

    @property
    def used(self) -> int:
        """Address of the count of micro-batches used."""
        return int(self._control.ctypes.data) + 8 * _USED

    @property
    def ring(self) -> int:
        """Address of the first slot."""
        return int(self._ring.ctypes.data)

    def start(self) -> "InputStage":
        self.thread.start()
        return self

    def stop(self) -> None:
        """End the thread; a stage cannot be started again."""
        self._write(_STOP, 1)
        if self.thread.ident is not None:
            self.thread.join()

    def __enter__(self) -> "InputStage":
        return self.start()

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def look(self) -> npt.NDArray[np.uint8] | None:
        """The next micro-batch as its slot holds it, until it is given back; None: it has not come.

        Raises `DataError` when none will.
        """
        filled, used = self._read(_FILLED), int(self._control[_USED])
        if filled == _FAILED:
            raise self.failure()
        return self._ring[used % self.slots] if filled > used else None

    def give_back(self) -> None:
        """The slot that was looked at may be filled again."""
        self._write(_USED, int(self._control[_USED]) + 1)

    def take(self, timeout: float = 10.0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Copy out the next micro-batch, as the step does: (f32[size, pixels], i64[size]). For tests and for looking at data."""
        until = time.monotonic() + timeout
        while (slot := self.look()) is None:
            if time.monotonic() > until:
                raise DataError(f"no batch came for {timeout} s")
            time.sleep(1e-4)
        x, t = self._offsets["x"], self._offsets["labels"]
        found = slot[x : x + 4 * self.size * self._flat.shape[1]].view(np.float32).reshape(self.size, -1).copy()
        labels = slot[t : t + 8 * self.size].view(np.int64).copy()
        self.give_back()
        return found, labels

    def wait_until_full(self, timeout: float = 30.0) -> None:
        """Wait until the ring is full, e.g. before memory is measured; raises `DataError`."""
        until = time.monotonic() + timeout
        while (filled := self._read(_FILLED)) - self._read(_USED) < self.slots:
            if filled == _FAILED:
                raise self.failure()
            if time.monotonic() > until:
                raise DataError(f"the input stage did not fill its ring of {self.slots} batches in {timeout} s")
            time.sleep(1e-3)

    def failure(self) -> DataError:
        """What to raise when the ring says that the stage failed."""
        e = DataError(f"the input stage failed: {type(self.error).__name__}: {self.error}")
        e.__cause__ = self.error
        return e

    def _work(self) -> None:
        try:
            if self._cores:
                os.sched_setaffinity(0, self._cores)  # of this thread
            self._epochs()
        except BaseException as e:
            self.error = e
            self._write(_FILLED, _FAILED)

    def _epochs(self) -> None:
        n, j, nap, epoch = len(self.data), self._first, 200, -2
        order = np.zeros(2 * n, np.int64)  # of this epoch and the next; one array, so that memory does not grow with epochs
        while nap >= 0:
            before, epoch = epoch, self._start(j) // n
            order[:n] = order[n:] if epoch == before + 1 else self._order(n, self.seed, epoch)
            order[n:] = self._order(n, self.seed, epoch + 1)
            last = j + 1  # the first micro-batch that begins in a later epoch
            while self._start(last) < (epoch + 1) * n:
                last += 1
            nap = _fill(
                j, last, order, epoch * n, self._flat, self._labels, np.float32(self.data.scale),
                self.batch, self._mine, self._micro, self.micro_batches, self.size, self._part, self._skip, self._ring,
                self.slots, self._offsets.get("x", -1), self._offsets.get("labels", -1),
                int(self._control.ctypes.data), SYSTEM.usleep, nap,
            )  # fmt: skip
            j = last

    def _start(self, j: int) -> int:
        """Number of the first sample of a micro-batch in the endless order."""
        k, m = divmod(j, self.micro_batches)
        return k * self.batch + self._mine + m * self._micro

    def _read(self, place: int) -> int:
        """A control word, which another thread may be writing."""
        return int(read_word(int(self._control.ctypes.data) + 8 * place))

    def _write(self, place: int, value: int) -> None:
        write_word(int(self._control.ctypes.data) + 8 * place, value)
