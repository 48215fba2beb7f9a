"""The text form of a graph: one line a declaration, parses back to an equal graph.

::

    graph mlp
    input x: f32[2,4] data
    input fc1.weight: f32[4,3] parameter
    node fc1/matmul = matmul(x, fc1.weight; ta=False, tb=False) -> fc1/matmul: f32[2,3] @ forward fc1
    output logits = fc1/matmul
    update fc1.weight = fc1.weight.new

Attributes are Python literals. Empty lines and lines that begin with ``#`` mean nothing.
"""

import ast
import re
from collections.abc import Callable

from graph.errors import GraphError
from graph.ir import Graph, Input, Kind, Node, Phase, Value
from graph.op import OPS, Attr
from graph.tensor_type import TensorType

_NAME = re.compile(r"[\w./:#-]+")


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise GraphError(f"the name {name!r} has no text form; names are made of letters, digits and _ . / : # -")
    return name


def _declared(v: Value) -> str:
    return f"{_checked(v.name)}: {v.type}"


def _node_line(n: Node) -> str:
    attrs = "".join(f"{'; ' if k == 0 else ', '}{name}={_literal(value)}" for k, (name, value) in enumerate(n.attrs.items()))
    made = ", ".join(map(_declared, n.outputs))
    layer = f" {_checked(n.layer)}" if n.layer else ""
    return f"node {_checked(n.name)} = {n.op.name}({', '.join(n.inputs)}{attrs}) -> {made} @ {n.phase.value}{layer}"


def _literal(value: Attr) -> str:
    return repr(str(value)) if isinstance(value, str) else repr(value)


def to_text(graph: Graph) -> str:
    """The text of a graph; raises `GraphError` when a name cannot be written."""
    lines = [f"graph {_checked(graph.name)}"]
    lines += [f"input {_declared(i.value)} {i.kind.value}" for i in graph.inputs]
    lines += map(_node_line, graph.nodes)
    lines += [f"output {_checked(role)} = {v}" for role, v in graph.outputs.items()]
    lines += [f"update {old} = {new}" for old, new in graph.updates.items()]
    return "\n".join(lines) + "\n"


class _Parser:
    """Reads lines; every complaint is raised as `GraphError` and gets its line number from `from_text`."""

    def __init__(self) -> None:
        self.name = ""
        self.known: dict[str, TensorType] = {}
        self.inputs: list[Input] = []
        self.nodes: list[Node] = []
        self.outputs: dict[str, str] = {}
        self.updates: dict[str, str] = {}

    def match(self, pattern: str, rest: str, right: str) -> tuple[str, ...]:
        m = re.fullmatch(pattern, rest)
        if m is None:
            raise GraphError(f"cannot read {rest!r}; write {right}")
        return tuple(g or "" for g in m.groups())

    def value(self, text: str) -> Value:
        name, t = self.match(r"([\w./:#-]+): (\S+)", text, "NAME: TYPE, e.g. x: f32[64,8,8,1]")
        if name in self.known:
            raise GraphError(f"{name!r} is defined a second time")
        self.known[name] = TensorType.parse(t)
        return Value(name=name, type=self.known[name])

    def existing(self, name: str) -> str:
        if name not in self.known:
            raise GraphError(f"{name!r} is not defined before this line")
        return name

    def graph(self, rest: str) -> None:
        (self.name,) = self.match(r"([\w./:#-]+)", rest, "graph NAME")

    def input(self, rest: str) -> None:
        declared, kind = self.match(r"(.+) (\w+)", rest, "input NAME: TYPE KIND")
        if kind not in tuple(Kind):
            raise GraphError(f"unknown kind of input {kind!r}; known: {', '.join(Kind)}")
        self.inputs.append(Input(value=self.value(declared), kind=Kind(kind)))

    def node(self, rest: str) -> None:
        right = "node NAME = OPERATOR(VALUE, ...; ATTRIBUTE=LITERAL, ...) -> NAME: TYPE, ... @ PHASE LAYER"
        pattern = r"([\w./:#-]+) = (\w+)\(([^;]*)(?:; (.*))?\) -> (.+) @ (\w+)(?: ([\w./:#-]+))?"
        name, op_name, operands, attr_text, made, phase, layer = self.match(pattern, rest, right)
        op = OPS[op_name]
        inputs = tuple(self.existing(v) for v in operands.split(", ") if v)
        attrs = op.complete(_attrs(attr_text))
        inferred = op.infer([self.known[v] for v in inputs], attrs)
        outputs = tuple(self.value(v) for v in made.split(", "))
        if inferred != tuple(v.type for v in outputs):
            made = ", ".join(str(v.type) for v in outputs)
            raise GraphError(f"{op_name} makes {', '.join(map(str, inferred))} here, not {made}")
        if phase not in tuple(Phase):
            raise GraphError(f"unknown phase {phase!r}; known: {', '.join(Phase)}")
        self.nodes.append(Node(name=name, op=op, inputs=inputs, outputs=outputs, attrs=attrs, layer=layer, phase=Phase(phase)))

    def output(self, rest: str) -> None:
        role, value = self.match(r"(\S+) = (\S+)", rest, "output ROLE = VALUE")
        self.outputs[role] = self.existing(value)

    def update(self, rest: str) -> None:
        old, new = self.match(r"(\S+) = (\S+)", rest, "update INPUT = VALUE")
        self.updates[self.existing(old)] = self.existing(new)


def _attrs(text: str) -> dict[str, Attr]:
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
            raise ValueError
        return {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError):
        raise GraphError(f"cannot read the attributes {text!r}; write NAME=LITERAL, ...") from None


def from_text(text: str) -> Graph:
    """Parse the text form; raises `GraphError` that begins with the line number."""
    p = _Parser()
    readers: dict[str, Callable[[str], None]] = {
        "graph": p.graph,
        "input": p.input,
        "node": p.node,
        "output": p.output,
        "update": p.update,
    }
    for number, line in enumerate(text.splitlines(), 1):
        word, _, rest = line.strip().partition(" ")
        if not word or word.startswith("#"):
            continue
        try:
            if word not in readers:
                raise GraphError(f"a line begins with {', '.join(readers)}, not {word!r}")
            readers[word](rest)
        except GraphError as e:
            raise GraphError(f"line {number}: {e}") from None
    if not p.name:
        raise GraphError("line 1: the text must begin with 'graph NAME'")
    return Graph(name=p.name, inputs=tuple(p.inputs), nodes=tuple(p.nodes), outputs=p.outputs, updates=p.updates)
