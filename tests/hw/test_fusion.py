"""Fusion: kernels that take conversions of numbers into their operands and further operators into their results."""

from dataclasses import replace

import pytest

import hw.lower
from graph.fixed_point import Fixed
from graph.frontend.symbol import Builder
from graph.ir import Graph, Kind
from graph.op import Work
from graph.optimizer import Sgd
from graph.parallel.plan import Plan
from graph.parallel.strategies.inference import inference
from graph.passes.fixed_point import fixed_point
from graph.passes.inference import inference_graph
from graph.tensor_type import f32, i16
from graph.zoo import MODELS
from hw.kernels import record_for
from hw.kernels.record import Call, KernelRecord, Platform, own_attrs
from hw.lower import lower
from hw.lowered import Lowered

FIXED = {"neuron": Fixed(bits=16, fraction=10), "synapse": Fixed(bits=16, fraction=12)}
PRODUCT = ("add_bias", "relu", "tanh", "quantize")
FUSING = {"conv2d": PRODUCT, "matmul": PRODUCT, "max_pool": ("quantize",), "avg_pool": ("quantize",), "tanh": ("quantize",)}
FORMAT = {"quantize.fraction": 10, "quantize.bits": 16, "quantize.rounding": "nearest"}


def _taking(op: str, platform: Platform, algorithm: str | None = None) -> KernelRecord:
    """Records of a platform whose kernels work on words."""
    record = record_for(op, platform, algorithm)
    if op not in FUSING:
        return record
    return replace(
        record,
        epilogue=FUSING[op],
        is_epilogue_optional=True,
        prologue=("dequantize",),
        workspace=lambda types, attrs: 0,
    )


@pytest.fixture
def words(monkeypatch):
    """graph -> its inference, lowered to kernels that take conversions in."""
    monkeypatch.setattr(hw.lower, "record_for", _taking)
    return _lowered


def _lowered(graph: Graph) -> Lowered:
    return lower(inference(graph, Sgd(learning_rate=0.1), ranks=1, steps=1), "worker", Platform.CPU)


def _net(name: str, **options: object) -> Graph:
    return fixed_point(inference_graph(MODELS[name].build(2, **{**MODELS[name].tiny, **options})), **FIXED)


def _computed(low: Lowered) -> list[Call]:
    return [c for c in low.calls if c.nodes]


def test_a_net_is_calls_on_words(words):
    low = words(_net("lenet"))
    story = [(c.nodes[0], c.fused, c.reads, c.writes) for c in _computed(low)]
    assert story[:4] == [
        ("input/quantize", (), ("x",), ("input/quantize",)),
        (
            "conv1/conv2d",
            ("add_bias", "relu", "quantize"),
            ("input/quantize", "conv1.weight", "conv1.bias"),
            ("conv1/quantize",),
        ),
        ("conv1/max_pool", ("quantize",), ("conv1/quantize",), ("conv1/quantize.2",)),
        (
            "conv2/conv2d",
            ("add_bias", "relu", "quantize"),
            ("conv1/quantize.2", "conv2.weight", "conv2.bias"),
            ("conv2/quantize",),
        ),
    ]
    assert story[-2:] == [
        ("fc3/matmul", ("add_bias", "quantize"), ("fc2/quantize", "fc3.weight", "fc3.bias"), ("fc3/quantize",)),
        ("fc3/dequantize.4", (), ("fc3/quantize",), ("fc3/dequantize.4",)),
    ]
    (fc1,) = [c for c in low.calls if c.nodes[:1] == ("fc1/matmul",)]
    assert fc1.reads[0] == "fc1/flatten" and low.layout.views["fc1/flatten"] == "conv2/quantize.2"
    assert sorted(n for c in low.calls for n in c.nodes) == sorted(n.name for n in low.graph if not n.op.is_view)


