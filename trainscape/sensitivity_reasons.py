"""Why a changed number changes nothing that is predicted: found by comparing what is done before and after, and by changing more.

Kinds of reasons: the work of a step is the same (``not read``), only values change (``values only``), a change of 10 % is too
small to cross a threshold (``too small``), what became longer is hidden behind something else (``hidden``), what one part draws
more another draws less (``absorbed``), or it is a limit.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from graph.ir import Graph
from graph.step_stats import is_transfer
from hw.cost.energy import rest_watts
from trainscape.report.tables import nbytes, seconds, share

if TYPE_CHECKING:
    from trainscape.build import Built
    from trainscape.predict import Prediction
    from trainscape.sensitivity_numbers import Number

FACTORS = (10.0, 0.1, 100.0, 0.01, 1e3, 1e-3)
"""How much further a number is changed to see whether it matters at all."""
SMALL = 1e-6


def reason(
    base: "Prediction",
    after: "Prediction",
    built: "Built",
    number: "Number",
    outcome_of: Callable[[float], Mapping[str, float] | None],
    outcome: Mapping[str, float],
) -> str:
    """One sentence.

    Parameters
    ----------
    base, after : predictions before and after the change, which say the same.
    built : the scenario after the change.
    number : that was changed.
    outcome_of : value of the number -> what a prediction says then; empty: the same work; None: it cannot be.
    outcome : what `base` says.
    """
    moved = _longer(base, after)
    if moved:
        return f"hidden: {moved}, and the step is as long: {_behind(base)}"
    values = _values_only(base.built, built)
    if values:
        return f"values only: {values}; no flop, byte or transfer depends on it"
    unused = _unused(base, number)
    if unused:
        return unused
    limit, within = "", "within 10 %" if number.value else "near 0"
    for factor in FACTORS if number.value else (1.0, *FACTORS):
        value = _times(number.size, factor)
        found = outcome_of(value) if value != number.value else {}
        if found is None:
            limit = limit or f"a limit that is far away: at {value:g} the scenario cannot be"
            continue
        effects = {k: found[k] / x - 1 for k, x in outcome.items() if x and k in found}
        k, most = max(effects.items(), key=lambda e: abs(e[1]), default=("", 0.0))
        if abs(most) > SMALL:
            return f"too small: nothing changes {within}, but at {value:g} {k} changes by {100 * most:+.3g} %"
    if limit:
        return limit
    if number.system is not None:
        return "not read: no action of this plan takes longer or shorter, however it is changed"
    return "not read: a step is the same work in the same order, however it is changed"


def _times(value: float, factor: float) -> float:
    return max(round(value * factor), 1) if isinstance(value, int) else value * factor


def _longer(base: "Prediction", after: "Prediction") -> str:
    """What kind of action takes longer or shorter than before; empty when all take the same."""
    found = []
    for name, pick in (("transfers", is_transfer), ("other actions", lambda r: not is_transfer(r))):
        a, b = (sum(r.seconds for r in p.timeline if r.is_leaf and pick(r)) / p.stats.steps for p in (base, after))
        if abs(b - a) > SMALL * max(a, b):
            found.append(f"{name} of a step take {seconds(abs(b - a))} {'more' if b > a else 'less'} over all ranks")
    return " and ".join(found)


def _behind(p: "Prediction") -> str:
    w = p.stats
    if w.comm_s and w.exposed_comm_s < w.comm_s:
        return f"computing covers {seconds(w.comm_s - w.exposed_comm_s)} of {seconds(w.comm_s)} of transfers"
    return "something else takes longer at the same time"


def _values_only(base: "Built", after: "Built") -> str:
    """The attributes of operators that differ, where the graphs are otherwise the same."""
    found: dict[str, int] = {}
    for role, other in zip(base.plan.roles, after.plan.roles, strict=False):
        if role.graph is not None and other.graph is not None and role.graph is not other.graph:
            for name in _attributes(role.graph, other.graph):
                found[name] = found.get(name, 0) + 1
    return ", ".join(f"it is {name} of {n} operator{'s' if n > 1 else ''}" for name, n in found.items())


def _attributes(a: Graph, b: Graph) -> list[str]:
    """``"learning_rate of sgd"`` for each node of which only that differs; empty when more than values differ."""
    if len(a.nodes) != len(b.nodes):
        return []
    found = []
    for m, n in zip(a.nodes, b.nodes, strict=True):
        if m.op.name != n.op.name or m.inputs != n.inputs or m.outputs != n.outputs:
            return []
        found += [f"{key} of {m.op.name}" for key in m.attrs if n.attrs.get(key) != m.attrs[key]]
    return found


def _unused(p: "Prediction", number: "Number") -> str:
    """What is known of a number of the system that no action asks for."""
    if number.system is None:
        return ""
    item, _, field = number.key.removeprefix("system:").rpartition(".")
    placed = p.built.placed
    links = {w.link.name for w in p.built.system.wires}
    if item in links:
        used = {placed.topology.hops[x].link for r in p.timeline if r.peer for x in placed.route(r.rank, r.peer)}
        return "" if item in used else f"not read: no transfer of this plan goes over {item}; those it has go over {_list(used)}"
    if field == "memory_nbytes":
        return f"a limit: a rank needs {nbytes(outcome_memory(p))} of it, and no time depends on it"
    if item.endswith(".peak") or ".peak" in item:
        dtypes = (p.built.scenario.system.precision.value, *p.built.arithmetic)
        return "" if field in dtypes else f"not read: no operator computes in {field}; all compute in {' or '.join(dtypes)}"
    return _of_power_or_price(p, field)


def _of_power_or_price(p: "Prediction", field: str) -> str:
    """Why the power or the price of a device changes neither joules nor dollars."""
    system, scenario = p.built.system, p.built.scenario
    busy = f"they compute {share(p.stats.compute_s / p.stats.step_s)} of the time"
    if field == "watts" and rest_watts(system):
        whole = f"a node of {system.name} is stated to draw {system.watts:g} W as a whole"
        return f"absorbed: {whole}, so what its devices draw more, the rest of it draws less, and {busy}"
    if field == "idle_fraction":
        return f"not read: no device is ever idle: {busy}"
    if field == "usd_per_hour" and system.usd_per_hour is not None:
        return f"not read: {system.name} is rented whole, for {system.usd_per_hour:g} USD an hour"
    if field == "usd_per_hour" and scenario.samples is None:
        return "not read: nobody says how many samples an epoch has"
    return ""


def outcome_memory(p: "Prediction") -> int:
    """Bytes of the fullest rank."""
    return max(p.built.placed.memory_bytes(r) for r in p.built.plan.ranks)


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none: there are no transfers"
