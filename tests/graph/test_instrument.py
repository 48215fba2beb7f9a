"""The one protocol through which engines are watched: optional methods, names checked, finished timelines told in order."""

import pytest

from graph.errors import GraphError
from graph.instrument import Instrument, hooks, show
from graph.parallel.plan import Rank
from graph.timeline import Record, Timeline

RANK = Rank("worker", (0,))


def action(id, ready, start, end, is_leaf=True):
    return Record(rank=RANK, id=id, stream="compute", ready=ready, start=start, end=end, is_leaf=is_leaf)


class Log(Instrument):
    def __init__(self):
        self.told = []

    def on_action_ready(self, rank, id, stream, time):
        self.told.append(("ready", id, time))

    def on_action_start(self, rank, id, stream, time):
        self.told.append(("start", id, time))

    def on_action_end(self, record):
        self.told.append(("end", record.id, record.end))


def test_only_what_an_instrument_does_is_called():
    log = Log()
    assert hooks([log, object()], "on_action_end") == (log.on_action_end,)
    assert hooks([log, Instrument()], "on_phase") == ()


def test_a_misspelling_is_refused_whatever_is_asked_for():
    class Wrong:
        def on_steps(self, step, steps, loss): ...

    with pytest.raises(GraphError, match=r"^Wrong.on_steps is no method of an instrument; did you mean 'on_step'\?$"):
        hooks([Wrong()], "on_phase")


def test_a_finished_timeline_is_told_in_order_of_time():
    log = Log()
    a, part, whole = (0, "forward"), (0, "allreduce", 0, "send"), (0, "allreduce")
    show(Timeline([action(a, 0.0, 0.0, 1.0), action(part, 1.0, 2.0, 3.0), action(whole, 1.0, 2.0, 3.0, is_leaf=False)]), [log])
    assert log.told == [
        ("ready", a, 0.0), ("start", a, 0.0), ("end", a, 1.0),
        ("ready", part, 1.0), ("ready", whole, 1.0),
        ("start", part, 2.0),  # a parent does no work of its own
        ("end", part, 3.0), ("end", whole, 3.0),
    ]  # fmt: skip


def test_what_takes_no_time_still_starts_before_it_ends():
    log = Log()
    show(Timeline([action((0, n), 1.0, 1.0, 1.0) for n in "ab"]), [log])
    assert [what for what, *_ in log.told] == ["ready", "start", "end"] * 2
