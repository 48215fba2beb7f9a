"""The distribution: what is imported is ours, the wheel holds what it should, and what the front page says is true."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("graph", "hw", "runtime", "sim", "trainscape")
HEAVY = ("numba", "llvmlite", "matplotlib")


def files() -> list[Path]:
    """The files of the project, relative to its root: tracked, or new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(Path(name) for name in set(listed.stdout.split("\0")) - {""} if (ROOT / name).is_file())


FILES = files()
MODULES = [f for f in FILES if f.suffix == ".py" and f.parts[0] in PACKAGES]


def readme_commands() -> list[str]:
    """The command lines of README.md that begin on a bare machine."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("python3 -m venv")]


# ---- what is imported


@pytest.mark.parametrize("name", PACKAGES)
def test_the_imported_package_is_ours(name: str) -> None:
    found = importlib.import_module(name).__file__
    assert found is not None
    assert Path(found).resolve() == ROOT / name / "__init__.py", "another distribution, or a copy, hides the checkout"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["check", "scenarios/digits-lenet-1worker.yaml"]], ids=" ".join)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-c",
        "import sys; from trainscape.cli import main; sys.exit(main())",
        *arguments,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if line.startswith("import time:")
    }
    assert "trainscape" in imported
    assert not imported.intersection(HEAVY)


# ---- what is shipped


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from the checkout with the tools at hand."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.mark.slow
def test_wheel_holds_the_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == {f.as_posix() for f in FILES if f.parts[0] in PACKAGES}
    assert {f"{name}/py.typed" for name in PACKAGES} <= held
    assert {"runtime/data/digits/digits.csv.gz", "hw/catalogue/dgx-h100.yaml", "trainscape/scenario.schema.json"} <= held


@pytest.mark.slow
def test_wheel_says_who_it_is(wheel: zipfile.ZipFile) -> None:
    version = importlib.import_module("trainscape").__version__
    info = f"trainscape-{version}.dist-info"
    about = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert (about["Name"], about["Version"], about["Requires-Python"]) == ("trainscape", version, ">=3.11")
    assert about["License-Expression"] == "Apache-2.0"
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    assert "trainscape = trainscape.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()


def test_the_changelog_knows_the_version() -> None:
    version = importlib.import_module("trainscape").__version__
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_constraints_are_names_and_versions_of_what_we_need() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines)
    assert lines == sorted(lines, key=lambda line: line.split("=="))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {
        re.split(r"[<>=\[]", need)[0].replace(".", "-").lower()
        for need in project["dependencies"] + [n for extra in ("test", "cuda") for n in project["optional-dependencies"][extra]]
    } - {"trainscape"}  # an extra that has another one in it
    assert needed <= {line.partition("==")[0] for line in lines}


# ---- what is promised


def test_the_front_page_has_two_commands_and_ci_runs_the_second() -> None:
    demo, tests = readme_commands()
    assert demo.endswith("trainscape demo")
    script = [
        line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert script == [tests]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("page", [f for f in FILES if f.suffix == ".md"], ids=str)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = [t.partition("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if not t.startswith(("http", "#"))]
    assert [t for t in targets if not (ROOT / page.parent / t).exists()] == []


# ---- how it is written


def test_no_file_is_long() -> None:
    lines = {f: len((ROOT / f).read_text().splitlines()) for f in FILES if f.suffix == ".py" and f.parts[0] != "tests"}
    assert {str(f): n for f, n in lines.items() if n > 400} == {}


def test_every_module_says_what_it_is() -> None:
    assert [str(f) for f in MODULES if not ast.get_docstring(ast.parse((ROOT / f).read_text()))] == []


def test_tests_are_no_package() -> None:
    """A lone ``tests/graph/__init__.py`` would shadow the real `graph`."""
    assert [str(f) for f in FILES if f.parts[0] == "tests" and f.name == "__init__.py"] == []


def test_nothing_points_at_a_machine_or_a_registry() -> None:
    machine = re.compile(r"(?<![\w.:/-])/(?:home|root|Users|work|opt|mnt)/\w|file:/{2}")
    registry = re.compile(r"\bpypi\.|pythonhosted|index-url|registry\.npmjs|conda\.anaconda")
    found = []
    for f in FILES:
        try:
            text = (ROOT / f).read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{f}:{n}: {line}" for n, line in enumerate(text.splitlines(), 1) if machine.search(line) or registry.search(line)
        ]
    assert [line for line in found if not line.startswith(Path(__file__).relative_to(ROOT).as_posix())] == []
