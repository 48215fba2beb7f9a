"""The pages that repeat what the code says repeat it exactly. ``python tests/test_docs.py`` writes those parts anew."""

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
ONE_IMAGE = ROOT / "scenarios" / "one-image.yaml"


def keys_of_scenarios() -> str:
    """A table for each section of a scenario file: every key, its default, what it means."""
    from trainscape.scenario import DataPart, Expectation, ModelPart, NumericsPart, ParallelPart, RunPart, Scenario, SystemPart

    defaults = Scenario(name="x", model=ModelPart.model_construct(name="lenet")).settings()
    parts = {"model": ModelPart, "system": SystemPart, "parallel": ParallelPart, "numerics": NumericsPart, "run": RunPart}
    lines = []
    for section, part in {**parts, "run.data": DataPart, "expect.<key>": Expectation}.items():
        lines += ["", f"### `{section}`", "", "| key | default | what it is |", "|---|---|---|"]
        for key, field in part.model_fields.items():
            default = defaults.get(section, {}).get(key, field.default)
            shown = "required" if field.is_required() else "–" if default is None else f"`{default}`"
            lines.append(f"| `{key}` | {shown} | {field.description} |")
    return "\n".join(lines).strip()


def exit_codes() -> str:
    """Every exit code of the command line."""
    from trainscape.exit_codes import ExitCode

    rows = [f"| {code.value} | {code.name.lower().replace('_', ' ')} |" for code in sorted(ExitCode)]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


def hardware(*patterns: str) -> str:
    """Models of the zoo on a K20 and on a DianNao, as `compare --systems` prints them."""
    from trainscape.compare_hardware import compare_hardware, summaries
    from trainscape.load import load
    from trainscape.names import known
    from trainscape.report.hardware import hardware_cells, sentences
    from trainscape.report.tables import markdown_table

    systems = ("k20", "diannao-1")
    models = [m for p in patterns for m in known("model") if fnmatchcase(m, p)]
    rows = [r.document() for r in compare_hardware([load(str(ONE_IMAGE))], models=models, systems=systems)]
    return "\n\n".join([markdown_table(*hardware_cells(rows)).rstrip(), *sentences(summaries(rows, systems))])


DADIANNAO = {
    "CLASS1, 2560 to 2560": ("model.name=diannao-class1", "model.input=[1, 1, 2560]", "model.classes=2560"),
    "CLASS2, 4096 to 4096": ("model.name=diannao-class1", "model.input=[1, 1, 4096]", "model.classes=4096"),
    "CONV1, 11x11, 256 to 384 maps": ("model.name=diannao-conv5-shared",),
    "CONV2, 9x9, 32 to 48 maps": ("model.name=diannao-conv1",),
    "CONV3, 18x18, private": ("model.name=diannao-conv2",),
}
"""Layers of Chen et al., DaDianNao (MICRO 2014), quoted from memory and not re-read -> settings that make them of the zoo's."""


def dadiannao() -> str:
    """DaDianNao's layers on a K20 and on one node."""
    from trainscape.compare_hardware import compare_hardware, summaries
    from trainscape.load import load
    from trainscape.report.hardware import joules, sentences, times
    from trainscape.report.tables import markdown_table, seconds

    systems, lines, found = ("k20", "dadiannao-1"), [], []
    for name, settings in DADIANNAO.items():
        gpu, node = (r.document() for r in compare_hardware([load(str(ONE_IMAGE), settings)], systems=systems))
        found += [gpu, node]
        of = [f(r[k]) for k, f in (("step_s", seconds), ("energy_per_sample_j", joules)) for r in (gpu, node)]
        lines.append([name, *of, times(node["speed_ratio"]), times(node["energy_ratio"]), "" if node["fits"] else node["reason"]])
    header = ["layer", "K20", "node", "K20, energy", "node, energy", "times as fast", "times less energy", "why not"]
    return "\n\n".join([markdown_table(header, lines).rstrip(), *sentences(summaries(found, systems))])


def published_chips() -> str:
    """NFUs of the catalogue beside what has been published of the chips that they are after."""
    from trainscape.nfu.config import devices
    from trainscape.report.nfu_published import published_cells
    from trainscape.report.tables import markdown_table

    return markdown_table(*published_cells(devices())).rstrip()


def gpu_targets() -> str:
    """The numbers to reach on a GPU, and what came of the run that was committed."""
    from benchmarks.gpu.targets import page_table

    return page_table()


