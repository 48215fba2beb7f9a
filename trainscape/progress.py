"""Shows how far a run or a calibration is: a bar on a terminal, a line now and then where there is none."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isnan

from trainscape.output import Output
from trainscape.report.tables import rate

EVERY = 5.0  # seconds between lines about steps


class Progress:
    """An instrument (`graph.instrument`) that shows phases, their parts, and steps.

    Parameters
    ----------
    output : where to show it.
    title : what runs.
    bar : told (parts or steps done, of how many, words).
    every_phase : without a terminal, each phase is a line; else only the compiling, of which one would not think.
    """

    def __init__(self, output: Output, title: str, bar: Callable[[int, int, str], None], *, every_phase: bool = False) -> None:
        self._output, self._title, self._bar, self._every_phase = output, title, bar, every_phase
        self._began: tuple[float, int] | None = None
        self._told = time.monotonic()
        self._phase = ""

    def on_phase(self, what: str) -> None:
        """What happens now, in words."""
        if what == self._phase:
            return
        self._phase, self._began = what, None
        self._bar(0, 1, f"{self._title}: {what}")
        self._line(what, important=self._every_phase or what.startswith("compiling"))

    def on_part(self, done: int, total: int) -> None:
        """How far the phase is."""
        self._bar(done, total, f"{self._title}: {self._phase}")

    def on_step(self, step: int, steps: int, loss: float) -> None:
        """How far the training is."""
        now = time.monotonic()
        if self._began is None:
            self._began = now, step
        began, first = self._began
        speed = rate((step - first) / (now - began)) if now > began else ""
        text = ", ".join(filter(None, ("" if isnan(loss) else f"loss {loss:.4f}", speed and f"{speed} steps/s")))
        self._bar(step, steps, f"{self._title}: {text}")
        if now - self._told >= EVERY:
            self._line(f"step {step} of {steps}, {text}", important=True)

    def _line(self, text: str, *, important: bool) -> None:
        if self._output.notes.is_terminal:
            return
        self._told = time.monotonic()
        (self._output.note if important else self._output.detail)(f"{self._title}: {text}")


@contextmanager
def progress(output: Output, title: str, *, every_phase: bool = False) -> Iterator[Progress]:
    """A bar for one run, gone when it ends; see `Progress`."""
    with output.progress() as bars:
        task = bars.add_task(title, total=1)

        def bar(done: int, total: int, words: str) -> None:
            bars.update(task, completed=done, total=total, description=words)

        yield Progress(output, title, bar, every_phase=every_phase)
