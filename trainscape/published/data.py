"""Reads the published figures: one YAML file a source in this folder, facts alone, each file with where they were seen."""

from functools import cache
from pathlib import Path
from typing import Any

from trainscape.errors import TrainscapeError

FOLDER = Path(__file__).parent


@cache
def published(name: str) -> dict[str, Any]:
    """The file ``<name>.yaml`` as plain data; raises `TrainscapeError` when there is none."""
    from ruamel.yaml import YAML

    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise TrainscapeError(
            f"no published figures {name!r}; there are {', '.join(sorted(p.stem for p in FOLDER.glob('*.yaml')))}"
        )
    yaml: Any = YAML(typ="safe", pure=True)
    found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"))
    return found
