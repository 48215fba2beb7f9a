"""`trainscape nfu run | asm | disasm`: documents, figures that papers and other tools have, mistakes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graph.fixed_point import Rounding
from hw.nfu.benchmark import LAYERS
from hw.nfu.config import Arithmetic, Cut, Nfu
from hw.nfu.layer import Function, Kind, Layer, Pooling
from trainscape.exit_codes import ExitCode
from trainscape.nfu import figures, values
from trainscape.nfu.baseline import against

KEYS = {
    "name", "kind", "shape", "macs", "nfu_cycles", "dram_bytes", "dram_cycles", "bound", "scheduled", "time_s", "energy_J",
    "area_m2",
}  # fmt: skip
SMALL = "conv:nx=6,ny=5,kx=3,ky=2,ni=5,no=20"


class TestFigures:
    def test_keys(self, cli: Any) -> None:
        found = cli("nfu", "run", "--json", "--shape", "conv:nx=32,ny=32,kx=3,ky=3,ni=48,no=40")
        (layer,) = found.document["layers"]
        assert found.code == 0 and set(layer) == KEYS
        assert set(layer["scheduled"]) == {"instructions", "dram_bytes", "total_cycles", "stalls", "schedule"}
        assert layer["time_s"] == pytest.approx(layer["scheduled"]["total_cycles"] / 0.98e9)
        assert layer["energy_J"]["total"] == pytest.approx(layer["energy_J"]["chip"] + layer["energy_J"]["dram"])
        assert layer["macs"] == 30 * 30 * 9 * 48 * 40 and layer["area_m2"] == pytest.approx(3.023077e-6)

    def test_class1(self, cli: Any) -> None:
        """60 x 2 cycles; 2 (960 + 19,200 + 20) bytes at 250 GB/s and 0.98 GHz: hand arithmetic."""
        (layer,) = cli("nfu", "run", "class1", "--json").document["layers"]
        assert (layer["name"], layer["nfu_cycles"], layer["dram_bytes"]) == ("CLASS1", 120, 40_360)
        assert layer["dram_cycles"] == pytest.approx(40_360 * 0.98 / 250) == pytest.approx(158.2, abs=0.05)
        assert layer["bound"] == "dram"

    def test_conv1(self, cli: Any) -> None:
        """492 x 367 places, 9 x 9 taps, 2 x 3 rows: all lanes are used."""
        (layer,) = cli("nfu", "run", "CONV1", "--json").document["layers"]
        assert layer["nfu_cycles"] == 87_754_104 and layer["bound"] == "nfu"
        assert layer["scheduled"]["total_cycles"] >= layer["nfu_cycles"]
        assert layer["scheduled"]["dram_bytes"] >= layer["dram_bytes"] == 29_582_976

    @pytest.mark.parametrize(("model", "cycles"), [("alexnet-dense", 5_989_974), ("alexnet", 4_385_094)])
    def test_convolutions_of_alexnet(self, model: str, cycles: int, cli: Any) -> None:
        """What ZigZag's ideal temporal cycles are for the same layers, layer by layer."""
        found = cli("nfu", "run", model, "--json").document
        assert sum(layer["nfu_cycles"] for layer in found["layers"] if layer["kind"] == "conv") == cycles
        assert found["totals"]["nfu_cycles"] == sum(layer["nfu_cycles"] for layer in found["layers"])
        assert {p["op"] for p in found["processor"]} == {"quantize", "dequantize", "lrn"}
        total = found["totals"]
        assert total["time_s"] == pytest.approx(total["nfu_time_s"] + total["processor_time_s"]) and total["processor_time_s"] > 0
        parts = ("chip", "dram", "processor")
        assert total["energy_J"]["total"] == pytest.approx(sum(total["energy_J"][k] for k in parts))

    def test_a_schedule_that_is_forced(self, cli: Any) -> None:
        best, forced = (
            cli("nfu", "run", "CLASS1", "--json", *more).document["layers"][0] for more in ((), ("--schedule", "maps=60,block=2"))
        )
        assert forced["scheduled"]["schedule"]["maps"] == 60 and forced["scheduled"]["instructions"] == 2
        assert forced["scheduled"]["total_cycles"] >= best["scheduled"]["total_cycles"]
        for key in ("macs", "nfu_cycles", "dram_bytes", "dram_cycles"):
            assert forced[key] == best[key]

    def test_settings_and_batch(self, cli: Any) -> None:
        found = cli("nfu", "run", "CLASS1", "--batch", 4, "--set", "nfu.tn=20", "--set", "nfu.ti=8", "--json").document
        assert found["layers"][0]["nfu_cycles"] == 4 * 120 * 1 and found["nfu"]["tn"] == 20
        assert found["layers"][0]["macs"] == 4 * 19_200

    def test_a_model_of_another_input(self, cli: Any) -> None:
        found = cli("nfu", "run", "lenet", "--set", "input=digits", "--json").document
        assert found["model"]["input"] == [8, 8, 1]
        assert (
            found["totals"]["macs"]
            == cli("model", "show", "lenet", "--set", "input=digits", "--json").document["forward_macs_per_sample"]
        )

    def test_a_scenario(self, cli: Any, tmp_path: Path) -> None:
        (tmp_path / "s.yaml").write_text("name: x\nmodel: {name: mlp, input: digits, batch: 6}\nparallel: {ranks: 2}\n")
        found = cli("nfu", "run", tmp_path / "s.yaml", "--json").document
        assert (found["kind"], found["layers"][0]["shape"]) == ("scenario", "class:ni=64,no=128,batch=3,bias=true,function=relu")

    def test_the_table(self, cli: Any) -> None:
        out = cli("nfu", "run", "benchmark").out
        row = next(line for line in out.splitlines() if line.strip().startswith("CLASS1 "))
        assert row.split()[:5] == ["CLASS1", "19,200", "120", "158.2", "DRAM"]
        assert "published 117.87" in out and "published 21.08" in out

    def test_the_baseline(self) -> None:
        layers = [LAYERS[n] for n in ("CLASS1", "POOL3")]
        found = against(layers, Nfu())
        rows = found["layers"]
        assert [r["speedup"] for r in rows] == pytest.approx([r["simd_s"] / r["nfu_s"] for r in rows])
        assert found["mean_speedup"] == pytest.approx(sum(r["speedup"] for r in rows) / 2)
        assert found["geometric_mean_speedup"] ** 2 == pytest.approx(rows[0]["speedup"] * rows[1]["speedup"])


