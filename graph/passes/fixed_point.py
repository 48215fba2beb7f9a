"""An inference graph in fixed point: each run of operators that a fixed-point device can do stands between `dequantize` and
`quantize`, so that what passes from one to the next, and every parameter that they read, is i16 in memory.

Run as it is written, on any device, such a graph computes in floats on numbers of the formats' grids. A kernel that takes the
conversions in (`hw.fusion`) computes on the words themselves.

Policy
------
* A run is a convolution or matrix product, with the bias and the activation that follow it in the same layer when nobody else
  reads what lies between; or a pooling or an activation by itself.
* Data is quantized once, in a layer of its own. Parameters of a run are inputs of type i16 under their old names, so they are
  quantized when they are loaded (`fixed_values`) and never in a step.
* Views pass words on as words. All other operators stay as they are: they read what is dequantized for them, and what they make
  is quantized only where a run reads it. Results of the graph are floats.
* A conversion belongs to the layer of the operator that it serves, so each layer dequantizes for itself.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from graph.errors import GraphError, nearest
from graph.fixed_point import Fixed, Rounding, quantized
from graph.ir import Graph, Input, Kind, Node, Phase, Value
from graph.op import OPS, Array, Attr
from graph.ops.quantize import format_of
from graph.tensor_type import DType, TensorType

DEVICE_OPERATORS = frozenset({"conv2d", "local_conv2d", "matmul", "add_bias", "relu", "tanh", "max_pool", "avg_pool"})
"""Operators that runs are made of."""
PRODUCTS = frozenset({"conv2d", "local_conv2d", "matmul"})
ACTIVATIONS = frozenset({"relu", "tanh"})
DATA_LAYER = "input"
"""The layer in which data is quantized."""


def fixed_point(
    graph: Graph,
    *,
    neuron: Fixed,
    synapse: Fixed,
    bias: Fixed | None = None,
    rounding: Rounding = Rounding.NEAREST,
    operators: Collection[str] = DEVICE_OPERATORS,
    is_open: bool = False,
) -> Graph:
    """The graph with its runs between conversions.

    Parameters
    ----------
    graph : an inference graph (`graph.passes.inference`), in f32.
    neuron : format of data and of what runs make.
    synapse : format of weights.
    bias : format of biases; None: that of neurons.
    rounding : of what a run makes; not stochastic.
    operators : what the device can do, of `DEVICE_OPERATORS`.
    is_open : results that runs make leave as words; the graph is a part of a larger one in fixed point.

    Returns
    -------
    A graph with the same inputs, those parameters that runs read as i16, and the same outputs.

    Raises
    ------
    GraphError : the graph is no inference graph, or there is no such operator among `DEVICE_OPERATORS`.
    TypeMismatch : the graph is not in f32, or the rounding is stochastic.
    """
    for name in operators:
        if name not in DEVICE_OPERATORS:
            raise GraphError(f"no run in fixed point is made of {name!r}; {nearest(name, DEVICE_OPERATORS)}")
    if graph.updates or any(n.phase is not Phase.FORWARD for n in graph):
        raise GraphError(f"{graph.name} is no inference graph; make one with graph.passes.inference")
    work = _Conversion(graph, _runs(graph, operators), neuron, synapse, bias or neuron, rounding)
    for i in graph.inputs:
        work.input(i)
    for n in graph.nodes:
        work.node(n)
    is_word = work.words if is_open else ()
    outputs = {role: work.words[v][0].name if v in is_word else work.floats(v, work.home(v)) for role, v in graph.outputs.items()}
    return Graph(name=graph.name, inputs=tuple(work.inputs), nodes=tuple(work.nodes), outputs=outputs)


def fixed_formats(graph: Graph) -> dict[str, Fixed]:
    """Name of each i16 value that is converted or made by conversion, also through views -> its format."""
    found: dict[str, Fixed] = {}
    for n in reversed(graph.nodes):
        if n.op.name in ("quantize", "dequantize"):
            words = n.outputs[0].name if n.op.name == "quantize" else n.inputs[0]
            found[words] = format_of(n.op.name, n.attrs)
        elif n.op.is_view and n.outputs[0].name in found:
            found[n.inputs[0]] = found[n.outputs[0].name]
    return found


def fixed_values(graph: Graph, values: Mapping[str, Array], *, rounding: Rounding = Rounding.NEAREST) -> dict[str, Array]:
    """What a graph made by `fixed_point` is fed with, of values as they were trained.

    Parameters
    ----------
    graph : the graph in fixed point.
    values : floats by name; what the graph has no input for is left out, and words (i16) stay as they are.
    rounding : how floats become words where the graph reads words; not stochastic.
    """
    formats, found = fixed_formats(graph), dict[str, Array]()
    for v in (i.value for i in graph.inputs if i.value.name in values):
        given = found[v.name] = values[v.name]
        if v.type.dtype is DType.I16 and given.dtype != DType.I16.numpy:
            if v.name not in formats:
                raise GraphError(f"{graph.name}: nothing says which fixed-point format the words {v.name!r} have")
            found[v.name] = quantized(given, formats[v.name], rounding)
    return found


def _runs(graph: Graph, operators: Collection[str]) -> dict[str, tuple[Node, ...]]:
    """Name of each node of a run -> the run."""
    found: dict[str, tuple[Node, ...]] = {}
    for n in graph.nodes:
        if n.name in found or n.op.name not in operators or n.op.name == "add_bias":
            continue
        run = [n]
        for followers in ({"add_bias"}, ACTIVATIONS) if n.op.name in PRODUCTS else ():
            after = _follower(graph, run[-1])
            if after is not None and after.op.name in followers and after.op.name in operators:
                run.append(after)
        found.update((member.name, tuple(run)) for member in run)
    return found


def _follower(graph: Graph, node: Node) -> Node | None:
    """The only node that sees a node's result, when it continues from it in the same layer."""
    value = node.outputs[0].name
    readers = graph.consumers[value]
    if value in graph.outputs.values() or len(readers) != 1:
        return None
    (reader,) = readers
    return reader if reader.inputs[0] == value and value not in reader.inputs[1:] and reader.layer == node.layer else None


