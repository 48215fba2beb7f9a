"""Data parallelism built from training graphs: buckets, micro-batches, overlap; and what it refuses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.autodiff import training_graph
from graph.errors import GraphError, InvalidPlan
from graph.ir import Graph, Kind, Phase
from graph.op import Work
from graph.optimizer import Sgd
from graph.parallel.algorithm import COLLECTIVES, Operation
from graph.parallel.check import check
from graph.parallel.closed_form import total_nbytes, traffic
from graph.parallel.plan import Collective, Do, Rank
from graph.parallel.strategies.data_parallel import data_parallel
from graph.parallel.unroll import unroll
from graph.zoo import MODELS

FIRST = Rank("worker", (0,))


@pytest.fixture(scope="module")
def lenet():
    """A LeNet for 8 x 8 images, as a training graph of 4 samples."""
    return training_graph(MODELS["lenet"].build(4, image=(8, 8, 1), width=0.5), Sgd(learning_rate=0.1, momentum=0.9))


@pytest.fixture(scope="module")
def mlp():
    return training_graph(MODELS["mlp"].build(4, image=(4, 4, 1)), Sgd(learning_rate=0.1, momentum=0.9))


def build(graph, **options):
    return data_parallel(graph, **{"ranks": 2, "steps": 2, "bucket_bytes": 4096, **options})


def dos(plan):
    return [a.ins for a in unroll(plan, FIRST) if isinstance(a.ins, Do)]


def test_every_parameter_is_in_one_bucket_beside_its_gradient_and_state(lenet):
    role = build(lenet).role["worker"]
    names = [n[2:] for n in role.buffers if n.startswith("w.")]
    assert names == [f"b{k}" for k in range(len(names))]
    assert len(names) > 1
    held = [v for n in names for v in role.buffers[f"w.{n}"].values]
    assert sorted(held) == sorted(v.name for v in lenet.of_kind(Kind.PARAMETER))
    for n in names:
        w, g, s = (role.buffers[f"{kind}.{n}"] for kind in "wgs")
        assert g.values == tuple(lenet.outputs[f"grad:{v}"] for v in w.values)
        assert s.values == tuple(f"{v}.momentum" for v in w.values)
        assert w.size == g.size == s.size == sum(lenet.type_of(v).size for v in w.values)
        assert (w.kind, g.kind, s.kind) == ("parameter", "gradient", "state")
    assert not any(n.startswith("p.") for n in role.buffers)


def test_buckets_are_filled_in_the_order_of_backward(lenet):
    """The last layer is in the first bucket; only the last bucket may be smaller than asked."""
    role = build(lenet, bucket_bytes=2000).role["worker"]
    buckets = [b for n, b in role.buffers.items() if n.startswith("w.")]
    layers = list(dict.fromkeys(v.split(".")[0] for b in buckets for v in b.values))
    assert layers == [l for l in lenet.layers(Phase.BACKWARD) if l in layers]
    assert all(b.nbytes >= 2000 for b in buckets[:-1])
    assert len([n for n in build(lenet, bucket_bytes=10**9).role["worker"].buffers if n.startswith("w.")]) == 1


def test_the_data_buffer_aligns_its_values(mlp):
    b = build(mlp, input_slots=3).role["worker"].buffers["data"]
    assert b.values == ("x", "labels")
    assert (b.itemsize, b.slots, b.kind) == (1, 3, "data")
    assert b.size == sum(-(-mlp.type_of(v).nbytes // 64) * 64 for v in b.values)


def test_every_node_is_in_one_segment(lenet):
    plan = build(lenet)
    segments = plan.role["worker"].segments
    assert sorted(n for nodes in segments.values() for n in nodes) == sorted(n.name for n in lenet.nodes)
    assert {d.kernel for d in dos(plan)} == {"input", *segments}


def test_work_is_that_of_the_nodes(lenet):
    """Nothing is lost or counted twice: the work of a step is that of the graph, and of loading its data."""
    plan = build(lenet, ranks=1)
    loaded = plan.role["worker"].buffers["data"].nbytes
    total = sum((d.work for d in dos(plan)), Work())
    assert total == sum(map(lenet.work, lenet.nodes), Work(bytes_read=loaded, bytes_written=loaded))


def test_every_buffer_that_a_node_touches_is_named(lenet):
    for micro_batches in (1, 3):
        role = build(lenet, micro_batches=micro_batches).role["worker"]
        for d in dos(build(lenet, micro_batches=micro_batches)):
            held = {v for r in (*d.reads, *d.writes) for v in role.buffers[r.buffer].values}
            everywhere = {v for b in role.buffers.values() for v in b.values}
            for n in role.segments.get(d.kernel, ()):
                node = lenet.node[n]
                assert {v for v in (*node.inputs, *(o.name for o in node.outputs)) if v in everywhere} <= held


def test_the_story_of_a_step(mlp):
    """Two workers, two micro-batches, the whole stream in its order."""
    plan = build(mlp, micro_batches=2, bucket_bytes=1)
    story = ["/".join(map(str, a.id)) for a in unroll(plan, FIRST) if a.parent is None]
    layers = mlp.layers(Phase.FORWARD)
    backward = mlp.layers(Phase.BACKWARD)
    trained = [l for l in backward if f"{l}.weight" in mlp.values]
    bucket = {l: f"b{k}" for k, l in enumerate(trained)}
    expected = ["0/input/0", *(f"0/forward/{l}/0" for l in layers), *(f"0/backward/{l}/0" for l in backward)]
    expected += ["0/input/1", *(f"0/forward/{l}/1" for l in layers)]
    for l in backward:
        expected.append(f"0/backward/{l}/1")
        if l in bucket:
            expected += [f"0/accumulate/{bucket[l]}/1", f"0/allreduce/{bucket[l]}"]
    expected += [f"0/update/{b}" for b in bucket.values()]
    assert story == expected


def test_all_reduce_runs_beside_backward(lenet, clock, by_rank):
    """Kernels take a second: the first bucket's all-reduce has ended before backward has; an update waits for its bucket."""
    spans = by_rank(clock(build(lenet, bucket_bytes=1), lambda rank, do: 1.0))[FIRST]
    assert spans[0, "allreduce", "b0"][1] < spans[0, "backward", "conv1", 0][0]
    assert spans[0, "update", "b0"][0] >= spans[0, "backward", "conv1", 0][1]


