"""The checker finds seeded faults, each with the message a user needs, and passes what is right."""

import pytest

from graph.errors import InvalidPlan
from graph.parallel.algorithm import COLLECTIVES, Algorithm
from graph.parallel.check import check
from graph.parallel.plan import Buffer, Collective, Do, Peer, Plan, Rank, Recv, Ref, Role, Send

G, W = Ref("g"), Ref("w")
GRADIENTS = {"g": Buffer(size=12, kind="gradient"), "w": Buffer(size=12, kind="parameter")}
BACKWARD = Do(id=(0, "backward"), kernel="backward", writes=(G,))
UPDATE = Do(id=(0, "update"), kernel="update", reads=(G, W), writes=(W,))


def broken(plan, message, **options):
    """Whatever the order of events, the fault is found; the message of the first order is compared."""
    for seed in range(4):
        with pytest.raises(InvalidPlan) as found:
            check(plan, seed, **options)
        if seed == 0:
            assert message in str(found.value)


def test_ring_one_hop_short(reduce_once, add_collective):
    def short(g):
        yield from list(COLLECTIVES["ring"].program(g))[:-2]

    add_collective("short", short)
    broken(reduce_once("short", 4), "takes 'g' in 1 parts, but its 4 parts hold different sums")


def test_gradient_counted_twice(reduce_once, add_collective):
    def twice(g):
        for s in range(g.n):  # one hop too many: my own comes back to me
            yield g.send(+1, s)
            yield g.recv(-1, s, add=True)

    add_collective("twice", twice)
    broken(reduce_once("twice", 4), "to 'g' more than once")


def test_nothing_is_exchanged(reduce_once, add_collective):
    add_collective("nothing", lambda g: iter(()))
    broken(
        reduce_once("nothing", 2), "and another replica update 'w' from different gradients: only one of them has that of worker["
    )


def test_symmetric_algorithm_that_looks_at_its_index(reduce_once, monkeypatch):
    tree = COLLECTIVES["tree"]
    peeking = Algorithm(program=tree.program, seconds=tree.seconds, transfers=tree.transfers)
    monkeypatch.setattr(COLLECTIVES, "_items", {**COLLECTIVES, "peeking": peeking})
    broken(reduce_once("peeking", 3), "collective 'peeking' is declared symmetric: it may not look at its index")


def test_update_from_nothing(listed):
    broken(listed({"worker": (UPDATE,)}, GRADIENTS), "worker:0/update updates 'w' from 'g', to which nobody contributed")


def test_gradient_used_by_two_updates(listed):
    again = Do(id=(1, "update"), kernel="update", reads=(G, W), writes=(W,))
    plan = listed({"worker": (BACKWARD, UPDATE, again)}, GRADIENTS)
    broken(plan, "worker:1/update takes the contribution of worker:0/backward, which an earlier update of 'w' took")


def test_gradient_that_nobody_uses(listed):
    overwritten = Do(id=(0, "backward", "other"), kernel="backward", writes=(G,))
    plan = listed({"worker": (overwritten, BACKWARD, UPDATE)}, GRADIENTS)
    broken(plan, "1 contributions to gradients are never used, the first by worker:0/backward/other")


def test_exchange_that_deadlocks(listed):
    def both(other):
        return (Recv(tag=(0, "x"), into=G, source=Rank(other)), Send(tag=(0, "x"), what=G, to=Rank(other)))

    plan = listed({"a": both("b"), "b": both("a")}, GRADIENTS)
    broken(plan, "deadlock: a:0/x/recv waits for a letter from b; b:0/x/recv waits for a letter from a")


def test_letters_that_nobody_takes_need_room(listed):
    sends = tuple(Send(tag=(0, k), what=G, to=Rank("b")) for k in range(3))
    plan = listed({"a": (BACKWARD, *sends), "b": ()}, GRADIENTS)
    broken(plan, "deadlock: a:0/2/send waits for room on lane 'wire' to b")
    assert check(Plan(plan.roles, slots=3)).actions == 4


def test_letter_for_another_receiver(listed):
    plan = listed(
        {"a": (BACKWARD, Send(tag=(0, "x"), what=G, to=Rank("b"))), "b": (Recv(tag=(0, "y"), into=G, source=Rank("a")),)},
        GRADIENTS,
    )
    broken(plan, "b:0/y/recv expected letter (0, 'y') from a, got (0, 'x')")


def test_letter_of_another_size(listed):
    plan = listed(
        {
            "a": (BACKWARD, Send(tag=(0, "x"), what=G, to=Rank("b"))),
            "b": (Recv(tag=(0, "x"), into=Ref("g", part=0, parts=2), source=Rank("a")),),
        },
        GRADIENTS,
    )
    broken(plan, "b:0/x/recv expects 24 bytes into 'g', a sent 48")


def test_peer_that_does_not_exist(listed):
    stream = (BACKWARD, Send(tag=(0, "x"), what=G, to=Rank("c")))
    broken(listed({"a": stream}, GRADIENTS), "a:0/x/send names peer c, which the plan does not have")
    stream = (BACKWARD, Send(tag=(0, "x"), what=G, to=Peer("workr")))
    broken(
        listed({"worker": stream}, GRADIENTS),
        "names a peer of role 'workr', which the plan does not have; did you mean 'worker'?",
    )


