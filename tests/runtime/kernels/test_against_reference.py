"""Every CPU kernel against its operator's reference, on all samples; what it must not touch; that it does the same every time."""

import ctypes
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from graph.ir import Phase
from graph.op import OPS, Array, Attrs, Op, Work
from graph.ops.common import type_of
from graph.tensor_type import f32
from hw.errors import HwError
from hw.kernels import KERNELS, Platform
from hw.kernels.record import Call, KernelRecord
from hw.kernels.tiling import flipped_cut
from runtime.kernels.table import CPU_KERNELS, address, block, load_families, run_rows, run_table

load_families()
RECORDS = [r for r in KERNELS.values() if r.platform is Platform.CPU]
COMPUTED = [r for r in RECORDS if r.op in OPS]
EXACT = {
    "concat",
    "slice_last",
    "transpose",
    "gather_rows",
    "scatter_rows",
    "dropout",
    "dropout_grad",
    "relu",
    "relu_grad",
    "fill",
    "max_pool",
    "add",
    "scale",
    "scale_by",
    "quantize",
    "dequantize",
}
GUARD = 192  # bytes around everything


class Memory:
    """One buffer with guard zones of a known pattern around every array; arrays start `shift` bytes past a cache line."""

    def __init__(self, nbytes: int, shift: int = 0) -> None:
        self.bytes = np.full(nbytes + 64, 0xA5, np.uint8)
        self.shift, self.at = shift, -self.bytes.ctypes.data % 64
        self.free = np.ones(self.bytes.size, bool)

    def take(self, nbytes: int) -> tuple[int, Array]:
        start = self.at + GUARD + self.shift
        self.at = start + nbytes - self.shift + GUARD
        self.at += -(self.bytes.ctypes.data + self.at) % 64
        self.free[start : start + nbytes] = False
        return self.bytes.ctypes.data + start, self.bytes[start : start + nbytes]

    def array(self, like: Array, fill: bool) -> tuple[int, Array]:
        place, raw = self.take(like.nbytes)
        raw[:] = np.frombuffer(np.ascontiguousarray(like).tobytes(), np.uint8) if fill else 0xFF  # else NaN
        return place, raw.view(like.dtype).reshape(like.shape)

    def guards_hold(self) -> bool:
        return bool((self.bytes[self.free] == 0xA5).all())


def make_call(kernel: KernelRecord, inputs: Sequence[Array], outputs: int, attrs: Attrs) -> Call:
    types = tuple(type_of(np.asarray(x)) for x in inputs)
    return Call(
        kernel=kernel.name,
        nodes=("node",),
        fused=tuple(f for f in str(attrs.get("epilogue", "")).split("+") if f),
        reads=tuple(f"r{i}" for i in range(len(inputs))),
        writes=tuple(f"w{i}" for i in range(outputs)),
        types=types,
        attrs=attrs,
        work=Work(),
        workspace=kernel.workspace(types, attrs),
        layer="",
        phase=Phase.FORWARD,
    )


def run(kernel: KernelRecord, inputs: Sequence[Array], like: Sequence[Array], attrs: Attrs, shift: int = 0) -> list[Array]:
    """The kernel's results; asserts that it touched nothing but them and its workspace."""
    inputs = [np.array(x, order="C") for x in inputs]
    call = make_call(kernel, inputs, len(like), attrs)
    need = sum(x.nbytes + 2 * GUARD + 128 for x in (*inputs, *like)) + call.workspace + 2 * GUARD + 128
    memory = Memory(need, shift)
    given = [memory.array(x, True) for x in inputs]
    made = [memory.array(x, False) for x in like]
    workspace, raw = memory.take(call.workspace)
    raw[:] = 0xFF
    words = block(call, [p for p, _ in (*given, *made)] + [workspace])
    run_table(np.array([address(kernel.name)]), np.array([words.ctypes.data]))
    assert memory.guards_hold(), f"{kernel.name} wrote out of bounds"
    for x, (_, now) in zip(inputs, given, strict=True):
        assert x.tobytes() == now.tobytes(), f"{kernel.name} changed an operand"
    return [np.array(a) for _, a in made]


