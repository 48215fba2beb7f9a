"""The layers that DianNao was measured with, and AlexNet's convolutions.

The ten layers are those of Chen et al., DianNao (ASPLOS 2014), quoted from memory and not re-read; `SOURCES` says which of their
extents something else confirms. Convolutions are valid, with a step of 1. The step of pooling is not in the table: windows
lie side by side here. What follows a layer is not in it either: a sigmoid here, as in the instructions that the paper gives for a
classifier; it changes no count, for NFU-3 works beside the others.
"""

from collections.abc import Mapping
from types import MappingProxyType

from hw.nfu.layer import Function, Kind, Layer


def _conv(name: str, nx: int, ny: int, k: int, ni: int, no: int, *, is_private: bool = False) -> Layer:
    return Layer(
        name=name, kind=Kind.CONV, nx=nx, ny=ny, kx=k, ky=k, ni=ni, no=no, is_private=is_private, function=Function.SIGMOID
    )


def _pool(name: str, nx: int, ny: int, k: int, maps: int) -> Layer:
    return Layer(name=name, kind=Kind.POOL, nx=nx, ny=ny, kx=k, ky=k, sx=k, sy=k, ni=maps, no=maps)


def _classifier(name: str, ni: int, no: int) -> Layer:
    return Layer(name=name, kind=Kind.CLASSIFIER, ni=ni, no=no, function=Function.SIGMOID)


TEN: tuple[Layer, ...] = (
    _classifier("CLASS1", 960, 20),
    _conv("CONV1", 500, 375, 9, 32, 48),
    _pool("POOL1", 492, 367, 2, 12),
    _conv("CONV2", 200, 200, 18, 8, 8, is_private=True),
    _conv("CONV3", 32, 32, 4, 108, 200),
    _pool("POOL3", 32, 32, 4, 100),
    _classifier("CLASS3", 200, 100),
    _conv("CONV4", 32, 32, 7, 16, 512),
    _conv("CONV5", 256, 256, 11, 256, 384, is_private=True),
    _pool("POOL5", 256, 256, 2, 256),
)
"""DianNao's ten; the paper marks CONV2 and CONV5, whose kernels are private, with an asterisk."""

LAYERS: Mapping[str, Layer] = MappingProxyType(
    {layer.name: layer for layer in (*TEN, _conv("CONV5_shared", 256, 256, 11, 256, 384))}
)
"""By name: the ten, and CONV5 with shared kernels."""

_MEMORY = "table of the paper, quoted from memory, not re-read"
_PARSING, _FACES, _SIGNS = "street scene parsing", "face detection in videos", "traffic sign identification"
_NUMBERS, _OBJECTS = "street view house numbers", "objects in natural images"
SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "CLASS1": f"{_PARSING}; {_MEMORY}",
        "CONV1": f"{_PARSING}; {_MEMORY}; DaDianNao gives 0.24 MB of synapses, 9 x 9 x 32 x 48 words have 243 KiB",
        "POOL1": f"{_PARSING}; {_MEMORY}; 492 x 367 is what CONV1 makes of 500 x 375",
        "CONV2": f"{_FACES}; {_MEMORY}; DaDianNao gives 1.29 GB of synapses, as 183 x 183 kernels of 18 x 18 x 8 x 8 words have",
        "CONV3": f"{_SIGNS}; {_MEMORY}",
        "POOL3": f"{_SIGNS}; {_MEMORY}",
        "CLASS3": f"{_SIGNS}; {_MEMORY}",
        "CONV4": f"{_NUMBERS}; {_MEMORY}",
        "CONV5": f"{_OBJECTS}; {_MEMORY}; private here, shared in DaDianNao: 1.44 TB of synapses or 22.69 MiB",
        "POOL5": f"{_OBJECTS}; {_MEMORY}",
        "CONV5_shared": f"{_OBJECTS}; CONV5 as DaDianNao lists it, 11 x 11 x 256 x 384 words have its 22.69 MiB",
    }
)
"""What a layer is of, and where its extents are from."""


def _alexnet(name: str, n: int, k: int, ni: int, no: int, *, s: int = 1, border: int = 0, groups: int = 1) -> Layer:
    return Layer(
        name=name, kind=Kind.CONV, nx=n, ny=n, kx=k, ky=k, sx=s, sy=s, ni=ni, no=no, groups=groups, border=(border, border),
        function=Function.RELU,
    )  # fmt: skip


def _convolutions(groups: int) -> tuple[Layer, ...]:
    return (
        _alexnet("conv1", 227, 11, 3, 96, s=4),
        _alexnet("conv2", 31, 5, 96, 256, border=2, groups=groups),
        _alexnet("conv3", 15, 3, 256, 384, border=1),
        _alexnet("conv4", 15, 3, 384, 384, border=1, groups=groups),
        _alexnet("conv5", 15, 3, 384, 256, border=1, groups=groups),
    )


ALEXNET_DENSE: tuple[Layer, ...] = _convolutions(1)
"""The five convolutions of Krizhevsky, Sutskever and Hinton (NIPS 2012), one image, every map joined to every map; biases left
out."""
ALEXNET_GROUPED: tuple[Layer, ...] = _convolutions(2)
"""The same as published, the second, fourth and fifth in two groups."""
EXAMPLE = _classifier("classifier", 8192, 256)
"""The paper's own example of a program (quoted from memory, not re-read): 128 instructions."""
