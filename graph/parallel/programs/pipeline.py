"""Pipeline parallelism: one role a stage, micro-batches in the order of a schedule; with tensor and data parallelism inside.

How far a stage runs ahead is not written here: it follows from the schedule, from the slots of the activations, and from the
room of the lanes.
"""

from collections.abc import Generator, Mapping
from typing import Any

from graph.errors import InvalidPlan
from graph.op import Work
from graph.parallel.plan import Buffer, BufferKind, Collective, Do, Instruction, Peer, Plan, Recv, Ref, Role, Send
from graph.parallel.schedules import SCHEDULES

ONE = Work(flop=1)


def pipeline(
    plan: Plan,
    role: Role,
    *,
    steps: int,
    stage: int,
    stages: int,
    micro_batches: int,
    schedule: str,
    layers: int,
    work: Mapping[str, Work],
) -> Generator[Instruction, Any, None]:
    """The program of a stage: activations in ``x``, their gradients in ``d``, parameters and gradients in ``w`` and ``g``.

    Parameters
    ----------
    steps, micro_batches : how often; micro-batches are those of one step.
    stage, stages : which one of how many.
    schedule : name of the order of micro-batches.
    layers : of this stage; with an axis ``tp`` of more than one rank each ends in an all-reduce.
    work : of ``"forward"`` and ``"backward"`` of one layer, and of ``"update"``.
    """
    before, after, last = Peer(f"stage.{stage - 1}"), Peer(f"stage.{stage + 1}"), stage == stages - 1
    tensor, data = (role.axes.get(axis, 1) > 1 for axis in ("tp", "dp"))
    w = Ref("w")
    for step in range(steps):
        is_fresh = True  # nobody has contributed to g in this step
        for what, m in SCHEDULES[schedule].order(stage, stages, micro_batches):
            x, d = Ref("x", step * micro_batches + m), Ref("d", step * micro_batches + m)
            if what == "forward" and stage == 0:
                yield Do(id=(step, "input", m), kernel="input", writes=(x,), on="input")
            elif what == "forward":
                yield Recv(tag=(step, "activation", m), into=x, source=before, lane="activation")
            elif not last:
                yield Recv(tag=(step, "gradient", m), into=d, source=after, lane="gradient")
            for layer in range(layers) if what == "forward" else reversed(range(layers)):
                reads: tuple[Ref, ...] = (x, w)
                writes: tuple[Ref, ...] = (x,)
                if what == "backward":
                    reads += () if last and layer == layers - 1 else (d,)  # the loss makes d from x
                    reads += () if is_fresh else (Ref("g"),)
                    writes, is_fresh = (d, Ref("g")), False
                yield Do(id=(step, what, layer, m), kernel=what, work=work[what], reads=reads, writes=writes)
                if tensor:
                    yield Collective(id=(step, f"{what}.tp", layer, m), algorithm="ring", what=writes[0], along=("tp",), on="tp")
            if what == "forward" and not last:
                yield Send(tag=(step, "activation", m), what=x, to=after, lane="activation")
            elif what == "backward" and stage:
                yield Send(tag=(step, "gradient", m), what=d, to=before, lane="gradient")
        if data:
            yield Collective(id=(step, "allreduce", "g"), algorithm="ring", what=Ref("g"), along=("dp",))
        yield Do(id=(step, "update", "g"), kernel="update", work=work["update"], reads=(Ref("g"), Ref("w")), writes=(Ref("w"),))


def pipeline_plan(
    stages: int,
    micro_batches: int,
    *,
    schedule: str = "1f1b",
    steps: int = 1,
    layers: int = 1,
    dp: int = 1,
    tp: int = 1,
    size: int = 64,
    parameters: int = 64,
    kept: int | None = None,
    work: Mapping[str, Work] | None = None,
) -> Plan:
    """A pipeline of like stages whose sizes and work are given, not taken from a graph.

    Parameters
    ----------
    stages, micro_batches, schedule, steps, layers, work : as in `pipeline`; by default a layer's work is 1 flop, the update's 0.
    dp, tp : ranks along the data and tensor axes of every stage.
    size, parameters : elements of an activation, and of the parameters of a stage.
    kept : activations that a stage has room for; by default what the schedule needs.

    Raises `InvalidPlan` when a number is below 1.
    """
    if min(stages, micro_batches, steps, layers, dp, tp) < 1:
        raise InvalidPlan("a pipeline has at least 1 stage, micro-batch, step, layer and rank")
    order = SCHEDULES[schedule]
    works = dict(work) if work is not None else {"forward": ONE, "backward": ONE, "update": Work()}

    def role(stage: int) -> Role:
        buffers = {
            "x": Buffer(size=size, slots=kept or order.kept(stage, stages, micro_batches)),
            "d": Buffer(size=size, slots=2),
            "g": Buffer(size=parameters, kind=BufferKind.GRADIENT, sharded=("tp",)),
            "w": Buffer(size=parameters, kind=BufferKind.PARAMETER, sharded=("tp",)),
        }
        params = {
            "steps": steps,
            "stage": stage,
            "stages": stages,
            "micro_batches": micro_batches,
            "schedule": schedule,
            "layers": layers,
            "work": works,
        }
        return Role(name=f"stage.{stage}", program="pipeline", params=params, axes={"dp": dp, "tp": tp}, buffers=buffers)

    return Plan(tuple(map(role, range(stages))))
