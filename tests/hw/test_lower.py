"""Lowering: every node is done exactly once, work is kept, and values that are alive together never share a byte."""

from dataclasses import replace
from itertools import zip_longest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.autodiff import training_graph
from graph.frontend.symbol import Builder
from graph.ir import Graph, Kind, Phase
from graph.op import Work
from graph.optimizer import Sgd
from graph.parallel.plan import Plan
from graph.parallel.strategies.parameter_server import parameter_server
from graph.parallel.unroll import unroll
from graph.tensor_type import f32
from graph.zoo import MODELS, NETS
from hw.errors import HwError
from hw.kernels.record import Platform
from hw.lower import lower
from hw.lowered import Lowered

FLOATS = [p for p in Platform if p is not Platform.NFU]
"""Platforms that compute in floats: an NFU trains nothing."""


@pytest.fixture(scope="module")
def lowered(planned):
    def make(graph: Graph, **options: int) -> Lowered:
        return lower(planned(graph, **options), "worker", Platform.CPU)

    return make


@pytest.mark.parametrize("model", NETS)
@pytest.mark.parametrize("options", [{}, {"dropout": 0.3}, {"activation": "tanh"}], ids=["plain", "dropout", "tanh"])
@pytest.mark.parametrize("platform", FLOATS)
def test_every_node_is_done_once(trained, planned, model, options, platform):
    graph = trained(model, **options)
    low = lower(planned(graph), "worker", platform)
    covered = [n for c in low.calls for n in c.nodes]
    assert sorted(covered) == sorted(n.name for n in graph if not n.op.is_view)
    assert all(c.kernel.startswith(platform.value + ".") for c in low.calls)


def test_bias_and_relu_go_into_the_epilogue(trained, lowered):
    calls = {c.nodes[0]: c for c in lowered(trained()).calls if c.nodes}
    assert calls["conv1/conv2d"].fused == ("add_bias", "relu")
    assert calls["conv1/conv2d"].reads == ("x", "conv1.weight", "conv1.bias")
    assert calls["conv1/conv2d"].writes == ("conv1/relu",)
    assert calls["fc3/matmul"].fused == ("add_bias",)  # the logits have no relu
    assert calls["fc3/backward/matmul"].fused == ()


def test_a_value_that_somebody_else_reads_is_not_fused_away(lowered):
    b = Builder("shared")
    x, w = b.input("x", f32(4, 3), Kind.DATA), b.input("l.weight", f32(3, 5), Kind.PARAMETER)
    bias = b.input("l.bias", f32(5), Kind.PARAMETER)
    labels = b.input("labels", f32(4, 5), Kind.DATA)
    with b.layer("l"):
        (y,) = b.apply("matmul", (x, w))
        (z,) = b.apply("add_bias", (y, bias))
        (s,) = b.apply("add", (y, z))
        (s,) = b.apply("add", (s, labels))
        (loss,) = b.apply("dot", (s, s))
    b.output("loss", loss)
    low = lowered(training_graph(b.graph(), Sgd(learning_rate=0.1)))
    (product,) = [c for c in low.calls if c.nodes[:1] == ("l/matmul",)]
    assert product.fused == () and product.writes == ("l/matmul",)


def test_work_is_the_graphs_less_the_traffic_that_fusion_saves(trained, lowered):
    graph = trained()
    low = lowered(graph)
    total = sum((graph.work(n) for n in graph if not n.op.is_view), Work())
    found = sum((c.work for c in low.calls if c.nodes), Work())
    saved = sum(graph.type_of(graph.node[n].outputs[0].name).nbytes for c in low.calls if c.fused for n in c.nodes[:-1])
    assert found.flop == total.flop
    assert (found.bytes_read, found.bytes_written) == (total.bytes_read - saved, total.bytes_written - saved)


def test_the_optimizer_runs_once_a_bucket(trained, lowered):
    low = lowered(trained())
    updates = [c for c in low.calls if c.phase is Phase.UPDATE]
    assert [c.kernel for c in updates] == ["cpu.sgd"] * 3
    sizes = [low.plan.role["worker"].buffers[f"w.b{k}"].size for k in range(3)]
    assert [c.types[0].size for c in updates] == sizes


def test_running_statistics_leave_the_optimizer_whole(trained, planned):
    """Also where a segment has both, one by one."""
    plan = planned(trained("resnet50"))
    role = plan.role["worker"]
    (mixed, *_), statistics = [s for s in role.segments if s.startswith("update/b")], role.segments["update/statistics"]
    turns = [n for pair in zip_longest(role.segments[mixed], statistics) for n in pair if n]
    segments = {**role.segments, mixed: tuple(turns), "update/statistics": ()}
    calls = lower(Plan((replace(role, segments=segments),)), "worker", Platform.CPU).segments[mixed]
    assert sorted(c.kernel for c in calls) == ["cpu.blend"] * len(statistics) + ["cpu.sgd"]
    (whole,) = (c for c in calls if c.kernel == "cpu.sgd")
    assert sorted(whole.nodes) == sorted(role.segments[mixed])
    assert whole.types[0].size == role.buffers[f"w.{mixed.removeprefix('update/')}"].size


