"""Passes: functions from graph to graph that keep its meaning. `plan_memory`, `inference_graph` and `fixed_point`
stand beside them."""

from collections.abc import Callable

from graph.ir import Graph
from graph.passes.dead_code import dead_code
from graph.passes.fold_constants import fold_constants
from graph.passes.infer_types import infer_types
from graph.registry import Registry

Pass = Callable[[Graph], Graph]

PASSES: Registry[Pass] = Registry("pass")

PASSES.add("infer_types", infer_types)
PASSES.add("fold_constants", fold_constants)
PASSES.add("dead_code", dead_code)

__all__ = ["PASSES", "Pass", "dead_code", "fold_constants", "infer_types"]
