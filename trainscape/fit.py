"""Whether a scenario can be, and the nearest one that can: found by really building others, a bounded number of them.

What is tried, from the smallest change to the greatest: more micro-batches (the same result), more ranks, another strategy, fewer
samples. Memory grows with the samples of a micro-batch nearly along a line, so two lowerings tell where to look.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from graph.errors import GraphError
from graph.parallel.plan import Rank
from graph.parallel.strategies import STRATEGIES
from graph.record import record
from hw.errors import DoesNotFit, HwError
from hw.kernels.record import Platform
from hw.model import GPU_PAGE
from runtime.errors import MissingCapability as GpuMissing
from trainscape.errors import MissingCapability
from trainscape.report.tables import nbytes
from trainscape.scenario import Scenario
from trainscape.strategies import VARIANTS, allowed, is_there, name_of, settings_as
from trainscape.systems import HOST, catalogue_system, devices

if TYPE_CHECKING:
    from trainscape.build import Built

TRIES = 4
"""Scenarios of one kind of change that are built at most."""


@record
class Shortage:
    """What a rank needs of its device's memory: more than it has, or less.

    Parameters
    ----------
    rank : the rank that needs the most.
    need, have : bytes.
    device : name of its device.
    """

    rank: Rank
    need: int
    have: int
    device: str

    @property
    def lack(self) -> int:
        """Bytes too few; negative where there is room."""
        return self.need - self.have

    def __str__(self) -> str:
        return f"a rank needs {nbytes(self.need)}, but {self.device} has {nbytes(self.have)}: {nbytes(self.lack)} too few"


@record
class Change:
    """A change of a scenario after which it can be.

    Parameters
    ----------
    settings : dotted key -> value.
    words : for people.
    """

    settings: Mapping[str, Any]
    words: str


def fullest(built: "Built") -> Shortage:
    """The rank that lacks the most memory, or has the least to spare, one of each role being looked at.

    Raises `DoesNotFit` when there is no such plan, or no room for it.
    """
    if built.is_gpu:
        return _fullest_on_gpu(built)
    placed = built.placed
    found = [
        Shortage(rank=r, need=placed.memory_bytes(r), have=placed.memory_capacity_bytes(r), device=placed.device_of(r).name)
        for r in (built.plan.first_rank(role.name) for role in built.plan.roles)
    ]
    return max(found, key=lambda s: s.lack)


def _fullest_on_gpu(built: "Built") -> Shortage:
    """Ranks that share this computer's GPU have even parts of its memory."""
    name, have = built.gpu
    nbytes = {role: low.layout.nbytes for role, low in built.lowered.items() if low.platform is Platform.CUDA}
    role = max(nbytes, key=lambda r: nbytes[r])
    need = -(-nbytes[role] // GPU_PAGE) * GPU_PAGE
    ranks = sum(rank.role in nbytes for rank in built.plan.ranks)
    part = have // ranks if have else need  # a driver need not say how much there is
    of_all = f"its part of {name}" if ranks > 1 else name
    return Shortage(rank=built.plan.first_rank(role), need=need, have=part, device=of_all)


def shortage(built: "Built") -> Shortage | None:
    """The rank that lacks the most memory; None: all fit. Raises as `fullest`."""
    worst = fullest(built)
    return worst if worst.lack > 0 else None


def require(built: "Built") -> None:
    """Raise `DoesNotFit`, with the nearest that fits, when a rank needs more memory than its device has."""
    lack = shortage(built)
    if lack is not None:
        raise DoesNotFit(f"{lack}{advice(built.scenario)}")


def advice(scenario: Scenario) -> str:
    """What would be possible, as the end of a message; empty where nothing was found."""
    found = [c.words for c in changes(scenario)]
    return f"; try {', or '.join(found)}" if found else "; nothing near it was found that fits"


def nearest(scenario: Scenario) -> Change | None:
    """The smallest change after which a scenario can be; None: none was found."""
    return next(changes(scenario), None)


def changes(scenario: Scenario) -> Iterator[Change]:
    """Changes after which a scenario can be, one of each kind at most, the smallest first."""
    line = cache(lambda: _line(scenario))  # both that ask for it need it only when the others have found nothing
    for kind in (_inference, _nearest_batch, _more_micro_batches, _more_ranks, _other_strategy, _fewer_samples, _fewer_ranks):
        found = next((c for c in kind(scenario, line) if _is_possible(c, scenario)), None)
        if found is not None:
            yield found


def changed(scenario: Scenario, settings: Mapping[str, Any]) -> Scenario:
    """The scenario with other settings, which are not held against one another.

    Parameters
    ----------
    settings : dotted key -> value, as a file gives it. The key ``"parallel"`` takes a whole section.

    Raises
    ------
    DoesNotFit : a value is not allowed by itself.
    """
    data = deepcopy(scenario.settings())
    for key, value in settings.items():
        *path, last = key.split(".")
        holder = data
        for part in path:
            holder = holder.setdefault(part, {})
        holder[last] = value
    try:
        return Scenario.model_validate(data)
    except ValidationError as e:
        first = e.errors()[0]
        message = first.get("ctx", {}).get("error", first["msg"])
        raise DoesNotFit(f"{'.'.join(map(str, first['loc']))}: {message}") from None


def _built(scenario: Scenario) -> "Built":
    from trainscape.build import Built

    return Built(scenario, advise=False)


def _is_possible(change: Change, scenario: Scenario) -> bool:
    from trainscape.cross_check import cross_check

    try:
        other = changed(scenario, change.settings)
        if cross_check(other).findings:
            return False
        built = _built(other)
        return bool(built.plan.roles) and shortage(built) is None
    except (MissingCapability, GpuMissing):  # this computer is not calibrated, so its memory is not known; but there is a plan
        return True
    except (HwError, GraphError):
        return False


Line = Callable[[int], float]
Lazy = Callable[[], Line | None]


def _line(scenario: Scenario) -> Line | None:
    """Samples of a micro-batch -> bytes beyond what the fullest device has, by two points; None: it cannot be built."""
    points = []
    for samples in {scenario.micro_batch, max(scenario.micro_batch // 2, 1)}:
        try:
            built = _built(changed(scenario, {"model.batch": samples * scenario.parallel.parts}))
            lack = fullest(built).lack
        except (HwError, GraphError, MissingCapability, GpuMissing):
            return None
        points.append((samples, lack))
    if len(points) < 2:
        return lambda n: float(points[0][1])
    (x0, y0), (x1, y1) = points
    slope = (y1 - y0) / (x1 - x0)
    return lambda n: y0 + slope * (n - x0)


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, int(n**0.5) + 1) if n % d == 0 for d in sorted({d, n // d})]


def _inference(s: Scenario, _: Lazy) -> Iterator[Change]:
    """On devices that train nothing."""
    from trainscape.numerics import nfus

    if s.system.name != HOST and STRATEGIES[s.parallel.strategy].trains and any(nfus(s, catalogue_system(s.system))):
        alone = {"strategy": "inference", "ranks": s.parallel.ranks}
        yield Change(settings={"parallel": alone}, words="parallel.strategy: inference")


def _nearest_batch(s: Scenario, _: Lazy) -> Iterator[Change]:
    from trainscape.cross_check import nearest_batch

    if s.model.batch % s.parallel.grain:
        near = nearest_batch(s.model.batch, s.parallel.grain)
        yield Change(settings={"model.batch": near}, words=f"model.batch: {near}")


def _more_micro_batches(s: Scenario, lazy: Lazy) -> Iterator[Change]:
    """The fewest that fit, by the line and a little beyond it, since adding up gradients takes memory too."""
    line = lazy() if "micro_batches" in allowed(s.parallel.strategy) else None
    if line is None or s.micro_batch < 2:
        return
    able = [k for k in sorted(set(_divisors(s.micro_batch))) if k > 1 and line(s.micro_batch // k) <= 0]
    for k in (able[:1] + able[1::2])[:TRIES]:
        count = s.parallel.micro_batches * k
        yield Change(settings={"parallel.micro_batches": count}, words=f"parallel.micro_batches: {count}")


def _more_ranks(s: Scenario, _: Lazy) -> Iterator[Change]:
    have = devices(s)
    able = [n for n in range(s.parallel.ranks + 1, min(have, s.model.batch) + 1) if s.model.batch % n == 0]
    for n in able[:TRIES]:
        yield Change(settings={"parallel.ranks": n}, words=f"parallel.ranks: {n}")


def _fewer_ranks(s: Scenario, _: Lazy) -> Iterator[Change]:
    able = [n for n in range(min(devices(s), s.parallel.ranks - 1), 0, -1) if s.model.batch % n == 0]
    for n in able[:TRIES]:
        yield Change(settings={"parallel.ranks": n}, words=f"parallel.ranks: {n}")


def _other_strategy(s: Scenario, _: Lazy) -> Iterator[Change]:
    """Of those that train; a scenario of inference alone wants none of them."""
    if not STRATEGIES[s.parallel.strategy].trains:
        return
    now = s.settings()["parallel"]
    for v in VARIANTS.values():
        if is_there(v) and v.name != name_of(s.parallel):
            words = ", ".join(f"{k}: {x}" for k, x in v.settings.items() if x is not None)
            yield Change(settings={"parallel": settings_as(now, v)}, words=f"parallel: {{{words}}}")


def _fewer_samples(s: Scenario, lazy: Lazy) -> Iterator[Change]:
    """The most that fit, by the line, then a little fewer."""
    line, parts = lazy(), s.parallel.parts
    if line is None or s.micro_batch < 2:
        return
    zero, slope = line(0), line(1) - line(0)
    most = min(int(-zero / slope) if slope > 0 else 0, s.micro_batch - 1)
    for samples in dict.fromkeys(int(most * f) for f in (1.0, 0.95, 0.8, 0.5)):
        if samples >= 1:
            yield Change(settings={"model.batch": samples * parts}, words=f"model.batch: {samples * parts}")
