"""The local halves of exchanges: who copies which rows where; and that they are transposes of each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.errors import GraphError, TypeMismatch
from graph.op import OPS, Work
from graph.ops.exchange import SCHEMES, copied_nbytes, half, rounds_of
from graph.tensor_type import DType, TensorType, f32, i64

GATHER, SCATTER = OPS["gather_rows"], OPS["scatter_rows"]


def attrs(ranks, scheme="whole", same=False):
    return {"ranks": ranks, "scheme": scheme, "same": same}


@given(scheme=st.sampled_from(SCHEMES), ranks=st.integers(1, 6), part=st.integers(0, 4))
def test_in_all_rounds_every_row_is_gathered_once(scheme, ranks, part):
    rows, seen, places = ranks * part, [], []
    for r in range(rounds_of(scheme, ranks)):
        for i in range(ranks):
            h = half(scheme, ranks, rows, i, r)
            if h is not None:
                seen += [(i, h.mine + k) for k in range(h.count)]
                places += [(r, h.gathered + k) for k in range(h.count)]
    assert sorted(seen) == [(i, k) for i in range(ranks) for k in range(rows)]
    of_round = ranks * rows if scheme == "whole" else rows
    assert sorted(places) == [(r, k) for r in range(rounds_of(scheme, ranks)) for k in range(of_round)]


@pytest.mark.parametrize(("scheme", "rows"), [("whole", 24), ("turns", 6), ("parts", 6)])
def test_types_and_their_transposes(scheme, rows):
    x = f32(6, 5, 2)
    (y,) = GATHER.infer([x], attrs(4 if scheme != "parts" else 3, scheme))
    assert y == (f32(rows, 5, 2) if scheme != "whole" else f32(24, 5, 2))
    assert SCATTER.infer([y], attrs(4 if scheme != "parts" else 3, scheme)) == (x,)
    assert GATHER.infer([i64(6)], attrs(2, scheme)) == (i64(12 if scheme == "whole" else 6),)


def test_only_the_own_rows_are_copied():
    x = f32(6, 5)
    for op, t in ((GATHER, x), (SCATTER, f32(18, 5))):
        assert op.work([t], attrs(3)) == Work(bytes_read=120, bytes_written=120)
        assert copied_nbytes(op.name, [t], attrs(3)) == 120
    assert GATHER.work([x], attrs(3, "parts")) == SCATTER.work([x], attrs(3, "parts")) == Work(bytes_read=40, bytes_written=40)


@pytest.mark.parametrize(
    ("op", "t", "options", "message"),
    [
        (GATHER, f32(7, 2), attrs(3, "parts"), "7 rows cannot be cut into 3 parts"),
        (SCATTER, f32(7, 2), attrs(3), "7 rows cannot be cut into 3 parts"),
        (GATHER, f32(6), attrs(0), "ranks must be a whole number >= 1"),
        (GATHER, f32(6), attrs(2, "turn"), "unknown scheme 'turn'; did you mean 'turns'?"),
        (GATHER, f32(6), attrs(2, same=1), "same must be True or False, got 1"),
        (GATHER, f32(), attrs(2), "at least the axis of the samples"),
        (SCATTER, TensorType(shape=(4,), dtype=DType.U8), attrs(2), "wants floats or i64"),
    ],
)
def test_refusals(op, t, options, message):
    with pytest.raises(TypeMismatch, match=message):
        op.infer([t], options)


def test_one_rank_alone_has_no_reference_for_several():
    with pytest.raises(
        GraphError, match=r"an exchange between 2 ranks takes all of them: play the plan with graph\.parallel\.spmd"
    ):
        GATHER.reference([np.zeros((2, 3))], attrs(2))


def test_transpose_is_numpys():
    x = np.arange(24.0).reshape(2, 3, 4)
    (y,) = OPS["transpose"].reference([x], {"axes": (2, 0, 1)})
    assert (y == x.transpose(2, 0, 1)).all() and y.flags.c_contiguous
    with pytest.raises(TypeMismatch, match="must name every axis once"):
        OPS["transpose"].infer([f32(2, 3)], {"axes": (0, 0)})
    with pytest.raises(TypeMismatch, match="axes must be a tuple of axes, got 1"):
        OPS["transpose"].infer([f32(2, 3)], {"axes": 1})
