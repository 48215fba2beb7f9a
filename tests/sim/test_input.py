"""The input stage played against its closed form: how often batches come, and who waits for them."""

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from graph.step_stats import step_stats
from hw.input_stage import period
from sim.model import UniformModel
from sim.play import play

SECONDS = st.integers(0, 8)
CYCLE = 6  # steps: a multiple of every depth that is tried


@given(SECONDS, SECONDS, SECONDS, SECONDS, st.integers(1, 3))
@example(6, 2, 1, 3, 2)  # storage is the slowest
@example(2, 6, 1, 3, 2)  # decoding is
@example(5, 5, 4, 1, 2)  # both places are held for longer
@example(1, 1, 1, 7, 1)  # hidden behind the step
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_steps_come_as_often_as_the_closed_form_says(training, storage, decode, copy, compute, depth):
    """Once things have settled. Nobody reads a batch after forward, which takes no time here: copies hide behind backward."""
    seconds = {"input": copy, "forward": 0, "backward": compute, "update": 0}

    def of(rank, do):
        return float(seconds[do.kernel.split("/")[0]])

    model = UniformModel(compute=of, storage=storage, decode=decode, prefetch=depth)
    ends = [r.end for r in play(training(1, steps=12 * CYCLE, layers=("a",)), model) if r.id[1] == "update"]
    assert ends[-1] - ends[-1 - CYCLE] == CYCLE * period(storage, decode, copy, max(copy, compute), depth)


def test_waiting_for_input_stands_in_the_timeline(training):
    """The input action is ready when its buffer is free, and starts when its batch is there: what lies between is waiting."""
    model = UniformModel(compute=lambda rank, do: 1.0, storage=10.0, prefetch=2)
    timeline = play(training(1, steps=6, layers=("a",)), model)
    waited = [r.start - r.ready for r in timeline if r.id[1] == "input"]
    assert waited == [10.0] + [10.0 - 2.0] * 5  # the buffer is taken for 2 s, by the copy and by forward
    found = step_stats(timeline)
    assert found.step_s == 10.0
    assert found.input_wait_s == 10.0 - 4.0  # copy, forward, backward and update


def test_nobody_waits_for_what_is_there(training):
    """A step that is slower than its input."""
    model = UniformModel(compute=lambda rank, do: 10.0, storage=1.0, prefetch=2)
    assert step_stats(play(training(1, steps=4, layers=("a",)), model)).input_wait_s == 0.0
