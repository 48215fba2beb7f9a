"""Instruments see what happens, in order, and change nothing."""

import pytest

from graph.errors import GraphError
from graph.instrument import METHODS, Instrument
from sim.model import UniformModel
from sim.play import play

MODEL = UniformModel(alpha=1.0, beta=4.0, compute=lambda rank, do: 1.0, storage=1.0, prefetch=1)


class Everything:
    """Writes down every call."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        if name not in METHODS:
            raise AttributeError(name)
        return lambda *args: self.calls.append((name, *args))


def test_what_is_seen(training):
    seen = Everything()
    t = play(training(2, steps=1, layers=("a",)), MODEL, instruments=[seen])
    assert list(t) == list(play(training(2, steps=1, layers=("a",)), MODEL))
    by_name = {name: [c[1:] for c in seen.calls if c[0] == name] for name in METHODS}
    assert [r for (r,) in by_name["on_action_end"]] == list(t)
    assert len(by_name["on_action_ready"]) == len(t)
    assert len(by_name["on_action_start"]) == sum(r.is_leaf for r in t)
    assert sorted((str(a), str(b), id[-2:], nbytes, time) for a, b, id, nbytes, time in by_name["on_message"]) == [
        ("worker[0]", "worker[1]", (0, "send"), 4, 4.0),
        ("worker[0]", "worker[1]", (1, "send"), 4, 6.0),
        ("worker[1]", "worker[0]", (0, "send"), 4, 4.0),
        ("worker[1]", "worker[0]", (1, "send"), 4, 6.0),
    ]
    assert [(flows, rate, time) for _, flows, rate, time in by_name["on_flow_rate"]] == [
        (1, 4.0, 4.0), (1, 4.0, 4.0), (0, 0.0, 5.0), (0, 0.0, 5.0), (1, 4.0, 6.0), (1, 4.0, 6.0), (0, 0.0, 7.0), (0, 0.0, 7.0),
    ]  # fmt: skip
    batches = [(str(rank), number, time) for rank, number, time in by_name["on_batch_ready"]]
    assert batches == [("worker[0]", 0, 1.0), ("worker[1]", 0, 1.0)]
    times = [c[-1] if c[0] != "on_action_end" else c[1].end for c in seen.calls if c[0] != "on_batch_ready"]
    assert times == sorted(times)


def test_message_detail(training):
    seen = Everything()
    play(training(2, steps=1, layers=("a",)), MODEL, detail="message", instruments=[seen])
    busy = [(start, end) for name, *rest in seen.calls if name == "on_link_busy" for _, start, end in [rest]]
    assert busy == [(4.0, 5.0)] * 4 + [(6.0, 7.0)] * 4


def test_methods_are_optional_and_their_names_checked(training):
    class Some(Instrument):
        count = 0

        def on_action_end(self, record):
            self.count += 1

    class Wrong:
        def on_acton_end(self, record):
            pass

    some = Some()
    t = play(training(1), MODEL, instruments=[some, object()])
    assert some.count == len(t)
    with pytest.raises(GraphError, match=r"Wrong.on_acton_end is no method of an instrument; did you mean 'on_action_end'\?"):
        play(training(1), MODEL, instruments=[Wrong()])
