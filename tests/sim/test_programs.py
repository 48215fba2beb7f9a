"""The same plan model, played: pipelines, parameter servers, coordinators, unlocked threads, stragglers, jitter, failures."""

from collections import Counter
from math import exp
from statistics import NormalDist

import pytest

from graph.parallel.plan import Buffer, Do, Peer, Rank, Recv, Ref, Send
from graph.parallel.programs.coordinator import coordinator_plan
from graph.parallel.programs.hogwild import hogwild_plan
from graph.parallel.programs.parameter_server import parameter_server_plan
from graph.parallel.programs.pipeline import pipeline_plan
from graph.parallel.schedules import SCHEDULES
from sim.errors import SimError, Stuck
from sim.jitter import Jitter
from sim.model import UniformModel
from sim.play import play


def by_kernel(**seconds):
    return lambda rank, do: seconds.get(do.kernel, 0.0)


@pytest.mark.parametrize("schedule", list(SCHEDULES))
@pytest.mark.parametrize(("stages", "micro"), [(1, 3), (2, 2), (4, 8), (8, 32)])
@pytest.mark.parametrize("detail", ["flow", "message"])
def test_bubble(detail, stages, micro, schedule):
    """With stages of the same time and messages of none, exactly (p - 1) / (m + p - 1) of a step is idle."""
    model = UniformModel(beta=1e30, compute=by_kernel(forward=1.0, backward=2.0))
    t = play(pipeline_plan(stages, micro, schedule=schedule), model, detail=detail)
    bubble = 1 - micro * 3.0 / t.seconds
    assert bubble == pytest.approx((stages - 1) / (micro + stages - 1), abs=1e-12)
    assert bubble == pytest.approx(SCHEDULES[schedule].bubble(stages, micro), abs=1e-12)


def test_pipeline_story():
    """Two stages, two micro-batches, a forward of 1 s, a backward of 2 s, a message of 0.5 s."""
    model = UniformModel(alpha=0.25, beta=1024.0, compute=by_kernel(forward=1.0, backward=2.0))
    t = play(pipeline_plan(2, 2, size=64), model)
    shown = [r for r in t if r.id[1] != "input" and r.id[-1] != "recv"]
    found = sorted((r.start, r.end, f"{r.rank.role} {'/'.join(map(str, r.id))}") for r in shown)
    assert [f"{a:g}-{b:g} {what}" for a, b, what in found] == [
        "0-1 stage.0 0/forward/0/0",
        "1-1.25 stage.0 0/activation/0/send",
        "1-2 stage.0 0/forward/0/1",
        "1.5-2.5 stage.1 0/forward/0/0",
        "2-2.25 stage.0 0/activation/1/send",
        "2.5-4.5 stage.1 0/backward/0/0",
        "4.5-4.75 stage.1 0/gradient/0/send",
        "4.5-5.5 stage.1 0/forward/0/1",
        "5-7 stage.0 0/backward/0/0",
        "5.5-7.5 stage.1 0/backward/0/1",
        "7.5-7.5 stage.1 0/update/g",
        "7.5-7.75 stage.1 0/gradient/1/send",
        "8-10 stage.0 0/backward/0/1",
        "10-10 stage.0 0/update/g",
    ]


def test_bounded_staleness():
    """One of three workers is four times slower: a bound of b keeps the others within b + 1 updates of it."""
    slow = {Rank("worker", (2,)): 4.0}
    model = UniformModel(alpha=1e-5, beta=1e10, compute=by_kernel(gradient=1e-2, apply=1e-5))
    seconds = {}
    for bound in (0, 2, 1000):
        t = play(parameter_server_plan(3, 20, bound), model, slow=slow)
        applied = [r for r in t if r.id[1] == "apply"]
        assert Counter(r.id[2] for r in applied) == dict.fromkeys(("worker[0]", "worker[1]", "worker[2]"), 20)
        done = Counter()
        for r in applied:
            done[r.id[2]] += 1
            assert max(done.values()) - min(done[f"worker[{k}]"] for k in range(3)) <= bound + 1
        staleness = [r.note for r in applied]
        assert max(staleness) <= (2 if bound == 0 else 2 * (2 * bound + 1) + 2 if bound < 1000 else 40)
        seconds[bound] = max(r.end for r in applied if r.id[2] == "worker[0]")
    assert seconds[0] > seconds[2] > seconds[1000]
    assert seconds[0] == pytest.approx(19 * 4e-2 + 1e-2, rel=0.01)  # the last gradient waits for nobody
    assert seconds[1000] == pytest.approx(20 * 1e-2, rel=0.02)


