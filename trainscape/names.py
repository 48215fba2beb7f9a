"""Names of the open sets that a scenario may use, looked up only when asked, with the nearest known one in the message."""

from collections.abc import Callable, Sequence

from graph.errors import nearest


def known(what: str) -> tuple[str, ...]:
    """Every name of an open set.

    Parameters
    ----------
    what : ``"model"``, ``"system"``, ``"network"``, ``"strategy"`` or ``"collective"``.
    """
    if what == "model":
        from graph.zoo import MODELS

        return tuple(MODELS)
    if what == "system":
        from hw.catalogue import HOST, names

        return HOST, *names("system"), *names("device")  # a device by itself is a system too
    if what == "network":
        from hw.catalogue import link, names

        return tuple(n for n in names("link") if link(n).kind == "network")
    if what == "strategy":
        from graph.parallel.strategies import STRATEGIES

        return tuple(name.removesuffix("_parallel") for name, s in STRATEGIES.items() if s.is_asked_for)
    from graph.parallel.collectives import COLLECTIVES

    return tuple(COLLECTIVES)


def one_of(what: str, listing: str, among: Sequence[str] | None = None) -> Callable[[str], str]:
    """A check that a text is a known name; raises `ValueError` with the nearest one.

    Parameters
    ----------
    what : the singular noun.
    listing : command that lists the names, or ``""``.
    among : the names; by default those of the open set `what`.
    """

    def check(value: str) -> str:
        allowed = known(what) if among is None else among
        if value in allowed:
            return value
        where = f" (list: {listing})" if listing else ""
        raise ValueError(f"unknown {what} {value!r}; {nearest(value, allowed)}{where}")

    return check


def strategy(value: str) -> str:
    """The registered name of a strategy: a scenario may leave the ``_parallel`` away. Raises `ValueError` like `one_of`."""
    from graph.parallel.strategies import STRATEGIES

    short = one_of("strategy", "")(value.removesuffix("_parallel"))
    return short if short in STRATEGIES else f"{short}_parallel"
