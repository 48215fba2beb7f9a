"""The scenario: what a file says, as frozen records. Text with units becomes SI numbers here, once (`trainscape.fields`).

`load` (in `trainscape.load`) reads files, applies overrides and reports every mistake with its place; this module only says
what is allowed. The JSON Schema for editors is made from it (`trainscape schema`).
"""

from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from json import dumps
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from graph.errors import nearest
from graph.fixed_point import WIDEST, Rounding
from trainscape import fields
from trainscape.fields import Bytes, CollectiveName, Fraction, ModelName, NetworkName, Rate, Seconds, StrategyName, SystemName
from trainscape.names import one_of
from trainscape.result_keys import KEYS, without_index
from trainscape.strategies import OPTION_KEYS, allowed, grain, parts


class Activation(StrEnum):
    """Non-linearities of the zoo."""

    RELU = "relu"
    TANH = "tanh"


class Precision(StrEnum):
    """Element type of parameters, activations and gradients."""

    F32 = "f32"


class RunsOn(StrEnum):
    """What of this computer a scenario runs on."""

    CPU = "cpu"
    CUDA = "cuda"


class Servers(StrEnum):
    """Where the servers of a parameter server are."""

    DEVICES = "devices"
    HOST = "host"


class Scheme(StrEnum):
    """How a hybrid's fully connected layers come by the samples of all ranks (Krizhevsky 2014, section 4)."""

    WHOLE = "whole"
    TURNS = "turns"
    PARTS = "parts"


class FcUpdate(StrEnum):
    """How often a hybrid renews its fully connected layers."""

    STEP = "step"
    ROUND = "round"


class DataName(StrEnum):
    """Where samples come from."""

    DIGITS = "digits"
    MNIST = "mnist"
    CIFAR10 = "cifar10"
    SYNTHETIC = "synthetic"
    RESIDENT = "resident"


MADE_UP = frozenset({DataName.SYNTHETIC, DataName.RESIDENT})
"""Samples that are of no data set."""

IMAGES: Mapping[str, tuple[int, int, int]] = {
    "digits": (8, 8, 1),
    "mnist": (28, 28, 1),
    "cifar10": (32, 32, 3),
    "imagenet": (224, 224, 3),
}
"""Height, width, channels of the images that an input may be named for."""

DIGITS = 1797
"""Samples of the digits that come with the package."""

DIGIT_CLASSES = 10

MAX_BYTES = 2**40
"""Of a bucket or a sample: more than any of them holds."""

SAMPLES: Mapping[str, int] = {"mnist": 60_000, "cifar10": 50_000, "imagenet": 1_281_167}
"""Samples to train on: of MNIST (LeCun et al. 1998), CIFAR-10 (Krizhevsky 2009), ILSVRC 2012 (Russakovsky et al., IJCV 2015)."""


def _image(value: Any) -> Any:
    if isinstance(value, str):
        return IMAGES[one_of("input", "", tuple(IMAGES))(value)]
    is_list = isinstance(value, list | tuple) and len(value) == 3
    if not is_list or not all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= 4096 for n in value):
        raise ValueError(f"write {', '.join(IMAGES)} or [height, width, channels] in whole numbers from 1 to 4096")
    return tuple(value)


def _data(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _result_key(value: str) -> str:
    if without_index(value) not in KEYS:
        raise ValueError(f"no result has the key {value!r}; {nearest(value, KEYS)}")
    return value


def _folder_name(value: str) -> str:
    if not value or value[0] in "._-" or not all(c.isascii() and (c.isalnum() or c in "._-") for c in value):
        raise ValueError(f"{value!r} names a folder: use letters, digits, '-', '_' and '.', and begin with a letter or a digit")
    return value


Image = Annotated[
    tuple[int, int, int],
    BeforeValidator(_image),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(IMAGES)},
                {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 4096}, "minItems": 3, "maxItems": 3},
            ]
        }
    ),
]


