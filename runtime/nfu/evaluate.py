"""A graph in fixed point with values of an NFU: its layers bit by bit, a whole batch each, everything else by the references.

What stands on the NFU is what `hw.lower` puts there for a plan, so these are the values that the plan has; where additions
saturate or rounding is stochastic, those that it has with the best schedule of the same batch. Nothing is timed here, and no
arena says where words lie.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from graph.errors import GraphError
from graph.fixed_point import Fixed, real
from graph.ir import Graph
from graph.op import Array
from graph.optimizer import Sgd
from graph.parallel.strategies.inference import inference
from graph.passes.fixed_point import fixed_formats, fixed_values
from hw.kernels.record import Call, Platform
from hw.lower import lower
from hw.nfu.config import Arithmetic, Nfu
from hw.nfu.layer import Kind, Layer, Pooling
from hw.nfu.nest import Schedule
from hw.nfu.of_call import PREFIX, formatted, layer_of
from hw.nfu.schedule import best
from runtime.nfu.values import layer_values

Words = npt.NDArray[np.int16]


class Inference:
    """An inference graph in fixed point, for any NFU.

    Parameters
    ----------
    graph : what `graph.passes.fixed_point` made; with one output, ``"logits"``, and one input that is fed, ``"x"``.
    """

    def __init__(self, graph: Graph) -> None:
        plan = inference(graph, Sgd(learning_rate=1.0), ranks=1, steps=1)  # an optimizer is asked for, and not looked at
        lowered = lower(plan, plan.roles[0].name, Platform.NFU)
        self.graph = lowered.graph
        self.formats = fixed_formats(self.graph)
        on_nfu, others = ([c for c in lowered.calls if c.kernel.startswith(PREFIX) is mine] for mine in (True, False))
        self.calls: Mapping[str, Call] = {self.graph.producer[c.writes[0]].name: c for c in on_nfu}
        """Layers of the NFU by the node that makes their result."""
        self._references = {n for c in others for n in c.nodes}

    def layers(self) -> dict[str, Call]:
        """Name of the value that a layer of the NFU has in the graph in floats -> its call, in order."""
        found = {}
        for n in self.graph.nodes:
            if n.name in self.calls:
                found[n.inputs[0]] = self.calls[n.name]  # what its last node quantizes
        return found

    def run(self, values: Mapping[str, Array], images: npt.NDArray[np.float32], nfu: Nfu) -> dict[str, Array]:
        """Every value that is made, by name: words as i16.

        Parameters
        ----------
        values : parameters and state by name, as they were trained; those that nothing reads are passed over.
        images : f32 [n, ...], as many as the graph takes.
        nfu : the hardware; formats are those of the graph.

        Raises
        ------
        GraphError : something is missing, or the batch is another.
        HwError : the NFU cannot do a layer.
        """
        found = fixed_values(self.graph, {**values, "x": images})
        for v in (i.value for i in self.graph.inputs):
            if v.name not in found or found[v.name].shape != v.type.shape:
                got = f"got {list(found[v.name].shape)}" if v.name in found else "which is missing"
                raise GraphError(f"{self.graph.name} wants {v.name!r} of shape {list(v.type.shape)}, {got}")
        for n in self.graph.nodes:
            if n.name in self.calls:
                call = self.calls[n.name]
                found[call.writes[0]] = call_values(call, [found[v] for v in call.reads], nfu)
            elif n.op.is_view or n.name in self._references:
                made = n.op.reference([found[v] for v in n.inputs], n.attrs)
                found.update((v.name, np.asarray(a)) for v, a in zip(n.outputs, made, strict=True))
        return found

    def logits(self, values: Mapping[str, Array], images: npt.NDArray[np.float32], nfu: Nfu) -> npt.NDArray[np.float32]:
        """Logits of any number of images, f32 [n, classes]; what is missing in the last batch are images of zeros."""
        size, name = self.graph.type_of("x").shape[0], self.graph.outputs["logits"]
        parts = []
        for first, end in pairwise((*range(0, len(images), size), len(images))):
            batch = np.zeros((size, *images.shape[1:]), np.float32)
            batch[: end - first] = images[first:end]
            parts.append(self.run(values, batch, nfu)[name][: end - first])
        return np.concatenate(parts)

    def floats(self, words: Mapping[str, Array], name: str) -> npt.NDArray[np.float32]:
        """A value of `run` as numbers."""
        found = words[name]
        return real(found, self.formats[name]) if found.dtype == np.int16 else found


def logits(graph: Graph, values: Mapping[str, Array], images: npt.NDArray[np.float32], nfu: Nfu) -> npt.NDArray[np.float32]:
    """What `Inference.logits` gives."""
    return Inference(graph).logits(values, images, nfu)


def call_values(call: Call, reads: list[Array], nfu: Nfu) -> Words:
    """What an NFU makes of a call's operands.

    Parameters
    ----------
    call : of an NFU's kernel.
    reads : its operands, i16, of the shapes that it says.
    nfu : the hardware; formats are those of the call.

    Raises
    ------
    HwError : the NFU cannot do it.
    """
    layer, nfu = layer_of(call), formatted(nfu, call)
    inputs, synapses, biases = operands(layer, call, reads, nfu)
    made = layer_values(layer, nfu, inputs, synapses, biases, schedule_of(layer, nfu))
    return made.reshape(_shape(layer, call))


def operands(layer: Layer, call: Call, reads: list[Array], nfu: Nfu) -> tuple[Words, Words | None, Words | None]:
    """Images with their border, synapses and biases as `runtime.nfu.values` wants them, of a call's operands."""
    x = reads[0]
    if layer.kind is Kind.POOL:
        x = x.reshape(layer.batch, layer.ny - 2 * layer.border[0], layer.nx - 2 * layer.border[1], layer.ni)
        return _bordered(x, layer, nfu.neuron.lowest if layer.pooling is Pooling.MAX else 0), None, None
    biases = np.ascontiguousarray(reads[2]) if layer.has_bias else None
    if layer.kind is Kind.CLASSIFIER:
        w = reads[1].T if call.attrs["tb"] else reads[1]
        return np.ascontiguousarray(x[None, None]), np.ascontiguousarray(w[None, None]), biases
    return _bordered(x, layer, 0), np.ascontiguousarray(reads[1]), biases


def _bordered(x: Array, layer: Layer, word: int) -> Words:
    rows, columns = layer.border
    return np.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)), constant_values=word)


def _shape(layer: Layer, call: Call) -> tuple[int, ...]:
    if layer.kind is Kind.CLASSIFIER:
        return layer.nx, layer.no
    if call.kernel.removeprefix(PREFIX) in ("relu", "tanh"):
        return call.types[0].shape
    return layer.batch, layer.oy, layer.ox, layer.no


def schedule_of(layer: Layer, nfu: Nfu) -> Schedule:
    """The best one. It depends on formats and arithmetic by the bytes of words alone, so one is looked for."""
    neuron, synapse = (Fixed(bits=8 * n, fraction=0) for n in (nfu.word_bytes, nfu.synapse_bytes))
    return best(layer, replace(nfu, neuron=neuron, synapse=synapse, arithmetic=Arithmetic())).schedule
