"""What there is to find out on a GPU, in one run: kernels checked, benchmarks, a calibration, predictions held against steps.

    python3 benchmarks/gpu/run.py --needs                         # only look whether everything is there
    python3 benchmarks/gpu/run.py --out DIR [--seconds 480] [--simulate] [SECTION ...]

Runs from a bare checkout, with the packages of benchmarks/gpu/wheels.txt beside those of PyTorch; docs/gpu.md tells how, and what
the figures mean. It writes DIR/gpu.json, DIR/gpu.md and the GPU's profile, anew after everything that was measured, so that
whoever ends it early (Ctrl-C) keeps what it had found; results that DIR holds already are moved aside. Without a GPU:
--simulate, the same in Numba's simulator on tiny shapes.
"""

import argparse
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.gpu.sections import Section

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SIMULATOR = "NUMBA_ENABLE_CUDASIM"
LEAST = 20.0
"""Seconds with which every section can do something on a GPU."""
MISSING, INTERRUPTED = 6, 130
"""How it ends where something is missing, and after Ctrl-C; as `trainscape` does."""


def is_simulated(asked: bool) -> bool:
    """Whether it is; Numba, here and in every process that is started, is told so by the one way that it knows."""
    if asked:
        os.environ[SIMULATOR] = "1"  # noqa: TID251 - Numba reads it, and nothing of ours
    return os.environ.get(SIMULATOR, "0") not in ("", "0")  # noqa: TID251 - as above


def main() -> int:
    sys.path[:] = [str(ROOT), *(p for p in sys.path if p and Path(p).resolve() != HERE)]
    from benchmarks.gpu.needs import missing, told, versions
    from benchmarks.gpu.sections import SECTIONS, with_needed

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sections", nargs="*", help=f"by default all: {', '.join(s.name for s in SECTIONS)}")
    parser.add_argument("--out", type=Path, help="folder for gpu.json, gpu.md and the profile; a run in it is moved aside")
    parser.add_argument("--seconds", type=float, default=480.0, help="all of it takes no longer than about so long")
    parser.add_argument("--simulate", action="store_true", help="in Numba's simulator, with no GPU: no time means anything")
    parser.add_argument(
        "--needs", action="store_true", help="only tell what is missing on this machine (exit code 6), or nothing (0)"
    )
    given = parser.parse_args()
    simulated = is_simulated(given.simulate)
    if unknown := set(given.sections) - {s.name for s in SECTIONS}:
        parser.error(f"there is no section {', '.join(sorted(unknown))}; there are {', '.join(s.name for s in SECTIONS)}")
    least = 1.0 if simulated else LEAST
    if not (math.isfinite(given.seconds) and given.seconds >= least):
        parser.error(f"--seconds is {given.seconds:g}: it must be at least {least:g}; 240 to 480 tell something of everything")
    if given.out is None and not given.needs:
        parser.error("--out is missing: a folder for the results, as in --out gpu-run")
    if lacks := missing(simulated):
        print("\n".join(told(lacks)), file=sys.stderr)
        return MISSING
    if given.needs:
        print(f"everything is there: {versions(simulated)}")
        return 0
    wanted = with_needed(given.sections)
    if added := [s.name for s in wanted if given.sections and s.name not in given.sections]:
        print(f"with {', '.join(added)}, whose results are needed")
    return measure(parser, wanted, given, simulated)


def measure(parser: argparse.ArgumentParser, wanted: "list[Section]", given: argparse.Namespace, simulated: bool) -> int:
    """Do these sections; returns how the run ends."""
    from benchmarks.gpu.document import make_way
    from benchmarks.gpu.play import play

    try:
        aside = make_way(given.out)
    except OSError as e:
        parser.error(f"--out {given.out}: {e.strerror or e}; choose another folder")
    if aside is not None:
        print(f"{given.out} held a run: it is now {aside}")
    document = play(wanted, out=given.out, seconds=given.seconds, simulated=simulated)
    files = f"{given.out / 'gpu.md'}, {given.out / 'gpu.json'}"
    if document["is_interrupted"]:
        print(f"interrupted; what was found is in {files}")
        return INTERRUPTED
    print(files)
    return int(any(s["state"] == "failed" for s in document["sections"].values()))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before anything was measured, or twice
        sys.exit(INTERRUPTED)
