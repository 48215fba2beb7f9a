"""Parameter servers in virtual time: by hand on a uniform network; folded = unfolded on that and on a tree of nodes."""

import pytest

from graph.optimizer import Sgd
from graph.parallel.plan import Plan, Rank, Send
from graph.parallel.strategies.parameter_server import parameter_server
from graph.step_stats import step_stats
from graph.zoo import MODELS
from sim.errors import SimError
from sim.fold import Fold
from sim.model import UniformModel
from sim.play import play

ALPHA, BETA = 5e-6, 1e6
SGD = Sgd(learning_rate=0.1, momentum=0.9)


def build(**options) -> Plan:
    model = MODELS["lenet"].build(2, image=(8, 8, 1), width=0.5)
    return parameter_server(model, SGD, **{"steps": 1, "bucket_bytes": 1 << 30, **options})


def nbytes(plan) -> int:
    return plan.role["worker"].buffers["g.b0"].nbytes


def seconds(plan, **options) -> float:
    return play(plan, UniformModel(alpha=ALPHA, beta=BETA), **options).seconds


@pytest.mark.parametrize("detail", ["flow", "message"])
@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_servers_on_the_devices(ranks, detail):
    """Each port carries the parts of all others, once for the sum and once for the parameters."""
    plan = build(ranks=ranks)
    expected = 2 * (ALPHA + (ranks - 1) / ranks * nbytes(plan) / BETA)
    assert seconds(plan, detail=detail) == pytest.approx(expected, rel=1e-9)
    assert seconds(plan, detail="closed-form") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("ranks", "count"), [(4, 1), (4, 2), (6, 3), (2, 4)])
def test_servers_on_a_host(ranks, count):
    """The ports of a server carry its part from and to all workers; a worker's carry everything once."""
    plan = build(ranks=ranks, servers="host", server_count=count)
    expected = 2 * (ALPHA + max(ranks / count, 1) * nbytes(plan) / BETA)
    assert seconds(plan) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("nodes", "devices", "count"), [(2, 4, 2), (4, 2, 4), (4, 4, 4)])
def test_two_levels(nodes, devices, count):
    """Sum within nodes, parts to and from servers, parameters within nodes; ports are not shared between these."""
    plan = build(ranks=nodes * devices, servers="host", nodes=nodes, levels=2)
    within = ALPHA + (devices - 1) / devices * nbytes(plan) / BETA
    beyond = ALPHA + max(nodes / count, 1 / devices) * nbytes(plan) / BETA
    assert seconds(plan) == pytest.approx(2 * (within + beyond), rel=1e-9)


def test_a_server_adds_while_more_comes():
    """Its sums take time of their own: the last one follows the last letter."""
    plan = build(ranks=4, servers="host")
    t = play(plan, UniformModel(alpha=ALPHA, beta=BETA, recv_rate=2 * BETA))
    last = 4 * nbytes(plan) / BETA + ALPHA  # all four letters come together, since they share the server's port
    adds = [r for r in t if r.rank.role == "server" and r.id[-1] == "recv"]
    assert [r.start for r in adds] == pytest.approx([last + k * nbytes(plan) / (2 * BETA) for k in range(4)])


WORK = {"forward": 1e-4, "backward": 2e-4, "update": 5e-5}


def compute(rank, do):
    return WORK.get(do.kernel.split("/")[0], 1e-6)


def tree(a, b):
    """Ranks with ports of their own, sharing the card of their node; servers stand in nodes; all cards share a spine."""
    if a.at[0] == b.at[0]:
        return (a, "port>"), (b, "port<")
    return (a, "port>"), (a.at[0], "card>"), "spine", (b.at[0], "card<"), (b, "port<")


class Tree:
    """Capacities by kind of link."""

    def get(self, link, default):
        return 8e6 if link == "spine" else {"port": 300e6, "card": 25e6}[link[1][:4]]


