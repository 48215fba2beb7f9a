"""Rivals timed in turns, so that a slow moment meets all of them."""

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

ROUNDS, SIMULATED_ROUNDS = 9, 1
TARGET_SECONDS, MOST = 4e-3, 200
"""Of one turn, about; times in it at most."""
Turn = Callable[[], float]
"""Does it some times; returns the seconds of one."""


def times_for(once: float) -> int:
    """How many times make a turn."""
    return min(max(int(TARGET_SECONDS / max(once, 1e-9)), 1), MOST)


def alternated(rivals: Mapping[str, Turn], rounds: int) -> dict[str, dict[str, float]]:
    """Rival -> median and least seconds of so many turns each, after one that does not count; a single turn has none before."""
    for turn in rivals.values() if rounds > 1 else ():
        turn()
    found: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, turn in rivals.items():
            found[name].append(turn())
    return {name: {"median": median(each), "least": min(each)} for name, each in found.items()}


def result(
    seconds: Mapping[str, Mapping[str, float]], *, ours: str, theirs: str, simulated: bool, against: str = "torch", **more: Any
) -> dict[str, Any]:
    """The result of an item that compares: times, and their fastest rival's median by ours. In the simulator no ratio.

    Parameters
    ----------
    seconds : of `alternated`; ours is called ``"ours"``.
    ours, theirs : what each side computes in.
    against : beginning of the names of those that count.
    """
    others = {name: t["median"] for name, t in seconds.items() if name.startswith(against)}
    best = min(others, key=others.__getitem__, default="")
    ratio = None if simulated or not best else others[best] / seconds["ours"]["median"]
    return {"seconds": dict(seconds), "ours": ours, "theirs": theirs, "rival": best, "ratio": ratio, **more}
