"""The text form of a plan: roles, buffers, and the expanded stream of one rank a role. For reading, and for `trainscape plan`."""

from collections.abc import Iterator

from graph.parallel.algorithm import COLLECTIVES, Operation
from graph.parallel.check import check
from graph.parallel.machine import Action
from graph.parallel.plan import Collective, Do, Exchange, Instruction, Path, Plan, Rank, Recv, Ref, Role, Send
from graph.parallel.unroll import instructions

LIMIT = 200  # lines of a stream that depends on what it hears


def plan_text(plan: Plan, steps: int = 1) -> str:
    """The plan in lines: a head, then for every role its buffers and the stream of its first rank in the first `steps` steps.

    The stream of a program that waits is what it did in one order of events (the checker's with seed 0), and is cut when long.
    """
    ranks = f"{len(plan.ranks)} rank{'s' if len(plan.ranks) > 1 else ''}"
    lines = [f"plan {plan.hash}: {ranks}, a lane holds {plan.slots} unread messages"]
    for role in plan.roles:
        lines += ["", *_head(role), "", *_buffers(role), ""]
        rank = plan.first_rank(role.name)
        if _is_fixed(plan, rank):
            lines.append(f"  stream of {rank}, {_steps(steps)}")
            rows = [_row(plan, rank, ins, ins.id) for ins in instructions(plan, rank, steps)]
        else:
            lines.append(f"  stream of {rank}, as played once: it depends on what it hears")
            played = _played(plan, rank)
            rows = [_row(plan, rank, a.ins, a.id) for a in played[:LIMIT]]
            rows += [("...", f"{len(played) - LIMIT} more", "", "")] if len(played) > LIMIT else []
        lines += _table(rows)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _steps(steps: int) -> str:
    return "step 0" if steps == 1 else f"steps 0 to {steps - 1}"


def _head(role: Role) -> Iterator[str]:
    axes = " x ".join(f"{axis} {size}" for axis, size in role.axes.items()) or "one rank"
    yield f"role {role.name}: program {role.program}, {axes}, {role.nbytes:,} bytes of buffers a rank"
    simple = [f"{k} {v}" for k, v in role.params.items() if isinstance(v, int | float | str)]
    if simple:
        yield "  " + ", ".join(simple)


def _buffers(role: Role) -> list[str]:
    rows = []
    for name, b in role.buffers.items():
        where = [f"{'cut' if b.is_cut else 'sharded'} along {', '.join(b.sharded)}"] if b.sharded else []
        where += [f"a copy along {', '.join(b.copies)}"] if b.copies else []
        where += [f"in the memory of {b.shared}"] if b.shared else []
        where += [f"to {b.exchange}"] if b.exchange != Exchange.NONE else []
        rows.append((name, str(b.kind), f"{b.slots} x {b.size * b.itemsize:,} B", " ".join((*where, *b.values))))
    return _table(rows)


def _is_fixed(plan: Plan, rank: Rank) -> bool:
    """Whether the stream does not depend on what the program hears."""
    stream = plan.shortened(1).start(rank)
    return not any(ins.wait or (isinstance(ins, Recv) and isinstance(ins.source, str)) for ins in stream)


def _played(plan: Plan, rank: Rank) -> list[Action]:
    """What the rank did, in the order in which its actions ended; transfers of collectives left out."""
    seen: list[Action] = []

    def log(a: Action) -> None:
        if a.machine.rank == rank and a.parent is None:
            seen.append(a)

    check(plan, log=log)
    return seen


def _row(plan: Plan, rank: Rank, ins: Instruction, id: Path) -> tuple[str, str, str, str]:
    """Stream, id, what is touched, how much."""
    name = "/".join(map(str, id))
    if isinstance(ins, Do):
        touched = " ".join((*map(_ref, ins.reads), *(("->", *map(_ref, ins.writes)) if ins.writes else ())))
        note = "" if ins.note is None else f"note {ins.note}"
        counts = [f"{ins.work.flop:,} flop"] if ins.work.flop else []
        counts += [f"{ins.work.nbytes:,} B"] if ins.work.nbytes else []
        return ins.on, name, touched, " ".join((*counts, note))
    if isinstance(ins, Collective):
        ranks = plan.index(rank, ins.along)[1]
        algorithm = COLLECTIVES[ins.algorithm]
        way = {Operation.BROADCAST: f" from rank {ins.root % ranks}", Operation.REDUCE: f" to rank {ins.root % ranks}"}
        transfers, root = algorithm.transfers(ranks), way.get(algorithm.operation, "")
        what = f"{ins.algorithm}{root} over {', '.join(ins.along)} ({ranks} ranks, {transfers} transfers)"
        return ins.on, name, f"{_ref(ins.what)} {what}", f"{plan.nbytes(rank, ins.what):,} B"
    if isinstance(ins, Send):
        return ins.on, name, f"{_ref(ins.what)} -> {plan.peer(rank, ins.to)}", f"{plan.nbytes(rank, ins.what):,} B"
    source = f"any {ins.source}" if isinstance(ins.source, str) else plan.peer(rank, ins.source)
    return ins.on, name, f"{_ref(ins.into)} <- {source}{' (add)' if ins.add else ''}", f"{plan.nbytes(rank, ins.into):,} B"


def _ref(r: Ref) -> str:
    index = f"#{r.index}" if r.index else ""
    return f"{r.buffer}{index}" + (f"[{r.part}/{r.parts}]" if r.parts > 1 else "")


def _table(rows: list[tuple[str, str, str, str]]) -> list[str]:
    """Columns aligned; a column may be empty."""
    widths = [max((len(row[k]) for row in rows), default=0) for k in range(3)]
    return ["    " + "  ".join((*(cell.ljust(w) for cell, w in zip(row[:3], widths, strict=True)), row[3])) for row in rows]
