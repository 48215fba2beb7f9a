"""A synchronous parameter server: workers push gradients bucket by bucket, servers add them up, step, and answer with parameters.

Nobody waits for whoever comes first: a server takes the gradients of its workers in a fixed order, so the sum is the same in
every run. A bucket is pushed as soon as backward has made it, and buckets are served in that order, beside the rest of backward.
Sends to different peers are carried at the same time, those to one peer one after another; each bucket has a lane of its own, so
nobody is held up by a letter that was not taken yet.

For one that does not wait for its slowest worker see `graph.parallel.programs.parameter_server`.
"""

from collections.abc import Generator, Iterator
from typing import Any

from graph.parallel.plan import Collective, Instruction, Peer, Plan, Recv, Ref, Role, Send
from graph.parallel.programs.data_parallel import Passes, Task, do_task
from graph.record import record


@record
class Share:
    """What one rank exchanges with another of every bucket: gradients one way, parameters the other.

    Parameters
    ----------
    peer : the other.
    part, parts, turn, stride : of the rank's own buffers, as in `Ref`.
    """

    peer: Peer
    part: int = 0
    parts: int = 1
    turn: tuple[str, ...] = ()
    stride: int = 1

    def of(self, buffer: str) -> Ref:
        """The share of a buffer."""
        return Ref(buffer, part=self.part, parts=self.parts, turn=self.turn, stride=self.stride)


def synchronous_worker(
    plan: Plan,
    role: Role,
    *,
    steps: int,
    micro_batches: int,
    passes: Passes,
    renew: tuple[Task, ...],
    along: tuple[str, ...],
    reduce: str,
    gather: str,
    shares: tuple[Share, ...],
) -> Generator[Instruction, Any, None]:
    """The program of a worker.

    Parameters
    ----------
    steps, micro_batches, passes : as in `graph.parallel.programs.data_parallel`.
    renew : what a worker renews for itself: running statistics.
    along : axes over which gradients are summed before they are pushed, part by part, and parameters gathered after they are
        pulled; ``()``: none.
    reduce, gather : the algorithms that do it.
    shares : with every server, in the order in which they are issued.
    """

    def serve(step: int, bucket: str) -> Iterator[Instruction]:
        if along:
            yield Collective(id=(step, "reduce", bucket), algorithm=reduce, what=Ref(f"g.{bucket}"), along=along, on="reduce")
        for k, s in enumerate(shares):
            yield Send(
                tag=(step, "push", bucket),
                what=s.of(f"g.{bucket}"),
                to=s.peer,
                lane=f"push.{bucket}",
                which=(k,),
                stream=f"push.{k}",
            )
        for k, s in enumerate(shares):
            yield Recv(
                tag=(step, "pull", bucket), into=s.of(f"w.{bucket}"), source=s.peer, lane=f"pull.{bucket}", which=(k,),
                stream=f"pull.{k}",
            )  # fmt: skip
        if along:
            yield Collective(id=(step, "gather", bucket), algorithm=gather, what=Ref(f"w.{bucket}"), along=along, on="gather")

    for step in range(steps):
        yield from passes.of_step(step, micro_batches, serve)
        for t in renew:
            yield do_task(t, (step, t.what, t.of))


def synchronous_server(
    plan: Plan, role: Role, *, steps: int, update: tuple[Task, ...], shares: tuple[Share, ...]
) -> Generator[Instruction, Any, None]:
    """The program of a server.

    Parameters
    ----------
    steps : as many as the workers make.
    update : of each bucket the optimizer's step, in the order in which buckets are pushed.
    shares : with every worker, in the order in which gradients are added.
    """
    for step in range(steps):
        for t in update:
            bucket, begun = t.of, set[int]()
            for k, s in enumerate(shares):
                yield Recv(
                    tag=(step, "push", bucket), into=s.of(f"g.{bucket}"), source=s.peer, lane=f"push.{bucket}", which=(k,),
                    stream="push", add=s.part in begun,
                )  # fmt: skip
                begun.add(s.part)
            yield do_task(t, (step, t.what, bucket))
            for k, s in enumerate(shares):
                yield Send(
                    tag=(step, "pull", bucket), what=s.of(f"w.{bucket}"), to=s.peer, lane=f"pull.{bucket}", which=(k,),
                    stream=f"pull.{k}",
                )  # fmt: skip
