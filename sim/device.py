"""The engines of a device, and how transfers beside them slow them down.

An engine does one action at a time and is never interrupted. Streams that share an engine (all streams of a CPU core)
take turns as the executor of `runtime` does: when the engine is free it takes a ready transfer first, else the ready
action that was issued first. The choice is made at the end of an instant, when all that became ready in it is known.
Ranks that share an engine (more workers than cores) are served in the order in which they asked.
"""

from collections.abc import Callable

from graph.parallel.machine import Action
from sim.clock import Clock

TRANSFER, COMPUTE = 0, 1  # who goes first


class Job:
    """What an engine does for an action: so many seconds, then a call. It sets the action's start."""

    __slots__ = ("action", "left", "since", "stamp", "then", "turn")

    def __init__(self, action: Action, turn: int, seconds: float, then: Callable[[], object]) -> None:
        self.action, self.turn, self.left, self.then = action, turn, seconds, then
        self.since, self.stamp = 0.0, 0


class Engine:
    """One engine of a device."""

    def __init__(self, clock: Clock, device: "Device") -> None:
        self.clock, self.device = clock, device
        self.running: Job | None = None
        self._waiting: list[Job] = []
        self._choosing = False

    def request(self, job: Job) -> None:
        """Do this when it is its turn."""
        self._waiting.append(job)
        self._choose_later()

    def _choose_later(self) -> None:
        if self.running is None and not self._choosing and self._waiting:
            self._choosing = True
            self.clock.at_end_of_instant(self._choose)

    def _choose(self) -> None:
        self._choosing = False
        job = self.running = _first(self._waiting)
        self._waiting.remove(job)
        job.action.start = job.since = self.clock.now
        self.device.on_start(job.action)
        self.go_on(job)

    def go_on(self, job: Job) -> None:
        """Set the time of a running job's end from what is left of it and how fast it now is."""
        job.stamp += 1
        self.clock.later(job.left * self._factor(job), self._end, job, job.stamp)

    def pause(self, job: Job) -> None:
        """Count what a running job has done until now, just before its speed changes."""
        job.left = max(job.left - (self.clock.now - job.since) / self._factor(job), 0.0)
        job.since = self.clock.now

    def _factor(self, job: Job) -> float:
        return self.device.factor if job.turn == COMPUTE else 1.0

    def _end(self, job: Job, stamp: int) -> None:
        if job.stamp == stamp:
            self.running = None
            job.then()
            self._choose_later()


def _first(waiting: list[Job]) -> Job:
    """Of the rank that has waited longest, where several share the engine: transfers first, then by issue."""
    rank = waiting[0].action.machine
    mine = [job for job in waiting if job.action.machine is rank]
    turn = min(job.turn for job in mine)
    ready = [job for job in mine if job.turn == turn]
    if len(ready) == 1:
        return ready[0]
    by_action = {job.action: job for job in ready}
    issued = ready[0].action.machine.live  # in the order of their issue
    return next(by_action[a] for a in issued if a in by_action)


class Device:
    """The engines of one rank, or of several that share them.

    Parameters
    ----------
    clock : the clock.
    contention : factor (>= 1.0) on compute seconds while a transfer of its ranks is under way on a link.
    on_start : called with an action when an engine begins it.
    """

    def __init__(self, clock: Clock, contention: float, on_start: Callable[[Action], object]) -> None:
        self.clock, self.contention, self.on_start = clock, contention, on_start
        self.engines: dict[str, Engine] = {}
        self.transfers = 0

    @property
    def factor(self) -> float:
        """How much longer computing takes now."""
        return self.contention if self.transfers else 1.0

    def engine(self, name: str) -> Engine:
        """The engine of this name."""
        if name not in self.engines:
            self.engines[name] = Engine(self.clock, self)
        return self.engines[name]

    def transfer(self, by: int) -> None:
        """A transfer of its ranks begins (+1) or ends (-1)."""
        if self.contention == 1.0:
            self.transfers += by
            return
        running: list[tuple[Engine, Job]] = []
        changes = 0 in (self.transfers, self.transfers + by)
        if changes:
            running = [(e, e.running) for e in self.engines.values() if e.running is not None and e.running.turn == COMPUTE]
        for engine, job in running:
            engine.pause(job)
        self.transfers += by
        for engine, job in running:
            engine.go_on(job)
