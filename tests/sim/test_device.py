"""Stories of one device: engines, launch queue, memory, input stage, contention."""

from itertools import pairwise

import pytest

from graph.parallel.plan import Buffer, Do, Peer, Rank, Recv, Ref, Send
from sim.device import Device
from sim.errors import OutOfMemory, SimError
from sim.input import InputStage
from sim.model import UniformModel
from sim.play import play


def log(t, *rank):
    """Who did what from when to when, in order of start."""
    found = [(r.start, r.end, f"{r.rank} {'/'.join(map(str, r.id))}") for r in t if not rank or r.rank.role in rank]
    return [f"{start:g}-{end:g} {what}" for start, end, what in sorted(found)]


def of_kernel(**seconds):
    return lambda rank, do: seconds[do.kernel.split("/")[0]]


def do(name, seconds, *, on="compute", reads=(), writes=()):
    return Do(id=(0, name), kernel=f"k/{seconds}", on=on, reads=tuple(map(Ref, reads)), writes=tuple(map(Ref, writes)))


def seconds(rank, action):
    return float(action.kernel.split("/")[1])


def test_streams_of_their_own_overlap(training):
    model = UniformModel(alpha=1.0, beta=4.0, compute=of_kernel(input=1, forward=4, backward=6, update=1))
    assert [line for line in log(play(training(2, steps=1), model)) if "worker[0]" in line] == [
        "0-1 worker[0] 0/input/0",
        "1-5 worker[0] 0/forward/a/0",
        "5-9 worker[0] 0/forward/b/0",
        "9-15 worker[0] 0/backward/b/0",
        "15-16 worker[0] 0/allreduce/b/0/send",
        "15-19 worker[0] 0/allreduce/b",
        "15-21 worker[0] 0/backward/a/0",
        "17-17 worker[0] 0/allreduce/b/0/recv",
        "17-18 worker[0] 0/allreduce/b/1/send",
        "19-19 worker[0] 0/allreduce/b/1/recv",
        "21-22 worker[0] 0/allreduce/a/0/send",
        "21-22 worker[0] 0/update/b",
        "21-25 worker[0] 0/allreduce/a",
        "23-23 worker[0] 0/allreduce/a/0/recv",
        "23-24 worker[0] 0/allreduce/a/1/send",
        "25-25 worker[0] 0/allreduce/a/1/recv",
        "25-26 worker[0] 0/update/a",
    ]


def test_a_core_does_one_thing_at_a_time(training):
    """On a shared engine the transfer goes first when both are ready; a letter that comes during backward waits for its end."""
    kernels = of_kernel(input=1, forward=4, backward=6, update=1)
    model = UniformModel(alpha=1.0, compute=kernels, shared=True, send_rate=4.0, recv_rate=2.0)
    t = play(training(2, steps=1), model)
    assert [line for line in log(t) if "worker[0]" in line] == [
        "0-1 worker[0] 0/input/0",
        "1-5 worker[0] 0/forward/a/0",
        "5-9 worker[0] 0/forward/b/0",
        "9-15 worker[0] 0/backward/b/0",
        "15-16 worker[0] 0/allreduce/b/0/send",
        "15-28 worker[0] 0/allreduce/b",
        "16-22 worker[0] 0/backward/a/0",
        "22-24 worker[0] 0/allreduce/b/0/recv",
        "24-25 worker[0] 0/allreduce/b/1/send",
        "26-28 worker[0] 0/allreduce/b/1/recv",
        "28-29 worker[0] 0/allreduce/a/0/send",
        "28-36 worker[0] 0/allreduce/a",
        "29-30 worker[0] 0/update/b",
        "30-32 worker[0] 0/allreduce/a/0/recv",
        "32-33 worker[0] 0/allreduce/a/1/send",
        "34-36 worker[0] 0/allreduce/a/1/recv",
        "36-37 worker[0] 0/update/a",
    ]
    late = next(r for r in t if r.id == (0, "allreduce", "b", 0, "recv"))
    assert (late.ready, late.start) == (15.0, 22.0)
    working = sorted((r.start, r.end) for r in t if r.is_leaf and r.rank == Rank("worker", (0,)))
    assert all(end <= start for (_, end), (start, _) in pairwise(working))


