"""Layers of lowered calls: the extents are those of the graph, the work is the graph's work."""

from dataclasses import replace

import pytest

from graph.fixed_point import Fixed
from graph.ir import Graph
from graph.optimizer import Sgd
from graph.parallel.strategies.inference import inference
from graph.summary import summary
from graph.tensor_type import i16
from graph.zoo import MODELS, NETS
from hw.errors import HwError
from hw.kernels.record import Call, Platform
from hw.lower import lower
from hw.lowered import Lowered
from hw.nfu.config import Nfu
from hw.nfu.layer import Function, Kind, Pooling
from hw.nfu.of_call import bordered_nbytes, formatted, layer, layer_of

SGD = Sgd(learning_rate=0.1)
CONV = {"stride": 1, "pad": 0, "groups": 1, "epilogue": "quantize"}
MATMUL = {"ta": False, "tb": False, "epilogue": "quantize"}


def on_nfu(model: Graph, **options: object) -> Lowered:
    plan = inference(model, SGD, ranks=1, steps=1, **{"word": 16, "fraction": 10, **options})
    return lower(plan, "worker", Platform.NFU)


def layers(low: Lowered) -> list[Call]:
    return [c for c in low.calls if c.kernel.startswith("nfu.")]


@pytest.mark.parametrize("model", NETS)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_layers_do_the_work_of_the_graph(model: str, activation: str) -> None:
    batch = 3
    built = MODELS[model].build(batch, **{**MODELS[model].tiny, "activation": activation})
    low = on_nfu(built)
    for call in layers(low):
        found, anchor = layer_of(call), low.graph.node[call.nodes[0]]
        is_product = anchor.op.name in ("conv2d", "matmul")
        assert found.macs == (low.graph.work(anchor).flop // 2 if is_product else 0)
        assert found.inputs == call.types[0].size
        assert found.outputs == low.graph.type_of(call.writes[0]).size
        assert found.synapses == (call.types[1].size if is_product else 0)
        assert found.biases == sum(t.size for t in call.types[2:])
        assert (found.function is not Function.LINEAR) == bool({anchor.op.name, *call.fused} & {"relu", "tanh"})
    assert sum(layer_of(c).macs for c in layers(low)) == batch * summary(built)["forward_macs_per_sample"]


@pytest.mark.parametrize(("model", "cycles"), [("alexnet", 4_385_094), ("alexnet-dense", 5_989_974)])
def test_convolutions_of_alexnet_in_a_plan(model: str, cycles: int) -> None:
    """By hand: the sum over its layers of positions x window x ceil(Ni / 16) x ceil(No / 16), group by group."""
    m = MODELS[model]
    low = on_nfu(m.build(1, image=m.image, classes=m.classes))
    assert sum(layer_of(c).nfu_cycles(Nfu()) for c in layers(low) if c.kernel == "nfu.conv2d") == cycles
    room = {c.layer: (layer_of(c).border, c.workspace) for c in layers(low) if c.kernel == "nfu.conv2d"}
    assert room["conv1"] == ((2, 2), 228 * 228 * 3 * 2)  # images of 224 x 224
    assert room["conv2"] == ((2, 2), 31 * 31 * 96 * 2)
    assert low.layout.workspace_nbytes == room["conv1"][1]  # the largest


def test_a_border_has_room_of_its_own() -> None:
    attrs = {**CONV, "pad": (1, 2), "stride": 2}
    types = i16(3, 5, 4, 7), i16(3, 3, 7, 9)
    found = layer("conv2d", types, attrs, name="c")
    assert (found.ny, found.nx, found.border, found.sx, found.sy) == (7, 8, (1, 2), 2, 2)
    assert bordered_nbytes("conv2d", types, attrs) == 3 * 7 * 8 * 7 * 2
    assert bordered_nbytes("conv2d", types, CONV) == 0
    pooled = layer("max_pool", types[:1], {"window": 3, "stride": 2, "pad": 1, "epilogue": "quantize"})
    assert (pooled.kind, pooled.ny, pooled.nx, pooled.border, pooled.pooling) == (Kind.POOL, 7, 6, (1, 1), Pooling.MAX)


def test_other_operators() -> None:
    private = layer("local_conv2d", (i16(2, 6, 5, 3), i16(4, 3, 3, 3, 3, 8)), {"stride": 1, "pad": 0, "epilogue": "quantize"})
    assert private.is_private and (private.oy, private.ox) == (4, 3)
    assert private.synapses == 4 * 3 * 9 * 3 * 8
    turned = layer("matmul", (i16(4, 20), i16(7, 20)), {**MATMUL, "tb": True, "epilogue": "add_bias+tanh+quantize"})
    assert (turned.nx, turned.ni, turned.no, turned.has_bias, turned.function) == (4, 20, 7, True, Function.TANH)
    average = layer("avg_pool", (i16(1, 8, 8, 5),), {"window": 8, "stride": 1, "pad": 0, "epilogue": "relu+quantize"})
    assert (average.pooling, average.function, average.outputs) == (Pooling.AVERAGE, Function.RELU, 5)
    alone = layer("relu", (i16(2, 3, 5, 7),), {"epilogue": "quantize"})
    assert alone.nfu_cycles(Nfu()) == -(-2 * 3 * 5 * 7 // 16)  # all lanes but those of the last row


def test_what_an_nfu_cannot_do() -> None:
    types = i16(4, 20), i16(20, 7)
    with pytest.raises(HwError, match="'fc': an NFU has one function behind a sum, got relu and then tanh"):
        layer("matmul", types, {**MATMUL, "epilogue": "relu+tanh+quantize"}, name="fc")
    with pytest.raises(HwError, match=r"'fc': .* its input is transposed"):
        layer("matmul", types, {**MATMUL, "ta": True}, name="fc")
    with pytest.raises(HwError, match="no operator 'lrn'"):
        layer("lrn", types, {})
    call = next(c for c in on_nfu(MODELS["mlp"].build(2)).calls if c.kernel == "cpu.quantize")
    with pytest.raises(HwError, match=r"'cpu\.quantize' is no layer of an NFU"):
        layer_of(call)


def test_formats_are_those_of_the_call() -> None:
    call = next(c for c in on_nfu(MODELS["lenet"].build(2), fraction=12).calls if c.kernel == "nfu.conv2d")
    mine = formatted(Nfu(), call)
    assert mine == replace(Nfu(), neuron=Fixed(bits=16, fraction=12), synapse=Fixed(bits=16, fraction=12))
    with pytest.raises(HwError, match="'conv1/conv2d' has neurons of 16 bits, but those of the NFU have 8"):
        formatted(Nfu(neuron=Fixed(bits=8, fraction=4)), call)
    pool = next(c for c in on_nfu(MODELS["lenet"].build(2)).calls if c.kernel == "nfu.max_pool")
    assert formatted(Nfu(synapse=Fixed(bits=6, fraction=5)), pool).synapse == Fixed(bits=6, fraction=5)  # it has none
