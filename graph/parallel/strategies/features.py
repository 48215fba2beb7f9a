"""Inference on two kinds of devices: features on some, the classifier on another; samples go through both as through a pipe.

The model's evaluation graph (`graph.passes.inference`) is cut before its first matrix product, where few values cross and the
arithmetic turns from multiply-adds on few weights to many weights that are read once. Each rank of the features has its own
samples; what it makes of them is sent to a classifier, which works while the rank goes on with its next samples: what crosses has
two slots on either side. In a steady state a step takes as long as the slowest of: a rank's features, what comes over a
classifier's link, and a classifier's work on the samples of all ranks that feed it.

With n ranks of b samples and f values of s bytes in a sample's features, n b f s bytes are sent in a step.
"""

from graph.errors import InvalidPlan
from graph.ir import Graph, Kind, Phase
from graph.optimizer import Optimizer
from graph.parallel.border import crossings_of, part_of
from graph.parallel.cut import data_buffer, holders, named, passes_of, segments_of, whole_numbers
from graph.parallel.plan import Buffer, Plan, Role
from graph.parallel.programs.features import Between
from graph.parallel.strategies.inference import forward_graph, kept_buffers
from graph.record import record

FEATURES, CLASSIFIER = "features", "classifier"
SLOTS = 2
"""Of what crosses, and of what is read: one is worked on while the next comes, or the last goes."""


def features(
    model: Graph,
    optimizer: Optimizer,
    *,
    ranks: int,
    steps: int,
    classifiers: int = 1,
    features_on: str = "device",
    classifier_on: str = "device",
    word: int | None = None,
    fraction: int | None = None,
    rounding: str | None = None,
) -> Plan:
    """A plan with the roles ``features``, of `ranks` ranks along the axis ``dp``, and ``classifier``, along ``group``.

    Parameters
    ----------
    model : graph of the batch of one rank of the features.
    optimizer : not looked at; every strategy is given one.
    ranks : of the features.
    steps : batches, one after the other.
    classifiers : ranks of the rest; each is fed by neighbours, as many as any other.
    features_on, classifier_on : where they stand (`hw.place`): ``"device"``, ``"host"``, or a kind of devices, e.g. ``"nfu"``.
    word, fraction, rounding : as of `inference`; then words cross.

    Raises
    ------
    InvalidPlan : a number is below 1, the classifiers cannot share the ranks evenly, or the model has nothing before its first
        matrix product, or none at all.
    """
    whole_numbers("features", ranks=ranks, steps=steps, classifiers=classifiers)
    if ranks % classifiers:
        raise InvalidPlan(
            f"features: {ranks} ranks cannot feed {classifiers} classifiers alike; "
            f"use a number of ranks that {classifiers} divides"
        )
    graph = forward_graph(model, word=word, fraction=fraction, rounding=rounding)
    segments_of(graph)  # refuses what cannot be cut by layer
    role_of = _roles(graph)
    crossings = tuple(crossings_of(graph, role_of, strategy="features", advice="use inference"))
    between = Between(crossings=crossings, axis="dp", to_axis="group", feeding=ranks // classifiers)
    first = _Half(name=FEATURES, axes={"dp": ranks}, place=features_on)
    second = _Half(name=CLASSIFIER, axes={"group": classifiers}, place=classifier_on)
    return Plan(tuple(_role(half, graph, role_of, between, steps) for half in (first, second)), slots=SLOTS)


@record
class _Half:
    """What tells one role from the other."""

    name: str
    axes: dict[str, int]
    place: str


def _roles(graph: Graph) -> dict[str, str]:
    """Layer -> role: the layers from the one with the first matrix product on are the classifier's."""
    order = graph.layers(Phase.FORWARD)
    products = [n.layer for n in graph.nodes if n.op.name == "matmul"]
    if not products:
        raise InvalidPlan(f"features: {graph.name} has no matrix product, so nothing is a classifier; use inference")
    border = order.index(products[0])
    if not any(n.op.name == "conv2d" for n in graph.nodes if order.index(n.layer) < border):
        raise InvalidPlan(f"features wants convolutions before the first matrix product, {graph.name} has none; use inference")
    return {layer: FEATURES if k < border else CLASSIFIER for k, layer in enumerate(order)}


def _role(half: _Half, graph: Graph, role_of: dict[str, str], between: Between, steps: int) -> Role:
    part = part_of(graph, {layer for layer, name in role_of.items() if name == half.name})
    segments = segments_of(part)
    loaded = [v.name for v in graph.of_kind(Kind.DATA) if v.name in part.values]
    if loaded and half.name == CLASSIFIER:
        raise InvalidPlan(f"features: the classifier of {graph.name} reads {loaded[0]!r} itself; use inference")
    letters = {c.buffer: c.value if half.name == FEATURES else c.read_as for c in between.crossings}
    crossing = {
        b: Buffer(size=t.size, itemsize=t.dtype.itemsize, slots=SLOTS, values=(v,))
        for b, v, t in ((b, v, graph.type_of(v)) for b, v in letters.items())
    }
    buffers = {**data_buffer(part, SLOTS, loaded), **crossing, **kept_buffers(part)}
    params = {
        "steps": steps,
        "passes": passes_of(part, segments, (), buffers, holders(part, buffers), is_summed=False),
        "between": between,
    }
    return Role(
        name=half.name,
        program=half.name,
        params=params,
        axes=half.axes,
        buffers=buffers,
        graph=part,
        segments=named(segments, {}),
        places={"compute": half.place},
        batch_along=None if half.name == FEATURES else (),
        loss="none",
    )
