"""What a predicted training uses: how much of its devices' arithmetic, how much energy and money, a step and an epoch."""

from collections import Counter
from collections.abc import Mapping, Sequence

from graph.errors import GraphError
from graph.ir import Graph, Kind
from graph.parallel.strategies import STRATEGIES
from graph.record import record
from graph.summary import MULTIPLY_ADD
from hw.cost.energy import energy_joules
from hw.cost.price import usd
from hw.device import Device
from hw.errors import HwError
from trainscape.build import Built
from trainscape.predict import Prediction

JOULES_PER_KWH = 3.6e6


@record
class Footprint:
    """What a training uses. What nobody knows is None.

    Parameters
    ----------
    model_flop : arithmetic that the model itself asks for in a step (`model_flop`).
    devices : that ranks stand on.
    peak_flop_per_second : of all those devices together, for the element type; or for the fastest of the formats in which the
        algorithms that were asked for multiply.
    mfu : model flop utilization: model flop / (step x peak) (Chowdhery et al., "PaLM", 2022, appendix B).
    joules : of a step, of the nodes that are used.
    energy_basis : what the joules rest on, in words.
    samples : of an epoch.
    epoch_s, kwh_per_epoch, usd_per_epoch : of an epoch.
    """

    model_flop: int
    devices: int
    peak_flop_per_second: float | None
    mfu: float | None
    joules: float | None
    energy_basis: str
    samples: int | None
    epoch_s: float | None
    kwh_per_epoch: float | None
    usd_per_epoch: float | None

    def document(self) -> dict[str, float | str | None]:
        """Plain data, under the keys of a result document."""
        return {
            "mfu": self.mfu,
            "energy_j": self.joules,
            "energy_basis": self.energy_basis,
            "epoch_s": self.epoch_s,
            "kwh_per_epoch": self.kwh_per_epoch,
            "usd_per_epoch": self.usd_per_epoch,
        }


def footprint(p: Prediction) -> Footprint:
    """The footprint of a prediction."""
    built, step = p.built, p.stats.step_s
    system, scenario = built.system, built.scenario
    flop = step_flop(built)
    places = {place for place in built.placed.places.values() if place in system.places}
    used = Counter(map(system.kind_at, places))
    peak = _peak(p, used)
    try:
        found = energy_joules(p.timeline, built.placed)
        joules, basis = found.joules, found.basis
    except HwError as e:
        joules, basis = None, str(e)
    samples = scenario.samples
    steps = None if samples is None else samples / scenario.model.batch
    return Footprint(
        model_flop=flop,
        devices=len(places),
        peak_flop_per_second=peak,
        mfu=None if peak is None else flop / (step * peak),
        joules=joules,
        energy_basis=basis,
        samples=samples,
        epoch_s=None if steps is None else steps * step,
        kwh_per_epoch=None if steps is None or joules is None else steps * joules / JOULES_PER_KWH,
        usd_per_epoch=None if steps is None else usd(system, steps * step, used),
    )


def step_flop(built: Built) -> int:
    """Arithmetic of a step that the model asks for, all samples together; forward alone where nothing is trained."""
    parallel = built.scenario.parallel
    return model_flop(built.model_graph, trains=STRATEGIES[parallel.strategy].trains) * parallel.parts


def model_flop(graph: Graph, *, trains: bool = True) -> int:
    """Arithmetic of a step that a model's forward graph asks for, by its convolutions and matrix products.

    Each runs once forward, once more for the gradient of its weights, and once more for that of its input, where somebody wants
    it: the gradient of the data nobody does. What a strategy computes twice, adds up or updates is not in it.
    """
    wanted = {v.name for v in graph.of_kind(Kind.PARAMETER)}
    flop = 0
    for n in graph.nodes:
        depends = [v in wanted for v in n.inputs]
        if any(depends):
            wanted.update(v.name for v in n.outputs)
        if n.op.name in MULTIPLY_ADD:
            flop += graph.work(n).flop * (1 + (sum(depends[:2]) if trains else 0))
    return flop


def _peak(p: Prediction, used: Mapping[str, int]) -> float | None:
    """Flop per second of so many devices of each kind; None where their data sheet is not known, or there are none."""
    system, dtypes = p.built.system, (p.built.scenario.system.precision.value, *p.built.arithmetic)
    try:
        return sum(_peak_of(system.group(kind).device, dtypes) * n for kind, n in used.items()) or None
    except (HwError, GraphError):
        return None


def _peak_of(device: Device, dtypes: Sequence[str]) -> float:
    """Of one device; an NFU's is that of its multipliers, in fixed point: a multiply-add of each in every cycle."""
    if device.nfu is not None:
        return 2 * device.nfu.multipliers * device.nfu.clock_hz
    return max(device.flop_per_second(dtype) for dtype in dtypes if dtype == dtypes[0] or dtype in device.peak)
