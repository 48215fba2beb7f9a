"""Matrix products. Transposition is an attribute, so gradients need no transposing nodes."""

from collections.abc import Iterable, Sequence
from typing import Any

from graph.op import Applied, Array, Attrs, Evaluator, Op, Sample, Size, Work
from graph.ops.common import Types, like, need, need_float, numbers, traffic
from graph.tensor_type import TensorType, f32

FLAGS = ((False, False), (False, True), (True, False), (True, True))


def extents(types: Types, attrs: Attrs) -> tuple[int, int, int]:
    """(m, n, k) of ``y[m, n] = sum over k``."""
    a, b = types[0].shape, types[1].shape
    m, k = a[::-1] if attrs["ta"] else a
    return m, b[0] if attrs["tb"] else b[1], k


def _infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    need_float("matmul", types, 2)
    need(all(t.rank == 2 for t in types), "matmul", types, "wants two matrices")
    m, n, k = extents(types, attrs)
    inner = types[1].shape[1 if attrs["tb"] else 0]
    need(inner == k, "matmul", types, f"inner extents {k} and {inner} differ with ta={attrs['ta']}, tb={attrs['tb']}")
    return (like(types[0], m, n),)


def _work(types: Types, attrs: Attrs) -> Work:
    m, n, k = extents(types, attrs)
    return traffic(2 * m * n * k, types, _infer(types, attrs))


def _reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    a, b = arrays
    return ((a.T if attrs["ta"] else a) @ (b.T if attrs["tb"] else b),)


def _vjp(ev: Evaluator[Any], a: Applied[Any], g: tuple[Any, ...]) -> tuple[Any, ...]:
    x, y, dz = *a.inputs, g[0]
    ta, tb = bool(a.attrs["ta"]), bool(a.attrs["tb"])
    dx = dy = None
    if a.wants(1):
        (dy,) = ev.apply("matmul", (dz, x), ta=True, tb=ta) if tb else ev.apply("matmul", (x, dz), ta=not ta, tb=False)
    if a.wants(0):
        (dx,) = ev.apply("matmul", (y, dz), ta=tb, tb=True) if ta else ev.apply("matmul", (dz, y), ta=False, tb=not tb)
    return dx, dy


def _shapes(m: int, n: int, k: int, ta: bool, tb: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    return (k, m) if ta else (m, k), (n, k) if tb else (k, n)


def _samples() -> Iterable[Sample]:
    for ta, tb in FLAGS:
        attrs = {"ta": ta, "tb": tb}
        for m, n, k in ((1, 1, 1), (3, 5, 7), (0, 2, 3), (2, 3, 0), (9, 17, 1), (13, 33, 20)):
            a, b = _shapes(m, n, k, ta, tb)
            yield Sample(inputs=(numbers(*a), numbers(*b, seed=1)), attrs=attrs)
    yield Sample(inputs=(numbers(4, 6)[::2, ::3], numbers(3, 2, seed=1).T[:, ::-1]), attrs={"ta": False, "tb": False})


def _sizes() -> Iterable[Size]:
    grid = (
        (5, 7, 9),
        (20, 10, 45),
        (48, 100, 70),
        (100, 10, 90),
        (60, 10, 300),
        (90, 45, 700),
        (70, 300, 50),
        (200, 100, 100),
        (140, 210, 75),
        (300, 200, 150),
    )
    for k, (m, n, depth) in enumerate(grid):
        for ta, tb in FLAGS[:3]:
            if (ta, tb) == FLAGS[0] or k % 2 == ta:
                a, b = _shapes(m, n, depth, ta, tb)
                yield Size(types=(f32(*a), f32(*b)), attrs={"ta": ta, "tb": tb})


matmul = Op(
    name="matmul",
    inputs=("a", "b"),
    outputs=("y",),
    attrs={"ta": False, "tb": False},
    infer=_infer,
    work=_work,
    reference=_reference,
    vjp=_vjp,
    samples=_samples,
    sizes=_sizes,
    aliases={},
)

MATMUL = (matmul,)
