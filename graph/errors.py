"""What can go wrong in `graph`, and how a message is worded: what was asked, what was got, what would be right."""

from collections.abc import Iterable
from difflib import get_close_matches


class GraphError(Exception):
    """Base of every error that `graph` raises on purpose."""


class UnknownName(GraphError, KeyError):
    """A registry was asked for a name it does not hold. A `KeyError` too, as mappings promise: ``get`` depends on it."""

    def __str__(self) -> str:  # that of a KeyError is quoted
        return str(self.args[0])


class TypeMismatch(GraphError):
    """An operator was applied to values whose types do not fit."""


class InvalidGraph(GraphError):
    """A graph breaks a rule of the IR; the message names the node."""


class InvalidPlan(GraphError):
    """A plan breaks a rule of the plan model, or a proof about it failed."""


def _bare(name: str) -> str:
    """Letters and digits alone: ``"dgx-1"`` and ``"dgx1"`` are the same to who types them."""
    return "".join(c for c in name.lower() if c.isalnum())


def nearest(name: str, known: Iterable[str]) -> str:
    """A half sentence for an error message: the nearest known name, or the whole list when nothing is near."""
    names = sorted(map(str, known))
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    bare = _bare(name)
    begun = [n for n in names if bare and _bare(n).startswith(bare)]
    close = begun[:1] or close or [n for n in names if bare and bare in _bare(n)]
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"
