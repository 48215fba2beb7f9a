"""Prediction and real run of one plan: the same actions, the same bytes, memory as predicted; and what a verdict is made of."""

from dataclasses import replace

import pytest

from graph.parallel.plan import Rank
from graph.step_stats import is_transfer, kind_of
from graph.timeline import Record, Timeline
from hw.profile import Probes
from runtime.result import BlockResult, Probe, RunResult
from trainscape.build import Built
from trainscape.load import load_text
from trainscape.predict import predict
from trainscape.results import validation_run
from trainscape.validate import Verdict, blocks_of, compare, validate

SCENARIO = """
name: small
model: {{name: {model}, batch: {batch}, width: {width}, input: digits, dropout: {dropout}}}
parallel: {{ranks: {ranks}, bucket: 16 KiB{parallel}}}
run: {{steps: 20, learning_rate: 0.02, momentum: 0.9, data: digits}}
"""


def scenario(*, model="lenet", ranks=1, batch=64, width=1.0, dropout=0.0, parallel=""):
    parallel = f", {parallel}" if parallel else ""
    text = SCENARIO.format(model=model, batch=batch, width=width, ranks=ranks, dropout=dropout, parallel=parallel)
    return load_text(text).scenario


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ranks": 2},
        {"ranks": 2, "width": 2.0, "batch": 256, "dropout": 0.5},
        {"model": "mlp", "ranks": 2, "parallel": "micro_batches: 2"},
        {"ranks": 2, "parallel": "collective: tree"},
        {"ranks": 2, "parallel": "strategy: parameter_server"},
        {"ranks": 2, "parallel": "strategy: parameter_server, servers: host"},
        {"ranks": 2, "parallel": "strategy: hybrid"},
        {"ranks": 2, "parallel": "strategy: hybrid, scheme: turns"},
    ],
    ids=["1 worker", "2 workers", "2 workers, larger", "micro-batches", "tree", "devices", "host", "whole", "turns"],
)
def test_what_is_predicted_is_what_is_run(profile, monkeypatch, options):
    monkeypatch.setattr("trainscape.validate.BLOCK_SECONDS", 0.002)
    found = validate(Built(scenario(**options)))
    predicted, measured = found.predicted_timeline, found.measured_timeline
    assert predicted.plan_hash == measured.plan_hash != ""
    assert predicted.actions() == measured.actions()
    numbers = found.numbers()
    assert numbers["predicted"]["bytes_sent_total"] == numbers["measured"]["bytes_sent_total"]
    assert all(w["predicted_bytes"] == w["measured_bytes"] > 0 for w in numbers["wires"])
    assert sum(w["measured_bytes"] for w in numbers["wires"]) == numbers["measured"]["bytes_sent_total"]
    for p, m in zip(numbers["predicted"]["memory_peak_bytes"], numbers["measured"]["memory_peak_bytes"], strict=True):
        assert 0 < m <= p <= 1.05 * m
    assert set(numbers["error"]) >= {"step", "forward", "backward", "update", "allreduce"}
    assert all(numbers["error"][kind_of(r)] is not None for r in measured if is_transfer(r))
    assert 0.0 <= numbers["measured"]["accuracy"] <= 1.0
    assert all(numbers["measured"]["kinds_s"][k] > 0 for k in ("forward", "backward", "update"))
    actions = {a["action"]: a for a in validation_run(found).document["actions"]}
    assert all(a["predicted_s"] > 0 and a["measured_s"] > 0 for a in actions.values())
    assert {"forward/fc1", "backward/fc1", "update/b0"} <= set(actions)
    assert (numbers["error"]["allreduce"] is not None) == any(a.startswith("allreduce/") for a in actions)
    assert (len(found.result.memory_peak_bytes) > 1) == (len(numbers["wires"]) > 0)


def result_of(step_s, probe, ranks=1, blocks=8):
    rank = Rank("worker", (0,))
    records = [
        Record(rank=rank, id=(k, what, "l", 0), stream="compute", ready=k + at, start=k + at, end=k + at + 1e-5)
        for k in range(3)
        for at, what in ((0.0, "forward"), (0.1, "backward"), (0.2, "update"))
    ]
    steps = tuple(
        BlockResult(first=k * 9, steps=9, timed=False, seconds=1.0, step_seconds=(step_s,) * 8 + (1.0,)) for k in range(blocks)
    )
    return RunResult(
        first_step=0,
        steps=9 * blocks,
        losses=(1.0,),
        blocks=steps,
        timeline=Timeline(records, source="measured"),
        bytes_sent={},
        bytes_sent_total=0,
        memory_peak_bytes=(1,),
        lane_bytes=0,
        accuracy=0.9,
        held_out=10,
        checkpoint=None,
        probes=((probe,) * 9,) * ranks,
        cpus=(0,),
        compile_seconds=0.0,
        wall_seconds=1.0,
        plan_hash="",
        lowered_hash="",
    )


@pytest.mark.parametrize(
    ("factor", "probe", "verdict"),
    [
        (1.0, 1.0, Verdict.OK),
        (1.09, 1.0, Verdict.OK),
        (1.25, 1.0, Verdict.OUTSIDE),
        (0.8, 1.0, Verdict.OUTSIDE),
        (1.0, 1.12, Verdict.INCONCLUSIVE),
        (1.0, 0.88, Verdict.INCONCLUSIVE),
        (2.0, 1.5, Verdict.INCONCLUSIVE),
    ],
)
def test_verdict(profile, factor, probe, verdict):
    prediction = predict(Built(scenario()))
    profile = replace(profile, probes={1: Probes(arith_s=1e-3, copy_s=2e-3)})
    measured = result_of(prediction.stats.step_s * factor, Probe(arithmetic=1e-3 * probe, copy=2e-3))
    found = compare(prediction, measured, profile)
    assert found.verdict is verdict
    assert found.errors()["step"] == pytest.approx(1 / factor - 1)
    assert found.step_mean_s > found.step_s  # one step in nine was interrupted: the median does not see it, the mean does


def test_blocks_train_first_then_measure_then_time():
    first, *rest, last = blocks_of(steps=600, step_s=1e-4)
    assert first.steps == 600 and first.evaluate and not first.timed
    assert len(rest) >= 5 and all(b.steps == 3000 and not b.timed for b in rest)
    assert last.timed
    slow = blocks_of(steps=1, step_s=20.0)  # nobody waits for sixty of those
    assert [b.steps for b in slow] == [2] * len(slow) and slow[-1].timed
