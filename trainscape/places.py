"""Where each setting came from: a place in the file, or an override. Turns a path and a message into a `Mistake`."""

from dataclasses import replace

from trainscape.errors import Mistake, MistakeKind
from trainscape.yaml_reader import Document, Loc, dotted


class Places:
    """Origins of the settings of one document.

    Parameters
    ----------
    doc : the document; overrides change its data, not its text.
    """

    def __init__(self, doc: Document) -> None:
        self._doc = doc
        self.overrides: dict[Loc, str] = {}

    def mistake(self, path: Loc, message: str, *, at_key: bool = False, kind: MistakeKind = MistakeKind.INVALID) -> Mistake:
        """A mistake at a setting; at its key, its value, or what holds it, whichever is found first."""
        origin = self._override(path)
        if origin is not None:
            return Mistake(place=origin, path=dotted(path), message=message, kind=kind)
        tables = (self._doc.keys, self._doc.values) if at_key else (self._doc.values, self._doc.keys)
        for n in range(len(path), -1, -1):
            for table in tables:
                if path[:n] in table:
                    m = self._doc.mistake(table[path[:n]], path, message)
                    return replace(m, kind=kind)
        return Mistake(place=self._doc.file, path=dotted(path), message=message, kind=kind)

    def _override(self, path: Loc) -> str | None:
        """The latest override that set this path, or something inside it when the file does not have it."""
        for at, origin in reversed(self.overrides.items()):
            if path[: len(at)] == at or (at[: len(path)] == path and path not in self._doc.values):
                return origin
        return None