def test_attributes_say_what_is_taken_in(words):
    calls = {c.nodes[0]: c for c in _computed(words(_net("lenet")))}
    conv = calls["conv2/conv2d"]
    assert conv.types == (i16(2, 4, 4, 6), i16(3, 3, 6, 16), i16(16))
    assert conv.attrs == {
        "stride": 1,
        "pad": 1,
        "groups": 1,
        "epilogue": "add_bias+relu+quantize",
        **FORMAT,
        "prologue": "dequantize+dequantize+dequantize",
        "dequantize.0.fraction": 10,
        "dequantize.0.bits": 16,
        "dequantize.1.fraction": 12,
        "dequantize.1.bits": 16,
        "dequantize.2.fraction": 10,
        "dequantize.2.bits": 16,
    }
    assert own_attrs(conv.attrs) == {"stride": 1, "pad": 1, "groups": 1}
    assert conv.nodes == tuple(
        f"conv2/{n}" for n in ("conv2d", "add_bias", "relu", "quantize", "dequantize", "dequantize.2", "dequantize.3")
    )


def test_work_is_exact(words):
    """Words in and words out; all arithmetic of the nodes."""
    graph = _net("lenet")
    calls = _computed(words(graph))
    for c in calls:
        read, written = sum(t.nbytes for t in c.types), sum(graph.type_of(v).nbytes for v in c.writes)
        assert (c.work.bytes_read, c.work.bytes_written) == (read, written), c.nodes
        assert c.work.flop == sum(graph.work(graph.node[n]).flop for n in c.nodes)
    assert sum(c.work.flop for c in calls) == sum((graph.work(n) for n in graph), Work()).flop


@pytest.mark.parametrize("name", ["alexnet", "resnet50", "inception-v3"])
def test_large_nets_keep_words_between_calls(words, name):
    """What the device lacks reads and makes floats, by conversions of its own."""
    graph = _net(name)
    low = words(graph)
    for c in _computed(low):
        op = graph.node[c.nodes[0]].op.name
        if op in FUSING:
            assert all(t == i16(*t.shape) for t in c.types) and graph.type_of(c.writes[0]).dtype == "i16"
            assert c.fused[-1] == "quantize"
    covered = {n for c in low.calls for n in c.nodes}
    assert covered == {n.name for n in graph if not n.op.is_view}
    lacking = {"alexnet": "lrn", "resnet50": "batch_norm_inference", "inception-v3": "concat"}[name]
    assert any(graph.producer[c.reads[0]].op.name == "dequantize" for c in low.calls if c.kernel == f"cpu.{lacking}")


def _shared(*, bias_last: bool = False, is_seen: bool = False, elsewhere: bool = False) -> Graph:
    """A product, a sum and words that both read."""
    b = Builder("shared")
    q, w = b.input("q", i16(4, 3), Kind.DATA), b.input("w", i16(3, 3), Kind.PARAMETER)
    c = b.input("c", i16(3), Kind.PARAMETER)
    with b.layer("before" if elsewhere else "a"):
        (x,) = b.apply("dequantize", (q,), fraction=3)
    with b.layer("a"):
        (v,) = b.apply("dequantize", (w,), fraction=4)
        (bias,) = b.apply("dequantize", (c,), fraction=5) if not bias_last else (None,)
        (y,) = b.apply("matmul", (x, v))
        (bias,) = b.apply("dequantize", (c,), fraction=5) if bias_last else (bias,)
        (y,) = b.apply("add_bias", (y, bias))
        (y,) = b.apply("tanh", (y,))
        (s,) = b.apply("add", (y, x))
    b.output("logits", s)
    if is_seen:
        b.output("weights", v)
    return b.graph()


def _calls(graph: Graph) -> list[Call]:
    return list(lower(_plan_of(graph), "worker", Platform.CPU).calls)


def _plan_of(graph: Graph) -> Plan:
    """Like `inference`, but with all outputs."""
    plan = inference(graph, Sgd(learning_rate=0.1), ranks=1, steps=1)
    (role,) = plan.roles
    kept = {s: tuple(n.name for n in graph if f"forward/{n.layer}" == s) for s in role.segments}
    return Plan((replace(role, graph=graph, segments=kept),))


