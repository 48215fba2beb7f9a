"""Kernels over flat arrays: sizes at their edges, results over operands, buffers, and shapes that samples do not have."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from graph.op import OPS, Array, Attrs
from hw.errors import HwError
from hw.kernels import KERNELS
from runtime.kernels.cuda.check import Case, Memory, check
from runtime.kernels.cuda.kernel import load_families
from runtime.kernels.cuda.run import download, launches_of, places_of, run_call, upload

load_families()
BLOCK = 256


def case(op: str, inputs: Sequence[Array], want: Sequence[Array] | None = None, **attrs: Any) -> Case:
    """A call of the operator's kernel; by default what its reference gives is wanted."""
    kernel, given = KERNELS[f"cuda.{op}"], tuple(inputs)
    full: Attrs = {**OPS[op].attrs, **attrs} if op in OPS else attrs
    return Case(kernel=kernel, inputs=given, attrs=full, want=tuple(OPS[op].reference(given, full) if want is None else want))


def numbers(n: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def kernels(c: Case, shift: int = 0) -> list[str]:
    """Names of what is launched for it."""
    memory = Memory(c, (shift,))
    arrays = [memory.device[a:b].view(kind) for (a, b), kind in zip(memory.spans, memory.kinds, strict=True)]
    return [launch.kernel.name for launch in launches_of(c.call, places_of(arrays))]


@pytest.mark.parametrize("n", [1, 2, 3, 6, 8, 4 * BLOCK + 3, 8 * BLOCK + 7])
def test_any_number_of_elements(n: int) -> None:
    """Two wide accesses of a thread, one, and what remains at both ends."""
    check(case("relu", [numbers(n)]))
    check(case("gather_rows", [numbers(n)], ranks=1))
    if n < 4 * BLOCK:
        check(case("add", [numbers(n), numbers(n, 1)]))
        check(case("scale_by", [numbers(n), np.float32(0.3).reshape(())]))
        check(case("fill", [], shape=(n,), value=0.7))


def test_packed_values_are_accessed_widely_and_others_one_by_one() -> None:
    relu = case("relu", [numbers(37)])
    assert kernels(relu) == kernels(relu, 4) == kernels(relu, 12) == ["relu_4"]
    memory = Memory(relu, (0, 4))
    places = places_of([memory.device[a:b].view(kind) for (a, b), kind in zip(memory.spans, memory.kinds, strict=True)])
    assert [launch.kernel.name for launch in launches_of(relu.call, places)] == ["relu"]


def test_not_a_number_stays_one() -> None:
    check(case("relu", [np.array([np.nan, -np.inf, np.inf, -0.0, 1e-45], np.float32)]))


def test_update_in_place_equals_update_beside() -> None:
    p, g, m = numbers(23), numbers(23, 1), numbers(23, 2)
    c = case("sgd", [p, g, m], learning_rate=0.1, momentum=0.9, weight_decay=0.01)
    beside = Memory(c).run()
    a, b, d = (upload(x) for x in (p, g, m))
    run_call(c.call, [a, b, d, a, d, upload(np.empty(0, np.uint8))])
    np.testing.assert_array_equal([download(a), download(d)], beside)


def test_buffer_kernels() -> None:
    g, more = numbers(37), numbers(37, 1)
    check(case("accumulate", [g, more], [g + more]))
    images, labels, odd = numbers(30), np.arange(5), np.arange(7, dtype=np.uint8)
    check(case("input", [images, labels, odd], [images, labels, odd]))


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("scheme", ["whole", "turns", "parts"])
def test_halves_of_exchanges_copy_their_rows(ranks: int, scheme: str) -> None:
    """The places are those of the first rows to copy; the rest of the result is not touched."""
    x = np.arange(6 * 5, dtype=np.float32).reshape(6, 5)
    attrs = {"ranks": ranks, "scheme": scheme, "same": False}
    (t,) = OPS["gather_rows"].infer([_type(x)], attrs)
    rows = 6 // ranks if scheme == "parts" else 6
    want = np.full(t.shape, np.nan, np.float32)
    want[:rows] = x[:rows]
    (got,) = Memory(case("gather_rows", [x], [want], **attrs)).run()
    np.testing.assert_array_equal(got, want)
    back = np.full(x.shape, np.nan, np.float32)
    back[:rows] = x[:rows]
    (got,) = Memory(case("scatter_rows", [want], [back], **attrs)).run()
    np.testing.assert_array_equal(got, back)


def _type(x: Array) -> Any:
    from graph.ops.common import type_of

    return type_of(x)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((2, 3, 4, 5, 3), (3, 0, 2, 1, 4)),  # runs
        ((2, 3, 8), (1, 0, 2)),  # runs of fours
        ((2, 3, 2, 2, 3), (4, 2, 0, 3, 1)),  # matrices, with three axes beside them
        ((40, 33), (1, 0)),
        ((2, 1, 3, 1), (3, 2, 1, 0)),
        ((2, 2, 2, 3, 2, 2), (3, 4, 0, 1, 2, 5)),
        ((), ()),
        ((3, 0, 2), (2, 1, 0)),
    ],
)
def test_axes_in_any_order(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
    check(case("transpose", [x], axes=axes))


def test_too_many_axes_are_refused() -> None:
    x, axes = np.zeros((2,) * 10, np.float32), tuple(range(0, 10, 2)) + tuple(range(1, 10, 2))
    with pytest.raises(HwError, match="no kernel for 9 axes beside those"):
        kernels(case("transpose", [x], axes=axes))


def test_rows_of_fours_are_copied_widely() -> None:
    a, b = np.arange(24, dtype=np.float32).reshape(3, 8), np.arange(12, dtype=np.float32).reshape(3, 4)
    side_by_side = case("concat", [a, b])
    assert kernels(side_by_side) == ["copy_rows_4", "copy_rows_4"]
    assert kernels(side_by_side, 4) == ["copy_rows", "copy_rows"]
    check(side_by_side)
    part = case("slice_last", [a], first=4, count=4)
    assert kernels(part) == ["copy_rows_4"]
    check(part)
    assert kernels(case("slice_last", [a], first=2, count=4)) == ["copy_rows"]


def test_dropout_of_rows_of_fours() -> None:
    x, step, sample = numbers(5 * 12).reshape(5, 12), np.asarray(2**33 + 5), np.asarray(2**32 - 2)
    c = case("dropout", [x, step, sample], rate=0.4, seed=7, key=2**32 - 1)
    assert kernels(c) == ["dropout_4"]
    check(c)


@pytest.mark.parametrize("rounding", ["floor", "zero", "nearest"])
def test_quantize_at_both_ends_of_unaligned_values(rounding: str) -> None:
    """The words lie half as far past a boundary as the numbers do."""
    c = case("quantize", [3 * numbers(19)], fraction=10, rounding=rounding)
    memory = Memory(c, (4, 2))
    places = places_of([memory.device[a:b].view(kind) for (a, b), kind in zip(memory.spans, memory.kinds, strict=True)])
    assert [launch.kernel.name for launch in launches_of(c.call, places)] == ["quantize_4"]
    np.testing.assert_array_equal(memory.run(), c.want)