def applies(kernel: KernelRecord, inputs: Sequence[Array], attrs: Attrs) -> bool:
    return not kernel.name.endswith(".flip") or flipped_cut(tuple(map(type_of, inputs)), attrs) is not None


def cases(kernel: KernelRecord) -> Iterator[tuple[Op, list[Array], Attrs]]:
    op = OPS[kernel.op]
    for s in op.samples():
        inputs = [np.array(x, order="C") for x in s.inputs]
        if applies(kernel, inputs, s.attrs):
            yield op, inputs, {**op.attrs, **s.attrs}


def close(got: Array, want: Array, name: str, exact: bool) -> None:
    if exact:
        np.testing.assert_array_equal(got, want, err_msg=name)
    else:
        scale = float(np.abs(want).max()) if want.size else 1.0
        np.testing.assert_allclose(got, want, rtol=3e-6, atol=3e-6 * max(scale, 1.0), err_msg=name)


def test_records_and_kernels_are_the_same() -> None:
    assert {r.name for r in RECORDS} == set(CPU_KERNELS)


@pytest.mark.parametrize("op", [o.name for o in OPS.values() if not o.is_view])
def test_every_operator_has_a_kernel(op: str) -> None:
    assert any(r.op == op and r.name in CPU_KERNELS for r in RECORDS), f"runtime/kernels/cpu has no kernel for {op!r}"


@pytest.mark.parametrize("kernel", COMPUTED, ids=lambda r: r.name)
def test_kernel_equals_reference(kernel: KernelRecord) -> None:
    seen = 0
    for op, inputs, attrs in cases(kernel):
        want = op.reference(inputs, attrs)
        got = run(kernel, inputs, want, attrs)
        for g, w in zip(got, want, strict=True):
            assert g.dtype == w.dtype
            close(g, w, f"{kernel.name} {[x.shape for x in inputs]} {dict(attrs)}", kernel.op in EXACT)
        seen += 1
    assert seen


@pytest.mark.parametrize("kernel", COMPUTED, ids=lambda r: r.name)
def test_same_bits_every_time_and_everywhere(kernel: KernelRecord) -> None:
    for op, inputs, attrs in cases(kernel):
        like = op.reference(inputs, attrs)
        first = run(kernel, inputs, like, attrs)
        for shift in (0, 4, 36) if all(x.dtype == np.float32 for x in (*inputs, *like)) else (0,):
            again = run(kernel, inputs, like, attrs, shift)
            assert [x.tobytes() for x in first] == [x.tobytes() for x in again]


@pytest.mark.parametrize("epilogue", ["add_bias", "add_bias+relu"])
@pytest.mark.parametrize("kernel", [r for r in COMPUTED if r.epilogue], ids=lambda r: r.name)
def test_epilogue_equals_the_operators_one_by_one(kernel: KernelRecord, epilogue: str) -> None:
    assert kernel.epilogue == ("add_bias", "relu")
    for op, inputs, attrs in cases(kernel):
        (y,) = op.reference(inputs, attrs)
        bias = np.linspace(-1, 1, y.shape[-1]).astype(np.float32)
        want = y + bias
        if epilogue.endswith("relu"):
            want = np.maximum(want, 0)
        (got,) = run(kernel, [*inputs, bias], [y], {**attrs, "epilogue": epilogue})
        close(got, want, f"{kernel.name} {[x.shape for x in inputs]} {dict(attrs)}", False)