def test_what_somebody_else_reads_is_also_made(words):
    """The sum takes floats, so words become floats for it; the product reads the words all the same."""
    made, product, total = [c for c in _calls(_shared()) if c.nodes]
    assert made.nodes == ("a/dequantize",) and made.writes == ("a/dequantize",)
    assert product.nodes == ("a/matmul", "a/add_bias", "a/tanh", "a/dequantize", "a/dequantize.2", "a/dequantize.3")
    assert product.reads == ("q", "w", "c") and product.fused == ("add_bias", "tanh")
    assert [product.attrs[f"dequantize.{k}.fraction"] for k in range(3)] == [3, 4, 5]
    assert total.reads == ("a/tanh", "a/dequantize")
    assert product.work == Work(flop=2 * 36 + 12 + 12 + 12 + 9 + 3, bytes_read=2 * (12 + 9 + 3), bytes_written=4 * 12)


def test_what_is_seen_from_outside_is_also_made(words):
    calls = [c for c in _calls(_shared(is_seen=True)) if c.nodes]
    assert [c.nodes[0] for c in calls] == ["a/dequantize", "a/dequantize.2", "a/matmul", "a/add"]
    assert calls[2].reads == ("q", "w", "c")


def test_a_conversion_of_another_segment_stays_there(words):
    before, product, _ = [c for c in _calls(_shared(elsewhere=True)) if c.nodes]
    assert before.writes == ("before/dequantize",)
    assert product.reads == ("before/dequantize", "w", "c") and product.types[0] == f32(4, 3)
    assert product.attrs["prologue"] == "+dequantize+dequantize"
    assert "dequantize.0.fraction" not in product.attrs


def test_an_epilogue_reads_nothing_that_is_made_later(words):
    """The call stands where the product stands, and there is no bias yet: not even for a kernel that would take words."""
    calls = [c for c in _calls(_shared(bias_last=True)) if c.nodes]
    assert [(c.nodes[0], c.fused) for c in calls[1:4]] == [("a/matmul", ()), ("a/dequantize.3", ()), ("a/add_bias", ())]


def test_nor_do_the_kernels_that_take_floats():
    calls = [c for c in _lowered(_shared(bias_last=True)).calls if c.nodes]
    assert [c.nodes for c in calls if "a/add_bias" in c.nodes] == [("a/add_bias",)]
    calls = [c for c in _lowered(_shared()).calls if c.nodes]
    assert ("a/matmul", "a/add_bias") in [c.nodes for c in calls]
    assert all("prologue" not in c.attrs for c in calls)


@pytest.mark.parametrize("is_seen", [False, True])
def test_a_further_result_that_nobody_sees_is_not_written(words, is_seen):
    b = Builder("pooled")
    q = b.input("q", i16(1, 4, 4, 2), Kind.DATA)
    with b.layer("a"):
        (x,) = b.apply("dequantize", (q,), fraction=3)
        y, where = b.apply("max_pool", (x,), window=2, stride=2)
        (r,) = b.apply("quantize", (y,), fraction=3)
        (z,) = b.apply("dequantize", (r,), fraction=3)
    b.output("logits", z)
    if is_seen:
        b.output("where", where)
    pool = next(c for c in _calls(b.graph()) if c.nodes[:1] == ("a/max_pool",))
    if is_seen:
        assert pool.fused == () and pool.writes == ("a/max_pool", "a/max_pool.where")
        assert pool.work.bytes_written == (4 + 1) * 8
    else:
        assert pool.fused == ("quantize",) and pool.writes == ("a/quantize",)
        assert pool.work == Work(flop=3 * 8 + 4 * 8 + 32, bytes_read=2 * 32, bytes_written=2 * 8)


def test_members_may_be_missing_only_where_the_record_says_so(words, monkeypatch):
    b = Builder("plain")
    x, w = b.input("x", f32(4, 3), Kind.DATA), b.input("w", f32(3, 5), Kind.PARAMETER)
    with b.layer("a"):
        (y,) = b.apply("matmul", (x, w))
        (y,) = b.apply("relu", (y,))
    b.output("logits", y)
    (call,) = [c for c in _lowered(b.graph()).calls if c.nodes]
    assert (call.fused, call.attrs["epilogue"], call.attrs["prologue"]) == (("relu",), "relu", "+")
    monkeypatch.setattr(hw.lower, "record_for", record_for)  # of kernels whose epilogue has no gaps
    assert [c.fused for c in _lowered(b.graph()).calls if c.nodes] == [(), ()]
