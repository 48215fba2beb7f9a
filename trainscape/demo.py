"""`demo`: the whole idea in one command. Train a real net for real, with 1 and with 2 workers, and hold predictions against it;
then compare strategies for greater nets on eight GPUs that are not here.

The net is a LeNet sized to the 8x8 digits of the UCI repository: two 3x3 convolutions (6 and 16 channels), each with a 2x2
pooling, then 120, 84 and 10 units. It is not the LeNet-5 of 28x28 images, which would not survive 8x8 pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graph.record import record
from hw.errors import DoesNotFit
from trainscape import gpu_profile
from trainscape.demo_compare import compare_strategies
from trainscape.host_profile import Status, state
from trainscape.load import Loaded, load_text
from trainscape.output import Output
from trainscape.progress import progress
from trainscape.report.comparison_folder import write_pictures
from trainscape.report.json_document import result
from trainscape.report.publication import publish
from trainscape.report.run import Run
from trainscape.report.run_folder import RunFolder
from trainscape.report.tables import COST_MODELS, comparison_table, percent, plain_table, rate, seconds, share
from trainscape.results import prediction_run, validation_run
from trainscape.scenario import RunsOn
from trainscape.systems import HOST

SCENARIO = """
name: demo
seed: 1
model: {name: lenet, batch: 64, input: digits}
system: {name: host}
parallel: {strategy: data, ranks: 1, collective: ring, bucket: 32 KiB}
run: {steps: 1000, learning_rate: 0.02, momentum: 0.9, weight_decay: 0.0001, data: digits, held_out: 360, timeout: 120 s}
"""
SIMULATED = ("model.width=0.1", "model.depth=1", "model.batch=2", "run.steps=2", "run.held_out=4", "run.timeout=3600 s")
"""What of it Numba's simulator of a GPU is up to: it takes a tenth of a millisecond for a thread of a kernel."""
SIMULATED_NOTE = (
    "Kernels run in Numba's simulator (NUMBA_ENABLE_CUDASIM): the net is cut down to almost nothing and trained for two steps, "
    "so that all of the demo is seen in a few minutes. What is measured tells how slow the simulator is, and accuracy is chance."
)
RANKS = (1, 2)
ELSEWHERE = ("dgx1-v100", 8)
NOTE = (
    "Real 8x8 digits (1,797 samples of the UCI repository, 360 set aside), and a LeNet sized to them: 3x3 kernels instead of "
    "5x5, pooled to 2x2 pixels. Everything measured ran on this computer, with the kernels that the prediction prices."
)


@record
class Variant:
    """One run of the demo: how many ranks, on what."""

    ranks: int
    system: str = "host"

    def load(self, overrides: Sequence[str], seed: int | None) -> Loaded:
        """The scenario: the demo's own, the user's overrides, then what makes this variant."""
        mine = [f"parallel.ranks={self.ranks}", f"system.name={self.system}"]
        if self.system != HOST:
            # which part of this computer is meant, and with which algorithms, says nothing of another
            mine += ["system.platform=null", "system.algorithm=null"]
        return load_text(SCENARIO, "demo", (*overrides, *mine), seed)


