"""The sections of a run, in their order. What each does is in its module, which only its own process imports."""

from graph.record import record


@record
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
    """

    name: str
    title: str
    module: str
    share: float
    patience: float = 60.0
    is_timed: bool = True


def _section(name: str, title: str, share: float, **more: float) -> Section:
    return Section(name=name, title=title, module=f"benchmarks.gpu.{name}", share=share, **more)


SECTIONS = (
    _section("machine", "The machine", 0.03, is_timed=False),
    _section("check", "Every kernel against its reference", 0.20, patience=90.0, is_timed=False),
    _section("gemm", "Matrix products", 0.07),
    _section("convolution", "Convolutions", 0.10),
    _section("memory", "Kernels bound by memory", 0.06),
    _section("calibrate", "Calibration", 0.22, patience=200.0),
    _section("predict", "Predictions, made before anything of it was measured", 0.06, is_timed=False),
    _section("validate", "Predicted and measured steps", 0.10),
    _section("steps", "Training steps", 0.16, patience=120.0),
)
