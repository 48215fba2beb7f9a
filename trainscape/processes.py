"""Work shared out to fresh interpreters: each is told what to do as one JSON document, and answers line by line.

So whoever asks can keep every answer as it comes. A module that works so has a function ``main`` that calls `serve`.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from trainscape.errors import TrainscapeError
from trainscape.report.json_document import dumps, plain

ROOT = Path(__file__).resolve().parents[1]
MOST = 8
"""Processes."""
_CODE = "import sys; sys.path.insert(0, {root!r}); from {module} import main; main()"


def answers(module: str, jobs: Sequence[Mapping[str, Any]], counts: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Answers of one process a job, in whatever order they come, each with the number of its job.

    Parameters
    ----------
    module : whose function ``main`` works.
    jobs : what each is told.
    counts : how many answers each owes.

    Raises
    ------
    TrainscapeError : a process has ended early.
    """
    lines: SimpleQueue[tuple[int, str | None]] = SimpleQueue()
    running = [_started(module, job) for job in jobs]
    try:
        for number, process in enumerate(running):
            Thread(target=_listen, args=(number, process, lines), daemon=True).start()
        done, left = [0] * len(jobs), len(jobs)
        while left:
            number, line = lines.get()
            if line is None:
                left -= 1
                if running[number].wait() or done[number] != counts[number]:
                    raise TrainscapeError(f"a process of {module} has ended with code {running[number].returncode}")
                continue
            done[number] += 1
            yield number, json.loads(line)
    finally:
        for process in running:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def serve(answer: Callable[[Any], Iterable[Any]]) -> None:
    """A process that works: one document in, a line for each answer out. It ends with who asked; Ctrl-C is for that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(BrokenPipeError):
        for found in answer(json.load(sys.stdin)):
            sys.stdout.write(json.dumps(plain(found), allow_nan=False) + "\n")
            sys.stdout.flush()


def _started(module: str, job: Mapping[str, Any]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _CODE.format(root=str(ROOT), module=module)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None  # a pipe was asked for
    with suppress(BrokenPipeError):  # one that has ended already is found when it is listened to
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
