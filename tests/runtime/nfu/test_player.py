"""A plan played on emulated NFUs: its values against the CPU's kernels, its time against closed forms, and what it refuses."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graph import MODELS, DType, Graph, Kind, Sgd, inference_graph, init_parameters
from graph.fixed_point import Fixed
from graph.frontend.symbol import Builder
from graph.parallel.plan import Do, Plan, Rank
from graph.parallel.strategies import STRATEGIES
from graph.parallel.unroll import unroll
from graph.passes.fixed_point import fixed_point, fixed_values
from graph.tensor_type import f32
from hw.catalogue import system
from hw.cost import cost_model
from hw.cost.nfu import is_on_processor, scheduled
from hw.input_stage import InputStage, period
from hw.kernels.record import Platform
from hw.lower import lower
from hw.model import PlacedModel
from hw.nfu.config import WIDE, Nfu
from hw.system import System
from runtime.data.dataset import Dataset
from runtime.errors import Interrupted, InvalidJob, MissingCapability
from runtime.evaluate import Evaluator, lower_forward
from runtime.nfu.evaluate import Inference
from runtime.nfu.player import Player

COARSE = Fixed(bits=16, fraction=6)
"""Products of two such numbers are multiples of 2^-12; a sum of them below 2^12 is exact in f32, in any order."""
IMAGE, OPTIMIZER = (8, 8, 1), Sgd(learning_rate=0.1)
STEP = 2.0**-10


def digits(samples: int = 5) -> Dataset:
    rng = np.random.default_rng(3)
    images = rng.integers(0, 17, (samples, *IMAGE), dtype=np.uint8)
    return Dataset(name="made up", images=images, labels=np.zeros(samples, np.int64), classes=10, scale=1 / 16)


def net(batch: int, name: str = "lenet") -> Graph:
    return MODELS[name].build(batch, image=IMAGE, width=0.5)


def with_nfu(nfu: Nfu, name: str = "diannao-1") -> System:
    found = system(name)
    device = replace(found.device, nfu=nfu)
    return replace(found, device=device)


def player(
    graph: Graph, on: System, *, ranks: int = 1, steps: int = 3, stage: InputStage | None = None, **options: Any
) -> Player:
    plan = STRATEGIES["inference"].build(graph, OPTIMIZER, ranks=ranks, steps=steps, **options)
    return placed(plan, on, stage)


def placed(plan: Plan, on: System, stage: InputStage | None = None) -> Player:
    lowered = {r.name: lower(plan, r.name, Platform.NFU) for r in plan.roles}
    return Player(plan, lowered, PlacedModel(system=on, plan=plan, lowered=lowered, cost=cost_model, input_stage=stage))


def values(graph: Graph, scale: float = 1.0) -> dict[str, np.ndarray[Any, Any]]:
    """As drawn, and biases that are not zero."""
    rng = np.random.default_rng(7)
    drawn = init_parameters(graph, 5)
    return {k: scale * a if a.ndim > 1 else rng.uniform(-0.3, 0.3, a.shape).astype(np.float32) for k, a in drawn.items()}


def on_cpu(graph: Graph, given: Mapping[str, Any], data: Dataset, fixed: Fixed) -> np.ndarray[Any, Any]:
    numerics = {"word": fixed.bits, "fraction": fixed.fraction}
    return Evaluator(lower_forward(graph, OPTIMIZER, Platform.CPU, {}, numerics)).logits(given, data)


@pytest.mark.parametrize("name", ["lenet", "mlp"])
def test_with_exact_sums_words_are_those_of_the_cpu(name: str) -> None:
    graph, data = net(2, name), digits()
    exact = Nfu(neuron=COARSE, synapse=COARSE, arithmetic=WIDE)
    made = player(graph, with_nfu(exact), word=16, fraction=6)
    given = values(graph)
    made.load(given)
    played = made.play(data, 3)
    np.testing.assert_array_equal(played.samples, [0, 1, 2, 3, 4])  # the third step begins anew
    np.testing.assert_array_equal(played.logits, on_cpu(graph, given, data, COARSE)[played.samples])
    assert len(np.unique(played.logits)) > 20


def test_diannao_stays_within_what_its_products_lose() -> None:
    """Each product loses less than a step, towards zero; the CPU rounds sums to half a step; errors pass on as weights say."""
    graph, data = net(1), digits()
    made = player(graph, system("diannao-1"), word=16, fraction=10, steps=5)
    given = values(graph)
    made.load(given)
    found, wanted = made.play(data, 5).logits, on_cpu(graph, given, data, Fixed())
    assert np.abs(wanted).max() < 8  # far from where a sum of 16 bits wraps
    bound = 0.0
    for layer in ("conv1", "conv2", "fc1", "fc2", "fc3"):
        w = np.abs(given[f"{layer}.weight"].reshape(-1, given[f"{layer}.weight"].shape[-1])) + STEP / 2  # rounded to words
        bound = bound * w.sum(axis=0).max() + len(w) * STEP + STEP / 2
    error = np.abs(found - wanted).max()
    assert 0 < error < bound


def test_layers_in_an_arena_compute_what_they_compute_by_themselves() -> None:
    graph, data, given = net(2), digits(4), values(net(2))
    made = player(graph, system("diannao-1"), word=16, fraction=10)
    made.load(given)
    fixed = fixed_point(inference_graph(graph), neuron=Fixed(), synapse=Fixed())
    images = data.images * np.float32(data.scale)
    np.testing.assert_array_equal(made.play(data, 2).logits, Inference(fixed).logits(given, images, Nfu()))


def test_time_is_that_of_the_closed_form_action_by_action() -> None:
    made = player(net(2), system("diannao-1"), word=16, fraction=10)
    made.load(values(net(2)))
    timeline = made.play(digits(), 3).timeline
    (lowered,), nfu = {r.lowered for r in made.ranks}, Nfu()
    assert timeline.source == "emulated"
    assert timeline.actions() == {(Rank("worker", (0,)), a.id[1:]) for a in unroll(made.plan, Rank("worker", (0,)))}
    of = {a.id[1:]: a.ins for a in unroll(made.plan, Rank("worker", (0,)))}
    for r in timeline:
        do = of[r.id[1:]]
        assert isinstance(do, Do)
        calls = lowered.segments[do.kernel]
        want = made.model.compute_seconds(r.rank, do)
        assert r.seconds == pytest.approx(want, rel=1e-9)
        mine = [scheduled(c, nfu).cost for c in calls if not is_on_processor(c)]
        if mine:
            assert isinstance(r.note, dict)
            assert r.note["cycles"] == sum(c.total_cycles for c in mine)
            assert r.note["instructions"] == sum(c.instructions for c in mine)
            assert sum(r.note["stalls"].values()) + r.note["busy_cycles"] == pytest.approx(r.note["cycles"])
        else:
            assert r.note is None
    ends = [max(r.end for r in timeline if r.id[0] == k) for k in range(3)]
    assert ends[2] - ends[1] == pytest.approx(sum(r.seconds for r in timeline if r.id[:2] == (1, "forward")), rel=1e-9)


def test_ranks_have_their_own_samples_and_share_a_memory() -> None:
    graph, data = net(2), digits(8)
    alone = player(graph, system("diannao-1"), steps=4, word=16, fraction=10)
    alone.load(values(graph))
    four = player(graph, system("diannao-4"), ranks=4, steps=1, word=16, fraction=10)
    four.load(values(graph))
    one, together = alone.play(data, 4), four.play(data, 1)
    order = np.argsort(together.samples)
    np.testing.assert_array_equal(together.samples[order], one.samples)
    np.testing.assert_array_equal(together.logits[order], one.logits)
    assert len(together.memory_peak_bytes) == 4

    def seconds(p: Any) -> float:
        return sum(float(r.seconds) for r in p.timeline if r.id == (0, "forward", "fc1", 0) and r.rank.at == (0,))

    quarter = replace(Nfu(), dram_bytes_per_second=250e9 / 4)
    call = next(c for c in four.ranks[0].lowered.segments["forward/fc1"])
    assert seconds(together) == pytest.approx(scheduled(call, Nfu(), busy=4).cost.total_cycles / quarter.clock_hz)
    assert seconds(together) > seconds(one)


def test_an_input_stage_can_be_the_bottleneck() -> None:
    stage = InputStage(storage_bytes_per_second=1e6, sample_nbytes=64, decode_seconds=5e-6, depth=2)
    made = player(net(1), system("diannao-1"), steps=12, stage=stage, word=16, fraction=10)
    made.load(values(net(1)))
    timeline = made.play(digits(), 12).timeline
    starts = [r.start for r in timeline if r.id[1] == "input"]
    copy = next(r.seconds for r in timeline if r.id[1] == "input")
    step = sum(r.seconds for r in timeline if r.id[:2] == (11, "forward"))
    assert starts[-1] - starts[-2] == pytest.approx(period(64e-6, 5e-6, copy, step, 2))


def test_only_the_first_steps_are_recorded() -> None:
    made = player(net(1), system("diannao-1"), steps=5, word=16, fraction=10)
    made.load(values(net(1)))
    played = made.play(digits(), 5, recorded=2)
    assert played.steps == 5 and {r.id[0] for r in played.timeline} == {0, 1}


def test_what_is_loaded_must_be_all_there() -> None:
    made, given = player(net(1), system("diannao-1"), word=16, fraction=10), values(net(1))
    with pytest.raises(InvalidJob, match=r"has 'fc1.weight' of shape \[32, 60\], got nothing"):
        made.load({k: v for k, v in given.items() if k != "fc1.weight"})
    with pytest.raises(InvalidJob, match=r"has 'fc1.bias' of shape \[60\], got \[61\]"):
        made.load({**given, "fc1.bias": np.zeros(61, np.float32)})


def test_it_can_be_stopped() -> None:
    class Impatient:
        def on_part(self, done: int, total: int) -> None:
            if done == 2:
                raise KeyboardInterrupt

    made = player(net(1), system("diannao-1"), steps=5, word=16, fraction=10)
    made.load(values(net(1)))
    with pytest.raises(Interrupted) as stopped:
        made.play(digits(), 5, instruments=[Impatient()])
    assert stopped.value.step == 2
    with pytest.raises(Interrupted, match="stopped after step 1"):
        made.play(digits(), 5, timeout=0.0)


def test_a_plan_that_sends_is_refused() -> None:
    plan = STRATEGIES["features"].build(net(2), OPTIMIZER, ranks=2, steps=2, word=16, fraction=10)
    with pytest.raises(MissingCapability, match=r"activation/.*/send moves something between ranks, and links are not emulated"):
        placed(plan, system("diannao-4"))


def test_another_device_is_refused() -> None:
    with pytest.raises(MissingCapability, match=r"worker\[0\] stands on v100-sxm2-16gb, which is no NFU"):
        player(net(1), system("dgx1-v100"), word=16, fraction=10)


def test_synapses_have_one_reader() -> None:
    b = Builder("tied")
    x, w = b.input("x", f32(1, *IMAGE), Kind.DATA), b.input("w", f32(64, 64), Kind.PARAMETER)
    with b.layer("a"):
        once = b.apply("matmul", (*b.apply("flatten", (x,)), w))
    with b.layer("b"):
        b.output("logits", b.apply("matmul", (*once, w))[0])
    made = player(b.graph(), system("diannao-1"), word=16, fraction=10)
    with pytest.raises(MissingCapability, match="synapses 'w' are read by 2 operators"):
        made.load({"w": np.zeros((64, 64), np.float32)})


@pytest.mark.parametrize("op", ["max_pool", "avg_pool"])
def test_borders_of_pooling(op: str) -> None:
    """Around numbers that are mostly negative: a border never wins a maximum, and counts as zeros in an average."""
    b = Builder("bordered")
    x, w = b.input("x", f32(1, *IMAGE), Kind.DATA), b.input("w", f32(1, 1, 1, 4), Kind.PARAMETER)
    with b.layer("a"):
        y = b.apply("conv2d", (x, w), stride=1, pad=0)
        y = b.apply(op, y, window=4, stride=2, pad=1)
        b.output("logits", b.apply("flatten", y[:1])[0])
    exact = Nfu(neuron=COARSE, synapse=COARSE, arithmetic=WIDE)
    made, data = player(b.graph(), with_nfu(exact), steps=5, word=16, fraction=6), digits()
    weights = np.array([-3.0, -2.0, -1.0, 1.0], np.float32)
    made.load({"w": weights.reshape(1, 1, 1, 4)})
    images = data.images * np.float32(data.scale)
    bare = np.pad(images * weights, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf if op == "max_pool" else 0)
    windows = np.lib.stride_tricks.sliding_window_view(bare, (4, 4), (1, 2))[:, ::2, ::2]
    wanted = windows.max((4, 5)) if op == "max_pool" else np.floor(windows.mean((4, 5)) * 64) / 64
    np.testing.assert_array_equal(made.play(data, 5).logits, wanted.reshape(5, -1))


def test_neurons_of_a_layer_have_one_format() -> None:
    inside, outside = Fixed(), COARSE
    mixed = fixed_point(inference_graph(net(1)), neuron=inside, synapse=inside, bias=outside)
    plan = STRATEGIES["inference"].build(mixed, OPTIMIZER, ranks=1, steps=1)
    made = placed(plan, system("diannao-1"))
    with pytest.raises(Exception, match=r"reads 'conv1.bias' with 6 bits behind the point and makes words with 10"):
        made.load(fixed_values(mixed, values(net(1))))
    assert mixed.of_kind(Kind.PARAMETER)[0].type.dtype is DType.I16
