"""The zoo: models that build symbolic graphs. To add one, write its file and add its line here."""

from graph.registry import Registry
from graph.zoo.alexnet import ALEXNETS
from graph.zoo.diannao import LAYERS as DIANNAO
from graph.zoo.inception import MODEL as INCEPTION
from graph.zoo.lenet import MODEL as LENET
from graph.zoo.mlp import MODEL as MLP
from graph.zoo.model import Model
from graph.zoo.resnet import RESNETS
from graph.zoo.vgg import VGGS

MODELS: Registry[Model] = Registry("model")

for _model in (MLP, LENET, *ALEXNETS, *VGGS, *RESNETS, INCEPTION, *DIANNAO):
    MODELS.add(_model.name, _model)

NETS: tuple[str, ...] = tuple(m.name for m in MODELS.values() if m.trains)
"""Those that are trained; the others are single layers."""

__all__ = ["MODELS", "NETS", "Model"]
