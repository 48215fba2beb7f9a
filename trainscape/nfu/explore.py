"""Time, energy and area of many designs for the same layers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hw.errors import HwError
from hw.nfu.activity import Activity
from hw.nfu.area import area_m2
from hw.nfu.config import Nfu
from hw.nfu.energy import energy
from hw.nfu.layer import Layer
from trainscape.nfu.figures import costs, timing_key
from trainscape.nfu.space import Point
from trainscape.nfu.store import Store

Row = dict[str, Any]


class Work:
    """What every design is given to do.

    Parameters
    ----------
    layers : for the NFU. What a processor does beside it is the same for all designs, and would only hide how they differ.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)
        self._last: tuple[Nfu, Activity] | None = None

    def activity(self, nfu: Nfu) -> Activity:
        """Of all layers, each under its best schedule; raises `HwError` when one does not fit."""
        key = timing_key(nfu)
        if self._last is None or self._last[0] != key:
            self._last = key, sum((c.activity for c in costs(self.layers, nfu)), Activity())
        return self._last[1]

    def figures(self, nfu: Nfu) -> Row:
        """Seconds, joules, square metres."""
        done = self.activity(nfu)
        joules = energy(nfu, done)
        return {
            "time_s": done.cycles / nfu.clock_hz,
            "energy_J": joules["total"],
            "chip_J": joules["chip"],
            "dram_J": joules["dram"],
            "area_m2": area_m2(nfu),
            "total_cycles": done.cycles,
            "dram_bytes": done.dram_bytes,
        }


def base_figures(layers: Sequence[Layer], nfu: Nfu) -> Row | None:
    """What one design does; None: it cannot do it."""
    try:
        return Work(layers).figures(nfu)
    except HwError:
        return None


def explore(
    layers: Sequence[Layer],
    base: Nfu,
    points: Sequence[Point],
    store: Store,
    on_point: Callable[[int], object] = lambda done: None,
    *,
    workers: int | None = None,
) -> tuple[list[Row], list[Row]]:
    """Look at every point that is not in the store yet, and put it there.

    Parameters
    ----------
    layers : what is computed.
    base : everything that a point does not say.
    points : designs.
    store : of what has been found; one that cannot be has ``refused``, the reason.
    on_point : told how many are done.
    workers : processes; None: one for each core where there is enough to do.

    Returns
    -------
    Rows of the points, and of those that cannot be, in the order of the points.
    """
    from trainscape.nfu.workers import results

    fresh = [p for p in points if p.key not in store.rows]
    for done, (point, row) in enumerate(results(layers, base, fresh, workers), len(points) - len(fresh) + 1):
        store.add(point.key, row)
        on_point(done)
    found = [store.rows[p.key] for p in points]
    return [r for r in found if "refused" not in r], [r for r in found if "refused" in r]


def designs(layers: Sequence[Layer]) -> tuple[list[Row], dict[str, str]]:
    """The catalogue's NFUs at the same work, and why some of them cannot do it."""
    from hw.catalogue import device
    from trainscape.nfu.config import devices

    work, found, refused = Work(layers), [], {}
    for name in devices():
        nfu = device(name).nfu
        assert nfu is not None  # `devices` has looked
        try:
            found.append({"name": name, **_document(nfu), **work.figures(nfu)})
        except HwError as e:
            refused[name] = str(e)
    return found, refused


def _document(nfu: Nfu) -> Row:
    rows = (nfu.nbin_rows, nfu.nbout_rows, nfu.sb_rows)
    point = Point(tn=nfu.tn, rows=rows, dram_bytes_per_second=nfu.dram_bytes_per_second, word=nfu.neuron)
    return point.document() | {"ti": nfu.ti, "clock_hz": nfu.clock_hz}


def accuracy_key(nfu: Nfu) -> str:
    """Names what accuracy depends on: formats and arithmetic, not sizes."""
    a = nfu.arithmetic
    parts = (nfu.neuron, nfu.synapse, a.cut, a.rounding, a.product_bits, a.tree_bits, a.sum_bits, a.overflow, a.seed)
    return " ".join(map(str, (*parts, nfu.lines, nfu.segments, nfu.reach)))


def with_accuracy(
    rows: Sequence[Row], nfus: Sequence[Nfu], base: Nfu, store: Store, on_format: Callable[[str], object]
) -> list[Row]:
    """Add ``accuracy`` to rows: the fraction of the digits told right, computed once for each format.

    Parameters
    ----------
    rows, nfus : results, and the design of each.
    base : whose sizes are taken; they change nothing but the order of sums.
    store : of what has been found, by format.
    on_format : told what is computed next.
    """
    from trainscape.nfu.accuracy import digits_accuracy

    found = []
    for row, nfu in zip(rows, nfus, strict=True):
        key = accuracy_key(nfu)
        if key not in store.rows:
            on_format(key)
            store.add(key, {"accuracy": digits_accuracy(_sized(nfu, base))})
        found.append({**row, "accuracy": store.rows[key]["accuracy"]})
    return found


def _sized(nfu: Nfu, base: Nfu) -> Nfu:
    sizes = {k: getattr(base, k) for k in ("tn", "ti", "nbin_rows", "nbout_rows", "sb_rows", "dram_bytes_per_second")}
    return replace(nfu, **sizes)


def refusals(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Reason -> points."""
    found: dict[str, int] = {}
    for r in rows:
        found[r["refused"]] = found.get(r["refused"], 0) + 1
    return found