def test_a_second_input_slot_lets_loading_run_ahead(mlp, clock):
    def seconds(rank, do):
        return 6.0 if do.kernel == "input" else 1.0

    one = clock(build(mlp, ranks=1, steps=4, input_slots=1), seconds)
    two = clock(build(mlp, ranks=1, steps=4, input_slots=2), seconds)
    assert two[FIRST, (1, "input", 0)] == (6.0, 12.0)  # while step 0 computes
    assert one[FIRST, (1, "input", 0)][0] > 6.0  # when nobody reads the batch of step 0 any more
    assert two[FIRST, (3, "update", "b0")][1] < one[FIRST, (3, "update", "b0")][1]


def test_one_worker_sends_nothing(mlp):
    plan = build(mlp, ranks=1, micro_batches=2)
    assert not [a for a in unroll(plan, FIRST) if isinstance(a.ins, Collective)]
    assert traffic(plan).total == 0
    assert not check(plan).lost


def test_bytes_sent_are_twice_the_gradients_for_each_other_worker(lenet):
    gradients = sum(lenet.type_of(v.name).nbytes for v in lenet.of_kind(Kind.PARAMETER))
    for ranks in (2, 3, 8):
        plan = build(lenet, ranks=ranks)
        assert traffic(plan).total == total_nbytes(plan) == 2 * (ranks - 1) * gradients
        assert sum(check(plan, steps=1).nbytes.values()) == traffic(plan).total


