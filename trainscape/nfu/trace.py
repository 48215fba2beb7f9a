"""When what happens on an NFU, as a Chrome trace: instructions on their units, loads and stores on their engines."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from graph.timeline import Record, Timeline
from hw.errors import HwError
from hw.nfu.config import Nfu
from hw.nfu.isa import Program
from hw.nfu.nest import Schedule
from trainscape.errors import RunFolderError
from trainscape.nfu.program import of_layer
from trainscape.nfu.target import Target

MOST = 100_000
"""Instructions of a trace that can still be looked at."""


def write_trace(path: Path, target: Target, nfu: Nfu, schedules: Sequence[Mapping[str, Any] | None]) -> None:
    """Play the programs of a target, one after the other, and write what happened; compressed when the name ends in ``.gz``.

    Parameters
    ----------
    path : where to.
    target, nfu : what, on what.
    schedules : of the layers, as documents.

    Raises
    ------
    HwError : there are too many instructions to look at.
    RunFolderError : the file cannot be written.
    """
    from sim.tracing import write_chrome_trace

    try:
        write_chrome_trace(path, {"emulated": Timeline(_records(target, nfu, schedules))})
    except OSError as e:
        raise RunFolderError(f"{path} cannot be written: {e.strerror or e}") from e


def _records(target: Target, nfu: Nfu, schedules: Sequence[Mapping[str, Any] | None]) -> list[Record]:
    from sim.nfu import play

    found: list[Record] = []
    start, count = 0.0, 0
    for name, program in _programs(target, nfu, schedules):
        count += len(program)
        if count > MOST:
            raise HwError(
                f"a trace shows up to {MOST:,} instructions, but with those of {name} there are {count:,}; name one layer, or a "
                f"smaller one"
            )
        played = play(program, nfu)
        for r in played.timeline:
            named = replace(r, id=(0, *r.id[1:2], name, *r.id[2:]))
            found.append(replace(named, ready=r.ready + start, start=r.start + start, end=r.end + start))
        start += played.total_cycles / nfu.clock_hz
    return found


def _programs(target: Target, nfu: Nfu, schedules: Sequence[Mapping[str, Any] | None]) -> list[tuple[str, Program]]:
    if target.program is not None:
        return [(target.title, target.program)]
    return [
        (layer.name, of_layer(layer, nfu, None if s is None else Schedule(**s)))
        for layer, s in zip(target.layers, schedules, strict=True)
    ]
