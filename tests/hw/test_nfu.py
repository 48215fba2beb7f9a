"""The NFU as a platform: which kernels a plan is lowered to, what its device's processor does, what both cost."""

from dataclasses import replace

import pytest

from graph.frontend.symbol import Builder
from graph.ir import Graph, Kind
from graph.optimizer import Sgd
from graph.parallel.plan import Plan
from graph.parallel.strategies import STRATEGIES
from graph.parallel.strategies.inference import inference
from graph.tensor_type import DType, f32
from graph.zoo import MODELS, NETS
from hw import catalogue
from hw.cost import NfuModel, cost_model
from hw.cost.nfu import scheduled
from hw.cost.roofline import roof
from hw.device import Device
from hw.errors import HwError
from hw.kernels import record_for
from hw.kernels.record import Call, Platform
from hw.lower import lower
from hw.lowered import Lowered
from hw.nfu.config import Nfu
from hw.nfu.energy import energy
from hw.nfu.lower import lower as program_of
from hw.nfu.lower import places
from hw.nfu.nest import Nest
from hw.nfu.of_call import layer_of
from hw.nfu.timing import moves_in, timing

SGD = Sgd(learning_rate=0.1)


@pytest.fixture(scope="module")
def diannao() -> Device:
    return catalogue.device("diannao")


def fixed(name: str, batch: int = 2, **options: object) -> Plan:
    return inference(MODELS[name].build(batch, **{**MODELS[name].tiny, **options}), SGD, ranks=1, steps=1, word=16, fraction=10)


def lowered(name: str, **options: object) -> Lowered:
    return lower(fixed(name, **options), "worker", Platform.NFU)


def cycles_of(call: Call, nfu: Nfu) -> int:
    """Instruction by instruction, of the program of the schedule that the model takes."""
    layer = layer_of(call)
    program = program_of(Nest(layer, nfu, scheduled(call, nfu).cost.schedule), places(layer)[0])
    return timing(nfu, moves_in(program, nfu)).total_cycles


def test_what_an_nfu_has_not_its_processor_has() -> None:
    assert record_for("conv2d", Platform.NFU).name == "nfu.conv2d"
    assert record_for("lrn", Platform.NFU) is record_for("lrn", Platform.CPU)
    assert record_for("input", Platform.NFU).name == "cpu.input"
    with pytest.raises(HwError, match="no kernel for operator 'conv3d'"):
        record_for("conv3d", Platform.NFU)


@pytest.mark.parametrize("model", NETS)
def test_every_node_is_done_and_what_passes_between_layers_are_words(model: str) -> None:
    low = lowered(model)
    done = [n for c in low.calls for n in c.nodes]
    assert set(done) == {n.name for n in low.graph if not n.op.is_view}
    shared = {n for n in done if done.count(n) > 1}
    assert all(low.graph.node[n].op.name == "dequantize" for n in shared)  # several layers may read the same words
    for call in low.calls:
        if call.kernel.startswith("nfu."):
            assert {t.dtype for t in call.types} == {DType.I16}
            assert all(low.graph.type_of(v).dtype is DType.I16 for v in call.writes)


def test_a_net_of_layers_leaves_its_ends_to_the_processor() -> None:
    kernels = [c.kernel for c in lowered("lenet").calls if c.nodes]
    assert [k for k in kernels if k.startswith("cpu.")] == ["cpu.quantize", "cpu.dequantize"]
    assert kernels[0] == "cpu.quantize" and kernels[-1] == "cpu.dequantize"
    assert kernels[1:-1] == ["nfu.conv2d", "nfu.max_pool"] * 2 + ["nfu.matmul"] * 3


def test_products_of_floats_are_refused() -> None:
    plan = inference(MODELS["lenet"].build(2), SGD, ranks=1, steps=1)
    with pytest.raises(HwError, match=r"'conv1/conv2d' of graph 'lenet' computes in floats, .* give the scenario `numerics`"):
        lower(plan, "worker", Platform.NFU)
    options = {"ranks": 1, "steps": 1, "bucket_bytes": 1 << 20}
    trains = STRATEGIES["data_parallel"].build(MODELS["mlp"].build(2), SGD, **options)
    with pytest.raises(HwError, match="training in fixed point is not built"):
        lower(trains, "worker", Platform.NFU)


def pooled() -> Graph:
    b = Builder("pooled")
    x = b.input("x", f32(2, 6, 6, 3), Kind.DATA)
    with b.layer("pool"):
        (y,) = b.apply("avg_pool", (x,), window=2, stride=2)
        (z,) = b.apply("tanh", (y,))
    b.output("logits", z)
    return b.graph()


def test_other_operators_in_floats_are_the_processors() -> None:
    low = lower(inference(pooled(), SGD, ranks=1, steps=1), "worker", Platform.NFU)
    assert [c.kernel for c in low.segments["forward/pool"]] == ["cpu.avg_pool", "cpu.tanh"]
    words = lower(inference(pooled(), SGD, ranks=1, steps=1, word=16), "worker", Platform.NFU)
    assert [c.kernel for c in words.segments["forward/pool"]] == ["nfu.avg_pool", "nfu.tanh", "cpu.dequantize"]


