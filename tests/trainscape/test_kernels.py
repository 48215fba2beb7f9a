"""``trainscape kernels``: which kernels there are, and what becomes of those of CUDA."""

import re
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from graph.op import OPS
from hw.kernels import Platform, record_for
from hw.occupancy import Occupancy, occupancy
from runtime.kernels.cuda import compile as compiling
from trainscape import device_kernels
from trainscape.commands.kernels import ARCHITECTURES
from trainscape.device_kernels import Compiled, compiled
from trainscape.exit_codes import ExitCode
from trainscape.kernels import operators
from trainscape.processes import answers
from trainscape.report.kernels import compiled_tables, kernels_table

JSON_PAGE = Path(__file__).parents[2] / "docs" / "json.md"


def text_of(tables: list[Any], width: int) -> str:
    console = Console(width=width, file=StringIO())
    for table in tables:
        console.print(table)
    return console.file.getvalue()


class TestList:
    def test_every_operator_has_what_a_plan_would_take(self, cli: Any) -> None:
        found = cli("kernels", "--json").document
        assert found["devices"] == [p.value for p in Platform]
        rows = {row["operator"]: row for row in found["operators"]}
        assert set(rows) == {*OPS, "input", "accumulate"}
        for name, row in rows.items():
            assert row["view"] is (name in OPS and OPS[name].is_view)
            preferred = {k["device"]: k["kernel"] for k in row["kernels"] if k["preferred"]}
            assert preferred == ({} if row["view"] else {p.value: record_for(name, p).name for p in Platform})

    def test_algorithms_and_what_they_take_in(self, cli: Any) -> None:
        (row,) = cli("kernels", "--op", "conv2d", "--json").document["operators"]
        by = {(k["device"], k["algorithm"]): k for k in row["kernels"]}
        assert {"tf32", "bf16", "fp16", None} <= {a for d, a in by if d == "cuda"}
        assert [k for k in by if by[k]["preferred"]] == [("cpu", "direct"), ("cuda", None), ("nfu", None)]
        assert by["cuda", "tf32"]["epilogue"] == ["add_bias", "relu"] and by["nfu", None]["prologue"] == ["dequantize"]
        assert by["nfu", None]["epilogue_in_any_part"] and not by["cpu", "direct"]["epilogue_in_any_part"]
        assert by["cpu", "direct"]["terms_counted"] and "macs" in by["nfu", None]["terms"]

    def test_an_nfu_leaves_the_rest_to_its_processor(self, cli: Any) -> None:
        (row,) = cli("kernels", "--device", "nfu", "--op", "conv2d_grad_input", "--json").document["operators"]
        (kernel,) = row["kernels"]
        assert kernel["on_processor"] and kernel["kernel"] == record_for("conv2d_grad_input", Platform.CPU).name
        out = cli("kernels", "--device", "nfu", "--op", "conv2d_grad_input", "--op", "flatten").out
        assert re.search(r"conv2d_grad_input +processor", out) and re.search(r"flatten +view", out)
        assert "\nCells tell how a kernel's work is known; " in out
        assert "processor: what an NFU leaves to its host's processor" in out and "counted:" not in out

    @pytest.mark.parametrize("width", [80, 120])
    def test_nothing_is_cut_off(self, width: int) -> None:
        words = re.sub(r"\s", "", text_of([kernels_table(operators(), list(Platform))], width))
        assert "…" not in words and all(name in words for name in ("softmax_cross_entropy", "bf16,", "col2im,flip:", "processor"))

    def test_a_view_has_nothing_to_compile(self, cli: Any) -> None:
        found = cli("kernels", "--op", "flatten", "--ptx", "sm_90")
        assert found.out == "flatten is a view: the same memory by another name, with no kernel to compile\n"


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--op", "matmull"], "unknown operator 'matmull'; did you mean 'matmul'?"),
            (["--ptx", "sm_70"], "'sm_70' is not one of 'sm_75', 'sm_80', 'sm_90'"),
            (["--ptx", "sm_90", "--device", "nfu"], "--device names nfu: add --device cuda, or leave it away"),
            (["--out", "there"], "--out is where --ptx writes; add --ptx sm_90"),
            (["--ptx", "sm_90", "--out", "/dev/null/texts"], "/dev/null/texts cannot be a folder: Not a directory"),
            (["--device", "tpu"], "'tpu' is not one of 'cpu', 'cuda', 'nfu'"),
        ],
    )
    def test_mistakes(self, arguments: list[str], message: str, cli: Any) -> None:
        found = cli("kernels", *arguments)
        assert (found.code, found.out) == (ExitCode.USAGE, "") and message in found.err

    def test_architectures_are_those_that_kernels_are_checked_on(self) -> None:
        assert {compiling.name_of(a): a for a in compiling.ARCHITECTURES} == ARCHITECTURES


