"""What can go wrong in `trainscape`: messages say what was asked, what was got, what would be right, and where."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from graph.record import record


class TrainscapeError(Exception):
    """Base of every error that `trainscape` raises on purpose."""


class MissingCapability(TrainscapeError):
    """This machine lacks something that the command needs; the message says what to install or to run."""


class OutsideTolerance(TrainscapeError):
    """A comparison was made and lies outside the tolerance that was asked for.

    Parameters
    ----------
    message : what was compared.
    document : the result, which is complete in spite of the verdict.
    """

    def __init__(self, message: str, document: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.document = document


class RunFolderError(TrainscapeError):
    """The folder named for a run cannot be used."""


class TimedOut(TrainscapeError):
    """A run took longer than the scenario allows; it was ended between two steps, and saved.

    Parameters
    ----------
    seconds : that were allowed.
    step : steps completed.
    checkpoint : file to go on from; None: there is none.
    is_testing : its accuracy was being measured, on the samples set aside.
    """

    def __init__(self, *, seconds: float, step: int, checkpoint: object, is_testing: bool = False) -> None:
        self.seconds, self.step, self.checkpoint = seconds, step, checkpoint
        resume = f"; go on with --resume {checkpoint}" if checkpoint else ""
        when = f"after step {step}{resume}"
        if is_testing:
            when = f"while testing accuracy after step {step}: raise run.timeout, or set aside fewer samples (run.held_out)"
        super().__init__(f"run.timeout of {seconds:g} s has passed {when}")


class MistakeKind(StrEnum):
    """What is wrong with an input."""

    INVALID = "invalid"  # it cannot be understood, or contradicts itself
    INFEASIBLE = "infeasible"  # it is well formed, but no system can do it


@record
class Mistake:
    """One mistake of an input file or of an override.

    Parameters
    ----------
    place : ``"FILE:LINE:COLUMN"``, ``"FILE"`` or ``"--set KEY"``.
    path : dotted path of the key, or ``""`` for the whole file.
    message : what is wrong and what would be right.
    source : the line of the file, or ``""``.
    line, column : 1-based; 0 where there is none.
    kind : invalid or infeasible.
    """

    place: str
    path: str
    message: str
    source: str = ""
    line: int = 0
    column: int = 0
    kind: MistakeKind = MistakeKind.INVALID

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path and not self.place.endswith((f"--set {self.path}", f"--{self.path}")) else ""
        text = f"{self.place}: error: {path}{self.message}"
        if not self.source:
            return text
        number = f"{self.line:6d}"
        first = max(0, self.column - 100) if len(self.source) > 160 else 0  # of a very long line, the part around the place
        shown = "".join(c if c.isprintable() or c == "\t" else "?" for c in self.source[first : first + 160])
        before = "".join("\t" if c == "\t" else " " for c in shown[: self.column - 1 - first])
        return f"{text}\n{number} | {shown}\n{' ' * len(number)} | {before}^"


class ScenarioError(TrainscapeError):
    """A scenario file has mistakes: all of them, in the order of the file."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(map(str, mistakes)))

    @property
    def is_infeasible(self) -> bool:
        """The scenario is well formed, but asks for something that no system can do."""
        return all(m.kind is MistakeKind.INFEASIBLE for m in self.mistakes)
