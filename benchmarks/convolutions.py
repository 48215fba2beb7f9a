"""Rates of convolution libraries (`hw.device.ConvolutionLibrary`) that agree best with published times of single layers.

    python benchmarks/convolutions.py

The times are those of convolutions.yaml beside this file. No whole model is looked at. What it prints stands in the catalogue.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from hw import catalogue
from hw.cost.convolution import convolution_seconds
from hw.cost.gemm_shape import Convolution, Direction
from hw.cost.roofline import memory_seconds
from hw.device import ConvolutionLibrary, Device

DATA = Path(__file__).with_suffix(".yaml")
STEPS = {
    "forward": 0.05,
    "grad_input": 0.05,
    "grad_weight": 0.05,
    "strided": 0.15,
    "winograd": 0.05,
    "winograd_grad_weight": 0.05,
    "call_seconds": 2e-6,
}
"""First change of each rate that is tried; it is halved three times."""
START = ConvolutionLibrary(
    forward=0.8,
    grad_input=0.95,
    grad_weight=0.7,
    strided=2.0,
    winograd=0.9,
    winograd_grad_weight=0.8,
    fft=0.5,
    call_seconds=28e-6,
)
Times = Sequence[tuple[Convolution, int, float]]
"""(shape, compulsory bytes, seconds)"""


def times(table: Mapping[str, Any], device: str) -> Times:
    """The times of a device."""
    at = 8 + 3 * table["devices"].index(device)
    found = []
    for w, h, c, n, k, f, pad, stride, *cells in table["rows"]:
        y, x = (h + 2 * pad - f) // stride + 1, (w + 2 * pad - f) // stride + 1
        nbytes = 4 * (n * h * w * c + n * y * x * k + f * f * c * k)
        for direction, ms in zip(Direction, cells[at - 8 : at - 5], strict=True):
            shape = Convolution(
                direction=direction, images=n, rows=h, columns=w, channels=c, filters=k, kernel_rows=f, kernel_columns=f,
                stride=stride, out_rows=y, out_columns=x,
            )  # fmt: skip
            if ms is not None:
                found.append((shape, nbytes, ms * 1e-3))
    return found


def errors(device: Device, rows: Times) -> list[float]:
    """log(model / measured) of every row."""
    floor = max(device.launch_seconds, device.convolution.call_seconds)
    return [math.log((floor + max(convolution_seconds(c, device), memory_seconds(n, device))) / t) for c, n, t in rows]


def mean(device: Device, library: ConvolutionLibrary, rows: Times) -> float:
    """Mean of the absolute errors."""
    return fmean(map(abs, errors(replace(device, convolution=library), rows)))


def fit(device: Device, rows: Times, start: ConvolutionLibrary, names: Sequence[str] = tuple(STEPS)) -> ConvolutionLibrary:
    """The rates that agree best, one changed at a time while that helps."""
    library, best, scale = start, mean(device, start, rows), 2.0
    while scale > 0.2:
        moved = False
        for name in names:
            for sign in (+1, -1):
                value = round(getattr(library, name) + sign * STEPS[name] * scale, 7)
                if not 0 < value < (2 if name.startswith("winograd") else math.inf):
                    continue
                tried = replace(library, **{name: value})
                if (found := mean(device, tried, rows)) < best - 1e-5:
                    best, library, moved = found, tried, True
        scale /= 1 if moved else 2
    return library


def show(name: str, device: Device, library: ConvolutionLibrary, rows: Times) -> None:
    found = errors(replace(device, convolution=library), rows)
    size = list(map(abs, found))
    print(f"{name}: {len(rows)} times, |log(model / measured)| mean {fmean(size):.2f}, median {median(size):.2f}")
    print("   ", library)


def main() -> None:
    from ruamel.yaml import YAML

    data = YAML(typ="safe", pure=True).load(DATA.read_text(encoding="utf-8"))
    titan = catalogue.device("titanx-maxwell")
    by_rate = {f / 10: mean(titan, replace(START, fft=f / 10), times(data["fft"], titan.name)) for f in range(1, 11)}
    print("fft:", {f: round(e, 3) for f, e in by_rate.items()})
    start = replace(START, fft=min(by_rate, key=by_rate.__getitem__))
    for name in data["deepbench"]["devices"]:
        device, rows = catalogue.device(name), times(data["deepbench"], name)
        show(name, device, fit(device, rows, start), rows)
    k20 = catalogue.device("k20")
    black = replace(k20, peak={"f32": 5.12e12}, cores=15, memory_bytes_per_second=336e9)  # GTX Titan Black, the same architecture
    rows = times(data["kepler"], "titan-black")
    show("k20", black, fit(black, rows, ConvolutionLibrary(), ("forward", "grad_input", "grad_weight")), rows)


if __name__ == "__main__":
    main()
