"""What a published table is here: rows with a figure each, how a row becomes a scenario, and how a prediction is scored.

Every row is predicted on the same way as any scenario: model graph, plan, lowering, `sim.play`. A predictor is either the
default, ``kernels`` (devices, links and kernels alone), or one with a software stack (`hw.stack`), whose constants may be fitted
on rows of whole models: then it has the stack's name, and the rows that it was fitted on are not scored.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum

from graph.record import record
from hw.system import System
from sim.play import Detail
from trainscape.scenario import Scenario

KERNELS = "kernels"
"""Name of the default predictor."""


class What(StrEnum):
    """What of a row is compared, and how."""

    THROUGHPUT = "throughput"  # images per second; relative error
    HOURS = "hours"  # of a training; relative error
    SCALING = "scaling"  # efficiency, speed-up / devices; difference
    FITS = "fits"  # in memory: 1.0 or 0.0; right or wrong


@record
class Case:
    """One scenario to predict.

    Parameters
    ----------
    scenario : what is asked.
    system : devices and links where the scenario's catalogue name does not say it all.
    joined : layers are joined until their parameters hold so many bytes, so that there is less to play; 0: not.
    detail : how closely communication is looked at.
    epochs : of the whole training.
    """

    scenario: Scenario
    system: System | None = None
    joined: int = 16 << 20
    detail: Detail = Detail.CLOSED_FORM
    epochs: int = 1

    @property
    def images(self) -> int:
        """Images of a step."""
        return self.scenario.model.batch


@record
class Row:
    """One published figure.

    Parameters
    ----------
    name : unique within its table, e.g. ``"training P100 resnet_50 16"``.
    series : rows of one curve share it; a plot draws it in one colour.
    published : the figure, in the table's unit.
    case : the scenario.
    baseline : scenario that a speed-up is relative to.
    devices : that the row uses.
    stack : name of the software stack of the labelled predictor; None: there is none.
    """

    name: str
    series: str
    published: float
    case: Case
    baseline: Case | None = None
    devices: int = 1
    stack: str | None = None


@record
class Bar:
    """What a table is held to, on rows not fitted; None: not looked at. Fractions.

    Parameters
    ----------
    mape : mean of the absolute relative errors, at most.
    median, most : of the absolute differences of efficiencies, at most.
    right : of the rows of each class (fits, does not fit), at least.
    """

    mape: float | None = None
    median: float | None = None
    most: float | None = None
    right: float | None = None

    def __str__(self) -> str:
        said = {
            "MAPE <= {:.0%}": self.mape,
            "median <= {:.0%} points": self.median,
            "most <= {:.0%} points": self.most,
            ">= {:.0%} of each class right": self.right,
        }
        return ", ".join(
            text.format(x).replace("% points", " points").replace("%", " %") for text, x in said.items() if x is not None
        )


@record
class Table:
    """A published table, or the part of one that is compared in one way.

    Parameters
    ----------
    name : of the source, e.g. ``"mxnet_perf_2016"``.
    what : what is compared.
    title, source : for people.
    rows : makes its rows.
    bar : what it is held to.
    notes : what is not covered, and what was assumed.
    """

    name: str
    what: What
    title: str
    source: str
    rows: Callable[[], Sequence[Row]]
    bar: Bar
    notes: tuple[str, ...] = ()

    @property
    def stacks(self) -> tuple[str, ...]:
        """Names of the stacks of its rows. Where there are any, the bar is the labelled predictor's, else the default one's."""
        return tuple(dict.fromkeys(r.stack for r in self.rows() if r.stack is not None))
