"""Lowering of plans whose ranks hold parts of layers: buffers of what is gathered, rounds, memory that is shared only rightly."""

import pytest

from graph.ir import Phase
from graph.optimizer import Sgd
from graph.parallel.plan import Do
from graph.parallel.strategies import STRATEGIES
from graph.parallel.unroll import unroll
from graph.zoo import MODELS
from hw.kernels.record import Platform
from hw.lower import lower

SGD = Sgd(learning_rate=0.1, momentum=0.9)
CASES = [(name, k) for name in ("hybrid", "model", "layers") for k in range(len(STRATEGIES[name].samples))]
FLOATS = [p for p in Platform if p is not Platform.NFU]
"""Platforms that compute in floats: an NFU trains nothing."""


def plan_of(strategy, **options):
    model = MODELS["lenet"].build(6, image=(8, 8, 1), width=2.0, dropout=0.5)
    return STRATEGIES[strategy].build(model, SGD, **{"steps": 1, **options})


def lowered(strategy, sample):
    plan = plan_of(strategy, **STRATEGIES[strategy].samples[sample])
    return [lower(plan, r.name, Platform.CPU) for r in plan.roles]


def root(low, name):
    while name in low.layout.views:
        name = low.layout.views[name]
    return name


def steps(low):
    """(action, call) of the role's first rank, in the order of its compute stream."""
    for a in unroll(low.plan, low.plan.first_rank(low.role)):
        if isinstance(a.ins, Do):
            yield from ((a.ins, c) for c in low.segments[a.ins.kernel])


@pytest.mark.parametrize(("strategy", "sample"), CASES)
def test_nobody_reads_what_another_value_overwrote(strategy, sample):
    """Replay a step of one rank, and remember who wrote each float last."""
    for low in lowered(strategy, sample):
        owner = {}
        for do, call in steps(low):
            for v in call.reads:
                made = low.graph.producer.get(root(low, v))
                if made is not None and made.phase is not Phase.UPDATE:
                    at = low.offset(do, v)
                    found = {owner.get(at + k) for k in range(0, low.graph.type_of(v).nbytes, 4)}
                    assert found <= {root(low, v)}, f"{do.id} reads {v}"
            for v in (v for v in call.writes if v in low.graph.values):
                at, nbytes = low.offset(do, v), low.graph.type_of(v).nbytes
                assert at >= 0 and at + nbytes <= low.layout.nbytes
                owner.update(dict.fromkeys(range(at, at + nbytes, 4), root(low, v)))


@pytest.mark.parametrize(("strategy", "sample"), CASES)
@pytest.mark.parametrize("platform", FLOATS)
def test_every_node_is_done_by_one_call(strategy, sample, platform):
    plan = plan_of(strategy, **STRATEGIES[strategy].samples[sample])
    for role in plan.roles:
        low = lower(plan, role.name, platform)
        covered = [n for c in low.calls for n in c.nodes]
        assert sorted(covered) == sorted(n.name for n in low.graph if not n.op.is_view)


def test_each_round_has_its_own_loss_and_number_of_samples():
    (low,) = [lower(plan_of("hybrid", ranks=2, scheme="turns"), "worker", Platform.CPU)]
    assert low.layout.per_micro_batch == {low.graph.outputs["loss"], "gathered_sample"}
    forward = [do for do, _ in steps(low) if do.kernel == "forward/loss"]
    assert [do.id[3] for do in forward] == [0, 1]
    assert low.offset(forward[1], low.graph.outputs["loss"]) - low.offset(forward[0], low.graph.outputs["loss"]) == 64


def test_rounds_lie_in_two_slots():
    low = lower(plan_of("hybrid", ranks=2, scheme="parts"), "worker", Platform.CPU)

    def places(kernel):
        return {do.id[3]: low.offset(do, "conv2.gather/gather_rows") for do, _ in steps(low) if do.kernel == kernel}

    put = places("forward/conv2.gather")
    assert abs(put[1] - put[0]) >= 4 * low.plan.role["worker"].buffers["x.conv2.gather"].size
    assert places("forward/fc1") == places("backward/fc1") == put


def test_parts_take_less_memory_than_the_whole():
    """A round holds the rows of one rank, the whole those of all; and each rank a fourth of the fully connected parameters."""
    sizes = {s: lower(plan_of("hybrid", ranks=4, **o), "worker", Platform.CPU).layout.nbytes for s, o in _SCHEMES.items()}
    alone = lower(plan_of("data_parallel", ranks=4, bucket_bytes=1 << 30), "worker", Platform.CPU).layout.nbytes
    assert sizes["turns"] < sizes["whole"] < alone


_SCHEMES = {"whole": {}, "turns": {"scheme": "turns", "fc_update": "round"}}
