"""`predict --explain`: the chain of formulas with this scenario's numbers, from the work of a layer to dollars an epoch.

Everything is recomputed here from plan, lowering, cost model and system; only what depends on the order of events is taken from
the simulation, and says so. The sums equal the prediction: computing is the sum of its kernels, the step the sum of its parts.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from graph.parallel.plan import Do, Role
from hw.input_stage import period
from hw.lifetimes import is_kept
from hw.model import PAGE
from trainscape.explain_comm import transfers_section
from trainscape.explain_compute import actions, compute_section, is_compute, phases
from trainscape.explanation import Line, Section, one, shown, total
from trainscape.footprint import footprint, step_flop
from trainscape.report.tables import decimal, nbytes, seconds

if TYPE_CHECKING:
    from trainscape.build import Built
    from trainscape.predict import Prediction

KINDS = {"parameter": "parameters", "gradient": "gradients", "state": "state", "activation": "activations", "data": "data"}


def explain(p: "Prediction") -> tuple[Section, ...]:
    """The explanation of a prediction, section by section.

    Raises
    ------
    InvalidPlan : a program waits for what it hears, so what it does in a step is not known before it is played.
    """
    built = p.built
    able = training_roles(built)
    return (
        batch_section(built),
        *(compute_section(built, role) for role in (*able, *(r for r in built.plan.roles if r not in able))),
        transfers_section(built, p),
        *(memory_section(built, role) for role in built.plan.roles),
        *input_section(built, p),
        step_section(p),
        result_section(p),
    )


def training_roles(built: "Built") -> list[Role]:
    """Roles that do a part of the forward pass; all, where none does."""
    roles = built.plan.roles
    found = [r for r in roles if "forward" in phases(built, built.plan.first_rank(r.name))]
    return found or list(roles)


def compute_seconds(built: "Built") -> float:
    """Computing of a step, a rank that trains: the mean over such ranks of the sums over their kernels."""
    found = [
        (sum(phases(built, built.plan.first_rank(r.name)).values()), sum(k.role == r.name for k in built.plan.ranks))
        for r in training_roles(built)
    ]
    return sum(s * n for s, n in found) / sum(n for _, n in found)


def batch_section(built: "Built") -> Section:
    """How the batch is cut."""
    s = built.scenario
    b, parts = s.model.batch, s.parallel.parts
    flop = step_flop(built)
    return Section(
        title=f"{s.model.name} on {s.system.name}, {s.parallel.ranks} ranks, strategy {s.parallel.strategy}",
        lines=[
            Line(symbol="B", value=b, unit="", formula="samples of a step", source="model.batch"),
            Line(symbol="b", value=b // parts, unit="", formula="B / parts", numbers=f"{b} / {parts}", source="the strategy"),
            Line(
                symbol="F",
                value=flop,
                unit="flop",
                formula="convolutions and matrix products of B samples",
                source="the operators' exact work, forward, and backward where it trains",
            ),
        ],
    )


def memory_section(built: "Built", role: Role) -> Section:
    """What the memory of a role's rank holds; the parts add up to its arena."""
    low, rank = built.lowered[role.name], built.plan.first_rank(role.name)
    terms: dict[str, float] = {}
    shared: dict[str, float] = {}
    for b in role.buffers.values():
        part = terms if is_kept(b) else shared
        part[KINDS[str(b.kind)]] = part.get(KINDS[str(b.kind)], 0) + b.nbytes
    own = dict(terms)
    placed_apart = int(sum(terms.values()))
    if low.layout.workspace_nbytes:
        terms["workspace"] = low.layout.workspace_nbytes
        placed_apart += low.layout.workspace_nbytes
    terms["shared"] = low.layout.nbytes - placed_apart
    lines = [Line(symbol=k, value=v, unit="B", formula=f"Σ {k} buffers") for k, v in own.items()]
    for k, v in shared.items():
        lines.append(Line(symbol=k, value=v, unit="B", formula=f"Σ {k} buffers", source="lies in what is shared"))
    lines.append(
        Line(
            symbol="shared",
            value=terms["shared"],
            unit="B",
            formula="what intermediates and gradients share, and alignment",
            source="memory planner: values share bytes when their lives do not meet",
        )
    )
    lines.append(total("arena", terms, "B"))
    need, have = built.placed.memory_bytes(rank), built.placed.memory_capacity_bytes(rank)
    beyond = built.placed.memory_beyond_arena
    lines.append(
        Line(
            symbol="M",
            value=need,
            unit="B",
            formula=f"pages of the arena{' + beyond it' if beyond else ''}",
            numbers=f"{-(-low.layout.nbytes // PAGE)} x {PAGE} B{f' + {beyond} B' if beyond else ''}",
            source=f"of {nbytes(have)} of {built.placed.device_of(rank).name}, {100 * need / have:.1f} %",
        )
    )
    return Section(title=f"Memory of {one(role)}", lines=lines)