def test_same_graph_same_plan_and_any_change_another(mlp):
    base = build(mlp)
    assert build(mlp).hash == base.hash
    assert build(mlp, steps=99).hash == base.hash  # how often it is repeated is not the plan
    changed = [build(mlp, ranks=3), build(mlp, micro_batches=2), build(mlp, bucket_bytes=1), build(mlp, collective="tree")]
    assert len({p.hash for p in (base, *changed)}) == 1 + len(changed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ranks": 0}, "data_parallel takes a whole number ranks >= 1, got 0"),
        ({"steps": 1.5}, "data_parallel takes a whole number steps >= 1, got 1.5"),
        ({"bucket_bytes": 0}, "data_parallel takes a whole number bucket_bytes >= 1, got 0"),
        ({"micro_batches": -1}, "data_parallel takes a whole number micro_batches >= 1, got -1"),
        ({"input_slots": 0}, "data_parallel takes a whole number input_slots >= 1, got 0"),
        (
            {"collective": "all_gather"},
            "data_parallel sums gradients everywhere, 'all_gather' does a all_gather; use one of ring, tree",
        ),
        ({"collective": "doubling", "ranks": 6}, "collective 'doubling' cannot be played by 6 ranks; these can: ring, tree"),
        ({"collective": "rings"}, "unknown collective 'rings'; did you mean 'ring'?"),
    ],
)
def test_impossible_options_are_refused(mlp, options, message):
    with pytest.raises(GraphError) as found:
        build(mlp, **options)
    assert message in str(found.value)


def changed(graph, **parts):
    old = {"name": graph.name, "inputs": graph.inputs, "nodes": graph.nodes, "outputs": graph.outputs, "updates": graph.updates}
    return Graph(**{**old, **parts})


def test_a_model_graph_is_no_training_graph():
    model = MODELS["mlp"].build(4, image=(4, 4, 1))
    with pytest.raises(
        InvalidPlan, match=r"needs a gradient .* and an update; make the graph with graph\.autodiff\.training_graph"
    ):
        build(model)


def test_state_that_is_not_renewed_is_refused(mlp):
    updates = {k: v for k, v in mlp.updates.items() if k != "fc1.bias.momentum"}
    with pytest.raises(
        InvalidPlan, match=r"state 'fc1.bias.momentum' of graph '\w+' must be renewed by a node of the update phase"
    ):
        build(changed(mlp, updates=updates))


def test_a_graph_without_parameters_is_refused():
    model = MODELS["mlp"].build(4, image=(4, 4, 1))
    inputs = tuple(i for i in model.inputs if i.kind is not Kind.PARAMETER)
    with pytest.raises(InvalidPlan, match="has no parameters: there is nothing to train"):
        build(changed(model, inputs=inputs, nodes=(), outputs={}))


def test_layers_that_need_each_other_are_refused(mlp):
    """Two layers of which each needs the other cannot be two segments; the message says which nodes, and what to do."""
    first, *others = (n for n in mlp.nodes if n.phase is Phase.FORWARD)
    entangled = type(others[-1])(
        **{
            **{f: getattr(others[-1], f) for f in ("name", "op", "inputs", "outputs", "attrs", "phase")},
            "layer": first.layer,
        }
    )
    nodes = tuple(entangled if n is others[-1] else n for n in mlp.nodes)
    with pytest.raises(InvalidPlan, match=r"cannot be cut by layer: .* which runs later; put both into one layer"):
        build(changed(mlp, nodes=nodes))


@settings(max_examples=20, deadline=None)
@given(
    ranks=st.integers(1, 5),
    micro_batches=st.integers(1, 3),
    bucket_bytes=st.integers(1, 40_000),
    collective=st.sampled_from([n for n, a in COLLECTIVES.items() if a.operation is Operation.ALL_REDUCE]),
    input_slots=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
    window=st.sampled_from([1, 7, 1024]),
)
def test_any_plan_is_proven(lenet, ranks, micro_batches, bucket_bytes, collective, input_slots, seed, window):
    """No deadlock; every update takes the gradient of every layer, worker and micro-batch once, of its own step, not stale."""
    if not COLLECTIVES[collective].accepts(ranks):
        return
    plan = build(
        lenet, ranks=ranks, micro_batches=micro_batches, bucket_bytes=bucket_bytes, collective=collective, input_slots=input_slots
    )
    proof = check(plan, seed, window=window)
    assert not proof.lost
    assert set(proof.staleness) == {0}
    layers = {
        b: {v.split(".")[0] for v in buffer.values} for b, buffer in plan.role["worker"].buffers.items() if b.startswith("w.")
    }
    assert len(proof.taken) == 2 * len(layers)
    for update, taken in proof.taken.items():
        mine = layers["w" + update.buffer[1:]]
        assert {(c.rank, c.id) for c in taken} == {
            (r, (update.id[0], "backward", l, m)) for r in plan.ranks for l in mine for m in range(micro_batches)
        }
        assert len(taken) == ranks * len(mine) * micro_batches
