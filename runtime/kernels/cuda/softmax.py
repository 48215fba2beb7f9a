"""Softmax cross entropy and its gradient. Maximum and sum of a row are found in one pass, the sum about the maximum so far.

A row of few classes is that of some neighbouring threads, a longer one that of a block, which takes four classes of a thread at a
time. Every block gives its part of the loss.
"""

# mypy: disable-error-code="no-untyped-def"

import math
from collections.abc import Callable, Sequence

from numba import cuda, float32, uint64

from graph.ops.common import integer
from hw.kernels.cuda_sums import LANES_CLASSES, THREADS, row_lanes, softmax_parts
from hw.kernels.record import Call
from runtime.kernels.cuda.column_sums import TOTAL, scratch, total
from runtime.kernels.cuda.kernel import F32, I64, NUMBER, WHOLE, DeviceKernel, Launch, Place, cuda_kernel
from runtime.kernels.cuda.primitives import SCRATCH, block_max, block_sum, lanes_max, lanes_sum, load4, quotient, store4
from runtime.kernels.cuda.vectors import FETCH, PUT, WIDTHS, standing, sweep, wide_access

LEAST = float32(-3.4028234663852886e38)
"""The largest magnitude: a maximum begins there, so that differences of maxima are numbers."""


@cuda.jit(device=True, inline="always")
def _loss(logits, at, label, classes, top, mass):
    """Of a row. A label out of range makes it NaN; nothing is read out of bounds."""
    if label < 0 or label >= classes:
        return float32(math.nan)
    return math.log(mass) - (logits[at + label] - top)


def _softmax_lanes(logits, labels, losses, probs, rows, classes, lanes, divisor):
    shared = cuda.shared.array(SCRATCH, float32)
    mine = quotient(cuda.threadIdx.x, lanes)
    lane, at_once = cuda.threadIdx.x - mine * lanes, quotient(cuda.blockDim.x, lanes)
    loss, first = float32(0), cuda.blockIdx.x * at_once
    while first < rows:  # all threads together, as sums over them want
        r = first + mine
        at, c, top, mass = r * classes, lane, LEAST, float32(0)
        while r < rows and c < classes:
            apart = logits[at + c] - top
            e = math.exp(-abs(apart))
            if apart > 0:
                top, mass = logits[at + c], mass * e + float32(1)
            else:
                mass += e
            c += lanes
        highest = lanes_max(top, lanes, shared)
        mass = lanes_sum(mass * math.exp(top - highest), lanes, shared)
        c, share = lane, float32(1) / mass if r < rows else float32(0)
        while r < rows and c < classes:
            probs[at + c] = math.exp(logits[at + c] - highest) * share
            c += lanes
        if r < rows and lane == 0:
            loss += _loss(logits, at, labels[r], classes, highest, mass)
        first += cuda.gridDim.x * at_once
    loss = block_sum(loss, shared)
    if cuda.threadIdx.x == 0:
        losses[cuda.blockIdx.x] = loss / divisor


SOFTMAX_TYPES = (F32, I64, F32, F32, WHOLE, WHOLE)
SOFTMAX_LANES = DeviceKernel(
    "softmax_lanes", _softmax_lanes, (*SOFTMAX_TYPES, WHOLE, NUMBER), threads=THREADS, is_hot=True, wants=("shfl.sync",)
)


@cuda.jit(device=True, inline="always")
def _quad(array, at, classes, to):
    """Four classes from the thread's own place on; beyond the row the least."""
    c = 4 * cuda.threadIdx.x
    if c < classes:
        to[0], to[1], to[2], to[3] = load4(array, at + c)
    else:
        for k in range(4):
            to[k] = LEAST


@cuda.jit(device=True, inline="always")
def _put_quad(array, at, classes, of):
    c = 4 * cuda.threadIdx.x
    if c < classes:
        store4(array, at + c, of[0], of[1], of[2], of[3])


@cuda.jit(device=True, inline="always")
def _four(array, at, classes, to):
    """Four classes a block apart, so that neighbours read neighbours."""
    for k in range(4):
        c = cuda.threadIdx.x + k * THREADS
        to[k] = array[uint64(at + c)] if c < classes else LEAST


@cuda.jit(device=True, inline="always")
def _put_four(array, at, classes, of):
    for k in range(4):
        c = cuda.threadIdx.x + k * THREADS
        if c < classes:
            array[uint64(at + c)] = of[k]


