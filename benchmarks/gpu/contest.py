"""One of our kernels against PyTorch on the same memory: results first, then times, in turns."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from benchmarks.gpu.bound import Bound, difference, reference, same
from benchmarks.gpu.context import Context
from benchmarks.gpu.peer import Peer, Work
from benchmarks.gpu.timing import ROUNDS, SIMULATED_ROUNDS, alternated, result
from graph.record import record

SMALL_FLOP = 1e8
"""Without PyTorch, what is no more than this is compared with the operator's reference, which NumPy computes."""
CLOSE = {"": 1e-4, "vendor": 1e-4, "tf32": 2.0**-8, "bf16": 2.0**-6, "fp16": 2.0**-8}
"""Algorithm -> how far results may be off those in f32, of the largest: far above rounding, far below any mistake."""
OURS = {
    "": "f32",
    "tf32": "f32 in memory, rounded to tf32, sums in f32",
    "bf16": "f32 in memory, rounded to bf16, sums in f32",
    "fp16": "f32 in memory, rounded to fp16, sums in f32",
    "vendor": "f32, the vendor's library",
}
"""Algorithm -> what it computes in. One that is not here is not compared."""


@record
class Rival:
    """What PyTorch makes of a call.

    Parameters
    ----------
    results : number of a result of ours -> the same of theirs, in f32 and in our layout; empty: they cannot be compared.
    works : name -> what is timed.
    words : what it computes in, where that is not told by its settings alone.
    """

    results: Callable[[], Mapping[int, Any]]
    works: Mapping[str, Work]
    words: str = ""


def rounds(c: Context) -> int:
    """Turns of each."""
    return SIMULATED_ROUNDS if c.simulated else ROUNDS


def contest(
    c: Context, work: Bound, rival: Callable[[Peer, Bound], Rival | None], *, algorithm: str = "", flop: float = 0.0
) -> dict[str, Any]:
    """The result of an item: times of both, and how far their results differ.

    Parameters
    ----------
    work : ours.
    rival : makes theirs; None: PyTorch has no such function.
    algorithm : of ours.
    flop : of both, for a rate; 0: none is told.

    Raises
    ------
    Wrong : the results are not the same.
    """
    work.run()
    count, close = len(work.call.types), CLOSE[algorithm]
    with c.peer.precision("f32") if c.peer else nullcontext():
        theirs = rival(c.peer, work) if c.peer else None
        found = _compared(c.peer, work, theirs.results(), close) if c.peer and theirs else None
    if theirs is None and work.terms().get("flop", 0) <= SMALL_FLOP:
        found = max((same("results", difference(work.host(count + k), w), close) for k, w in _own(work)), default=None)
    if theirs is None or c.peer is None:
        seconds, words = alternated({"ours": work.turn}, rounds(c)), ""
    else:
        with c.peer.precision(algorithm) as words:
            rivals = {"ours": work.turn, **{name: c.peer.turn(w) for name, w in theirs.works.items()}}
            seconds = alternated(rivals, rounds(c))
            words = theirs.words or words
    more = {"tflops": flop / seconds["ours"]["median"] * 1e-12} if flop else {}
    return result(seconds, ours=OURS[algorithm], theirs=words, simulated=c.simulated, difference=found, **more)


def _compared(peer: Peer, work: Bound, theirs: Mapping[int, Any], close: float) -> float | None:
    count = len(work.call.types)
    pairs = [(work.tensor(peer, count + k), want) for k, want in theirs.items()]
    return max((same("results", difference(a, b), close) for a, b in pairs), default=None)


def _own(work: Bound) -> Sequence[tuple[int, Any]]:
    """Results by the reference; none of a call that overwrites its operands, which are gone."""
    if work.is_in_place:
        return ()
    return [(k, w) for k, w in enumerate(reference(work)) if w.size]