UNIFORM = UniformModel(alpha=3e-6, beta=25e6, compute=compute, recv_rate=1e9)
NODES = UniformModel(alpha=3e-6, compute=compute, recv_rate=1e9, routes=tree, capacities=Tree())
CASES = {
    "devices": {"ranks": 8, "nodes": 4},
    "one server a node": {"ranks": 8, "servers": "host", "nodes": 4},
    "two servers a node": {"ranks": 8, "servers": "host", "nodes": 4, "server_count": 8},
    "servers in two of four nodes": {"ranks": 8, "servers": "host", "nodes": 4, "server_count": 2},
    "two levels": {"ranks": 16, "servers": "host", "nodes": 4, "levels": 2},
    "two levels, few devices": {"ranks": 16, "servers": "host", "nodes": 8, "levels": 2},
    "two levels, few nodes": {"ranks": 16, "servers": "host", "nodes": 2, "levels": 2},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("model", [UNIFORM, NODES], ids=["uniform", "nodes"])
@pytest.mark.parametrize("closed", [(), ("direct_reduce_scatter", "direct_all_gather")], ids=["flows", "closed"])
def test_folded_is_unfolded(case, model, closed):
    plan = build(**CASES[case], steps=3, bucket_bytes=2000)
    whole, folded = (play(plan, model, fold=fold, closed=closed) for fold in (False, True))
    times = {(r.rank, r.id): (r.ready, r.start, r.end) for r in whole}
    for r in folded:
        assert (r.ready, r.start, r.end) == pytest.approx(times[r.rank, r.id], rel=1e-9, abs=1e-12)
    players = {r.rank for r in folded}
    assert sum(folded.like.get(r, 1) for r in players) == len(plan.ranks)
    assert len(players) < len(plan.ranks)
    a, b = step_stats(folded), step_stats(whole)
    assert (a.bytes_sent_total, a.flop_total) == (b.bytes_sent_total, b.flop_total)
    assert a.step_s == pytest.approx(b.step_s)
    assert a.exposed_comm_s == pytest.approx(b.exposed_comm_s)


def test_on_a_uniform_network_workers_are_alike_and_servers_are():
    for case in CASES:
        plan = build(**CASES[case])
        assert len(Fold(plan, UNIFORM).reps) == len(plan.roles)


def test_hundreds_of_workers():
    plan = build(ranks=256, servers="host", nodes=16, levels=2, steps=2)
    t = play(plan, NODES, fold=True, closed=("direct_reduce_scatter", "direct_all_gather"))
    assert sum(t.like.values()) == 272
    assert len(t.like) <= 4  # with the server of their part in their own node, or not; those servers


def test_stragglers_are_told_apart():
    """Servers hear from one at different places in their order, which is not looked at: so not to the last digit."""
    plan = build(ranks=8, servers="host", nodes=4, steps=2, bucket_bytes=2000)
    slow = {Rank("worker", (2, 1)): 3.0}
    whole, folded = (play(plan, NODES, fold=fold, slow=slow) for fold in (False, True))
    assert folded.seconds == pytest.approx(whole.seconds, rel=1e-4)
    assert len(folded) < len(whole)


def test_who_is_served_in_turn_is_not_alike():
    """Without a stream for each worker the first has its answer before the last."""
    plan = build(ranks=4, servers="host")
    server = plan.role["server"]
    in_turn = {"instructions": tuple(_one_stream(plan))}
    plan = Plan((plan.role["worker"], type(server)(**{**_fields(server), "program": "sim_given", "params": in_turn})))
    whole, folded = (play(plan, UNIFORM, fold=fold) for fold in (False, True))
    assert len({r.rank for r in folded}) == 5
    assert folded.seconds == pytest.approx(whole.seconds, rel=1e-9)


def _fields(role):
    return {name: getattr(role, name) for name in ("name", "axes", "buffers", "graph", "segments", "places")}


def _one_stream(plan):
    """What the server does, with one stream for all of its answers."""
    for i in plan.start(plan.first_rank("server")):
        yield type(i)(tag=i.tag, what=i.what, to=i.to, lane=i.lane, which=i.which, stream="pull") if isinstance(i, Send) else i


def test_folded_ranks_that_share_a_link_take_no_turns():
    with pytest.raises(SimError, match="unfold them, or use flows"):
        play(build(ranks=4, servers="host"), UNIFORM, fold=True, detail="message")
