"""The seam between the two front ends: an imperative step equals the symbolic one bit for bit, through the same `vjp` rules."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from graph import MODELS, GraphError, NumpyEvaluator, Sgd, Tape, Tensor, TensorType, init_parameters, step, training_graph
from graph.op import Array, Attr
from graph.testing import sample_feeds

RATE, MOMENTUM, DECAY = 0.1, 0.9, 0.01
BATCH, IMAGE, CLASSES = 7, (5, 4, 1), 3
HIDDEN = 2


def feeds(model: str, **options: object) -> tuple[dict[str, Array], object]:
    """(arrays for every input, the symbolic training graph) of a small model."""
    net = MODELS[model].build(BATCH, image=options.pop("image", IMAGE), classes=CLASSES, width=0.1, **options)
    graph = training_graph(net, Sgd(learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY))
    return {**sample_feeds(graph), **init_parameters(graph, 3)}, graph


class Imperative:
    """An MLP written by hand on a tape: run a layer, look at it, run the next."""

    def __init__(self, tape: Tape, given: dict[str, Array]) -> None:
        self.tape, self.given = tape, given
        self.parameters = {k: tape.value(a) for k, a in given.items() if k.endswith((".weight", ".bias"))}

    def dense(self, layer: str, x, activation: str = ""):
        with self.tape.layer(layer):
            (y,) = self.tape.apply("matmul", (x, self.parameters[f"{layer}.weight"]))
            (y,) = self.tape.apply("add_bias", (y, self.parameters[f"{layer}.bias"]))
            if activation:
                (y,) = self.tape.apply(activation, (y,))
        return y

    def loss(self):
        tape = self.tape
        with tape.layer("fc1"):
            (x,) = tape.apply("flatten", (tape.value(self.given["x"]),))
        for k in range(1, HIDDEN + 1):
            x = self.dense(f"fc{k}", x, "relu")
        logits = self.dense(f"fc{HIDDEN + 1}", x)
        with tape.layer("loss"):
            loss, _ = tape.apply("softmax_cross_entropy", (logits, tape.value(self.given["labels"])), denominator=BATCH)
        return loss

    def step(self) -> tuple[Array, dict[str, Array], dict[str, Array]]:
        """(loss, gradients, new parameters and state), by name."""
        tape, loss = self.tape, self.loss()
        found = dict(zip(self.parameters, tape.gradients(loss, tuple(self.parameters.values())), strict=True))
        new = {}
        for name, p in self.parameters.items():
            m = tape.value(self.given[f"{name}.momentum"])
            updated = tape.apply("sgd", (p, found[name], m), learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY)
            new[name], new[f"{name}.momentum"] = map(tape.array, updated)
        return tape.array(loss), {k: tape.array(g) for k, g in found.items()}, new


def same_bits(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_imperative_mlp_step_equals_the_symbolic_one_bit_for_bit() -> None:
    given, graph = feeds("mlp")
    for _ in range(3):  # momentum takes part from the second step on
        outputs, after = step(graph, given)
        loss, gradients, new = Imperative(Tape(), given).step()
        assert same_bits(loss, outputs["loss"])
        assert len(gradients) == 2 * (HIDDEN + 1)
        for name, g in gradients.items():
            assert same_bits(g, outputs[f"grad:{name}"]), name
        for name, value in new.items():
            assert same_bits(value, after[name]), name
        assert not same_bits(after["fc1.weight"], given["fc1.weight"])
        given = after


class Recording(NumpyEvaluator):
    """An evaluator of another kind: it runs on NumPy, but says what it was asked, and in which layer and phase."""

    def __init__(self) -> None:
        self.where = ("", "")
        self.asked: list[tuple[str, str, str]] = []

    def apply(self, op: str, values: Sequence[Tensor], **attrs: Attr) -> tuple[Tensor, ...]:
        self.asked.append((*self.where, op))
        return super().apply(op, values, **attrs)

    def scope(self, layer: str, phase: str):
        evaluator, before = self, self.where

        class Scope:
            def __enter__(self) -> None:
                evaluator.where = layer, str(phase)

            def __exit__(self, *_: object) -> None:
                evaluator.where = before

        return Scope()


def test_the_tape_applies_the_operators_of_the_symbolic_graph_in_its_order() -> None:
    given, graph = feeds("mlp")
    evaluator = Recording()
    Imperative(Tape(evaluator), given).step()
    # What is run at once cannot be folded afterwards: the seed and the multiplication by it are the only difference.
    eager = [a for a in evaluator.asked if a[2] not in ("fill", "scale_by", "sgd")]
    assert eager == [(n.layer, n.phase.value, n.op.name) for n in graph.nodes if n.op.name != "sgd"]
    assert [a for a in evaluator.asked if a[2] in ("fill", "scale_by")] == [
        ("loss", "backward", "fill"),
        ("loss", "backward", "scale_by"),
    ]


@pytest.mark.parametrize(("model", "image"), [("mlp", (5, 4, 1)), ("lenet", (8, 8, 2))])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_any_model_replayed_on_a_tape_equals_its_graph(
    model: str, image: tuple[int, ...], activation: str, dropout: float
) -> None:
    given, graph = feeds(model, image=image, activation=activation, dropout=dropout)
    outputs, _ = step(graph, given)
    net = MODELS[model].build(BATCH, image=image, classes=CLASSES, width=0.1, activation=activation, dropout=dropout)
    tape = Tape()
    values = {i.value.name: tape.value(given[i.value.name]) for i in net.inputs}
    for n in net.nodes:
        with tape.layer(n.layer):
            made = tape.apply(n.op.name, [values[v] for v in n.inputs], **n.attrs)
        values.update(zip((v.name for v in n.outputs), made, strict=True))
    names = [r.removeprefix("grad:") for r in graph.outputs if r.startswith("grad:")]
    for name, g in zip(names, tape.gradients(values[net.outputs["loss"]], [values[p] for p in names]), strict=True):
        assert same_bits(tape.array(g), outputs[f"grad:{name}"]), name


def test_a_value_used_twice_gets_the_sum_of_its_gradients() -> None:
    tape = Tape()
    x = tape.value(np.array([1.0, -2.0, 3.0]))
    (y,) = tape.apply("add", (x, x))
    (loss,) = tape.apply("dot", (y, x))  # 2 x.x, whose gradient is 4 x
    (g,) = tape.gradients(loss, (x,))
    assert tape.array(g).tolist() == [4.0, -8.0, 12.0]


def test_gradients_can_be_differentiated_again() -> None:
    # f = x.x; g = df/dx = 2x, recorded on the same tape; d(g.g)/dx = 8x
    from graph.autodiff import gradients

    tape = Tape()
    x = tape.value(np.array([1.0, -2.0]))
    (f,) = tape.apply("dot", (x, x))
    g = gradients(tape, list(tape.trail), f, (x,))[x]
    (h,) = tape.apply("dot", (g, g))
    assert tape.array(tape.gradients(h, (x,))[0]).tolist() == [8.0, -16.0]


def test_errors_say_what_is_wrong() -> None:
    tape = Tape()
    x, other = tape.value(np.ones(3)), tape.value(np.ones(3))
    (y,) = tape.apply("relu", (x,))
    with pytest.raises(GraphError, match=r"a loss is a floating scalar, got f64\[3\]"):
        tape.gradients(y, (x,))
    (loss,) = tape.apply("dot", (y, y))
    with pytest.raises(GraphError, match=r"values \[1\] of those asked for do not influence the loss"):
        tape.gradients(loss, (x, other))
    (p, _) = tape.apply("sgd", (x, x, x), learning_rate=1.0)
    (loss,) = tape.apply("dot", (p, p))
    with pytest.raises(GraphError, match=r"sgd .* is not differentiable"):
        tape.gradients(loss, (x,))


def test_what_nobody_wants_is_not_computed() -> None:
    evaluator = Recording()
    tape = Tape(evaluator)
    x, w = tape.value(np.ones((2, 3))), tape.value(np.ones((3, 4)))
    (y,) = tape.apply("matmul", (x, w))
    (loss,) = tape.apply("dot", (y, y))
    evaluator.asked.clear()
    tape.gradients(loss, (w,))
    assert [op for _, _, op in evaluator.asked].count("matmul") == 1


def test_type_of_a_tensor() -> None:
    tape = Tape()
    value = tape.value(np.zeros((2, 3), np.float32))
    assert tape.type_of(value) == TensorType(shape=(2, 3))
    assert repr(value) == "Tensor(f32[2,3])"


def test_graph_imports_nothing_but_numpy(root: Path) -> None:
    code = """
import importlib, pkgutil, sys
import numpy
before = set(sys.modules)
import graph
for m in pkgutil.walk_packages(graph.__path__, "graph."):
    importlib.import_module(m.name)
new = {m.partition(".")[0] for m in set(sys.modules) - before}
print(sorted(n for n in new - set(sys.stdlib_module_names) if n not in ("graph", "numpy")))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
