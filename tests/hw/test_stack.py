"""Software stacks: their files, and what they add to time and memory."""

from dataclasses import replace
from pathlib import Path

import pytest

from graph.optimizer import Sgd
from graph.parallel.strategies import STRATEGIES
from graph.zoo import MODELS
from hw import stacks
from hw.catalogue import system
from hw.cost import cost_model
from hw.errors import HwError
from hw.input_stage import InputStage
from hw.kernels.record import Platform
from hw.lower import lower
from hw.model import INPUT, PlacedModel
from hw.stack import Stack, kept_nbytes

PLAIN = Stack(name="plain")


@pytest.fixture
def placed():
    def make(stack, *, ranks=2, strategy="data_parallel", name="dgx1-p100", batch=4, **options):
        model = MODELS["lenet"].build(batch, image=(28, 28, 1))
        more = {"bucket_bytes": 1 << 15} if strategy != "inference" else {}
        plan = STRATEGIES[strategy].build(model, Sgd(learning_rate=0.1), ranks=ranks, steps=2, **more)
        low = {r.name: lower(plan, r.name, Platform.CUDA) for r in plan.roles}
        return PlacedModel(system=system(name), plan=plan, lowered=low, cost=cost_model, stack=stack, **options)

    return make


@pytest.mark.parametrize("name", stacks.names())
def test_files(name):
    """Every number has a source, and what is fitted names rows of published tables."""
    entry = stacks.entry(name)
    assert entry.stack.name == name == stacks.stack(name).name
    assert entry.stack.title
    assert set(entry.fitted) <= {r.quantity for r in entry.rows}
    assert all(row.count("/") == 1 for rows in entry.fitted.values() for row in rows)


def test_unknown_stack():
    with pytest.raises(HwError, match="no software stack 'mxnet'; did you mean 'mxnet-2016'"):
        stacks.stack("mxnet")


FILE = """kind: stack
name: x
title: for a test
host:
  array: {value: "1 us", source: read in the code}
"""


def test_a_file(tmp_path: Path):
    path = tmp_path / "x.yaml"
    path.write_text(FILE)
    assert stacks.read_file(path).stack == Stack(name="x", title="for a test", array_seconds=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FILE.replace("kind: stack", "kind: link"), "kind must be stack"),
        (FILE.replace("array:", "arrays:"), "unknown key 'host.arrays'"),
        (FILE + "memory: {keeps: all}\n", "memory.keeps|keeps is 'all'; choose planned | results"),
        (FILE + "devices: {order: best}\n", "order is 'best'; choose ring | number"),
        (FILE + "fitted: {host.copies: [t/r]}\n", "there is no number 'host.copies'"),
    ],
)
def test_bad_files(tmp_path: Path, text, message):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(HwError, match=message):
        stacks.read_file(path)


@pytest.mark.parametrize(
    "changes",
    [{"array_seconds": -1.0}, {"decode_seconds": -1.0}, {"contention": 0.9}, {"copy_bytes_per_second": 0.0}, {"reserved": 1.0}],
)
def test_numbers_that_cannot_be(changes):
    with pytest.raises(HwError, match="stack 'plain'"):
        replace(PLAIN, **changes)


def test_arrays_take_time_between_steps(placed):
    """LeNet has 10 arrays (2 convolutions, 3 matrix products): each is renewed, and with two devices exchanged too."""

    def input_seconds(stack, ranks):
        model = placed(stack, ranks=ranks)
        do = next(i for i in model.plan.start(model.plan.ranks[0]) if getattr(i, "kernel", "") == INPUT)
        return model.compute_seconds(model.plan.ranks[0], do)

    slow = replace(PLAIN, array_seconds=1e-3)
    for ranks, times in ((1, 1), (2, 2)):
        assert input_seconds(slow, ranks) - input_seconds(PLAIN, ranks) == pytest.approx(10e-3 * times)


def test_inference_renews_nothing(placed):
    model = placed(replace(PLAIN, array_seconds=1.0), strategy="inference")
    assert model.stack.step_seconds(model.plan, "worker") == 0.0


def test_host_copies_are_shared(placed):
    """Two devices of a node bring their batches from the host together."""
    stage, seconds = InputStage(depth=1), {}
    for rate in (None, 1e6):
        model = placed(replace(PLAIN, copy_bytes_per_second=rate), input_stage=stage)
        do = next(i for i in model.plan.start(model.plan.ranks[0]) if getattr(i, "kernel", "") == INPUT)
        seconds[rate] = model.compute_seconds(model.plan.ranks[0], do)
    nbytes = model.plan.role["worker"].buffers["data"].size
    assert seconds[1e6] == pytest.approx(2 * nbytes / 1e6, rel=0.05)
    assert seconds[None] < 1e-3


def test_devices_in_the_order_of_their_numbers(placed):
    """The best ring of a DGX-1 is not that of the numbers."""
    model = placed(replace(PLAIN, is_numbered=True), ranks=8, batch=8)
    assert [model.places[r] for r in model.plan.ranks] == list(system("dgx1-p100").places)
    assert [placed(PLAIN, ranks=8, batch=8).places[r] for r in model.plan.ranks] != list(system("dgx1-p100").places)


def test_contention(placed):
    model = placed(replace(PLAIN, contention=1.5))
    assert model.contention(model.plan.ranks[0]) == 1.5
    assert placed(None).contention(model.plan.ranks[0]) == 1.0


def test_memory(placed):
    """Kept results are those of every kernel: more than what is planned, and exactly so many bytes for LeNet's forward pass."""
    planned, kept = (placed(replace(PLAIN, keeps_results=keeps), strategy="inference", batch=64) for keeps in (False, True))
    rank = planned.plan.ranks[0]
    assert kept.memory_bytes(rank) > planned.memory_bytes(rank)
    lowered = kept.lowered["worker"]
    made = {v for c in lowered.calls for v in c.writes} - {v for b in kept.plan.role["worker"].buffers.values() for v in b.values}
    held = sum(b.size * b.itemsize for b in kept.plan.role["worker"].buffers.values())
    # convolution and matrix product take bias and activation into their own result, so no element-wise kernel is left
    assert kept_nbytes(lowered) == held + sum(lowered.graph.type_of(v).nbytes for v in made)
    small = placed(replace(PLAIN, reserved=0.25))
    assert small.memory_capacity_bytes(rank) == pytest.approx(0.75 * placed(None).memory_capacity_bytes(rank))
