"""What the process of a section leaves while it works: one small file, whole at any moment."""

import json
from pathlib import Path
from typing import Any

from hw.profile import write_whole

PREPARING, READY, WORKING, OVER = "preparing", "ready", "working", "over"


class Part:
    """The findings of a section so far.

    Parameters
    ----------
    path : of the file; what it holds is taken up, so that another process can go on.

    Attributes
    ----------
    body : ``state``; ``planned``, names of items; ``items``, name -> result; ``left_out``, names; ``at``, the item under way;
        ``notes``, sentences.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.body: dict[str, Any] = read(path)

    def tell(self, **changes: Any) -> None:
        """Change entries, and write."""
        self.body.update(changes)
        write_whole(self.path, json.dumps(self.body, default=_plain))

    def note(self, sentence: str) -> None:
        """Add a sentence to the notes, once."""
        if sentence not in self.body["notes"]:
            self.tell(notes=[*self.body["notes"], sentence])

    def finish(self, name: str, result: dict[str, Any]) -> None:
        """An item has come to its end."""
        self.body["items"][name] = result
        self.tell(at="")


def read(path: Path) -> dict[str, Any]:
    """What the file holds; of one that is not there, nothing found yet."""
    empty: dict[str, Any] = {"state": PREPARING, "planned": [], "items": {}, "left_out": [], "at": "", "notes": []}
    if not path.is_file():
        return empty
    return {**empty, **json.loads(path.read_text(encoding="utf-8"))}


def _plain(value: Any) -> Any:
    """NumPy's numbers and the like as JSON has them."""
    return value.item() if hasattr(value, "item") else str(value)
