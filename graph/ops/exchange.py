"""The local halves of an exchange of rows between ranks. The remote half is a collective of the plan on the buffer that holds
the gathered value (`graph.parallel`); by itself such an operator only copies this rank's rows to or from their place there.

With n ranks that hold b rows each, in round r of n (``whole`` has one round):

========= ==================== ======================================== ===================
scheme    gathered             rows of the gathered value               what completes it
========= ==================== ======================================== ===================
``whole`` [n * b, ...]         rank i's rows at part i                  all-gather
``turns`` [b, ...]             rank r's rows, in its turn               broadcast from r
``parts`` [b, ...]             part r of rank i's rows at part i        all-gather
========= ==================== ======================================== ===================

The schemes are those of Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (arXiv 1404.5997, 2014),
section 3, (a), (b) and (c). `scatter_rows` is the transpose: each rank gets its rows of the sum of what the ranks hold
(reduce-scatter, or reduce to rank r), or, with ``same``, of what all ranks hold alike, which takes no communication.

Across ranks these are not functions of their operand, so there is a reference for one rank alone, where all are the identity;
`graph.parallel.spmd` plays them with the ranks that belong to them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from graph.errors import GraphError, TypeMismatch, nearest
from graph.op import REQUIRED, Applied, Array, Attrs, Evaluator, Op, Sample, Size, Work
from graph.ops.common import Types, integer, like, need, need_count, numbers
from graph.record import record
from graph.tensor_type import DType, TensorType, f32, i64

WHOLE, TURNS, PARTS = SCHEMES = ("whole", "turns", "parts")
MOVED = (DType.F32, DType.F64, DType.I64)
"""Element types that travel: activations and labels."""


@record
class Half:
    """What a rank copies in its half of an exchange.

    Parameters
    ----------
    mine : first of its own rows.
    gathered : first row of the gathered value.
    count : rows.
    """

    mine: int
    gathered: int
    count: int


def rounds_of(scheme: str, ranks: int) -> int:
    """Rounds in which all rows have been gathered once."""
    return 1 if scheme == WHOLE else ranks


def half(scheme: str, ranks: int, rows: int, index: int, round: int) -> Half | None:
    """The rows that rank `index` of `ranks` copies in a round, of the `rows` that it holds; None: it is not its turn."""
    if scheme == WHOLE:
        return Half(mine=0, gathered=index * rows, count=rows)
    if scheme == TURNS:
        return Half(mine=0, gathered=0, count=rows) if index == round % ranks else None
    part = rows // ranks
    return Half(mine=round % ranks * part, gathered=index * part, count=part)


def _geometry(op: str, attrs: Attrs) -> tuple[int, str]:
    ranks, scheme = integer(op, attrs, "ranks", 1), attrs["scheme"]
    if scheme not in SCHEMES:
        raise TypeMismatch(f"{op}: unknown scheme {scheme!r}; {nearest(str(scheme), SCHEMES)}")
    if not isinstance(attrs["same"], bool):
        raise TypeMismatch(f"{op}: same must be True or False, got {attrs['same']!r}")
    return ranks, str(scheme)


def _operand(op: str, types: Types) -> TensorType:
    need_count(op, types, 1)
    need(types[0].rank >= 1 and types[0].dtype in MOVED, op, types, "wants floats or i64 with at least the axis of the samples")
    return types[0]


def _gather_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, (ranks, scheme) = _operand("gather_rows", types), _geometry("gather_rows", attrs)
    rows = x.shape[0]
    need(scheme != PARTS or rows % ranks == 0, "gather_rows", types, f"{rows} rows cannot be cut into {ranks} parts")
    return (like(x, rows * ranks if scheme == WHOLE else rows, *x.shape[1:]),)


def _scatter_infer(types: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    y, (ranks, scheme) = _operand("scatter_rows", types), _geometry("scatter_rows", attrs)
    rows = y.shape[0]
    need(scheme == TURNS or rows % ranks == 0, "scatter_rows", types, f"{rows} rows cannot be cut into {ranks} parts")
    return (like(y, rows // ranks if scheme == WHOLE else rows, *y.shape[1:]),)


def copied_nbytes(op: str, types: Types, attrs: Attrs) -> int:
    """Bytes that the local half of `op` copies in one round."""
    ranks, scheme = _geometry(op, attrs)
    rows = (types[0] if op == "gather_rows" else _scatter_infer(types, attrs)[0]).nbytes
    return rows // ranks if scheme == PARTS else rows


def _work(op: str) -> Any:
    def work(types: Types, attrs: Attrs) -> Work:
        nbytes = copied_nbytes(op, types, attrs)
        return Work(bytes_read=nbytes, bytes_written=nbytes)

    return work


def _reference(arrays: Sequence[Array], attrs: Attrs) -> tuple[Array, ...]:
    if attrs["ranks"] != 1:
        raise GraphError(f"an exchange between {attrs['ranks']} ranks takes all of them: play the plan with graph.parallel.spmd")
    return (arrays[0].copy(),)


def _vjp(other: str) -> Any:
    def vjp(ev: Evaluator[Any], a: Applied[Any], g: tuple[Any, ...]) -> tuple[Any, ...]:
        return ev.apply(other, (g[0],), **a.attrs) if ev.type_of(a.inputs[0]).dtype.is_float else (None,)

    return vjp


def _samples() -> Iterable[Sample]:
    for k, shape in enumerate(((1,), (1, 1), (3, 5), (0, 4), (2, 3, 4, 5))):
        yield Sample(inputs=(numbers(*shape),), attrs={"ranks": 1, "scheme": SCHEMES[k % 3], "same": k == 2})
    yield Sample(inputs=(numbers(4, 6)[:, ::2],), attrs={"ranks": 1, "scheme": WHOLE})
    yield Sample(inputs=((100 * numbers(7)).astype("i8"),), attrs={"ranks": 1, "scheme": PARTS})


def _sizes() -> Iterable[Size]:
    shapes = (f32(10, 50), f32(48, 127), f32(150, 300), f32(700, 500), f32(40, 7, 7, 90), i64(90))
    return tuple(Size(types=(t,), attrs={"ranks": 1, "scheme": WHOLE}) for t in shapes)


def _op(name: str, operand: str, result: str, infer: Any, other: str) -> Op:
    return Op(
        name=name,
        inputs=(operand,),
        outputs=(result,),
        attrs={"ranks": REQUIRED, "scheme": WHOLE, "same": False},
        infer=infer,
        work=_work(name),
        reference=_reference,
        vjp=_vjp(other),
        samples=_samples,
        sizes=_sizes,
        aliases={},
    )


gather_rows = _op("gather_rows", "x", "y", _gather_infer, "scatter_rows")
scatter_rows = _op("scatter_rows", "dy", "dx", _scatter_infer, "gather_rows")

EXCHANGE = (gather_rows, scatter_rows)
