"""The run on a GPU, benchmarks/gpu: its parts that need none."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import convolution, memory, needs
from benchmarks.gpu.budget import GRACE, Budget
from benchmarks.gpu.document import begun, section_of, write
from benchmarks.gpu.play import play
from benchmarks.gpu.sections import SECTIONS, Section
from benchmarks.gpu.targets import HOLDS, MISSED, OPEN, PARTLY, TARGETS, judged
from benchmarks.gpu.timing import alternated, result, times_for
from graph.op import OPS, Size
from graph.zoo import MODELS
from hw.kernels.record import KERNELS
from runtime.calibration import call_of

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
    assert states(document()) == [OPEN] * len(TARGETS) == states({**document(), "simulated": True})


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
    assert judged(target, {**document(gemm={"items": sizes}), "simulated": True}).state == OPEN


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


def test_a_document_of_nothing_can_be_written(tmp_path: Path) -> None:
    write(begun(seconds=480, simulated=False, sections=SECTIONS), tmp_path)
    assert json.loads((tmp_path / "gpu.json").read_text())["targets"][0]["state"] == OPEN
    page = (tmp_path / "gpu.md").read_text()
    assert all(f"## {s.title}\n\nnot reached" in page for s in SECTIONS) and page.count(OPEN) == len(TARGETS)


# --------------------------------------------------------------------------------------------------------------- the run

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
    assert needs._lack("numpy", "numpy>=2.0") == ""
    assert needs._lack("no.such.module", "nothing>=1.0").startswith("nothing is not installed: pip install 'nothing>=1.0'")
    assert "numpy 2" in needs._lack("numpy", "numpy>=99.1") and "is too old" in needs._lack("numpy", "numpy>=99.1")
    assert needs.numbers("0.30.4") < needs.numbers("0.31") and needs.numbers("13.0.1rc2") == (13, 0, 1)


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
