"""Record of the convolution with kernels of its own at every place."""

from collections import Counter

from graph.op import Attrs
from graph.ops.conv import pads
from hw.errors import HwError
from hw.kernels.count import Terms
from hw.kernels.cpu.common import cpu_record, operands
from hw.kernels.geometry import host_geometry
from hw.kernels.tiling import Types, panel_width


def _held(extent: int, taps: int, out: int, stride: int, pad: int) -> Counter[int]:
    """Along an axis: taps that lie in the image -> at how many places of the result so many do."""
    starts = (k * stride - pad for k in range(out))
    return Counter(min(taps, extent - s) - max(0, -s) for s in starts)


def _terms(types: Types, attrs: Attrs) -> Terms:
    (b, height, width, ic), (oh, ow, kh, kw, _, oc) = types[0].shape, types[1].shape
    stride, (pad_y, pad_x) = attrs["stride"], pads("local_conv2d", attrs)
    if not isinstance(stride, int):
        raise HwError(f"attribute 'stride' is a whole number, got {stride!r}")
    t, g = Terms(), host_geometry()
    for lines, above in _held(height, kh, oh, stride, pad_y).items():
        for taps, beside in _held(width, kw, ow, stride, pad_x).items():
            t.panels(b, oc, panel_width(oc, g), taps * ic, lines, g, above * beside)
    return t.traffic(operands("local_conv2d", types, attrs))


LOCAL_CONV = (cpu_record("local_conv2d", "local_conv2d", _terms),)
