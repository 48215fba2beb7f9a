"""Algorithms that a scenario asks for: what is refused and where, what is lowered, priced, run and said, never silently."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from hw.catalogue import device
from hw.cost.roofline import roof
from hw.errors import StaleProfile
from hw.kernels import KERNELS, Platform, algorithms, chosen
from runtime.job import Block, build
from trainscape.build import Built
from trainscape.compare_hardware import compare_hardware
from trainscape.errors import MistakeKind, ScenarioError
from trainscape.exit_codes import ExitCode, classify
from trainscape.job import job_of
from trainscape.load import load_text
from trainscape.predict import predict
from trainscape.results import prediction_run

TEXT = "name: s\nmodel: {{name: {model}, batch: 64}}\nsystem:\n  name: {system}\n  algorithm: {algorithm}\n{more}"
MATRIX = ("matmul", "conv2d", "conv2d_grad_input", "conv2d_grad_weight")
ROUNDING = {"tf32": "tf32", "bf16": "bf16", "fp16": "f16"}


def text(algorithm: str, model: str = "lenet", system: str = "h200-sxm", more: str = "") -> str:
    return TEXT.format(algorithm=algorithm, model=model, system=system, more=more)


def built(algorithm: str, overrides: tuple[str, ...] = (), **rest: Any) -> Built:
    profile = rest.pop("profile", None)
    return Built(load_text(text(algorithm, **rest), overrides=overrides).scenario, profile=profile)


def kernels(b: Built) -> set[str]:
    return {c.kernel for low in b.lowered.values() for c in low.calls}


@pytest.mark.parametrize(
    ("algorithm", "system", "column", "message"),
    [
        ("tf23", "h200-sxm", 14, "no operator has an algorithm 'tf23' on a GPU; did you mean 'tf32'?"),
        ("f32", "h200-sxm", 14, "no operator has an algorithm 'f32' on a GPU; without the key all compute in f32; remove it"),
        ("tf32", "xeon-8480c", 14, "no operator has an algorithm 'tf32' on a CPU; some have one on a GPU: --device cuda, or a "
         "system of GPUs"),
        ("{matmull: tf32}", "h200-sxm", 24, ".matmull: unknown operator 'matmull'; did you mean 'matmul'?"),
        ("{conv2d: bf16, matmul: col2im}", "h200-sxm", 37, ".matmul: operator 'matmul' has no algorithm 'col2im' on a GPU"),
        ("{relu: tf32}", "h200-sxm", 21, ".relu: operator 'relu' has one kernel on a GPU, and nothing to choose; matmul, "),
        ("tf32", "v100-sxm2-16gb", 14, "tf32 multiplies in tf32, in which v100-sxm2-16gb does not compute: it has f64, f32, f16"),
        ("{matmul: bf16}", "p100-pcie", 23, ".matmul: bf16 multiplies in bf16, in which p100-pcie does not compute: it has"),
        ("{}", "h200-sxm", 14, "write the name of an algorithm, or {operator: algorithm, ...}"),
        ("[tf32]", "h200-sxm", 14, "write the name of an algorithm, or {operator: algorithm, ...}"),
        ("{matmul: 32}", "h200-sxm", 14, "write the name of an algorithm, or {operator: algorithm, ...}"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_place(algorithm: str, system: str, column: int, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_text(text(algorithm, system=system), "s.yaml")
    (mistake,) = caught.value.mistakes
    assert mistake.place == f"s.yaml:5:{column}"
    assert f"{mistake.path}: {mistake.message}".startswith(f"system.algorithm{'' if message[0] == '.' else ': '}{message}")
    assert (mistake.kind is MistakeKind.INFEASIBLE) == ("does not compute" in message)


def test_an_nfu_has_nothing_to_choose() -> None:
    with pytest.raises(ScenarioError, match=r"5:14: .*one kernel for each operator on an NFU, and nothing to choose; remove it"):
        load_text(text("tf32", system="diannao-1", more="parallel: {strategy: inference}\n"))
    assert algorithms(Platform.NFU) == {} == chosen("direct", Platform.NFU)


def test_all_mistakes_of_a_mapping_come_at_once() -> None:
    with pytest.raises(ScenarioError) as caught:
        load_text(text("{matmul: tf23, relu: tf32, conv2d: bf16}"))
    assert [m.path for m in caught.value.mistakes] == ["system.algorithm.matmul", "system.algorithm.relu"]


def test_nothing_is_chosen_that_was_not_asked_for() -> None:
    """On a GPU every kernel is the one that has no name: exact f32."""
    for model in ("lenet", "alexnet"):
        for strategy in ("data", "parameter_server", "hybrid", "model", "layers", "inference"):
            b = built("null", model=model, more=f"parallel: {{strategy: {strategy}}}\n")
            assert {KERNELS[k].algorithm for k in kernels(b)} == {""} and b.algorithms == {} and b.arithmetic == ()
            assert prediction_run(predict(b)).title == "1 GPU of h200-sxm"


@pytest.mark.parametrize("name", ROUNDING)
def test_one_name_is_for_every_operator_that_has_it(name: str) -> None:
    b = built(name)
    assert {k for k in kernels(b) if KERNELS[k].op in MATRIX} == {f"cuda.{op}.{name}" for op in MATRIX}
    assert b.arithmetic == (ROUNDING[name],)
    assert all(KERNELS[k].algorithm in ("", name) for k in kernels(b))


def test_a_mapping_is_for_the_operators_that_it_names_and_says_which_are_not_there() -> None:
    b = built("{matmul: tf32, conv2d: bf16}")
    named = {k for k in kernels(b) if KERNELS[k].algorithm}
    assert named == {"cuda.matmul.tf32", "cuda.conv2d.bf16"} and "cuda.conv2d_grad_input" in kernels(b)
    run = prediction_run(predict(b))
    assert run.title.endswith(", bf16 in conv2d; tf32 in matmul")
    assert run.document["predicted"]["algorithms"] == {"conv2d": "bf16", "matmul": "tf32"}
    assert prediction_run(predict(built("{conv2d: tf32}", model="mlp"))).title.endswith(", no conv2d")
    none = built("{conv2d_grad_input: tf32}", more="parallel: {strategy: inference}\n")
    assert none.algorithms == {} and prediction_run(predict(none)).title.endswith(", no conv2d_grad_input")


def test_algorithms_of_cpus_can_be_chosen_too() -> None:
    for name in ("flip", "col2im"):
        b = built(name, system="xeon-8480c")
        assert f"cpu.conv2d_grad_input.{name}" in kernels(b) and b.algorithms == {"conv2d_grad_input": name}


def test_an_override_replaces_the_files_choice() -> None:
    assert built("tf32", ("system.algorithm=null",)).algorithms == {}
    assert built("{matmul: tf32}", ("system.algorithm.matmul=bf16",)).algorithms == {"matmul": "bf16"}
    with pytest.raises(ScenarioError) as caught:
        built("tf32", ("system.algorithm=bf61",))
    assert str(caught.value).startswith("--set system.algorithm: error: no operator has an algorithm 'bf61'")


def test_the_key_is_part_of_what_a_scenario_is() -> None:
    plain, other = (load_text(text(a)).scenario for a in ("null", "tf32"))
    assert plain.hash != other.hash and "algorithm" not in plain.settings()["system"]
    assert load_text(text("tf32")).scenario.settings()["system"]["algorithm"] == "tf32"


@pytest.mark.parametrize("name", ROUNDING)
def test_a_catalogue_gpu_multiplies_at_the_peak_of_the_format(name: str) -> None:
    """The arithmetic of a kernel scales with the peak that it uses, and with no other."""
    sheet = device("h200-sxm")
    alike = replace(sheet, peak=dict.fromkeys(sheet.peak, sheet.peak["f32"]), memory_bytes_per_second=1e30)
    faster = replace(alike, peak={**alike.peak, ROUNDING[name]: 4 * sheet.peak["f32"]})
    for call in built(name, model="alexnet").lowered["worker"].calls:
        own = roof(call, faster)
        if KERNELS[call.kernel].arithmetic and not call.fused:
            assert own.compute_seconds == pytest.approx(roof(call, alike).compute_seconds / 4, rel=1e-12)
        elif not KERNELS[call.kernel].arithmetic:
            assert own == roof(call, alike)


def test_what_an_epilogue_does_is_done_in_f32() -> None:
    sheet = device("h200-sxm")
    (bare,), (fused,) = (
        [c for c in built(name, model="mlp").lowered["worker"].calls if c.kernel.startswith("cuda.matmul") and c.fused][:1]
        for name in ("null", "bf16")
    )
    more = fused.work.flop - 2 * fused.types[0].size * fused.types[1].shape[1]
    assert more > 0 and bare.work == fused.work
    without = replace(sheet, peak={**sheet.peak, "bf16": 1e40})
    assert roof(fused, without).compute_seconds == pytest.approx(more / sheet.peak["f32"], rel=1e-6)


def test_a_device_without_the_format_is_named_where_nobody_looked_before() -> None:
    call = next(c for c in built("bf16", model="mlp").lowered["worker"].calls if c.kernel == "cuda.matmul.bf16")
    with pytest.raises(Exception, match="'v100-sxm2-16gb' has no peak for 'bf16'"):
        roof(call, device("v100-sxm2-16gb").scaled(Fraction(1)))


def test_utilization_is_of_the_fastest_format_asked_for() -> None:
    peak = device("h200-sxm").peak
    for name, dtype in (("null", "f32"), ("tf32", "tf32"), ("{conv2d: tf32, matmul: bf16}", "bf16")):
        p = predict(built(name, model="alexnet"))
        document = prediction_run(p).document["predicted"]
        from trainscape.footprint import step_flop

        assert document["mfu"] == pytest.approx(step_flop(p.built) / document["step_s"] / peak[dtype])


def test_on_this_computers_gpu_the_records_own_coefficients_price_it(gpu_profile: Any) -> None:
    here = ("system.platform=cuda",)
    one = built("tf32", here, system="host", profile=gpu_profile)
    slow = gpu_profile.kernels["cuda.matmul.tf32"]
    per = {t: 100 * s for t, s in slow.busy[1].seconds_per.items()}
    changed = {**gpu_profile.kernels, "cuda.matmul.tf32": replace(slow, busy={1: replace(slow.busy[1], seconds_per=per)})}
    other = built("tf32", here, system="host", profile=replace(gpu_profile, kernels=changed))
    plain = built("null", here, system="host", profile=replace(gpu_profile, kernels=changed))
    assert predict(other).stats.step_s > predict(one).stats.step_s > 0
    assert predict(plain).stats.step_s < predict(other).stats.step_s


def test_where_kernels_keep_f32_is_said_of_this_computers_gpu(gpu_profile: Any) -> None:
    """LeNet's images have 1 and 6 channels; a batch of one is a vector to its dense layers."""
    here = ("system.platform=cuda",)
    why = "channels of a group are no multiple of four"
    p = predict(built("tf32", here, system="host", profile=gpu_profile))
    assert prediction_run(p).title.endswith(f"conv2d_grad_input (f32 in conv1, conv2: {why})")
    assert prediction_run(p).document["predicted"]["kept_f32"] == {"conv1": why, "conv2": why}
    one = built("{matmul: bf16}", (*here, "model.batch=1"), system="host", profile=gpu_profile)
    assert set(one.kept_f32) == {"fc1", "fc2", "fc3"} and set(one.kept_f32.values()) == {"products with a vector"}
    for more in (("system.algorithm=null",), ("system.algorithm=vendor",), ("system={name: h200-sxm, algorithm: tf32}",)):
        assert built("tf32", (*here, *more), system="host", profile=gpu_profile).kept_f32 == {}


