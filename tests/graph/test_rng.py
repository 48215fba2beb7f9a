"""Counter-based random numbers: the published vectors, and what is promised of what is made from them."""

import numpy as np
import pytest

from graph import GraphError
from graph.rng import Purpose, dropout_mask, philox4x32, stable_key, uniform, words

# Known-answer tests of philox4x32-10 in the Random123 distribution (Salmon et al., SC 2011): zeros, ones, digits of pi.
VECTORS = (
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
)


@pytest.mark.parametrize(("counter", "key", "right"), VECTORS)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], right: str) -> None:
    assert " ".join(f"{w:08x}" for w in philox4x32(counter, key)) == right


def plain(counter: list[int], key: list[int]) -> list[int]:
    """The definition in whole numbers, one counter at a time."""
    for _ in range(10):
        p0, p1 = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(p1 >> 32) ^ counter[1] ^ key[0], p1 % 2**32, (p0 >> 32) ^ counter[3] ^ key[1], p0 % 2**32]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return counter


def test_arrays_of_counters_broadcast_and_equal_the_plain_definition() -> None:
    drawn = philox4x32((np.arange(3)[:, None], 2**32 - 1, np.arange(5)[None, :], 7), (123, 2**32 - 1))
    assert drawn.shape == (3, 5, 4)
    assert drawn.dtype == np.uint32
    for i, j in np.ndindex(3, 5):
        assert drawn[i, j].tolist() == plain([i, 2**32 - 1, j, 7], [123, 2**32 - 1])


def test_counters_wrap_at_32_bits() -> None:
    assert philox4x32((2**32 + 5, 0, 0, 0), (0, 0)).tolist() == philox4x32((5, 0, 0, 0), (0, 0)).tolist()


def test_odd_counters_and_keys_are_refused() -> None:
    with pytest.raises(GraphError, match="a counter of 4 words"):
        philox4x32((0, 0, 0), (0, 0))
    with pytest.raises(GraphError, match=r"2 key words in 0\.\.2\^32-1"):
        philox4x32((0, 0, 0, 0), (0, 2**32))


def test_words_are_the_same_whatever_their_number() -> None:
    assert words(5, 6, 11, Purpose.INIT).tolist() == words(5, 6, 100, Purpose.INIT)[:11].tolist()
    assert words(5, 6, 8, Purpose.INIT).tolist() != words(5, 6, 8, Purpose.DROPOUT).tolist()
    assert words(5, 6, 0, Purpose.INIT).shape == (0,)


def test_uniform_numbers() -> None:
    u = uniform(1, "fc1.weight", 100_000)
    assert u.dtype == np.float32
    assert 0 <= u.min() <= u.max() < 1
    # The mean of n uniforms has standard deviation 1 / sqrt(12 n); their variance is 1/12.
    assert abs(u.mean() - 0.5) < 4 / np.sqrt(12 * u.size)
    assert abs(u.var() - 1 / 12) < 0.002
    assert not np.array_equal(u, uniform(1, "fc2.weight", 100_000))
    assert not np.array_equal(u, uniform(2, "fc1.weight", 100_000))


def test_stable_key_is_crc32() -> None:
    assert stable_key("123456789") == 0xCBF43926  # the check value of CRC-32/ISO-HDLC in the CRC catalogue


def mask(**changes: int) -> np.ndarray:
    given = {"seed": 1, "key": 2, "step": 3, "sample": 0, "rows": 50, "columns": 37} | changes
    return dropout_mask(**given, rate=0.3)


def test_dropout_bits_depend_on_the_sample_and_not_on_the_batch_it_is_in() -> None:
    whole = mask(sample=10)
    parts = [mask(sample=10 + k, rows=25) for k in (0, 25)]
    assert np.array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("change", [{"seed": 2}, {"key": 3}, {"step": 4}, {"sample": 50}])
def test_dropout_bits_differ(change: dict[str, int]) -> None:
    assert not np.array_equal(mask(), mask(**change))


def test_dropout_keeps_its_share() -> None:
    kept = mask(rows=2000)
    # A binomial share of n trials has standard deviation sqrt(0.3 * 0.7 / n).
    assert abs(kept.mean() - 0.7) < 4 * np.sqrt(0.21 / kept.size)
    assert dropout_mask(seed=0, key=0, step=0, sample=0, rows=9, columns=9, rate=0.0).all()