def test_a_core_takes_what_was_issued_first(given):
    actions = do("a", 2, on="x"), do("b", 1, on="y"), do("c", 1, on="z"), do("d", 1, on="y"), do("e", 1, on="x")
    t = play(given(host=actions), UniformModel(compute=seconds, shared=True))
    assert log(t) == ["0-2 host 0/a", "2-3 host 0/b", "3-4 host 0/c", "4-5 host 0/d", "5-6 host 0/e"]


def test_host_is_the_bottleneck(given):
    """Kernels of 1 s, 3 s to issue one: the device waits; kernels of 5 s hide the launches, except the first."""
    model = UniformModel(compute=seconds, launch=3.0)
    short, long = (tuple(do(n, s) for n in "abc") for s in (1, 5))
    assert log(play(given(gpu=short), model)) == ["3-4 gpu 0/a", "6-7 gpu 0/b", "9-10 gpu 0/c"]
    assert log(play(given(gpu=long), model)) == ["3-8 gpu 0/a", "8-13 gpu 0/b", "13-18 gpu 0/c"]


def test_host_runs_only_so_far_ahead(given):
    """With room for one unfinished action the host issues the next when that has ended."""
    actions = tuple(do(n, 5) for n in "abc")
    t = play(given(gpu=actions), UniformModel(compute=seconds, launch=3.0, depth=1))
    assert log(t) == ["3-8 gpu 0/a", "11-16 gpu 0/b", "19-24 gpu 0/c"]


def test_parts_of_a_collective_are_not_launched(one_reduce):
    """The host issues a collective once: its parts neither wait for the host nor fill the launch queue."""
    plan, quick = one_reduce("ring", 4, 400), UniformModel(alpha=1.0, beta=100.0)
    slow = UniformModel(alpha=1.0, beta=100.0, launch=2.0, depth=2)
    assert play(plan, quick).of(0, "allreduce").seconds == play(plan, slow).of(0, "allreduce").seconds == 12.0
    assert play(plan, slow).of(0, "allreduce").records[-1].end == 4.0 + 12.0


def test_memory(given):
    plan, two = given(gpu=(do("a", 1),)), UniformModel(compute=seconds, memory=1 << 20, memory_capacity=1_000_000)
    with pytest.raises(OutOfMemory, match="gpu needs 1,048,576 bytes of memory, its device has 1,000,000: 48,576 too few"):
        play(plan, two)


def test_contention(given):
    """While bytes move, computing takes twice as long: 10 s of work, of which 4 s beside a transfer of 8 s."""
    sender = Do(id=(0, "make"), kernel="k/2", writes=(Ref("a"),)), Send(tag=(0, "x"), what=Ref("a"), to=Peer("b")), do("work", 10)
    receiver = Recv(tag=(0, "x"), into=Ref("a"), source=Peer("a")), do("quick", 1)
    t = play(given(a=sender, b=receiver), UniformModel(beta=1.0, compute=seconds, slowdown=2.0))
    assert log(t, "a") == ["0-2 a 0/make", "2-10 a 0/x/send", "2-16 a 0/work"]
    assert log(t, "b") == ["0-1 b 0/quick", "10-10 b 0/x/recv"]


def test_contention_begins_and_ends_within_an_action(given):
    buffers = {"a": Buffer(size=4, itemsize=1)}
    sender = do("wait", 3, on="other", writes=("a",)), do("work", 10), Send(tag=(0, "x"), what=Ref("a"), to=Peer("b"))
    plan = given(buffers, a=sender, b=(Recv(tag=(0, "x"), into=Ref("a"), source=Peer("a")),))
    t = play(plan, UniformModel(beta=1.0, compute=seconds, slowdown=4.0))
    assert log(t, "a") == ["0-3 a 0/wait", "0-13 a 0/work", "3-7 a 0/x/send"]


def test_a_device_without_transfers_is_undisturbed():
    from sim.clock import Clock

    device = Device(Clock(), 3.0, lambda a: None)
    assert device.factor == 1.0
    device.transfer(+1)
    assert device.factor == 3.0


