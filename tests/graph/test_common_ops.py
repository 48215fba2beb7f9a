"""Every registered operator, by itself: types, work, gradients. A new operator is checked by being registered."""

import numpy as np
import pytest

from graph import OPS, DType, GraphError, TypeMismatch, f32
from graph.op import REQUIRED, Op
from graph.ops import FAMILIES
from graph.ops.common import type_of
from graph.testing import check_grad, check_op
from graph.zoo import MODELS, NETS

ALL = tuple(OPS)
DIFFERENTIABLE = tuple(name for name, op in OPS.items() if op.vjp is not None)


@pytest.mark.parametrize("name", ALL)
def test_infer_reference_and_work_agree(name: str) -> None:
    check_op(OPS[name])


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient_equals_finite_differences(name: str) -> None:
    for sample in OPS[name].samples():
        check_grad(OPS[name], sample)


@pytest.mark.parametrize("name", ALL)
def test_samples_include_awkward_ones(name: str) -> None:
    op = OPS[name]
    samples = list(op.samples())
    arrays = [x for s in samples for x in s.inputs if x.ndim] if op.inputs else [op.reference((), s.attrs)[0] for s in samples]
    assert any(x.size == 0 for x in arrays), "none is empty"
    assert any(x.size == 1 for x in arrays), "none has one element"
    assert any(x.size % 2 and x.size > 1 for x in arrays), "none is odd"
    assert not op.inputs or any(not x.flags.c_contiguous for x in arrays), "none is strided"


@pytest.mark.parametrize("name", ALL)
def test_references_keep_float64(name: str) -> None:
    op = OPS[name]
    for s in op.samples():
        if op.inputs and not any(x.dtype == "f4" for x in s.inputs):
            continue  # whole numbers become floats of one type, which holds them exactly
        attrs = {k: "f64" if v == "f32" else v for k, v in op.complete(s.attrs).items()}
        outputs = op.reference([x.astype("f8") if x.dtype == "f4" else x for x in s.inputs], attrs)
        assert all(x.dtype != np.float32 for x in outputs)


@pytest.mark.parametrize("name", ALL)
def test_record_is_whole(name: str) -> None:
    op = OPS[name]
    assert op.name == name.lower() == name
    assert len(set(op.inputs + op.outputs)) == len(op.inputs) + len(op.outputs)
    for output, operand in op.aliases.items():
        for s in op.samples():
            types = [type_of(x) for x in s.inputs]
            assert op.infer(types, op.complete(s.attrs))[output] == types[operand]


@pytest.mark.parametrize("name", [n for n in ALL if OPS[n].inputs])
def test_wrong_operands_are_refused_by_name(name: str) -> None:
    op = OPS[name]
    sample = list(op.samples())[1]
    types, attrs = [type_of(x) for x in sample.inputs], op.complete(sample.attrs)
    with pytest.raises(TypeMismatch, match=r"takes \d operand|wants"):
        op.infer([*types, f32(1)], attrs)
    if not op.is_view:
        with pytest.raises(TypeMismatch):
            op.infer([type_of(np.zeros(x.shape, DType.I32.numpy)) for x in sample.inputs], attrs)


@pytest.mark.parametrize("name", [n for n in ALL if OPS[n].attrs])
def test_attributes_are_checked(name: str) -> None:
    op = OPS[name]
    attrs = dict(next(iter(op.samples())).attrs)
    with pytest.raises(GraphError, match=f"{name} has no attribute 'nonsense'"):
        op.complete({**attrs, "nonsense": 1})
    for key, default in op.attrs.items():
        if default is REQUIRED:
            with pytest.raises(GraphError, match=f"{name} needs its attribute '{key}'"):
                op.complete({k: v for k, v in attrs.items() if k != key})


def test_attributes_get_their_default_their_order_and_their_type() -> None:
    assert list(OPS["sgd"].complete({"momentum": 0, "learning_rate": 0.5}).items()) == [
        ("learning_rate", 0.5),
        ("momentum", 0.0),
        ("weight_decay", 0.0),
    ]
    assert type(OPS["sgd"].complete({"momentum": 0, "learning_rate": 0.5})["momentum"]) is float
    with pytest.raises(GraphError, match="sgd: momentum must be finite, got nan"):
        OPS["sgd"].complete({"momentum": float("nan"), "learning_rate": 0.5})


def test_families_hold_every_operator_once() -> None:
    assert [op.name for family in FAMILIES.values() for op in family] == list(OPS)


# ------------------------------------------------------------------------------------------------------- problem sizes


def _applied(op: Op) -> list[tuple[object, ...]]:
    return [(op.name, s.types, tuple(op.complete(s.attrs).items())) for s in op.sizes()]


@pytest.mark.parametrize("name", ALL)
def test_sizes_are_valid_and_distinct(name: str) -> None:
    op = OPS[name]
    for s in op.sizes():
        assert op.infer(s.types, op.complete(s.attrs))
    assert len(set(_applied(op))) == len(_applied(op)) >= (1 if op.is_view else 4)


def test_all_sizes_together_are_modest() -> None:
    # At 20 Gflop/s and 5 GB/s, one after the other, everything once takes less than 150 ms.
    work = [op.work(s.types, op.complete(s.attrs)) for op in OPS.values() for s in op.sizes()]
    assert sum(w.flop for w in work) / 20e9 + sum(w.nbytes for w in work) / 5e9 < 0.150


@pytest.mark.parametrize("image", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (224, 224, 3), (299, 299, 3)])
@pytest.mark.parametrize("batch", [16, 32, 64, 128, 256])
def test_sizes_share_no_shape_with_the_zoo(image: tuple[int, ...], batch: int) -> None:
    from graph import Sgd, training_graph

    sizes = {s[:2] for op in OPS.values() for s in _applied(op)}
    for model in (MODELS[name] for name in NETS):
        is_published = image == model.image and model.classes == 1000
        if model.classes == 1000 and not is_published:
            continue
        depth = 2 if "resnet" in model.name else model.depth  # further blocks of a stage are like its second
        for width in (1.0,) if is_published else (0.5, 1.0, 2.0):
            net = model.build(batch, image=image, width=width, depth=depth, classes=model.classes)
            g = training_graph(net, Sgd(learning_rate=0.1))
            used = {(n.op.name, tuple(g.type_of(v) for v in n.inputs)) for n in g.nodes if n.inputs}
            assert not used & sizes
