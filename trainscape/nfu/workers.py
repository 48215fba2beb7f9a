"""Figures of many designs, worked out by several processes: fresh interpreters that are told what to do as JSON.

A worker gets one document and answers with a line for each point, so that whoever asks can keep every result as it comes.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from hw.errors import HwError
from hw.nfu.config import Nfu
from hw.nfu.layer import Layer
from trainscape.errors import TrainscapeError
from trainscape.nfu.config import document, from_document
from trainscape.nfu.explore import Work
from trainscape.nfu.shape import read_shape, shape_text
from trainscape.nfu.space import Point
from trainscape.report.json_document import dumps, plain

ROOT = Path(__file__).resolve().parents[2]
WORTH = 100
"""Points from which on a second process saves more than its start costs, about half a second."""
MOST = 8
_CODE = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from trainscape.nfu.workers import main; main()"

Row = dict[str, Any]


def results(
    layers: Sequence[Layer], base: Nfu, points: Sequence[Point], workers: int | None = None
) -> Iterator[tuple[Point, Row]]:
    """Each point with its figures or why it cannot be, in whatever order they are done.

    Parameters
    ----------
    layers, base : the work, and everything that a point does not say.
    points : designs.
    workers : processes; None: one for each core where there is enough to do.
    """
    count = workers or (1 if len(points) < WORTH else min(len(os.sched_getaffinity(0)), MOST))
    if count == 1:
        work = Work(layers)
        for point in points:
            yield point, result(work, base, point)
        return
    yield from _shared(layers, base, points, count)


def result(work: Work, base: Nfu, point: Point) -> Row:
    """What a design does, or why it cannot be."""
    try:
        return point.document() | work.figures(point.nfu(base))
    except HwError as e:
        return point.document() | {"refused": str(e)}


def _shared(layers: Sequence[Layer], base: Nfu, points: Sequence[Point], count: int) -> Iterator[tuple[Point, Row]]:
    lines: SimpleQueue[tuple[int, str | None]] = SimpleQueue()
    shares = _shares(points, count)
    running = [_started([points[i] for i in share], layers, base) for share in shares]
    try:
        for number, process in enumerate(running):
            Thread(target=_listen, args=(number, process, lines), daemon=True).start()
        done, left = [0] * count, count
        while left:
            number, line = lines.get()
            if line is None:
                left -= 1
                if running[number].wait() or done[number] != len(shares[number]):
                    raise TrainscapeError(f"a process that works out designs has ended with code {running[number].returncode}")
                continue
            yield points[shares[number][done[number]]], json.loads(line)
            done[number] += 1
    finally:
        for process in running:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _shares(points: Sequence[Point], count: int) -> list[list[int]]:
    """Points for each process; those that differ in their words alone stay together, for their cycles are found once."""
    shares: list[list[int]] = [[] for _ in range(count)]
    number, before = -1, None
    for i, p in enumerate(points):
        key = (p.tn, p.rows, p.dram_bytes_per_second)
        number, before = (number, before) if key == before else (number + 1, key)
        shares[number % count].append(i)
    return shares


def _started(points: Sequence[Point], layers: Sequence[Layer], base: Nfu) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", _CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    job = {
        "layers": [{"name": layer.name, "shape": shape_text(layer)} for layer in layers],
        "nfu": document(base),
        "points": [p.document() for p in points],
    }
    assert process.stdin is not None  # a pipe was asked for
    process.stdin.write(dumps(job))
    process.stdin.close()
    return process


def _listen(number: int, process: "subprocess.Popen[str]", lines: "SimpleQueue[tuple[int, str | None]]") -> None:
    assert process.stdout is not None  # a pipe was asked for
    try:
        for line in process.stdout:
            lines.put((number, line))
    except ValueError:  # the pipe was closed by who no longer wants to know
        return
    lines.put((number, None))


def main() -> None:
    """A worker: one document in, a line for each point out. It ends with who asked; Ctrl-C is for that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(BrokenPipeError):
        _answer()


def _answer() -> None:
    job = json.load(sys.stdin)
    work = Work([read_shape(x["shape"], x["name"]) for x in job["layers"]])
    base = from_document(job["nfu"])
    for said in job["points"]:
        row = result(work, base, Point.from_document(said))
        sys.stdout.write(json.dumps(plain(row), allow_nan=False) + "\n")
        sys.stdout.flush()
