"""The sections of a run, in their order. What each does is in its module, which only its own process imports."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)  # no `record`: this is read where no package may be installed yet
class Section:
    """A part of the run, in a process of its own.

    Its module has ``items(context)``, which yields (name, function that gives its result), and may have ``prepare(context)``:
    imports and compiling, which is done beside other sections before anything is timed.

    Parameters
    ----------
    name : as it is asked for.
    title : in the report.
    module : that does it.
    share : of the time.
    patience : seconds of one item, at most; then its process is ended, and another one goes on after it.
    is_timed : nothing else may be under way meanwhile.
    needs : name of the section whose results it takes up.
    """

    name: str
    title: str
    module: str
    share: float
    patience: float = 60.0
    is_timed: bool = True
    needs: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.title[0].lower()}{self.title[1:]})"


def _section(name: str, title: str, share: float, **more: Any) -> Section:
    return Section(name=name, title=title, module=f"benchmarks.gpu.{name}", share=share, **more)


SECTIONS = (
    _section("machine", "The machine", 0.03, is_timed=False),
    _section("check", "Every kernel against its reference", 0.20, patience=90.0, is_timed=False),
    _section("gemm", "Matrix products", 0.07),
    _section("convolution", "Convolutions", 0.10),
    _section("memory", "Kernels bound by memory", 0.06),
    _section("calibrate", "Calibration", 0.22, patience=200.0),
    _section("predict", "Predictions, made before anything of it was measured", 0.06, is_timed=False, needs="calibrate"),
    _section("validate", "Predicted and measured steps", 0.10, needs="predict"),
    _section("steps", "Training steps", 0.16, patience=120.0),
)


def with_needed(names: Collection[str]) -> list[Section]:
    """The sections of these names, with those whose results they take up; of no names all."""
    wanted = set(names)
    for section in reversed(SECTIONS):  # what a section needs comes before it
        if section.name in wanted and section.needs:
            wanted.add(section.needs)
    return [s for s in SECTIONS if not names or s.name in wanted]
