"""The terms of the records against the loops themselves: the kernels' Python source runs with counting stand-ins for vectors.

Argument blocks are real and are read from memory; loads, stores and the register tile only count. So a loop that is changed
without its record is found here.
"""

import ctypes
from collections import Counter
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from graph.ir import Phase
from graph.op import OPS, Size, Work
from graph.ops.common import type_of
from graph.tensor_type import TensorType, f32, i64
from hw.kernels import KERNELS, Platform
from hw.kernels.count import LATENCY_SLOTS
from hw.kernels.record import Call
from runtime.kernels.cpu import tile
from runtime.kernels.emit import LANES
from runtime.kernels.table import block, function_of, load_families

load_families()
PLACE = 1 << 20  # made-up addresses, far apart; nothing is there


def read(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


class Loops:
    """Runs a kernel's Python source and counts what it does."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter(call=1)
        quiet = dict.fromkeys(
            (
                "below", "bits_float", "equal", "exp", "first_lanes", "fma", "get_float", "greater", "iota", "keep_small",
                "lane_max", "lane_sum", "load", "load_bytes", "log", "mask_if", "maximum", "select", "select_int", "set_float",
                "splat", "splat_int", "square_root", "store_bytes",
            ),
            lambda *a: 1,
        )  # fmt: skip
        self.stand_ins: dict[str, Any] = {
            **quiet,
            "get_int": lambda at: read(at) if at > PLACE << 8 else 0,
            "call_panel": lambda f, *a: self.python(tile.panel)(*a),
            "_run": self.run,
            "call_transpose": lambda f, source, lds, rows, cols, *a: self.python(tile.transpose)(source, lds, rows, cols, *a),
            "_turn": lambda *a: self.add("turned"),
            "copy_floats": self.copy_floats,
            "zero_bytes": lambda to, n: self.add("zeroed", n),
            "load_masked": lambda *a: self.add("loads") or 1,
            "store": lambda *a: self.add("stores"),
            "store_masked": lambda *a: self.add("stores"),
            "call_address": lambda f, at: self.python(function_of("cpu.conv2d.direct"))(at),
        }

    def add(self, term: str, n: int = 1) -> None:
        self.seen[term] += n

    def copy_floats(self, to: int, source: int, n: int) -> None:
        self.add("row")
        self.add("copied", -(-n // LANES))

    def run(self, h: int, nv: int, count: int, last: int, nb: int, kc: int, *rest: int) -> None:
        assert 1 <= last <= LANES
        for _ in range(count):
            self.add("tile")
            for _ in range(nb):
                self.add("block")
                self.add("begun", h if nv == 1 else 0)
                for _ in range(kc):
                    self.add("step")
                    self.add("slot", max(h * nv, h + nv, LATENCY_SLOTS))
            self.add("vector", h * nv)

    def python(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same source with the stand-ins, also in the functions that it calls."""
        source = getattr(function, "py_func", function)
        if source is tile.panel:
            self.add("panel")
        space = dict(source.__globals__)
        for name, value in space.items():
            if name in self.stand_ins:
                space[name] = self.stand_ins[name]
            elif hasattr(value, "py_func"):
                space[name] = (lambda v: lambda *a: self.python(v)(*a))(value)
            elif name.startswith("_read"):
                space[name] = _reader(_length(source.__globals__, name))
        return FunctionType(source.__code__, space, source.__name__, source.__defaults__, source.__closure__)


def _reader(n: int) -> Callable[[int], tuple[int, ...]]:
    return lambda at: tuple(read(at + 8 * i) for i in range(n))


def _length(space: dict[str, Any], name: str) -> int:
    """How many words a reader of argument blocks reads: asked of its signature."""
    signature, _ = space[name]._defn(None, None)
    return int(signature.return_type.count)


def counted(name: str, size: Size) -> tuple[Counter[str], dict[str, float]]:
    kernel = KERNELS[name]
    own = OPS[kernel.op].operands(len(size.types))
    results = OPS[kernel.op].infer(size.types[:own], {k: v for k, v in size.attrs.items() if k != "epilogue"})
    call = Call(
        kernel=name, nodes=("n",), fused=(), reads=tuple("abcdef"[: len(size.types)]), writes=tuple("wxyz"[: len(results)]),
        types=size.types, attrs=size.attrs, work=Work(), workspace=0, layer="", phase=Phase.FORWARD,
    )  # fmt: skip
    words = block(call, [PLACE * (i + 1) for i in range(len(size.types) + len(results) + 1)])
    loops = Loops()
    loops.python(function_of(name))(words.ctypes.data)
    return loops.seen, dict(kernel.terms(size.types, size.attrs))


def _images(op: str, x: Sequence[int], k: int, oc: int, stride: int, pad: int, groups: int) -> Size:
    h, w = ((n + 2 * pad - k) // stride + 1 for n in x[1:3])
    image, weight, y = f32(*x), f32(k, k, x[3] // groups, oc), f32(x[0], h, w, oc)
    attrs = {"stride": stride, "pad": pad, "groups": groups}
    return {
        "conv2d": Size(types=(image, weight), attrs=attrs),
        "conv2d_grad_input": Size(types=(y, weight), attrs={**attrs, "height": x[1], "width": x[2]}),
        "conv2d_grad_weight": Size(types=(image, y), attrs={**attrs, "kh": k, "kw": k}),
    }[op]


LOOP_TERMS = ("panel", "tile", "block", "begun", "step", "slot", "vector", "row", "copied", "turned", "zeroed")
MATMULS = [(1, 1, 1), (13, 33, 20), (100, 70, 513), (500, 9, 3), (97, 1030, 5), (0, 4, 2), (3, 5, 0)]
IMAGES = [
    ((31, 4, 4, 6), 3, 16, 1, 1, 1),
    ((3, 7, 6, 18), 3, 70, 1, 0, 1),
    ((2, 11, 10, 2), 5, 3, 3, 2, 1),
    ((0, 4, 4, 1), 3, 2, 1, 1, 1),
    ((3, 5, 6, 2), 3, 5, 1, 1, 1),
    ((2, 9, 9, 3), 4, 4, 2, 1, 1),
    ((31, 4, 4, 6), 3, 16, 1, 1, 2),
    ((3, 7, 6, 20), 3, 140, 1, 0, 2),
    ((0, 4, 4, 3), 3, 6, 1, 1, 3),
]


@pytest.mark.parametrize(("m", "n", "k"), MATMULS)
@pytest.mark.parametrize(("ta", "tb"), [(False, False), (True, False), (False, True)])
def test_matmul(m: int, n: int, k: int, ta: bool, tb: bool) -> None:
    a, b = f32(k, m) if ta else f32(m, k), f32(n, k) if tb else f32(k, n)
    seen, terms = counted("cpu.matmul", Size(types=(a, b), attrs={"ta": ta, "tb": tb}))
    assert {t: seen[t] for t in LOOP_TERMS} == {t: terms.get(t, 0) for t in LOOP_TERMS}


CONVOLUTIONS = [(n, *i) for n in KERNELS if n.startswith("cpu.conv2d") for i in IMAGES if i[3] == 1 or not n.endswith("flip")]


@pytest.mark.parametrize(("name", "x", "k", "oc", "stride", "pad", "groups"), CONVOLUTIONS)
def test_convolution(name: str, x: tuple[int, ...], k: int, oc: int, stride: int, pad: int, groups: int) -> None:
    seen, terms = counted(name, _images(KERNELS[name].op, x, k, oc, stride, pad, groups))
    assert {t: seen[t] for t in LOOP_TERMS} == {t: terms.get(t, 0) for t in LOOP_TERMS}
    if name.endswith("col2im"):
        assert seen["stores"] == 4 * terms["quad"]
    if name.endswith("grad_weight.direct"):
        assert seen["loads"] == terms.get("folded", 0)


@pytest.mark.parametrize("batch", [0, 1, 3, 31])
@pytest.mark.parametrize("oc", [3, 140])
@pytest.mark.parametrize(("stride", "pad"), [(1, 0), (2, 0), (1, 2), (2, (1, 2))])
def test_convolution_with_private_kernels(batch: int, oc: int, stride: int, pad: int | tuple[int, int]) -> None:
    py, px = (pad, pad) if isinstance(pad, int) else pad
    oh, ow = (7 + 2 * py - 3) // stride + 1, (6 + 2 * px - 3) // stride + 1
    size = Size(types=(f32(batch, 7, 6, 2), f32(oh, ow, 3, 3, 2, oc)), attrs={"stride": stride, "pad": pad})
    seen, terms = counted("cpu.local_conv2d", size)
    assert {t: seen[t] for t in LOOP_TERMS} == {t: terms.get(t, 0) for t in LOOP_TERMS}


@pytest.mark.parametrize(
    ("name", "term"), [("max_pool", "pixel"), ("avg_pool", "pixel"), ("max_pool_grad", "pixel"), ("avg_pool_grad", "gathered")]
)
@pytest.mark.parametrize(("window", "stride", "pad"), [(2, 2, 0), (3, 2, 0), (2, 3, 0), (3, 2, 1), (2, 2, 1), (3, 4, 2)])
def test_pooling_stores(name: str, term: str, window: int, stride: int, pad: int) -> None:
    x = f32(2, 7, 8, 20)
    types: tuple[TensorType, ...] = (x,)
    attrs: dict[str, Any] = {"window": window, "stride": stride, "pad": pad}
    if name.endswith("grad"):
        types = OPS[name.removesuffix("_grad")].infer(types, attrs)
        attrs |= {"height": 7, "width": 8}
    seen, terms = counted(f"cpu.{name}", Size(types=types, attrs=attrs))
    if name == "max_pool_grad":
        assert seen["stores"] == (terms["tap"] if window <= stride else terms["gathered"])
        assert seen["zeroed"] == terms.get("zeroed", 0)
    else:
        assert seen["stores"] == terms[term]
        assert seen["loads"] == (terms["tap"] if term == "pixel" else terms["held"])


@pytest.mark.parametrize("name", ["add_bias", "softmax_cross_entropy"])
def test_rows(name: str) -> None:
    second = f32(21) if name == "add_bias" else i64(5)
    attrs = {} if name == "add_bias" else {"denominator": 5}
    seen, terms = counted(f"cpu.{name}", Size(types=(f32(5, 21), second), attrs=attrs))
    assert seen["stores"] == terms["vector"] * (1 if name == "add_bias" else 2)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 5), (900, 70), (3, 20_000)])