def _wanted(graph: Graph, runs: Mapping[str, tuple[Node, ...]]) -> set[str]:
    """Values that runs read, also through views."""
    found: set[str] = set()
    for n in reversed(graph.nodes):
        if n.op.is_view:
            found.update(n.inputs[:1] if n.outputs[0].name in found else ())
        elif n.name in runs:
            found.update(_read_by(runs[n.name]))
    return found


def _read_by(run: tuple[Node, ...]) -> list[str]:
    """What a run reads from outside."""
    made = {v.name for n in run for v in n.outputs}
    return [v for n in run for v in n.inputs if v not in made]


class _Conversion:
    """Grows, node by node. Values go by their names in the graph that is converted."""

    def __init__(
        self, graph: Graph, runs: Mapping[str, tuple[Node, ...]], neuron: Fixed, synapse: Fixed, bias: Fixed, rounding: Rounding
    ) -> None:
        self.graph, self.runs, self.neuron, self.rounding = graph, runs, neuron, rounding
        self.wanted = _wanted(graph, runs)
        biases = {v for run in runs.values() for n in run if n.op.name == "add_bias" for v in n.inputs[1:]}
        self.stored = {v: bias if v in biases else synapse for v in self.wanted}
        self.inputs: list[Input] = []
        self.nodes: list[Node] = []
        self.plain: dict[str, Value] = {}  # what is there as it was
        self.words: dict[str, tuple[Value, Fixed]] = {}  # what is there as words
        self.read: dict[tuple[str, str], Value] = {}  # what is dequantized for a layer
        self.taken = {*graph.values, *graph.node}

    def input(self, i: Input) -> None:
        """Data stays and is quantized; parameters and state that runs read become words."""
        v = i.value
        if v.name in self.wanted and i.kind in (Kind.PARAMETER, Kind.STATE):
            _check_f32(self.graph, v)
            words = Value(name=v.name, type=TensorType(shape=v.type.shape, dtype=DType.I16))
            self.inputs.append(Input(value=words, kind=i.kind))
            self.words[v.name] = words, self.stored[v.name]
            return
        self.inputs.append(i)
        self.plain[v.name] = v
        if v.name in self.wanted:
            self.quantize(v.name, v, DATA_LAYER)

    def node(self, n: Node) -> None:
        """A run where its last node stands; a view of words or of floats; any other node as it is."""
        if n.name in self.runs:
            run = self.runs[n.name]
            if n.name == run[-1].name:
                self.run(run)
        elif (
            n.op.is_view
            and n.inputs[0] in self.words
            and not (n.inputs[0] in self.plain and n.outputs[0].name not in self.wanted)
        ):
            words, fixed = self.words[n.inputs[0]]
            (made,) = self.add(n, (words,))
            self.words[made.name] = made, fixed
        else:
            for v in self.add(n, tuple(self.float(v, n.layer) for v in n.inputs)):
                self.plain[v.name] = v
                if v.name in self.wanted:
                    self.quantize(v.name, v, n.layer)

    def run(self, run: tuple[Node, ...]) -> None:
        layer, inside = run[0].layer, dict[str, Value]()
        outside = {v: self.dequantized(v, layer) for v in _read_by(run)}
        for n in run:
            made = self.add(n, tuple(inside[v] if v in inside else outside[v] for v in n.inputs))
            inside.update((v.name, v) for v in made)
        self.plain.update((v.name, v) for v in made[1:])
        self.quantize(made[0].name, made[0], layer)

    def floats(self, v: str, layer: str) -> str:
        """Name of the value as floats."""
        return self.float(v, layer).name

    def float(self, v: str, layer: str) -> Value:
        return self.plain[v] if v in self.plain else self.dequantized(v, layer)

    def home(self, v: str) -> str:
        """The layer in which a value is made."""
        return self.graph.producer[v].layer if v in self.graph.producer else DATA_LAYER

    def dequantized(self, v: str, layer: str) -> Value:
        """What the words mean, for a layer."""
        if (v, layer) not in self.read:
            words, fixed = self.words[v]
            self.read[v, layer] = self.convert("dequantize", words, layer, fraction=fixed.fraction, bits=fixed.bits)
        return self.read[v, layer]

    def quantize(self, name: str, v: Value, layer: str) -> None:
        _check_f32(self.graph, v)
        f = self.neuron
        words = self.convert("quantize", v, layer, fraction=f.fraction, bits=f.bits, rounding=str(self.rounding))
        self.words[name] = words, f

    def convert(self, op: str, v: Value, layer: str, **attrs: Attr) -> Value:
        """Add a conversion, named as `graph.frontend.symbol` names nodes."""
        stem = "/".join(filter(None, (layer, op)))
        name, count = stem, 1
        while name in self.taken:
            count += 1
            name = f"{stem}.{count}"
        self.taken.add(name)
        known = OPS[op]
        full = known.complete(attrs)
        made = Value(name=name, type=known.infer([v.type], full)[0])
        self.nodes.append(
            Node(name=name, op=known, inputs=(v.name,), outputs=(made,), attrs=full, layer=layer, phase=Phase.FORWARD)
        )
        return made

    def add(self, n: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        """Add a node on other operands; its results keep their names."""
        types = n.op.infer([v.type for v in inputs], n.attrs)
        outputs = tuple(Value(name=v.name, type=t) for v, t in zip(n.outputs, types, strict=True))
        self.nodes.append(replace(n, inputs=tuple(v.name for v in inputs), outputs=outputs))
        return outputs


def _check_f32(graph: Graph, v: Value) -> None:
    if v.type.dtype is not DType.F32:
        raise GraphError(f"{graph.name}: fixed point replaces f32, but {v.name!r} is {v.type}")
