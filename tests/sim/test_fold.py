"""Folded = unfolded, action by action: on a uniform network, and on an oversubscribed tree with a straggler."""

import pytest

from graph.parallel.plan import Buffer, Collective, Plan, Rank, Ref, Role
from graph.parallel.programs.parameter_server import parameter_server_plan
from graph.parallel.programs.pipeline import pipeline_plan
from graph.step_stats import step_stats
from sim.errors import SimError
from sim.model import UniformModel
from sim.play import play

WORK = {"forward": 1e-3, "backward": 2e-3, "update": 1e-4}


def compute(rank, do):
    return WORK.get(do.kernel.split("/")[0], 0.0)


def node(rank):
    return rank.role, rank.at[0]


def tree(a, b):
    """A node a (stage, dp): ranks with ports of their own, sharing one network card; all cards share an oversubscribed spine."""
    if node(a) == node(b):
        return (a, "port>"), (b, "port<")
    return (a, "port>"), (node(a), "card>"), "spine", (node(b), "card<"), (b, "port<")


class Tree:
    """Capacities by kind of link."""

    def get(self, link, default):
        return 8e9 if link == "spine" else {"port": 300e9, "card": 25e9}[link[1][:4]]


UNIFORM = UniformModel(alpha=3e-6, beta=25e9, compute=compute)
OVERSUBSCRIBED = UniformModel(alpha=3e-6, compute=compute, routes=tree, capacities=Tree())
STRAGGLER = {Rank("stage.1", (1, 1)): 1.7}


@pytest.mark.parametrize(
    ("dp", "tp", "pp", "micro", "layers"),
    [(2, 2, 2, 3, 2), (4, 2, 4, 6, 2), (4, 4, 3, 3, 1)],
    ids=["8 ranks", "32 ranks", "48 ranks"],
)
@pytest.mark.parametrize("model", [UNIFORM, OVERSUBSCRIBED], ids=["uniform", "tree"])
@pytest.mark.parametrize("slow", [{}, STRAGGLER], ids=["alike", "straggler"])
@pytest.mark.parametrize("closed", [(), ("ring",)], ids=["flows", "closed"])
def test_folded_is_unfolded(closed, slow, model, dp, tp, pp, micro, layers):
    size = 5040 * 16
    plan = pipeline_plan(pp, micro, dp=dp, tp=tp, layers=layers, size=size, parameters=20 * size)
    whole = play(plan, model, slow=slow, closed=closed)
    folded = play(plan, model, slow=slow, closed=closed, fold=True)
    times = {(r.rank, r.id): (r.ready, r.start, r.end) for r in whole}
    assert len(folded) < len(whole) or slow  # a straggler in a ring sets everyone apart
    for r in folded:
        assert (r.ready, r.start, r.end) == pytest.approx(times[r.rank, r.id], rel=1e-9, abs=1e-12)
    players = dict.fromkeys(r.rank for r in folded)
    assert sum(folded.like.get(r, 1) for r in players) == len(plan.ranks)
    if not slow:
        assert len(players) == pp
        assert max(r.end for r in folded) == pytest.approx(max(r.end for r in whole), rel=1e-9)
        a, b = step_stats(folded), step_stats(whole)
        assert (a.bytes_sent_total, a.flop_total) == (b.bytes_sent_total, b.flop_total)
        assert a.compute_s == pytest.approx(b.compute_s)
        assert a.exposed_comm_s == pytest.approx(b.exposed_comm_s)


def test_thousands_of_ranks():
    plan = pipeline_plan(16, 4, dp=32, tp=8, size=840, parameters=8400)
    t = play(plan, UNIFORM, closed=("ring",), fold=True)
    assert set(t.like.values()) == {256}
    assert len(t.like) == 16


def test_data_parallel(training):
    """One class; the two ports of a rank are used by one flow each."""
    t = play(training(48, size=480), UNIFORM, fold=True)
    assert t.like == {Rank("worker", (0,)): 48}
    whole = play(training(48, size=480), UNIFORM)
    assert t.seconds == pytest.approx(whole.seconds, rel=1e-9)


def test_devices_that_differ_are_not_alike(training):
    is_old = lambda r: r.at[0] < 2  # noqa: E731
    model = UniformModel(compute=lambda r, do: 2.0 if is_old(r) else 1.0)
    t, whole = play(training(8, size=80), model, fold=True), play(training(8, size=80), model)
    assert t.seconds == pytest.approx(whole.seconds, rel=1e-9)
    assert len({r.rank for r in t}) > 1


def test_an_algorithm_that_looks_at_its_index_is_not_folded(one_reduce):
    t = play(one_reduce("tree", 7, 700), UNIFORM, fold=True)
    assert len({r.rank for r in t}) == 7
    assert t.seconds == play(one_reduce("tree", 7, 700), UNIFORM).seconds


def test_looking_at_the_index_along_one_axis_folds_the_other():
    """Trees along dp, several of them side by side along tp, sharing the cards of their nodes."""
    what = Collective(id=(0, "allreduce", "b0"), algorithm="tree", what=Ref("g"), along=("dp",))
    params, buffers = {"instructions": (what,)}, {"g": Buffer(size=7000)}
    role = Role(name="stage.1", program="sim_given", params=params, axes={"dp": 7, "tp": 3}, buffers=buffers)
    whole, folded = (play(Plan((role,)), OVERSUBSCRIBED, fold=fold) for fold in (False, True))
    times = {(r.rank, r.id): (r.start, r.end) for r in whole}
    assert len(folded) * 3 == len(whole)
    for r in folded:
        assert (r.start, r.end) == pytest.approx(times[r.rank, r.id], rel=1e-9, abs=1e-12)


def test_programs_that_wait_are_refused():
    with pytest.raises(SimError, match=r"role 'server' waits for answers \(0/push/recv\), so its ranks cannot be folded"):
        play(parameter_server_plan(2, 2, 1), UNIFORM, fold=True)
