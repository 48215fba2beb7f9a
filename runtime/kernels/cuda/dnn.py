"""Convolutions by cuDNN's graph API, through its Python frontend, in exact f32: no tensor cores, no rounded operands.

cuDNN names axes in the order N, C, H, W of images and K, C, R, S of filters, and strides say how they lie: here channels are
adjacent in both, which is what it is fast with. Plans that use tensor cores (tf32, for operands in f32), round their operands or
what they add up, or give other sums the next time, are left out, and so are those whose workspace is larger than what there is.
Transforms (Winograd, FFT) are not: their sums are of f32 too, though in another order.

A plan is made when a call is bound; carrying it out allocates nothing.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from graph.record import record
from hw.kernels.cuda_conv import Windows
from hw.kernels.cuda_vendor import ALIGN
from runtime.errors import RunError
from runtime.kernels.cuda.library import Bound, Flat, Library, spread

WANTED = 16
"""Bytes to which operands are aligned."""
FIRST, SECOND, RESULT = 1, 2, 3
"""Numbers of the tensors of a graph."""


class Kind(StrEnum):
    """Which of the three; the value is the operator."""

    FORWARD = "conv2d"
    GRAD_INPUT = "conv2d_grad_input"
    GRAD_WEIGHT = "conv2d_grad_weight"


@record
class Tensor:
    """Four axes and how they lie.

    Parameters
    ----------
    dim : extents, N C H W or K C R S.
    stride : elements from one to the next, of each axis.
    """

    dim: tuple[int, int, int, int]
    stride: tuple[int, int, int, int]


@record
class Conv:
    """A convolution as cuDNN has it.

    Parameters
    ----------
    kind : which of the three.
    image, filter, result : of the convolution whose gradients they are, where it is one.
    pad, stride : rows, columns.
    """

    kind: Kind
    image: Tensor
    filter: Tensor
    result: Tensor
    pad: tuple[int, int]
    stride: tuple[int, int]

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """What is read, first and second, and what is written."""
        match self.kind:
            case Kind.FORWARD:
                return self.image, self.filter, self.result
            case Kind.GRAD_INPUT:
                return self.result, self.filter, self.image
            case Kind.GRAD_WEIGHT:
                return self.image, self.result, self.filter


def channels_last(n: int, c: int, h: int, w: int) -> Tensor:
    """A tensor of these extents that lies N H W C."""
    return Tensor(dim=(n, c, h, w), stride=(h * w * c, 1, w * c, c))


def conv_of(op: str, w: Windows) -> Conv:
    """The call of an operator, weights turned: filter by filter. Groups follow from how many channels a filter has."""
    return Conv(
        kind=Kind(op),
        image=channels_last(w.images, w.channels * w.groups, *w.image),
        filter=channels_last(w.filters * w.groups, w.channels, *w.kernel),
        result=channels_last(w.images, w.filters * w.groups, *w.result),
        pad=w.pad,
        stride=(w.stride, w.stride),
    )


def _taps(c: Conv, padded: Any) -> Iterator[tuple[int, int, Any]]:
    """(row and column of a tap, what of the padded image it meets)."""
    (sy, sx), (*_, rows, columns) = c.stride, c.result.dim
    for r, s in product(*map(range, c.filter.dim[2:])):
        yield r, s, padded[:, :, r : r + sy * rows : sy, s : s + sx * columns : sx]


def double(c: Conv, arrays: Sequence[Flat]) -> None:
    """What cuDNN does, on flat arrays: the two that are read, the result. Sums are of f64."""
    first, second, out = (spread(a, t.dim, t.stride) for a, t in zip(arrays, c.tensors, strict=True))
    (py, px), groups = c.pad, c.image.dim[1] // c.filter.dim[1]
    n, channels, h, w = c.image.dim
    padded = np.zeros((n, channels, h + 2 * py, w + 2 * px))
    image, filters, result = (np.zeros(t.dim) for t in (c.image, c.filter, c.result))
    if c.kind is Kind.GRAD_INPUT:
        result[...], filters[...] = first, second
    else:
        padded[:, :, py : py + h, px : px + w] = first
        (filters if c.kind is Kind.FORWARD else result)[...] = second
    by = [[np.array_split(np.arange(size), groups)[g] for g in range(groups)] for size in (channels, c.filter.dim[0])]
    for ins, outs in zip(*by, strict=True):
        for r, s, met in _taps(c, padded):
            match c.kind:
                case Kind.FORWARD:
                    result[:, outs] += np.einsum("nchw,kc->nkhw", met[:, ins], filters[outs, :, r, s])
                case Kind.GRAD_INPUT:
                    met[:, ins] += np.einsum("nkhw,kc->nchw", result[:, outs], filters[outs, :, r, s])
                case Kind.GRAD_WEIGHT:
                    filters[outs, :, r, s] = np.einsum("nchw,nkhw->kc", met[:, ins], result[:, outs])
    image[...] = padded[:, :, py : py + h, px : px + w]
    out[...] = {Kind.FORWARD: result, Kind.GRAD_INPUT: image, Kind.GRAD_WEIGHT: filters}[c.kind]


def graph_of(c: Conv, limit: int, **where: Any) -> Any:
    """cuDNN's graph of a call with the plans that may be taken, none built yet.

    Parameters
    ----------
    limit : bytes of workspace.
    where : ``handle``, of a device; or ``device_property``, of one that is not here.
    """
    import cudnn

    f32, note = cudnn.data_type.FLOAT, cudnn.numerical_note
    graph = cudnn.pygraph(name=c.kind.value, io_data_type=f32, intermediate_data_type=f32, compute_data_type=f32, **where)
    a, b, out = c.tensors
    first = graph.tensor(dim=list(a.dim), stride=list(a.stride), data_type=f32, uid=FIRST)
    second = graph.tensor(dim=list(b.dim), stride=list(b.stride), data_type=f32, uid=SECOND)
    build = {Kind.FORWARD: graph.conv_fprop, Kind.GRAD_INPUT: graph.conv_dgrad, Kind.GRAD_WEIGHT: graph.conv_wgrad}[c.kind]
    made = build(first, second, padding=list(c.pad), stride=list(c.stride), dilation=[1, 1])
    made.set_output(True).set_data_type(f32).set_uid(RESULT).set_dim(list(out.dim)).set_stride(list(out.stride))
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    graph.deselect_numeric_notes(
        [note.TENSOR_CORE, note.DOWN_CONVERT_INPUTS, note.REDUCED_PRECISION_REDUCTION, note.NONDETERMINISTIC]
    )
    graph.deselect_workspace_greater_than(limit)
    return graph


def bind(c: Conv, addresses: Sequence[int], workspace_nbytes: int) -> Bound:
    """Have cuDNN plan a call, for what it reads, its result and workspace at these addresses in device memory.

    Raises
    ------
    RunError : an operand is not aligned, or cuDNN has no such plan.
    """
    import cudnn

    for address, wanted in zip(addresses, (WANTED, WANTED, WANTED, ALIGN), strict=True):
        if address % wanted:
            raise RunError(f"cuDNN wants an operand of {c.kind} at a multiple of {wanted} bytes, it begins at {address:#x}")
    handle, work, limit = _handle(), addresses[3], workspace_nbytes
    try:
        graph = graph_of(c, limit, handle=handle)
        graph.check_support()
        graph.build_plans()
    except Exception as e:
        raise RunError(f"cuDNN {cudnn.backend_version()} has no plan in exact f32 with {limit:,} bytes for {c}: {e}") from e
    places = dict(zip((FIRST, SECOND, RESULT), addresses, strict=False))

    def go(stream: int) -> None:
        cudnn.set_stream(handle=handle, stream=stream)
        graph.execute(places, work, handle=handle)

    return go


@cache
def _handle() -> Any:
    """Of this process and its device."""
    import cudnn

    return cudnn.create_handle()


def _probe() -> Any:
    import cudnn

    return cudnn.backend_version()


CUDNN = Library(title="cuDNN", probe=_probe)