PRINTED: dict[str, tuple[str, ...]] = {
    "class1": ("run CLASS1",),
    "shape": ("run --shape conv:nx=32,ny=32,kx=3,ky=3,ni=48,no=40 --schedule rows=4,columns=8,maps=1,order=synapses",),
    "lenet": ("run lenet --set input=digits",),
    "refused": ("run CLASS1 --set nfu.sb_rows=0",),
    "values": ("run --shape class:ni=960,no=200 --values --set nfu.arithmetic.rounding=floor",),
    "benchmark": ("run benchmark",),
    "program": ("disasm --shape class:ni=8192,no=256 --schedule maps=64,block=16 -o class.nfu", "asm class.nfu"),
    "explore": (
        "explore lenet --set input=digits --tn 4..32 --buffers 16..128 --bandwidth 32,64,128,256,512 --points 60 --out runs/dse",
    ),
}
"""Parts of docs/nfu.md -> commands of `trainscape nfu` that print them."""


def printed(commands: tuple[str, ...]) -> str:
    """Commands and what they print, run in an empty folder."""
    import contextlib
    import io
    import tempfile

    from trainscape.cli import main

    lines = []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for command in commands:
            text = io.StringIO()
            with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
                main(["nfu", *command.split()])
            said = [line.rstrip() for line in text.getvalue().splitlines()]
            lines += [f"$ trainscape nfu {command}", *(line for line in said if line)]
    return "\n".join(["```", *lines, "```"])


MADE = [
    ("scenario.md", "keys", keys_of_scenarios),
    ("json.md", "exit codes", exit_codes),
    ("compare-hardware.md", "layers", partial(hardware, "diannao-*")),
    ("compare-hardware.md", "nets", partial(hardware, "alexnet*", "lenet", "vgg16", "resnet50")),
    ("compare-hardware.md", "dadiannao", dadiannao),
    ("nfu.md", "published", published_chips),
    ("gpu.md", "targets", gpu_targets),
    *(("nfu.md", mark, partial(printed, commands)) for mark, commands in PRINTED.items()),
]


def part(page: str, mark: str) -> re.Match[str]:
    """The part of a page of docs/ between ``<!-- mark -->`` and ``<!-- end -->``."""
    found = re.search(rf"(?<=<!-- {mark} -->\n).*?(?=\n<!-- end -->)", (DOCS / page).read_text(), re.DOTALL)
    assert found is not None, f"docs/{page} has no part marked {mark!r}"
    return found


@pytest.mark.parametrize(("page", "mark", "make"), MADE, ids=[mark for _, mark, _ in MADE])
def test_page_says_what_the_code_says(page: str, mark: str, make: Callable[[], str]) -> None:
    assert part(page, mark)[0] == make()


def test_json_page_knows_every_key_that_can_be_expected() -> None:
    from trainscape.result_keys import KEYS

    said = set(re.findall(r"`([a-z_0-9.]+)`", part("json.md", "result")[0]))
    assert {k.rpartition(".")[2] for k in KEYS} - {s.rpartition(".")[2] for s in said} == set()


def test_guide_names_every_command() -> None:
    from trainscape.cli import cli

    said = set(re.findall(r"trainscape ([a-z]+)", (DOCS / "guide.md").read_text()))
    assert set(cli.list_commands(None)) - said == set()  # type: ignore[arg-type]


def test_design_page_draws_the_house_as_it_is() -> None:
    """Every file of the tree in DESIGN.md is there, and every folder; what stands for many names at least one."""
    (tree,) = re.findall(r"^```\n(graph/\n.*?)^```", (ROOT / "DESIGN.md").read_text(), re.MULTILINE | re.DOTALL)
    missing, package = [], ""
    for line in tree.splitlines():
        if not line.startswith(" "):
            package = line.rstrip("/")
        names = re.findall(r"(?<![\w./<>])(?:[\w/]+/)?(?:\w+|<\w+>)\.(?:py|yaml)|\b\w+/(?= |$)", line)
        missing += [
            name for name in names if line != f"{package}/" and not any(ROOT.glob(f"{package}/**/{re.sub('<.*?>', '*', name)}"))
        ]
    assert missing == []


@pytest.mark.parametrize("page", [*DOCS.glob("*.md"), ROOT / "README.md"], ids=lambda p: p.name)
def test_scenarios_that_a_page_names_are_there(page: Path) -> None:
    assert [name for name in re.findall(r"scenarios/[\w-]+\.yaml", page.read_text()) if not (ROOT / name).is_file()] == []


if __name__ == "__main__":
    for page, mark, make in MADE:
        old = part(page, mark)
        (DOCS / page).write_text(old.string[: old.start()] + make() + old.string[old.end() :])
