"""`check --sensitivity`: which numbers a prediction depends on. Each is changed by 10 %, and the step is predicted again.

Changed are the scenario's own numbers and, of a catalogue system, those of its devices and links. Where nothing comes of a
change, the reason is found by looking: is the same work done, does a far greater change do something, what became longer and
where did it disappear.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from graph.errors import GraphError
from graph.op import Work
from graph.parallel.plan import Role
from graph.record import record
from graph.tensor_type import TensorType
from hw.errors import HwError
from sim.errors import SimError
from trainscape.build import Built
from trainscape.cross_check import cross_check
from trainscape.footprint import footprint
from trainscape.predict import Prediction, predict
from trainscape.scenario import Scenario
from trainscape.sensitivity_numbers import Number, scenario_numbers, system_numbers
from trainscape.sensitivity_reasons import reason

STEPS = 3
"""Played for each change."""
SMALL = 1e-6
"""A relative change below which nothing has come of it."""


@record
class Effect:
    """What changing one number does.

    Parameters
    ----------
    key : dotted path of the number; of the system's begins with ``"system:"``.
    before, after : its value, and the one it was changed to; None: no other is possible.
    changes : ``"step_s"``, ``"memory_peak_bytes"``, ``"bytes_sent_total"``, ``"energy_j"``, ``"usd_per_epoch"`` -> relative
        change.
    reason : why nothing has come of it; empty where something has.
    """

    key: str
    before: float
    after: float | None
    changes: Mapping[str, float]
    reason: str = ""

    @property
    def has_effect(self) -> bool:
        """Something depends on the number."""
        return any(abs(x) > SMALL for x in self.changes.values())

    def document(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "key": self.key,
            "before": self.before,
            "after": self.after,
            "change": dict(self.changes),
            "has_effect": self.has_effect,
            "reason": self.reason or None,
        }


def sensitivity(scenario: Scenario, on_number: Callable[[str], object] = lambda key: None) -> tuple[Effect, ...]:
    """Change every number, one at a time: the most telling first, those without effect last.

    Parameters
    ----------
    scenario : that can be predicted.
    on_number : called with what comes next.

    Raises
    ------
    DoesNotFit, MissingCapability : the scenario cannot be predicted.
    """
    base = predict(Built(scenario), steps=STEPS)
    outcome = numbers_of(base)
    found = []
    for number in (*scenario_numbers(scenario), *system_numbers(base.built)):
        on_number(number.key)
        found.append(effect(base, outcome, number))
    return tuple(sorted(found, key=lambda e: (not e.has_effect, -abs(e.changes.get("step_s", 0.0)))))


def numbers_of(p: Prediction) -> dict[str, float]:
    """What is looked at."""
    placed, f = p.built.placed, footprint(p)
    found = {
        "step_s": p.stats.step_s,
        "memory_peak_bytes": float(max(placed.memory_bytes(r) for r in p.built.plan.ranks)),
        "bytes_sent_total": float(p.bytes_sent),
    }
    priced = {"energy_j": f.joules, "usd_per_epoch": f.usd_per_epoch}
    return {**found, **{k: x for k, x in priced.items() if x is not None}}


def effect(base: Prediction, outcome: Mapping[str, float], number: Number) -> Effect:
    """What comes of changing one number."""
    why = "no value near it is allowed"
    for value in number.near():
        try:
            built = changed(base.built, number, value)
            after = base if is_same_work(base.built, built) else predict(built, steps=STEPS)
        except (HwError, GraphError, SimError) as e:
            why = str(e)
            continue
        now = numbers_of(Prediction(built=built, **{k: getattr(after, k) for k in ("timeline", "stats", "spread")}))
        relative = {k: (now[k] / x - 1 if x else float(now[k] != 0)) for k, x in outcome.items() if k in now}
        found = Effect(key=number.key, before=number.value, after=value, changes=relative)
        if found.has_effect:
            return found
        return Effect(
            key=number.key,
            before=number.value,
            after=value,
            changes=relative,
            reason=reason(base, after, built, number, lambda v: _outcome_of(base, number, v), outcome),
        )
    if number.is_unknown:
        why = "it is 0, and there is nothing like it that tells how much a little would be"
    return Effect(key=number.key, before=number.value, after=None, changes={}, reason=f"cannot be changed: {why}")


def is_same_work(a: Built, b: Built) -> bool:
    """The same kernels on the same buffers, in the same order, on the same system: then the same is predicted."""
    if a.system != b.system or a.input_stage != b.input_stage or a.plan.hash != b.plan.hash:
        return False
    return all(a.lowered[r.name].hash == b.lowered[r.name].hash and _work(a, r) == _work(b, r) for r in a.plan.roles)


def _work(built: Built, role: Role) -> list[tuple[str, tuple[TensorType, ...], Work]]:
    return [(c.kernel, c.types, c.work) for c in built.lowered[role.name].calls]


def _outcome_of(base: Prediction, number: Number, value: float) -> dict[str, float] | None:
    """What a prediction with another value says; None: there is none."""
    try:
        built = changed(base.built, number, value)
        if is_same_work(base.built, built):
            return {}
        return numbers_of(predict(built, steps=STEPS))
    except (HwError, GraphError, SimError):
        return None


def changed(base: Built, number: Number, value: float) -> Built:
    """The scenario with one number changed.

    Raises `hw.errors.HwError` or `graph.errors.GraphError` when that is not allowed, or cannot be.
    """
    if number.system is not None:
        return Built(base.scenario, system=number.system(value), like=base, advise=False)
    if number.scenario is None:
        raise HwError(f"nothing says how to change {number.key}")
    scenario = number.scenario(value)
    wrong = _messages(scenario)
    if first := next(wrong, None):
        raise HwError(first)
    return Built(scenario, advise=False)


def _messages(scenario: Scenario) -> Iterator[str]:
    return (f.message for f in cross_check(scenario).findings)
