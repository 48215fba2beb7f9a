"""The process of a section: prepares, waits for its turn, and does one item after another, none of which stops the others.

It is told its module, folders and the like as its argument, and on stdin, when its turn has come, when to stop.
"""

import gc
import json
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.gpu.context import Context
from benchmarks.gpu.part import OVER, PREPARING, READY, WORKING, Part

AGAIN = 3
"""How it ends when its device has failed: another process may go on."""
LONGEST = 1200
"""Letters of an error."""


def told(e: BaseException) -> str:
    """An error in words, with where it was raised."""
    last = traceback.extract_tb(e.__traceback__)[-1:]
    where = f" ({Path(last[0].filename).name}:{last[0].lineno})" if last else ""
    return f"{type(e).__name__}: {e}{where}"[:LONGEST]


def prepare(module: ModuleType, context: Context) -> None:
    """Do what can be done beforehand; what fails there is tried again by the items."""
    if not hasattr(module, "prepare"):
        return
    try:
        module.prepare(context)
    except Exception as e:
        context.part.note(f"preparing it: {told(e)}")
    context.tidy()


def work(module: ModuleType, context: Context) -> int:
    """All items that have not been done; returns how the process ends."""
    part = context.part
    todo = list(module.items(context))
    part.tell(state=WORKING, planned=[name for name, _ in todo])
    left = []
    for name, item in todo:
        if name in part.body["items"]:
            continue
        if part.body["items"] and time.monotonic() >= context.stops:  # whatever the time, one is done
            left.append(name)
            continue
        part.tell(at=name)
        part.finish(name, one(item))
        context.tidy()
        if "error" in part.body["items"][name] and context.is_broken():
            part.note(f"the device failed at {name!r}")
            return AGAIN
    part.tell(state=OVER, left_out=left)
    return 0


def one(item: Any) -> dict[str, Any]:
    """The result of an item, or its error."""
    try:
        return dict(item())
    except Exception as e:
        return {"error": told(e)}


def main() -> int:
    given = json.loads(sys.argv[1])
    part = Part(Path(given["part"]))
    context = Context(Path(given["out"]), given["simulated"], part)
    part.tell(state=PREPARING)
    module = import_module(given["module"])
    if not given["resumes"]:
        prepare(module, context)
    gc.freeze()  # what there is now stays, and need not be looked through after every item
    part.tell(state=READY)
    line = sys.stdin.readline()
    if not line:  # nobody waits for it
        return 0
    context.stops = float(line)
    return work(module, context)