def load(k):
    return Do(id=(k, "load"), kernel="load", writes=(Ref("x", k),), on="input")


def use(k):
    return Do(id=(k, "use"), kernel="use", reads=(Ref("x", k),))


@pytest.mark.parametrize("slots", [1, 2])
def test_slot_that_is_overwritten(listed, slots):
    """With two slots value 0 is still there when 1 comes; with one it is gone."""
    plan = listed({"worker": (load(0), load(1), use(0), use(1))}, {"x": Buffer(size=4, slots=slots)})
    if slots == 2:
        assert check(plan).actions == 4
    else:
        broken(plan, "worker:0/use reads 'x' 0 from slot 0 of 1, which holds 1: it takes more slots")


def test_value_that_nobody_wrote(listed):
    broken(listed({"worker": (use(0),)}, {"x": Buffer(size=4)}), "worker:0/use reads 'x' 0, which nobody wrote")


def test_two_actions_of_one_name(listed):
    plan = listed({"worker": (load(0), use(0), use(0))}, {"x": Buffer(size=4)})
    broken(plan, "two actions are named worker:0/use; an id is a path that occurs once")


def test_buffer_cut_in_two_ways(listed):
    """What was done to one half shows when the whole is read."""
    half = Do(id=(0, "half"), kernel="half", writes=(Ref("g", part=0, parts=2),))
    update = Do(id=(0, "update"), kernel="update", reads=(Ref("g"),), writes=(Ref("w"),))
    broken(listed({"worker": (BACKWARD, half, update)}, GRADIENTS), "takes 'g' in 1 parts, but its 2 parts hold different sums")
    step = Do(id=(0, "step"), kernel="step", reads=(Ref("g", parts=2),), writes=(Ref("w", parts=2),))
    use = Do(id=(0, "use"), kernel="use", reads=(Ref("w"),))
    broken(listed({"worker": (BACKWARD, step, use)}, GRADIENTS), "takes 'w' in 1 parts, but its 2 parts hold different versions")
    quarters = tuple(
        Do(id=(0, "step", k), kernel="step", reads=(Ref("g", part=k, parts=4),), writes=(Ref("w", part=k, parts=4),))
        for k in range(4)
    )
    assert not check(listed({"worker": (BACKWARD, *quarters, use)}, GRADIENTS)).lost


def test_unknown_buffer(listed):
    stream = (Do(id=(0, "x"), kernel="x", writes=(Ref("gg"),)),)
    broken(listed({"worker": stream}, GRADIENTS), "role 'worker' has no buffer 'gg'")


def test_layers_of_one_bucket_each_contribute(listed):
    """A later layer of a bucket adds to what an earlier one wrote: two contributions, one update."""
    second = Do(id=(0, "backward", "a"), kernel="backward", reads=(G,), writes=(G,))
    proof = check(listed({"worker": (BACKWARD, second, UPDATE)}, GRADIENTS))
    (taken,) = proof.taken.values()
    assert sorted(c.id for c in taken) == [(0, "backward"), (0, "backward", "a")]


def test_a_layer_may_write_two_buckets(listed):
    buffers = {**GRADIENTS, "h": Buffer(size=3, kind="gradient"), "v": Buffer(size=3, kind="parameter")}
    both = Do(id=(0, "backward", "a"), kernel="backward", reads=(G,), writes=(G, Ref("h")))
    other = Do(id=(0, "update", "v"), kernel="update", reads=(Ref("h"),), writes=(Ref("v"),))
    proof = check(listed({"worker": (BACKWARD, both, UPDATE, other)}, buffers))
    assert {u.buffer: len(taken) for u, taken in proof.taken.items()} == {"g": 2, "h": 1}


def test_sum_of_two_gradients_counts_both(listed):
    buffers = {**GRADIENTS, "p": Buffer(size=12, kind="gradient")}
    more = Do(id=(0, "backward", 1), kernel="backward", writes=(Ref("p"),))
    add = Do(id=(0, "accumulate"), kernel="accumulate", reads=(G, Ref("p")), writes=(G,))
    twice = Do(id=(0, "accumulate", 2), kernel="accumulate", reads=(G, Ref("p")), writes=(G,))
    assert not check(listed({"worker": (BACKWARD, more, add, UPDATE)}, buffers)).lost
    broken(
        listed({"worker": (BACKWARD, more, add, twice, UPDATE)}, buffers),
        "takes the contribution of worker:0/backward/1 to 'g' more than once",
    )


def test_staleness_is_how_far_the_parameter_went_on(listed):
    """Two gradients from the same parameters, applied one after the other: the second is one version late."""
    buffers = {**GRADIENTS, "h": Buffer(size=12, kind="gradient")}
    stream = (
        Do(id=(0, "a"), kernel="backward", reads=(W,), writes=(G,)),
        Do(id=(0, "b"), kernel="backward", reads=(W,), writes=(Ref("h"),)),
        Do(id=(0, "apply", "a"), kernel="update", reads=(G, W), writes=(W,)),
        Do(id=(0, "apply", "b"), kernel="update", reads=(Ref("h"), W), writes=(W,)),
    )
    assert check(listed({"worker": stream}, buffers)).staleness == {0: 1, 1: 1}


