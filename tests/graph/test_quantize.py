"""Fixed-point words as operators: what they refuse, and what they do at the ends of a format."""

import numpy as np
import pytest

from graph import (
    OPS,
    Builder,
    DType,
    GraphError,
    Kind,
    Sgd,
    TensorType,
    TypeMismatch,
    f32,
    from_text,
    i16,
    i64,
    to_text,
    training_graph,
)
from graph.fixed_point import Rounding


def words(x: object, rounding: str = "nearest", **attrs: int) -> list[int]:
    (found,) = OPS["quantize"].reference([np.array(x, np.float32)], OPS["quantize"].complete({**attrs, "rounding": rounding}))
    assert found.dtype == np.int16
    return found.tolist()


def test_rounding_by_hand() -> None:
    x = [0.75, 0.25, -0.25, -0.75, -0.8, 1.0]  # in halves: 1.5, 0.5, -0.5, -1.5, -1.6, 2
    assert words(x, "floor", fraction=1) == [1, 0, -1, -2, -2, 2]
    assert words(x, "zero", fraction=1) == [1, 0, 0, -1, -1, 2]
    assert words(x, "nearest", fraction=1) == [1, 0, -1, -2, -2, 2]  # ties go down


def test_what_lies_outside_saturates_and_what_is_no_number_is_zero() -> None:
    x = [31.999, 32.0, np.inf, -32.0, -33.0, -np.inf, np.nan, 3e38]
    assert words(x, "floor", fraction=10) == [32766, 32767, 32767, -32768, -32768, -32768, 0, 32767]
    assert words([7.9, 8.0, -8.1, np.nan], fraction=4, bits=8) == [126, 127, -128, 0]


def test_words_come_back_exactly() -> None:
    held = np.arange(-(1 << 15), 1 << 15).astype(np.int16)
    for fraction in (0, 7, 15):
        (y,) = OPS["dequantize"].reference([held], {"fraction": fraction, "bits": 16})
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y * 2.0**fraction, held)
        np.testing.assert_array_equal(words(y, fraction=fraction), held)


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        (
            {"fraction": 10, "rounding": "stochastic"},
            "stochastic rounding serves training in fixed point, which is not built yet",
        ),
        ({"fraction": 10, "rounding": "nearst"}, "unknown rounding 'nearst'; did you mean 'nearest'"),
        ({"fraction": 16}, "a word of 16 bits has 0 to 15 fraction bits, got 16"),
        ({"fraction": 4, "bits": 17}, "a fixed-point word has 2 to 16 bits, got 17"),
        ({"fraction": 1.5}, "fraction must be a whole number >= 0, got 1.5"),
    ],
)
def test_bad_attributes_are_refused(attrs: dict[str, object], message: str) -> None:
    with pytest.raises(TypeMismatch, match=f"quantize: {message}"):
        OPS["quantize"].infer([f32(3)], OPS["quantize"].complete(attrs))


def test_bad_operands_are_refused() -> None:
    with pytest.raises(TypeMismatch, match=r"dequantize\(f32\[3\]\): wants i16 words"):
        OPS["dequantize"].infer([f32(3)], OPS["dequantize"].complete({"fraction": 3}))
    with pytest.raises(TypeMismatch, match="wants operands of one floating type"):
        OPS["quantize"].infer([i16(3)], OPS["quantize"].complete({"fraction": 3}))
    with pytest.raises(TypeMismatch, match="relu"):
        OPS["relu"].infer([i16(3)], {})


def test_the_element_type() -> None:
    assert i16(2, 3) == TensorType.parse("i16[2,3]") and i16(2, 3).nbytes == 12
    assert not DType.I16.is_float
    assert OPS["flatten"].infer([i16(2, 3, 4)], {}) == (i16(2, 12),)
    assert OPS["reshape"].infer([i16(2, 3)], {"shape": (6,)}) == (i16(6),)


def test_text_form_and_gradient() -> None:
    b = Builder("words")
    x, w = b.input("x", f32(3, 4), Kind.DATA), b.input("w", f32(4, 2), Kind.PARAMETER)
    labels = b.input("labels", i64(3), Kind.DATA)
    with b.layer("a"):
        (q,) = b.apply("quantize", (w,), fraction=9, bits=12, rounding=str(Rounding.ZERO))
        (v,) = b.apply("dequantize", (q,), fraction=9, bits=12)
        (y,) = b.apply("matmul", (x, v))
    b.output("loss", b.apply("softmax_cross_entropy", (y, labels), denominator=3)[0])
    graph = b.graph()
    assert "a/quantize = quantize(w; fraction=9, bits=12, rounding='zero') -> a/quantize: i16[4,2] @ forward a" in to_text(graph)
    assert from_text(to_text(graph)) == graph
    with pytest.raises(GraphError, match=r"dequantize \(layer 'a'\) is not differentiable"):
        training_graph(graph, Sgd(learning_rate=0.1))
