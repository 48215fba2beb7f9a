"""The zoo: models as functions that build symbolic graphs. To add one, write its file and add its line here."""

from graph.registry import Registry
from graph.zoo.lenet import MODEL as LENET
from graph.zoo.lenet import lenet
from graph.zoo.mlp import MODEL as MLP
from graph.zoo.mlp import mlp
from graph.zoo.model import Build, Model

MODELS: Registry[Model] = Registry("model")

for _model in (MLP, LENET):
    MODELS.add(_model.name, _model)

__all__ = ["MODELS", "Build", "Model", "lenet", "mlp"]