class TestTimingKey:
    @pytest.mark.parametrize("name", ["CLASS3", "POOL3", "CONV4"])
    def test_cycles_and_accesses_depend_on_nothing_else(self, name: str) -> None:
        from dataclasses import replace

        from graph.fixed_point import Fixed
        from hw.nfu.config import WIDE, Lines
        from hw.nfu.schedule import best

        odd = replace(
            Nfu(tn=8), neuron=Fixed(bits=11, fraction=4), synapse=Fixed(bits=7, fraction=6), arithmetic=WIDE, lines=Lines.CHORDS,
            segments=8, reach=4.0, technology_nm=28.0,
        )  # fmt: skip
        key = figures.timing_key(odd)
        assert key == figures.timing_key(key) != odd
        assert best(LAYERS[name], key).activity == best(LAYERS[name], odd).activity


LAYER_KINDS = [
    Layer(name="a", kind=Kind.CONV, nx=7, ny=6, kx=3, ky=2, sx=2, ni=4, no=6, groups=2, border=(1, 1), has_bias=True),
    Layer(name="b", kind=Kind.CONV, nx=5, ny=4, kx=2, ky=2, ni=3, no=5, is_private=True, batch=2, function=Function.TANH),
    Layer(name="c", kind=Kind.POOL, nx=6, ny=6, kx=3, ky=2, sx=2, sy=2, ni=5, no=5, pooling=Pooling.AVERAGE),
    Layer(name="d", kind=Kind.POOL, nx=6, ny=6, kx=2, ky=2, sx=2, sy=2, ni=5, no=5),
    Layer(name="e", kind=Kind.CLASSIFIER, nx=3, ni=10, no=7, function=Function.RELU),
]


