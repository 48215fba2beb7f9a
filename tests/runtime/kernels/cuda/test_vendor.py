"""Calls of cuBLAS and cuDNN as they are described, carried out by their doubles: against the operators' references, and in plans.

The libraries themselves are not here. What they would be told is read off stand-ins that take the arguments of their bindings.
"""

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.op import OPS
from graph.ops.common import type_of
from hw.kernels import KERNELS, Platform, record_for
from hw.kernels.cuda_conv import windows
from hw.kernels.cuda_vendor import LIBRARY
from runtime.cuda import bound as binder
from runtime.errors import MissingCapability, RunError
from runtime.kernels.cuda import blas, dnn, library
from runtime.kernels.cuda.check import Case, KernelWrong, cases, check, library_records
from runtime.kernels.cuda.kernel import CUDA_KERNELS, Machine, Place, find
from runtime.kernels.cuda.library import LibraryLaunch, aligned, handle_of, spread
from runtime.kernels.cuda.run import bound, launches_of

RECORDS = library_records()
CONVS = ("conv2d", "conv2d_grad_input", "conv2d_grad_weight")


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_there_is_one_for_each_operator_that_has_algorithms_and_it_is_never_preferred() -> None:
    assert [r.op for r in RECORDS] == ["matmul", *CONVS]
    for r in RECORDS:
        assert record_for(r.op, Platform.CUDA).algorithm == "" and find(r.name).library is not None
        assert r.epilogue == () and r.arithmetic == ""
    assert [k.name for k in CUDA_KERNELS.values() if k.library is not None] == [r.name for r in RECORDS]


# ------------------------------------------------------------------------------------------------------- matrix products


def blas_gemm(g: blas.Gemm, a: Any, b: Any, c: Any) -> None:
    """As BLAS defines it, element by element; A, B, C flat, columns adjacent."""
    for i in range(g.m):
        for j in range(g.n):
            terms = (
                float(a[p + i * g.lda if g.ta else i + p * g.lda]) * float(b[j + p * g.ldb if g.tb else p + j * g.ldb])
                for p in range(g.k)
            )
            c[i + j * g.ldc] = sum(terms)


@given(st.tuples(*[st.integers(1, 7)] * 3), st.booleans(), st.booleans())
def test_rows_become_columns(extents: tuple[int, int, int], ta: bool, tb: bool) -> None:
    """The call for our matrices, carried out by a loop and by the double, gives our product."""
    m, n, k = extents
    a, b = floats(*((k, m) if ta else (m, k))), floats(*((n, k) if tb else (k, n)), seed=1)
    (want,) = OPS["matmul"].reference((a, b), {"ta": ta, "tb": tb})
    g = blas.row_major(m, n, k, ta, tb)
    rows_a, rows_b = (g.k if g.ta else g.m), (g.n if g.tb else g.k)
    assert g.lda >= rows_a and g.ldb >= rows_b and g.ldc >= g.m  # or the library refuses it
    by_loop, by_double = np.full(m * n, np.nan, np.float32), np.full(m * n, np.nan, np.float32)
    blas_gemm(g, b.ravel(), a.ravel(), by_loop)
    blas.double(g, (b.ravel(), a.ravel(), by_double))
    np.testing.assert_allclose(by_loop.reshape(m, n), want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(by_double.reshape(m, n), want, rtol=1e-5, atol=1e-5)


class Cublas:
    """Takes the arguments of nvmath.bindings.cublas 1.0, and carries a product out on the host's memory."""

    Operation, PointerMode = SimpleNamespace(N=0, T=1), SimpleNamespace(HOST=0)
    Math, GemmAlgo = SimpleNamespace(DEFAULT_MATH=0), SimpleNamespace(DFALT=-1)
    ComputeType = SimpleNamespace(COMPUTE_32F=68)

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.workspace = (0, 0)

    def create(self) -> int:
        return 7

    def set_pointer_mode(self, handle: int, mode: int) -> None:
        self.said.append(("pointers", handle, mode))

    def set_math_mode(self, handle: int, mode: int) -> None:
        self.said.append(("math", handle, mode))

    def set_stream(self, handle: int, stream_id: int) -> None:
        self.workspace = (0, 0)  # as cublasSetStream does
        self.said.append(("stream", stream_id))

    def set_workspace(self, handle: int, workspace: int, workspace_size_in_bytes: int) -> None:
        self.workspace = workspace, workspace_size_in_bytes

    def gemm_ex(
        self, handle, transa, transb, m, n, k, alpha, a, atype, lda, b, btype, ldb, beta, c, ctype, ldc, compute_type, algo
    ) -> None:  # fmt: skip
        assert self.workspace[0] % 256 == 0 and self.workspace[1] == LIBRARY, "the stream was set, and the workspace before it"
        assert (handle, atype, btype, ctype, compute_type, algo) == (7, 0, 0, 0, 68, -1)
        assert (number_at(alpha), number_at(beta)) == (1.0, 0.0)
        g = blas.Gemm(ta=bool(transa), tb=bool(transb), m=m, n=n, k=k, lda=lda, ldb=ldb, ldc=ldc)
        sizes = lda * (m if transa else k), ldb * (k if transb else n), ldc * n
        blas_gemm(g, *(floats_at(at, size) for at, size in zip((a, b, c), sizes, strict=True)))


def floats_at(address: int, size: int) -> np.ndarray[Any, Any]:
    import ctypes

    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), (size,))


