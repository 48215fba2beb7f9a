"""Records of the CPU kernels whose loops are worth counting, one family a file; `hw.kernels.automatic` makes the others.

`terms` follow the loops of `runtime.kernels.cpu` one by one, through the same cuts (`hw.kernels.tiling`); what each term
counts is said in `hw.kernels.count`. The sizes are the calibration grid: none occurs in the zoo.
"""

from hw.kernels.cpu.batch_norm import BATCH_NORM
from hw.kernels.cpu.concat import CONCAT
from hw.kernels.cpu.conv import CONV
from hw.kernels.cpu.dropout import DROPOUT
from hw.kernels.cpu.elementwise import ELEMENTWISE
from hw.kernels.cpu.exchange import EXCHANGE
from hw.kernels.cpu.local_conv import LOCAL_CONV
from hw.kernels.cpu.lrn import LRN
from hw.kernels.cpu.matmul import MATMUL
from hw.kernels.cpu.pool import POOL
from hw.kernels.cpu.reduce import REDUCE
from hw.kernels.cpu.reshape import RESHAPE
from hw.kernels.cpu.softmax import SOFTMAX
from hw.kernels.cpu.update import UPDATE

RECORDS = (
    *MATMUL, *CONV, *LOCAL_CONV, *POOL, *BATCH_NORM, *LRN, *CONCAT, *REDUCE, *RESHAPE, *EXCHANGE, *SOFTMAX, *DROPOUT, *UPDATE,
    *ELEMENTWISE,
)  # fmt: skip
"""In order of preference where an operator has several algorithms."""