class TestValues:
    @pytest.mark.parametrize("layer", LAYER_KINDS, ids=lambda x: x.name)
    def test_float64_is_the_definition(self, layer: Layer) -> None:
        """A loop over everything, as `Layer` describes it."""
        rng = np.random.default_rng(0)
        x, w, b = values._operands(layer, rng)
        wanted = np.zeros((layer.batch, layer.oy, layer.ox, layer.no))
        ni, no = layer.ni // layer.groups, layer.no // layer.groups
        for at in np.ndindex(*wanted.shape):
            image, oy, ox, n = at
            window = x[image, oy * layer.sy : oy * layer.sy + layer.ky, ox * layer.sx : ox * layer.sx + layer.kx]
            if w is None:
                wanted[at] = (
                    window[..., n].max() if layer.pooling is Pooling.MAX else window[..., n].sum() / (layer.kx * layer.ky)
                )
                continue
            mine = w[oy, ox] if layer.is_private else w
            g = n // no
            total = sum(
                window[ky, kx, g * ni + i] * mine[ky, kx, i, n]
                for ky in range(layer.ky)
                for kx in range(layer.kx)
                for i in range(ni)
            )
            wanted[at] = total + (0 if b is None else b[n])
        functions = {Function.LINEAR: lambda s: s, Function.RELU: lambda s: np.maximum(s, 0), Function.TANH: np.tanh}
        assert values.in_float(layer, x, w, b) == pytest.approx(functions[layer.function](wanted), abs=1e-12)

    def test_the_bias_of_rounding_down(self, cli: Any) -> None:
        """Half a step for each product, a little less since products of random words are even more often than odd."""
        shape = "conv:nx=6,ny=6,kx=3,ky=3,ni=100,no=32"
        (layer,) = cli("nfu", "run", "--shape", shape, "--values", "--json", "--set", "nfu.arithmetic.rounding=floor").document[
            "layers"
        ]
        found = layer["values"]
        assert found["expected_bias"] == -900 * 2**-11
        assert 0.9 * found["expected_bias"] > found["error"]["bias"] > found["expected_bias"]
        assert found["error"]["max"] >= found["error"]["rms"] >= found["error"]["mean"] >= abs(found["error"]["bias"]) * 0.999
        assert found["quantization_error"]["rms"] < found["error"]["rms"]

    def test_toward_zero_has_none(self) -> None:
        layer = Layer(name="x", kind=Kind.CLASSIFIER, ni=200, no=300)
        found = values.values(layer, Nfu(), None, 0)
        assert found["expected_bias"] is None and abs(found["error"]["bias"]) < 0.2 * found["error"]["rms"] + 2**-10

    @pytest.mark.parametrize(("cut", "count"), [("product", 50), ("tree", 4), ("output", 1)])
    def test_what_is_expected_of_other_places(self, cut: str, count: int) -> None:
        layer = Layer(name="x", kind=Kind.CLASSIFIER, ni=50, no=8)
        nfu = Nfu(arithmetic=Arithmetic(cut=Cut(cut), rounding=Rounding.FLOOR, product_bits=32, tree_bits=40, sum_bits=40))
        assert values.expected_bias(layer, nfu) == -count * 2**-11

    def test_the_same_seed_makes_the_same_numbers(self, cli: Any) -> None:
        a, b, c = (cli("nfu", "run", "--shape", SMALL, "--values", "--seed", s, "--json").document for s in (1, 1, 2))
        assert a == b and a["layers"][0]["values"] != c["layers"][0]["values"]

    def test_too_large(self, cli: Any) -> None:
        found = cli("nfu", "run", "CONV5", "--values")
        assert found.code == ExitCode.INFEASIBLE
        assert "GB of memory" in found.err and "--shape" in found.err and "--force" in found.err