@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (97, 65, 513), (500, 7, 1100), (13, 1030, 20), (100, 1030, 9), (3, 129, 1)])
@pytest.mark.parametrize(("ta", "tb"), [(False, False), (True, False), (False, True), (True, True)])
def test_matmul_across_blocks(m: int, n: int, k: int, ta: bool, tb: bool) -> None:
    rng = np.random.default_rng(m + n)
    a = rng.standard_normal((k, m) if ta else (m, k)).astype(np.float32)
    b = rng.standard_normal((n, k) if tb else (k, n)).astype(np.float32)
    bias = rng.standard_normal(n).astype(np.float32)
    want = np.maximum((a.T if ta else a).astype(float) @ (b.T if tb else b) + bias, 0)
    (got,) = run(
        KERNELS["cpu.matmul"], [a, b, bias], [np.zeros((m, n), np.float32)], {"ta": ta, "tb": tb, "epilogue": "add_bias+relu"}
    )
    np.testing.assert_allclose(got, want, atol=2e-6 * k + 1e-5)


@pytest.mark.parametrize("op", ["conv2d", "conv2d_grad_input", "conv2d_grad_weight"])
@pytest.mark.parametrize(
    ("x", "kernel", "oc", "stride", "pad", "groups"),
    [
        ((31, 4, 4, 6), (3, 3), 16, 1, 1, 1),  # several stacks of images, the last one smaller
        ((2, 30, 30, 1), (5, 5), 6, 1, 2, 1),  # an image larger than a stack
        ((3, 6, 7, 18), (3, 2), 70, 1, 1, 1),  # channels across vectors and panels
        ((2, 9, 9, 3), (3, 3), 5, 2, 0, 1),
        ((2, 11, 10, 2), (5, 4), 3, 3, 2, 1),
        ((1, 5, 5, 2), (1, 1), 3, 2, 0, 1),  # pixels that no tap reaches
        ((3, 6, 7, 4), (1, 7), 9, 1, (0, 3), 1),
        ((2, 9, 8, 3), (7, 2), 5, 2, (3, 1), 1),
        ((31, 4, 4, 6), (3, 3), 16, 1, 1, 2),
        ((3, 6, 7, 36), (3, 2), 140, 1, 1, 2),  # every group's channels across vectors and panels
        ((2, 9, 9, 6), (3, 3), 12, 2, 0, 3),  # copied, though there is no border
        ((2, 7, 8, 5), (3, 3), 10, 1, (1, 0), 5),  # a channel a group
    ],
)
def test_convolution_across_stacks(
    op: str, x: tuple[int, ...], kernel: tuple[int, int], oc: int, stride: int, pad: int | tuple[int, int], groups: int
) -> None:
    rng = np.random.default_rng(oc)
    image, weight = (rng.standard_normal(s).astype(np.float32) for s in (x, (*kernel, x[3] // groups, oc)))
    attrs: dict[str, Any] = {"stride": stride, "pad": pad, "groups": groups}
    (y,) = OPS["conv2d"].reference([image, weight], attrs)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    inputs = [image, weight]
    if op == "conv2d_grad_input":
        inputs, attrs = [dy, weight], {**attrs, "height": x[1], "width": x[2]}
    elif op == "conv2d_grad_weight":
        inputs, attrs = [image, dy], {**attrs, "kh": kernel[0], "kw": kernel[1]}
    want = OPS[op].reference([i.astype(float) for i in inputs], attrs)
    for record in (r for r in COMPUTED if r.op == op and applies(r, inputs, attrs)):
        (got,) = run(record, inputs, [w.astype(np.float32) for w in want], attrs)
        np.testing.assert_allclose(got, want[0], atol=2e-5 * float(np.abs(want[0]).max()), err_msg=record.name)


@pytest.mark.parametrize(("rows", "columns"), [(1, 37), (2001, 9), (700, 70), (11, 5000)])
def test_batch_norm_across_blocks(rows: int, columns: int) -> None:
    """Many rows, around a mean that is far from 0; against float64."""
    rng = np.random.default_rng(rows)
    x, dy = (rng.standard_normal((rows, columns)).astype(np.float32) for _ in range(2))
    x += np.float32(7)
    scale, shift = (rng.standard_normal(columns).astype(np.float32) for _ in range(2))
    attrs = {"epsilon": 1e-3}
    given = {"batch_norm": [x, scale, shift]}
    _, mean, variance = OPS["batch_norm"].reference([a.astype(float) for a in given["batch_norm"]], attrs)
    found = [mean.astype(np.float32), variance.astype(np.float32)]
    given |= {"batch_norm_grad": [dy, x, scale, *found], "batch_norm_inference": [x, scale, shift, *found]}
    for op, inputs in given.items():
        want = OPS[op].reference([a.astype(float) for a in inputs], attrs)
        got = run(KERNELS[f"cpu.{op}"], inputs, [np.asarray(w, np.float32) for w in want], attrs)
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, atol=3e-6 * float(np.abs(w).max()) + 1e-4 * (rows == 1), err_msg=op)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((2, 3, 4, 5, 3), (3, 0, 2, 1, 4)),  # runs
        ((2, 3, 4, 5, 3), (4, 2, 0, 3, 1)),  # matrices, with three axes beside them
        ((40, 33), (1, 0)),
        ((3, 20, 2, 33), (0, 3, 1, 2)),
        ((2, 1, 3, 1), (3, 2, 1, 0)),
        ((2, 3, 4, 5, 2, 3), (3, 4, 0, 1, 2, 5)),  # as many axes as loops, since some stay together
        ((2, 2, 1, 2, 2, 2, 2), (6, 4, 2, 1, 5, 3, 0)),
        ((), ()),
        ((3, 0, 2), (2, 1, 0)),
    ],
)
def test_axes_in_any_order(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
    (want,) = OPS["transpose"].reference([x], {"axes": axes})
    (got,) = run(KERNELS["cpu.transpose"], [x], [want], {"axes": axes})
    np.testing.assert_array_equal(got, want)


def test_too_many_axes_are_refused() -> None:
    x = f32(*(2,) * 10)
    with pytest.raises(HwError, match="no kernel for 9 axes beside those"):
        KERNELS["cpu.transpose"].terms([x], {"axes": tuple(range(0, 10, 2)) + tuple(range(1, 10, 2))})


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("scheme", ["whole", "turns", "parts"])
def test_halves_of_exchanges_copy_their_rows(ranks: int, scheme: str) -> None:
    """The addresses are those of the first rows to copy; the rest of the result is not touched."""
    x = np.arange(6 * 5, dtype=np.float32).reshape(6, 5)
    attrs: dict[str, Any] = {"ranks": ranks, "scheme": scheme, "same": False}
    (t,) = OPS["gather_rows"].infer([type_of(x)], attrs)
    (got,) = run(KERNELS["cpu.gather_rows"], [x], [np.zeros(t.shape, np.float32)], attrs)
    rows = 6 // ranks if scheme == "parts" else 6
    np.testing.assert_array_equal(got[:rows], x[:rows])
    assert np.isnan(got[rows:]).all()
    (back,) = run(KERNELS["cpu.scatter_rows"], [got], [x], attrs)
    np.testing.assert_array_equal(back[:rows], x[:rows])
    assert np.isnan(back[rows:]).all()


@pytest.mark.parametrize("shape", [(2, 3, 37), (1, 96)])
def test_normalization_across_vectors_of_channels(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    x, dy = (3 * rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    attrs = {"size": 5, "alpha": 0.3, "beta": 0.75, "k": 2.0}
    want = OPS["lrn"].reference([x.astype(float)], attrs)
    got = run(KERNELS["cpu.lrn"], [x], [np.asarray(w, np.float32) for w in want], attrs)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=3e-6)
    (dx,) = OPS["lrn_grad"].reference([dy, x, want[1]], attrs)
    (got_dx,) = run(KERNELS["cpu.lrn_grad"], [dy, x, got[1]], [x], attrs)
    np.testing.assert_allclose(got_dx, dx, atol=3e-6 * float(np.abs(dx).max()))


def test_update_in_place_equals_update_beside() -> None:
    rng = np.random.default_rng(3)
    attrs = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    p, g, m = (rng.standard_normal(1003).astype(np.float32) for _ in range(3))
    beside = run(KERNELS["cpu.sgd"], [p, g, m], [p, m], attrs)
    words = block(make_call(KERNELS["cpu.sgd"], [p, g, m], 2, attrs), [a.ctypes.data for a in (p, g, m, p, m)] + [0])
    run_table(np.array([address("cpu.sgd")]), np.array([words.ctypes.data]))
    np.testing.assert_array_equal([p, m], beside)


def test_buffer_kernels() -> None:
    g, more = np.arange(37, dtype=np.float32), np.full(37, 0.5, np.float32)
    (got,) = run(KERNELS["cpu.accumulate"], [g, more], [g], {})
    np.testing.assert_array_equal(got, g + more)
    call = make_call(KERNELS["cpu.input"], [g, more], 2, {})
    slot, buffer = np.arange(96, dtype=np.float32), np.zeros(96, np.float32)
    at = [slot.ctypes.data, slot.ctypes.data + 192, buffer.ctypes.data, buffer.ctypes.data + 192]
    words = CPU_KERNELS["cpu.input"].pack(call, [*at, 0])
    keep = np.array(words, np.int64)
    run_table(np.array([address("cpu.input")]), np.array([keep.ctypes.data]))
    np.testing.assert_array_equal(buffer, slot)  # two values of 37 floats take 192 aligned bytes each


def test_bad_label_makes_the_loss_nan_and_reads_nothing_outside() -> None:
    logits, labels = np.zeros((2, 3), np.float32), np.array([1, 10**9])
    loss, probs = run(KERNELS["cpu.softmax_cross_entropy"], [logits, labels], [np.float32(0), logits], {"denominator": 2})
    assert np.isnan(loss)
    np.testing.assert_allclose(probs, 1 / 3, rtol=1e-6)


def test_rows_of_a_table() -> None:
    x = [np.zeros(5, np.float32) for _ in range(4)]
    kernel = KERNELS["cpu.fill"]
    calls = [make_call(kernel, [], 1, {"shape": (5,), "value": float(i), "dtype": "f32"}) for i in range(4)]
    words = [block(c, [a.ctypes.data, 0]) for c, a in zip(calls, x, strict=True)]
    fn, arg = np.full(4, address(kernel.name)), np.array([w.ctypes.data for w in words])
    run_rows(fn, arg, 1, 3)
    assert [a[0] for a in x] == [0, 1, 2, 0]
    run_table(fn, arg)
    assert [a[0] for a in x] == [0, 1, 2, 3]


class MallInfo(ctypes.Structure):
    """What glibc's ``mallinfo2`` tells."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def in_use() -> int:
    """Bytes that the C library has handed out; 0 where it does not tell."""
    c = ctypes.CDLL(None)
    if not hasattr(c, "mallinfo2"):
        return 0
    c.mallinfo2.restype = MallInfo
    told = c.mallinfo2()
    return int(told.uordblks + told.hblkhd)


def test_a_table_of_all_kernels_allocates_nothing() -> None:
    keep: list[Any] = []
    fn, arg = [], []
    for kernel in COMPUTED:
        for op, inputs, attrs in cases(kernel):
            like = op.reference(inputs, attrs)
            arrays = [*inputs, *(np.array(w) for w in like)]
            call = make_call(kernel, inputs, len(like), attrs)
            scratch = np.zeros(call.workspace + 8, np.uint8)
            keep += [arrays, scratch, block(call, [a.ctypes.data for a in arrays] + [scratch.ctypes.data])]
            fn.append(address(kernel.name))
            arg.append(keep[-1].ctypes.data)
    table = np.array(fn), np.array(arg)
    run_table(*table)
    in_use()
    before = in_use()
    for _ in range(200):
        run_table(*table)
    assert in_use() - before < 200 * len(fn)  # what Python itself may keep is less than a byte a call
    tracemalloc.start()
    tracemalloc.reset_peak()
    at_first = tracemalloc.get_traced_memory()[0]
    for _ in range(200):
        run_table(*table)
    assert tracemalloc.get_traced_memory()[1] - at_first < 1024
    tracemalloc.stop()
