"""Checks for whoever writes an operator or a pass: they raise `AssertionError` with what differs. Our own tests use them.

`check_op` holds the parts of an operator record against each other, `check_grad` its gradient against finite differences,
`check_pass` a pass against the interpreter.
"""

from collections.abc import Callable, Sequence

import numpy as np

from graph.frontend.tape import Tape
from graph.interpret import run
from graph.ir import Graph, Kind
from graph.op import Array, Op, Sample
from graph.ops.common import numbers, type_of
from graph.record import record


@record
class Tolerance:
    """How near is near: ``|a - b| <= absolute + relative * |b|``."""

    relative: float
    absolute: float


EXACT = Tolerance(relative=0.0, absolute=0.0)
FINITE_DIFFERENCES = Tolerance(relative=1e-6, absolute=1e-7)
"""Central differences of step 1e-5 in float64 err by about 1e-10 of the third derivative and 1e-11 of rounding."""
STEP = 1e-5


def check_op(op: Op) -> None:
    """On every sample: `infer` says what `reference` makes, operands stay as they were, `work` counts compulsory traffic."""
    samples = list(op.samples())
    assert samples, f"{op.name} has no samples"
    for k, s in enumerate(samples):
        where = f"{op.name}, sample {k}: {[str(type_of(x)) for x in s.inputs]} {dict(s.attrs)}"
        attrs = op.complete(s.attrs)
        types = [type_of(x) for x in s.inputs]
        before = [x.copy() for x in s.inputs]
        outputs = op.reference(s.inputs, attrs)
        inferred = op.infer(types, attrs)
        assert len(inferred) == len(op.outputs), f"{where}: {len(inferred)} types for outputs {op.outputs}"
        assert tuple(map(type_of, outputs)) == inferred, f"{where}: makes {list(map(type_of, outputs))}, infers {inferred}"
        assert all(a.tobytes() == b.tobytes() for a, b in zip(before, s.inputs, strict=True)), f"{where}: changes its operands"
        work = op.work(types, attrs)
        counts = work.flop, work.bytes_read, work.bytes_written
        written = sum(t.nbytes for t in inferred)
        moved = (0, 0) if op.is_view else (written if op.is_part else sum(t.nbytes for t in types), written)
        assert all(type(n) is int and n >= 0 for n in counts), f"{where}: work must be whole numbers >= 0, got {work}"
        assert counts[1:] == moved, f"{where}: bytes read and written are {moved}, work says {counts[1:]}"


def check_grad(op: Op, sample: Sample, *, within: Tolerance = FINITE_DIFFERENCES) -> None:
    """The gradient that `vjp` gives for the first output equals central finite differences, in float64, for every float operand.

    A fixed number is drawn for each element of the output, and the sum of their products is what is differentiated.
    """
    arrays = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in sample.inputs]
    floats = [k for k, x in enumerate(arrays) if x.dtype.kind == "f"]
    attrs = {k: "f64" if v == "f32" else v for k, v in op.complete(sample.attrs).items()}
    weights = numbers(*op.reference(arrays, attrs)[0].shape, seed=9).astype(np.float64)
    tape = Tape()
    values = [tape.value(x) for x in arrays]
    outputs = tape.apply(op.name, values, **attrs)
    assert op.vjp is not None, f"{op.name} is not differentiable"
    seeds = (tape.value(weights), *(None for _ in outputs[1:]))
    found = op.vjp(tape.evaluator, tape.trail[0], seeds)
    assert len(found) == len(values), f"{op.name}: {len(found)} gradients for {len(values)} operands"
    for k, g in enumerate(found):
        if k not in floats:
            assert g is None, f"{op.name}: a gradient for operand {op.operand(k)}, which is not floating"
            continue
        right = _differences(lambda xs: float((op.reference(xs, attrs)[0] * weights).sum()), arrays, k)
        got = np.zeros_like(right) if g is None else tape.array(g)
        what = f"{op.name}, gradient of {op.operand(k)}, {[x.shape for x in arrays]} {dict(attrs)}"
        np.testing.assert_allclose(got, right, rtol=within.relative, atol=within.absolute, err_msg=what)


def _differences(f: Callable[[Sequence[Array]], float], arrays: Sequence[Array], which: int) -> Array:
    """Central differences of a scalar function with respect to one of its arrays."""
    xs = [x.copy() for x in arrays]
    x, found = xs[which], np.zeros(arrays[which].shape)
    for index in np.ndindex(x.shape):
        here = x[index]
        x[index] = here + STEP
        above = f(xs)
        x[index] = here - STEP
        found[index] = (above - f(xs)) / (2 * STEP)
        x[index] = here
    return found


def sample_feeds(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """An array for every input: floats by `graph.ops.common.numbers`, labels within the classes, small counters."""
    feeds: dict[str, Array] = {}
    for k, i in enumerate(graph.inputs):
        name, t = i.value.name, i.value.type
        if t.dtype.is_float:
            feeds[name] = numbers(*t.shape, seed=seed + k).astype(t.dtype.numpy)
        elif i.kind is Kind.COUNTER:
            feeds[name] = np.asarray(seed + k, t.dtype.numpy)
        else:
            feeds[name] = (np.arange(t.size, dtype=t.dtype.numpy) * 7 + seed).reshape(t.shape) % _classes(graph, name)
    return feeds


def _classes(graph: Graph, labels: str) -> int:
    losses = [n for n in graph.consumers[labels] if n.op.name.startswith("softmax_cross_entropy")]
    return graph.type_of(losses[0].inputs[0]).shape[1] if losses else 2


def check_pass(change: Callable[[Graph], Graph], graph: Graph, *, within: Tolerance = EXACT) -> Graph:
    """The pass keeps inputs, outputs and updates, and what they hold when run; returns the changed graph."""
    after = change(graph)
    assert after.inputs == graph.inputs, f"{graph.name}: the pass changes the inputs"
    assert set(after.outputs) == set(graph.outputs), f"{graph.name}: the pass changes the outputs"
    assert set(after.updates) == set(graph.updates), f"{graph.name}: the pass changes the updates"
    feeds = sample_feeds(graph)
    old, new = run(graph, feeds), run(after, feeds)
    pairs = [(r, graph.outputs[r], after.outputs[r]) for r in graph.outputs]
    pairs += [(r, graph.updates[r], after.updates[r]) for r in graph.updates]
    for role, a, b in pairs:
        np.testing.assert_allclose(new[b], old[a], rtol=within.relative, atol=within.absolute, err_msg=f"{graph.name}: {role}")
    return after
