"""What is computed: operators, graphs, front ends, autodiff, passes, models, parallel plans. Imports nothing of ours, only NumPy.

Start with `Graph` (`graph.ir`), made by `Builder` (`graph.frontend.symbol`) out of the operators in `graph.ops`.
"""

from graph import ops  # noqa: F401  (fills the registry of operators, before anything builds a graph)
from graph.autodiff import differentiate, training_graph
from graph.errors import GraphError, InvalidGraph, InvalidPlan, TypeMismatch, UnknownName
from graph.frontend.symbol import Builder
from graph.frontend.tape import Tape
from graph.init import init_parameters
from graph.interpret import NumpyEvaluator, Tensor, run, step
from graph.ir import Graph, Input, Kind, Node, Phase, Value
from graph.op import OPS, Applied, Evaluator, Op, Work
from graph.optimizer import Optimizer, Sgd
from graph.passes.inference import inference_graph
from graph.summary import summary
from graph.tensor_type import DType, TensorType, f32, i16, i64, u8
from graph.text import from_text, to_text
from graph.zoo import MODELS

__all__ = [
    "MODELS",
    "OPS",
    "Applied",
    "Builder",
    "DType",
    "Evaluator",
    "Graph",
    "GraphError",
    "Input",
    "InvalidGraph",
    "InvalidPlan",
    "Kind",
    "Node",
    "NumpyEvaluator",
    "Op",
    "Optimizer",
    "Phase",
    "Sgd",
    "Tape",
    "Tensor",
    "TensorType",
    "TypeMismatch",
    "UnknownName",
    "Value",
    "Work",
    "differentiate",
    "f32",
    "from_text",
    "i16",
    "i64",
    "inference_graph",
    "init_parameters",
    "run",
    "step",
    "summary",
    "to_text",
    "training_graph",
    "u8",
]
