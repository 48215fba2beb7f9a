"""Shows how far a run is: a bar on a terminal, a line now and then where there is none."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trainscape.output import Output

EVERY = 5.0  # seconds between lines


class RunProgress:
    """Told by a run where it is; see `runtime.dist.launch.run`.

    Parameters
    ----------
    output : where to show it.
    title : what runs.
    bar : told (steps done, steps, words).
    """

    def __init__(self, output: Output, title: str, bar: Callable[[int, int, str], None]) -> None:
        self._output, self._title, self._bar = output, title, bar
        self._began: tuple[float, int] | None = None
        self._told = time.monotonic()
        self._phase = ""

    def phase(self, text: str) -> None:
        """What happens now, in words."""
        kind = text.partition(" (")[0]
        if kind != self._phase:
            self._phase = kind
            self._line(text, important=kind.startswith("compiling"))
        part = re.search(r"\((\d+) of (\d+)\)", text)  # "compiling kernels (3 of 14)"
        done, total = (int(part[1]), int(part[2])) if part else (0, 1)
        self._bar(done, total, f"{self._title}: {text}")
        if kind in ("training", "testing"):
            self._began = None

    def step(self, step: int, steps: int, loss: float) -> None:
        """How far the training is."""
        now = time.monotonic()
        if self._began is None:
            self._began = now, step
        began, first = self._began
        rate = (step - first) / (now - began) if now > began else 0.0
        text = f"{self._title}: loss {loss:.4f}, {rate:,.0f} steps/s"
        self._bar(step, steps, text)
        if now - self._told >= EVERY:
            self._line(f"step {step} of {steps}, loss {loss:.4f}, {rate:,.0f} steps/s", important=True)

    def _line(self, text: str, *, important: bool) -> None:
        if self._output.notes.is_terminal:
            return
        self._told = time.monotonic()
        (self._output.note if important else self._output.detail)(f"{self._title}: {text}")


@contextmanager
def tasks(output: Output, title: str) -> Iterator[Callable[[str, float], None]]:
    """A bar for work that tells what it does now, and the fraction that is done."""
    with output.progress() as bars:
        task, told = bars.add_task(title, total=100), ""

        def tell(what: str, done: float) -> None:
            nonlocal told
            bars.update(task, completed=100 * done, description=f"{title}: {what}")
            kind = what.partition(" (")[0]
            if kind != told and not output.notes.is_terminal:
                output.note(f"{title}: {kind}")
            told = kind

        yield tell


@contextmanager
def run_progress(output: Output, title: str) -> Iterator[RunProgress]:
    """A bar for one run, gone when it ends."""
    with output.progress() as bars:
        task = bars.add_task(title, total=1)

        def bar(done: int, total: int, words: str) -> None:
            bars.update(task, completed=done, total=total, description=words)

        yield RunProgress(output, title, bar)