def demo(output: Output, *, out: Path | None = None, overrides: Sequence[str] = (), seed: int | None = None) -> dict[str, Any]:
    """Run the demo, show it, write its run folder, and return its document.

    Parameters
    ----------
    output : where to show.
    out : run folder; default ``runs/demo``.
    overrides : settings of the scenario.
    seed : of the scenario.

    Raises
    ------
    ScenarioError : an override is wrong.
    MissingCapability : it is to run on a GPU, and there is none.
    DistributedFailure : a worker died.
    """
    here = [Variant(ranks=n).load(overrides, seed) for n in RANKS]
    if here[0].scenario.system.platform is RunsOn.CUDA and is_simulated_gpu():
        here = [Variant(ranks=n).load((*SIMULATED, *overrides), seed) for n in RANKS]
        output.note(SIMULATED_NOTE)
    elsewhere = Variant(ranks=ELSEWHERE[1], system=ELSEWHERE[0]).load(overrides, seed)
    output.note(NOTE)
    _prepare(output, here[0])
    folder = RunFolder.create(out or Path("runs") / "demo", command="demo", settings=here[0].scenario.settings())
    runs = [run for loaded in here if (run := _validate(output, loaded)) is not None]
    runs.append(_predict(elsewhere))
    document = _document(here[0], runs, folder)
    output.show(_table(runs))
    output.show(f"The GPUs are priced by {COST_MODELS['roofline']}.\n")
    for run in runs:
        if "measured" in run.document:
            output.show(comparison_table(run.document, run.title))
            output.show(f"{_verdict(run)}, accuracy {share(run.document['accuracy'])} on samples set aside\n")
    comparison = compare_strategies(output)
    document["comparison"] = comparison.documents()
    write_pictures(folder, document["comparison"], "Strategies for AlexNet and ResNet-50 on 8 GPUs (predicted)")
    title = f"LeNet on digits, batch {here[0].scenario.model.batch}"
    publish(folder, title, document, runs, notes=[NOTE], appendix=comparison.page())
    output.show(f"{folder.path}/: report.md, step.png, compare.png, result.json, and trace.json.gz for https://ui.perfetto.dev")
    return document


def is_simulated_gpu() -> bool:
    """Whether the GPU of this computer is Numba's simulator of one; raises `MissingCapability` when there is neither."""
    from runtime.cuda.driver import SIMULATOR, require_gpu

    return require_gpu().name == SIMULATOR


def _prepare(output: Output, loaded: Loaded) -> None:
    """Kernels and a profile, where they are missing: the first time this takes a minute, and says so."""
    is_gpu = loaded.scenario.system.platform is RunsOn.CUDA
    found = gpu_profile.state() if is_gpu else state()
    if found.status is Status.PRESENT:
        return
    what = "GPU" if is_gpu else "computer"
    why = f"there is no calibration of this {what} yet" if found.status is Status.MISSING else found.text
    output.note(f"{why}: compiling kernels and measuring them, once, for about a minute")
    with progress(output, "calibration", every_phase=True) as shown:
        (_calibrate_gpu if is_gpu else _calibrate)(shown)


def _calibrate(shown: object) -> None:
    from hw.profile import save_profile
    from trainscape.calibrate import calibrate

    save_profile(calibrate(quick=True, instruments=[shown]))


def _calibrate_gpu(shown: object) -> None:
    from hw.gpu_profile import places, save_gpu_profile
    from trainscape.calibrate_gpu import calibrate_gpu

    profile = calibrate_gpu(quick=True, instruments=[shown])
    save_gpu_profile(profile, places(profile.gpu)[0])


def _validate(output: Output, loaded: Loaded) -> Run | None:
    from trainscape.build import Built
    from trainscape.validate import validate

    ranks = loaded.scenario.parallel.ranks
    try:
        with progress(output, f"{ranks} worker{'s' if ranks > 1 else ''}") as shown:
            found = validate(Built(loaded.scenario), instruments=[shown])
    except DoesNotFit as e:
        output.warning(str(e))
        return None
    return validation_run(found)


def _predict(loaded: Loaded) -> Run:
    from trainscape.build import Built
    from trainscape.predict import predict

    return prediction_run(predict(Built(loaded.scenario)))


def _document(first: Loaded, runs: Sequence[Run], folder: RunFolder) -> dict[str, Any]:
    accuracies = [run.document["accuracy"] for run in runs if run.document.get("accuracy") is not None]
    return result(
        "demo",
        scenario=first.scenario.name,
        settings=first.scenario.settings(),
        accuracy=min(accuracies, default=None),
        runs=[{"title": run.title, **run.document} for run in runs],
        out=str(folder.path),
    )


def _table(runs: Sequence[Run]) -> Any:
    rows = []
    for run in runs:
        p, m = run.document["predicted"], run.document.get("measured") or {}
        error = (run.document.get("error") or {}).get("step")
        samples = rate(m.get("samples_per_s") or p["samples_per_s"])
        rows.append([run.title, seconds(p["step_s"]), seconds(m.get("step_s")), percent(error), samples])
    return plain_table(("a training step", "predicted", "measured", "error", "samples/s"), rows)


def _verdict(run: Run) -> str:
    from trainscape.report.markdown import error_sentence

    return error_sentence(run.document)
