"""Kernels whose time is that of moving their operands, against what a copy on the device moves, and against PyTorch eager.

Operands are large against any cache. Bytes are those of the kernel's record: compulsory traffic, and once more what statistics
have to read beforehand. PyTorch's functions are what its eager mode calls, on the same memory, channels innermost.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import Any

import numpy as np

from benchmarks.gpu import memory_rivals as rivals
from benchmarks.gpu.bound import Bound, compile_calls
from benchmarks.gpu.contest import contest
from benchmarks.gpu.context import Context
from graph.op import Attrs, Size
from graph.record import record
from graph.tensor_type import DType, TensorType, f32, i64
from hw.kernels import KERNELS
from runtime.calibration import call_of

BN = {"epsilon": 1e-5}
LRN = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}
POOL = {"window": 3, "stride": 2, "pad": 1}
SGD = {"learning_rate": 1e-3, "momentum": 0.9, "weight_decay": 1e-4}
POSITIVE = np.linspace(0.5, 1.5, 1021, dtype=np.float32)


@record
class Case:
    """A kernel of a size.

    Parameters
    ----------
    kernel : its record, without ``"cuda."``.
    types, attrs : of the call.
    values : operand -> numbers that it begins with.
    rival : makes PyTorch's; None: it has no such function.
    """

    kernel: str
    types: Sequence[TensorType]
    attrs: Attrs = field(default_factory=dict)
    values: Mapping[int, Any] = field(default_factory=dict)
    rival: rivals.Maker | None = None


def cases(simulated: bool) -> list[Case]:
    """All of them."""
    n, pixels, c, classes, side = (512, (2, 4, 4), 8, 10, 7) if simulated else (1 << 26, (64, 56, 56), 256, 1000, 112)
    flat, images = f32(n), f32(*pixels, c)
    big = f32(pixels[0], side, side, c if simulated else 64)
    rows = f32(6 if simulated else 1 << 16, classes)
    half = (big.shape[1] - 1) // 2 + 1
    pooled = (big.shape[0], half, half, big.shape[3])
    back = {**POOL, "height": side, "width": side}
    labels = np.arange(rows.shape[0], dtype=np.int64) * 7 % classes
    of_rows = {1: labels}
    where = np.arange(1009, dtype=np.uint8) % 9
    one, hot = f32(c), {"denominator": rows.shape[0]}
    return [
        Case(kernel="relu", types=(flat,), rival=rivals.relu),
        Case(kernel="relu_grad", types=(flat, flat), rival=rivals.relu_grad),
        Case(kernel="tanh", types=(flat,), rival=rivals.tanh),
        Case(kernel="tanh_grad", types=(flat, flat), rival=rivals.tanh_grad),
        Case(kernel="add", types=(flat, flat), rival=rivals.add),
        Case(kernel="accumulate", types=(flat, flat), rival=rivals.accumulate),
        Case(kernel="scale", types=(flat,), attrs={"factor": 0.5}, rival=rivals.scale),
        Case(kernel="add_bias", types=(images, one), rival=rivals.add_bias),
        Case(kernel="bias_grad", types=(images,), rival=rivals.bias_grad),
        Case(kernel="dot", types=(flat, flat), rival=rivals.dot),
        Case(kernel="dropout", types=(images, i64(), i64()), attrs={"rate": 0.5, "seed": 1, "key": 1}, rival=rivals.dropout),
        Case(kernel="softmax_cross_entropy", types=(rows, i64(rows.shape[0])), attrs=hot, values=of_rows, rival=rivals.loss),
        Case(
            kernel="softmax_cross_entropy_grad", types=(rows, i64(rows.shape[0])), attrs=hot,
            values={0: POSITIVE / classes, **of_rows}, rival=rivals.loss_grad,
        ),
        Case(kernel="batch_norm", types=(images, one, one), attrs=BN, rival=rivals.batch_norm),
        Case(
            kernel="batch_norm_grad", types=(images, images, one, one, one), attrs=BN, values={4: POSITIVE},
            rival=rivals.batch_norm_grad,
        ),
        Case(kernel="lrn", types=(images,), attrs=LRN, rival=rivals.lrn),
        Case(kernel="lrn_grad", types=(images,) * 3, attrs=LRN, values={2: POSITIVE + 1.5}),
        Case(kernel="max_pool", types=(big,), attrs=POOL, rival=rivals.max_pool),
        Case(
            kernel="max_pool_grad", types=(f32(*pooled), TensorType(shape=pooled, dtype=DType.U8)), attrs=back,
            values={1: where}, rival=rivals.max_pool_grad,
        ),
        Case(kernel="avg_pool", types=(big,), attrs=POOL, rival=rivals.avg_pool),
        Case(kernel="avg_pool_grad", types=(f32(*pooled),), attrs=back, rival=rivals.avg_pool_grad),
        Case(kernel="sgd", types=(flat,) * 3, attrs=SGD, rival=rivals.sgd),
    ]  # fmt: skip


def prepare(c: Context) -> None:
    for case in cases(c.simulated):
        compile_calls([call_of(KERNELS[f"cuda.{case.kernel}"], Size(types=tuple(case.types), attrs=case.attrs))])
    _ = c.peer


def items(c: Context) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
    yield "copy", partial(copy, c)
    for case in cases(c.simulated):
        yield case.kernel, partial(moved, c, case)


def copy(c: Context) -> Mapping[str, Any]:
    """A copy on the device: what the others are held against."""
    from runtime.cuda.calibration import memory_bytes_per_second

    rate = memory_bytes_per_second(c.device)
    one = 512e6 / rate
    return {"seconds": {"ours": {"median": one, "least": one}}, "gbytes_per_s": rate * 1e-9, "ours": "copy of 256 MB"}


def moved(c: Context, case: Case) -> Mapping[str, Any]:
    """One kernel, and what part of the copy's bandwidth it has."""
    work = Bound(c.device, f"cuda.{case.kernel}", case.types, case.attrs, np.random.default_rng(2), case.values)
    found = contest(c, work, case.rival or (lambda peer, work: None))
    rate = work.terms()["bytes"] / found["seconds"]["ours"]["median"]
    copied = c.part.body["items"].get("copy", {}).get("gbytes_per_s")
    of_copy = None if copied is None or c.simulated else rate * 1e-9 / copied
    return {**found, "gbytes_per_s": rate * 1e-9, "of_copy": of_copy, "has_rival": case.rival is not None}
