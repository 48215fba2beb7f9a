"""Writes the section on the NFU of docs/benchmarks.md: how long its figures take, beside other tools on the same layers.

    python benchmarks/nfu.py [--peers PYTHON] [--rounds N]

`--peers` names a Python that has the other tools; without it none of them is measured, and the section holds what was recorded
elsewhere. They want packages of other versions than ours, so they live in an environment of their own:

    python3.11 -m venv peers
    peers/bin/pip install zigzag-dse==3.9.1 six scalesim==3.0.0 nn_dataflow==2.1 "numpy<2"
    peers/bin/pip install sympy==1.5.1

Takes about 20 minutes with all of them, nearly all of it theirs.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from sections import write_section

from graph.record import record
from hw.nfu.benchmark import ALEXNET_DENSE, ALEXNET_GROUPED, EXAMPLE, TEN
from hw.nfu.config import Nfu
from hw.nfu.layer import Function, Kind, Layer
from hw.nfu.lower import LONGEST
from hw.nfu.nest import Nest
from hw.nfu.schedule import Cost, best
from hw.nfu.steps import Steps
from hw.nfu.timing import moves_of, timing
from hw.profile import cpu_name
from runtime.nfu.values import layer_values
from trainscape.report.tables import markdown_table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
NFU = Nfu()
ROUNDS, ENOUGH, LONG = 3, 1.0, 20.0
"""Rounds in which everybody takes a turn; CPU seconds of a turn; what takes longer than this has one turn."""
MOST_WORDS = 1 << 31
"""Of operands whose values are computed here."""
EXPLORE = (
    "nfu", "explore", "lenet", "--set", "input=digits", "--tn", "4..32", "--buffers", "16..128",
    "--bandwidth", "32,64,128,256,512", "--points", "1000",
)  # fmt: skip

TITLE = "## The NFU beside other simulators"
HEAD = """{title}

Made by `python benchmarks/nfu.py --peers PYTHON`; do not edit.

- Host: {cpu}, {cores} cores, {system}; Python {python}, {versions}; peers: Python {theirs}, {peers}
- Measured {date}. **The cores were shared with other programs** (load {before:.1f} at the beginning, {after:.1f} at the end).
  So all times are CPU times, the shortest of {rounds} rounds in which everybody took a turn; who took above {long:g} s had one.
- Start of processes and imports are left out, for us and for them; so is Numba's compilation, which an installation does once.
  Caches are cold: our search forgets its results before each run, every turn of a peer is a process of its own.

### What ours takes

*Search* finds a schedule among hundreds to thousands and gives cycles, stalls, accesses and bytes in closed form. *Counting*
lists every instruction of that schedule and finds when each of them begins and what it waits for. *Values* executes them bit by
bit on random words: lowering, packing of synapses and execution.

"""
DASHES = """
A dash: the 48 million instructions of CONV5 are more than are listed at once, and its private synapses take 1.44 TB.
"""
PEERS = """
### Beside peers

Each is set to DianNao as far as it can be: 16 x 16 multipliers of 16 bits, buffers of 2, 2 and 32 KB, 255 bytes a cycle from the
main memory. Their cycles are their own: other arrays, other bounds. A ratio is their time / our time:

- **ZigZag** and **nn_dataflow** search a mapping: beside our search. *ZigZag, no picture* is the same call without the drawing of
  the memories that its API makes every time, most of what it takes for the smallest layers.
- **SCALE-Sim** searches nothing, and serves no memory here: operands and demands of one dataflow, cycle by cycle. So it stands
  beside our counting; the last column adds our search to it, which SCALE-Sim has no equal of.

"""
ELSEWHERE = """
### Recorded elsewhere

Not of this run: CPU time measured before on a loaded machine of two cores (wall clock in brackets); whether the start of the
process is in it was not noted. STONNE and NiuDianNao are C++ whose sources were not at hand here. STONNE computes values;
NiuDianNao runs a program that is given to it and counts.

