"""Profiles: the fit finds what was put in, the file keeps it, what is stale is refused, and the host becomes a system."""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.ir import Phase
from graph.op import Work
from graph.registry import Registry
from graph.tensor_type import f32
from hw import catalogue
from hw.cost import calibrated, cost_model
from hw.cost.calibrated import CalibratedModel, fit, predict
from hw.errors import DoesNotFit, HwError, StaleProfile
from hw.kernels.record import Call, KernelRecord, Platform
from hw.link import DrivenBy
from hw.profile import (
    LARGE,
    SMALL,
    Coefficients,
    KernelFit,
    LinkFit,
    Probes,
    Profile,
    Row,
    default_path,
    load_profile,
    save_profile,
)
from hw.topology import Topology

COEFFICIENT = st.floats(1e-12, 1e-6)


@given(st.tuples(COEFFICIENT, COEFFICIENT, COEFFICIENT), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_fit_recovers_coefficients(true: tuple[float, float, float], seed: int) -> None:
    """Exact times of random counts give the coefficients back, and no residuals."""
    random = np.random.default_rng(seed)
    scale = 1.0 / np.array(true)  # every term matters in some rows
    rows = [dict(zip("abc", (random.uniform(0, 1, 3) * scale).tolist(), strict=True)) for _ in range(12)]
    seconds = [sum(n * c for n, c in zip(r.values(), true, strict=True)) for r in rows]
    found = fit(rows, seconds)
    assert found.terms == ("a", "b", "c")
    assert np.allclose(list(found.coefficients.values()), true, rtol=1e-6)
    assert max(map(abs, found.residuals)) < 1e-9
    assert predict(rows[0], found.coefficients) == pytest.approx(seconds[0])


def test_fit_is_in_relative_error_and_never_negative() -> None:
    """A small kernel counts as much as a large one; a term that would want a negative coefficient gets none."""
    found = fit([{"n": 1.0}, {"n": 1000.0}], [1.0, 2000.0])
    assert found.coefficients["n"] == pytest.approx((1 + 0.5) / (1 + 0.25))  # minimum of (c - 1)^2 + (c / 2 - 1)^2
    assert found.residuals == pytest.approx((0.2, -0.4))
    falling = fit([{"call": 1.0, "n": 1.0}, {"call": 1.0, "n": 2.0}], [2.0, 1.0])
    assert falling.coefficients["n"] == 0.0


def test_fit_leaves_absent_terms_at_zero() -> None:
    """A term that is nowhere counted has no coefficient to find, and a row may leave terms out."""
    found = fit([{"call": 1.0, "tail": 0.0}, {"call": 1.0, "n": 10.0}], [1e-6, 2e-6])
    assert found.coefficients == pytest.approx({"call": 1e-6, "tail": 0.0, "n": 1e-7})


@pytest.mark.parametrize(
    ("rows", "seconds", "message"),
    [
        ([], [], "at least one"),
        ([{"n": 1.0}], [1.0, 2.0], "as many times as rows"),
        ([{"n": 1.0}], [0.0], "times above 0"),
        ([{"n": -1.0}], [1.0], "not negative"),
        ([{"n": math.nan}], [1.0], "all finite"),
    ],
)
def test_fit_refuses(rows: list[dict[str, float]], seconds: list[float], message: str) -> None:
    """What cannot be fitted."""
    with pytest.raises(HwError, match=message):
        fit(rows, seconds)


def profile() -> Profile:
    """A profile of a host of two cores."""
    one = Coefficients(seconds_per={"call": 1e-6, "n": 2e-9}, residuals=(0.03, -0.04))
    two = Coefficients(seconds_per={"call": 1e-6, "n": 4e-9}, residuals=(0.0,))
    return Profile(
        created="2025-01-01T00:00:00Z",
        cpu="a processor",
        cores=2,
        memory_nbytes=8 * 2**30,
        memory_bytes_per_s={1: 1e10, 2: 8e9},
        versions={"numba": "0.61"},
        kernels={"cpu.relu": KernelFit(source_hash="abc", busy={1: one, 2: two})},
        link=LinkFit(
            send_overhead_s=1e-6,
            send_bytes_per_s=1e10,
            recv_copy_overhead_s=2e-6,
            recv_copy_bytes_per_s=9e9,
            recv_add_overhead_s=3e-6,
            recv_add_bytes_per_s=5e9,
            latency_s=5e-7,
            residuals=(0.1,),
        ),
        probes={1: Probes(arith_s=1e-3, copy_s=2e-3)},
        step_overhead_s=1e-6,
        repeat=0.02,
        rows=(Row(kernel="cpu.relu", busy=1, what="f32[64]", measured_s=1e-6, fitted_s=1.03e-6),),
    )


def test_file_round_trip(tmp_path: Path) -> None:
    """What is saved is loaded, in plain JSON with a schema, and nothing else lies beside it."""
    path = tmp_path / "deep" / "host-profile.json"
    assert save_profile(profile(), path) == path
    assert load_profile(path) == profile()
    assert json.loads(path.read_text())["schema"] == "trainscape.profile/1"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile is replaced whole or not at all."""
    path = save_profile(profile(), tmp_path / "p.json")

    def broken(fd: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        save_profile(replace(profile(), cores=4), path)
    assert load_profile(path) == profile()
    assert [p.name for p in tmp_path.iterdir()] == ["p.json"]


def test_a_profile_never_holds_nan(tmp_path: Path) -> None:
    """JSON has no NaN."""
    with pytest.raises(ValueError, match="JSON compliant"):
        save_profile(replace(profile(), step_overhead_s=math.nan), tmp_path / "p.json")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, HwError, "this host has not been calibrated"),
        ("{", HwError, "cannot be read"),
        ("[]", HwError, "no JSON object"),
        ('{"schema": "trainscape.profile/0"}', StaleProfile, "schema 'trainscape.profile/0', not 'trainscape.profile/1'"),
        ('{"schema": "trainscape.profile/1"}', HwError, "broken (KeyError: 'created')"),
    ],
)
def test_unreadable_files(tmp_path: Path, text: str | None, error: type[HwError], message: str) -> None:
    """Each says what is wrong, and to calibrate."""
    path = tmp_path / "p.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error) as e:
        load_profile(path)
    assert message in str(e.value)
    assert "run `trainscape calibrate`" in str(e.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("link.latency_s", math.nan, "latency_s cannot be nan"),
        ("link.send_bytes_per_s", 0, "a rate or a time cannot be 0"),
        ("link.send_bytes_per_s", "fast", "a rate or a time cannot be 'fast'"),
        ("step_overhead_s", None, "step_overhead_s cannot be None"),
        ("cores", "two", "cores cannot be 'two'"),
        ("probes", {}, "probes is empty"),
        ("memory_bytes_per_s", {}, "memory_bytes_per_s is empty"),
        ("kernels.cpu/relu.busy", {}, "a kernel is empty"),
        ("kernels.cpu/relu.busy.1.seconds_per.n", "x", "seconds per n cannot be 'x'"),
        ("kernels.cpu/relu.busy.1.residuals", [math.inf], "a residual cannot be inf"),
    ],
)
def test_values_that_no_calibration_gives(tmp_path: Path, path: str, value: object, message: str) -> None:
    """A file that was edited or damaged is refused when it is read, not when it is used."""
    body = profile().to_json()
    *parents, last = [key.replace("/", ".") for key in path.split(".")]
    at = body
    for key in parents:
        at = at[key]
    at[last] = value
    (tmp_path / "p.json").write_text(json.dumps(body))
    with pytest.raises(HwError, match=re.escape(message)):
        load_profile(tmp_path / "p.json")


def test_default_path_is_the_users() -> None:
    """The user's data folder, not the current one."""
    assert default_path().parts[-2:] == ("trainscape", "host-profile.json")
    assert default_path().is_absolute()


@pytest.mark.parametrize(
    ("hashes", "cpu", "message"),
    [
        ({"cpu.relu": "abc"}, "a processor", ""),
        ({}, None, ""),
        ({"cpu.relu": "xyz"}, None, "is stale: cpu.relu changed since; run `trainscape calibrate`"),
        ({"cpu.relu": "xyz", "cpu.b": "1", "cpu.a": "2"}, None, "stale: cpu.relu changed since; cpu.a, cpu.b not in it; run"),
        ({"cpu.relu": "abc"}, "another", "the profile is of 'a processor', but this is 'another'; run `trainscape calibrate`"),
    ],
)
def test_staleness(hashes: Mapping[str, str], cpu: str | None, message: str) -> None:
    """Kernels whose source changed or is missing are listed; so is another processor."""
    if not message:
        profile().check(hashes, cpu)
        return
    with pytest.raises(StaleProfile) as e:
        profile().check(hashes, cpu)
    assert message in str(e.value)


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of one kernel, with one term more than was fitted when asked for."""

    def terms(types: Any, attrs: Any) -> dict[str, float]:
        return {"call": 1.0, "n": float(types[0].size), "tail": float(attrs.get("tail", 0))}

    found: Registry[KernelRecord] = Registry("kernel")
    for name in ("cpu.relu", "cpu.tanh"):
        record = KernelRecord(
            name=name, platform=Platform.CPU, op="relu", epilogue=(), workspace=lambda t, a: 0, terms=terms, sizes=lambda: ()
        )
        found.add(name, record)
    monkeypatch.setattr(calibrated, "KERNELS", found)


def call(kernel: str, n: int, **attrs: Any) -> Call:
    """A call as `hw.lower` would make it."""
    return Call(
        kernel=kernel,
        nodes=(),
        fused=(),
        reads=(),
        writes=(),
        types=(f32(n),),
        attrs=attrs,
        work=Work(),
        workspace=0,
        layer="",
        phase=Phase.FORWARD,
    )


@pytest.mark.usefixtures("kernels")
def test_calibrated_model() -> None:
    """Terms times coefficients of as many busy cores as were measured at most; the spread is that of the residuals."""
    core = catalogue.host_system(profile(), 2).device
    model = cost_model(core, profile())
    assert model.name == "calibrated"
    assert model.seconds(call("cpu.relu", 1000)) == pytest.approx(3e-6)
    assert model.seconds(call("cpu.relu", 1000), busy=2) == model.seconds(call("cpu.relu", 1000), busy=5) == pytest.approx(5e-6)
    assert model.spread(call("cpu.relu", 1000)) == 0.04  # 68 % of the two errors keep within the greater


def test_a_fit_says_how_wrong_it_is_where_it_has_not_looked() -> None:
    """Each row is priced by the fit of all others: exact where one line holds them all, wrong where one stands apart."""
    rows = [{"call": 1.0, "bytes": float(n)} for n in (10, 100, 1000, 3000)]
    straight = fit(rows, [1e-6 + r["bytes"] * 1e-9 for r in rows])
    assert straight.unseen == pytest.approx([0.0] * 4, abs=1e-9)
    bent = fit(rows, [1e-6 + r["bytes"] * 1e-9 * (2 if r["bytes"] == 3000 else 1) for r in rows])
    assert bent.unseen[3] == pytest.approx(4e-6 / 7e-6 - 1, abs=1e-9)
    assert abs(bent.unseen[3]) > abs(bent.residuals[3])


def test_a_step_in_the_cache_takes_its_fraction() -> None:
    """Below `SMALL` the factor holds, beyond `LARGE` it is 1, between them it changes with the logarithm."""
    c = Coefficients(seconds_per={"call": 2.0}, small=0.5)
    assert [c.of_step(n)["call"] for n in (None, 2 * LARGE, LARGE, SMALL, 1, 0)] == [2.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    assert c.of_step(round(math.sqrt(SMALL * LARGE)))["call"] == pytest.approx(1.5, abs=1e-6)


@pytest.mark.usefixtures("kernels")
def test_calibrated_model_refuses() -> None:
    """Kernels and terms that were never measured."""
    model = CalibratedModel(profile())
    with pytest.raises(HwError, match=r"kernel 'cpu.tanh' is not in the calibration profile of 2025.*run `trainscape calibrate`"):
        model.seconds(call("cpu.tanh", 3))
    with pytest.raises(HwError, match=r"kernel 'cpu.relu': no coefficient for tail; fitted are call, n; run"):
        model.seconds(call("cpu.relu", 3, tail=1))


def test_host_system() -> None:
    """Single cores around one memory, joined by a link that they drive themselves."""
    s = catalogue.host_system(profile(), 2)
    assert s.name == "host"
    assert s.places == ("core0", "core1")
    assert s.device.memory_nbytes == 4 * 2**30
    t = Topology(s)
    assert t.route("core0", "core1") == ("core0>memory", "memory>core1")
    assert t.latency("core0", "core1") == 5e-7
    assert {h.driven_by for h in t.hops.values()} == {DrivenBy.CORE}
    copies = s.wires[0].link.copies
    assert copies is not None
    assert copies.receive_add.seconds(5000) == pytest.approx(4e-6)
    with pytest.raises(DoesNotFit, match="3 single-core devices are asked for, but this host has 2 cores"):
        catalogue.host_system(profile(), 3)
    with pytest.raises(HwError, match="at least one core"):
        catalogue.host_system(profile(), 0)
