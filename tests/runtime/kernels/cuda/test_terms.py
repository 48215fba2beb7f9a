"""Terms of CUDA kernels against what calls really launch."""

import math
from collections import Counter

import pytest

from graph.autodiff import training_graph
from graph.op import OPS, Size
from graph.optimizer import Sgd
from graph.parallel.strategies.data_parallel import data_parallel
from graph.tensor_type import DType, f32
from graph.zoo import MODELS
from hw.kernels import KERNELS
from hw.kernels.cuda_rounding import why_f32
from hw.kernels.cuda_terms import PROCESSORS, PRODUCTS, RESIDENT, SUMS
from hw.kernels.record import VENDOR, Call, KernelRecord, Platform
from hw.lower import lower
from runtime.calibration import call_of
from runtime.kernels.cuda.kernel import Launch, Place
from runtime.kernels.cuda.parts import ADDED
from runtime.kernels.cuda.run import launches_of

COUNTED = [r for r in KERNELS.values() if r.platform is Platform.CUDA and r.op in (*PRODUCTS, *SUMS) and r.algorithm != VENDOR]
TERMS = ("further", "rounds", "added", "steps_", "waits_")


def launches(record: KernelRecord, size: Size) -> tuple[Call, list[Launch]]:
    """What a call launches where all operands are aligned."""
    call, outputs = call_of(record, size)
    sizes = [*((t.dtype, t.size) for t in (*call.types, *outputs)), (DType.U8, call.workspace)]
    return call, list(launches_of(call, [Place(index=i, address=0, dtype=d, size=n) for i, (d, n) in enumerate(sizes)]))


def kind_of(launch: Launch) -> str:
    """``gemm_f32_64x64_pixels4_group4_spread`` is of ``windows64``."""
    _, _, tile, a, *_ = launch.kernel.name.split("_")
    how = "windows" if a.startswith(("pixels", "taps")) else "dense"
    return f"{how}{tile.split('x')[0]}" + {"1": "x1", "8": "x8"}.get(a[-1], "")


def counted(found: list[Launch]) -> Counter[str]:
    """The terms, from launches."""
    n: Counter[str] = Counter({"further": len(found) - 1})
    for launch in found:
        if launch.kernel in ADDED.values():
            n["added"] += launch.arguments[0].size  # type: ignore[union-attr]
        if not launch.kernel.name.startswith("gemm"):
            continue
        (_, _, k, chunk, *_), blocks = launch.arguments[4], math.prod(launch.grid)  # type: ignore[misc]
        threads = 256 if "128x128" in launch.kernel.name else launch.kernel.threads  # half as many have twice the registers
        rounds = math.ceil(blocks / (PROCESSORS * RESIDENT / threads))
        n[f"steps_{kind_of(launch)}"] += math.ceil(blocks / PROCESSORS) * min(k, chunk)  # type: ignore[type-var]
        n[f"waits_{kind_of(launch)}"] += rounds * min(k, chunk)  # type: ignore[type-var]
        n["rounds"] += rounds
    return n


def are_rounded(call: Call, found: list[Launch]) -> bool:
    """Whether results say truly which of them round their operands."""
    products = [launch.kernel.name.split("_")[1] for launch in found if launch.kernel.name.startswith("gemm")]
    exact = bool(why_f32(call)) or not KERNELS[call.kernel].arithmetic
    return all((p == "f32") == exact for p in products)


def shown(terms: object) -> dict[str, float]:
    """Those that are counted from launches, less zeros."""
    return {k: v for k, v in dict(terms).items() if k.startswith(TERMS) and v}  # type: ignore[call-overload]


@pytest.mark.parametrize("record", COUNTED, ids=lambda r: r.name)
def test_terms_count_what_is_launched(record: KernelRecord) -> None:
    for size in record.sizes():
        call, found = launches(record, size)
        assert shown(record.terms(call.types, call.attrs)) == shown(counted(found)), f"{record.name} of {size}"
        assert are_rounded(call, found), f"{record.name} of {size}"


@pytest.mark.parametrize(
    ("model", "batch", "algorithm"),
    [("alexnet", 7, ""), ("alexnet", 128, ""), ("resnet50", 32, "tf32"), ("inception-v3", 16, ""), ("lenet", 64, "bf16")],
)
def test_and_so_they_do_in_nets(model: str, batch: int, algorithm: str) -> None:
    """Whose terms the grid covers, and whose calls it does not have."""
    graph = training_graph(MODELS[model].build(batch, image=MODELS[model].image), Sgd(learning_rate=0.1, momentum=0.9))
    plan = data_parallel(graph, ranks=1, steps=1, micro_batches=1, bucket_bytes=1 << 22)
    chosen = dict.fromkeys((op for op in PRODUCTS), algorithm) if algorithm else {}
    calls = lower(plan, "worker", Platform.CUDA, algorithms=chosen).calls
    for call in {(c.kernel, c.types, repr(sorted(c.attrs.items()))): c for c in calls}.values():
        record = KERNELS[call.kernel]
        if record.op == "input":
            continue
        terms, grid = record.terms(call.types, call.attrs), list(record.sizes())
        if record in COUNTED:
            made, found = launches(record, Size(types=call.types, attrs=call.attrs))
            assert shown(terms) == shown(counted(found)), f"{call}"
            assert are_rounded(made, found), f"{call}"
        covered = {t for s in grid for t, n in record.terms(s.types, {**OPS[record.op].attrs, **s.attrs}).items() if n}
        assert {t for t, n in terms.items() if n} <= covered, f"{call}"
        assert (call.types, call.attrs.get("shape")) not in [(s.types, s.attrs.get("shape")) for s in grid], f"{call}"


def test_more_of_a_product_is_never_less() -> None:
    """Where the cut is the same, terms grow with rows, columns and steps."""
    record, attrs = KERNELS["cuda.matmul"], {"ta": False, "tb": False}
    for smaller, larger in (((2000, 2000, 512), (4000, 2000, 512)), ((2000, 2000, 512), (2000, 2000, 1024))):
        few, many = (record.terms((f32(m, k), f32(k, n)), attrs) for m, n, k in (smaller, larger))
        assert few.keys() == many.keys() and all(few[t] <= many[t] for t in few)
