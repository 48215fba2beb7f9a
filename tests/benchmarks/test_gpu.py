"""The run on a GPU, benchmarks/gpu: its parts that need none."""

import json
import signal
import subprocess
import sys
import time
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import check, convolution, memory, needs, run
from benchmarks.gpu.budget import GRACE, Budget
from benchmarks.gpu.context import Context
from benchmarks.gpu.document import begun, make_way, section_of, write
from benchmarks.gpu.part import Part
from benchmarks.gpu.play import play
from benchmarks.gpu.report import INTERRUPTED, _plain, markdown, state_of
from benchmarks.gpu.sections import SECTIONS, Section, with_needed
from benchmarks.gpu.targets import HOLDS, MISSED, NOT_HERE, OPEN, PARTLY, TARGETS, judged
from benchmarks.gpu.timing import alternated, result, times_for
from graph.op import OPS, Size
from graph.zoo import MODELS
from hw.kernels.record import KERNELS
from runtime.calibration import call_of
from runtime.cuda.bound import ACCUMULATE
from runtime.cuda.calibration import INPUT_COPY

# ------------------------------------------------------------------------------------------------------------------ time


def test_shares_are_of_the_whole() -> None:
    assert sum(s.share for s in SECTIONS) == pytest.approx(1.0)
    assert len({s.name for s in SECTIONS}) == len(SECTIONS)


def test_what_a_section_leaves_is_shared_among_the_others() -> None:
    a, b, c = (Section(name=n, title=n, module=n, share=x) for n, x in (("a", 0.5), ("b", 0.25), ("c", 0.25)))
    budget = Budget(100.0, began=1000.0)
    assert budget.slot([a, b, c], 1000.0).ends == 1050.0 + GRACE
    assert budget.slot([b, c], 1020.0).ends == 1060.0 + GRACE  # a took 20 of its 50
    assert budget.slot([c], 1060.0).ends == 1100.0  # never beyond the whole
    late = budget.slot([c], 1200.0)
    assert late.stops == late.ends - 100.0 == 1200.0 or late.ends == 1100.0


def test_turns_alternate_and_the_first_does_not_count() -> None:
    seen: list[str] = []

    def rival(name: str, *seconds: float) -> Any:
        left = iter(seconds)
        return lambda: (seen.append(name), next(left))[1]

    found = alternated({"ours": rival("ours", 9.0, 1.0, 3.0, 2.0), "torch": rival("torch", 0.1, 4.0, 5.0, 9.0)}, 3)
    assert seen == ["ours", "torch"] * 4
    assert found == {"ours": {"median": 2.0, "least": 1.0}, "torch": {"median": 5.0, "least": 4.0}}
    assert (times_for(1.0), times_for(1e-3), times_for(1e-9)) == (1, 4, 200)


def test_a_ratio_is_to_the_fastest_that_counts_and_none_is_told_of_a_simulation() -> None:
    times = {
        n: {"median": t, "least": t} for n, t in (("ours", 2.0), ("torch eager", 5.0), ("torch eager b", 4.0), ("torch x", 1.0))
    }
    told = {"ours": "f32", "theirs": "f32"}
    assert result(times, **told, simulated=False)["ratio"] == 0.5
    eager = result(times, **told, simulated=False, against="torch eager")
    assert (eager["ratio"], eager["rival"]) == (2.0, "torch eager b")
    assert result(times, **told, simulated=True)["ratio"] is None
    assert result({"ours": times["ours"]}, **told, simulated=False)["ratio"] is None


# --------------------------------------------------------------------------------------------------------------- targets


def document(**sections: dict[str, Any]) -> dict[str, Any]:
    return {"simulated": False, "sections": {n: {"items": {}, "left_out": [], **s} for n, s in sections.items()}}


def states(d: dict[str, Any]) -> list[str]:
    return [judged(t, d).state for t in TARGETS]


def test_without_a_run_everything_is_open() -> None:
    assert states(document()) == [OPEN] * len(TARGETS)
    assert states({**document(), "simulated": True}) == [NOT_HERE] * len(TARGETS)


