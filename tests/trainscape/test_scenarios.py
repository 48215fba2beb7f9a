"""Every scenario of the folder: it is right, its name is its file's, it says what it is, and its expectations have sources."""

from pathlib import Path

import pytest

from trainscape.expect import bound
from trainscape.load import load

FOLDER = Path(__file__).parents[2] / "scenarios"
FILES = sorted(FOLDER.glob("*.yaml"))


def test_there_are_some() -> None:
    assert {"digits-lenet-1worker", "digits-lenet-2workers", "lenet-dgx1"} <= {f.stem for f in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
class TestScenario:
    def test_it_is_right(self, file: Path) -> None:
        loaded = load(str(file))
        assert loaded.scenario.name == file.stem

    def test_it_begins_with_a_line_for_editors_and_a_comment(self, file: Path) -> None:
        first, second, third = file.read_text(encoding="utf-8").splitlines()[:3]
        schema = first.removeprefix("# yaml-language-server: $schema=")
        assert (file.parent / schema).is_file()
        assert second == "#" and third.startswith("# ")

    def test_expectations_have_bounds_and_sources(self, file: Path) -> None:
        for key, e in load(str(file)).scenario.expect.items():
            given = [x for x in (e.value, e.at_least, e.at_most) if x is not None]
            assert given and e.source
            assert all(isinstance(bound(key, x), float | int) for x in given)

    def test_overrides_of_width_and_batch(self, file: Path) -> None:
        loaded = load(str(file), ["model.width=2", "model.batch=128"])
        assert loaded.scenario.model.width == 2.0 and loaded.scenario.model.batch == 128
