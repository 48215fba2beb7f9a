"""What every test may count on: the checkout's root, and a user folder of its own instead of the user's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session", autouse=True)
def _user_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's own calibration profile, settings or notebook kernels' state."""
    home = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(home / name.lower()))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, so that two processes finish together; otherwise the order of the files."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
