"""The clock: what is called when, in which order, and what is not called at all."""

import pytest

from sim.clock import Clock


def test_calls_come_in_the_order_of_their_time_then_as_they_were_asked_for():
    clock, log = Clock(), []
    for name, delay in (("b", 2.0), ("a", 1.0), ("c", 2.0), ("now", 0.0)):
        clock.later(delay, lambda name=name: log.append((name, clock.now)))
    clock.run()
    assert log == [("now", 0.0), ("a", 1.0), ("b", 2.0), ("c", 2.0)]


def test_the_end_of_an_instant_comes_after_all_that_happens_in_it():
    """Also after what its own end brings about: one thing at a time is done there."""
    clock, log = Clock(), []

    def first():
        clock.at_end_of_instant(end, "end 1")
        clock.at_end_of_instant(end, "end 2")
        clock.later(0.0, log.append, "later in it")
        log.append("first")

    def end(name):
        log.append(name)
        clock.later(0.0, log.append, f"after {name}")

    clock.later(1.0, first)
    clock.later(1.0, log.append, "second")
    clock.run()
    assert log == ["first", "second", "later in it", "end 1", "after end 1", "end 2", "after end 2"]
    assert clock.now == 1.0


def test_the_end_of_the_first_instant_needs_no_call():
    clock, log = Clock(), []
    clock.at_end_of_instant(log.append, "end")
    clock.run()
    assert log == ["end"]


def test_what_is_cancelled_never_happens():
    """Time does not even pass for it."""
    clock, log = Clock(), []
    gone = clock.later(5.0, log.append, "gone")
    also = clock.later(1.0, log.append, "also gone")
    clock.later(1.0, gone.cancel)
    also.cancel()
    clock.run()
    assert (log, clock.now) == ([], 1.0)


def test_simpy_keeps_the_same_time():
    clock, seen = Clock(), []
    for k in range(100):
        clock.later(0.1 * k**2, lambda: seen.append(abs(clock.now - clock.env.now) <= 1e-15 * clock.now))
    clock.run()
    assert all(seen)
    assert len(seen) == 100


def test_an_error_comes_out_as_it_was_raised():
    class Odd(Exception):
        def __init__(self, a, b):
            super().__init__(a + b)

    def fail():
        raise Odd("a", "b")

    clock = Clock()
    clock.later(1.0, fail)
    with pytest.raises(Odd, match=r"^ab$"):
        clock.run()
