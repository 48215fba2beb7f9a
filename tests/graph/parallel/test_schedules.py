"""Every pipeline schedule, played without kernels: its order, its memory, and its bubble against the formula."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.errors import InvalidPlan
from graph.op import Work
from graph.parallel.algorithm import COLLECTIVES
from graph.parallel.check import check
from graph.parallel.plan import Rank
from graph.parallel.programs.pipeline import pipeline_plan
from graph.parallel.schedules import SCHEDULES

FORWARD, BACKWARD = 1.0, 2.0
WORK = {"forward": Work(flop=1), "backward": Work(flop=2), "update": Work()}


def seconds(rank, do):
    return float(do.work.flop)


@pytest.mark.parametrize("name", list(SCHEDULES))
@pytest.mark.parametrize(("stages", "micro_batches"), [(1, 1), (1, 4), (2, 1), (4, 2), (4, 8), (8, 32)])
def test_bubble_is_the_formula(clock, by_rank, name, stages, micro_batches):
    """Stages of like work, messages without time: idle fraction = (p - 1) / (m + p - 1)."""
    plan = pipeline_plan(stages, micro_batches, schedule=name, work=WORK)
    spans = clock(plan, seconds)
    total = max(end for _, end in spans.values())
    busy = micro_batches * (FORWARD + BACKWARD)
    for mine in by_rank(spans).values():
        assert sum(end - start for id, (start, end) in mine.items() if id[1] in ("forward", "backward")) == busy
    assert 1 - busy / total == pytest.approx(SCHEDULES[name].bubble(stages, micro_batches), abs=1e-12)
    assert SCHEDULES[name].bubble(stages, micro_batches) == pytest.approx((stages - 1) / (micro_batches + stages - 1))


@pytest.mark.parametrize("name", list(SCHEDULES))
@pytest.mark.parametrize(("stages", "micro_batches"), [(1, 3), (3, 2), (4, 8)])
def test_order_is_complete_and_keeps_its_memory(name, stages, micro_batches):
    """Forward of a micro-batch before its backward, each once, and never more activations than `kept` says (which is needed)."""
    schedule = SCHEDULES[name]
    for stage in range(stages):
        order = list(schedule.order(stage, stages, micro_batches))
        assert sorted(order) == sorted((what, m) for what in ("forward", "backward") for m in range(micro_batches))
        alive, most = 0, 0
        for what, m in order:
            if what == "backward":
                assert order.index(("forward", m)) < order.index((what, m))
            alive += 1 if what == "forward" else -1
            most = max(most, alive)
        assert most == schedule.kept(stage, stages, micro_batches)


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_a_slot_too_few_is_found(name):
    """A stage that keeps one activation less than the schedule needs overwrites one that is still wanted."""
    kept = SCHEDULES[name].kept(0, 4, 8)
    assert not check(pipeline_plan(4, 8, schedule=name, kept=kept)).lost
    with pytest.raises(InvalidPlan, match=r"stage\.\d\[0,0\]:0/backward/0/0 reads 'x' 0 from slot 0 of \d, which holds \d"):
        check(pipeline_plan(4, 8, schedule=name, kept=kept - 1))


def test_1f1b_keeps_less_than_gpipe():
    gpipe, other = SCHEDULES["gpipe"], SCHEDULES["1f1b"]
    assert [gpipe.kept(s, 4, 16) for s in range(4)] == [16, 16, 16, 16]
    assert [other.kept(s, 4, 16) for s in range(4)] == [4, 3, 2, 1]


def test_1f1b_order_of_the_second_of_three_stages():
    story = " ".join(f"{what[0]}{m}" for what, m in SCHEDULES["1f1b"].order(1, 3, 4))
    assert story == "f0 f1 b0 f2 b1 f3 b2 b3"


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_tensor_and_data_parallel_inside_a_stage(name):
    """Each of 2 x 2 ranks of a stage contributes a gradient a layer and micro-batch; replicas along dp take the same ones."""
    plan = pipeline_plan(3, 4, schedule=name, layers=2, dp=2, tp=2, steps=2)
    proof = check(plan, seed=5)
    assert not proof.lost
    for update, taken in proof.taken.items():
        assert len(taken) == 2 * 2 * 2 * 4
        assert {c.rank.role for c in taken} == {update.role}
    assert proof.transfers["forward.tp", 0, 0] == 3 * 2 * 2 * COLLECTIVES["ring"].transfers(2)


def test_a_slow_stage_sets_the_pace(clock):
    def slow(rank, do):
        return float(do.work.flop) * (3 if rank.role == "stage.1" else 1)

    spans = clock(pipeline_plan(3, 40, work=WORK), slow)
    assert max(end for _, end in spans.values()) == pytest.approx(40 * 9, rel=0.05)


def test_streams_story_of_two_stages(clock, by_rank):
    """Two stages, two micro-batches, 1F1B: the whole step."""
    spans = by_rank(clock(pipeline_plan(2, 2, work=WORK), seconds))
    first = {
        "/".join(map(str, id[1:])): span
        for id, span in spans[Rank("stage.0", (0, 0))].items()
        if id[1] in ("forward", "backward")
    }
    second = {
        "/".join(map(str, id[1:])): span
        for id, span in spans[Rank("stage.1", (0, 0))].items()
        if id[1] in ("forward", "backward")
    }
    assert first == {"forward/0/0": (0, 1), "forward/0/1": (1, 2), "backward/0/0": (4, 6), "backward/0/1": (7, 9)}
    assert second == {"forward/0/0": (1, 2), "backward/0/0": (2, 4), "forward/0/1": (4, 5), "backward/0/1": (5, 7)}


def test_a_pipeline_of_nothing_is_refused():
    with pytest.raises(InvalidPlan, match="at least 1 stage"):
        pipeline_plan(0, 4)


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(list(SCHEDULES)),
    stages=st.integers(1, 5),
    micro_batches=st.integers(1, 6),
    layers=st.integers(1, 2),
    dp=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
def test_no_deadlock_and_each_contribution_once(name, stages, micro_batches, layers, dp, seed):
    proof = check(pipeline_plan(stages, micro_batches, schedule=name, layers=layers, dp=dp, steps=2), seed)
    assert len(proof.taken) == 2 * stages
    assert all(len(taken) == dp * layers * micro_batches for taken in proof.taken.values())
    assert set(proof.staleness) == {0}  # synchronous: gradients are of the parameters that they update
