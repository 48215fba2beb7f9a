"""CUDA kernels against the references of their operators: on a device and emulated on every sample, simulated on small ones.

Operands lie in one piece of memory with a known pattern around each, so that a kernel that writes elsewhere is found; results are
NaN before a kernel runs, so that an element it leaves out is found; and on a device it runs twice, so that sums in changing order
are found.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graph.ir import Phase
from graph.op import OPS, Array, Attrs, Work
from graph.ops.common import type_of
from graph.record import record
from graph.tensor_type import DType
from hw.kernels import KERNELS, Platform
from hw.kernels.record import VENDOR, Call, KernelRecord
from runtime.errors import RunError
from runtime.kernels.cuda.arguments import address_of
from runtime.kernels.cuda.kernel import Launch, Machine, Place, machine
from runtime.kernels.cuda.run import download, launches_of, run_call, upload

EXACT = frozenset(
    {
        "add", "concat", "dequantize", "dropout", "dropout_grad", "fill", "gather_rows", "max_pool", "quantize", "relu",
        "relu_grad", "scale", "scale_by", "scatter_rows", "slice_last", "transpose",
    }
)  # fmt: skip
"""Operators without sums: results are those of the reference, bit for bit."""
TOLERANCE = 3e-6
ROUNDED = {"tf32": 2.0**-9, "bf16": 2.0**-6, "fp16": 2.0**-9, VENDOR: 1e-4}
"""Algorithm -> tolerance: their operands are rounded first, or may be transformed."""
EPILOGUES = ("add_bias", "add_bias+relu")
GUARD, PATTERN, ALIGNED = 192, 0xA5, 256
SHIFTS = ((0,), (4,), (0, 4, 8, 12))


class KernelWrong(RunError):
    """A kernel does not do what its operator says."""


@record
class Case:
    """A call and what it must give.

    Parameters
    ----------
    kernel : its record.
    inputs, attrs : of the call.
    want : results.
    """

    kernel: KernelRecord
    inputs: tuple[Array, ...]
    attrs: Attrs
    want: tuple[Array, ...]

    def __str__(self) -> str:
        return f"{self.kernel.name} of {', '.join(str(type_of(x)) for x in self.inputs)} with {dict(self.attrs)}"

    @property
    def call(self) -> Call:
        """As a plan has it."""
        types = tuple(type_of(x) for x in self.inputs)
        return Call(
            kernel=self.kernel.name,
            nodes=("node",),
            fused=tuple(f for f in str(self.attrs.get("epilogue", "")).split("+") if f),
            reads=tuple(f"r{i}" for i in range(len(self.inputs))),
            writes=tuple(f"w{i}" for i in range(len(self.want))),
            types=types,
            attrs=self.attrs,
            work=Work(),
            workspace=self.kernel.workspace(types, self.attrs),
            layer="",
            phase=Phase.FORWARD,
        )


def records() -> list[KernelRecord]:
    """Every record of a CUDA kernel of ours."""
    return [r for r in KERNELS.values() if r.platform is Platform.CUDA and r.algorithm != VENDOR]


def library_records() -> list[KernelRecord]:
    """Those of libraries: on a device `check` holds them against the reference where the library is there, too."""
    return [r for r in KERNELS.values() if r.platform is Platform.CUDA and r.algorithm == VENDOR]


def cases(kernel: KernelRecord) -> Iterator[Case]:
    """The samples of its operator; of a kernel that fuses, each with every epilogue. None of one without an operator."""
    if kernel.op not in OPS:
        return
    op = OPS[kernel.op]
    for s in op.samples():
        inputs, attrs = tuple(np.array(x, order="C") for x in s.inputs), {**op.attrs, **s.attrs}
        want = tuple(op.reference(inputs, attrs))
        yield Case(kernel=kernel, inputs=inputs, attrs={**attrs, "epilogue": ""} if kernel.epilogue else attrs, want=want)
        for epilogue in EPILOGUES if kernel.epilogue else ():
            bias = np.linspace(-1, 1, want[0].shape[-1], dtype=np.float32)
            y = want[0] + bias
            y = np.maximum(y, 0) if epilogue.endswith("relu") else y
            yield Case(kernel=kernel, inputs=(*inputs, bias), attrs={**attrs, "epilogue": epilogue}, want=(y,))


def launched(case: Case) -> Sequence[Launch]:
    """What a case launches when all its operands are aligned; without calls of libraries."""
    call = case.call
    flat = [*case.inputs, *case.want, np.empty(call.workspace, np.uint8)]
    places = [Place(index=i, address=0, dtype=type_of(a).dtype, size=a.size) for i, a in enumerate(flat)]
    return [launch for launch in launches_of(call, places) if isinstance(launch, Launch)]


def threads(case: Case) -> int:
    """How many threads that are."""
    return sum(math.prod(launch.grid) * launch.kernel.threads for launch in launched(case))


class Memory:
    """Device memory that holds the operands of a case, in order: reads, writes, workspace.

    Parameters
    ----------
    case : whose operands.
    shifts : bytes past an aligned address where they begin, in turn.
    """

    def __init__(self, case: Case, shifts: Sequence[int] = (0,)) -> None:
        self.case, call = case, case.call
        scratch = np.empty(call.workspace, np.uint8)
        kept = [np.ascontiguousarray(a) for a in (*case.inputs, *case.want, scratch)]
        room = sum(a.nbytes + 2 * GUARD + ALIGNED for a in kept) + ALIGNED
        self.device: Any = upload(np.empty(room, np.uint8))
        self.bytes, base, at = np.full(room, PATTERN, np.uint8), address_of(self.device), 0
        self.spans: list[tuple[int, int]] = []
        for i, a in enumerate(kept):
            at += GUARD
            at += (shifts[i % len(shifts)] - base - at) % ALIGNED
            self.spans.append((at, at + a.nbytes))
            self.bytes[at : at + a.nbytes] = np.frombuffer(a.tobytes(), np.uint8) if i < len(case.inputs) else 0xFF
            at += a.nbytes
        self.kinds = [a.dtype for a in kept]

    def run(self) -> list[Array]:
        """Results; raises `KernelWrong` when anything else has changed."""
        case, count = self.case, len(self.case.inputs)
        upload(self.bytes, self.device)
        arrays = [self.device[a:b].view(kind) for (a, b), kind in zip(self.spans, self.kinds, strict=True)]
        run_call(case.call, arrays)
        after = download(self.device)
        changed = after != self.bytes
        for i, (a, b) in enumerate(self.spans):
            if i < count and changed[a:b].any():
                raise KernelWrong(f"{case} changed operand {i}")
            changed[a:b] = False
        if changed.any():
            raise KernelWrong(f"{case} wrote outside of its operands")
        found = [after[a:b].view(kind) for (a, b), kind in zip(self.spans, self.kinds, strict=True)][count:-1]
        return [np.array(y).reshape(w.shape) for y, w in zip(found, case.want, strict=True)]


def tolerance(kernel: KernelRecord) -> float:
    """How far results may be off, of the largest of their magnitudes (at least 1); 0: not a bit."""
    algorithm = kernel.name.split(".")[-1]
    return 0.0 if kernel.op in EXACT else ROUNDED.get(algorithm, TOLERANCE)


def compare(case: Case, got: Sequence[Array]) -> None:
    """Raises `KernelWrong`, with how many elements are how far off, unless results are what they must be."""
    near = tolerance(case.kernel)
    for i, (g, w) in enumerate(zip(got, case.want, strict=True)):
        if not w.size:
            continue
        largest = max(float(np.abs(w).max()), 1.0)
        fits = np.isclose(g, w, rtol=near, atol=near * largest, equal_nan=True) if near else (g == w) | ((g != g) & (w != w))
        if not fits.all():
            k = int(np.argmin(fits))
            raise KernelWrong(
                f"{case}: of result {i}, {np.count_nonzero(~fits)} of {w.size} elements are wrong; "
                f"element {k} is {g.flat[k]!r}, not {w.flat[k]!r}"
            )


def check(case: Case, shifts: Sequence[Sequence[int]] = SHIFTS) -> None:
    """Run a case: with all operands aligned and, when all are floats, a little past that, equally far and not; on a device twice.

    Parameters
    ----------
    shifts : bytes past an aligned address where operands begin, in turn; one run for each.

    Raises
    ------
    KernelWrong : wrong results, other results the second time, or anything else was written.
    """
    all_floats = all(type_of(np.asarray(a)).dtype is DType.F32 for a in (*case.inputs, *case.want))
    for each in shifts if all_floats and case.kernel.algorithm != VENDOR else shifts[:1]:  # libraries want them aligned
        memory = Memory(case, each)
        got = memory.run()
        compare(case, got)
        if machine() is Machine.DEVICE and [a.tobytes() for a in got] != [a.tobytes() for a in memory.run()]:
            raise KernelWrong(f"{case} gives other results the second time")
