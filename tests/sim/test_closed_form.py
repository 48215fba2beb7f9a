"""Simulation equals the closed form on an idle, uniform network, at the details where transfers are counted."""

import pytest

from graph.parallel.collectives import COLLECTIVES
from graph.parallel.plan import Buffer, Collective, Plan, Ref, Role
from graph.timeline import Record, Timeline
from sim.model import UniformModel
from sim.play import Detail, play

ALPHA, BETA = 5e-6, 1e9


def sends(t: Timeline) -> list[Record]:
    return [r for r in t if r.id[-1] == "send"]


@pytest.mark.parametrize("ranks", [2, 3, 4, 7, 8, 16])
@pytest.mark.parametrize("nbytes", [336, 336_000, 5_040_000 * 16])
@pytest.mark.parametrize("detail", [Detail.FLOW, Detail.MESSAGE])
def test_ring(one_reduce, detail, nbytes, ranks):
    nbytes *= ranks  # a multiple of the ranks, as the closed form wants it
    t = play(one_reduce("ring", ranks, nbytes), UniformModel(alpha=ALPHA, beta=BETA), detail=detail)
    assert t.of(0, "allreduce").seconds == pytest.approx(2 * (ranks - 1) * (ALPHA + nbytes / ranks / BETA), rel=1e-9)
    chunks = sends(t)
    assert len(chunks) == 2 * ranks * (ranks - 1)
    assert {r.nbytes for r in chunks} == {nbytes // ranks}


@pytest.mark.parametrize("name", list(COLLECTIVES))
@pytest.mark.parametrize("detail", [Detail.FLOW, Detail.MESSAGE])
def test_every_collective(one_reduce, detail, name):
    algorithm = COLLECTIVES[name]
    for ranks in (r for r in (2, 3, 4, 7, 8) if algorithm.accepts(r)):
        nbytes = 84_000 * ranks
        t = play(one_reduce(name, ranks, nbytes), UniformModel(alpha=ALPHA, beta=BETA), detail=detail)
        assert len(sends(t)) == algorithm.transfers(ranks)
        expected = algorithm.seconds(ranks, nbytes, ALPHA, BETA)
        if expected is not None:
            assert t.seconds == pytest.approx(expected, rel=1e-9), (name, ranks)


@pytest.mark.parametrize("ranks", [2, 7])
def test_closed_form_detail(one_reduce, ranks):
    nbytes = 1000 * ranks
    plan, model = one_reduce("ring", ranks, nbytes), UniformModel(alpha=ALPHA, beta=BETA)
    t = play(plan, model, detail="closed-form")
    assert t.seconds == pytest.approx(play(plan, model).seconds, rel=1e-12)
    assert [r.nbytes for r in sends(t)] == [2 * (ranks - 1) * nbytes // ranks] * ranks
    assert {r.id for r in t if not r.is_leaf} == {(0, "allreduce", "b0")}
    named = play(plan, model, closed=("ring",))
    assert [(r.id, r.start, r.end) for r in named] == [(r.id, r.start, r.end) for r in t]


def test_closed_form_falls_back_to_flows_where_there_is_none(one_reduce):
    plan, model = one_reduce("tree", 6, 6000), UniformModel(alpha=ALPHA, beta=BETA)
    assert COLLECTIVES["tree"].seconds(6, 6000, ALPHA, BETA) is None
    assert play(plan, model, detail="closed-form").seconds == play(plan, model).seconds


@pytest.mark.parametrize("algorithm", ["ring", "direct", "direct_all_gather"])
def test_collectives_of_one_group_share_its_ports(algorithm: str) -> None:
    """On two streams at once they take as long as one after the other, at either detail; what they leave there is no matter."""
    ranks, nbytes = 4, 84_000
    buffers = {name: Buffer(size=nbytes, itemsize=1, kind="gradient") for name in ("a", "b")}
    both = tuple(Collective(id=(0, "allreduce", b), algorithm=algorithm, what=Ref(b), along=("dp",), on=b) for b in buffers)
    role = Role(name="worker", program="sim_given", params={"instructions": both}, axes={"dp": ranks}, buffers=buffers)
    plan, model = Plan(roles=(role,)), UniformModel(alpha=0.0, beta=BETA)
    seconds = COLLECTIVES[algorithm].seconds(ranks, nbytes, 0.0, BETA)
    assert seconds is not None
    for detail in (Detail.FLOW, Detail.CLOSED_FORM):
        assert play(plan, model, detail=detail).seconds == pytest.approx(2 * seconds, rel=1e-9), detail
