"""What `check` proves before anybody waits: the plan cannot deadlock, counts every gradient once, and fits."""

from contextlib import suppress
from typing import Any

from graph.parallel.check import check
from runtime.errors import MissingCapability as GpuMissing
from trainscape.build import Built
from trainscape.fit import require

MOST_RANKS = 64  # whose every letter is played; a larger plan has the same programs, and the proof would take minutes
STEPS = 2


def prove(built: Built) -> dict[str, Any]:
    """Play a scenario's plan without a clock, and hold its memory against its devices'.

    Returns
    -------
    The ``proof`` part of a result document: actions played, letters carried, bytes of a rank's arena; ``actions`` is None
    where the plan has too many ranks to play them all.

    Raises
    ------
    InvalidPlan : the plan can deadlock, or counts a contribution twice or never.
    DoesNotFit : a rank needs more memory than its device has; the message says how much, and what would fit.
    """
    played = check(built.plan.shortened(STEPS)) if len(built.plan.ranks) <= MOST_RANKS else None
    if not built.is_host:
        require(built)
    elif built.is_gpu:
        with suppress(GpuMissing):  # then it is known only elsewhere how much memory there is
            require(built)
    return {
        "steps": STEPS,
        "actions": played.actions if played else None,
        "transfers": sum(played.transfers.values()) if played else None,
        "arena_bytes": max(low.layout.nbytes for low in built.lowered.values()),
    }
