"""How far inference in fixed point on an NFU is from float32: fraction bits x where products are cut x how x what overflow does.

All numbers of a point are words of one format, neurons and synapses alike. Beside the NFU stands the *ideal*: operands and
results of a layer are words, and everything between is computed in floats.

What is expected. A sum of N products each of which is cut off downwards lies half a step too low for each: N 2^-(F + 1) for F
fraction bits (2^-11 N in Q6.10). That supposes that all bits that are cut off are as often 0 as 1. A neuron of zero, from a
border or a ReLU, makes a product that loses nothing, and one that ends in zeros, as the pixels of the digits, loses less; adding
up what each product can lose gives the finer prediction. Towards zero, nearest and stochastic have no such bias while products
are as often negative as positive. Cut once a neuron, N is 1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graph.fixed_point import Fixed, Rounding
from graph.interpret import run
from graph.op import Array
from graph.passes.fixed_point import fixed_point, fixed_values
from graph.record import record
from hw.nfu.config import WIDE, Arithmetic, Cut, Nfu, Overflow
from hw.nfu.layer import Function, Kind
from hw.nfu.of_call import formatted, layer_of
from runtime.nfu.evaluate import Inference, operands, schedule_of
from runtime.nfu.values import layer_values
from trainscape.nfu.nets import Net, net
from trainscape.nfu.values import OPERATIONS_PER_SECOND, errors, expected_bias, in_float, products

Row = dict[str, Any]
OVERFLOWS = (Overflow.SATURATE, Overflow.WRAP)


@record
class Point:
    """An arithmetic.

    Parameters
    ----------
    fraction : bits behind the point, of all words.
    cut, rounding, overflow : as of `hw.nfu.config.Arithmetic`.
    """

    fraction: int
    cut: Cut = Cut.PRODUCT
    rounding: Rounding = Rounding.ZERO
    overflow: Overflow = Overflow.SATURATE

    def nfu(self, base: Nfu, bits: int) -> Nfu:
        """`base` with words of so many bits and this arithmetic.

        What is cut has a word's width from there on, and products and trees hold everything until then; sums that are cut once a
        neuron are exact.
        """
        whole = 2 * bits
        widths = {
            Cut.PRODUCT: (bits, bits, bits),
            Cut.TREE: (whole, whole + (base.ti - 1).bit_length(), bits),
            Cut.OUTPUT: (whole, WIDE.tree_bits, WIDE.sum_bits),
        }
        product, tree, total = widths[self.cut]
        how = Arithmetic(
            cut=self.cut, rounding=self.rounding, overflow=self.overflow, product_bits=product, tree_bits=tree, sum_bits=total,
            seed=base.arithmetic.seed,
        )  # fmt: skip
        word = Fixed(bits=bits, fraction=self.fraction)
        return replace(base, neuron=word, synapse=word, arithmetic=how)


def points(fractions: Sequence[int], overflows: Sequence[Overflow] = OVERFLOWS) -> tuple[Point, ...]:
    """Every arithmetic. Exact sums cannot overflow, so they stand for one `overflow`, the first."""
    return tuple(
        Point(fraction=f, cut=cut, rounding=rounding, overflow=overflow)
        for f in fractions
        for cut in Cut
        for rounding in Rounding
        for overflow in (overflows[:1] if cut is Cut.OUTPUT else overflows)
    )


class Study:
    """A net in float32 and what becomes of it.

    Parameters
    ----------
    of : the net.
    base : everything of the NFU but formats and arithmetic.
    bits : of a word.
    """

    def __init__(self, of: Net, base: Nfu, bits: int = 16) -> None:
        self.net, self.base, self.bits = of, base, bits
        self.floats = run(of.graph, {**of.values, "x": of.images})
        self._at: tuple[int, Inference, dict[str, Array]] | None = None

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """Of float32, [n, classes]."""
        return self.floats[self.net.graph.outputs["logits"]]

    def inference(self, fraction: int) -> tuple[Inference, dict[str, Array]]:
        """The net in a format, and its words."""
        if self._at is None or self._at[0] != fraction:
            word = Fixed(bits=self.bits, fraction=fraction)
            made = Inference(fixed_point(self.net.graph, neuron=word, synapse=word))
            self._at = fraction, made, fixed_values(made.graph, self.net.values)
        return self._at[1:]

    def seconds(self, fraction: int) -> float:
        """How long one arithmetic takes, about."""
        return sum(layer_of(c).macs for c in self.inference(fraction)[0].calls.values()) / OPERATIONS_PER_SECOND

    def float32(self) -> Row:
        """Accuracy, and what a format has to hold: the greatest number, and the layer that makes it."""
        made = ((float(np.abs(self.floats[n.outputs[0].name]).max()), n.layer) for n in self.net.graph.nodes)
        greatest, layer = max(made)
        return {"accuracy": self._accuracy(self.logits), "greatest": greatest, "greatest_in": layer}

    def ideal(self, fraction: int) -> Row:
        """With everything between the words in floats."""
        made, words = self.inference(fraction)
        found = run(made.graph, {**words, "x": self.net.images})
        return {"fraction": fraction, **self._figures(found[made.graph.outputs["logits"]])}

    def at(self, point: Point) -> tuple[Row, list[Row]]:
        """Figures of the logits, and errors of each layer's results against float32: what all before it did is in them."""
        made, words = self.inference(point.fraction)
        found = made.run(words, self.net.images, point.nfu(self.base, self.bits))
        row = {"fraction": point.fraction, "cut": point.cut, "rounding": point.rounding, "overflow": point.overflow}
        by_layer = []
        for name, call in made.layers().items():
            wanted = self.floats[name].astype(np.float64)
            found_errors = errors(made.floats(found, call.writes[0]) - wanted)
            by_layer.append({"layer": call.nodes[0], **found_errors, "relative": found_errors["rms"] / rms(wanted)})
        return row | self._figures(found[made.graph.outputs["logits"]]), by_layer

    def biases(self, fraction: int) -> list[Row]:
        """The mean error of each layer's sums, before its function, when products are cut one by one: predicted, and measured.

        A layer is given what it would be given if all sums before it were exact. Sums that do not fit are left out, and counted.
        """
        made, words = self.inference(fraction)
        exact = Point(fraction=fraction, cut=Cut.OUTPUT, rounding=Rounding.NEAREST).nfu(self.base, self.bits)
        found = made.run(words, self.net.images, exact)
        return [
            self._bias(fraction, call, [found[v] for v in call.reads])
            for call in made.layers().values()
            if layer_of(call).kind is not Kind.POOL
        ]

    def _bias(self, fraction: int, call: Any, reads: list[Array]) -> Row:
        layer = replace(layer_of(call), function=Function.LINEAR)
        nfus = {r: formatted(Point(fraction=fraction, rounding=r).nfu(self.base, self.bits), call) for r in Rounding}
        floor = nfus[Rounding.FLOOR]
        x, w, b = operands(layer, call, reads, floor)
        assert w is not None  # it multiplies
        step = floor.neuron.step
        numbers = (_numbers(x, step), _numbers(w, floor.synapse.step), None if b is None else _numbers(b, step))
        wanted = in_float(layer, *numbers)
        counted, uses = replace(layer, has_bias=False), (w != 0) * 1.0
        room = 0.5 * products(layer) * step
        fits = (wanted > floor.neuron.lowest * step + room) & (wanted < floor.neuron.highest * step - room)
        measured = {}
        for rounding, nfu in nfus.items():
            off = layer_values(layer, nfu, x, w, b, schedule_of(layer, nfu)) * step - wanted
            measured[str(rounding)] = float(off[fits].mean()) if fits.any() else None
        return {
            "layer": call.nodes[0],
            "products": products(layer),
            "nonzero_products": float(in_float(counted, (x != 0) * 1.0, uses, None).mean()),
            "predicted": expected_bias(layer, floor),
            "predicted_by_operands": -step * float(in_float(counted, lost(x, floor.synapse.fraction), uses, None).mean()),
            "measured": measured,
            "left_out": int((~fits).sum()),
            "rms": rms(wanted),
        }

    def _figures(self, found: Array) -> Row:
        off = found.astype(np.float64) - self.logits
        agreement = float((found.argmax(-1) == self.logits.argmax(-1)).mean())
        return {"accuracy": self._accuracy(found), "agreement": agreement, "error": errors(off)}

    def _accuracy(self, logits: Array) -> float | None:
        labels = self.net.labels
        return None if labels is None else float((logits.argmax(-1) == labels).mean())


