"""Synchronous parameter servers: who sends what to whom, in which order; sums bit for bit; and what is refused."""

from collections import Counter

import numpy as np
import pytest

from graph.autodiff import training_graph
from graph.errors import InvalidPlan
from graph.init import init_parameters
from graph.ir import Kind, Phase
from graph.optimizer import Sgd
from graph.parallel import spmd
from graph.parallel.check import check
from graph.parallel.closed_form import total_nbytes
from graph.parallel.plan import Rank, Send
from graph.parallel.strategies import STRATEGIES
from graph.parallel.strategies.parameter_server import parameter_server
from graph.parallel.unroll import unroll
from graph.zoo import MODELS

SGD = Sgd(learning_rate=0.05, momentum=0.9, weight_decay=0.01)
WORKER, SERVER = Rank("worker", (0,)), Rank("server", (0,))


def lenet(batch=4, whole=None):
    return MODELS["lenet"].build(batch, image=(8, 8, 1), width=0.5, denominator=whole or batch)


def build(model=None, **options):
    return parameter_server(model or lenet(), SGD, **{"ranks": 4, "steps": 2, "bucket_bytes": 1 << 30, **options})


def size_of(model):
    return sum(v.type.size for v in model.of_kind(Kind.PARAMETER))


def links(plan):
    """(source, destination) -> bytes of a step."""
    found: Counter = Counter()
    for rank in plan.ranks:
        for a in unroll(plan, rank):
            if isinstance(a.ins, Send):
                found[rank, plan.peer(rank, a.ins.to)] += plan.nbytes(rank, a.ins.what)
    return found


def worker(*at):
    return Rank("worker", at)


def server(*at):
    return Rank("server", at)