class TestCompiled:
    @pytest.mark.timeout(280)
    def test_figures_and_texts_come_out_of_several_processes(
        self, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each text that was written, assembled once more by hand, has the registers that the table says."""
        monkeypatch.setattr(device_kernels, "WORTH", 1)
        monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
        found = cli("kernels", "--op", "relu", "--ptx", "sm_90", "--out", "texts", "--json")
        assert found.code == 0
        assert found.document["devices"] == ["cuda"] and found.document["architecture"] == "sm_90"
        rows = found.document["device_kernels"]
        assert [r["kernel"] for r in rows] == ["relu", "relu_4"]
        assert sorted(p.name for p in (tmp_path / "texts").iterdir()) == ["relu.sm_90.ptx", "relu_4.sm_90.ptx"]
        for row in rows:
            text = tmp_path / "texts" / f"{row['kernel']}.sm_90.ptx"
            command = [compiling.assembler(), "-arch=sm_90", "-v", "-o", tmp_path / "cubin", text]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
            assert f"Used {row['registers']} registers" in said and "0 bytes spill stores" in said
            assert row["spill_bytes"] == row["stack_bytes"] == 0 and row["complaints"] == []
            held = occupancy((9, 0), threads=row["threads"], registers=row["registers"])
            assert (row["blocks_per_multiprocessor"], row["occupancy"]) == (held.blocks, held.fraction)
            assert all(text.read_text().count(name) == n > 0 for name, n in row["instructions"].items())
        assert "ld.global.v4" in rows[1]["instructions"] and rows[0]["launched_by"] == ["cuda.relu"]
        said_keys = set(re.findall(r"`([a-z_]+)`", JSON_PAGE.read_text().partition("## `kernels`")[2].partition("\n## ")[0]))
        (listed,) = found.document["operators"]
        assert {*found.document, *rows[0], *listed, *listed["kernels"][0]} - said_keys <= {"schema", "command"}

    def test_what_an_architecture_does_not_launch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(device_kernels, "_figures", lambda *_: iter(()))
        turing, hopper = ({r.kernel: r for r in compiled(a, ["matmul"])} for a in ((7, 5), (9, 0)))
        new, old = "gemm_f32_128x128_deep4_wide4", "gemm_f32_128x128_deep4_wide4_plain"
        assert (turing[new].left_out, turing[new].older, turing[old].left_out) == ("needs sm_80", old, "")
        assert (hopper[new].left_out, hopper[old].left_out, hopper[old].in_place_of) == ("", "only before sm_80", (new,))
        lines = text_of(compiled_tables([r for r in turing.values() if r.left_out], 80), 80).splitlines()
        assert any(re.search(rf"{new} +needs sm_80 +gemm_f32_128x128_deep4_wide4$", line.rstrip()) for line in lines)
        assert any(re.search(r"gemm_tf32\S* +needs sm_80 +nothing$", line.rstrip()) for line in lines)

    def test_tables_fit_their_terminals(self) -> None:
        rows = [made(registers=127, spill=8), made(registers=40)]
        narrow, wide = (text_of(compiled_tables(rows, width), width) for width in (80, 120))
        for text in (narrow, wide):
            assert "…" not in text and re.search(r"gemm_f32_128x128_pixels1 +127 +8 +25344 +256 +2 .*regs, shared", text)
            assert re.search(r"mma\.sync 32, cp\.async 0", text) and re.search(r"^ +_group1_spread_plain ", text, re.MULTILINE)
        assert narrow.count("device kernel") == 2 and wide.count("device kernel") == 1
        assert "stack" not in wide and "stack" in text_of(compiled_tables([made(registers=40, stack=16)], 120), 120)
        assert rows[0].complaints == ["no cp.async", "8 bytes spill"]


class TestFailures:
    def test_a_toolkit_that_is_missing(self, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cuda.pathfinder.find_nvidia_binary_utility", lambda name: None)
        found = cli("kernels", "--op", "relu", "--ptx", "sm_80", "--json")
        assert found.code == found.document["error"]["code"] == ExitCode.MISSING_CAPABILITY
        assert "install trainscape[cuda]" in found.document["error"]["message"]

    def test_a_compiler_that_is_missing(self, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("runtime.cuda.driver.find_spec", lambda name: None)
        found = cli("kernels", "--op", "relu", "--ptx", "sm_80")
        assert found.code == ExitCode.MISSING_CAPABILITY and "pip install 'trainscape[cuda]'" in found.err

    def test_the_simulator_compiles_nothing(self, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compiling, "SIMULATED", True)
        found = cli("kernels", "--op", "relu", "--ptx", "sm_80")
        assert found.code == ExitCode.MISSING_CAPABILITY and "unset NUMBA_ENABLE_CUDASIM" in found.err

    def test_a_kernel_that_the_assembler_refuses(self, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compiling, "ptx", lambda kernel, architecture: "no text of a kernel")
        found = cli("kernels", "--op", "fill", "--ptx", "sm_80")
        assert found.code == ExitCode.INTERNAL and "kernel 'fill_4': ptxas refuses its PTX for sm_80" in found.err

    def test_a_process_that_dies(self, capfd: pytest.CaptureFixture[str]) -> None:
        from trainscape.errors import TrainscapeError

        with pytest.raises(TrainscapeError, match=r"a process of trainscape\.errors has ended with code 1"):
            list(answers("trainscape.errors", [{}], [1]))  # which has no function `main`
        assert "ImportError" in capfd.readouterr().err


def made(*, registers: int, spill: int = 0, stack: int = 0) -> Compiled:
    """A device kernel with figures of nobody's."""
    name = "gemm_f32_128x128_pixels1_group1_spread_plain"
    return Compiled(
        kernel=name,
        architecture="sm_90",
        launched_by=("cuda.conv2d",),
        threads=256,
        is_hot=True,
        least="sm_75",
        older=None,
        in_place_of=(),
        figures=compiling.Assembled(
            kernel=name,
            architecture="sm_90",
            registers=registers,
            spill_bytes=spill,
            shared_bytes=25_344,
            stack_bytes=stack,
            instructions={"mma.sync": 32, "cp.async": 0},
        ),
        occupancy=Occupancy(blocks=2, warps=16, most_warps=64, limited_by=("registers", "shared")),
    )
