"""The operators, one family a file. Importing this package fills `graph.op.OPS`; to add one, add it to its family's tuple."""

from graph.op import OPS, Op
from graph.ops.batch_norm import BATCH_NORM
from graph.ops.concat import CONCAT
from graph.ops.conv import CONV
from graph.ops.dropout import DROPOUT
from graph.ops.elementwise import ELEMENTWISE
from graph.ops.exchange import EXCHANGE
from graph.ops.local_conv import LOCAL_CONV
from graph.ops.lrn import LRN
from graph.ops.matmul import MATMUL
from graph.ops.pool import POOL
from graph.ops.quantize import QUANTIZE
from graph.ops.reduce import REDUCE
from graph.ops.reshape import RESHAPE
from graph.ops.softmax import SOFTMAX
from graph.ops.update import UPDATE

FAMILIES: dict[str, tuple[Op, ...]] = {
    "elementwise": ELEMENTWISE,
    "matmul": MATMUL,
    "conv": CONV,
    "pool": POOL,
    "reduce": REDUCE,
    "reshape": RESHAPE,
    "softmax": SOFTMAX,
    "dropout": DROPOUT,
    "update": UPDATE,
    "batch_norm": BATCH_NORM,
    "lrn": LRN,
    "concat": CONCAT,
    "local_conv": LOCAL_CONV,
    "exchange": EXCHANGE,
    "quantize": QUANTIZE,
}
"""Family (the name of its file, here and in ``runtime/kernels``) -> its operators."""

for _family in FAMILIES.values():
    for _op in _family:
        OPS.add(_op.name, _op)

__all__ = ["FAMILIES", "OPS"]
