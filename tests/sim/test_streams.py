"""What is looked up or made once for all ranks is what each would have found by itself, and the same happens."""

import pytest

from graph.optimizer import Sgd
from graph.parallel.algorithm import COLLECTIVES, Group
from graph.parallel.plan import Collective, Plan, Rank, Ref, Role
from graph.parallel.programs.parameter_server import parameter_server_plan
from graph.parallel.programs.pipeline import pipeline_plan
from graph.parallel.strategies import STRATEGIES
from graph.zoo import MODELS
from sim.model import UniformModel
from sim.play import play
from sim.streams import Streams

MODEL = UniformModel(alpha=3e-6, beta=1e9, compute=lambda rank, do: 1e-6 * len(do.kernel), recv_rate=1e10)


def plans():
    net = MODELS["lenet"].build(12, image=(8, 8, 1), width=4.0)
    for s in STRATEGIES.values():
        options = s.samples[-1]
        yield pytest.param(s.build(net, Sgd(learning_rate=0.1, momentum=0.9), **options), id=f"{s.name} {options}")
    yield pytest.param(pipeline_plan(2, 3, dp=2, tp=2, size=840, parameters=8400), id="pipeline")
    yield pytest.param(parameter_server_plan(2, 2, 1), id="waits")


@pytest.mark.parametrize("plan", list(plans()))
def test_fast_is_slow(plan, monkeypatch):
    """Streams shared by ranks, and transfers of collectives shared by them, change no record."""
    fast = play(plan, MODEL).records
    monkeypatch.setattr(Streams, "of", lambda self, rank: plan.start(rank))
    monkeypatch.setattr(
        Plan, "transfers", lambda self, me, c: list(COLLECTIVES[c.algorithm].program(Group(c, *self.index(me, c.along))))
    )
    assert play(Plan(plan.roles, plan.slots), MODEL).records == fast


@pytest.mark.parametrize("plan", list(plans()))
def test_a_stream_is_that_of_the_program(plan):
    """As far as nobody waits for an answer."""
    streams = Streams(plan)
    for rank in plan.ranks:
        for made, right in zip(streams.of(rank), plan.start(rank), strict=False):
            assert made == right
            if right.wait:
                break


def test_who_does_not_look_at_its_index_shares_transfers():
    role = Role(name="worker", program="exchange", axes={"dp": 3})
    plan = Plan((role,))
    found = {}
    for name in ("ring", "tree"):
        c = Collective(id=(0, "sum"), algorithm=name, what=Ref("g"), along=("dp",))
        found[name] = [plan.transfers(Rank("worker", (k,)), c) for k in range(3)]
    first, *others = found["ring"]
    assert all(x is first for x in others)
    assert found["tree"][0] != found["tree"][1]
