"""Algorithms of operators as a scenario asks for them (``system.algorithm``): which there are where its ranks stand.

One name is for every operator that has an algorithm of that name; a mapping is for the operators that it names. What is asked
for must be there on some platform that ranks stand on; each role then takes what its own has (`hw.kernels.chosen`), and what was
really taken is what it was lowered to (`taken`), which every result says.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from graph.errors import nearest
from graph.op import OPS
from hw.errors import HwError
from hw.kernels import KERNELS, algorithms, chosen, record_for
from hw.kernels.cuda_rounding import why_f32
from hw.kernels.record import Platform
from hw.system import DEVICE, HOST_PART
from trainscape.errors import MistakeKind
from trainscape.scenario import RunsOn, Scenario
from trainscape.strategies import standing
from trainscape.systems import HOST, catalogue_system
from trainscape.yaml_reader import Loc

if TYPE_CHECKING:
    from hw.device import Device
    from hw.lowered import Lowered

PATH: Loc = ("system", "algorithm")
WHERE = {Platform.CPU: "on a CPU", Platform.CUDA: "on a GPU", Platform.NFU: "on an NFU"}
GO_THERE = {Platform.CPU: "--device cpu, or a system of CPUs", Platform.CUDA: "--device cuda, or a system of GPUs"}
EXACT = "f32"
"""What is computed where nothing is asked for; it has no name as an algorithm."""
SHOWN = 4
"""Layers that are named."""
Objection = tuple[Loc, str, MistakeKind]
"""Where, what, and of which kind."""


def objections(s: Scenario) -> Iterator[Objection]:
    """What is wrong with the algorithms that a scenario asks for."""
    asked, stands = s.system.algorithm, list(_standing(s))
    if asked is None or not stands:
        return
    platforms = list(dict.fromkeys(p for p, _ in stands))
    has = [algorithms(p) for p in platforms]
    where = " or ".join(WHERE[p] for p in platforms)
    if not any(has):
        yield PATH, f"there is one kernel for each operator {where}, and nothing to choose; remove it", MistakeKind.INVALID
        return
    wrong = list(_of_all(asked, has, where) if isinstance(asked, str) else _of_each(asked, has, where))
    yield from wrong
    for platform, device in () if wrong else stands:
        if device is not None:
            yield from _without_peak(chosen(asked, platform), platform, device, PATH if isinstance(asked, str) else None)


def _standing(s: Scenario) -> "Iterator[tuple[Platform, Device | None]]":
    """Platform, and device of the catalogue, of everything that ranks stand on; nothing where a place is not known."""
    if s.system.name == HOST:
        yield (Platform.CUDA if s.system.platform is RunsOn.CUDA else Platform.CPU), None
        return
    try:
        system = catalogue_system(s.system)
        for _, place, _ in standing(s.parallel):
            device = None if place == HOST_PART else system.group(system.prefix if place == DEVICE else place).device
            yield (device.platform if device else Platform.CPU), device
    except HwError:  # other rules say so
        return


def _of_all(name: str, has: Iterable[Mapping[str, tuple[str, ...]]], where: str) -> Iterator[Objection]:
    known = {n for found in has for names in found.values() for n in names}
    if name in known:
        return
    elsewhere = [p for p in GO_THERE if any(name in names for names in algorithms(p).values())]
    hint = f"some have one {WHERE[elsewhere[0]]}: {GO_THERE[elsewhere[0]]}" if elsewhere else _near(name, known)
    yield PATH, f"no operator has an algorithm {name!r} {where}; {hint}", MistakeKind.INVALID


def _near(name: str, known: Iterable[str]) -> str:
    return "without the key all compute in f32; remove it" if name == EXACT else nearest(name, known)


def _of_each(asked: Mapping[str, str], has: Iterable[Mapping[str, tuple[str, ...]]], where: str) -> Iterator[Objection]:
    known: dict[str, tuple[str, ...]] = {}
    for found in has:
        known |= {op: (*known.get(op, ()), *names) for op, names in found.items()}
    for op, name in asked.items():
        if op in known and name in known[op]:
            continue
        if op in known:
            message = f"operator {op!r} has no algorithm {name!r} {where}; {_near(name, known[op])}"
        elif op in OPS:
            message = f"operator {op!r} has one kernel {where}, and nothing to choose; {', '.join(known)} have algorithms"
        else:
            message = f"unknown operator {op!r}; {nearest(op, known)}"
        yield (*PATH, op), message, MistakeKind.INVALID


def _without_peak(wanted: Mapping[str, str], platform: Platform, device: "Device", path: Loc | None) -> Iterator[Objection]:
    """Formats in which a device does not compute, by its data sheet; said once where one name is for all operators."""
    for op, name in wanted.items():
        needs = record_for(op, platform, name).arithmetic
        if needs and device.peak and needs not in device.peak:
            message = f"{name} multiplies in {needs}, in which {device.name} does not compute: it has {', '.join(device.peak)}"
            yield path or (*PATH, op), message, MistakeKind.INFEASIBLE
            if path:
                return


def taken(asked: str | Mapping[str, str], lowered: "Iterable[Lowered]") -> dict[str, str]:
    """Operator -> algorithm, of the calls that have one that was asked for."""
    records = (KERNELS[c.kernel] for low in lowered for c in low.calls)
    return {r.op: r.algorithm for r in records if r.algorithm and r.algorithm == chosen(asked, r.platform).get(r.op)}


def kept_f32(lowered: "Iterable[Lowered]") -> dict[str, str]:
    """Layer -> why this project's kernels compute some of it in f32 though its algorithm rounds operands."""
    return {c.layer: why for low in lowered for c in low.calls if (why := why_f32(c))}


def words(asked: str | Mapping[str, str] | None, found: Mapping[str, str], f32: Mapping[str, str] = MappingProxyType({})) -> str:
    """What was asked for and `taken`, as every result says it: ``"tf32 in matmul, conv2d"``; empty: nothing was asked for.

    Parameters
    ----------
    f32 : `kept_f32`; said in brackets: ``"tf32 in conv2d (f32 in conv1: channels of a group are no multiple of four)"``.
    """
    if asked is None:
        return ""
    each = [f"{name} in {', '.join(op for op, n in found.items() if n == name)}" for name in dict.fromkeys(found.values())]
    missing = [f"{asked} nowhere"] if isinstance(asked, str) else [f"no {op}" for op in asked if op not in found]
    said = "; ".join([*each, *(missing if not found or not isinstance(asked, str) else [])])
    exact = [f"f32 in {_few([n for n, w in f32.items() if w == why])}: {why}" for why in dict.fromkeys(f32.values())]
    return f"{said} ({'; '.join(exact)})" if exact else said


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