def test_bytes_of_every_link_with_servers_on_the_devices():
    """Each rank sends its part of the gradients to each other one, and its part of the new parameters."""
    n, p = 4, size_of(lenet())
    padded = p + -p % n
    pairs = {(worker(a), worker(b)) for a in range(n) for b in range(n) if a != b}
    plan = build(ranks=n)
    assert links(plan) == dict.fromkeys(pairs, 2 * padded // n * 4)
    assert total_nbytes(plan) == 2 * (n - 1) * padded * 4


@pytest.mark.parametrize("count", [1, 2, 3])
def test_bytes_of_every_link_with_servers_on_a_host(count):
    """A worker sends all gradients, in even parts to the servers, and gets all parameters."""
    n, p = 4, size_of(lenet())
    padded = p + -p % count
    plan = build(ranks=n, servers="host", server_count=count)
    to = {(worker(a), server(s)) for a in range(n) for s in range(count)}
    assert links(plan) == dict.fromkeys(to | {(s, w) for w, s in to}, padded // count * 4)
    assert total_nbytes(plan) == 2 * n * padded * 4


def test_bytes_of_every_link_with_servers_on_two_nodes():
    """Three nodes of two devices: a server in each, which gets its third from every worker."""
    p = size_of(lenet())
    padded = p + -p % 3
    plan = build(ranks=6, servers="host", nodes=3)
    assert {k: v for k, v in links(plan).items() if k[0] == worker(1, 1)} == dict.fromkeys(
        ((worker(1, 1), server(s)) for s in range(3)), padded // 3 * 4
    )
    assert total_nbytes(plan) == 2 * 6 * padded * 4


@pytest.mark.parametrize(
    ("nodes", "devices", "count", "pairs"),
    [
        (2, 2, 2, [(0, 0), (1, 1)]),  # device, server that keeps its part
        (2, 4, 2, [(0, 0), (1, 0), (2, 1), (3, 1)]),
        (4, 2, 4, [(0, 0), (0, 1), (1, 2), (1, 3)]),
        (3, 4, 2, [(0, 0), (1, 0), (2, 1), (3, 1)]),  # as many of the three as divide the devices
        (2, 1, 2, [(0, 0), (0, 1)]),
    ],
)
def test_bytes_of_every_link_with_two_levels(nodes, devices, count, pairs):
    """Within a node as with servers on the devices; beyond, each part once a node to and from who keeps it."""
    p = size_of(lenet())
    pieces = max(devices, count)
    padded = p + -p % pieces
    expected: Counter = Counter()
    for i in range(nodes):
        for d, s in pairs:
            expected[worker(i, d), server(s)] = expected[server(s), worker(i, d)] = padded // pieces * 4
        for a in range(devices):
            for b in range(devices):
                if a != b:
                    expected[worker(i, a), worker(i, b)] = 2 * padded // devices * 4
    plan = build(ranks=nodes * devices, servers="host", nodes=nodes, levels=2)
    assert plan.role["server"].axes == {"node": count}
    assert links(plan) == expected
    assert total_nbytes(plan) == 2 * nodes * (devices - 1) * padded * 4 + 2 * nodes * padded * 4


def test_the_story_of_a_server():
    """Gradients bucket by bucket, in the order of ranks, the first replacing what was there; a step; parameters to everybody."""
    plan = build(ranks=3, servers="host", bucket_bytes=4096)
    buckets = [n[2:] for n in plan.role["server"].buffers if n.startswith("w.")]
    assert len(buckets) > 1
    story = [("/".join(map(str, a.id)), getattr(a.ins, "add", None), a.ins.on) for a in unroll(plan, SERVER)]
    expected = []
    for b in buckets:
        expected += [(f"0/push/{b}/{k}/recv", k > 0, "push<") for k in range(3)]
        expected += [(f"0/update/{b}", None, "compute")]
        expected += [(f"0/pull/{b}/{k}/send", None, f"pull.{k}>") for k in range(3)]
    assert story == expected
    peers = [plan.peer(SERVER, a.ins.source) for a in unroll(plan, SERVER) if a.id[-1] == "recv"]
    assert peers == [worker(k) for k in range(3)] * len(buckets)


def test_servers_of_several_nodes_begin_with_their_own():
    plan = build(ranks=6, servers="host", nodes=3)
    peers = [plan.peer(server(1), a.ins.source) for a in unroll(plan, server(1)) if a.id[-1] == "recv"]
    assert peers == [worker(i, d) for i in (1, 2, 0) for d in (0, 1)]


def before(plan, rank, id):
    """Ids of all that must have ended before an action of the first two steps begins."""
    actions = unroll(plan, rank, 2)
    todo, found = [a for a in actions if a.id == id], set()
    while todo:
        for k in todo.pop().needs:
            if actions[k].id not in found:
                found.add(actions[k].id)
                todo.append(actions[k])
    return found


@pytest.mark.parametrize("servers", ["host", "devices"])
def test_a_bucket_is_on_its_way_while_backward_goes_on_and_forward_waits_for_what_it_reads(servers, clock, by_rank):
    plan = build(ranks=2, servers=servers, bucket_bytes=1)
    first, *_, last = [n[2:] for n in plan.role["worker"].buffers if n.startswith("w.")]
    spans = by_rank(clock(plan, lambda rank, do: 1.0))[WORKER]
    sent = (0, "push", first, 0, "send") if servers == "host" else (0, "reduce", first)
    assert spans[sent][1] < spans[0, "backward", "conv1", 0][0]
    needed = {id[2] for id in before(plan, WORKER, (1, "forward", "conv1", 0)) if id[0] == 0 and id[1] in ("pull", "gather")}
    assert last in needed  # conv1 lies in the last bucket
    assert not any(id[1] in ("pull", "gather") for id in before(plan, WORKER, (1, "input", 0)))


def test_roles_have_the_graphs_that_they_compute():
    model = lenet()
    plan = build(model, servers="host", server_count=2)
    there, here = plan.role["server"], plan.role["worker"]
    assert {n.phase for n in there.graph.nodes} == {Phase.UPDATE}
    assert not any(n.phase is Phase.UPDATE for n in here.graph.nodes)
    parameters = {v.name for v in model.of_kind(Kind.PARAMETER)}
    assert (
        {v.name for v in there.graph.of_kind(Kind.PARAMETER)}
        == parameters
        == set(there.graph.updates) - {f"{p}.momentum" for p in parameters}
    )
    assert not here.graph.of_kind(Kind.STATE)
    assert there.places == {"compute": "host"}
    assert (there.loss, there.sample_axes, here.loss) == ("none", (), "share")


def test_state_is_kept_by_those_who_need_it():
    p = size_of(lenet())
    alone, devices = build(ranks=1).role["worker"].buffers["s.b0"], build(ranks=8).role["worker"].buffers["s.b0"]
    assert (alone.size, alone.is_cut) == (p, False)
    assert (devices.size, devices.is_cut, devices.sharded) == (-(-p // 8), True, ("dp",))
    plan = build(servers="host", server_count=3)
    assert not any(n.startswith("s.") for n in plan.role["worker"].buffers)
    assert all(b.is_cut and b.size == -(-p // 3) for b in plan.role["server"].buffers.values())


def test_running_statistics_stay_with_the_workers():
    model = MODELS["resnet50"].build(1, **MODELS["resnet50"].tiny)
    plan = build(model, ranks=2, servers="host")
    statistics = plan.role["worker"].graph.of_kind(Kind.STATE)
    assert statistics
    assert {v.name for v in statistics} == set(plan.role["worker"].buffers["statistics"].values)
    assert not {v.name for v in statistics} & set(plan.role["server"].graph.updates)
    assert not check(plan, steps=1).lost


def played(strategy, whole=8, **options):
    """Parameters and state after two steps of the same batch, in the numbers that kernels compute with."""
    options = {"steps": 2, "bucket_bytes": 4096, **options}
    parts = STRATEGIES[strategy].parts(options)
    model, rng = lenet(whole // parts, whole), np.random.Generator(np.random.Philox(1))
    data = [{"x": rng.standard_normal((whole, 8, 8, 1)), "labels": rng.integers(0, 10, whole)} for _ in range(2)]
    values = init_parameters(training_graph(model, SGD), 3)
    return spmd.run(STRATEGIES[strategy].build(model, SGD, **options), values, data, dtype=np.float32).values


@pytest.mark.parametrize(
    "options",
    [
        {"ranks": 4, "servers": "host"},
        {"ranks": 4, "servers": "host", "server_count": 3},
        {"ranks": 2, "servers": "host", "nodes": 2},
        {"ranks": 2, "servers": "devices"},
    ],
    ids=lambda o: " ".join(map(str, o.values())),
)
def test_sums_are_those_of_one_worker_bit_for_bit(options):
    """As many micro-batches, added in their order."""
    mine, alone = played("parameter_server", **options), played("data_parallel", ranks=1, micro_batches=options["ranks"])
    assert mine.keys() == alone.keys()
    for name, a in alone.items():
        assert a.tobytes() == mine[name].tobytes(), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ranks": 0}, "takes a whole number ranks >= 1, got 0"),
        ({"servers": "hosts"}, "servers are on devices or host, got 'hosts'; did you mean 'host'"),
        ({"server_count": 2}, "server_count=2 counts servers on hosts, .* leave it out, or use servers='host'"),
        ({"levels": 2}, "levels=2 is for servers on hosts; use levels=1, or servers='host'"),
        ({"servers": "host", "levels": 3}, "1 or 2 levels, got 3; use levels=2"),
        ({"servers": "host", "levels": 2}, "there is 1 node; use levels=1, or nodes >= 2"),
        ({"ranks": 6, "nodes": 4}, "6 ranks cannot be spread evenly over 4 nodes; use 4 or 8 ranks"),
        ({"servers": "host", "nodes": 2, "server_count": 5}, "5 servers cannot be .* over 2 nodes; use server_count=4 or 6"),
        ({"ranks": 8, "servers": "host", "nodes": 2, "levels": 2, "server_count": 4}, "got 4; use server_count=1 or 2"),
        (
            {"ranks": 16, "servers": "host", "nodes": 4, "levels": 2, "server_count": 3},
            "4 devices .* got 3; use server_count=2 or 4",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(options, message):
    with pytest.raises(InvalidPlan, match=message):
        build(**options)


def test_more_state_than_parameters_is_refused():
    class Two(Sgd):
        states = ("momentum", "second")

        def apply(self, ev, parameter, gradient, states):
            new, momentum = super().apply(ev, parameter, gradient, states[:1])
            return (
                new,
                momentum,
                ev.apply("sgd", (states[1], gradient, states[0]), learning_rate=0.1, momentum=0.0, weight_decay=0.0)[0],
            )

    with pytest.raises(InvalidPlan, match=r"at most one state a parameter; .* use data_parallel"):
        parameter_server(lenet(), Two(learning_rate=0.1), ranks=2, steps=1, bucket_bytes=1)
