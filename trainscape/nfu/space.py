"""A design space: lists of numbers for Tn = Ti, buffers, bandwidth and word length; all of their combinations, or a sample."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from graph.fixed_point import Fixed
from graph.record import record
from hw.errors import HwError
from hw.nfu.config import Nfu
from hw.units import Quantity, parse

T = TypeVar("T")
MOST = 1_000_000
"""Points that are looked at in one go."""
WIDEST_TN, MOST_ROWS = 1024, 1 << 16
DEFAULT = {"tn": "4,8,16,32", "buffers": "16,32,64,128,256", "bandwidth": "62.5,125,250,500", "word": "8,12,16"}


@record
class Point:
    """One design.

    Parameters
    ----------
    tn : neurons side by side, and inputs of each.
    rows : of NBin, NBout and SB.
    dram_bytes_per_second : of the main memory.
    word : format of neurons and synapses; adders stay as wide as those of the design that is varied.
    """

    tn: int
    rows: tuple[int, int, int]
    dram_bytes_per_second: float
    word: Fixed

    @property
    def key(self) -> str:
        """Names the point in a file."""
        return f"tn={self.tn} rows={rows_text(self.rows)} dram={self.dram_bytes_per_second!r} word={self.word}"

    def nfu(self, base: Nfu) -> Nfu:
        """The design, the rest as `base` has it; raises `HwError` when it cannot be."""
        nbin, nbout, sb = self.rows
        return replace(
            base,
            tn=self.tn,
            ti=self.tn,
            nbin_rows=nbin,
            nbout_rows=nbout,
            sb_rows=sb,
            dram_bytes_per_second=self.dram_bytes_per_second,
            neuron=self.word,
            synapse=self.word,
        )

    def document(self) -> dict[str, Any]:
        """Plain data."""
        nbin, nbout, sb = self.rows
        return {
            "tn": self.tn,
            "ti": self.tn,
            "nbin_rows": nbin,
            "nbout_rows": nbout,
            "sb_rows": sb,
            "dram_bytes_per_s": self.dram_bytes_per_second,
            "word_bits": self.word.bits,
            "word_fraction": self.word.fraction,
        }

    @classmethod
    def from_document(cls, said: Mapping[str, Any]) -> "Point":
        """The point that `document` wrote."""
        return cls(
            tn=said["tn"],
            rows=(said["nbin_rows"], said["nbout_rows"], said["sb_rows"]),
            dram_bytes_per_second=said["dram_bytes_per_s"],
            word=Fixed(bits=said["word_bits"], fraction=said["word_fraction"]),
        )


def rows_text(rows: tuple[int, int, int]) -> str:
    """Rows of the buffers, as `--buffers` reads them."""
    return str(rows[0]) if len(set(rows)) == 1 else "/".join(map(str, rows))


@record
class Space:
    """What is varied; each field a list without repetition."""

    tn: tuple[int, ...]
    buffers: tuple[tuple[int, int, int], ...]
    bandwidth: tuple[float, ...]
    word: tuple[Fixed, ...]

    def __len__(self) -> int:
        return len(self.tn) * len(self.buffers) * len(self.bandwidth) * len(self.word)

    def point(self, k: int) -> Point:
        """Combination number `k`; words go fastest, for those of as many bytes take the same cycles."""
        shape = (len(self.tn), len(self.buffers), len(self.bandwidth), len(self.word))
        tn, rows, rate, word = (int(i) for i in np.unravel_index(k, shape))
        return Point(tn=self.tn[tn], rows=self.buffers[rows], dram_bytes_per_second=self.bandwidth[rate], word=self.word[word])

    def points(self, count: int | None, seed: int) -> list[Point]:
        """All combinations or, where `count` is fewer, so many of them drawn without repetition.

        Raises `ValueError` when there are more than can be looked at.
        """
        n = len(self)
        if min(n, n if count is None else count) > MOST:
            raise ValueError(f"{n:,} combinations are more than the {MOST:,} that are looked at; take a sample with --points")
        if count is None or count >= n:
            return [self.point(k) for k in range(n)]
        drawn = np.random.Generator(np.random.Philox(seed)).choice(n, size=count, replace=False)
        return [self.point(int(k)) for k in np.sort(drawn)]


def read_space(*, tn: str, buffers: str, bandwidth: str, word: str) -> Space:
    """The space that texts describe.

    Parameters
    ----------
    tn : whole numbers, or ranges ``4..32`` of them.
    buffers : rows of all three buffers, or ``NBin/NBout/SB``.
    bandwidth : GB/s, or with a unit.
    word : bits, of which five eighths lie behind the point as in DianNao's Q6.10; or a format such as ``Q4.8``.

    Raises
    ------
    ValueError : says which item of which list is wrong.
    """
    return Space(
        tn=_list("tn", tn, lambda t: _whole(t, WIDEST_TN)),
        buffers=_list("buffers", buffers, _buffers),
        bandwidth=_list("bandwidth", bandwidth, _bandwidth),
        word=_list("word", word, _word),
    )


def _list(name: str, text: str, read: Callable[[str], Sequence[T]]) -> tuple[T, ...]:
    found: dict[T, None] = {}
    for item in text.split(","):
        try:
            found |= dict.fromkeys(read(item.strip()))
        except (ValueError, HwError) as e:
            raise ValueError(f"--{name}: {e}") from None
    return tuple(found)


def _whole(text: str, most: int) -> list[int]:
    m = re.fullmatch(r"([0-9]+)(?:\.\.([0-9]+))?", text)
    if m is None or not 1 <= int(m[1]) <= int(m[2] or m[1]) <= most:
        raise ValueError(f"{text!r} is no whole number from 1 to {most}, nor a range of them such as 4..32")
    return list(range(int(m[1]), int(m[2] or m[1]) + 1))


def _buffers(text: str) -> list[tuple[int, int, int]]:
    parts = [_whole(part, MOST_ROWS) for part in text.split("/")]
    if len(parts) == 1:
        return [(n, n, n) for n in parts[0]]
    if len(parts) != 3:
        raise ValueError(f"{text!r} is neither rows of all three buffers nor NBin/NBout/SB such as 64/64/128")
    return [(a, b, c) for a in parts[0] for b in parts[1] for c in parts[2]]


def _bandwidth(text: str) -> list[float]:
    is_bare = re.fullmatch(r"[0-9.]+(?:[eE][+-]?[0-9]+)?", text) is not None
    found = float(parse(f"{text} GB/s" if is_bare else text, Quantity.BYTES_PER_SECOND))
    if not found > 0:
        raise ValueError(f"{text!r} is no rate above 0")
    return [found]


def _word(text: str) -> list[Fixed]:
    from hw.nfu.config import fixed

    m = re.fullmatch(r"[qQ]([0-9]+)\.([0-9]+)", text)
    if m is not None:
        return [fixed(int(m[1]) + int(m[2]), int(m[2]), repr(text))]
    return [fixed(bits, bits * 5 // 8, repr(text)) for bits in _whole(text, 16)]