def test_the_worst_point_decides_and_a_missing_one_leaves_it_open() -> None:
    target = TARGETS[0]
    sizes = {f"f32 {n}": {"ratio": r} for n, r in ((8192, 1.0), (4096, 0.9), (2048, 0.85), (512, 0.1))}
    found = judged(target, document(gemm={"items": sizes}))
    assert (found.state, found.value, found.at, found.measured) == (HOLDS, 0.85, "f32 2048", 3)
    sizes["f32 4096"] = {"ratio": 0.84}
    assert judged(target, document(gemm={"items": sizes})).state == MISSED
    sizes["f32 4096"] = {"error": "Wrong"}
    assert judged(target, document(gemm={"items": sizes})).state == PARTLY
    del sizes["f32 4096"]
    assert judged(target, document(gemm={"items": sizes, "left_out": ["f32 4096"]})).state == PARTLY
    assert judged(target, {**document(gemm={"items": sizes}), "simulated": True}).state == NOT_HERE


def test_predictions_are_judged_by_their_mean_error_and_memory_by_its_worst() -> None:
    step, peak = TARGETS[-2:]
    items = {"a": {"step_error": -0.1, "memory_error": 0.01}, "b": {"step_error": 0.02, "memory_error": -0.06}}
    d = document(validate={"items": items})
    assert (judged(step, d).state, judged(step, d).value) == (HOLDS, pytest.approx(0.06))
    assert (judged(peak, d).state, judged(peak, d).value, judged(peak, d).at) == (MISSED, 0.06, "b")
    d["sections"]["validate"]["left_out"] = ["c"]
    assert (judged(step, d).state, judged(peak, d).state) == (PARTLY, MISSED)


def test_what_pytorch_does_not_have_is_only_held_against_the_copy() -> None:
    items = {
        "copy": {"gbytes_per_s": 4000.0},
        "relu": {"of_copy": 0.95, "ratio": 1.3, "has_rival": True},
        "lrn_grad": {"of_copy": 0.91, "ratio": None, "has_rival": False},
    }
    d = document(memory={"items": items})
    of_copy, ratio = (judged(t, d) for t in TARGETS if "bound by memory" in t.what)
    assert (of_copy.state, of_copy.at, ratio.state, ratio.measured) == (HOLDS, "lrn_grad", HOLDS, 1)


# -------------------------------------------------------------------------------------------------------------- documents


def test_a_section_says_what_is_missing() -> None:
    one = Section(name="a", title="A", module="a", share=1.0)
    part: dict[str, Any] = {"planned": ["x", "y"], "items": {"x": {"v": 1}}, "notes": ["n"]}
    assert section_of(one, part, 2.0)["left_out"] == ["y"] and section_of(one, part, 2.0)["state"] == "partial"
    part["items"] = {"x": {"error": "E"}, "y": {"error": "E"}}
    assert section_of(one, part, 2.0)["state"] == "failed"
    part["items"] = {"x": {}, "y": {}}
    assert section_of(one, part, 2.0)["state"] == "done"
    assert section_of(one, {"planned": [], "items": {}, "notes": []}, 0.0)["state"] == "not reached"
    part["items"] = {"x": {"error": "E"}}
    assert state_of(section_of(one, part, 2.0, INTERRUPTED)) == "interrupted, 0 of 2, 2.0 s"
    assert _plain({"ns": 123.456789012345, "n": 7, "name": "G", "more": {}}) == "ns 123.5; n 7; name G"


def test_what_has_no_cases_says_why(tmp_path: Path) -> None:
    context = Context(tmp_path, False, Part(tmp_path / "part.json"))
    found = {name: check.checked(context, KERNELS[name]) for name in (ACCUMULATE, INPUT_COPY)}
    assert all(r["cases"] == r["left"] == 0 and r["wrong"] == [] for r in found.values())
    document = begun(seconds=480, simulated=False, sections=SECTIONS)
    document["sections"]["check"]["items"] = found
    assert markdown(document).count("| no operator: checked by its own test |") == 2


def test_a_document_of_nothing_can_be_written(tmp_path: Path) -> None:
    write(begun(seconds=480, simulated=False, sections=SECTIONS), tmp_path)
    assert json.loads((tmp_path / "gpu.json").read_text())["targets"][0]["state"] == OPEN
    assert _files(tmp_path) == {"gpu.json", "gpu.md"}
    page = (tmp_path / "gpu.md").read_text()
    assert all(f"## {s.title}\n\nnot reached" in page for s in SECTIONS) and page.count(OPEN) == len(TARGETS)