def test_input_is_the_bottleneck(training):
    """Storage needs 6 s and decoding 2 s a batch, a step 4 s: steps come every 6 s; the first batch takes both."""
    model = UniformModel(compute=of_kernel(input=0, forward=1, backward=1, update=0), storage=6.0, decode=2.0, prefetch=2)
    t = play(training(1, steps=4), model)
    assert [(r.ready, r.start) for r in t if r.id[1] == "input"] == [(0.0, 8.0), (10.0, 14.0), (16.0, 20.0), (22.0, 26.0)]
    assert t.seconds == 26.0 + 4.0 - 8.0


def test_input_hides_behind_the_step(training):
    """Batches are made ahead, so only the first is waited for."""
    model = UniformModel(compute=of_kernel(input=0, forward=1, backward=1, update=0), storage=2.0, decode=1.0, prefetch=2)
    t = play(training(1, steps=3, data_slots=2), model)
    assert [(r.ready, r.start) for r in t if r.id[1] == "input"] == [(0.0, 3.0), (3.0, 5.0), (5.0, 7.0)]
    assert [r.end for r in t if r.id[1] == "update" and r.id[2] == "a"] == [7.0, 11.0, 15.0]


def test_prefetch_of_one_is_serial():
    stage = InputStage(1)
    assert stage.take(2.0, 1.0) == 3.0
    stage.give_back(0, 10.0)
    assert stage.take(2.0, 1.0) == 13.0


def test_prefetch_stops_when_its_places_are_full():
    stage = InputStage(2)
    assert [stage.take(2.0, 1.0), stage.take(2.0, 1.0)] == [3.0, 5.0]
    stage.give_back(0, 20.0)
    assert stage.take(2.0, 1.0) == 23.0
    with pytest.raises(SimError, match="at least 1 batch ahead, got 0"):
        InputStage(0)


def test_rooms_are_given_back_when_a_letter_is_taken_out(given):
    """Two letters fill the lane; the third leaves when the reader has copied the first, not when it turns to it."""
    sender = tuple(Send(tag=(0, k), what=Ref("a"), to=Peer("b")) for k in range(3))
    receiver = tuple(Recv(tag=(0, k), into=Ref("b"), source=Peer("a")) for k in range(3))
    t = play(given(a=sender, b=receiver), UniformModel(send_rate=8.0, recv_rate=2.0, shared=True))
    assert log(t) == ["0-1 a 0/0/send", "1-2 a 0/1/send", "1-5 b 0/0/recv", "5-6 a 0/2/send", "5-9 b 0/1/recv", "9-13 b 0/2/recv"]
    waited = next(r for r in t if r.id == (0, 2, "send"))
    assert (waited.ready, waited.start) == (2.0, 5.0)


def test_ranks_on_one_core_take_turns(given):
    """Two ranks of two on one core: served in the order in which they asked; the third has a core of its own."""
    model = UniformModel(compute=seconds, shared=True, places=lambda rank: "core0" if rank.role in "ab" else rank)
    t = play(given(a=(do("x", 2), do("y", 1)), b=(do("x", 3),), c=(do("x", 4),)), model)
    assert log(t) == ["0-2 a 0/x", "0-4 c 0/x", "2-5 b 0/x", "5-6 a 0/y"]


def test_ranks_on_one_core_are_not_folded(training):
    """Four workers on two cores take twice as long as two, folded or not."""
    kernels = of_kernel(input=1, forward=4, backward=6, update=1)
    crowded = UniformModel(compute=kernels, shared=True, send_rate=1e9, recv_rate=1e9, places=lambda rank: rank.at[0] % 2)
    plain, folded = play(training(4, steps=1), crowded), play(training(4, steps=1), crowded, fold=True)
    alone = play(training(4, steps=1), UniformModel(compute=kernels, shared=True, send_rate=1e9, recv_rate=1e9))
    assert plain.seconds == folded.seconds == pytest.approx(2 * alone.seconds, rel=1e-6)
    assert len(plain) == len(folded)
