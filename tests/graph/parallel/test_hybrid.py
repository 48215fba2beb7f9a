"""Krizhevsky's hybrid: its bytes against data parallelism by hand, its rounds, and what it refuses."""

import pytest

from graph.autodiff import training_graph
from graph.errors import InvalidPlan
from graph.ir import Kind, Phase
from graph.optimizer import Sgd
from graph.parallel.check import check
from graph.parallel.closed_form import total_nbytes, traffic
from graph.parallel.plan import Collective, Do, Rank
from graph.parallel.strategies import STRATEGIES
from graph.parallel.text import plan_text
from graph.parallel.unroll import unroll
from graph.zoo import MODELS

FIRST = Rank("worker", (0,))
SGD = Sgd(learning_rate=0.1, momentum=0.9)
HYBRID = STRATEGIES["hybrid"]


@pytest.fixture(scope="module")
def lenet():
    """Convolutions of 12 and 32 maps, layers of 240 and 168 units, 10 classes; 8 samples a rank."""
    return MODELS["lenet"].build(8, image=(8, 8, 1), width=2.0)


def build(model, **options):
    return HYBRID.build(model, SGD, **{"ranks": 2, "steps": 2, **options})


# --- bytes


def test_bytes_by_hand_alexnet_on_8_ranks():
    """The one-tower AlexNet, 128 samples a rank, ring: 1165 MB a step instead of 3422.

    ======================================================================================  =============
    convolutions: 64, 192, 384, 256 and 256 maps of 11x11, 5x5 and 3x3, with biases          2,469,696
    fully connected: 9216 x 4096 + 4096, 4096 x 4096 + 4096, 4096 x 1000 + 1000              58,631,144
    ======================================================================================  =============

    Data parallelism: 2 x 7 times 4 bytes of 61,100,840 gradients. The hybrid: 2 x 7 times 4 bytes of those of the convolutions;
    and, 7 times, for each of 1024 samples: 9216 features there and their gradients back, a label of 8 bytes, the 4096 outputs of
    two layers there and their gradients back, and 1000 logits.
    """
    convolutions = (11 * 11 * 3 + 1) * 64 + (25 * 64 + 1) * 192 + (9 * 192 + 1) * 384 + (9 * 384 + 1) * 256 + (9 * 256 + 1) * 256
    full = (9216 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert (convolutions, full) == (2_469_696, 58_631_144)
    plain = 2 * 7 * 4 * (convolutions + full)
    mixed = 7 * (2 * 4 * convolutions + 1024 * (2 * 4 * 9216 + 8 + 2 * 2 * 4 * 4096 + 4 * 1000))
    assert (plain, mixed) == (3_421_647_040, 1_165_276_672)
    model = MODELS["alexnet-owt"].build(128)
    options = {"ranks": 8, "steps": 1}
    assert total_nbytes(STRATEGIES["data_parallel"].build(model, SGD, bucket_bytes=1 << 22, **options)) == plain
    for scheme in ("whole", "turns", "parts"):
        plan = HYBRID.build(model, SGD, scheme=scheme, **options)
        assert total_nbytes(plan) == traffic(plan).total == mixed


@pytest.mark.parametrize("scheme", ["whole", "turns", "parts"])
def test_every_rank_sends_as_much(lenet, scheme):
    sent = traffic(build(lenet, scheme=scheme)).sent
    assert len(set(sent.values())) == 1
    assert sum(sent.values()) == sum(check(build(lenet, scheme=scheme), 1, steps=1).nbytes.values())


def test_fully_connected_gradients_never_travel(lenet):
    plan = build(lenet, scheme="turns")
    role = plan.role["worker"]
    moved = {a.ins.what.buffer for a in unroll(plan, FIRST) if isinstance(a.ins, Collective)}
    held = {v for b in moved for v in role.buffers[b].values}
    assert held.isdisjoint(f"d.{v.name}" for v in role.graph.of_kind(Kind.PARAMETER) if v.name.startswith("fc"))
    assert {v for v in held if v.startswith("d.conv")} == {f"d.conv{k}.{p}" for k in (1, 2) for p in ("weight", "bias")}


# --- rounds


def story(plan):
    return ["/".join(map(str, a.id[1:])) for a in unroll(plan, FIRST) if a.parent is None and a.id[0] == 0]


def test_the_story_of_a_step_in_turns(lenet):
    """Rows of the next round leave before this one is computed; gradients of the last one are taken after it."""
    forward = ["forward/fc1", "forward/fc1.gather", "gather/fc1.gather", "forward/fc1.whole"]
    forward += ["forward/fc2", "forward/fc2.gather", "gather/fc2.gather", "forward/fc2.whole"]
    forward += ["forward/fc3", "forward/fc3.gather", "gather/fc3.gather", "forward/fc3.whole", "forward/loss"]
    backward = ["backward/loss", "backward/fc3.whole", "backward/fc3.gather", "backward/fc3"]  # every rank has the whole gradient
    backward += ["backward/fc2.whole", "scatter/fc2.gather", "backward/fc2.gather", "backward/fc2"]
    backward += ["backward/fc1.whole", "scatter/fc1.gather", "backward/fc1.gather", "backward/fc1", "scatter/conv2.gather"]
    put = ["forward/labels.gather", "gather/labels.gather", "forward/conv2.gather", "gather/conv2.gather"]

    def of(k, items):
        return [f"{i}/{k}" for i in items]

    expected = ["input/0", "forward/conv1/0", "forward/conv2/0", *of(0, put), *of(1, put), *of(0, forward + backward)]
    expected += [*of(1, forward + backward), "backward/conv2.gather/0", "backward/conv2.gather/1"]
    expected.insert(expected.index("backward/fc1/1") + 1, "accumulate/f0/1")
    expected += ["backward/conv2/0", "backward/conv1/0", "allreduce/b0", "update/f0", "update/b0"]
    assert story(build(lenet, scheme="turns")) == expected
    updated = [i for i in expected if not i.startswith(("accumulate", "update/f"))]
    updated.insert(updated.index("scatter/conv2.gather/0") + 1, "update/f0/0")
    updated.insert(updated.index("scatter/conv2.gather/1") + 1, "update/f0/1")
    assert story(build(lenet, scheme="turns", fc_update="round")) == updated


def test_the_root_takes_turns(lenet):
    plan = build(lenet, ranks=4, scheme="turns")
    roots = [(a.ins.algorithm, a.ins.root) for a in unroll(plan, FIRST, first=1) if isinstance(a.ins, Collective)]
    assert [r for r in roots if r[0] == "reduce"] == [("reduce", k) for k in range(4)]
    assert [r for r in roots if r[0] == "broadcast"] == [("broadcast", k) for k in (0, 0, 1, 1, 2, 2, 3, 3)]  # labels, features


def test_the_next_round_is_sent_while_this_one_is_computed(lenet, clock):
    """Messages take no time here, but putting rows in their place does: that of round 2 has ended before round 1 is computed."""
    spans = clock(build(lenet, ranks=4, scheme="parts", steps=1), lambda rank, do: 1.0)
    for k in range(3):
        assert spans[FIRST, (0, "gather", "conv2.gather", k + 1, 0, "send")][1] <= spans[FIRST, (0, "forward", "fc2", k)][0]
        assert spans[FIRST, (0, "backward", "conv2.gather", k)][0] > spans[FIRST, (0, "forward", "fc1", k + 1)][0]


def test_two_slots_are_what_overlap_takes(lenet):
    role = build(lenet, scheme="parts").role["worker"]
    slots = {name: b.slots for name, b in role.buffers.items() if b.exchange != "none"}
    border = {"x.conv2.gather", "x.labels.gather", "d.conv2.gather"}
    assert slots == {name: 2 if name in border else 1 for name in slots}
    assert (
        role.buffers["x.conv2.gather"].nbytes == 2 * 8 * 128 * 4
    )  # a round has as many rows as a rank: 8, of 2 x 2 x 32 features
    assert build(lenet).role["worker"].buffers["x.conv2.gather"].nbytes == 16 * 128 * 4
    assert role.buffers["x.labels.gather"].itemsize == 8


@pytest.mark.parametrize("scheme", ["whole", "turns", "parts"])
def test_work_is_that_of_one_worker_but_for_the_loss(lenet, scheme):
    """Matrix products are shared out: what every rank does alike are the relu's dropout, the loss and the copies."""
    ranks, alone = 4, training_graph(MODELS["lenet"].build(32, image=(8, 8, 1), width=2.0), SGD)
    graph = build(lenet, ranks=ranks, scheme=scheme).role["worker"].graph
    plan = build(lenet, ranks=ranks, scheme=scheme)
    segments = plan.role["worker"].segments
    products = 0
    for a in unroll(plan, FIRST):
        if isinstance(a.ins, Do):
            nodes = [graph.node[n] for n in segments.get(a.ins.kernel, ())]
            products += sum(graph.work(n).flop for n in nodes if n.op.name == "matmul" and n.layer in ("fc1", "fc2"))
    whole = sum(alone.work(n).flop for n in alone if n.op.name == "matmul" and n.layer in ("fc1", "fc2"))
    assert ranks * products == whole


# --- what cannot be, and what means nothing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ranks": 0}, "hybrid takes a whole number ranks >= 1, got 0"),
        ({"ranks": 241}, "lenet has no layer that 241 ranks can share evenly; use 24 ranks"),
        (
            {"ranks": 3, "scheme": "parts"},
            r"3 ranks cannot cut the 8 samples of each into 3 parts; use a batch of 27 samples \(9 a",
        ),
        ({"scheme": "part"}, "hybrid: unknown scheme 'part'; did you mean 'parts'?"),
        ({"fc_update": "rounds"}, "hybrid: unknown fc_update 'rounds'; did you mean 'round'?"),
        (
            {"fc_update": "round"},
            "scheme 'whole' has one round, so fc_update 'round' means nothing; use 'step', or another scheme",
        ),
        ({"micro_batches": 2}, r"hybrid has no micro-batches \(got 2\): with scheme 'turns' or 'parts' it goes in rounds"),
        ({"collective": "all_gather"}, "hybrid sums gradients everywhere, 'all_gather' does a all_gather; use one of ring"),
        ({"ranks": 6, "collective": "doubling"}, "collective 'doubling' cannot be played by 6 ranks; these can: ring, tree"),
    ],
)
def test_refusals(lenet, options, message):
    with pytest.raises(InvalidPlan, match=message):
        build(lenet, **options)


def test_one_rank_is_one_worker(lenet):
    plan = build(lenet, ranks=1, scheme="parts")
    assert plan.role["worker"].loss == "share"
    assert [i for i in story(plan) if i.startswith("forward")] == [f"forward/{layer}/0" for layer in lenet.layers(Phase.FORWARD)]
    assert total_nbytes(plan) == 0


def test_the_plan_says_what_is_put_together(lenet):
    text = plan_text(build(lenet, ranks=4))
    assert 4 * (128 * 60 + 60 + 240 * 42 + 42) == 71_448
    assert "w.f0             parameter   1 x 71,448 B  sharded along dp fc2.weight" in text
    assert "w.c0             parameter   1 x 6,760 B   a copy along dp fc3.weight fc3.bias" in text
    assert "x.conv2.gather   activation  1 x 16,384 B  to gather conv2.gather/gather_rows" in text
    turns = plan_text(build(lenet, scheme="turns"))
    assert "x.conv2.gather#1 broadcast from rank 1 over dp (2 ranks, 1 transfers)" in turns
    assert "d.conv2.gather#1 reduce to rank 1 over dp (2 ranks, 1 transfers)" in turns
