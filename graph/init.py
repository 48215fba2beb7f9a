"""Initial values of parameters and state: counter-based, keyed by seed and name, so they do not depend on order or device.

A weight that a relu follows is uniform in +-sqrt(6 / fan_in) (He et al., ICCV 2015, equation 10, as the uniform distribution of
that variance); any other in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010, equation 16). Biases and state are
zero. Of a batch normalization, ``"<layer>.scale"`` and the running ``"<layer>.variance"`` are one, ``"<layer>.shift"`` and
``"<layer>.mean"`` zero, so that at first it only normalizes.
"""

import math

import numpy as np

from graph.ir import Graph, Kind, Value
from graph.op import Array
from graph.rng import uniform

ONES = (".scale", ".variance")
"""Ends of the names of what is one at first."""


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan in, fan out) of a weight: the last axis is what goes out, the one before what goes in, the others are the window."""
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


def _is_rectified(graph: Graph, name: str) -> bool:
    """Whether the first activation after this parameter, following first readers, is a relu."""
    seen = graph.consumers[name]
    while seen:
        if seen[0].op.name in ("relu", "tanh"):
            return seen[0].op.name == "relu"
        seen = graph.consumers[seen[0].outputs[0].name]
    return False


def _constant(value: Value) -> Array:
    return np.full(value.type.shape, float(value.name.endswith(ONES)), value.type.dtype.numpy)


def _initial(graph: Graph, value: Value, seed: int) -> Array:
    t = value.type
    if t.rank < 2:
        return _constant(value)
    fan_in, fan_out = fans(t.shape)
    bound = math.sqrt(6 / fan_in) if _is_rectified(graph, value.name) else math.sqrt(6 / (fan_in + fan_out))
    return ((2 * uniform(seed, value.name, t.size) - 1) * np.float32(bound)).reshape(t.shape).astype(t.dtype.numpy)


def init_parameters(graph: Graph, seed: int) -> dict[str, Array]:
    """An array for every parameter and every state of a graph, by name.

    `seed` must lie in 0..2^32-1. A model and its training graph give the same parameters.
    """
    found = {p.name: _initial(graph, p, seed) for p in graph.of_kind(Kind.PARAMETER)}
    for s in graph.of_kind(Kind.STATE):
        found[s.name] = _constant(s)
    return found