class TestPrograms:
    @pytest.mark.parametrize("name", ["CLASS3", "POOL3"])
    def test_a_program_is_its_layer(self, name: str, cli: Any, tmp_path: Path) -> None:
        """Counted instruction by instruction from the text: what the closed form has for the layer."""
        file = tmp_path / "x.nfu"
        assert cli("nfu", "disasm", name, "-o", file).code == 0
        (layer,) = cli("nfu", "run", name, "--json").document["layers"]
        (program,) = cli("nfu", "run", file, "--json").document["layers"]
        for key in ("macs", "nfu_cycles", "time_s", "energy_J", "area_m2"):
            assert program[key] == pytest.approx(layer[key])
        counts = ("instructions", "dram_bytes", "total_cycles")
        assert {k: program["scheduled"][k] for k in counts} == {k: layer["scheduled"][k] for k in counts}
        assert program["scheduled"]["stalls"] == pytest.approx(layer["scheduled"]["stalls"])
        assert (program["kind"], program["dram_bytes"], program["bound"]) == ("program", None, None)

    def test_the_paper_s_example(self, cli: Any, tmp_path: Path) -> None:
        """8,192 inputs, 256 outputs, chunks of 64 rows: 128 instructions, of which 8 load neurons, as a public re-implementation
        generates them.
        """
        file = tmp_path / "x.nfu"
        shape = ("--shape", "class:ni=8192,no=256", "--schedule", "maps=64,block=16")
        assert cli("nfu", "disasm", *shape, "-o", file).code == 0
        found = cli("nfu", "asm", file, "--json").document
        assert found["instructions"] == 128 and found["layers"][0]["nfu_cycles"] == 8192
        assert found["operations"]["nbin.op"] == {"LOAD": 8, "READ": 120} and found["operations"]["sb.op"] == {"LOAD": 128}
        assert found["bytes"] == {"sb_loaded": 4_194_304, "nbin_loaded": 16_384, "nbout_stored": 512}
        assert found["rows"]["sb"] == {"used": 64, "has": 64}

    def test_there_and_back(self, cli: Any, tmp_path: Path) -> None:
        a, b = tmp_path / "a.nfu", tmp_path / "b.nfu"
        assert cli("nfu", "disasm", "--shape", "pool:nx=8,ny=8,kx=2,ky=2,ni=20,pooling=average", "-o", a).code == 0
        assert cli("nfu", "asm", a, "-o", b).code == 0
        plain = [line for line in a.read_text().splitlines() if not line.startswith("#")]
        assert plain == b.read_text().splitlines() and plain[0] == "scale 0.25"
        assert cli("nfu", "disasm", b).out == b.read_text()

    def test_all_mistakes_of_a_text(self, cli: Any, tmp_path: Path) -> None:
        file = tmp_path / "x.nfu"
        file.write_text("SB op=LOD\n  NBin op=LOAD adress=3 words=x\nCP end=1\n")
        found = cli("nfu", "asm", file, "--json")
        assert found.code == ExitCode.INVALID_INPUT
        places = {(m["line"], m["column"]) for m in found.document["error"]["mistakes"]}
        assert {(1, 7), (2, 16)} <= places and {line for line, _ in places} == {1, 2}
        assert f"{file}:1:7: error: " in found.err

    def test_what_does_not_fit_is_refused_at_its_line(self, cli: Any, tmp_path: Path) -> None:
        file = tmp_path / "x.nfu"
        cli("nfu", "disasm", "CLASS3", "-o", file)
        for command in ("asm", "run"):
            found = cli("nfu", command, file, "--set", "nfu.sb_rows=4")
            assert found.code == ExitCode.INVALID_INPUT
            assert found.err.startswith(f"{file}:4:1: error: SB size: ") and "SB has 4" in found.err

    def test_too_long_for_a_text(self, cli: Any) -> None:
        found = cli("nfu", "disasm", "CONV5")
        assert found.code == ExitCode.INFEASIBLE and "instructions" in found.err

    def test_a_trace(self, cli: Any, tmp_path: Path) -> None:
        file = tmp_path / "t.json"
        assert cli("nfu", "run", "lenet", "--set", "input=digits", "--trace", file).code == 0
        events = json.loads(file.read_text())["traceEvents"]
        names = {e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
        assert names == {"NFU", "SB", "NBin", "NBout"}
        total = cli("nfu", "run", "lenet", "--set", "input=digits", "--json").document["totals"]["nfu_time_s"]
        assert max(e["ts"] + e["dur"] for e in events if e["ph"] == "X") == pytest.approx(1e6 * total, rel=0.01)

    def test_a_trace_of_too_much(self, cli: Any) -> None:
        found = cli("nfu", "run", "CONV1", "--trace", "t.json")
        assert found.code == ExitCode.INFEASIBLE and "a smaller one" in found.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run"], 2, "name a layer, a model or a file"),
        (["run", "CLASS1", "--shape", SMALL], 2, "one of them"),
        (["run", "lenett"], 2, "did you mean 'lenet'?"),
        (["run", "clas1"], 2, "did you mean 'class1'?"),
        (["run", "CLASS1", "--device", "v100-sxm2-16gb"], 2, "'v100-sxm2-16gb' is no NFU of the catalogue"),
        (["run", "lenet", "--schedule", "rows=2"], 2, "--schedule is of one layer, and lenet has 7"),
        (["run", "CLASS1", "--schedule", "row=2,maps=0"], 3, "did you mean 'rows'?"),
        (["run", "CLASS1", "--schedule", "maps=64"], 5, "maps of the schedule must lie between 1 and 60, got 64"),
        (["run", "CONV1", "--schedule", "rows=9,columns=9"], 5, "a tile takes 81 rows of NBin, which has 64"),
        (["run", "CLASS1", "--set", "width=2"], 3, "a layer has no settings of its own"),
        (["run", "no.nfu"], 3, "cannot be read: No such file"),
        (["run", "no.yaml"], 3, "cannot be read: No such file"),
        (["run", "no.nfu", "--batch", "2"], 2, "--batch means nothing for a program"),
        (["disasm", "lenet"], 2, "say which one with --layer: conv1/conv2d"),
        (["disasm", "lenet", "--layer", "conv1"], 2, "has no layer 'conv1'; did you mean 'conv1/conv2d'?"),
        (["asm", "no.nfu", "--set", "width=1"], 3, "a program has no settings of its own"),
        (["rum"], 2, "no such command 'rum'; did you mean 'run'?"),
    ],
)
def test_mistakes(arguments: list[str], code: int, message: str, cli: Any) -> None:
    found = cli("nfu", *arguments)
    assert (found.code, found.out) == (code, "")
    assert message in found.err
