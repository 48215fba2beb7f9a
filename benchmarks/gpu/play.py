"""The run as a whole: a process for each section, its time, and one document, written anew whenever something was found."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from benchmarks.gpu.budget import Budget, Slot
from benchmarks.gpu.document import begun, section_of, write
from benchmarks.gpu.part import OVER, PREPARING, READY, WORKING, read
from benchmarks.gpu.report import INTERRUPTED, UNDER_WAY, state_of
from benchmarks.gpu.sections import Section

LOOK_SECONDS = 0.05
PREPARES = 0.28
"""Part of the time during which sections may prepare beside each other before anything is timed."""
MANY_CORES = 8
"""With so many, sections prepare beside each other."""
RESTARTS = 3
SLOWER = 20
"""Times the patience that a simulation is given."""
CODE = (
    "import sys; sys.path[:] = {path!r}; from runtime.native import die_with_parent; die_with_parent(); "
    "from benchmarks.gpu.worker import main; sys.exit(main())"
)


class Child:
    """The process of a section, and the one that goes on after it has failed.

    Parameters
    ----------
    section : which.
    folder : for its files.
    given : what it is told beside its module.
    """

    def __init__(self, section: Section, folder: Path, given: Mapping[str, Any]) -> None:
        self.section, self.path, self.given = section, folder / f"{section.name}.json", given
        self.errors: IO[bytes] = (folder / f"{section.name}.err").open("w+b")
        self.starts, self.is_told = 0, False
        self.start()

    def start(self) -> None:
        """Start a process; a second one goes on where the first has ended."""
        given = {**self.given, "module": self.section.module, "part": str(self.path), "resumes": self.starts > 0}
        self.starts, self.is_told = self.starts + 1, False
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE.format(path=sys.path), json.dumps(given)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self.errors, start_new_session=True,
        )  # fmt: skip

    @property
    def part(self) -> dict[str, Any]:
        """What it has found."""
        return read(self.path)

    @property
    def has_prepared(self) -> bool:
        """Nothing is under way until it is told to go on."""
        return self.part["state"] != PREPARING or self.process.poll() is not None

    def go(self, stops: float) -> None:
        """Let it work until then."""
        self.is_told = True
        if self.process.stdin is not None and self.process.poll() is None:
            self.process.stdin.write(f"{stops}\n".encode())
            self.process.stdin.flush()

    def end(self) -> None:
        """End it, with all processes that it has started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def close(self) -> None:
        self.end()
        self.errors.close()

    def said(self) -> str:
        """The end of what it wrote to stderr."""
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").strip()[-600:]

    def blame(self, why: str) -> None:
        """Whatever was under way is what went wrong; nothing, where an item has said so itself."""
        part = self.part
        if part["at"] or part["state"] != WORKING:
            part["items"][part["at"] or "preparing"] = {"error": why}
        part["at"] = ""
        self.path.write_text(json.dumps(part), encoding="utf-8")


def follow(child: Child, slot: Slot, patience: float, changed: Callable[[dict[str, Any]], None]) -> None:
    """Let a section work, until it is over or its time is."""
    seen, since = child.part, time.monotonic()
    while True:
        part, now = child.part, time.monotonic()
        if part != seen:
            seen, since = part, now
            changed(part)
        if part["state"] == READY and not child.is_told:
            child.go(slot.stops)
        why = ""
        if child.process.poll() is not None:
            if child.part["state"] == OVER:
                return
            why = f"the process ended with {child.process.returncode}: {child.said()}"
        elif now >= slot.ends:
            why = "its time was over"
        elif child.is_told and now - since > patience:
            why = f"nothing came of it for {patience:g} s"
        if why:
            child.end()
            child.blame(why)
            if now >= slot.ends or child.starts > RESTARTS:
                return
            child.start()
            since = time.monotonic()
        time.sleep(LOOK_SECONDS)


def play(sections: Sequence[Section], *, out: Path, seconds: float, simulated: bool, ahead: bool | None = None) -> dict[str, Any]:
    """Do all sections, until Ctrl-C at most; returns the document, which has been written.

    Parameters
    ----------
    out : folder for it.
    seconds : of all.
    simulated : in Numba's simulator.
    ahead : sections prepare beside each other; by default where there are cores enough.
    """
    out.mkdir(parents=True, exist_ok=True)
    budget = Budget(seconds, simulated=simulated)
    document = begun(seconds=seconds, simulated=simulated, sections=sections)

    def save() -> None:
        document["took_s"] = time.monotonic() - budget.began
        write(document, out)

    save()
    children: dict[str, Child] = {}
    if ahead is None:
        ahead = (os.cpu_count() or 1) >= MANY_CORES
    with tempfile.TemporaryDirectory() as folder:
        try:
            for k, section in enumerate(sections):
                for s in sections if ahead else sections[k : k + 1]:
                    if s.name not in children:
                        children[s.name] = Child(s, Path(folder), {"out": str(out), "simulated": simulated})
                others = [c for c in children.values() if c.section is not section]
                busy = _busy(others, budget.began + PREPARES * seconds) if section.is_timed else []
                _section(children[section.name], budget.slot(sections[k:]), document, save, busy)
        except KeyboardInterrupt:
            document["is_interrupted"] = True
        finally:
            for child in children.values():
                child.close()
    save()
    return document


def _busy(others: Sequence[Child], until: float) -> list[str]:
    """Wait until nothing is under way beside what is to be timed; the names of those sections that still prepare then."""
    while (busy := [c.section.name for c in others if not c.has_prepared]) and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    return busy


def _section(child: Child, slot: Slot, document: dict[str, Any], save: Callable[[], None], busy: Sequence[str]) -> None:
    began, beside = time.monotonic(), [f"while it was timed, other sections were preparing: {', '.join(busy)}"] if busy else []
    section, patience = child.section, child.section.patience * (SLOWER if document["simulated"] else 1)

    def take(part: dict[str, Any], state: str = UNDER_WAY) -> None:
        noted = {**part, "notes": [*part["notes"], *beside]}
        document["sections"][section.name] = section_of(section, noted, time.monotonic() - began, state)
        save()

    print(f"{section}: begins", flush=True)
    state = INTERRUPTED
    try:
        follow(child, slot, patience, take)
        state = ""  # as what came of it says
    finally:
        child.end()
        take(child.part, state)
        print(f"{section}: {state_of(document['sections'][section.name])}", flush=True)
