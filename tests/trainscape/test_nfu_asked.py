"""What `trainscape nfu` is asked, right and wrong: every mistake at once, files that are no files, a scenario's own NFU."""

import os
from pathlib import Path
from typing import Any

import pytest

from graph.parallel.plan import Rank
from graph.timeline import Record, Timeline
from hw.nfu.benchmark import LAYERS, TEN
from hw.nfu.config import Nfu
from sim.tracing import write_chrome_trace
from trainscape.errors import ScenarioError
from trainscape.nfu.baseline import against
from trainscape.nfu.config import configured, nfu_of
from trainscape.nfu.program import write
from trainscape.nfu.shape import read_shape
from trainscape.report.nfu import baseline_sentence
from trainscape.report.nfu_front_figure import ABOVE, BELOW, ENERGY, TIME, _At, _name_designs
from trainscape.report.nfu_published import published_cells

SCENARIO = """
name: small
model: {name: lenet, input: digits}
system: {name: dadiannao-1}
parallel: {strategy: inference}
"""


class TestMistakesAreToldAtOnce:
    def test_of_a_shape(self) -> None:
        with pytest.raises(ScenarioError) as e:
            read_shape("conv:nx=-1,ny=8,zz=3")
        assert [m.message.partition(";")[0] for m in e.value.mistakes] == [
            "must be a whole number of at least 1, got '-1'",
            "unknown key 'zz'",
            "ni and no missing: conv:nx=32,ny=32,kx=3,ky=3,ni=48,no=40",
        ]

    def test_of_settings(self) -> None:
        with pytest.raises(ScenarioError) as e:
            configured(Nfu(), ["nfu.foo=3", "nfu.sb_rows=-4", "nfu.neuron.fraction=99", "nfu.clock_hz=fast"])
        told = {m.path: m.message for m in e.value.mistakes}
        assert list(told) == ["nfu.foo", "nfu.clock_hz", "nfu.sb_rows", "nfu.neuron.fraction"]
        assert "got -4" in told["nfu.sb_rows"] and "got 99" in told["nfu.neuron.fraction"]

    def test_settings_that_go_together_are_no_mistake_beside_another(self) -> None:
        with pytest.raises(ScenarioError) as e:
            configured(Nfu(), ["nfu.neuron.bits=8", "nfu.neuron.fraction=4", "nfu.foo=3"])
        assert [m.path for m in e.value.mistakes] == ["nfu.foo"]


class TestFiles:
    def test_a_link_stays_a_link(self, tmp_path: Path) -> None:
        real, link = tmp_path / "real", tmp_path / "link"
        link.symlink_to(real)
        write(link, "program")
        assert link.is_symlink() and real.read_text() == "program"
        write_chrome_trace(link, {})
        assert link.is_symlink() and "traceEvents" in real.read_text()
        assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]

    def test_a_pipe_is_written_into(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        try:
            write(pipe, "program")
            assert os.read(reader, 100) == b"program"
            write_chrome_trace(pipe, {"predicted": Timeline([_record()])})
            assert os.read(reader, 20).startswith(b'{"traceEvents"')
        finally:
            os.close(reader)
        assert pipe.is_fifo()


def _record() -> Record:
    return Record(rank=Rank("worker", (0,)), id=(0, "forward"), stream="compute", ready=0.0, start=0.0, end=1e-6)


class TestTargets:
    @pytest.mark.parametrize(
        ("more", "device"),
        [
            ((), "dadiannao-node"),
            (("--device", "nfu-4x4"), "nfu-4x4"),
            (("--set", "system.name=k20"), "diannao"),
            (("--set", "system.name=k20-diannao", "--set", "parallel.strategy=features"), "diannao"),
            (("--set", "system.name=host"), "diannao"),
        ],
    )
    def test_a_scenario_is_looked_at_on_its_own_nfu(self, more: tuple[str, ...], device: str, cli: Any, tmp_path: Path) -> None:
        file = tmp_path / "small.yaml"
        file.write_text(SCENARIO)
        found = cli("nfu", "run", file, *more, "--json").document
        assert (found["device"], found["nfu"]["tn"]) == (device, nfu_of(device).tn)

    @pytest.mark.parametrize("option", [("--schedule", "maps=2"), ("--layer", "CLASS3")])
    def test_a_program_has_neither_a_schedule_nor_layers(self, option: tuple[str, str], cli: Any) -> None:
        cli("nfu", "disasm", "CLASS3", "-o", "class3.nfu")
        found = cli("nfu", "disasm", "class3.nfu", *option)
        assert (found.code, found.out) == (2, "") and f"{option[0]} means nothing for a program" in found.err

    def test_nor_when_it_is_run(self, cli: Any) -> None:
        cli("nfu", "disasm", "CLASS3", "-o", "class3.nfu")
        found = cli("nfu", "run", "class3.nfu", "--schedule", "maps=2")
        assert (found.code, found.out) == (2, "") and "a program is one already" in found.err


class TestPublished:
    def test_means_of_dian_nao_stand_beside_its_own(self) -> None:
        found = against(TEN, nfu_of("diannao"))
        assert (found["published_speedup"], found["published_energy_reduction"]) == (117.87, 21.08)
        assert "published 117.87" in baseline_sentence(found)

    @pytest.mark.parametrize(("names", "device"), [(list(LAYERS), "fpga-gupta"), (["CLASS1"], "diannao")])
    def test_and_beside_no_others(self, names: list[str], device: str) -> None:
        found = against([LAYERS[n] for n in names], nfu_of(device))
        assert found["published_speedup"] is None and found["published_energy_reduction"] is None
        assert "117.87" not in baseline_sentence(found)

    def test_chips_beside_their_templates(self) -> None:
        header, lines = published_cells(("anna-like", "k20", "nfu-4x4", "diannao"))
        rows = {line[0]: dict(zip(header[1::2], zip(line[1::2], line[2::2], strict=True), strict=True)) for line in lines}
        assert rows == {
            "anna-like": {
                "multiply-adds": ("81.9 Gop/s", "5 Gop/s"), "operations": ("163 Gop/s", ""), "area": ("3400 mm2", ""),
                "power": ("6.23 W", ""),
            },
            "diannao": {
                "multiply-adds": ("251 Gop/s", ""), "operations": ("486 Gop/s", "485.33 Gop/s"),
                "area": ("3.02 mm2", "3.02 mm2"), "power": ("485 mW", "485 mW"),
            },
        }  # fmt: skip


def test_names_of_designs_do_not_lie_upon_each_other() -> None:
    from matplotlib.figure import Figure

    rows = [{"name": n, "time_s": t, "energy_J": j} for n, t, j in (("a", 1e-3, 1e-3), ("b", 1.01e-3, 1.01e-3), ("c", 1.0, 1.0))]
    axis = Figure().subplots()
    axis.set(xscale="log", yscale="log", xlim=(1, 1000), ylim=(1, 1000))
    _name_designs(axis, _At(TIME, ENERGY, rows[:2]), rows)
    assert {a.get_text(): a.xyann[1] for a in axis.texts} == {"c": ABOVE, "b": ABOVE, "a": BELOW}