class Part(BaseModel):
    """A section of a scenario: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelPart(Part):
    """What is trained."""

    name: ModelName = Field(description="model of the zoo, e.g. lenet; see trainscape model list")
    batch: int = Field(default=64, ge=1, le=1_048_576, description="samples in a step, over all ranks and micro-batches")
    width: float = Field(default=1.0, gt=0, le=64, description="factor on the channels and units of the hidden layers")
    depth: int | None = Field(
        default=None, ge=0, le=64, description="convolution blocks (lenet), hidden layers (mlp); by default the model's own"
    )
    activation: Activation = Field(default=Activation.RELU, strict=False, description="non-linearity")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="probability of dropping a hidden unit")
    input: Image = Field(
        default=(8, 8, 1),
        description="digits, mnist, cifar10, imagenet or [height, width, channels]; by default that of the model's paper",
    )
    classes: int = Field(default=10, ge=2, le=100_000, description="classes to tell apart; by default those of the model's paper")

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, data: Any) -> Any:
        """A model of more than ten classes is by default that of its paper; those of ten read digits."""
        from graph.zoo import MODELS

        name = data.get("name") if isinstance(data, dict) else None
        own = MODELS.get(name) if isinstance(name, str) else None
        if own is None or own.classes == DIGIT_CLASSES:
            return data
        return {"input": list(own.image), "classes": own.classes, **data}


class SystemPart(Part):
    """What it runs on."""

    name: SystemName = Field(
        default="host",
        description="system of the catalogue, one of its devices by itself, or host: this computer; see trainscape hw list",
    )
    platform: RunsOn | None = Field(
        default=None,
        strict=False,
        description="of this computer: cpu, a core a rank, or cuda, its GPU, which all ranks share; by default cpu",
    )
    devices: int | None = Field(
        default=None, ge=1, le=1_000_000, description="devices used; by default all of a catalogue system, on host one a rank"
    )
    nodes: int | None = Field(default=None, ge=1, le=100_000, description="copies of a catalogue system, joined by a network")
    network: NetworkName | None = Field(
        default=None, description="link of the catalogue that joins the nodes; by default the system's own"
    )
    precision: Precision = Field(default=Precision.F32, strict=False, description="element type")
    algorithm: fields.Algorithm | None = Field(
        default=None,
        description="for every operator that has one of that name, e.g. tf32, or {operator: algorithm}; by default each "
        "operator's first, which on a GPU computes in exact f32",
    )


class ParallelPart(Part):
    """How the work is shared out. Which option means something for which strategy stands in `trainscape.strategies`."""

    strategy: StrategyName = Field(
        default="data_parallel",
        description="parallel strategy: data, parameter_server, hybrid, model, layers, inference or features",
    )
    ranks: int = Field(default=1, ge=1, le=1_000_000, description="workers")
    collective: CollectiveName = Field(default="ring", description="algorithm that adds up the gradients")
    bucket: Bytes = Field(
        default=32 * 1024, ge=1, le=MAX_BYTES, description="gradients are sent in buckets of at least this size"
    )
    micro_batches: int = Field(
        default=1, ge=1, le=65_536, description="parts of a rank's batch whose gradients are added up before the update"
    )
    servers: Servers | None = Field(
        default=None, strict=False, description="parameter_server: where the servers are, devices or host"
    )
    server_count: int | None = Field(
        default=None, ge=1, le=1024, description="parameter_server: servers that share the parameters"
    )
    levels: int | None = Field(
        default=None, ge=1, le=2, description="parameter_server: 2 adds up gradients within a node before they go to the servers"
    )
    scheme: Scheme | None = Field(
        default=None,
        strict=False,
        description="hybrid: fully connected layers see the samples of all ranks whole, rank by rank in turns, or in parts",
    )
    fc_update: FcUpdate | None = Field(
        default=None, strict=False, description="hybrid: fully connected layers are renewed once a step, or each round of it"
    )
    classifiers: int | None = Field(
        default=None, ge=1, le=1_000_000, description="features: ranks of the fully connected layers, which the others feed"
    )
    features_on: str | None = Field(
        default=None, min_length=1, description="features: where the ranks are: device, host or a kind of devices, e.g. nfu"
    )
    classifier_on: str | None = Field(
        default=None, min_length=1, description="features: where the classifiers are: device, host or a kind of devices"
    )

    @property
    def parts(self) -> int:
        """Parts into which a batch is cut: a micro-batch of a rank has batch / parts samples."""
        return parts(self)

    @property
    def grain(self) -> int:
        """A batch is a multiple of it."""
        return grain(self)


class NumericsPart(Part):
    """Inference in fixed point. Without this section a scenario computes in floats, but on an NFU in words of that NFU."""

    word: int = Field(default=16, ge=2, le=WIDEST, description="bits of a number, its sign included")
    fraction: int = Field(default=10, ge=0, lt=WIDEST, description="bits behind the point, fewer than those of the word")
    rounding: Rounding = Field(
        default=Rounding.NEAREST, strict=False, description="what becomes of the bits cut off: floor, zero or nearest"
    )

    @property
    def options(self) -> dict[str, int | str]:
        """As a strategy's build function takes them."""
        return {"word": self.word, "fraction": self.fraction, "rounding": self.rounding.value}