def test_a_server_gives_up_a_worker_that_stops():
    model = UniformModel(alpha=1e-5, beta=1e10, compute=by_kernel(gradient=1e-2, apply=1e-5))
    t = play(parameter_server_plan(3, 20, 2, patience=1.0), model, stops={Rank("worker", (2,)): 0.055})
    applied = Counter(r.id[2] for r in t if r.id[1] == "apply")
    assert applied == {"worker[0]": 20, "worker[1]": 20, "worker[2]": 5}
    assert t.seconds > 1.0


def test_without_patience_a_worker_that_stops_stops_all():
    model = UniformModel(alpha=1e-5, beta=1e10, compute=by_kernel(gradient=1e-2, apply=1e-5))
    with pytest.raises(Stuck, match=r"the plan stopped at .* s: server:.* waits for a letter from any worker"):
        play(parameter_server_plan(2, 20, 2), model, stops={Rank("worker", (1,)): 0.05})


def test_coordinator():
    """A worker that is ten times slower gets one portion of each iteration, and its backup wins."""
    model = UniformModel(compute=by_kernel(gradient=1.0))
    t = play(coordinator_plan(4, 12), model)
    assert next(r.end for r in t if r.id[1] == "update") == pytest.approx(3.0, abs=0.01)
    slow = play(coordinator_plan(4, 12), model, slow={Rank("worker", (3,)): 10.0})
    done = Counter(str(r.rank) for r in slow if r.id[1] == "portion")
    assert done["worker[3]"] == 1
    assert next(r.end for r in slow if r.id[1] == "update") == pytest.approx(4.0, abs=0.01)
    assert {r.id[2] for r in slow if r.id[1] == "collect"} == set(range(12))


def test_threads_without_locks():
    """Each thread goes at its own speed; nobody waits for anybody."""
    model = UniformModel(compute=lambda rank, do: (1.0 + rank.at[0]) if do.kernel == "gradient" else 0.0)
    t = play(hogwild_plan(3, 4), model)
    assert {r.rank.at[0]: r.end for r in t} == {0: 4.0, 1: 8.0, 2: 12.0}


def test_straggler(training):
    """Everyone waits for the slowest, once a step."""
    model = UniformModel(compute=lambda rank, do: {"forward": 1.0, "backward": 2.0}.get(do.kernel.split("/")[0], 0.0), beta=1e30)
    assert play(training(4, steps=3), model).seconds == pytest.approx(3 * 6.0)
    assert play(training(4, steps=3), model, slow={Rank("worker", (2,)): 1.5}).seconds == pytest.approx(3 * 9.0)


def test_jitter(training):
    """Draws do not depend on order or detail; more ranks wait for a slower slowest; folding samples that maximum."""
    model = UniformModel(compute=lambda rank, do: 1.0 if do.kernel.startswith("backward") else 0.0, beta=1e30)

    def seconds(ranks, **options):
        plan = training(ranks, steps=40, layers=("a",))
        return play(plan, model, closed=("ring",), jitter=Jitter(sigma=0.1, seed=7), **options).seconds

    assert seconds(2) == seconds(2) == seconds(2, detail="message")
    assert seconds(2) < seconds(8) < seconds(32)
    assert seconds(32, fold=True) == pytest.approx(seconds(32), rel=0.03)
    draws = sorted(Jitter(sigma=0.1).factor(Rank("r"), (k,)) for k in range(2001))
    assert draws[1000] == pytest.approx(1.0, abs=0.01)
    largest = sorted(Jitter(sigma=0.1).factor(Rank("r"), (k,), 1000) for k in range(201))
    assert largest[100] == pytest.approx(exp(0.1 * NormalDist().inv_cdf(0.5 ** (1 / 1000))), rel=0.01)
    assert Jitter(sigma=0.0).factor(Rank("r"), (1,), 5) == 1.0


def test_deadlock_is_named(given):
    """Both send more than a lane holds before they receive."""
    buffers = {"a": Buffer(size=8)}

    def rank(other):
        sends = tuple(Send(tag=(0, k), what=Ref("a"), to=Peer(other)) for k in range(3))
        return *sends, Do(id=(0, "read"), kernel="k", reads=(Ref("a"),)), Recv(tag=(0, 0), into=Ref("a"), source=Peer(other))

    with pytest.raises(Stuck, match="a:0/2/send waits for room; b:0/2/send waits for room"):
        play(given(buffers, a=rank("b"), b=rank("a")), UniformModel())


def test_unknown_detail(training):
    with pytest.raises(SimError, match=r"unknown detail 'flows'; did you mean 'flow'\?"):
        play(training(1), UniformModel(), detail="flows")


def test_same_plan_same_bytes(training):
    one, two = (play(training(3), UniformModel(alpha=1e-6), detail="flow") for _ in range(2))
    assert list(one) == list(two)
    assert one.plan_hash == training(3).hash
