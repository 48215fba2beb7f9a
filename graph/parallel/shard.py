"""One rank's part of a model: layers cut by their outputs (units, channels) over ranks, with the exchanges that this takes.

`shard` turns the forward graph of a model into the forward graph of one of several like ranks. Every value then is one of

* ``rows``: this rank's samples, as in data parallelism (before the first fully connected layer, when a scheme is given);
* ``whole``: all samples (of a round), every column; the same at every rank;
* ``columns``: all samples (of a round), this rank's share of the last axis.

A convolution or matrix product reads a whole value and makes columns; what treats channels one by one stays with columns; what
looks across them (response normalization, flattening, dropout, whose bits go by place in the row, the loss) gets whole values and
is computed by every rank alike. Where a value is needed in another form, exchange operators (`graph.ops.exchange`) are put in,
each in a layer of its own. A grouped convolution whose groups divide over the ranks needs none.

Gradients follow from the operators' rules. Of a whole value that cut layers read, every rank makes an addend of the gradient, so
its exchange sums; of one that all ranks treat alike, all make the same gradient, and each just keeps its part (``same``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from math import prod

from graph.errors import InvalidPlan
from graph.ir import Graph, Input, Kind, Node, Phase, Value
from graph.op import OPS, Attr
from graph.ops.exchange import WHOLE
from graph.record import record
from graph.tensor_type import TensorType, i64

GATHERED_SAMPLE = "gathered_sample"
"""Counter: number, within its step, of the first sample of a gathered batch."""
BY_CHANNEL = frozenset({"add_bias", "relu", "tanh", "add", "scale", "max_pool", "avg_pool", "batch_norm", "blend"})
"""Operators that treat every channel (place of the last axis) by itself."""
DENSE = frozenset({"matmul", "conv2d"})


class Form(StrEnum):
    """What a rank holds of a value."""

    ROWS = "rows"
    WHOLE = "whole"
    COLUMNS = "columns"


class Way(StrEnum):
    """How a rank computes a node."""

    ROWS = "rows"  # for its own samples
    CUT = "cut"  # reads whole values, makes its columns
    COLUMNS = "columns"  # reads and makes its columns
    WHOLE = "whole"  # as every other rank does


READS = {Way.ROWS: Form.ROWS, Way.CUT: Form.WHOLE, Way.COLUMNS: Form.COLUMNS, Way.WHOLE: Form.WHOLE}
MAKES = {**READS, Way.CUT: Form.COLUMNS}


@record
class Sharded:
    """A rank's forward graph.

    Parameters
    ----------
    graph : forward and loss.
    axes : parameter or state -> axis along which ranks hold parts of it; what is not named they hold whole.
    inner : layers that see the samples of all ranks; with one rank alone there are none.
    copied : parameters of those that every rank holds whole and makes the same gradient of, since they do not divide.
    border : layers of the exchanges between ``rows`` and ``whole``.
    """

    graph: Graph
    axes: Mapping[str, int]
    inner: frozenset[str]
    copied: frozenset[str]
    border: frozenset[str]


def shard(model: Graph, ranks: int, scheme: str | None = None) -> Sharded:
    """Cut a model over ranks.

    Parameters
    ----------
    model : forward graph; with a scheme of one rank's samples, else of all.
    ranks : how many.
    scheme : of `graph.ops.exchange`: layers before the first fully connected one keep to their own samples, and what later ones
        read of them is gathered so. None: every rank sees all samples, every layer is cut.

    Raises
    ------
    InvalidPlan : a layer does not divide by the ranks though later ones do, or none does; or a scheme is given and the model has
        no convolution before its fully connected layers, or none of these. The message says what would do.
    """
    inner = _inner(model, scheme)
    if ranks == 1:
        return Sharded(graph=model, axes={}, inner=frozenset(), copied=frozenset(), border=frozenset())
    return _Emitter(_Analysis(model, ranks, inner), scheme or WHOLE).sharded()


def _inner(model: Graph, scheme: str | None) -> frozenset[str]:
    """Layers that see the samples of all ranks."""
    layers = model.layers(Phase.FORWARD)
    if scheme is None:
        return frozenset(layers)
    trained = {p.name for p in model.of_kind(Kind.PARAMETER)}
    full = [n.layer for n in model.nodes if n.op.name == "matmul" and n.inputs[1] in trained]
    convolutions = [n.layer for n in model.nodes if n.op.name == "conv2d"]
    if not full:
        raise InvalidPlan(f"hybrid cuts fully connected layers, and {model.name} has none; use data_parallel, model or layers")
    inner = layers[layers.index(full[0]) :]
    if not convolutions:
        raise InvalidPlan(
            f"hybrid wants convolutions before the fully connected layers, {model.name} has none; use model or layers"
        )
    if late := [c for c in convolutions if c in inner]:
        raise InvalidPlan(
            f"hybrid wants convolutions before the fully connected layers, but {late[0]} follows {full[0]}; use model"
        )
    return frozenset(inner)


def groups_of(n: Node) -> int:
    """Groups of a convolution; 1 of a matrix product."""
    groups = n.attrs.get("groups", 1)
    return groups if isinstance(groups, int) else 1


class _Analysis:
    """How each node of a model is computed, in which form each value is made and in which others it is needed.

    Attributes
    ----------
    ways : node -> how a rank computes it.
    made : value -> the form in which it is made; parameters, state and counters have none.
    needed : value -> forms in which it is read.
    same : value -> whether the gradient of its whole form is the same at every rank, not an addend of it.
    axes : as in `Sharded`.
    """

    def __init__(self, model: Graph, ranks: int, inner: frozenset[str]) -> None:
        self.model, self.ranks, self.inner = model, ranks, inner
        self.trained = {v.name for kind in (Kind.PARAMETER, Kind.STATE) for v in model.of_kind(kind)}
        self.loose = self.trained | {v.name for v in model.of_kind(Kind.COUNTER)}
        self.has_rows = inner != frozenset(model.layers(Phase.FORWARD))
        self.made = {v.name: Form.ROWS if self.has_rows else Form.WHOLE for v in model.of_kind(Kind.DATA)}
        self.ways: dict[str, Way] = {}
        self.needed: dict[str, set[Form]] = {}
        self.axes: dict[str, int] = {}
        for n in model.nodes:
            way = self.ways[n.name] = self._way(n) if n.layer in inner else Way.ROWS
            self.made.update((v.name, MAKES[way]) for v in n.outputs)
            for v in n.inputs:
                if v not in self.loose:
                    self.needed.setdefault(v, set()).add(READS[way])
                elif v in self.trained and way in (Way.CUT, Way.COLUMNS):
                    self.axes[v] = model.type_of(v).rank - 1
        if not self.axes:
            raise InvalidPlan(f"{model.name} has no layer that {ranks} ranks can share evenly; {self._instead()}")
        self.same = self._gradients()

    def _way(self, n: Node) -> Way:
        operands = [v for v in n.inputs if v not in self.trained]
        if n.op.name in DENSE and n.inputs[1] in self.trained:
            if groups_of(n) > 1:
                return Way.COLUMNS if groups_of(n) % self.ranks == 0 else Way.WHOLE
            is_plain = not n.attrs.get("ta") and not n.attrs.get("tb")
            return Way.CUT if is_plain and n.outputs[0].type.shape[-1] % self.ranks == 0 else Way.WHOLE
        stays = n.op.name in BY_CHANNEL or (n.op.name == "flatten" and prod(self.model.type_of(n.inputs[0]).shape[1:-1]) == 1)
        return Way.COLUMNS if stays and operands and all(self.made[v] is Form.COLUMNS for v in operands) else Way.WHOLE

    def _gradients(self) -> dict[str, bool]:
        """Backwards from the loss: is the gradient of a value's whole form the same everywhere, or an addend?"""
        arrives: dict[str, set[bool]] = {self.model.outputs.get("loss", ""): {True}}
        moves, blocked = self._influenced(), list[Node]()
        for n in reversed(self.model.nodes):
            way = self.ways[n.name]
            if way is Way.ROWS or n.phase is Phase.UPDATE:
                continue
            found = {Way.CUT: {False}, Way.COLUMNS: {True}}.get(way) or arrives.get(n.outputs[0].name, set())
            if way is Way.WHOLE and False in found and not self.trained.isdisjoint(n.inputs):
                blocked.append(n)
            for v in n.inputs:
                if v not in self.loose and (way is not Way.COLUMNS or self.made[v] is not Form.COLUMNS):
                    arrives.setdefault(v, set()).update(found)
        if blocked:
            n = blocked[-1]
            width = f"{groups_of(n)} groups" if groups_of(n) > 1 else f"{n.outputs[0].type.shape[-1]} columns"
            raise InvalidPlan(
                f"{self.ranks} ranks cannot share layer {n.layer!r} of {self.model.name} evenly ({width}), but later ones; "
                f"{self._instead()}"
            )
        for v, found in arrives.items():
            if len(found) > 1 and v in moves:
                raise InvalidPlan(
                    f"{v!r} of {self.model.name} is read by layers that {self.ranks} ranks share and by others; use data_parallel"
                )
        return {v: found == {True} for v, found in arrives.items()}

    def _influenced(self) -> set[str]:
        """Values that parameters influence: those whose gradients are wanted."""
        found = set(self.trained)
        for n in self.model.nodes:
            if not found.isdisjoint(n.inputs):
                found.update(v.name for v in n.outputs)
        return found

    def _instead(self) -> str:
        """The nearest number of ranks that can share every layer but the last."""
        dense = [n for n in self.model.nodes if n.op.name in DENSE and n.layer in self.inner and n.inputs[1] in self.trained]
        for ranks in range(self.ranks - 1, 1, -1):
            if all(
                (n.outputs[0].type.shape[-1] if groups_of(n) == 1 else groups_of(n)) % ranks == 0 for n in dense[:-1] or dense
            ):
                return f"use {ranks} ranks"
        return "use data_parallel"