@pytest.mark.parametrize("model", ["lenet", "alexnet", "inception-v3"])
def test_a_layer_takes_as_long_as_its_instructions(model: str, diannao: Device) -> None:
    nfu = diannao.nfu
    assert nfu is not None
    cost = cost_model(diannao)
    for call in (c for c in lowered(model).calls if c.kernel.startswith("nfu.")):
        assert cost.seconds(call) == pytest.approx(cycles_of(call, nfu) / nfu.clock_hz, rel=1e-12)
        quarter = replace(nfu, dram_bytes_per_second=nfu.dram_bytes_per_second / 4)
        nest = Nest(layer_of(call), quarter, scheduled(call, nfu).cost.schedule)  # the same program, a slower memory
        cycles = timing(quarter, moves_in(program_of(nest, places(nest.layer)[0]), quarter)).total_cycles
        assert cost.seconds(call, busy=4) == pytest.approx(cycles / nfu.clock_hz, rel=1e-12)
        assert cycles >= max(nest.layer.nfu_cycles(nfu), scheduled(call, quarter).cost.dram_bytes / 255.2)


def test_a_layer_by_hand(diannao: Device) -> None:
    """The last layer of the LeNet, 84 neurons in and 10 out, of one sample: 6 rows of NBin and of SB.

    In three chunks of 2 rows of words the first brings 32 x 10 weights, 32 neurons and 10 biases, 724 B, in 3 cycles at 255.1 B a
    cycle; while it computes for 2 cycles 704 B come in 3, then 440 B in 2, then the last computes for 2; the last row is through
    the pipeline after 8, and its 20 B are stored in 1.
    """
    call = next(c for c in lowered("lenet", batch=1).calls if c.layer == "fc3" and c.kernel == "nfu.matmul")
    assert layer_of(call).nfu_cycles(Nfu()) == 6
    assert cost_model(diannao).seconds(call) * 0.98e9 == pytest.approx(3 + (3 + 2 + 2) + 8 + 1)


def test_a_net_is_the_sum_of_its_layers_and_of_the_processors_calls(diannao: Device) -> None:
    nfu, processor = diannao.nfu, diannao.processor
    assert nfu is not None and processor is not None
    cost = cost_model(diannao)
    assert isinstance(cost, NfuModel)
    seconds = joules = 0.0
    calls = lowered("alexnet").calls
    for call in calls:
        if call.kernel.startswith("nfu."):
            seconds += cycles_of(call, nfu) / nfu.clock_hz
            joules += energy(nfu, scheduled(call, nfu).cost.activity)["total"]
        else:
            t = roof(call, processor).seconds
            seconds += t
            joules += t * (processor.watts + diannao.watts * diannao.idle_fraction) + call.work.nbytes * nfu.dram_joules_per_byte
    assert sum(map(cost.seconds, calls)) == pytest.approx(seconds, rel=1e-12)
    assert sum(cost.joules(c) or 0.0 for c in calls) == pytest.approx(joules, rel=1e-12)


def test_an_interval_is_the_processors_or_the_memorys(diannao: Device) -> None:
    cost = cost_model(diannao)
    layer, other = (next(c for c in lowered("lenet").calls if c.kernel.startswith(p)) for p in ("nfu.", "cpu."))
    assert (cost.spread(layer), cost.spread(other)) == (0.0, 0.25)
    assert 0 < cost.shared_spread(layer) < cost.shared_spread(other)


def test_energy_that_is_not_known(diannao: Device) -> None:
    processor = diannao.processor
    assert processor is not None
    cost = NfuModel(replace(diannao, processor=replace(processor, watts=0.0)))
    layer, other = (next(c for c in lowered("lenet").calls if c.kernel.startswith(p)) for p in ("nfu.", "cpu."))
    assert cost.joules(other) is None and (cost.joules(layer) or 0.0) > 0


def test_devices_that_the_model_cannot_price(diannao: Device) -> None:
    with pytest.raises(HwError, match="'diannao' has no processor for what its NFU lacks"):
        cost_model(replace(diannao, processor=None))
    with pytest.raises(HwError, match="'k20' has no NFU"):
        cost_model(catalogue.device("k20"), name="nfu")


def test_terms_are_those_of_the_layer() -> None:
    for call in (c for c in lowered("lenet").calls if c.kernel.startswith("nfu.")):
        layer = layer_of(call)
        record = record_for(call.kernel.removeprefix("nfu."), Platform.NFU)
        words = layer.inputs + layer.synapses + layer.biases + layer.outputs
        assert record.terms(call.types, call.attrs) == {"call": 1, "macs": layer.macs, "bytes": 2 * words}