def test_a_library_that_was_not_calibrated_is_not_predicted(gpu_profile: Any) -> None:
    kernels = {name: fit for name, fit in gpu_profile.kernels.items() if not name.endswith("vendor")}
    b = built("vendor", ("system.platform=cuda",), system="host", profile=replace(gpu_profile, kernels=kernels))
    with pytest.raises(
        StaleProfile, match=r"'cuda.*vendor' is not in the calibration profile.*where its library is installed"
    ) as e:
        predict(b)
    assert classify(e.value) is ExitCode.MISSING_CAPABILITY


@pytest.mark.parametrize("system", ["h200-sxm", "v100-sxm2-16gb", "k80-die"])
def test_libraries_compute_in_f32_and_fuse_nothing(system: str) -> None:
    plain, vendor = built("null", system=system), built("vendor", system=system)
    assert set(vendor.algorithms) == set(MATRIX) and vendor.arithmetic == ()
    assert all(not c.fused for c in vendor.lowered["worker"].calls) and any(c.fused for c in plain.lowered["worker"].calls)
    assert predict(vendor).stats.step_s > predict(plain).stats.step_s  # for the kernels that were fused


def test_workers_are_told_and_lower_to_the_same(gpu_profile: Any) -> None:
    b = built("{matmul: tf32}", ("system.platform=cuda", "parallel.ranks=2"), system="host", profile=gpu_profile)
    job = job_of(b, (Block(steps=2),), data=None)
    assert dict(job.algorithms) == {"matmul": "tf32"} and type(job).from_json(job.to_json()) == job
    _, lowered = build(job)  # compares hashes
    assert "cuda.matmul.tf32" in {c.kernel for low in lowered.values() for c in low.calls}
    plain = job_of(built("null", ("system.platform=cuda",), system="host", profile=gpu_profile), (Block(steps=2),), data=None)
    assert plain.algorithms == {} and plain.lowered_hash != job.lowered_hash


def test_systems_are_compared_with_the_algorithm_that_was_asked_for() -> None:
    loaded = load_text(text("tf32"))
    rows = compare_hardware([loaded], systems=("h200-sxm", "v100-sxm2-16gb", "xeon-8480c"))
    assert rows[0].row.fits and rows[0].row.scenario.system.algorithm == "tf32"
    assert "does not compute" in rows[1].row.reason and "no operator has an algorithm" in rows[2].row.reason


def test_commands_say_it(cli: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(text("tf32", model="alexnet").replace("64", "512"))
    assert "algorithms: tf32 in conv2d, matmul, " in cli("plan", file).out
    assert cli("plan", file, "--json").document["plan"]["algorithms"] == dict.fromkeys(MATRIX, "tf32")
    shown = cli("predict", file, "--explain").out
    assert "matmul tf32" in shown and "peak for tf32" in shown and "conv2d.tf32" in shown
    assert cli("plan", file, "--set", "system.algorithm=null", "--json").document["plan"]["algorithms"] == {}