class _Emitter:
    """Writes the nodes of a rank's graph."""

    def __init__(self, found: _Analysis, scheme: str) -> None:
        self.found, self.model, self.ranks, self.scheme = found, found.model, found.ranks, scheme
        self.nodes: list[Node] = []
        self.types: dict[str, TensorType] = {}
        self.layers: dict[str, str] = {}  # value -> layer of the node that makes it
        self.base: dict[str, str] = {}  # layer -> the layer of the model that it goes on with, after an exchange
        self.latest: dict[str, str] = {}  # layer of the model -> the layer that goes on with it now
        self.forms: dict[tuple[str, Form], str] = {}
        self.border: set[str] = set()
        self.new_inner: set[str] = set()

    def sharded(self) -> Sharded:
        """Every node in its way, every value in the forms that are needed of it."""
        inputs = [self._input(i) for i in self.model.inputs]
        for i in self.model.inputs:
            if i.kind is Kind.DATA:
                self._forms_of(i.value.name)
        for n in self.model.nodes:
            self._emit(n)
        read = {v for n in self.nodes for v in n.inputs}
        if GATHERED_SAMPLE in read:
            inputs.append(Input(value=Value(name=GATHERED_SAMPLE, type=i64()), kind=Kind.COUNTER))
        kept = tuple(i for i in inputs if i.kind is not Kind.COUNTER or i.value.name in read)
        outputs = {role: self.forms.get((v, Form.WHOLE), v) for role, v in self.model.outputs.items()}
        graph = Graph(name=self.model.name, inputs=kept, nodes=tuple(self.nodes), outputs=outputs, updates=self.model.updates)
        whole = [v.name for v in graph.of_kind(Kind.PARAMETER) if v.name not in self.found.axes]
        copied = frozenset(p for p in whole if self.model.consumers[p][0].layer in self.found.inner)
        inner = self.found.inner | self.new_inner
        return Sharded(graph=graph, axes=dict(self.found.axes), inner=inner, copied=copied, border=frozenset(self.border))

    def _input(self, i: Input) -> Input:
        t = i.value.type
        if i.value.name in self.found.axes:
            t = replace(t, shape=(*t.shape[:-1], t.shape[-1] // self.ranks))
        self.types[i.value.name] = t
        return replace(i, value=Value(name=i.value.name, type=t))

    def _emit(self, n: Node) -> None:
        way = self.found.ways[n.name]
        inputs = tuple(v if v in self.found.loose else self.forms.get((v, READS[way]), v) for v in n.inputs)
        if self.found.has_rows and n.layer in self.found.inner:
            inputs = tuple(GATHERED_SAMPLE if v == "sample" else v for v in inputs)
            self.types[GATHERED_SAMPLE] = i64()
        attrs = dict(n.attrs)
        if way is Way.COLUMNS and n.op.name == "conv2d":
            attrs["groups"] = groups_of(n) // self.ranks
        layer = n.layer if n.phase is Phase.UPDATE else self.latest.get(n.layer, n.layer)
        types = n.op.infer([self.types[v] for v in inputs], attrs)
        outputs = tuple(Value(name=v.name, type=t) for v, t in zip(n.outputs, types, strict=True))
        self._add(replace(n, inputs=inputs, outputs=outputs, attrs=attrs, layer=layer))
        for v in n.outputs:
            self._forms_of(v.name)

    def _add(self, n: Node) -> None:
        self.nodes.append(n)
        for v in n.outputs:
            self.types[v.name], self.layers[v.name] = v.type, n.layer

    def _forms_of(self, v: str) -> None:
        """Put in the exchanges that bring a value into the forms that are needed of it."""
        made = self.found.made[v]
        needed = self.found.needed.get(v, set()) - {made}
        layer, same, whole = self.layers.get(v, v), self.found.same.get(v, False), v
        if made is Form.ROWS and needed:
            self.border.add(f"{layer}.gather")
            whole = self._apply("gather_rows", v, f"{layer}.gather", ranks=self.ranks, scheme=self.scheme, same=same)
        elif made is Form.COLUMNS and needed:
            whole = self._apply("gather_rows", v, f"{layer}.gather", ranks=self.ranks, scheme=WHOLE, same=same)
            layer = self._go_on(layer, "whole")
            whole = self._whole_columns(whole, self.types[v].shape, layer)
        self.forms[v, Form.WHOLE] = whole
        if made is not Form.COLUMNS and Form.COLUMNS in needed:
            self.forms[v, Form.COLUMNS] = self._own_columns(whole, layer)
            self._go_on(layer, "columns")

    def _go_on(self, layer: str, how: str) -> str:
        """What comes after an exchange cannot be in the layer that came before it: it goes on under another name."""
        base, new = self.base.get(layer, layer), f"{layer}.{how}"
        self.base[new] = base
        self.latest[base] = new
        return new

    def _whole_columns(self, v: str, shape: Sequence[int], layer: str) -> str:
        """From the ranks' columns one after the other, [ranks * rows, ..., columns], to whole rows."""
        rows, columns = prod(shape[:-1]), shape[-1]
        v = self._apply("reshape", v, layer, shape=(self.ranks, rows, columns))
        v = self._apply("transpose", v, layer, axes=(1, 0, 2))
        return self._apply("reshape", v, layer, shape=(*shape[:-1], columns * self.ranks))

    def _own_columns(self, v: str, layer: str) -> str:
        """From whole rows to this rank's columns: all ranks hold the same, so nothing travels; its gradient is gathered."""
        shape = self.types[v].shape
        rows, columns = prod(shape[:-1]), shape[-1] // self.ranks
        v = self._apply("reshape", v, f"{layer}.cut", shape=(rows, self.ranks, columns))
        v = self._apply("transpose", v, f"{layer}.cut", axes=(1, 0, 2))
        v = self._apply("reshape", v, f"{layer}.cut", shape=(self.ranks * shape[0], *shape[1:-1], columns))
        return self._apply("scatter_rows", v, f"{layer}.part", ranks=self.ranks, scheme=WHOLE, same=True)

    def _apply(self, op: str, v: str, layer: str, **attrs: Attr) -> str:
        """A node of one operand, named after its layer and operator."""
        taken, stem = {n.name for n in self.nodes if n.layer == layer}, f"{layer}/{op}"
        name = next(f"{stem}{k}" for k in ("", *(f".{k}" for k in range(2, 99))) if f"{stem}{k}" not in taken)
        full = OPS[op].complete(attrs)
        (t,) = OPS[op].infer([self.types[v]], full)
        self.new_inner.add(layer)
        out = Value(name=name, type=t)
        self._add(Node(name=name, op=OPS[op], inputs=(v,), outputs=(out,), attrs=full, layer=layer, phase=Phase.FORWARD))
        return name
