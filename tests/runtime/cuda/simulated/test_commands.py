"""Commands with ``--device cuda`` on a simulated GPU, end to end, with the kernels that a GPU runs: tiny nets, a few steps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import checkpoint
from trainscape.cli import main

SCENARIO = """
name: tiny
seed: 1
model: {{name: {model}, batch: 4, input: digits, width: {width}}}
system: {{name: host}}
parallel: {{strategy: data, ranks: 1, bucket: 1 KiB}}
run: {{steps: {steps}, learning_rate: 0.02, data: digits, held_out: 4, timeout: 240 s}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("commands")


def write(folder: Path, model: str, width: float, steps: int) -> Path:
    path = folder / f"{model}.yaml"
    path.write_text(SCENARIO.format(model=model, width=width, steps=steps))
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    code = main([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    document: dict[str, Any] = json.loads(out)
    return document


def test_a_training_on_a_gpu_is_that_on_a_core(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = "lenet"
    file, found = write(folder, model, 0.1, 1), {}
    for device in ("cpu", "cuda"):
        found[device] = call(capsys, "train", file, "--device", device, "--out", folder / f"{model}-{device}")
        assert found[device]["settings"]["system"]["platform"] == device
    core, gpu = found["cpu"], found["cuda"]
    assert gpu["plan_hash"] == core["plan_hash"] and gpu["lowered_hash"] != core["lowered_hash"]
    assert gpu["loss"] == pytest.approx(core["loss"], rel=1e-5) and gpu["accuracy"] == core["accuracy"]
    assert gpu["measured"]["bytes_sent_run"] == core["measured"]["bytes_sent_run"]
    ours, theirs = (checkpoint.load(Path(d["checkpoint"])).values for d in (gpu, core))
    assert ours.keys() == theirs.keys()
    for name, a in ours.items():
        assert np.allclose(a, theirs[name], rtol=1e-4, atol=1e-6), name


def test_what_is_calibrated_is_predicted_and_validated(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "data"))
    monkeypatch.setattr("trainscape.calibrate_gpu.known", lambda: MLP)
    monkeypatch.setattr("runtime.cuda.hashes.source_hashes", dict)
    profile = call(capsys, "calibrate", "--device", "cuda")
    assert Path(profile["file"]) == folder / "data" / "trainscape" / "gpus" / "simulator.yaml"
    assert profile["profile"]["provenance"]["gpu"] == "simulator" and set(profile["profile"]["kernels"]) == set(MLP)

    file = write(folder, "mlp", 0.05, 8)
    predicted = call(capsys, "predict", file, "--device", "cuda")["predicted"]
    assert predicted["cost_model"] == "calibrated" and predicted["step_s"] > 0

    monkeypatch.setattr("trainscape.validate.BLOCKS", 2)
    monkeypatch.setattr("trainscape.validate.TIMED_STEPS", 1)
    monkeypatch.setattr("trainscape.validate.blocks_of", few)
    main(["validate", str(file), "--device", "cuda", "--json", "--out", str(folder / "validated")])
    document = json.loads(capsys.readouterr().out)  # whether times agree says nothing: the simulator is no GPU
    assert document["verdict"] in ("ok", "outside") and document["measured"]["step_s"] > 0
    assert {"forward/fc1", "backward/fc1", "update/b0"} <= {a["action"] for a in document["actions"]}


MLP = (
    "cuda.accumulate", "cuda.bias_grad", "cuda.input", "cuda.matmul", "cuda.relu_grad", "cuda.sgd", "cuda.softmax_cross_entropy",
    "cuda.softmax_cross_entropy_grad",
)  # fmt: skip


def few(steps: int, step_s: float) -> tuple[Any, ...]:
    from runtime.job import Block

    return Block(steps=1, evaluate=True), Block(steps=1), Block(steps=1), Block(steps=1, timed=True)


def test_the_demo_shows_the_same_of_a_net_that_a_simulator_is_up_to(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    monkeypatch.setattr("trainscape.demo._prepare", lambda output, loaded: None)
    monkeypatch.setattr("trainscape.demo._validate", lambda output, loaded: tried.append(loaded.scenario))
    document = call(capsys, "demo", "--device", "cuda", "--set", "run.steps=3", "--out", folder / "demo")
    assert [(s.parallel.ranks, s.system.platform, s.model.batch, s.run.steps) for s in tried] == [
        (1, "cuda", 2, 3),
        (2, "cuda", 2, 3),
    ]
    assert [r["title"] for r in document["runs"]] == ["8 GPUs of dgx1-v100"] and len(document["comparison"]) == 6
    assert document["runs"][0]["predicted"]["samples_per_s"] > 1000  # of the whole net