def test_batch_norm(rows: int, columns: int) -> None:
    x, c, attrs, chunks = f32(rows, columns), f32(columns), {"epsilon": 1e-3}, -(-columns // LANES)
    seen, terms = counted("cpu.batch_norm", Size(types=(x, c, c), attrs=attrs))
    assert seen["stores"] == terms["panel"] * 2 // 3 + terms["vector"] // 3
    blocks = terms["panel"] // 3 // chunks
    assert seen["loads"] == terms["vector"] + chunks * (2 * blocks + 4 * blocks + 2 * (blocks - 1))
    assert terms["bytes"] == (3 + 1) * x.nbytes + 4 * c.nbytes  # read three times, written once
    seen, terms = counted("cpu.batch_norm_grad", Size(types=(x, x, c, c, c), attrs=attrs))
    assert seen["stores"] == terms["panel"] + chunks + terms["vector"] // 2
    assert seen["loads"] == 2 * terms["vector"] + chunks * (blocks + 2 * (blocks - 1) + 2 + 5 * blocks)
    seen, terms = counted("cpu.batch_norm_inference", Size(types=(x, c, c, c, c), attrs=attrs))
    assert seen["stores"] == terms["vector"]
    assert terms["bytes"] == (1 + 1) * x.nbytes + 4 * c.nbytes


@pytest.mark.parametrize("size", [1, 5])
def test_normalization_across_channels(size: int) -> None:
    x, attrs = f32(3, 2, 21), {"size": size, "alpha": 1e-4, "beta": 0.75, "k": 2.0}
    seen, terms = counted("cpu.lrn", Size(types=(x,), attrs=attrs))
    assert seen["stores"] == 2 * terms["vector"]
    assert seen["loads"] == terms["tap"] + terms["vector"]
    seen, terms = counted("cpu.lrn_grad", Size(types=(x, x, x), attrs=attrs))
    assert seen["stores"] == 3 * terms["vector"]
    assert seen["loads"] == terms["tap"] + 5 * terms["vector"]


def test_rows_side_by_side() -> None:
    seen, terms = counted("cpu.concat", Size(types=(f32(2, 3, 5), f32(2, 3, 40)), attrs={}))
    assert (seen["row"], seen["copied"]) == (terms["row"], terms["copied"]) == (12, 6 * (-(-5 // LANES) - (-40 // LANES)))
    seen, terms = counted("cpu.slice_last", Size(types=(f32(2, 3, 45),), attrs={"first": 3, "count": 40}))
    assert (seen["row"], seen["copied"]) == (terms["row"], terms["copied"]) == (6, 6 * -(-40 // LANES))


@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 0, 1), (0, 1, 2)])
def test_axes_in_another_order(axes: tuple[int, ...]) -> None:
    seen, terms = counted("cpu.transpose", Size(types=(f32(3, 20, 33),), attrs={"axes": axes}))
    assert all(seen[t] == terms.get(t, 0) for t in ("row", "copied", "turned"))


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=lambda r: r.name)
def test_counts_are_numbers_and_never_negative(kernel: Any) -> None:
    for size in kernel.sizes():
        terms = kernel.terms(size.types, size.attrs)
        assert terms["call"] == 1
        assert all(v >= 0 and v == int(v) for v in terms.values())
        assert isinstance(kernel.workspace(size.types, size.attrs), int)


@pytest.mark.parametrize(
    "kernel", [k for k in KERNELS.values() if k.platform is Platform.CPU and k.op in OPS], ids=lambda r: r.name
)
def test_terms_exist_for_all_samples(kernel: Any) -> None:
    """Also for empty and odd problems."""
    op = OPS[kernel.op]
    for s in op.samples():
        types = tuple(type_of(np.asarray(x)) for x in s.inputs)
        if kernel.name.endswith("flip") and s.attrs["stride"] != 1:
            continue
        assert all(v >= 0 for v in kernel.terms(types, {**op.attrs, **s.attrs}).values())
