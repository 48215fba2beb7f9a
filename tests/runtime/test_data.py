"""Readers refuse damaged files with a reason; the input stage delivers what the slow definition of the order says."""

import gzip
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from runtime.data.dataset import Dataset, epoch_order, load, samples_of
from runtime.data.order import permutation
from runtime.data.readers import read_cifar10, read_idx
from runtime.data.stage import InputStage
from runtime.errors import DataError
from runtime.job import Source

LAYOUT = {"x": 0, "labels": 2048}


def small(n: int = 23) -> Dataset:
    images = np.arange(n * 4, dtype=np.uint8).reshape(n, 2, 2, 1)
    return Dataset(name="small", images=images, labels=np.arange(n, dtype=np.int64), classes=n, scale=0.5)


def idx_file(folder: Path, name: str, array: np.ndarray, pack: bool = False) -> Path:
    raw = (0x0800 | array.ndim).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()
    path = folder / (name + ".gz" * pack)
    path.write_bytes(gzip.compress(raw) if pack else raw)
    return path


def test_digits_are_the_uci_test_part() -> None:
    train, test = load(Source(), (8, 8, 1), 10)
    assert len(train) + len(test) == 1797
    assert len(test) == 359
    every = np.concatenate([train.images, test.images])
    assert every.max() == 16
    # Class sizes of the UCI test part, from optdigits.names.
    labels = np.concatenate([train.labels, test.labels])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    both = {i.tobytes() for i in train.images} & {i.tobytes() for i in test.images}
    assert not both


def test_digits_as_flat_samples_fit_an_mlp_and_nothing_else() -> None:
    assert load(Source(), (64,), 10)[0].images.shape == (1438, 8, 8, 1)
    with pytest.raises(DataError, match=r"the net takes samples of shape \[28, 28, 1\], UCI digits has \[8, 8, 1\]"):
        load(Source(), (28, 28, 1), 10)
    with pytest.raises(DataError, match="tells 3 classes apart, UCI digits has 10"):
        load(Source(), (64,), 3)


@pytest.mark.parametrize("pack", [False, True])
def test_idx_round_trip(tmp_path: Path, pack: bool) -> None:
    images = np.arange(5 * 28 * 28, dtype=np.uint8).reshape(5, 28, 28)
    for part in ("train", "t10k"):
        idx_file(tmp_path, f"{part}-images-idx3-ubyte", images, pack)
        idx_file(tmp_path, f"{part}-labels-idx1-ubyte", np.arange(5, dtype=np.uint8), pack)
    train, _ = load(Source(name="idx", path=str(tmp_path)), (28, 28, 1), 10)
    assert np.array_equal(train.images[..., 0], images)
    assert train.labels.tolist() == [0, 1, 2, 3, 4]


def test_idx_refuses_damaged_files(tmp_path: Path) -> None:
    good = idx_file(tmp_path, "a", np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(DataError, match="magic number is 0x00000803, an IDX file of unsigned bytes with 1 axes has 0x00000801"):
        read_idx(good, 1)
    cut = tmp_path / "cut"
    cut.write_bytes(good.read_bytes()[:-1])
    with pytest.raises(DataError, match="its header says 3x4x4 = 48 bytes, it has 47"):
        read_idx(cut, 3)
    cut.write_bytes(b"\0\0")
    with pytest.raises(DataError, match="2 bytes are too few for an IDX header"):
        read_idx(cut, 3)
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(good.read_bytes())[:-9])
    with pytest.raises(DataError, match=r"packed\.gz: Compressed file ended"):
        read_idx(packed, 3)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither train-images-idx3-ubyte nor train-images-idx3-ubyte\.gz"):
        load(Source(name="idx", path=str(tmp_path)), (28, 28, 1), 10)
    with pytest.raises(DataError, match=r"CIFAR-10 needs a folder with its files, and none is named; unpack https.*-binary"):
        load(Source(name="cifar10"), (32, 32, 3), 10)
    said = rf"CIFAR-10 is not here: there is no folder {tmp_path}/none; unpack.* run.data.folder .*batch_1.bin, .*test_batch.bin"
    with pytest.raises(DataError, match=said):
        load(Source(name="cifar10", path=str(tmp_path / "none")), (32, 32, 3), 10)


def test_cifar10_is_turned_from_planes_to_channels_last(tmp_path: Path) -> None:
    record = np.zeros((2, 3073), np.uint8)
    record[:, 0] = 7, 3
    record[1, 1 + 1024 + 33] = 99  # sample 1, green, row 1, column 1
    path = tmp_path / "b.bin"
    path.write_bytes(record.tobytes())
    images, labels = read_cifar10(path)
    assert labels.tolist() == [7, 3]
    assert images[1, 1, 1].tolist() == [0, 99, 0]
    path.write_bytes(record.tobytes()[:-5])
    with pytest.raises(DataError, match="no whole number of records of 3073"):
        read_cifar10(path)


def test_order_is_a_permutation_and_pinned() -> None:
    assert sorted(permutation(100, 3, 2)) == list(range(100))
    assert not np.array_equal(epoch_order(100, 0, 0), epoch_order(100, 0, 1))
    assert not np.array_equal(epoch_order(100, 0, 0), epoch_order(100, 1, 0))


