"""Records of an NFU's kernels: layers in fixed point, words in and words out. What an NFU has not, its processor's kernels do.

A kernel takes the conversions around a layer in (`graph.passes.fixed_point`), with the bias and the function between. Its terms
count what the layer asks for, whatever the NFU is; what one makes of it is `hw.nfu.schedule`'s, and `hw.cost.nfu` prices that.
"""

from collections.abc import Iterable, Mapping
from itertools import islice

from graph.op import OPS, Attrs, Size
from graph.tensor_type import i16
from hw.kernels.record import KernelRecord, Platform
from hw.kernels.tiling import Types
from hw.nfu.of_call import bordered_nbytes, layer

EPILOGUE = ("relu", "tanh", "quantize")
PRODUCT_EPILOGUE = ("add_bias", *EPILOGUE)
SIZES = 4
"""Of a kernel's grid."""


def terms_of(op: str, types: Types, attrs: Attrs) -> Mapping[str, float]:
    """Calls, multiply-adds, and bytes of operands and results, each once: words as they lie in the arena."""
    found = layer(op, types, attrs)
    return {"call": 1, "macs": found.macs, "bytes": sum(t.nbytes for t in types) + found.outputs * types[0].dtype.itemsize}


def nfu_record(op: str, epilogue: tuple[str, ...]) -> KernelRecord:
    """The record ``"nfu.<op>"``; its workspace is the place of images that have a border."""
    return KernelRecord(
        name=f"{Platform.NFU}.{op}",
        platform=Platform.NFU,
        op=op,
        epilogue=epilogue,
        is_epilogue_optional=True,
        prologue=("dequantize",),
        workspace=lambda types, attrs: bordered_nbytes(op, types, attrs),
        terms=lambda types, attrs: terms_of(op, types, attrs),
        sizes=lambda: _sizes(op),
    )


def _sizes(op: str) -> Iterable[Size]:
    """Some of the operator's own sizes, in words: not for calibration, but for whoever goes through all kernels."""
    plain = (s for s in OPS[op].sizes() if not s.attrs.get("ta"))
    for s in islice(plain, SIZES):
        yield Size(types=tuple(i16(*t.shape) for t in s.types), attrs={**s.attrs, "epilogue": "quantize"})


NFU = (
    nfu_record("conv2d", PRODUCT_EPILOGUE),
    nfu_record("local_conv2d", PRODUCT_EPILOGUE),
    nfu_record("matmul", PRODUCT_EPILOGUE),
    nfu_record("max_pool", EPILOGUE),
    nfu_record("avg_pool", EPILOGUE),
    nfu_record("relu", ("quantize",)),
    nfu_record("tanh", ("quantize",)),
)