@settings(max_examples=25, deadline=None)
@given(
    model=st.sampled_from(NETS),
    ranks=st.integers(1, 3),
    micro_batches=st.integers(1, 3),
    bucket_bytes=st.sampled_from([1, 4096, 1 << 20]),
    dropout=st.sampled_from([0.0, 0.5]),
)
def test_values_alive_together_do_not_overlap(trained, lowered, dos, model, ranks, micro_batches, bucket_bytes, dropout):
    """Replay one rank's step and remember who wrote each byte last: nobody may read what another value overwrote."""
    graph = trained(model, batch=3, dropout=dropout)
    low = lowered(graph, ranks=ranks, micro_batches=micro_batches, bucket_bytes=bucket_bytes)
    owner: dict[int, str] = {}
    for do in dos(low.plan):
        for c in low.segments[do.kernel]:
            for name in c.reads:
                root = _root(low, name)
                if root in graph.producer and graph.producer[root].phase is not Phase.UPDATE:
                    at, first = low.offset(do, name), graph.type_of(name).nbytes
                    assert {owner.get(at + k) for k in range(0, first, 4)} <= {root}, f"{do.id} reads {name}, overwritten"
            for name in c.writes:
                if name in graph.values:
                    at = low.offset(do, name)
                    assert at >= 0 and at + graph.type_of(name).nbytes <= low.layout.nbytes
                    for k in range(0, graph.type_of(name).nbytes, 4):
                        owner[at + k] = _root(low, name)
            workspace = range(low.layout.workspace, low.layout.workspace + c.workspace)
            assert not any(k in owner for k in workspace[::4])


def _root(low: Lowered, name: str) -> str:
    while name in low.layout.views:
        name = low.layout.views[name]
    return name


def test_sharing_saves_memory(trained, lowered):
    graph = trained(batch=64)
    low = lowered(graph)
    everything = sum(v.type.nbytes for v in graph.values.values())
    assert low.layout.nbytes < 0.75 * everything


def test_each_micro_batch_has_its_own_loss_and_sample_counter(trained, lowered, dos):
    graph = trained(dropout=0.5)
    low = lowered(graph, micro_batches=2)
    forward = [do for do in dos(low.plan) if do.kernel == "forward/loss"]
    loss = graph.outputs["loss"]
    assert [do.id[3] for do in forward] == [0, 1]
    assert low.offset(forward[1], loss) - low.offset(forward[0], loss) == 64
    assert low.offset(forward[1], "sample") - low.offset(forward[0], "sample") == 64


def test_an_algorithm_can_be_forced(trained, planned):
    graph = trained()
    low = lower(planned(graph), "worker", Platform.CPU, algorithms={"conv2d_grad_input": "col2im"})
    assert "cpu.conv2d_grad_input.col2im" in {c.kernel for c in low.calls}
    with pytest.raises(HwError, match="col2im"):
        lower(planned(graph), "worker", Platform.CPU, algorithms={"conv2d_grad_input": "colim"})


def test_a_value_in_a_buffer_that_the_action_does_not_name_is_refused(trained, lowered, dos):
    low = lowered(trained())
    update = next(do for do in dos(low.plan) if do.kernel == "update/b0")
    with pytest.raises(HwError, match="touches 'x', which lies in no buffer"):
        low.offset(update, "x")


def test_lowering_is_deterministic(trained, lowered):
    graph = trained(dropout=0.1)
    assert lowered(graph).hash == lowered(graph).hash
    assert lowered(graph).hash != lowered(trained(dropout=0.2)).hash


@pytest.mark.parametrize("servers", ["devices", "host"])
def test_a_part_of_a_bucket_is_one_call(servers):
    """Three ranks, or three servers, make a step on a third each: the same code and the same sizes, at places of their own."""
    model = MODELS["mlp"].build(2, **MODELS["mlp"].tiny)
    count = {"server_count": 3} if servers == "host" else {}
    options = {"ranks": 3, "steps": 1, "bucket_bytes": 1 << 20, "servers": servers, **count}
    plan = parameter_server(model, Sgd(learning_rate=0.1, momentum=0.9), **options)
    role = plan.roles[-1]
    low = lower(plan, role.name, Platform.CPU)
    (call,) = low.segments["update/b0"]
    size = -(-sum(v.type.size for v in model.of_kind(Kind.PARAMETER)) // 3)
    assert (call.reads, call.writes) == (("w.b0", "g.b0", "s.b0"), ("w.b0", "s.b0"))
    assert set(call.types) == {f32(size)}
    (do,) = {a.ins for a in unroll(plan, plan.first_rank(role.name)) if a.ins.id[1] == "update"}
    assert do.work == call.work
    for k, rank in enumerate(r for r in plan.ranks if r.role == role.name):
        for name in call.reads:
            is_cut = role.buffers[name].is_cut
            assert low.offset(do, name, rank) - low.layout.buffers[name, 0] == (0 if is_cut else 4 * size * k)
    with pytest.raises(HwError, match="lies in no buffer that it names"):
        low.offset(do, f"{role.buffers['s.b0'].values[0]}", plan.ranks[0])


def test_a_part_of_unlike_steps_is_refused():
    model = MODELS["mlp"].build(2, **MODELS["mlp"].tiny)
    plan = parameter_server(model, Sgd(learning_rate=0.1, momentum=0.9), ranks=2, steps=1, bucket_bytes=1 << 20)
    (role,) = plan.roles
    some = {name: nodes[1:] if name == "update/b0" else nodes for name, nodes in role.segments.items()}
    with pytest.raises(HwError, match="'update/b0' works on a part of its buffers, so it has to be one optimizer step"):
        lower(Plan((replace(role, segments=some),)), "worker", Platform.CPU)


@pytest.mark.parametrize("model", ["lenet", "resnet50"])
def test_micro_batches_share_memory(trained, planned, model):
    """What a micro-batch makes anew costs nothing more with many of them: only the second gradients and the counters do."""
    graph = trained(model)
    one, four = (lower(planned(graph, micro_batches=m), "worker", Platform.CPU).layout.nbytes for m in (1, 4))
    second = sum(b.nbytes for n, b in planned(graph, micro_batches=4).role["worker"].buffers.items() if n.startswith("p."))
    assert one < four <= one + second + 4096