class DataPart(Part):
    """Where samples come from."""

    name: DataName = Field(
        strict=False,
        description="data set; synthetic: made up; resident: of inference, in the devices' memory and in their numbers, where "
        "results stay too",
    )
    folder: str | None = Field(default=None, min_length=1, description="folder of the files, seen from the scenario file")
    storage: Rate | None = Field(default=None, gt=0, description="what a node's storage delivers; by default samples are at hand")
    sample: Bytes | None = Field(
        default=None, ge=1, le=MAX_BYTES, description="bytes of a sample on storage; by default those of the image"
    )
    decode: Seconds | None = Field(default=None, ge=0, description="time of one core to make a sample ready; by default none")
    prefetch: int | None = Field(
        default=None, ge=1, le=1024, description="batches that a rank has made ready ahead; by default 2"
    )


class RunPart(Part):
    """What a training run does."""

    steps: int = Field(default=100, ge=1, le=100_000_000, description="steps of training")
    learning_rate: float = Field(default=0.05, gt=0, le=1000, description="step size of gradient descent")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum")
    weight_decay: float = Field(default=0.0, ge=0, lt=1, description="weight decay, per step and unit of learning rate")
    data: Annotated[DataPart, BeforeValidator(_data)] | None = Field(
        default=None, description="samples; by default digits for 8x8x1 images, else synthetic; resident for a single layer"
    )
    samples: int | None = Field(
        default=None, ge=1, le=10**15, description="samples of an epoch; by default those of the data set, or of imagenet"
    )
    checkpoint_every: int = Field(default=0, ge=0, description="steps between checkpoints; 0: only at the end")
    held_out: int = Field(default=360, ge=0, description="digits set aside to measure accuracy; other sets have files for that")
    timeout: Seconds = Field(default=600.0, gt=0, description="a run that takes longer is ended")


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("write a number, or text with a unit")
    return value


Number = Annotated[float | str, BeforeValidator(_number)]


class Expectation(Part):
    """What a result is held to: a value with a tolerance, or bounds. Each with its source."""

    value: Number | None = Field(default=None, description="expected value, a number or text with a unit")
    tolerance: Annotated[Fraction, Field(ge=0)] | None = Field(default=None, description="allowed relative deviation, e.g. 10 %")
    at_least: Number | None = Field(default=None, description="lower bound")
    at_most: Number | None = Field(default=None, description="upper bound")
    source: str = Field(min_length=1, description="where the expectation comes from")


class Scenario(Part):
    """A scenario: a model on a system, how it is shared out, and what is run."""

    name: Annotated[str, Field(max_length=100), AfterValidator(_folder_name)] = Field(
        description="also the name of the run's folder"
    )
    seed: int = Field(default=1, ge=0, lt=2**63, description="root of every random number")
    model: ModelPart
    system: SystemPart = SystemPart()
    parallel: ParallelPart = ParallelPart()
    numerics: NumericsPart | None = Field(
        default=None, description="inference in fixed point; by default in floats, on an NFU in its words"
    )
    run: RunPart = RunPart()
    expect: dict[Annotated[str, AfterValidator(_result_key)], Expectation] = Field(
        default_factory=dict, description="dotted key of a result -> what it is held to"
    )

    @property
    def micro_batch(self) -> int:
        """Samples of one micro-batch of one rank."""
        return self.model.batch // self.parallel.parts

    @property
    def data(self) -> DataPart:
        """Where samples come from, the default filled in."""
        if self.run.data is not None:
            return self.run.data
        from graph.zoo import MODELS

        if not MODELS[self.model.name].trains:  # what the layer before it has left there
            return DataPart(name=DataName.RESIDENT)
        return DataPart(name=DataName.DIGITS if self.model.input == IMAGES["digits"] else DataName.SYNTHETIC)

    @property
    def is_resident(self) -> bool:
        """Samples lie in the memory of the devices that infer, and results stay there."""
        return self.parallel.strategy == "inference" and self.data.name is DataName.RESIDENT

    @property
    def samples(self) -> int | None:
        """Samples of an epoch; None: nobody knows."""
        if self.run.samples is not None:
            return self.run.samples
        if self.data.name is DataName.DIGITS:
            return DIGITS - self.run.held_out
        name = next((n for n, image in IMAGES.items() if image == self.model.input), "")
        return SAMPLES.get(name if self.data.name in MADE_UP else self.data.name.value)

    def settings(self) -> dict[str, Any]:
        """Every setting that means something, as plain data that reads back as this scenario; quantities are text with units."""
        found = self.model_dump(mode="json", exclude_none=True)
        mute = set(OPTION_KEYS) - set(allowed(self.parallel.strategy))
        found["parallel"] = {k: x for k, x in found["parallel"].items() if k not in mute}
        return found

    @property
    def hash(self) -> str:
        """Identity of the settings that matter: not the name, not the expectations."""
        settings = {k: v for k, v in self.settings().items() if k not in ("name", "expect")}
        return sha256(dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