def input_section(built: "Built", p: "Prediction") -> Iterator[Section]:
    """The input stage, where there is one."""
    stage, placed = built.input_stage, built.placed
    for role in training_roles(built):
        rank = built.plan.first_rank(role.name)
        takes = _inputs(built, role)
        if not takes or not stage.depth:
            continue
        storage, decode = placed.input_seconds(rank, takes[0])
        n, copy = len(takes), placed.compute_seconds(rank, takes[0])
        work = p.stats.compute_s + p.stats.exposed_comm_s
        yield Section(
            title=f"Input of a {role.name}",
            lines=[
                Line(symbol="t_storage", value=n * storage, unit="s", formula="samples x bytes x readers / rate",
                     source="run.data.storage, run.data.sample"),
                Line(symbol="t_decode", value=n * decode, unit="s", formula="samples x decode x readers / cores",
                     source=f"run.data.decode; {stage.cores} cores of a node"),
                Line(
                    symbol="t_input",
                    value=n * period(storage, decode, copy, work / n, stage.depth),
                    unit="s",
                    formula="max(s, t_storage, t_decode, (t_storage + t_decode + t_copy) / depth)",
                    numbers=f"s = {seconds(work)} of computing and exposed transfers, depth = {stage.depth}",
                    source="closed form; the step is no shorter",
                ),
            ],
        )  # fmt: skip


def _inputs(built: "Built", role: Role) -> list[Do]:
    rank = built.plan.first_rank(role.name)
    return [d for d in actions(built, rank) if not is_compute(d)]


def step_section(p: "Prediction") -> Section:
    """The step as the sum of its parts; what no formula gives is named as the simulation's."""
    compute, exposed = compute_seconds(p.built), p.stats.exposed_comm_s
    rest = p.stats.step_s - compute - exposed
    rest = rest if abs(rest) > 1e-12 * p.stats.step_s else 0.0  # of rounding
    lines = [
        Line(symbol="t_input_wait", value=p.stats.input_wait_s, unit="s", formula="waits for a batch alone", source="simulated"),
        Line(
            symbol="t_waiting",
            value=rest,
            unit="s",
            formula="t_step - t_compute - t_exposed",
            source="simulated: the wait for a batch, launches by the host, ranks that wait for others",
        ),
        total(
            "t_step",
            {"t_compute": compute, "t_exposed": exposed, "t_waiting": rest},
            "s",
            "the prediction: a mean over the ranks that train",
        ),
    ]
    low, high = p.interval
    notes = [f"80 % interval: {seconds(low)} to {seconds(high)}, from the cost model's own error."]
    return Section(title="The step", lines=lines, notes=notes)


def result_section(p: "Prediction") -> Section:
    """Throughput, utilization, energy, money."""
    f, step, batch = footprint(p), p.stats.step_s, p.built.scenario.model.batch
    lines = [
        Line(
            symbol="samples/s",
            value=batch / step,
            unit="1/s",
            formula="B / t_step",
            numbers=f"{batch} / {seconds(step)}",
        )
    ]
    if f.mfu is not None and f.peak_flop_per_second is not None:
        numbers = f"{decimal(f.model_flop, 'flop')} / ({seconds(step)} x {decimal(f.peak_flop_per_second, 'flop/s')})"
        lines.append(
            Line(
                symbol="MFU",
                value=f.mfu,
                unit="%",
                formula="F / (t_step x peak)",
                numbers=numbers,
                source=f"{f.devices} devices; Chowdhery et al., PaLM, 2022, appendix B",
            )
        )
    if f.joules is not None:
        lines.append(Line(symbol="E", value=f.joules, unit="J", formula="energy of a step", source=f.energy_basis))
    if f.samples is not None and f.epoch_s is not None:
        numbers = f"{f.samples:,} / {batch / step:,.4g} 1/s"
        lines.append(Line(symbol="t_epoch", value=f.epoch_s, unit="s", formula="samples / (samples/s)", numbers=numbers))
        if f.kwh_per_epoch is not None:
            numbers = f"{f.samples / batch:,.4g} x {shown(f.joules or 0.0, 'J')} / 3.6 MJ"
            lines.append(Line(symbol="kWh", value=f.kwh_per_epoch, unit="kWh", formula="steps x E / 3.6 MJ", numbers=numbers))
        if f.usd_per_epoch is not None:
            rate = f.usd_per_epoch / f.epoch_s * 3600
            numbers = f"{seconds(f.epoch_s)} x {rate:.4g} USD/h"
            said = price_source(p)
            lines.append(
                Line(symbol="USD", value=f.usd_per_epoch, unit="USD", formula="t_epoch x price", numbers=numbers, source=said)
            )
    return Section(title="What comes of it", lines=lines)


def price_source(p: "Prediction") -> str:
    """Where the system's price comes from."""
    from trainscape.explain_compute import sources

    said = sources(p.built.system.name).get("price") or sources(p.built.system.device.name).get("price")
    return said or ""
