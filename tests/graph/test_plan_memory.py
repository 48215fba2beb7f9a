"""The memory planner: values that may be alive at once never share a byte, whatever the order of execution."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph import GraphError, InvalidPlan
from graph.passes.plan_memory import Layout, ancestors, plan_memory


def chain(n: int) -> list[tuple[int, ...]]:
    return [(i - 1,) if i else () for i in range(n)]


def test_on_a_chain_two_places_are_enough() -> None:
    # v_i is made by action i and read by i + 1: only neighbours are alive together.
    sizes = {f"v{i}": 64 for i in range(6)}
    layout = plan_memory(sizes, {f"v{i}": (i, i + 1) for i in range(6)}, chain(7))
    assert layout.nbytes == 128
    assert [layout.offsets[f"v{i}"] for i in range(6)] == [0, 64, 0, 64, 0, 64]


def test_without_an_order_nothing_is_shared() -> None:
    # The same uses, but action 3 waits for nobody: its value may be alive at any time.
    needs: list[tuple[int, ...]] = [(), (0,), (1,), ()]
    layout = plan_memory({"a": 64, "b": 64, "c": 64}, {"a": (0, 1), "b": (2,), "c": (3,)}, needs)
    assert layout.offsets["a"] == layout.offsets["b"] != layout.offsets["c"]
    assert layout.nbytes == 128


def test_the_smallest_gap_that_fits_is_taken() -> None:
    # By size: wide 0..320, a 320..576, tight 576..768, b 768..896. When small comes, wide and tight are over, so there are
    # gaps of 320 and 192 bytes beside a and b, and it takes the second.
    sizes = {"wide": 320, "a": 256, "tight": 192, "b": 128, "small": 64}
    uses = {"wide": (0,), "a": (0, 1), "tight": (0,), "b": (0, 1), "small": (1,)}
    layout = plan_memory(sizes, uses, chain(2))
    assert layout.offsets == {"wide": 0, "a": 320, "tight": 576, "b": 768, "small": 576}
    assert layout.nbytes == 896


def test_groups_are_contiguous_and_aligned() -> None:
    sizes = {"x": 100, "g1": 12, "g2": 40, "g3": 4}
    layout = plan_memory(sizes, dict.fromkeys(sizes, (0,)), [()], groups=[("g3", "g1", "g2")])
    start = layout.offsets["g3"]
    assert start % 64 == 0
    assert (layout.offsets["g1"], layout.offsets["g2"]) == (start + 4, start + 16)
    assert layout.nbytes == 128 + 64


def test_a_group_lives_from_its_first_use_to_its_last() -> None:
    sizes = {"g1": 64, "g2": 64, "x": 64}
    uses = {"g1": (0,), "g2": (2,), "x": (1,)}
    alone = plan_memory(sizes, uses, chain(3))
    grouped = plan_memory(sizes, uses, chain(3), groups=[("g1", "g2")])
    assert (alone.nbytes, grouped.nbytes) == (64, 192)


def test_nothing_needs_nothing() -> None:
    assert plan_memory({}, {}, []) == Layout(offsets={}, nbytes=0)
    assert plan_memory({"empty": 0}, {"empty": (0,)}, [()]).nbytes == 0


@pytest.mark.parametrize(
    ("sizes", "uses", "needs", "options", "error", "message"),
    [
        ({"a": 1}, {"a": (0,)}, [(0,)], {}, InvalidPlan, "action 0 needs action 0; it may only need earlier ones"),
        ({"a": 1}, {"a": (1,)}, [()], {}, InvalidPlan, "value 'a' is used by action 1, but there are 1"),
        ({"a": 1}, {"a": ()}, [()], {}, InvalidPlan, "nothing uses a"),
        ({"a": 1}, {}, [()], {}, GraphError, "value 'a' needs a size >= 0 and its uses"),
        ({"a": -1}, {"a": (0,)}, [()], {}, GraphError, "value 'a' needs a size >= 0 and its uses"),
        ({"a": 1}, {"a": (0,)}, [()], {"groups": [("a", "b")]}, GraphError, "value 'b' needs a size"),
        ({"a": 1}, {"a": (0,)}, [()], {"groups": [("a",), ("a",)]}, GraphError, "a value is in two groups"),
        ({"a": 1}, {"a": (0,)}, [()], {"align": 0}, GraphError, "align must be >= 1, got 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(sizes, uses, needs, options, error, message) -> None:
    with pytest.raises(error, match=message):
        plan_memory(sizes, uses, needs, **options)


@st.composite
def problems(draw: st.DrawFn) -> tuple[dict[str, int], dict[str, tuple[int, ...]], list[tuple[int, ...]], list[tuple[str, ...]]]:
    n = draw(st.integers(1, 10))
    needs = [tuple(draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else () for i in range(n)]
    names = [f"v{k}" for k in range(draw(st.integers(1, 10)))]
    uses = {v: tuple(draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=3))) for v in names}
    sizes = {v: draw(st.integers(0, 300)) for v in names}
    cut = draw(st.integers(0, len(names)))
    return sizes, uses, needs, [tuple(names[:cut])] if cut > 1 else []


def can_run_before(needs: list[tuple[int, ...]], i: int, j: int) -> bool:
    """Whether some order of execution lets i end before j starts: j is not among what i waits for, i is not j."""
    waits, todo = set(), [i]
    while todo:
        for k in needs[todo.pop()]:
            if k not in waits:
                waits.add(k)
                todo.append(k)
    return i != j and j not in waits


@settings(max_examples=300, deadline=None)
@given(problems())
def test_values_that_may_be_alive_together_are_apart(problem) -> None:
    sizes, uses, needs, groups = problem
    layout = plan_memory(sizes, uses, needs, groups=groups)
    for a, b in combinations(sizes, 2):
        a_end, b_end = layout.offsets[a] + sizes[a], layout.offsets[b] + sizes[b]
        apart = a_end <= layout.offsets[b] or b_end <= layout.offsets[a] or not sizes[a] or not sizes[b]
        # Concurrent: some order puts a use of a after one of b, and some order a use of b after one of a.
        a_late = any(i == j or can_run_before(needs, j, i) for i in uses[a] for j in uses[b])
        b_late = any(i == j or can_run_before(needs, i, j) for i in uses[a] for j in uses[b])
        assert apart or not (a_late and b_late)


@settings(max_examples=200, deadline=None)
@given(problems())
def test_the_arena_is_never_larger_than_all_side_by_side(problem) -> None:
    sizes, uses, needs, groups = problem
    layout = plan_memory(sizes, uses, needs, groups=groups)
    grouped = {v for g in groups for v in g}
    blocks = [sum(sizes[v] for v in g) for g in groups] + [n for v, n in sizes.items() if v not in grouped]
    assert layout.nbytes <= sum(b + -b % 64 for b in blocks)
    assert layout.nbytes >= max(blocks)
    assert all(0 <= layout.offsets[v] <= layout.nbytes - sizes[v] for v in sizes)
    assert layout == plan_memory(sizes, uses, needs, groups=groups)


@settings(max_examples=100, deadline=None)
@given(problems())
def test_ancestors_are_the_transitive_needs(problem) -> None:
    needs = problem[2]
    for i, found in enumerate(ancestors(needs)):
        for j in range(len(needs)):
            assert bool(found >> j & 1) == (i != j and not can_run_before(needs, i, j))
