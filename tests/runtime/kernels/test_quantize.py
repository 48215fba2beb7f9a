"""Fixed-point words of floats of any bits, and back: the kernels do what the references do."""

import numpy as np
import pytest

from graph.ir import Phase
from graph.op import OPS, Array, Attrs, Work
from graph.ops.common import type_of
from hw.kernels.record import Call
from runtime.kernels.table import address, block, load_families, run_table

load_families()


def run(kernel: str, x: Array, like: Array, attrs: Attrs) -> Array:
    made = np.empty_like(like)
    call = Call(
        kernel=kernel, nodes=("n",), fused=(), reads=("x",), writes=("y",), types=(type_of(x),), attrs=attrs,
        work=Work(), workspace=0, layer="", phase=Phase.FORWARD,
    )  # fmt: skip
    words = block(call, [x.ctypes.data, made.ctypes.data, 0])
    run_table(np.array([address(kernel)]), np.array([words.ctypes.data]))
    return made


@pytest.mark.parametrize("rounding", ["floor", "zero", "nearest"])
@pytest.mark.parametrize(("bits", "fraction"), [(16, 0), (16, 10), (16, 15), (7, 3), (2, 1)])
def test_fixed_point_of_floats_of_any_bits(bits: int, fraction: int, rounding: str) -> None:
    """Also of those that are no numbers, and of many ties; and every word comes back as it was."""
    attrs: Attrs = {"bits": bits, "fraction": fraction, "rounding": rounding}
    random = np.random.default_rng(bits + fraction)
    anything = random.integers(0, 1 << 32, 20_001, np.uint64).astype(np.uint32).view(np.float32)
    quarters = (random.integers(-(1 << 17), 1 << 17, 20_000) / 4 * 2.0**-fraction).astype(np.float32)
    x = np.concatenate([anything, quarters])
    (want,) = OPS["quantize"].reference([x], attrs)
    np.testing.assert_array_equal(run("cpu.quantize", x, want, attrs), want)
    held = np.arange(-(1 << (bits - 1)), 1 << (bits - 1), dtype=np.int64).astype(np.int16)
    y = run("cpu.dequantize", held, np.zeros(held.shape, np.float32), attrs)
    np.testing.assert_array_equal(y, held * 2.0**-fraction)
    np.testing.assert_array_equal(run("cpu.quantize", y, held, attrs), held)
