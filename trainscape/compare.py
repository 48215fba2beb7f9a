"""`compare`: the same training under several strategies, predicted and ranked; what cannot be is listed with its reason.

A row is a scenario file under one strategy: the file's own settings, as far as they mean something for the strategy. Rows are
ranked by samples per second; those that do not fit their devices come after, those that no plan exists for last. Unless
strategies are named, those are left out, and said to be, that make no sense for a kind of scenario, whatever its numbers
(`omitted`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from graph.errors import GraphError
from graph.parallel.strategies import STRATEGIES
from graph.record import record
from hw.errors import HwError
from hw.system import HOST_PART
from sim.errors import SimError
from trainscape.build import Built
from trainscape.cross_check import cross_check
from trainscape.detail import AUTO, detail_of
from trainscape.errors import MistakeKind
from trainscape.fit import Change, changed, nearest, shortage
from trainscape.footprint import Footprint, footprint
from trainscape.load import Loaded
from trainscape.predict import Prediction, predict
from trainscape.scenario import Scenario
from trainscape.strategies import VARIANTS, Variant, is_there, name_of, settings_as, short, variant_of
from trainscape.zoo_graph import model_graph

UNKNOWN = ("mfu", "energy_j", "energy_basis", "epoch_s", "kwh_per_epoch", "usd_per_epoch")
SECTIONS = ("parallel", "numerics", "system")
"""Sections of a scenario that may not suit another strategy or system."""


@record
class Row:
    """A scenario under one strategy.

    Parameters
    ----------
    file : where the scenario stands.
    scenario : with the strategy.
    strategy : its short name.
    prediction : None: it does not fit, or cannot be.
    footprint : utilization, energy and money of the prediction.
    need_bytes, have_bytes : memory of the fullest device, and of the device; None where there is no plan.
    reason : why there is no prediction; empty where there is one.
    change : the smallest change after which it would fit; None: it fits, or nothing was found.
    differs : why training is not equal to one worker's; empty where it is.
    detail : at which transfers were looked at; empty where there is no prediction.
    """

    file: str
    scenario: Scenario
    strategy: str
    prediction: Prediction | None = None
    footprint: Footprint | None = None
    need_bytes: int | None = None
    have_bytes: int | None = None
    reason: str = ""
    change: Change | None = None
    differs: str = ""
    detail: str = ""

    @property
    def fits(self) -> bool:
        """It can be done."""
        return self.prediction is not None

    @property
    def is_refused(self) -> bool:
        """There is no such plan, whatever the memory."""
        return self.need_bytes is None

    @property
    def samples_per_s(self) -> float:
        """0.0 for what cannot be."""
        return self.scenario.model.batch / self.prediction.stats.step_s if self.prediction else 0.0

    def document(self) -> dict[str, Any]:
        """Plain data; what is not known is None."""
        s, p, f = self.scenario, self.prediction, self.footprint
        numbers = p.numbers() if p else {}
        times = (
            "step_s",
            "samples_per_s",
            "compute_s",
            "comm_s",
            "exposed_comm_s",
            "waiting_s",
            "bytes_sent_total",
            "flop_total",
        )
        return {
            "file": self.file,
            "scenario": s.name,
            "strategy": self.strategy,
            "summary": VARIANTS[self.strategy].summary if self.strategy in VARIANTS else "",
            "model": s.model.name,
            "batch": s.model.batch,
            "system": s.system.name,
            "parallel": s.settings()["parallel"],
            "fits": self.fits,
            **{k: numbers.get(k) for k in times},
            "memory_peak_bytes": self.need_bytes,
            "memory_device_bytes": self.have_bytes,
            **(f.document() if f else dict.fromkeys(UNKNOWN)),
            "reason": self.reason or None,
            "differs": self.differs or None,
            "detail": self.detail or None,
            "change": {"settings": dict(self.change.settings), "words": self.change.words} if self.change else None,
            "cost_model": numbers.get("cost_model"),
            "plan_hash": numbers.get("plan_hash"),
        }


def compare(
    scenarios: Sequence[Loaded],
    strategies: Sequence[str] = (),
    *,
    detail: str = AUTO,
    on_row: Callable[[str], object] = lambda title: None,
) -> tuple[Row, ...]:
    """Predict each scenario under each strategy.

    Parameters
    ----------
    scenarios : read from files.
    strategies : short names (`trainscape.strategies.VARIANTS`); by default all but those `omitted`.
    detail : of the network; by default as `trainscape.detail` says.
    on_row : called with what comes next.

    Returns
    -------
    Rows, best first.

    Raises
    ------
    MissingCapability : a scenario is of this computer, which has no calibration.
    """
    rows = []
    for loaded, name in pairs(scenarios, strategies):
        on_row(name if len(scenarios) == 1 else f"{loaded.scenario.name}, {name}")
        rows.append(row_of(loaded, name, detail=detail))
    return ranked(rows)


def pairs(scenarios: Iterable[Loaded], strategies: Sequence[str]) -> list[tuple[Loaded, str]]:
    """What is compared: each scenario under each strategy that is named; by default under its own and all but those `omitted`."""
    found = []
    for loaded in scenarios:
        without = omitted(loaded.scenario)
        default = dict.fromkeys((*_there(), name_of(loaded.scenario.parallel)))
        found += [(loaded, name) for name in strategies or (n for n in default if n not in without)]
    return found


def omitted(s: Scenario) -> Mapping[str, str]:
    """Strategy -> the rule by which it makes no sense for this kind of scenario, so that it is no row of its own."""
    if s.parallel.ranks == 1:
        rule = "one rank has nothing to share"
    elif not STRATEGIES[s.parallel.strategy].trains:
        rule = f"{short(s.parallel.strategy)} trains nothing"
    elif not any(n.op.name == "conv2d" for n in model_graph(s.model, batch=1, seed=s.seed)):
        rule = "a hybrid is of convolutions and fully connected layers, and the net has no convolutions"
        return {n: rule for n in _there() if VARIANTS[n].settings["strategy"] == "hybrid" and n != name_of(s.parallel)}
    else:
        return {}
    return {n: rule for n in _there() if n != name_of(s.parallel)}


def _there() -> list[str]:
    return [v.name for v in VARIANTS.values() if is_there(v)]


def row_of(loaded: Loaded, name: str, *, detail: str = AUTO) -> Row:
    """One row; whatever keeps it from being is its reason."""
    scenario = loaded.scenario
    try:
        scenario = as_variant(scenario, variant_of(name))
        row = partial(Row, file=loaded.file, scenario=scenario, strategy=name)
        wrong = [f.message for f in cross_check(scenario).findings if f.kind is MistakeKind.INFEASIBLE or f.path[0] in SECTIONS]
        if wrong:
            return row(reason=wrong[0], change=nearest(scenario))
        built = Built(scenario, advise=False)
        need, have = memory(built)
        row = partial(row, need_bytes=need, have_bytes=have, differs=built.differs)
        lack = shortage(built)
        if lack is not None:
            return row(reason=str(lack), change=nearest(scenario))
        chosen = detail_of(built.plan) if detail == AUTO else detail
        prediction = predict(built, detail=chosen)
        return row(prediction=prediction, footprint=footprint(prediction), detail=str(chosen))
    except (HwError, GraphError, SimError) as e:
        return Row(file=loaded.file, scenario=scenario, strategy=name, reason=str(e), change=nearest(scenario))


def as_variant(scenario: Scenario, variant: Variant) -> Scenario:
    """The scenario under a strategy; its options that mean something there stay."""
    return changed(scenario, {"parallel": settings_as(scenario.settings()["parallel"], variant)})


def memory(built: Built) -> tuple[int, int]:
    """(need, have) bytes of the rank on a device that fills it most; a rank on a host counts where no rank is on a device."""
    placed = built.placed
    ranks = [built.plan.first_rank(r.name) for r in built.plan.roles if r.places.get("compute") != HOST_PART]
    ranks = ranks or [built.plan.first_rank(r.name) for r in built.plan.roles]
    fullest = max(ranks, key=lambda r: placed.memory_bytes(r) / placed.memory_capacity_bytes(r))
    return placed.memory_bytes(fullest), placed.memory_capacity_bytes(fullest)


def ranked(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Best first: by samples per second; then those that lack memory, the least first; then those refused."""
    return tuple(sorted(rows, key=lambda r: (not r.fits, r.is_refused, -r.samples_per_s, r.need_bytes or 0)))
