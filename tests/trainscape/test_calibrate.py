"""Calibration: its grid shares nothing with the models that are predicted, every size is timed, and the profile is whole."""

from collections import Counter

import numpy as np
import pytest

from graph.op import OPS
from hw.errors import StaleProfile
from hw.kernels import KERNELS
from hw.kernels.record import Platform
from runtime.calibration import CHAIN_ITEMS, CHAIN_NBYTES, call_of, chains, items, measure, prepare, rewrite
from trainscape.build import Built
from trainscape.calibrate import calibrate
from trainscape.errors import TrainscapeError
from trainscape.load import load_text

CPU = tuple(n for n, k in KERNELS.items() if k.platform is Platform.CPU)
SCENARIO = "name: s\nmodel: {name: %s, batch: %d, width: %s, input: %s}\nparallel: {ranks: %d}\nrun: {data: synthetic}\n"


def test_the_grid_shares_no_shape_with_the_zoo():
    grid = {(c.kernel, c.types) for c in (i.call for i in items(CPU))}
    for model in ("lenet", "mlp"):
        for image in ("digits", "mnist"):
            for width in (0.5, 1.0, 2.0):
                for batch in (16, 32, 64, 128, 256):
                    for ranks in (1, 2):
                        built = Built(load_text(SCENARIO % (model, batch, width, image, ranks)).scenario)
                        calls = {(c.kernel, c.types) for c in built.lowered["worker"].calls}
                        assert not grid & calls, f"{model} {image} width {width} batch {batch}"


def test_every_size_stands_in_one_chain_and_no_large_one_alone():
    grid = items(CPU)
    found = chains(grid, 3, CHAIN_NBYTES)
    assert Counter((i.kernel, i.index) for c in found for i in c) == Counter((i.kernel, i.index) for i in grid)
    for chain in found:
        assert sum(i.nbytes for i in chain) > CHAIN_NBYTES or len(chain) >= CHAIN_ITEMS
    assert all(len(c) > 1 or c[0].nbytes > CHAIN_NBYTES for c in found)
    assert chains(grid, 3, CHAIN_NBYTES) == found and chains(grid, 4, CHAIN_NBYTES) != found


def test_the_operand_that_was_just_written_is_the_incoming_gradient():
    by_kernel = {i.kernel: i for i in items(("cpu.relu_grad", "cpu.conv2d_grad_weight.direct", "cpu.relu"))}
    assert by_kernel["cpu.relu_grad"].fresh == OPS["relu_grad"].inputs.index("dy")
    assert by_kernel["cpu.conv2d_grad_weight.direct"].fresh == OPS["conv2d_grad_weight"].inputs.index("dy")
    assert by_kernel["cpu.relu"].fresh == 0


@pytest.mark.parametrize("name", CPU)
def test_a_call_outside_any_graph_says_what_it_writes(name):
    for size in KERNELS[name].sizes():
        call, outputs = call_of(KERNELS[name], size)
        assert len(call.writes) == len(outputs) and call.workspace >= 0


def test_timing_yields_every_size_with_ordered_percentiles():
    names = ("cpu.relu", "cpu.fill")
    rows = list(measure(prepare(names, seed=0), seconds=0.0))
    grid = {(n, k) for n in names for k in range(len(list(KERNELS[n].sizes())))}
    assert {(r["kernel"], r["size"]) for r in rows if not r["small"]} == grid
    assert all(0 < r["p10_s"] <= r["median_s"] <= r["p90_s"] for r in rows)


class Coarse:
    """A chain that a coarse or disturbed clock finds as short as reading the clock, always."""

    def __init__(self, template):
        self.items, self.is_small = template.items, template.is_small

    def play(self, rounds):
        return np.ones((rounds, len(self.items)), np.int64)


def test_percentiles_are_ordered_where_all_times_are_equal():
    rows = list(measure([Coarse(prepare(("cpu.fill",), seed=0)[0])], seconds=0.0))
    assert rows and all(r["p10_s"] == r["median_s"] == r["p90_s"] == 1e-9 for r in rows)


def test_the_fresh_operand_is_really_written():
    """The loop that writes it has a store, which shows with a mask other than 0; and with 0 it changes nothing."""
    memory = np.arange(9, dtype=np.int64)
    rewrite(memory.ctypes.data, 8, 0)
    assert memory.tolist() == list(range(9))
    rewrite(memory.ctypes.data, 8, 1)
    assert memory.tolist() == [1, 0, 3, 2, 5, 4, 7, 6, 8]


def test_an_unknown_kernel_is_named_with_the_nearest():
    with pytest.raises(TrainscapeError, match=r"unknown CPU kernel 'cpu\.rel'; did you mean 'cpu\.relu'"):
        calibrate(only=["cpu.rel"])


class Phases:
    """Writes them down."""

    def __init__(self):
        self.told = []

    def on_phase(self, what):
        self.told.append(what)


@pytest.mark.slow
def test_a_profile_is_whole_and_goes_stale(monkeypatch):
    monkeypatch.setattr("trainscape.calibrate.QUICK_SECONDS", 0.2)
    seen = Phases()
    profile = calibrate(quick=True, only=["cpu.relu", "cpu.matmul"], instruments=[seen])
    assert seen.told[0].endswith("ing kernels") and seen.told[1] == "timing kernels, 1 core busy" and seen.told[-1] == "fitting"
    assert set(profile.kernels) == {"cpu.relu", "cpu.matmul"}
    for fitted in profile.kernels.values():
        for c in fitted.busy.values():
            assert c.residuals and all(s >= 0 for s in c.seconds_per.values()) and any(c.seconds_per.values())
    assert all(p.arith_s > 0 and p.copy_s > 0 for p in profile.probes.values())
    assert profile.link.send_bytes_per_s > 0 and profile.action_overhead_s >= 0
    assert type(profile).from_json(profile.to_json()) == profile
    profile.check({k: f.source_hash for k, f in profile.kernels.items()})
    with pytest.raises(StaleProfile, match=r"cpu\.relu changed since"):
        profile.check({"cpu.relu": "other"})
