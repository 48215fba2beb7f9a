"""The zoo: models as functions that build symbolic graphs. To add one, write its file and add its line here."""

from graph.registry import Registry
from graph.zoo.alexnet import ALEXNETS, alexnet, alexnet_dense, alexnet_owt
from graph.zoo.inception import MODEL as INCEPTION
from graph.zoo.inception import inception_v3
from graph.zoo.lenet import MODEL as LENET
from graph.zoo.lenet import lenet
from graph.zoo.mlp import MODEL as MLP
from graph.zoo.mlp import mlp
from graph.zoo.model import Build, Model
from graph.zoo.resnet import RESNETS, resnet50, resnet152
from graph.zoo.vgg import VGGS, vgg11, vgg16

MODELS: Registry[Model] = Registry("model")

for _model in (MLP, LENET, *ALEXNETS, *VGGS, *RESNETS, INCEPTION):
    MODELS.add(_model.name, _model)

__all__ = [
    "MODELS", "Build", "Model", "alexnet", "alexnet_dense", "alexnet_owt", "inception_v3", "lenet", "mlp", "resnet50",
    "resnet152", "vgg11", "vgg16",
]  # fmt: skip
