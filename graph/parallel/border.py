"""A graph cut at borders between layers: what each role has of it, and which values cross."""

from collections.abc import Collection, Mapping

from graph.errors import InvalidPlan
from graph.ir import Graph, Input, Kind, Phase
from graph.parallel.programs.stages import Crossing


def _root(graph: Graph, value: str) -> str:
    """The value whose memory a view shows."""
    while value in graph.producer and graph.producer[value].op.is_view:
        value = graph.producer[value].inputs[0]
    return value


def crossings_of(graph: Graph, role_of: Mapping[str, str], *, strategy: str, advice: str) -> list[Crossing]:
    """What is made in one role and read in another, in the order in which it is made.

    Parameters
    ----------
    graph : the whole.
    role_of : layer -> role.
    strategy, advice : for messages: whose cut it is, and what would do instead.

    Raises
    ------
    InvalidPlan : a role reads a value in two forms, or in a form that the role which makes the value does not have.
    """
    place = {v.name: k for k, n in enumerate(graph.nodes) for v in n.outputs}
    order = {role: k for k, role in enumerate(dict.fromkeys(role_of[n.layer] for n in graph.nodes))}
    wanted: dict[tuple[str, str], str] = {}
    for n in graph.nodes:
        for v in n.inputs:
            to, root = role_of[n.layer], _root(graph, v)
            if v not in place or role_of[graph.producer[v].layer] == to:
                continue
            if root not in place or role_of[graph.producer[root].layer] == to or wanted.setdefault((root, to), v) != v:
                raise InvalidPlan(
                    f"{strategy}: {n.name!r} of {graph.name} reads {v!r}, another form of {root!r}, across a border between "
                    f"roles; {advice}"
                )
    found = []
    for (root, to), v in sorted(wanted.items(), key=lambda w: (place[w[0][0]], order[w[0][1]])):
        maker = graph.producer[root]
        found.append(
            Crossing(
                what="activation" if maker.phase is Phase.FORWARD else "gradient",
                value=root,
                read_as=v,
                layer=maker.layer,
                source=role_of[maker.layer],
                to=to,
            )
        )
    return found


def part_of(graph: Graph, members: Collection[str]) -> Graph:
    """The nodes of some layers; what they read of others' is given to them."""
    nodes = tuple(n for n in graph.nodes if n.layer in members)
    made, kinds = {v.name for n in nodes for v in n.outputs}, {i.value.name: i.kind for i in graph.inputs}
    given = {v for n in nodes for v in n.inputs} - made
    order = [v for v in graph.values if v in given]
    return Graph(
        name=graph.name,
        inputs=tuple(Input(value=graph.values[v], kind=kinds.get(v, Kind.DATA)) for v in order),
        nodes=nodes,
        outputs={role: v for role, v in graph.outputs.items() if v in made},
        updates={old: new for old, new in graph.updates.items() if new in made},
    )
