"""Strategies as scenarios write them: which option means something for which, and the short names that `compare` takes.

A strategy's options are those of its build function (`graph.parallel.strategies`); only `bucket`, which has a unit in a scenario,
is called `bucket_bytes` there. What a scenario leaves out is left to the strategy.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from graph.record import record

if TYPE_CHECKING:
    from trainscape.scenario import ParallelPart

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "data_parallel": ("collective", "bucket", "micro_batches"),
    "parameter_server": ("servers", "server_count", "levels", "bucket", "micro_batches"),
    "hybrid": ("scheme", "fc_update", "collective", "bucket"),
    "model": ("micro_batches",),
    "layers": ("micro_batches",),
    "inference": (),
    "features": ("classifiers", "features_on", "classifier_on"),
}
"""Strategy -> the keys of a scenario's parallel section that mean something for it, besides strategy and ranks."""

SPREAD = frozenset({"parameter_server"})
"""Strategies that are told over how many nodes their ranks are spread (option ``nodes``)."""

WHERE: Mapping[str, tuple[tuple[str, str], ...]] = {"features": (("features_on", "ranks"), ("classifier_on", "classifiers"))}
"""Strategy that says where its ranks stand -> the keys of each place and of how many stand there; those of others are devices."""

OPTION_KEYS: tuple[str, ...] = tuple(dict.fromkeys(key for keys in OPTIONS.values() for key in keys))
"""Every such key."""


def allowed(strategy: str) -> tuple[str, ...]:
    """The options of a strategy."""
    return OPTIONS.get(strategy, OPTION_KEYS)


def short(strategy: str) -> str:
    """A strategy's name as scenarios write it."""
    return strategy.removesuffix("_parallel")


def options(p: "ParallelPart") -> dict[str, int | str]:
    """The options as the strategy's build function takes them: plain numbers and texts."""
    found: dict[str, int | str] = {"ranks": p.ranks}
    for key in allowed(p.strategy):
        value = getattr(p, key)
        if value is not None:
            found["bucket_bytes" if key == "bucket" else key] = value if isinstance(value, int) else str(value)
    return found


def standing(p: "ParallelPart") -> list[tuple[str, str, int]]:
    """(key, place, ranks): what stands where, and the key that says where. A place is as `hw.place` takes it."""
    if p.strategy not in WHERE:
        return [("ranks", "device", p.ranks)]
    return [(key, getattr(p, key) or "device", getattr(p, count) or 1) for key, count in WHERE[p.strategy]]


def parts(p: "ParallelPart") -> int:
    """Parts into which a batch is cut: a micro-batch of a rank has batch / parts samples."""
    from graph.parallel.strategies import STRATEGIES

    return STRATEGIES[p.strategy].parts(options(p))


def grain(p: "ParallelPart") -> int:
    """A batch is a multiple of it."""
    from graph.parallel.strategies import STRATEGIES

    return parts(p) * STRATEGIES[p.strategy].rounds(options(p))


@record
class Variant:
    """A strategy with the options that make it what its short name says.

    Parameters
    ----------
    name : as ``compare --strategies`` takes it.
    settings : of the parallel section. None: left to the strategy, whatever a scenario says, for it may mean nothing here.
    summary : in a few words.
    """

    name: str
    settings: Mapping[str, str | None]
    summary: str


VARIANTS: Mapping[str, Variant] = {
    v.name: v
    for v in (
        Variant(
            name="ring",
            settings={"strategy": "data", "collective": "ring"},
            summary="data parallel, gradients added up along a ring",
        ),
        Variant(
            name="tree",
            settings={"strategy": "data", "collective": "tree"},
            summary="data parallel, gradients added up along a tree",
        ),
        Variant(
            name="direct",
            settings={"strategy": "data", "collective": "direct"},
            summary="data parallel, each rank sends to every other",
        ),
        Variant(
            name="doubling",
            settings={"strategy": "data", "collective": "doubling"},
            summary="data parallel, gradients added up pair by pair, at doubling distances",
        ),
        Variant(
            name="parameter_server",
            settings={"strategy": "parameter_server", "servers": "devices", "server_count": None, "levels": None},
            summary="parameter servers on the devices",
        ),
        Variant(
            name="parameter_server_host",
            settings={"strategy": "parameter_server", "servers": "host"},
            summary="a parameter server on the host",
        ),
        Variant(
            name="hybrid",
            settings={"strategy": "hybrid", "scheme": "whole", "fc_update": "step"},
            summary="convolutions data parallel, fully connected layers cut; all samples at once",
        ),
        Variant(
            name="hybrid_turns",
            settings={"strategy": "hybrid", "scheme": "turns"},
            summary="as hybrid, one rank's samples after another",
        ),
        Variant(
            name="hybrid_parts",
            settings={"strategy": "hybrid", "scheme": "parts"},
            summary="as hybrid, a part of every rank's samples after another",
        ),
        Variant(name="model", settings={"strategy": "model"}, summary="every layer cut over all ranks"),
        Variant(name="layers", settings={"strategy": "layers"}, summary="consecutive layers on each rank"),
    )
}
"""Short name -> variant, in the order in which they are tried."""


def is_there(v: Variant) -> bool:
    """Whether its strategy and its collective are registered."""
    from graph.parallel.collectives import COLLECTIVES
    from trainscape.names import known

    return v.settings["strategy"] in known("strategy") and v.settings.get("collective", "ring") in COLLECTIVES


def name_of(p: "ParallelPart") -> str:
    """The short name of what a scenario asks for."""
    chosen = {"strategy": short(p.strategy), **{k: str(getattr(p, k)) for k in allowed(p.strategy)}}
    for v in VARIANTS.values():
        if all(x is None or chosen.get(k, "None") in (x, "None") for k, x in v.settings.items()):
            return v.name
    return short(p.strategy)


def variant_of(name: str) -> Variant:
    """The variant of this short name; raises `KeyError` for one that `name_of` never gives."""
    return (
        VARIANTS.get(name)
        or {short(k): Variant(name=short(k), settings={"strategy": short(k)}, summary="") for k in OPTIONS}[name]
    )


def settings_as(parallel: Mapping[str, Any], v: Variant, kept: Collection[str] = ("ranks",)) -> dict[str, Any]:
    """A parallel section changed to a variant: its options that mean something for the variant stay.

    Parameters
    ----------
    parallel : the section as plain data.
    v : the variant.
    kept : keys that stay whatever the strategy is.
    """
    strategy = v.settings["strategy"]
    keep = {*kept, *next((keys for name, keys in OPTIONS.items() if short(name) == strategy), ())}
    found = {**{k: x for k, x in parallel.items() if k in keep}, **v.settings}
    return {k: x for k, x in found.items() if x is not None}