def test_patience_ends_when_nothing_else_can_happen(listed):
    plan = listed({"worker": (Recv(tag=(0, "x"), into=G, source=Peer("worker"), timeout=1.0),)}, GRADIENTS)
    assert check(plan).actions == 1


def test_proof_counts_what_was_sent(reduce_once):
    proof = check(reduce_once("ring", 3, size=10))  # parts of 4, 3 and 3 floats
    assert sum(proof.nbytes.values()) == 2 * 2 * 40
    assert set(proof.wires.values()) == {16}
    assert proof.transfers == {("allreduce",): 12}
    assert proof.actions == 3 * (1 + 1 + 8 + 1)


def test_same_seed_same_order(reduce_once):
    def order(seed):
        seen = []
        check(reduce_once("ring", 3), seed, log=lambda a: seen.append(repr(a)))
        return seen

    assert order(7) == order(7)
    assert order(7) != order(8)


def test_steps_shorten_a_long_plan(reduce_once):
    assert check(reduce_once("ring", 2, steps=10**9), steps=2).actions == 2 * check(reduce_once("ring", 2, steps=1)).actions


def test_small_window_changes_nothing(reduce_once):
    assert check(reduce_once("ring", 4, steps=3), window=1).actions == check(reduce_once("ring", 4, steps=3)).actions


def test_sharded_parameters_need_not_agree():
    """Along an axis that shards a parameter, ranks hold different elements: each shard has its own gradient."""
    buffers = {"g": Buffer(size=4, kind="gradient", sharded=("tp",)), "w": Buffer(size=4, kind="parameter", sharded=("tp",))}
    stream = (BACKWARD, Collective(id=(0, "sum"), algorithm="ring", what=G, along=("dp",)), UPDATE)
    role = Role(name="worker", program="tests_listed", params={"stream": stream}, axes={"dp": 2, "tp": 3}, buffers=buffers)
    assert not check(Plan((role,))).lost


# --- what ranks put together


def exchanged(kind, algorithm, *more, copies=()):
    """Two ranks put their pieces into ``x``, a collective completes it, both read it to make a gradient; then an update."""
    buffers = {
        "x": Buffer(size=8, exchange=kind),
        "g": Buffer(size=4, kind="gradient", copies=copies, sharded=() if copies else ("mp",)),
        "w": Buffer(size=4, kind="parameter", copies=copies, sharded=() if copies else ("mp",)),
    }
    put = Do(id=(0, "put"), kernel="put", writes=(Ref("x"),))
    move = [Collective(id=(0, "move"), algorithm=algorithm, what=Ref("x"), along=("mp",))] if algorithm else []
    use = Do(id=(0, "backward"), kernel="backward", reads=(Ref("x"), W), writes=(G,))
    role = Role(
        name="worker",
        program="tests_listed",
        params={"stream": (put, *move, use, *more, UPDATE)},
        axes={"mp": 2},
        buffers=buffers,
    )
    return Plan((role,))


@pytest.mark.parametrize(
    ("kind", "algorithm"), [("gather", "all_gather"), ("gather", "broadcast"), ("sum", "reduce_scatter"), ("sum", "reduce")]
)
def test_what_is_put_together_is_found_whole(kind, algorithm):
    for seed in range(3):
        assert not check(exchanged(kind, algorithm), seed).lost


def test_a_value_that_nobody_gathered():
    broken(exchanged("gather", None), "reads 'x' 0, which is to be gathered, but finds other pieces there than worker[")
    broken(
        exchanged("gather", "reduce_scatter"), "reads 'x' 0, which is to be gathered, but finds other pieces there than worker["
    )


def test_a_value_that_nobody_summed():
    broken(exchanged("sum", None), "nobody who reads 'x' 0 of role 'worker' has the sum of all: that of worker[")
    broken(exchanged("sum", "broadcast"), "nobody who reads 'x' 0 of role 'worker' has the sum of all: that of worker[")


def test_a_value_that_is_summed_twice():
    again = Collective(id=(0, "again"), algorithm="ring", what=Ref("x"), along=("mp",))
    use = Do(id=(0, "more"), kernel="backward", reads=(Ref("x"), G, W), writes=(G,))
    broken(
        exchanged("sum", "ring", again, use),
        ":0/more reads 'x', which contains the piece of worker[",
    )


def test_of_copies_one_counts():
    """Every rank makes the same gradient: none may be added to another, and each renews its replica with its own."""
    (taken,) = check(exchanged("gather", "all_gather", copies=("mp",))).taken.values()
    assert len(taken) == 1
    summed = Collective(id=(0, "allreduce"), algorithm="ring", what=G, along=("mp",))
    broken(exchanged("gather", "all_gather", summed, copies=("mp",)), "takes the contribution of worker[")
    (taken,) = check(exchanged("gather", "all_gather")).taken.values()
    assert len(taken) == 2  # of parts each rank makes its own
