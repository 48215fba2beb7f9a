"""Timelines as a Chrome trace: JSON that Perfetto (ui.perfetto.dev) and chrome://tracing open.

A process is a rank as one source saw it, a thread is one of its streams, a slice is an action, an arrow is a message. For each
rank, the sources stand one above the other. Format: "Trace Event Format" (Google, 2016): complete events (ph X, microseconds),
metadata (M), flows (s and f, bound to the enclosing slice), counters (C).
"""

import gzip
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graph.parallel.plan import Path as Id
from graph.parallel.plan import Rank
from graph.record import record
from graph.step_stats import kind_of, step_of
from graph.timeline import Record, Timeline
from sim.errors import SimError

Event = dict[str, Any]
_FIRST = ("input", "compute", "comm")  # streams in the order of their tracks; then the others by name


@record
class Counter:
    """A quantity over time, drawn below a rank's streams.

    Parameters
    ----------
    source, rank : whose.
    name : what, with its unit.
    points : (seconds on the timeline's clock, value).
    """

    source: str
    rank: Rank
    name: str
    points: Sequence[tuple[float, float]]


def write_chrome_trace(path: Path | str, timelines: Mapping[str, Timeline], *, counters: Sequence[Counter] = ()) -> None:
    """Write timelines to a file, compressed when its name ends in ``.gz``; the file appears whole or not at all.

    Parameters
    ----------
    path : where to.
    timelines : source (``"predicted"``, ``"measured"``) -> timeline; each begins at time 0.
    counters : drawn below the streams.
    """
    path = Path(path)
    document = {"traceEvents": chrome_events(timelines, counters=counters), "displayTimeUnit": "ms"}
    data = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    if path.exists() and not path.is_file():  # a device or a pipe: nothing to put a file in the place of
        path.write_bytes(data)
        return
    target = path.resolve()  # what a link leads to, not the link
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def chrome_events(timelines: Mapping[str, Timeline], *, counters: Sequence[Counter] = ()) -> list[Event]:
    """The events of a trace: metadata first, then everything by time."""
    number = _numbers(timelines)
    peers = {(r.rank, r.id): r.peer for t in timelines.values() for r in t if r.peer is not None}
    meta: list[Event] = []
    timed: list[Event] = []
    arrows = 0
    for source, timeline in timelines.items():
        zero = min((r.start for r in timeline), default=0.0)
        pids = {r: number[source, r] for r in dict.fromkeys(r.rank for r in timeline)}
        slices: dict[tuple[Rank, Id], Event] = {}
        for rank, pid in pids.items():
            meta += _named("process", pid, 0, f"{rank} {source}", pid)
            for tid, (name, records) in enumerate(_tracks(r for r in timeline if r.rank == rank), 1):
                meta += _named("thread", pid, tid, name, tid)
                for r, event in zip(records, _slices(records, pid, tid, zero), strict=True):
                    slices[rank, r.id] = event
                    timed.append(event)
        found = _arrows(slices, peers, first=arrows)
        arrows += len(found) // 2
        timed += found
        timed += [e for c in counters if c.source == source and c.rank in pids for e in _counts(c, pids[c.rank], zero)]
    if stray := [c for c in counters if c.source not in timelines]:
        raise SimError(f"counter {stray[0].name!r} is of source {stray[0].source!r}; there are {', '.join(timelines)}")
    return meta + sorted(timed, key=lambda e: e["ts"])


def _numbers(timelines: Mapping[str, Timeline]) -> dict[tuple[str, Rank], int]:
    """(source, rank) -> its place from the top: run by run, in each rank by rank, predicted above measured.

    Sources of one run share what stands before the last colon: ``"2 workers: predicted"``, ``"2 workers: measured"``.
    """
    runs = list(dict.fromkeys(s.rpartition(":")[0] for s in timelines))
    found = [
        (runs.index(source.rpartition(":")[0]), rank, place, source)
        for place, (source, t) in enumerate(timelines.items())
        for rank in {r.rank for r in t}
    ]
    return {(source, rank): k for k, (_, rank, _, source) in enumerate(sorted(found), 1)}


def _named(what: str, pid: int, tid: int, name: str, index: int) -> list[Event]:
    base = {"ph": "M", "pid": pid, "tid": tid}
    return [
        {**base, "name": f"{what}_name", "args": {"name": name}},
        {**base, "name": f"{what}_sort_index", "args": {"sort_index": index}},
    ]


def _tracks(records: Any) -> list[tuple[str, list[Record]]]:
    """A rank's records by stream, each in order. Parents share a stream with nobody: their own has a track of its own."""
    streams: dict[str, list[Record]] = defaultdict(list)
    for r in records:
        streams[r.stream if r.is_leaf else f"{r.stream} (whole)"].append(r)

    def place(name: str) -> tuple[int, str]:
        bare = name.removesuffix(" (whole)")
        return (_FIRST.index(bare) if bare in _FIRST else len(_FIRST)), name

    return [(name, sorted(streams[name], key=lambda r: (r.start, r.end))) for name in sorted(streams, key=place)]


def _slices(records: list[Record], pid: int, tid: int, zero: float) -> list[Event]:
    """Complete events, one after the other: whole nanoseconds, at least one each, so that arrows have something to hold on to."""
    found: list[Event] = []
    free = 0
    for r in records:
        start = max(round((r.start - zero) * 1e9), free)
        free = max(round((r.end - zero) * 1e9), start + 1)
        waited = round((r.start - r.ready) * 1e6, 3)
        args: dict[str, Any] = {"id": "/".join(map(str, r.id)), "step": step_of(r), "waited_us": waited}
        args |= {k: v for k, v in (("bytes", r.nbytes), ("flop", r.flop)) if v}
        args |= {k: str(v) for k, v in (("peer", r.peer), ("note", r.note)) if v is not None}
        name = " ".join(map(str, r.id[1:] if r.id and isinstance(r.id[0], int) else r.id))
        event = {"ph": "X", "name": name or "action", "cat": kind_of(r) or "action", "pid": pid, "tid": tid}
        found.append({**event, "ts": start / 1000, "dur": (free - start) / 1000, "args": args})
    return found


def _arrows(slices: Mapping[tuple[Rank, Id], Event], peers: Mapping[tuple[Rank, Id], Rank | None], first: int) -> list[Event]:
    """A pair of flow events for every send whose receive is known, from inside the one slice to the start of the other."""
    found: list[Event] = []
    for (rank, id), send in slices.items():
        peer = peers.get((rank, id))
        if peer is None or id[-1] != "send":
            continue
        receive = slices.get((peer, (*id[:-1], "recv"))) or slices.get((peer, (*id[:-1], str(rank), "recv")))
        if receive is None or receive["ts"] < send["ts"]:  # clocks of two hosts may disagree: no arrow goes back in time
            continue
        base = {"name": "message", "cat": "message", "id": first + len(found) // 2 + 1}
        leaves = min(round((send["ts"] + send["dur"]) * 1000) - 1, round(receive["ts"] * 1000)) / 1000
        found.append({**base, "ph": "s", "pid": send["pid"], "tid": send["tid"], "ts": leaves})
        found.append({**base, "ph": "f", "bp": "e", "pid": receive["pid"], "tid": receive["tid"], "ts": receive["ts"]})
    return found


def _counts(c: Counter, pid: int, zero: float) -> list[Event]:
    return [
        {"ph": "C", "name": c.name, "pid": pid, "tid": 0, "ts": max(round((t - zero) * 1e9), 0) / 1000, "args": {"value": v}}
        for t, v in c.points
    ]
