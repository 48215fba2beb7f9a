"""The pages that repeat what the code says repeat it exactly. ``python tests/test_docs.py`` writes those parts anew."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def keys_of_scenarios() -> str:
    """A table for each section of a scenario file: every key, its default, what it means."""
    from trainscape.scenario import DataPart, Expectation, ModelPart, ParallelPart, RunPart, Scenario, SystemPart

    defaults = Scenario(name="x", model=ModelPart.model_construct(name="lenet")).settings()
    parts = {"model": ModelPart, "system": SystemPart, "parallel": ParallelPart, "run": RunPart}
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


MADE = [("scenario.md", "keys", keys_of_scenarios), ("json.md", "exit codes", exit_codes)]


def part(page: str, mark: str) -> re.Match[str]:
    """The part of a page of docs/ between ``<!-- mark -->`` and ``<!-- end -->``."""
    found = re.search(rf"(?<=<!-- {mark} -->\n).*?(?=\n<!-- end -->)", (DOCS / page).read_text(), re.DOTALL)
    assert found is not None, f"docs/{page} has no part marked {mark!r}"
    return found


@pytest.mark.parametrize(("page", "mark", "make"), MADE, ids=[page for page, _, _ in MADE])
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