"""


@record
class Workload:
    """Layers that are asked for together.

    Parameters
    ----------
    name : in the table.
    layers : one by one.
    peers : tools that can express them (`nfu_peers.TOOLS`).
    """

    name: str
    layers: tuple[Layer, ...]
    peers: tuple[str, ...] = ()


def _pool(name: str, n: int, maps: int) -> Layer:
    return Layer(name=name, kind=Kind.POOL, nx=n, ny=n, kx=3, ky=3, sx=2, sy=2, ni=maps, no=maps)


def _classes(name: str, ni: int, no: int) -> Layer:
    return Layer(name=name, kind=Kind.CLASSIFIER, ni=ni, no=no, function=Function.RELU)


ALEXNET = (
    *ALEXNET_GROUPED, _pool("pool1", 55, 96), _pool("pool2", 27, 256), _pool("pool5", 13, 256),
    _classes("fc6", 9216, 4096), _classes("fc7", 4096, 4096), _classes("fc8", 4096, 1000),
)  # fmt: skip
SEARCH, SYSTOLIC = ("zigzag", "nn_dataflow"), ("scale-sim-ws", "scale-sim-os")
SMALL = ("zigzag", "zigzag-plain", "nn_dataflow", *SYSTOLIC)
OF_TEN = {
    "CLASS1": SMALL, "CLASS3": SMALL, "CONV1": SEARCH, "CONV3": (*SEARCH, *SYSTOLIC), "CONV4": (*SEARCH, *SYSTOLIC),
    "POOL1": ("nn_dataflow",), "POOL3": ("nn_dataflow",), "POOL5": ("nn_dataflow",),
}  # fmt: skip
"""Nobody has private kernels; SCALE-Sim has no pooling, and its demands for CONV1 are matrices of 88 million rows."""
WORKLOADS = (
    Workload(name="AlexNet's convolutions, dense", layers=ALEXNET_DENSE, peers=(*SEARCH, *SYSTOLIC)),
    Workload(name="AlexNet's convolutions, two groups", layers=ALEXNET_GROUPED, peers=SEARCH),
    Workload(name="AlexNet with pools and classifiers", layers=ALEXNET, peers=("nn_dataflow",)),
    Workload(name="AlexNet conv3", layers=(ALEXNET_DENSE[2],), peers=(*SEARCH, *SYSTOLIC)),
    Workload(name="classifier 8192 x 256", layers=(EXAMPLE,), peers=SMALL),
    *(Workload(name=layer.name, layers=(layer,), peers=OF_TEN.get(layer.name, ())) for layer in TEN),
    Workload(name="the ten benchmark layers", layers=TEN),
)
NAMES = {
    "zigzag": "ZigZag", "zigzag-plain": "ZigZag, no picture", "nn_dataflow": "nn_dataflow", "scale-sim-ws": "SCALE-Sim, ws",
    "scale-sim-os": "SCALE-Sim, os",
}  # fmt: skip


@record
class Recorded:
    """A run elsewhere: tool, workload, seconds, cycles in words, and what of ours stands beside it."""

    peer: str
    workload: str
    cpu_s: float
    wall_s: str
    cycles: str
    beside: tuple[str, ...]


RECORDED = (
    Recorded(peer="STONNE", workload="CLASS1", cpu_s=0.1, wall_s="0.25 s", cycles="190", beside=("search", "counting", "values")),
    Recorded(
        peer="STONNE, stopped at 62 %", workload="AlexNet conv3", cpu_s=105, wall_s="over 200 s", cycles="644,005 of 1.04 M",
        beside=("search", "counting", "values"),
    ),
    Recorded(
        peer="NiuDianNao", workload="classifier 8192 x 256", cpu_s=0.9, wall_s="6.8 s", cycles="163,309",
        beside=("search", "counting"),
    ),
    Recorded(
        peer="SCALE-Sim, os, with memory", workload="AlexNet conv3", cpu_s=124, wall_s="199.5 s", cycles="616,175",
        beside=("search", "counting"),
    ),
)  # fmt: skip


class Times:
    """Shortest CPU seconds by (who, workload)."""

    def __init__(self) -> None:
        self.rounds = 0
        self.seconds: dict[tuple[str, str], float] = {}
        self.cycles: dict[tuple[str, str], int] = {}
        self.versions: set[str] = set()

    def is_done(self, who: str, workload: Workload) -> bool:
        """It takes too long for another turn."""
        return self.seconds.get((who, workload.name), 0.0) > LONG

    def add(self, who: str, workload: Workload, seconds: float) -> None:
        key = (who, workload.name)
        self.seconds[key] = min(seconds, self.seconds.get(key, seconds))

    def take(self, who: str, workload: Workload, run: Callable[[], object]) -> None:
        """One turn of ours: again and again for a while."""
        spent, first = 0.0, True
        while first or spent < ENOUGH:
            start = time.process_time()
            run()
            spent += (seconds := time.process_time() - start)
            self.add(who, workload, seconds)
            first = False

    def ask(self, peers: str, tool: str, workload: Workload) -> None:
        """One turn of a peer, in a process of its own."""
        layers = [{k: getattr(layer, k) for k in ("name", "kind", "nx", "ny", "kx", "ky", "sx", "sy", "ni", "no", "groups")}
                  for layer in workload.layers]  # fmt: skip
        command = (peers, str(Path(__file__).with_name("nfu_peers.py")), tool)
        done = subprocess.run(command, input=json.dumps(layers), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{tool} on {workload.name}: {done.stderr[-2000:]}")
        answer = json.loads(done.stdout)
        self.versions.add(answer["version"])
        self.add(tool, workload, min(answer["seconds"]))
        self.cycles[tool, workload.name] = answer["cycles"]


def search(layers: Sequence[Layer]) -> list[Cost]:
    """Our schedules, nothing remembered."""
    best.cache_clear()
    return [best(layer, NFU) for layer in layers]


def counting(costs: Sequence[Cost]) -> int:
    """Instruction by instruction."""
    nests = (Nest(c.layer, NFU, c.schedule) for c in costs)
    return sum(timing(NFU, moves_of(Steps(n, np.arange(len(n))))).total_cycles for n in nests)


Words = npt.NDArray[np.int16]


def operands(layer: Layer) -> tuple[Words, Words | None]:
    """Random words of a layer."""
    rng = np.random.default_rng(0)
    window = (layer.ky, layer.kx, layer.ni // layer.groups, layer.no)
    shape = (layer.oy, layer.ox, *window) if layer.is_private else window
    inputs = rng.integers(-(1 << 10), 1 << 10, (layer.batch, layer.ny, layer.nx, layer.ni), np.int16)
    return inputs, None if layer.kind is Kind.POOL else rng.integers(-(1 << 8), 1 << 8, shape, np.int16)


def turn(times: Times, workload: Workload) -> None:
    """Ours, of everything that can be."""
    costs = search(workload.layers)
    times.take("search", workload, lambda: search(workload.layers))
    if all(c.instructions <= LONGEST for c in costs):
        total = sum(c.total_cycles for c in costs)
        if (counted := counting(costs)) != total:
            raise SystemExit(f"{workload.name}: counting finds {counted} cycles, the closed form {total}")
        times.take("counting", workload, lambda: counting(costs))
    words = sum(layer.inputs + layer.synapses + layer.outputs for layer in workload.layers)
    if words <= MOST_WORDS and not times.is_done("values", workload):
        given = [(c, *operands(c.layer)) for c in costs]
        times.take("values", workload, lambda: [layer_values(c.layer, NFU, x, w, schedule=c.schedule) for c, x, w in given])


def seconds(s: float) -> str:
    """Three figures."""
    return f"{s:.3g} s" if s >= 1 else f"{s * 1e3:.3g} ms"


def ours(times: Times) -> list[tuple[str, ...]]:
    """Rows of the table of ours."""
    rows: list[tuple[str, ...]] = []
    for w in WORKLOADS:
        costs = search(w.layers)
        cells = [
            seconds(t) if (t := times.seconds.get((who, w.name))) is not None else "–" for who in ("search", "counting", "values")
        ]
        rows.append((w.name, f"{sum(c.instructions for c in costs):,}", f"{sum(c.total_cycles for c in costs):,}", *cells))
    return rows


def ratio(theirs: float, mine: float) -> str:
    return f"{theirs / mine:,.0f}" if theirs >= 10 * mine else f"{theirs / mine:.1f}"


def beside(times: Times) -> list[tuple[str, ...]]:
    """Rows of the table of peers."""
    rows: list[tuple[str, ...]] = []
    for w in WORKLOADS:
        for tool in w.peers:
            if (theirs := times.seconds.get((tool, w.name))) is None:
                continue
            found = times.seconds["search", w.name]
            mine = times.seconds["counting", w.name] if tool in SYSTOLIC else found
            whole = found + mine if tool in SYSTOLIC else found
            cells = seconds(theirs), seconds(mine), ratio(theirs, mine), ratio(theirs, whole)
            rows.append((w.name, NAMES[tool], f"{times.cycles[tool, w.name]:,}", *cells))
    return rows


def elsewhere(times: Times) -> list[tuple[str, ...]]:
    """Rows of the table of what was recorded elsewhere."""
    rows: list[tuple[str, ...]] = []
    for r in RECORDED:
        mine = sum(times.seconds[who, r.workload] for who in r.beside)
        rows.append(
            (
                r.workload,
                r.peer,
                r.cycles,
                f"{r.cpu_s:g} s ({r.wall_s})",
                " + ".join(r.beside),
                seconds(mine),
                ratio(r.cpu_s, mine),
            )
        )
    return rows


def explore() -> str:
    """A thousand designs, as the command does them: wall clock, its start included."""
    with TemporaryDirectory() as folder:
        start = time.monotonic()
        command = (sys.executable, "-m", "trainscape", *EXPLORE, "--out", str(Path(folder) / "explore"))
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        spent = time.monotonic() - start
    return f"\n`trainscape {' '.join(EXPLORE)}` took {spent:.0f} s of wall clock, start and picture included.\n"


def text(times: Times, before: float, peers: str | None, notes: Sequence[str]) -> str:
    """The section."""
    theirs = subprocess.run((peers, "-V"), capture_output=True, text=True, check=True).stdout.split()[-1] if peers else "–"
    head = HEAD.format(
        title=TITLE,
        cpu=cpu_name(),
        cores=os.cpu_count(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions=", ".join(f"{p} {version(p)}" for p in ("trainscape", "numpy", "numba")),
        theirs=theirs,
        peers=", ".join(sorted(times.versions)) or "not measured",
        date=datetime.now(UTC).isoformat(timespec="minutes"),
        before=before,
        after=os.getloadavg()[0],
        rounds=times.rounds,
        long=LONG,
    )
    parts = [head, markdown_table(("layers", "instructions", "cycles", "search", "counting", "values"), ours(times)), *notes]
    if rows := beside(times):
        header = ("layers", "peer", "its cycles", "its time", "ours", "ratio", "search included")
        parts += [PEERS, markdown_table(header, rows)]
    of_others = ("layers", "peer", "its cycles", "its time", "beside our", "ours", "ratio")
    return "".join([*parts, ELSEWHERE, markdown_table(of_others, elsewhere(times))])


def main() -> None:
    """Take turns, write the section."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", help="a Python that has the other tools")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked: Any = parser.parse_args()
    times, before = Times(), os.getloadavg()[0]
    for _ in range(asked.rounds):
        for workload in WORKLOADS:
            turn(times, workload)
            for tool in workload.peers if asked.peers else ():
                if not times.is_done(tool, workload):
                    times.ask(asked.peers, tool, workload)
        times.rounds += 1
        print(f"round {times.rounds} of {asked.rounds}", flush=True)
    write_section(PAGE, TITLE, text(times, before, asked.peers, [DASHES, explore()]))
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
