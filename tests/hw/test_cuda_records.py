"""Records of CUDA kernels: their bytes by hand, and what a net's calls come to."""

import pytest

from graph.tensor_type import f32, i64
from hw.cost.gemm_shape import gemm_shape
from hw.kernels import KERNELS
from hw.kernels.record import Platform
from hw.lower import lower

X, C = f32(8, 5, 5, 6), f32(6)
NORM = {"epsilon": 1e-3}


@pytest.mark.parametrize(
    ("op", "types", "attrs", "nbytes"),
    [
        # Statistics first, then the result: training reads its images twice.
        ("batch_norm", (X, C, C), NORM, 2 * X.nbytes + X.nbytes + 4 * C.nbytes),
        ("batch_norm_grad", (X, X, C, C, C), NORM, 2 * 2 * X.nbytes + X.nbytes + 5 * C.nbytes),
        ("batch_norm_inference", (X, C, C, C, C), NORM, 2 * X.nbytes + 4 * C.nbytes),
        ("lrn", (X,), {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}, 3 * X.nbytes),
        ("concat", (X, f32(8, 5, 5, 3), X), {}, 2 * (2 * X.nbytes + X.nbytes // 2)),
        ("slice_last", (X,), {"first": 1, "count": 2}, 2 * (X.nbytes // 3)),  # the rest is not read
        ("transpose", (X,), {"axes": (3, 0, 1, 2)}, 2 * X.nbytes),
        ("gather_rows", (X,), {"ranks": 4, "scheme": "whole", "same": False}, 2 * X.nbytes),  # its own rows
        ("gather_rows", (i64(8),), {"ranks": 4, "scheme": "parts", "same": False}, 2 * 2 * 8),
        ("blend", (C, C), {"decay": 0.9}, 3 * C.nbytes),
    ],
)
def test_bytes(op, types, attrs, nbytes):
    assert KERNELS[f"cuda.{op}"].terms(types, attrs)["bytes"] == nbytes


def test_a_convolution_in_groups_is_a_batch_of_products():
    types, attrs = (f32(8, 9, 9, 6), f32(3, 5, 3, 10)), {"stride": 2, "pad": (1, 2), "groups": 2}
    terms = KERNELS["cuda.conv2d"].terms(types, attrs)
    shape = gemm_shape("conv2d", types, attrs, terms)
    assert shape is not None
    assert (shape.m, shape.n, shape.k, shape.batch) == (8 * 5 * 5, 5, 3 * 5 * 3, 2)
    assert shape.flop == terms["flop"]


@pytest.mark.parametrize("model", ["resnet50", "inception-v3", "alexnet"])
def test_a_call_moves_its_work_and_what_it_reads_again(trained, planned, model):
    """In a whole net, what the epilogues save included."""
    again = {"cuda.batch_norm": 1, "cuda.batch_norm_grad": 2}
    for call in lower(planned(trained(model)), "worker", Platform.CUDA).calls:
        more = sum(t.nbytes for t in call.types[: again.get(call.kernel, 0)])
        assert KERNELS[call.kernel].terms(call.types, call.attrs)["bytes"] == call.work.nbytes + more