def slow_permutation(n: int, seed: int, purpose: int, number: int) -> list[int]:
    """The same, in whole numbers of Python."""
    mask = 2**64 - 1

    def mixed(x: int) -> int:
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ x >> 27) * 0x94D049BB133111EB & mask
        return x ^ x >> 31

    state, order = mixed(mixed(mixed((seed + 0x9E3779B97F4A7C15) & mask) + purpose & mask) + number & mask), list(range(n))
    for i in range(n - 1, 0, -1):
        state = (state + 0x9E3779B97F4A7C15) & mask
        j = (mixed(state) >> 32) * (i + 1) >> 32
        order[i], order[j] = order[j], order[i]
    return order


@pytest.mark.parametrize(("n", "seed", "purpose", "number"), [(0, 0, 0, 0), (1, 1, 1, 1), (2, 5, 1, 0), (1437, 2**63 + 5, 3, 77)])
def test_order_is_that_of_its_definition(n: int, seed: int, purpose: int, number: int) -> None:
    assert permutation(n, seed, purpose, number).tolist() == slow_permutation(n, seed, purpose, number)


def test_every_order_is_about_as_likely() -> None:
    seen = Counter(tuple(permutation(4, seed, 1)) for seed in range(4800))
    assert len(seen) == 24
    assert max(abs(k - 200) for k in seen.values()) < 5 * 200**0.5


@pytest.mark.parametrize(("ranks", "micro_batches"), [(1, 1), (1, 2), (2, 1), (2, 3)])
def test_stage_delivers_what_the_definition_says(ranks: int, micro_batches: int) -> None:
    data, batch, steps, first = small(), 12, 9, 3  # 23 samples: steps straddle epochs
    parts = ranks * micro_batches
    for rank in range(ranks):
        stage = InputStage(
            data,
            offsets=LAYOUT,
            nbytes=4096,
            batch=batch,
            rank=rank,
            ranks=ranks,
            micro_batches=micro_batches,
            seed=5,
            first_step=first,
        )
        with stage:
            for k in range(first, steps):
                for m in range(micro_batches):
                    x, labels = stage.take()
                    want = samples_of(len(data), 5, k, batch, rank * micro_batches + m, parts)
                    assert labels.tolist() == want.tolist()
                    assert np.array_equal(x, data.images[want].reshape(len(want), -1) * np.float32(0.5))


def test_parts_of_all_ranks_stand_together() -> None:
    """What two ranks gather part by part is the step in its order."""
    data, batch, first = small(), 12, 2
    common = {"nbytes": 4096, "batch": batch, "ranks": 2, "micro_batches": 1, "parts": 3, "seed": 5, "first_step": first}
    with InputStage(data, offsets=LAYOUT, rank=0, **common) as a, InputStage(data, offsets=LAYOUT, rank=1, **common) as b:
        for step in range(first, 9):
            mine, others = a.take(), b.take()
            want = samples_of(len(data), 5, step, batch)
            labels = np.concatenate([x[1].reshape(3, 2) for x in (mine, others)], axis=1).reshape(-1)
            assert np.array_equal(labels, data.labels[want])
            x = np.concatenate([x[0].reshape(3, 2, -1) for x in (mine, others)], axis=1).reshape(batch, -1)
            assert np.array_equal(x, data.images[want].reshape(batch, -1) * np.float32(data.scale))
    with pytest.raises(DataError, match="a batch of 12 cannot be cut into 2 workers x 1 micro-batches x 4 parts"):
        InputStage(data, offsets=LAYOUT, rank=0, **{**common, "parts": 4})
    with pytest.raises(DataError, match="a micro-batch of 24 needs as many samples"):
        InputStage(data, offsets=LAYOUT, rank=0, **{**common, "batch": 24})


def test_stage_survives_a_ring_that_turns_many_times() -> None:
    with InputStage(small(), offsets=LAYOUT, nbytes=1 << 18, batch=4) as stage:
        assert stage.slots == 4
        for k in range(60):
            assert stage.take()[1].tolist() == samples_of(23, 0, k, 4).tolist()


def test_stage_stops_while_its_ring_is_full() -> None:
    stage = InputStage(small(), offsets=LAYOUT, nbytes=4096, batch=4).start()
    stage.take()
    stage.stop()
    assert not [t for t in threading.enumerate() if t.name == "input stage"]


def test_stage_passes_on_what_went_wrong() -> None:
    def broken(n: int, seed: int, epoch: int) -> np.ndarray:
        if epoch == 2:
            raise OSError("disk on fire")
        return epoch_order(n, seed, epoch)

    def take_many(stage: InputStage) -> None:
        for _ in range(100):
            stage.take()

    with (
        InputStage(small(), offsets=LAYOUT, nbytes=4096, batch=4, order=broken) as stage,
        pytest.raises(DataError, match="the input stage failed: OSError: disk on fire"),
    ):
        take_many(stage)


def test_stage_refuses_what_cannot_be_cut() -> None:
    with pytest.raises(DataError, match="a batch of 10 cannot be cut into 2 workers x 3 micro-batches"):
        InputStage(small(), offsets=LAYOUT, nbytes=4096, batch=10, ranks=2, micro_batches=3)
    with pytest.raises(DataError, match="a micro-batch of 24 needs as many samples, small has 23"):
        InputStage(small(), offsets=LAYOUT, nbytes=4096, batch=24)