def _numbers(words: Array, step: float) -> npt.NDArray[np.float64]:
    return words.astype(np.float64) * step


def rms(values: npt.NDArray[np.float64]) -> float:
    """Root mean square, of any shape; the least number above 0 for zeros, so that it can be divided by."""
    return float(np.sqrt(np.square(values).mean())) or float(np.finfo(np.float64).tiny)


def lost(neurons: Array, bits: int) -> npt.NDArray[np.float64]:
    """What cutting off `bits` bits downwards takes from a neuron's product with any synapse, on average, in steps; any shape."""
    whole = 1 << bits
    last = np.minimum(neurons.astype(np.int64) & -neurons.astype(np.int64), whole)  # the lowest bit that is set
    return np.where(neurons == 0, 0.0, 0.5 * (1.0 - last / whole))


def sweep(
    study: Study, fractions: Sequence[int], overflows: Sequence[Overflow] = OVERFLOWS, *, layers_at: int | None = None,
    on_point: Callable[[int, int], object] = lambda done, total: None,
) -> Row:  # fmt: skip
    """Every point of a study.

    Parameters
    ----------
    study : the net on an NFU.
    fractions, overflows : see `points`.
    layers_at : fraction at which errors are also reported layer by layer, with the first overflow; None: nowhere.
    on_point : told how many points are done, and of how many.

    Returns
    -------
    ``float32``, ``ideal``, ``points``, and of `layers_at` ``layers`` and ``biases``.
    """
    todo, rows, layers = points(fractions, overflows), list[Row](), list[Row]()
    ideal: list[Row] = []
    for k, point in enumerate(todo):
        if not ideal or ideal[-1]["fraction"] != point.fraction:
            ideal.append(study.ideal(point.fraction))
        row, by_layer = study.at(point)
        rows.append(row)
        if point.fraction == layers_at and point.overflow is overflows[0]:
            layers.append({"cut": point.cut, "rounding": point.rounding, "layers": by_layer})
        on_point(k + 1, len(todo))
    found: Row = {"float32": study.float32(), "ideal": ideal, "points": rows}
    if layers_at is not None:
        found |= {"layers_at": layers_at, "layers": layers, "biases": study.biases(layers_at)}
    return found


def digits_accuracy(nfu: Nfu, cache: Path | None = None) -> float:
    """The share of the digits set aside that the LeNet which was trained in float32 tells right on an NFU.

    Parameters
    ----------
    nfu : the hardware: its formats and its arithmetic count.
    cache : folder that keeps the trained net; None: the user's.

    Raises
    ------
    HwError : the NFU cannot do a layer.
    """
    of = _digits_lenet(cache)
    made = Inference(fixed_point(of.graph, neuron=nfu.neuron, synapse=nfu.synapse))
    found = made.logits(of.values, of.images, nfu)
    return float((found.argmax(-1) == of.labels).mean())


@lru_cache(maxsize=2)
def _digits_lenet(cache: Path | None) -> Net:
    return net("lenet", cache=cache)


def rows_of(found: Mapping[str, Any], **wanted: object) -> list[Row]:
    """Points with these properties, e.g. ``cut=Cut.PRODUCT``."""
    return [r for r in found["points"] if all(r[k] == v for k, v in wanted.items())]
