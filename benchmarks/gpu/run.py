"""What there is to find out on a GPU, in one run: kernels checked, benchmarks, a calibration, predictions held against steps.

    python3 benchmarks/gpu/run.py --out DIR [--seconds 480] [--simulate] [SECTION ...]

Runs from a bare checkout, with the packages of benchmarks/gpu/wheels.txt beside those of PyTorch; docs/gpu.md tells how, and what
the figures mean. It writes DIR/gpu.json, DIR/gpu.md and the GPU's profile, anew after everything that was measured, so that
whoever ends it early keeps what it had found. Without a GPU: --simulate, the same in Numba's simulator on tiny shapes.
"""

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SIMULATOR = "NUMBA_ENABLE_CUDASIM"


def is_simulated(asked: bool) -> bool:
    """Whether it is; Numba, here and in every process that is started, is told so by the one way that it knows."""
    if asked:
        os.environ[SIMULATOR] = "1"  # noqa: TID251 - Numba reads it, and nothing of ours
    return os.environ.get(SIMULATOR, "0") not in ("", "0")  # noqa: TID251 - as above


def main() -> int:
    sys.path[:] = [str(ROOT), *(p for p in sys.path if p and Path(p).resolve() != HERE)]
    from benchmarks.gpu.needs import missing
    from benchmarks.gpu.play import play
    from benchmarks.gpu.sections import SECTIONS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sections", nargs="*", help=f"by default all: {', '.join(s.name for s in SECTIONS)}")
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu.json, gpu.md and the profile")
    parser.add_argument("--seconds", type=float, default=480.0, help="all of it takes no longer than about so long")
    parser.add_argument("--simulate", action="store_true", help="in Numba's simulator, with no GPU: no time means anything")
    given = parser.parse_args()
    if unknown := set(given.sections) - {s.name for s in SECTIONS}:
        parser.error(f"there is no section {', '.join(sorted(unknown))}")
    simulated = is_simulated(given.simulate)
    if lines := missing(simulated):
        print("\n".join(lines), file=sys.stderr)
        return 6  # as `trainscape` ends where something is missing
    wanted = [s for s in SECTIONS if not given.sections or s.name in given.sections]
    document = play(wanted, out=given.out, seconds=given.seconds, simulated=simulated)
    print(f"{given.out / 'gpu.md'}, {given.out / 'gpu.json'}")
    return int(any(s["state"] == "failed" for s in document["sections"].values()))


if __name__ == "__main__":
    sys.exit(main())
