"""Fusion: which nodes of a segment become one kernel call. What a kernel can take in, its record says (`hw.kernels.record`).

Policy
------
* Epilogue: a convolution or matrix product takes a following bias (and ReLU) when nobody else reads the value in between and both
  lie in the same segment.
* Prologue: a kernel reads what an operator before it reads, and does that operator's work itself, when both lie in the same
  segment. The operator gets a call of its own only if somebody else reads its result, too.
"""

from collections.abc import Mapping, Sequence

from graph.ir import Graph, Node
from graph.op import Attr, Work
from graph.record import record
from graph.tensor_type import DType
from hw.kernels.record import Call, KernelRecord


@record
class Fused:
    """What becomes one call.

    Parameters
    ----------
    kernel : its record.
    chain : the anchor and those of the epilogue.
    prologue : value that the chain reads -> the node that makes it, whose work the kernel does.
    """

    kernel: KernelRecord
    chain: Sequence[Node]
    prologue: Mapping[str, Node]

    @property
    def anchor(self) -> str:
        return self.chain[0].name

    def dtypes(self, graph: Graph) -> set[DType]:
        """Element types of what the call reads and of what it makes."""
        read = (self.prologue[v].inputs[0] if v in self.prologue else v for v in _reads(self.chain))
        return {graph.type_of(v).dtype for v in read} | {self.chain[-1].outputs[0].type.dtype}


def fused(graph: Graph, node: Node, kernel: KernelRecord, place: Mapping[str, int]) -> Fused:
    """The node with all that its kernel takes in.

    Parameters
    ----------
    graph, node : what is lowered, and the anchor.
    kernel : its record.
    place : node of the segment -> where it stands there.
    """
    chain = _epilogue(graph, node, kernel, place)
    makers = {v: graph.producer[v] for v in _reads(chain) if v in graph.producer}
    prologue = {v: n for v, n in makers.items() if n.op.name in kernel.prologue and n.name in place and len(n.inputs) == 1}
    return Fused(kernel=kernel, chain=chain, prologue=prologue)


def _epilogue(graph: Graph, node: Node, kernel: KernelRecord, place: Mapping[str, int]) -> list[Node]:
    """The node and those that follow it in the kernel's epilogue, as far as nobody else sees what lies between.

    The call stands where the node stands, so what an epilogue reads beside must have been made before.
    """
    chain, here = [node], place[node.name]
    for wanted in kernel.epilogue:
        reader = _only_reader(graph, chain[-1])
        if reader is None:
            break
        beside = (graph.producer[v].name for v in reader.inputs[1:] if v in graph.producer)
        if reader.op.name == wanted and reader.name in place and all(place.get(n, -1) < here for n in beside):
            chain.append(reader)
        elif not kernel.is_epilogue_optional:
            break
    return chain


def _only_reader(graph: Graph, node: Node) -> Node | None:
    """The one node that reads a node's first result as its first operand, when nothing else of the results is seen."""
    seen = {*graph.outputs.values(), *graph.updates.values()}
    value, *others = (v.name for v in node.outputs)
    readers = graph.consumers[value]
    if len(readers) != 1 or seen & {value, *others} or any(graph.consumers[v] for v in others):
        return None
    (reader,) = readers
    return reader if reader.inputs[0] == value else None


def _reads(chain: Sequence[Node]) -> tuple[str, ...]:
    """What a chain reads: the anchor's operands, then what the epilogue adds."""
    return chain[0].inputs + tuple(v for n in chain[1:] for v in n.inputs[1:])


def taken_over(graph: Graph, parts: Sequence[Fused]) -> set[str]:
    """Nodes that need no call, since every reader's kernel does their work."""
    readers: dict[str, set[str]] = {}
    for p in parts:
        for n in p.prologue.values():
            readers.setdefault(n.name, set()).update(r.name for r in p.chain)
    seen = {*graph.outputs.values(), *graph.updates.values()}
    found = set()
    for name, takers in readers.items():
        (made,) = (v.name for v in graph.node[name].outputs)
        if made not in seen and takers.issuperset(r.name for r in graph.consumers[made]):
            found.add(name)
    return found


def call_of(graph: Graph, part: Fused) -> Call:
    """The call that does all of them."""
    kernel, chain, prologue = part.kernel, part.chain, part.prologue
    anchor, named = chain[0], _reads(chain)
    reads = tuple(prologue[v].inputs[0] if v in prologue else v for v in named)
    types = tuple(graph.type_of(v) for v in reads)
    attrs = {**anchor.attrs, **_fused_attrs(kernel, chain, [prologue.get(v) for v in named])}
    covered = (*chain, *prologue.values())
    total = sum((graph.work(n) for n in chain), Work())
    passed = sum(n.outputs[0].type.nbytes for n in chain[:-1])  # neither written nor read again
    unseen = sum(v.type.nbytes for n in chain[:-1] for v in n.outputs[1:])
    spared = sum(graph.type_of(v).nbytes - t.nbytes for v, t in zip(named, types, strict=True))
    work = Work(
        flop=total.flop + sum(graph.work(n).flop for n in prologue.values()),
        bytes_read=total.bytes_read - passed - spared,
        bytes_written=total.bytes_written - passed - unseen,
    )
    return Call(
        kernel=kernel.name,
        nodes=tuple(n.name for n in covered),
        fused=tuple(n.op.name for n in chain[1:]),
        reads=reads,
        writes=tuple(v.name for v in chain[-1].outputs),
        types=types,
        attrs=attrs,
        work=work,
        workspace=kernel.workspace(types, attrs),
        layer=anchor.layer,
        phase=anchor.phase,
    )


def _fused_attrs(kernel: KernelRecord, chain: Sequence[Node], prologue: Sequence[Node | None]) -> dict[str, Attr]:
    """What a call's attributes say of its epilogue and, operand by operand, of its prologue."""
    found: dict[str, Attr] = {}
    if kernel.epilogue:
        found["epilogue"] = "+".join(n.op.name for n in chain[1:])
        found |= {f"{n.op.name}.{k}": v for n in chain[1:] for k, v in n.attrs.items()}
    if kernel.prologue:
        found["prologue"] = "+".join(n.op.name if n else "" for n in prologue)
        found |= {f"{n.op.name}.{at}.{k}": v for at, n in enumerate(prologue) if n for k, v in n.attrs.items()}
    return found
