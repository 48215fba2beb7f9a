"""A program on an NFU, event by event: what `hw.nfu.timing` has as a formula, played by processes that know no formula.

The control processor begins instruction after instruction. Each buffer has a DMA engine with a queue of requests of its own; all
three wait for the one main memory, which serves them in the order in which the control processor made them. Time is counted in
cycles, as exact fractions; what an instruction loads, and what it stores, ends with a whole one.
"""

from collections.abc import Generator, Sequence
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
from simpy import Environment, Event, PriorityResource, Store

from graph.parallel.plan import Rank
from graph.record import record
from graph.timeline import Record, Timeline
from hw.nfu.config import Nfu
from hw.nfu.isa import Op, Program
from hw.nfu.timing import moves_in
from sim.errors import SimError

ENGINES = ("SB", "NBin", "NBout")
NFU = Rank("nfu", (0,))
MOST = 200_000
"""Instructions of a program that is played: some seconds' worth."""


@record
class Played:
    """What happened.

    Parameters
    ----------
    total_cycles : from the first request until the last word is stored.
    begins : cycle in which each instruction began.
    timeline : loads and stores on the streams of their buffers, instructions on ``"NFU"``; seconds.
    """

    total_cycles: int
    begins: tuple[int, ...]
    timeline: Timeline


@record
class _Request:
    """One transfer of an engine; `ticket` says who comes first at the main memory."""

    ticket: int
    of: int
    nbytes: int
    cycles: Fraction
    is_store: bool
    done: Event


class _Machine:
    def __init__(self, program: Program, nfu: Nfu) -> None:
        self.env, self.nfu, self.n = Environment(), nfu, len(program)
        m, word = moves_in(program, nfu), nfu.word_bytes
        bias = np.where(program["nbout.read_op"] == Op.LOAD, program["nfu.neurons"] * word, 0)
        self.loads = {"SB": m.synapse_bytes, "NBin": m.neuron_bytes - bias, "NBout": bias}
        self.stores, self.cycles, self.function = m.result_bytes, m.cycles, m.function_rows
        self.memory = PriorityResource(self.env, capacity=1)
        self.queues = {name: Store(self.env) for name in ENGINES}
        self.tickets = 0
        self.loaded = [self.env.event() for _ in range(self.n)]
        self.stored = [self.env.event() for _ in range(self.n)]
        self.began: list[Any] = []
        self.records: list[Record] = []
        for name in ENGINES:
            self.env.process(self._engine(name))
        self.control = self.env.process(self._control())

    def _each(self, nbytes: Sequence[int]) -> list[Fraction]:
        """Cycles of transfers that follow each other; the last one ends with a whole cycle."""
        rate = Fraction(round(self.nfu.clock_hz), round(self.nfu.dram_bytes_per_second))
        exact = [n * rate for n in nbytes]
        exact[-1] += ceil(sum(exact, Fraction(0))) - sum(exact, Fraction(0))
        return exact

    def _ask(self, k: int, wanted: dict[str, npt.NDArray[np.int64]], done: Event, is_store: bool) -> None:
        """Queue an instruction's transfers, and let `done` happen after the last of them."""
        mine = [(name, int(column[k])) for name, column in wanted.items() if column[k]]
        if not mine:
            done.succeed()
            return
        events = []
        for (name, nbytes), cycles in zip(mine, self._each([n for _, n in mine]), strict=True):
            events.append(self.env.event())
            request = _Request(ticket=self.tickets, of=k, nbytes=nbytes, cycles=cycles, is_store=is_store, done=events[-1])
            self.tickets += 1
            self.queues[name].put(request)

        def end(_: Event) -> None:
            done.succeed()

        self.env.all_of(events).callbacks.append(end)

    def _engine(self, name: str) -> Generator[Event, Any, None]:
        while True:
            request = yield self.queues[name].get()
            with self.memory.request(priority=request.ticket) as turn:
                yield turn
                start = self.env.now
                yield self.env.timeout(request.cycles)
            what = "store" if request.is_store else "load"
            self._note(request.of, f"{what} {name}", name, start, request.nbytes)
            request.done.succeed()

    def _control(self) -> Generator[Event, Any, None]:
        yield self.env.timeout(self.nfu.latency_cycles)
        if self.n:
            self._ask(0, self.loads, self.loaded[0], is_store=False)
        for k in range(self.n):
            needs = [self.loaded[k]] if k < 2 else [self.loaded[k], self.stored[k - 2]]
            yield self.env.all_of(needs)
            self.began.append(self.env.now)
            if k + 1 < self.n:
                self._ask(k + 1, self.loads, self.loaded[k + 1], is_store=False)
            yield self.env.timeout(max(int(self.cycles[k]), int(self.function[k])))
            self._note(k, "compute", "NFU", self.began[-1], 0)
            if k + 1 < self.n:
                self._ask(k, {"NBout": self.stores}, self.stored[k], is_store=True)
        yield self.env.timeout(self.nfu.depth)
        if self.n:
            self._ask(self.n - 1, {"NBout": self.stores}, self.stored[-1], is_store=True)
            yield self.env.all_of(self.stored)

    def _note(self, k: int, what: str, stream: str, start: Any, nbytes: int) -> None:
        begin, end = (float(t) / self.nfu.clock_hz for t in (start, self.env.now))
        self.records.append(Record(rank=NFU, id=(0, what, k), stream=stream, ready=begin, start=begin, end=end, nbytes=nbytes))


def play(program: Program, nfu: Nfu) -> Played:
    """Play a program.

    Raises
    ------
    SimError : it has more instructions than can be played one by one.
    """
    if len(program) > MOST:
        raise SimError(f"a program of {len(program):,} instructions is too long to be played event by event; at most {MOST:,}")
    machine = _Machine(program, nfu)
    machine.env.run(until=machine.control)
    return Played(
        total_cycles=int(machine.env.now), begins=tuple(int(t) for t in machine.began), timeline=Timeline(machine.records)
    )