def _softmax_block(each: int) -> Callable[..., None]:
    take, give = (_quad, _put_quad) if each == 4 else (_four, _put_four)

    def softmax_block(logits, labels, losses, probs, rows, classes, divisor):
        shared, v = cuda.shared.array(SCRATCH, float32), cuda.local.array(4, float32)
        loss, r = float32(0), cuda.blockIdx.x
        while r < rows:
            at, c, top, mass = r * classes, 0, LEAST, float32(0)
            while c < classes:
                take(logits, at + c, classes - c, v)
                higher = max(top, max(max(v[0], v[1]), max(v[2], v[3])))
                mass *= math.exp(top - higher)
                for k in range(4):
                    mass += math.exp(v[k] - higher)
                top = higher
                c += 4 * THREADS
            highest = block_max(top, shared)
            mass = block_sum(mass * math.exp(top - highest), shared)
            share, c = float32(1) / mass, 0
            while c < classes:
                take(logits, at + c, classes - c, v)
                for k in range(4):
                    v[k] = math.exp(v[k] - highest) * share
                give(probs, at + c, classes - c, v)
                c += 4 * THREADS
            if cuda.threadIdx.x == 0:
                loss += _loss(logits, at, labels[r], classes, highest, mass)
            r += cuda.gridDim.x
        if cuda.threadIdx.x == 0:
            losses[cuda.blockIdx.x] = loss / divisor

    return softmax_block


SOFTMAX_BLOCK = {
    each: DeviceKernel(
        f"softmax_block_{each}",
        _softmax_block(each),
        (*SOFTMAX_TYPES, NUMBER),
        threads=THREADS,
        is_hot=True,
        wants=("shfl.sync", "ld.global.v4", "st.global.v4") if each == 4 else ("shfl.sync",),
    )
    for each in WIDTHS
}


@cuda_kernel("cuda.softmax_cross_entropy", kernels=(SOFTMAX_LANES, *SOFTMAX_BLOCK.values(), TOTAL))
def softmax_cross_entropy(call: Call, places: Sequence[Place]) -> list[Launch]:
    """Rows, with a part of the loss from every block, then the loss. A label out of range makes it NaN; of no samples it is 0."""
    logits, labels, loss, probs, workspace = places
    rows, classes = call.types[0].shape
    denominator, parts = float(integer("softmax_cross_entropy", call.attrs, "denominator", 1)), softmax_parts(rows, classes)
    losses, divisor = (scratch(workspace, parts), 1.0) if parts > 1 else (loss.operand, denominator)
    operands = logits.operand, labels.operand, losses, probs.operand
    if classes <= LANES_CLASSES:
        launches = [SOFTMAX_LANES.launch(parts, *operands, rows, classes, row_lanes(classes), divisor)]
    else:
        each = wide_access(classes, (logits, probs))
        launches = [SOFTMAX_BLOCK[each].launch(parts, *operands, rows, classes, divisor)]
    return [*launches, total(losses, loss.operand, denominator)] if parts > 1 else launches


def _gradient(each: int) -> Callable[..., None]:
    fetch, put = FETCH[each], PUT[each]

    def gradient(probs, labels, dlogits, rows, classes, wide, denominator):
        row, tall, c = standing(wide, each)
        if row >= tall or c >= classes:
            return
        v = cuda.local.array(each, float32)
        r, step = cuda.blockIdx.y * tall + row, cuda.gridDim.y * tall
        while r < rows:
            fetch(probs, r * classes + c, v, 0)
            label = labels[r]
            for j in range(each):
                if c + j == label:
                    v[j] -= float32(1)
                v[j] /= denominator
            put(dlogits, r * classes + c, v, 0)
            r += step

    return gradient


GRADIENT = {
    each: DeviceKernel(
        f"softmax_cross_entropy_grad_{each}",
        _gradient(each),
        (F32, I64, F32, WHOLE, WHOLE, WHOLE, NUMBER),
        threads=THREADS,
        is_hot=True,
        wants=("ld.global.v4", "st.global.v4") if each == 4 else (),
    )
    for each in WIDTHS
}


@cuda_kernel("cuda.softmax_cross_entropy_grad", kernels=GRADIENT.values())
def softmax_cross_entropy_grad(call: Call, places: Sequence[Place]) -> list[Launch]:
    """(probs - one at the label) / denominator"""
    probs, labels, dlogits = places[:3]
    rows, classes = call.types[0].shape
    if not rows:
        return []
    each = wide_access(classes, (probs, dlogits))
    grid, wide = sweep(rows, classes, each)
    denominator = float(integer("softmax_cross_entropy_grad", call.attrs, "denominator", 1))
    return [GRADIENT[each].launch(grid, probs.operand, labels.operand, dlogits.operand, rows, classes, wide, denominator)]
