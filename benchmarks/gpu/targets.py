"""The numbers to reach on a GPU of the class of an H100 or H200, and whether a run reaches them."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import Any

from graph.record import record
from hw.kernels.record import VENDOR

OPEN = "open: nobody has measured"
NOT_HERE = "not measurable in a simulator"
HOLDS, MISSED, PARTLY = "holds", "missed", "open: in part"
Points = dict[str, float | None]
"""What a target is about -> its number; None: it was left out, or went wrong."""
COMMITTED = Path(__file__).parents[2] / "docs" / "gpu.json"
"""The document of the run that docs/gpu.md tells of, where there is one."""


@record
class Target:
    """A number to reach.

    Parameters
    ----------
    what : in words.
    bound : the number.
    is_least : it must be at least that; otherwise at most.
    aim : what is aimed at beyond, in words.
    percent : shown as a percentage.
    mean : of the points, which must keep to the bound; None: their worst must.
    points : document of a run -> what counts.
    """

    what: str
    bound: float
    is_least: bool = True
    aim: str = ""
    percent: bool = False
    mean: Callable[[Iterable[float]], float] | None = None
    points: Callable[[Mapping[str, Any]], Points]

    def shown(self, value: float) -> str:
        """A value of it as text."""
        return f"{100 * value:.1f} %" if self.percent else f"{value:.2f}"

    @property
    def wanted(self) -> str:
        """The bound as text."""
        number = f"{100 * self.bound:g} %" if self.percent else f"{self.bound:g}"
        return f"{'≥' if self.is_least else '≤'} {number}" + (f" (aim: {self.aim})" if self.aim else "")


@record
class Judged:
    """A target and what came of it.

    Parameters
    ----------
    target : which.
    state : `HOLDS`, `MISSED`, `PARTLY`, `OPEN` or `NOT_HERE`.
    value : what counts; None: nothing was measured.
    at : what has the worst value.
    measured, asked : points with a number, and all.
    """

    target: Target
    state: str
    value: float | None
    at: str
    measured: int
    asked: int

    @property
    def plain(self) -> dict[str, Any]:
        """As a document has it."""
        t = self.target
        return {
            "what": t.what, "wanted": t.wanted, "bound": t.bound, "state": self.state, "value": self.value, "at": self.at,
            "measured": self.measured, "asked": self.asked,
            "shown": "" if self.value is None else f"{t.shown(self.value)} ({'mean; worst ' if t.mean else ''}{self.at})",
        }  # fmt: skip


def judged(target: Target, document: Mapping[str, Any]) -> Judged:
    """What a run says of a target. In the simulator nothing; where points are missing it can be missed, but not held."""
    if document.get("simulated"):
        return Judged(target=target, state=NOT_HERE, value=None, at="", measured=0, asked=0)
    points = target.points(document)
    known = {name: v for name, v in points.items() if v is not None}
    if not known:
        return Judged(target=target, state=OPEN, value=None, at="", measured=0, asked=len(points))
    worst = (min if target.is_least else max)(known, key=known.__getitem__)
    value = target.mean(known.values()) if target.mean else known[worst]
    holds = value >= target.bound if target.is_least else value <= target.bound
    is_whole = len(known) == len(points)
    state = (HOLDS if is_whole else PARTLY) if holds else MISSED
    if target.mean and not is_whole:
        state = PARTLY
    return Judged(target=target, state=state, value=value, at=worst, measured=len(known), asked=len(points))


def _points(document: Mapping[str, Any], section: str, key: str, chosen: Callable[[str], bool]) -> Points:
    """A number of every item of a section that is chosen by its name, also of those that were left out."""
    found = document["sections"].get(section, {})
    items, names = found.get("items", {}), [*found.get("items", {}), *found.get("left_out", [])]
    return {n: items.get(n, {}).get(key) for n in names if chosen(n)}


def _of_gemm(precision: str, sizes: Iterable[int]) -> Callable[[Mapping[str, Any]], Points]:
    wanted = {f"{precision} {n}" for n in sizes}
    return lambda d: _points(d, "gemm", "ratio", wanted.__contains__)


def _of_memory(key: str) -> Callable[[Mapping[str, Any]], Points]:
    def points(document: Mapping[str, Any]) -> Points:
        items = document["sections"].get("memory", {}).get("items", {})
        alone = {"copy", *(n for n, r in items.items() if key == "ratio" and r.get("has_rival") is False)}
        return _points(document, "memory", key, lambda n: n not in alone)

    return points


def _of_steps(*nets: str) -> Callable[[Mapping[str, Any]], Points]:
    return lambda d: _points(d, "steps", "ratio", lambda n: n.split()[0] in nets and not n.endswith(VENDOR))


def _of_validation(key: str) -> Callable[[Mapping[str, Any]], Points]:
    return lambda d: {n: None if v is None else abs(v) for n, v in _points(d, "validate", key, lambda n: True).items()}


LARGE = (2048, 4096, 8192)
PRODUCTS = "matrix products in {}, 2048 to 8192: times as fast as PyTorch (cuBLAS)"
TENSOR_CORES = "0.8, with `wgmma`"
TARGETS = (
    Target(what=PRODUCTS.format("f32"), bound=0.85, points=_of_gemm("f32", LARGE)),
    Target(what=PRODUCTS.format("tf32 by `mma.sync`"), bound=0.5, aim=TENSOR_CORES, points=_of_gemm("tf32", LARGE)),
    Target(what=PRODUCTS.format("bf16 by `mma.sync`"), bound=0.5, aim=TENSOR_CORES, points=_of_gemm("bf16", LARGE)),
    Target(what="kernels bound by memory: part of what a copy on the device moves", bound=0.9, points=_of_memory("of_copy")),
    Target(
        what="kernels bound by memory: times as fast as PyTorch eager, geometric mean",
        bound=1.2, mean=geometric_mean, points=_of_memory("ratio"),
    ),
    Target(what="training step of MLP and LeNet: times as fast as PyTorch eager", bound=2.0, points=_of_steps("mlp", "lenet")),
    Target(
        what="training step of AlexNet and ResNet-50: times as fast as PyTorch eager",
        bound=0.6, aim="1.0", points=_of_steps("alexnet-owt", "resnet50"),
    ),
    Target(
        what="predicted step, calibrated on kernels: mean error over the nets, three batch sizes each",
        bound=0.07, is_least=False, percent=True, mean=fmean, points=_of_validation("step_error"),
    ),
    Target(
        what="predicted peak of device memory: error against the driver's counter",
        bound=0.05, is_least=False, percent=True, points=_of_validation("memory_error"),
    ),
)  # fmt: skip


def page_table() -> str:
    """The table of docs/gpu.md: of the run that was committed, or open."""
    document = json.loads(COMMITTED.read_text(encoding="utf-8")) if COMMITTED.is_file() else {"sections": {}}
    rows = [judged(t, document) for t in TARGETS]
    lines = [f"| {j.target.what} | {j.target.wanted} | {j.plain['shown'] or '–'} | {j.state} |" for j in rows]
    return "\n".join(["| what | to reach | measured | state |", "|---|--:|--:|---|", *lines])
