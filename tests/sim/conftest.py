"""Small plans that the tests of `sim` play."""

from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from graph.op import Work
from graph.parallel.plan import Buffer, Collective, Do, Instruction, Plan, Ref, Role, program


@program
def sim_reduce_once(plan: Plan, role: Role, algorithm: str) -> Iterator[Instruction]:
    """One gradient, one collective."""
    yield Do(id=(0, "backward", "a", 0), kernel="backward/a", writes=(Ref("g"),))
    yield Collective(id=(0, "allreduce", "b0"), algorithm=algorithm, what=Ref("g"), along=("dp",))
    yield Do(id=(0, "update", "b0"), kernel="update/b0", reads=(Ref("g"), Ref("w")), writes=(Ref("w"),))


@program
def sim_train(plan: Plan, role: Role, steps: int, layers: tuple[str, ...], algorithm: str) -> Iterator[Instruction]:
    """Data parallel, a bucket a layer, overlapped; a batch from the input stage first."""
    for k in range(steps):
        yield Do(id=(k, "input", 0), kernel="input", on="input", writes=(Ref("data", k),))
        for l in layers:
            seen = Ref("data", k), Ref(f"w.{l}")
            yield Do(id=(k, "forward", l, 0), kernel=f"forward/{l}", work=Work(flop=2), reads=seen, writes=(Ref(f"x.{l}"),))
        for l in reversed(layers):
            reads = Ref(f"w.{l}"), Ref(f"x.{l}")
            yield Do(id=(k, "backward", l, 0), kernel=f"backward/{l}", work=Work(flop=4), reads=reads, writes=(Ref(f"g.{l}"),))
            if role.axes:
                yield Collective(id=(k, "allreduce", l), algorithm=algorithm, what=Ref(f"g.{l}"), along=("dp",))
        for l in reversed(layers):
            yield Do(id=(k, "update", l), kernel=f"update/{l}", reads=(Ref(f"g.{l}"), Ref(f"w.{l}")), writes=(Ref(f"w.{l}"),))


@program
def sim_given(plan: Plan, role: Role, instructions: tuple[Instruction, ...]) -> Generator[Instruction, Any, None]:
    """What it is given."""
    yield from instructions


def _one_reduce(algorithm: str, ranks: int, nbytes: int) -> Plan:
    buffers = {"g": Buffer(size=nbytes, itemsize=1, kind="gradient"), "w": Buffer(size=nbytes, itemsize=1, kind="parameter")}
    role = Role(name="worker", program="sim_reduce_once", params={"algorithm": algorithm}, axes={"dp": ranks}, buffers=buffers)
    return Plan(roles=(role,))


def _training(ranks: int, steps: int = 2, layers: tuple[str, ...] = ("a", "b"), size: int = 8, data_slots: int = 1) -> Plan:
    buffers = {"data": Buffer(size=4, itemsize=1, kind="data", slots=data_slots)}
    for l in layers:
        buffers[f"w.{l}"] = Buffer(size=size, itemsize=1, kind="parameter")
        buffers[f"g.{l}"] = Buffer(size=size, itemsize=1, kind="gradient")
        buffers[f"x.{l}"] = Buffer(size=size, itemsize=1)
    params = {"steps": steps, "layers": layers, "algorithm": "ring"}
    axes = {"dp": ranks} if ranks > 1 else {}
    return Plan(roles=(Role(name="worker", program="sim_train", params=params, axes=axes, buffers=buffers),))


def _given(buffers: dict[str, Buffer] | None = None, slots: int = 2, **roles: tuple[Instruction, ...]) -> Plan:
    held = buffers or {"a": Buffer(size=8, itemsize=1), "b": Buffer(size=8, itemsize=1)}
    made = (Role(name=n, program="sim_given", params={"instructions": i}, buffers=held) for n, i in roles.items())
    return Plan(roles=tuple(made), slots=slots)


@pytest.fixture
def one_reduce() -> Callable[..., Plan]:
    """(algorithm, ranks, nbytes) -> plan of one collective."""
    return _one_reduce


@pytest.fixture
def training() -> Callable[..., Plan]:
    """(ranks, steps, layers, size in bytes) -> plan of overlapped data parallel training."""
    return _training


@pytest.fixture
def given() -> Callable[..., Plan]:
    """(role=instructions ...) -> plan of roles of one rank that play what they are given."""
    return _given
