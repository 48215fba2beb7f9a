"""A lowered call on an NFU: the instructions of its best schedule at its places in an arena, and when each of them begins.

What is run is what is timed: the same instructions give values (`runtime.nfu.machine`) and cycles (`hw.nfu.timing`). Addresses
count words of 16 bits from the start of the arena. Synapses lie there in the order in which the program reads them. An image with
a border lies in the workspace while the call works; `hw.nfu.of_call` says why that costs nothing.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from graph.record import record
from hw.cost.nfu import scheduled
from hw.errors import HwError
from hw.kernels.record import Call
from hw.nfu.config import Nfu
from hw.nfu.isa import Program
from hw.nfu.layer import Kind, Layer, Pooling
from hw.nfu.lower import Images, Places, lower, packed
from hw.nfu.nest import Nest
from hw.nfu.of_call import formatted, layer_of
from hw.nfu.timing import Timing, moves_in, timing
from runtime.nfu.machine import run

Words = npt.NDArray[np.int16]
WORD_BYTES = 2


@record
class Bound:
    """A call with its places.

    Parameters
    ----------
    call : what is done.
    nest : its layer under the best schedule.
    nfu : with the formats of the call.
    program : its instructions.
    timing : of them, with the NFU's share of the memory.
    image : address of what comes in, without a border.
    bordered : address of the image with its border; None: it has none.
    """

    call: Call
    nest: Nest
    nfu: Nfu
    program: Program
    timing: Timing
    image: int
    bordered: int | None

    @property
    def layer(self) -> Layer:
        """What it computes."""
        return self.nest.layer

    @property
    def seconds(self) -> float:
        """From the first request until the last word is stored."""
        return self.timing.total_cycles / self.nfu.clock_hz

    def run(self, memory: Words) -> None:
        """Compute it, bit by bit, on the words of an arena."""
        if self.bordered is not None:
            self._surround(memory, self.bordered)
        run(self.program, self.nfu, memory)

    def _surround(self, memory: Words, at: int) -> None:
        """Bring the image into its border."""
        x = self.layer
        rows, columns = x.border
        bare = memory[self.image : self.image + x.inputs].reshape(x.batch, x.ny - 2 * rows, x.nx - 2 * columns, x.ni)
        whole = memory[at : at + x.batch * x.ny * x.nx * x.ni].reshape(x.batch, x.ny, x.nx, x.ni)
        whole[...] = self.nfu.neuron.lowest if x.kind is Kind.POOL and x.pooling is Pooling.MAX else 0
        whole[:, rows : x.ny - rows, columns : x.nx - columns] = bare

    def packed(self, synapses: Words) -> Words:
        """Synapses, of the shape that the call reads, in the order of the program."""
        x = self.layer
        if x.kind is Kind.CLASSIFIER:
            synapses = (synapses.T if self.call.attrs["tb"] else synapses).reshape(1, 1, x.ni, x.no)
        return packed(self.nest, synapses)


def bind(call: Call, nfu: Nfu, busy: int, offset: Callable[[str], int], workspace: int) -> Bound:
    """A call at its places.

    Parameters
    ----------
    call : of a kernel of an NFU.
    nfu : the hardware.
    busy : NFUs that work on its memory, itself among them.
    offset : value -> bytes from the start of the arena.
    workspace : bytes from the start of the arena.

    Raises
    ------
    HwError : the layer fits no buffer, has more instructions than are written out, or mixes formats in a way that an NFU cannot.
    """
    _check_formats(call)
    layer, chosen = layer_of(call), scheduled(call, nfu, busy=busy)
    nest = Nest(layer, nfu, chosen.cost.schedule)
    has_border = any(layer.border)
    image, at = _word(offset(call.reads[0])), _word(workspace)
    where = Places(
        inputs=Images.dense(at if has_border else image, layer.ny, layer.nx, layer.ni),
        outputs=Images.dense(_word(offset(call.writes[0])), layer.oy, layer.ox, layer.no),
        synapses=_word(offset(call.reads[1])) if layer.synapses else 0,
        biases=_word(offset(call.reads[2])) if layer.has_bias else 0,
    )
    program = lower(nest, where)
    return Bound(
        call=call,
        nest=nest,
        nfu=formatted(nfu, call),
        program=program,
        timing=timing(chosen.nfu, moves_in(program, chosen.nfu)),
        image=image,
        bordered=at if has_border else None,
    )


def _word(nbytes: int) -> int:
    """Number of a word; `hw.lower` places words of 16 bits at even bytes."""
    return nbytes // WORD_BYTES


def _check_formats(call: Call) -> None:
    """Neurons that come in, biases and neurons that go out have one format: nothing in the datapath would shift them."""
    made = call.attrs.get("quantize.fraction")
    for at, name in enumerate(call.reads):
        read = call.attrs.get(f"dequantize.{at}.fraction")
        if at != 1 and read != made:
            raise HwError(
                f"{call.nodes[0]!r} reads {name!r} with {read} bits behind the point and makes words with {made}; on an NFU "
                f"neurons and biases have one format"
            )
