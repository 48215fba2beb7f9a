"""The local halves of exchanges of rows: plain copies. The executor passes the places of the first rows that this rank copies
in this round, and leaves the call out where it is not this rank's turn.
"""

from collections.abc import Sequence

from graph.ops.exchange import copied_nbytes
from hw.kernels.record import Call
from runtime.kernels.cuda.flat import COPIES, copies
from runtime.kernels.cuda.kernel import Launch, Place, cuda_kernel


@cuda_kernel("cuda.gather_rows", kernels=COPIES)
def gather_rows(call: Call, places: Sequence[Place]) -> list[Launch]:
    """This rank's rows go to their place among all."""
    return copies(places[0], places[1], copied_nbytes("gather_rows", call.types, call.attrs))


@cuda_kernel("cuda.scatter_rows", kernels=COPIES)
def scatter_rows(call: Call, places: Sequence[Place]) -> list[Launch]:
    """This rank's rows come from their place among all."""
    return copies(places[0], places[1], copied_nbytes("scatter_rows", call.types, call.attrs))
