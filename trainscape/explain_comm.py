"""The part of an explanation about transfers: bytes by formula, seconds by closed form, and what the simulation hides of them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from graph.parallel.algorithm import COLLECTIVES
from graph.parallel.closed_form import collective_nbytes, collective_seconds
from graph.parallel.plan import Collective, Rank, Role, Send
from graph.parallel.unroll import instructions
from graph.record import record
from trainscape.explain_compute import STEP
from trainscape.explanation import Line, Section, shown, total
from trainscape.report.tables import nbytes

if TYPE_CHECKING:
    from trainscape.build import Built
    from trainscape.predict import Prediction

MOST = 64
"""Ranks of a role whose messages are counted one by one; of more, the first one's count for all."""


@record
class Summed:
    """The collectives of one algorithm in a step, over one kind of group.

    Parameters
    ----------
    algorithm : its name.
    ranks : of a group.
    groups : how many such groups the role has.
    calls : collectives of a step.
    nbytes : of the buffers of all calls.
    sent : bytes that one group sends.
    seconds : by closed form, one after another; None: there is none.
    latency, rate : seconds, and bytes per second, that the closed form counts on.
    """

    algorithm: str
    ranks: int
    groups: int
    calls: int
    nbytes: int
    sent: int
    seconds: float | None
    latency: float
    rate: float


def summed(built: "Built", role: Role) -> list[Summed]:
    """The collectives of a role's step."""
    plan, me = built.plan, built.plan.first_rank(role.name)
    found: dict[tuple[str, tuple[str, ...]], list[Collective]] = {}
    for i in instructions(plan, me, 1, first=STEP):
        if isinstance(i, Collective):
            found.setdefault((i.algorithm, i.along), []).append(i)
    size = sum(r.role == role.name for r in plan.ranks)
    return [_sum(built, me, size, algorithm, along, calls) for (algorithm, along), calls in found.items()]


def _sum(built: "Built", me: Rank, size: int, algorithm: str, along: tuple[str, ...], calls: list[Collective]) -> Summed:
    plan = built.plan
    ranks = plan.index(me, along)[1]
    latency, rate = built.placed.group(plan.group(me, along), COLLECTIVES[algorithm].is_direct)
    seconds = [collective_seconds(plan, me, c, latency, rate) for c in calls]
    buffers = [plan.nbytes(me, c.what) for c in calls]
    return Summed(
        algorithm=algorithm,
        ranks=ranks,
        groups=size // ranks,
        calls=len(calls),
        nbytes=sum(buffers),
        sent=sum(collective_nbytes(algorithm, ranks, n) for n in buffers),
        seconds=None if None in seconds else sum(s for s in seconds if s is not None),
        latency=latency,
        rate=rate,
    )


def messages(built: "Built", role: Role) -> tuple[int, int]:
    """(messages, bytes) that a role's ranks send in a step outside of collectives."""
    plan = built.plan
    ranks = [r for r in plan.ranks if r.role == role.name]
    looked = ranks if len(ranks) <= MOST else ranks[:1]
    sent = [plan.nbytes(r, i.what) for r in looked for i in instructions(plan, r, 1, first=STEP) if isinstance(i, Send)]
    times = len(ranks) // len(looked)
    return len(sent) * times, sum(sent) * times


def transfers_section(built: "Built", p: "Prediction") -> Section:
    """What is sent in a step, by whom, and how long that takes."""
    lines: list[Line] = []
    terms: dict[str, float] = {}
    for role in built.plan.roles:
        for s in summed(built, role):
            mark = f"{s.algorithm}, {role.name}"
            terms[f"S({mark})"] = s.groups * s.sent
            lines += _collective_lines(built, mark, s)
        count, sent = messages(built, role)
        if count:
            terms[f"S(messages of {role.name})"] = sent
            lines.append(
                Line(
                    symbol=f"S(messages of {role.name})",
                    value=sent,
                    unit="B",
                    formula="Σ bytes",
                    numbers=f"{count} messages of {nbytes(sent / count)} on average",
                    source="counted from the plan",
                )
            )
    if terms:
        lines.append(total("S", terms, "B", "sent in a step, by all ranks"))
    lines += list(_simulated(p))
    return Section(title="Transfers of a step", lines=lines, notes=() if terms else ("Nothing is sent.",))


def _collective_lines(built: "Built", mark: str, s: Summed) -> Iterator[Line]:
    a, n = COLLECTIVES[s.algorithm], s.ranks
    part = f"{nbytes(s.nbytes)} / {n}" if a.is_cut else nbytes(s.nbytes)
    yield Line(symbol=f"G({mark})", value=s.nbytes, unit="B", formula="Σ bytes of the buffers", numbers=f"{s.calls} of them")
    yield Line(
        symbol=f"S({mark})",
        value=s.groups * s.sent,
        unit="B",
        formula=f"transfers x G{' / N' if a.is_cut else ''}{' x groups' if s.groups > 1 else ''}",
        numbers=f"{a.transfers(n)} x {part}{f' x {s.groups}' if s.groups > 1 else ''}",
        source=f"{s.algorithm} over N = {n} ranks"
        + (f": 2 (N - 1) G, of each rank 2 (N - 1) / N G = {nbytes(s.sent / n)}" if s.algorithm == "ring" else ""),
    )
    if n < 2:
        return
    farthest = "greatest latency between any two" if a.is_direct else "latency of a transfer between neighbours"
    slowest = "least rate of a rank while all send to all others" if a.is_direct else "least rate between neighbours"
    yield Line(symbol="α", value=s.latency, unit="s", formula=farthest, source=_links(built, "latency"))
    yield Line(symbol="β", value=s.rate, unit="B/s", formula=slowest, source=_links(built, "bandwidth"))
    if s.seconds is not None:
        alone = COLLECTIVES[s.algorithm].seconds(n, n, 1.0, float("inf"))
        hops = f"{s.calls} x {alone:g} x {shown(s.latency, 's')} + " if alone is not None else ""
        yield Line(
            symbol=f"t({mark})",
            value=s.seconds,
            unit="s",
            formula="hops α + bytes / β",
            numbers=f"{hops}{shown(s.seconds - s.calls * (alone or 0.0) * s.latency, 's')}",
            source=f"closed form of {s.algorithm} on an idle network, one after another",
        )


def _links(built: "Built", what: str) -> str:
    """The links of the system with their rates or latencies, and where those come from."""
    from trainscape.explain_compute import sources

    found = []
    for link in {w.link.name: w.link for w in built.system.wires}.values():
        said = next((s for q, s in sources(link.name).items() if what in q), "calibration")
        found.append(f"{link.name}: {said}")
    return "; ".join(found)


def _simulated(p: "Prediction") -> Iterator[Line]:
    w = p.stats
    yield Line(symbol="t_comm", value=w.comm_s, unit="s", formula="transfers under way or waited for, a rank", source="simulated")
    hidden = w.comm_s - w.exposed_comm_s
    yield Line(symbol="t_hidden", value=hidden, unit="s", formula="of that beside computing", source="simulated overlap")
    yield Line(
        symbol="t_exposed",
        value=w.exposed_comm_s,
        unit="s",
        formula="t_comm - t_hidden",
        numbers=f"{shown(w.comm_s, 's')} - {shown(hidden, 's')}",
    )