def _files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_a_run_that_is_there_is_moved_aside(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    asides = []
    for k in range(3):
        asides.append(make_way(out))
        write({**begun(seconds=480, simulated=False, sections=SECTIONS), "k": k}, out)
        (out / "gpu_of_it.yaml").touch()
    assert asides == [None, out.with_name("out.1"), out.with_name("out.2")]
    assert [json.loads((out.with_name(n) / "gpu.json").read_text())["k"] for n in ("out.1", "out.2", "out")] == [0, 1, 2]
    assert _files(out.with_name("out.1")) == {"gpu.json", "gpu.md", "gpu_of_it.yaml"}


def test_documents_among_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "guide.md").touch()
    assert make_way(tmp_path) is None
    (tmp_path / "gpu.md").touch()
    with pytest.raises(OSError, match=r"guide\.md"):
        make_way(tmp_path)
    assert _files(tmp_path) == {"guide.md", "gpu.md"}


# --------------------------------------------------------------------------------------------------------------- the run


def test_a_section_brings_those_it_takes_results_from() -> None:
    assert [s.name for s in with_needed(["steps", "validate"])] == ["calibrate", "predict", "validate", "steps"]
    assert [s.name for s in with_needed(["gemm"])] == ["gemm"] and with_needed([]) == list(SECTIONS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seconds=-5"], "it must be at least 20"),
        (["--seconds", "nan"], "it must be at least 20"),
        (["no-such-section"], "there is no section no-such-section"),
        (["--simulate", "--out", "/proc/nope"], "--out /proc/nope: "),
        (["--seconds", "20"], "--out is missing"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    options: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["run.py", *options])
    monkeypatch.setattr(run, "is_simulated", lambda asked: asked)
    monkeypatch.setattr(needs, "missing", lambda simulated: [])
    with pytest.raises(SystemExit) as ended:
        run.main()
    assert ended.value.code == 2 and said in capsys.readouterr().err.splitlines()[-1]


def test_what_was_found_before_ctrl_c_is_kept(tmp_path: Path) -> None:
    (tmp_path / "endless_section.py").write_text(ENDLESS)
    code = INTERRUPTED_RUN.format(path=[str(tmp_path), *sys.path], out=str(tmp_path / "out"))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "endless (endless): begins\n"
            page, latest = "", time.monotonic() + 60
            while "under way, 1 of 3" not in page and time.monotonic() < latest:
                time.sleep(0.02)
                page = (tmp_path / "out" / "gpu.md").read_text()
            assert "- to come: hangs, last" in page
            process.send_signal(signal.SIGINT)
            said, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (130, "")
    page = (tmp_path / "out" / "gpu.md").read_text()
    assert said.splitlines()[-1] == f"interrupted; what was found is in {tmp_path}/out/gpu.md, {tmp_path}/out/gpu.json"
    assert "interrupted, 1 of 3" in page and "- left out, as the run was interrupted: hangs, last" in page
    document = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert document["took_s"] >= document["sections"]["endless"]["took_s"] > 0.0 and document["is_interrupted"]
    assert document["sections"]["after"]["state"] == "not reached"


ENDLESS = """
import time
def items(c):
    yield "good", lambda: {"v": 1}
    yield "hangs", lambda: time.sleep(600)
    yield "last", lambda: {"v": 2}
"""
INTERRUPTED_RUN = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may have it ignored
sys.path[:] = {path!r}
from argparse import ArgumentParser, Namespace
from benchmarks.gpu.run import measure
from benchmarks.gpu.sections import Section
sections = [Section(name=n, title=n.title(), module="endless_section", share=0.5, patience=600.0) for n in ("endless", "after")]
sys.exit(measure(ArgumentParser(), sections, Namespace(out=Path({out!r}), seconds=500.0), False))
"""

MODULE = """
import os, sys, time
def prepare(c):
    raise RuntimeError("unprepared")
def items(c):
    yield "good", lambda: {"v": 1}
    yield "raises", lambda: 1 / 0
    yield "dies", lambda: (print("last words", file=sys.stderr, flush=True), os._exit(7))
    yield "hangs", lambda: time.sleep(60)
    yield "last", lambda: {"v": 2}
"""
SLOW = """
import time
def items(c):
    for name in "abc":
        yield name, lambda name=name: (time.sleep(0.1), {"v": name})[1]
"""


def test_a_section_that_fails_dies_or_hangs_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wild_section.py").write_text(MODULE)
    (tmp_path / "slow_section.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    wild = Section(name="wild", title="Wild", module="wild_section", share=0.5, patience=2.0)
    slow = Section(name="slow", title="Slow", module="slow_section", share=0.0001)
    none = Section(name="none", title="None", module="no_such_section", share=0.5)
    done = play([wild, slow, none], out=tmp_path / "out", seconds=60.0, simulated=False, ahead=True)
    sections = json.loads((tmp_path / "out" / "gpu.json").read_text())["sections"]
    assert sections == done["sections"]
    items = sections["wild"]["items"]
    assert (items["good"], items["last"]) == ({"v": 1}, {"v": 2}) and sections["wild"]["state"] == "partial"
    assert "ZeroDivisionError" in items["raises"]["error"]
    assert "ended with 7" in items["dies"]["error"] and "last words" in items["dies"]["error"]
    assert "nothing came of it for 2 s" in items["hangs"]["error"]
    assert ["unprepared" in n for n in sections["wild"]["notes"]] == [True]
    assert sections["slow"]["items"] == {"a": {"v": "a"}} and sections["slow"]["left_out"] == ["b", "c"]
    assert sections["none"]["state"] == "failed" and "no_such_section" in sections["none"]["items"]["preparing"]["error"]
    page = (tmp_path / "out" / "gpu.md").read_text()
    assert "**hangs failed**" in page and "left out, as the time was over: b, c" in page


# ------------------------------------------------------------------------------------------------------------- what it needs


def test_every_dependency_is_asked_for_or_not_imported(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    unused = {"matplotlib", "click", "rich"}
    asked = set(needs.NEEDS.values())
    assert {d for d in project["dependencies"] if d.split(">")[0] not in unused} <= asked
    carried = {line for line in needs.WHEELS.read_text().splitlines() if line and not line.startswith("#")}
    assert carried <= asked and carried <= set(project["dependencies"])
    page = (root / "docs" / "gpu.md").read_text()
    assert [p for p in carried if f"`{p.split('>')[0]}`" not in page] == []


def test_what_is_missing_or_too_old_is_told_with_the_way_out() -> None:
    assert needs._lack("numpy", "numpy>=2.0") is None
    none, old = needs._lack("no.such.module", "nothing>=1.0"), needs._lack("numpy", "numpy>=99.1")
    assert none is not None and none.line.startswith("nothing is not installed: pip install 'nothing>=1.0'")
    assert old is not None and "numpy 2" in old.line and "is too old" in old.line
    assert needs.told([none, old, needs.Lack("no driver")])[2:] == [
        "no driver",
        "all of it at once:",
        "  pip install 'nothing>=1.0' 'numpy>=99.1'",
    ]
    assert needs.told([none]) == [none.line] and f"numpy {version('numpy')}" in needs.versions(True)
    assert needs.numbers("0.30.4") < needs.numbers("0.31") and needs.numbers("13.0.1rc2") == (13, 0, 1)


def test_what_is_missing_is_told_where_nothing_is_installed(root: Path) -> None:
    command = [sys.executable, "-S", str(root / "benchmarks" / "gpu" / "run.py"), "--needs", "--simulate"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 6 and "Traceback" not in done.stderr
    assert "numba-cuda is not installed" in done.stderr and "  pip install 'numpy>=" in done.stderr.splitlines()[-1]


# -------------------------------------------------------------------------------------------------------------- the cases


def test_layers_are_those_of_the_nets() -> None:
    found = convolution.layers()
    assert [sum(x.net == net for x in found) for net in convolution.NETS] == [count for _, count in convolution.NETS.values()]
    net = MODELS["resnet50"].build(convolution.NETS["resnet50"][0])
    work = {(n.inputs[0], n.inputs[1]): net.work(n).flop for n in net.nodes if n.op.name == "conv2d"}
    assert {x.flop for x in found if x.net == "resnet50"} <= set(work.values())
    for layer in [*found[:3], convolution.tiny_layer()]:
        wants = {"conv2d": layer.y, "conv2d_grad_input": layer.x, "conv2d_grad_weight": layer.w}
        for op, want in wants.items():
            types, attrs = layer.call(op)
            assert OPS[op].infer(types, attrs) == (want,)


@pytest.mark.parametrize("simulated", [True, False])
def test_cases_bound_by_memory_can_be_called(simulated: bool) -> None:
    for case in memory.cases(simulated):
        call, _ = call_of(KERNELS[f"cuda.{case.kernel}"], Size(types=tuple(case.types), attrs=case.attrs))
        nbytes = KERNELS[call.kernel].terms(call.types, call.attrs)["bytes"]
        assert simulated or nbytes > 200e6, case.kernel  # against 60 MB of a cache