def number_at(address: int) -> float:
    return float(floats_at(address, 1)[0])


@pytest.fixture
def on_a_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Launches are bound as on a device, whose memory is the host's."""
    for module in ("runtime.kernels.cuda.run", "runtime.kernels.cuda.library"):
        monkeypatch.setattr(f"{module}.machine", lambda: Machine.DEVICE)
    monkeypatch.setattr("runtime.kernels.cuda.run.address_of", lambda array: array.ctypes.data)
    for cached in (blas._handle, dnn._handle, library._absent):
        cached.cache_clear()
    yield
    for cached in (blas._handle, dnn._handle, library._absent):
        cached.cache_clear()


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
@pytest.mark.usefixtures("on_a_device")
def test_cublas_is_told_what_it_wants_to_know(ta: bool, tb: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Cublas()
    monkeypatch.setitem(sys.modules, "nvmath", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "nvmath.bindings", SimpleNamespace(cublas=fake))
    m, n, k = 3, 5, 4
    a, b = floats(*((k, m) if ta else (m, k))), floats(*((n, k) if tb else (k, n)), seed=1)
    attrs = {"ta": ta, "tb": tb}
    (want,) = OPS["matmul"].reference((a, b), attrs)
    call = Case(kernel=KERNELS["cuda.matmul.vendor"], inputs=(a, b), attrs=attrs, want=(want,)).call
    arrays = [a.ravel(), b.ravel(), np.zeros(m * n, np.float32), np.zeros(call.workspace, np.uint8)]
    places = [Place(index=i, address=x.ctypes.data, dtype=type_of(x).dtype, size=x.size) for i, x in enumerate(arrays)]
    (launch,) = launches_of(call, places)
    bound(launch, arrays)(SimpleNamespace(handle=41))
    np.testing.assert_allclose(arrays[2].reshape(m, n), want, rtol=1e-5, atol=1e-5)
    assert fake.said == [("pointers", 7, 0), ("math", 7, 0), ("stream", 41)]


# ----------------------------------------------------------------------------------------------------------- convolutions


def loop(c: dnn.Conv, first: Any, second: Any, out: Any) -> None:
    """The definition, term by term, on flat arrays: every term names an element of image, filter and result by its strides."""
    out[...] = 0
    (n_, channels, h_, w_), (k_, per, r_, s_), (_, _, y_, x_) = c.image.dim, c.filter.dim, c.result.dim
    groups = channels // per
    for n, k, y, x, i, r, s in np.ndindex(n_, k_, y_, x_, per, r_, s_):
        h, w, channel = y * c.stride[0] + r - c.pad[0], x * c.stride[1] + s - c.pad[1], k // (k_ // groups) * per + i
        if 0 <= h < h_ and 0 <= w < w_:
            image, filt = np.dot((n, channel, h, w), c.image.stride), np.dot((k, i, r, s), c.filter.stride)
            result = np.dot((n, k, y, x), c.result.stride)
            match c.kind:
                case dnn.Kind.FORWARD:
                    out[result] += first[image] * second[filt]
                case dnn.Kind.GRAD_INPUT:
                    out[image] += first[result] * second[filt]
                case dnn.Kind.GRAD_WEIGHT:
                    out[filt] += first[image] * second[result]


GEOMETRIES = [  # images, rows, columns, channels; kernel, filters; stride, pad, groups
    (2, 5, 4, 3, (3, 3), 4, 1, (1, 1), 1),
    (1, 6, 7, 4, (3, 2), 6, 2, (1, 0), 2),
    (2, 4, 4, 2, (1, 1), 3, 1, (0, 0), 1),
    (1, 7, 5, 3, (2, 3), 3, 3, (0, 2), 3),
]


def call_of(op: str, geometry: Any) -> tuple[Case, dnn.Conv]:
    n, h, w, c, (kh, kw), o, stride, pad, groups = geometry
    attrs: dict[str, Any] = {"stride": stride, "pad": pad, "groups": groups}
    x, weights = floats(n, h, w, c), floats(kh, kw, c // groups, o, seed=1)
    (y,) = OPS["conv2d"].reference((x, weights), attrs)
    inputs = {"conv2d": (x, weights), "conv2d_grad_input": (y, weights), "conv2d_grad_weight": (x, y)}[op]
    attrs |= {"conv2d": {}, "conv2d_grad_input": {"height": h, "width": w}, "conv2d_grad_weight": {"kh": kh, "kw": kw}}[op]
    want = tuple(OPS[op].reference(inputs, attrs))
    case = Case(kernel=KERNELS[f"cuda.{op}.vendor"], inputs=inputs, attrs=attrs, want=want)
    return case, dnn.conv_of(op, windows(op, case.call.types, attrs))


def filters_first(weights: Any) -> Any:
    """Weights as cuDNN wants them, flat: filter, row, column, channel."""
    return np.ascontiguousarray(weights.transpose(3, 0, 1, 2)).ravel()


@pytest.mark.parametrize("op", CONVS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_what_cudnn_is_told_is_the_convolution_that_was_meant(op: str, geometry: Any) -> None:
    """Its description, carried out by the definition and by the double, gives the operator's result."""
    case, c = call_of(op, geometry)
    first, second = (x.ravel() for x in case.inputs)
    if op != "conv2d_grad_weight":
        second = filters_first(case.inputs[1])
    want = filters_first(case.want[0]) if op == "conv2d_grad_weight" else case.want[0].ravel()
    by_loop, by_double = np.full(want.size, np.nan, np.float32), np.full(want.size, np.nan, np.float32)
    loop(c, first, second, by_loop)
    dnn.double(c, (first, second, by_double))
    np.testing.assert_allclose(by_loop, want, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(by_double, want, rtol=1e-4, atol=1e-4)


def test_extents_follow_from_one_another_as_cudnn_has_it() -> None:
    """cuDNN works out the result's extents by itself, and refuses others (NVIDIA, cuDNN frontend, convolutions)."""
    for op in CONVS:
        for geometry in GEOMETRIES:
            c = call_of(op, geometry)[1]
            for axis in (0, 1):
                out = (c.image.dim[2 + axis] + 2 * c.pad[axis] - c.filter.dim[2 + axis]) // c.stride[axis] + 1
                assert c.result.dim[2 + axis] == out
            assert c.image.dim[1] % c.filter.dim[1] == 0 and c.result.dim[1] == c.filter.dim[0]
            assert all(t.stride[1] == 1 for t in c.tensors)


class Said:
    """Notes what is called on it, and answers itself."""

    def __init__(self, said: list[Any]) -> None:
        self.said = said

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            self.said.append((name, args, named))
            return self

        return call


@pytest.mark.parametrize("op", CONVS)
@pytest.mark.usefixtures("on_a_device")
def test_cudnn_plans_when_a_call_is_bound_and_runs_on_the_stream(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph: list[Any] = []
    streams: list[Any] = []
    notes = SimpleNamespace(TENSOR_CORE="T", DOWN_CONVERT_INPUTS="D", REDUCED_PRECISION_REDUCTION="R", NONDETERMINISTIC="N")
    fake = SimpleNamespace(
        data_type=SimpleNamespace(FLOAT="f32"), numerical_note=notes, heur_mode=SimpleNamespace(A="a", FALLBACK="b"),
        pygraph=lambda **named: graph.append(("pygraph", (), named)) or Said(graph), create_handle=lambda: "handle",
        set_stream=lambda handle, stream: streams.append((handle, stream)), backend_version=lambda: 92800,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "cudnn", fake)
    case, c = call_of(op, GEOMETRIES[1])
    call = case.call
    room = np.zeros(call.workspace + 64, np.uint8)
    workspace = room[-room.ctypes.data % 64 :][: call.workspace]
    arrays = [*map(aligned_copy, (*(x.ravel() for x in case.inputs), case.want[0].ravel())), workspace]
    places = [Place(index=i, address=x.ctypes.data, dtype=type_of(x).dtype, size=x.size) for i, x in enumerate(arrays)]
    (launch,) = (x for x in launches_of(call, places) if isinstance(x, LibraryLaunch))
    go = bound(launch, arrays)
    names = [name for name, _, _ in graph]
    assert names.index("build_operation_graph") < names.index("create_execution_plans") < names.index("deselect_numeric_notes")
    assert names.index("deselect_workspace_greater_than") < names.index("build_plans") and "execute" not in names
    said = {name: (args, named) for name, args, named in graph}
    assert said["deselect_numeric_notes"][0] == (["T", "D", "R", "N"],)
    limit = said["deselect_workspace_greater_than"][0][0]
    assert limit >= LIBRARY + sum(4 * int(np.prod(t.dim)) for t in c.tensors)
    given = [named for name, _, named in graph if name == "tensor"]
    assert [(t["dim"], t["stride"], t["uid"]) for t in given] == [
        (list(t.dim), list(t.stride), uid) for t, uid in zip(c.tensors[:2], (1, 2), strict=True)
    ]
    assert said["set_dim"][0] == (list(c.tensors[2].dim),) and said["set_uid"][0] == (3,)
    go(SimpleNamespace(handle=41))
    name, (places_given, work), named = graph[-1]
    assert name == "execute" and named == {"handle": "handle"} and streams == [("handle", 41)]
    assert work % 256 == 0 and work + limit <= arrays[3].ctypes.data + call.workspace
    held = arrays[3].ctypes.data, arrays[3].ctypes.data + call.workspace
    turned = places_given[3] if op == "conv2d_grad_weight" else places_given[2]
    assert held[0] <= turned < work and turned % 256 == 0
    assert places_given[1] == arrays[0].ctypes.data


def aligned_copy(x: Any) -> Any:
    room = np.zeros(x.nbytes + 64, np.uint8)
    found = room[-room.ctypes.data % 64 :][: x.nbytes].view(x.dtype)
    found[...] = x
    return found


def test_operands_that_cudnn_cannot_read_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cudnn", SimpleNamespace())
    for addresses, wanted in (((0, 16, 36, 0), 16), ((16, 16, 32, 64), 256)):
        with pytest.raises(RunError, match=f"an operand of conv2d at a multiple of {wanted} bytes"):
            dnn.bind(call_of("conv2d", GEOMETRIES[0])[1], addresses, 1 << 20)


# ------------------------------------------------------------------------------------------------------ doubles in plans


@pytest.mark.simulated
@pytest.mark.parametrize("kernel", RECORDS, ids=lambda r: r.name)
def test_doubles_equal_the_reference(kernel: Any) -> None:
    """On samples of the operators, from memory with patterns around each operand: with what is launched around the call."""
    tiny = sorted(cases(kernel), key=lambda c: sum(x.size for x in (*c.inputs, *c.want)))
    for case in (*tiny[:3], *tiny[-2:]):
        check(case)


@pytest.mark.simulated
def test_a_wrong_stride_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(c for c in cases(KERNELS["cuda.conv2d.vendor"]) if min(c.inputs[0].shape[1:]) > 2)
    monkeypatch.setattr(dnn, "channels_last", lambda n, c, h, w: dnn.Tensor(dim=(n, c, h, w), stride=(c * h * w, h * w, w, 1)))
    with pytest.raises(KernelWrong, match="elements are wrong"):
        check(case)


def test_memory_is_not_left() -> None:
    flat = np.arange(6.0, dtype=np.float32)
    assert spread(flat, (2, 3), (1, 2)).tolist() == [[0, 2, 4], [1, 3, 5]]
    with pytest.raises(IndexError, match="reaches element 6 of 6"):
        spread(flat, (2, 3), (2, 2))
    assert aligned(1000, 100, 256) == (1024, 76) and aligned(1024, 100, 256) == (1024, 100)
    assert handle_of(0) == 0 and handle_of(SimpleNamespace(handle=9)) == 9


# -------------------------------------------------------------------------------------------------------- not installed


@pytest.mark.usefixtures("on_a_device")
def test_a_library_that_is_not_there_is_said_at_the_start_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cudnn", None)  # it cannot be imported
    call = call_of("conv2d", GEOMETRIES[0])[0].call
    lowered: Any = SimpleNamespace(segments={"forward": (call,)}, calls=(call,))
    with pytest.raises(MissingCapability, match=r"algorithm 'vendor' calls cuDNN.*pip install 'trainscape\[vendor\]'"):
        binder.require_kernels({"worker": lowered})


def test_only_libraries_that_are_there_are_calibrated_but_all_have_a_source() -> None:
    from runtime.cuda.calibration import known
    from runtime.cuda.hashes import source_hashes

    names = {r.name for r in RECORDS}
    assert names.isdisjoint(known()) and names <= set(source_hashes())


def test_where_there_is_no_device_no_library_is_wanted() -> None:
    for title, library_ in {k.library.title: k.library for k in CUDA_KERNELS.values() if k.library is not None}.items():
        assert library_.absent() == "", title
