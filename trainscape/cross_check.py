"""Rules between the settings of a scenario: what no single key can know. All of them are checked, none stops the others."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from graph.errors import nearest
from graph.record import record
from hw.device import Device
from hw.errors import HwError
from hw.system import DEVICE, HOST_PART
from trainscape.doctor import free_cores
from trainscape.errors import MistakeKind
from trainscape.expect import bound
from trainscape.numerics import nfus, numerics
from trainscape.result_keys import LISTS
from trainscape.scenario import DIGITS, IMAGES, MADE_UP, DataName, Expectation, NumericsPart, RunsOn, Scenario
from trainscape.strategies import OPTION_KEYS, OPTIONS, WHERE, allowed, short, standing
from trainscape.systems import HOST, catalogue_system, offered
from trainscape.yaml_reader import Loc


@record
class Finding:
    """A broken rule, at a path of the scenario."""

    path: Loc
    message: str
    kind: MistakeKind = MistakeKind.INVALID


NO_FOLDER = "run.data.folder: there is no folder"
"""Begins a warning that a training need not give: it is refused, and says how to come by the files."""


@record
class Findings:
    """Everything that was found."""

    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()


def cross_check(scenario: Scenario, data_folder: Path | None = None, doubtful: Collection[Loc] = ()) -> Findings:
    """Check a scenario against the rules between its keys.

    Parameters
    ----------
    scenario : to check.
    data_folder : where its data folder is, seen from here.
    doubtful : keys that are not what the user meant: no rule that looks at one of them is applied.
    """

    def can_tell(keys: Collection[Loc]) -> bool:
        return not any(a[: len(b)] == b[: len(a)] for a in doubtful for b in keys)

    found = [f for rule, keys in _RULES.items() if can_tell(keys) for f in rule(scenario)]
    warnings = list(_warnings(scenario))
    if data_folder is not None and can_tell(_DATA) and not data_folder.is_dir():  # a plan and a prediction need no data
        warnings.append(f"{NO_FOLDER} {data_folder.resolve()}, so nothing can be trained on it here")
    return Findings(findings=tuple(found), warnings=tuple(warnings))


def _model(s: Scenario) -> Iterator[Finding]:
    from graph.errors import GraphError
    from trainscape.zoo_graph import model_graph

    try:
        model_graph(s.model, batch=1, seed=s.seed)
    except GraphError as e:
        yield Finding(path=("model",), message=str(e))


def _trains(s: Scenario) -> Iterator[Finding]:
    """A model without a loss is not trained."""
    from graph.parallel.strategies import STRATEGIES
    from graph.zoo import MODELS

    if not MODELS[s.model.name].trains and STRATEGIES[s.parallel.strategy].trains:
        message = (
            f"{s.model.name} is a single layer without a loss, so nothing can train it, but strategy "
            f"{short(s.parallel.strategy)} trains; write strategy: inference"
        )
        yield Finding(path=("parallel", "strategy"), message=message)


def _options(s: Scenario) -> Iterator[Finding]:
    """An option of another strategy would be read by nobody."""
    mine = allowed(s.parallel.strategy)
    for key in OPTION_KEYS:
        if key in s.parallel.model_fields_set and key not in mine and getattr(s.parallel, key) is not None:
            others = " or ".join(short(name) for name, keys in OPTIONS.items() if key in keys)
            message = (
                f"{key} means nothing for strategy {short(s.parallel.strategy)}, which takes {', '.join(mine)}; "
                f"remove it, or write strategy: {others}"
            )
            yield Finding(path=("parallel", key), message=message)


def _batch(s: Scenario) -> Iterator[Finding]:
    p, batch = s.parallel, s.model.batch
    if batch % p.parts:
        near = nearest_batch(batch, p.grain)
        micro = f"{p.micro_batches} micro-batches"
        over = micro if p.parts < p.ranks else f"{p.ranks} ranks{f' x {micro}' if p.micro_batches > 1 else ''}"
        message = f"a batch of {batch} does not divide over {over}; the nearest that does is {near}"
        yield Finding(path=("model", "batch"), message=message, kind=MistakeKind.INFEASIBLE)


def nearest_batch(batch: int, parts: int) -> int:
    """The nearest batch that can be cut into so many parts, the smaller of two."""
    below, above = batch // parts * parts, -(-batch // parts) * parts
    return below if below and batch - below <= above - batch else above


def _system(s: Scenario) -> Iterator[Finding]:
    y = s.system
    if y.name == HOST:
        for key in ("nodes", "network"):
            if getattr(y, key) is not None:
                yield Finding(path=("system", key), message="this computer is one node; remove it, or name a catalogue system")
        return
    if y.network is not None and (y.nodes or 1) == 1:
        yield Finding(path=("system", "network"), message="a network joins several nodes; write nodes: 2, or remove it")
        return
    try:
        catalogue_system(y)
    except HwError as e:
        yield Finding(path=("system", "nodes"), message=str(e), kind=MistakeKind.INFEASIBLE)


def _platform(s: Scenario) -> Iterator[Finding]:
    """Which part of this computer is used; a catalogue system says itself what it is."""
    y = s.system
    if y.platform is not None and y.name != HOST:
        here = "to run on this computer: --set system.name=host"
        message = f"{y.name} says itself what its devices are; remove it (or --device); {here}"
        yield Finding(path=("system", "platform"), message=message)
    elif y.platform is RunsOn.CUDA and y.devices is not None:
        yield Finding(path=("system", "devices"), message="all ranks share one GPU of this computer; remove it")


def _devices(s: Scenario) -> Iterator[Finding]:
    try:
        have = offered(s, DEVICE) or 0
    except HwError:  # `_system` says so
        return
    where = s.system.name if (s.system.nodes or 1) == 1 else f"{s.system.nodes} x {s.system.name}"
    if s.system.name != HOST:
        whole = catalogue_system(s.system)
        most = whole.count * whole.nodes
        if have > most:
            message = f"{have} devices, but system {where!r} has {most}"
            yield Finding(path=("system", "devices"), message=message, kind=MistakeKind.INFEASIBLE)
            return
    told: set[str] = set()
    stands = standing(s.parallel)
    for key, place, ranks in stands:
        room = offered(s, place)
        if room is None:
            known = (DEVICE, HOST_PART, *(() if s.system.name == HOST else catalogue_system(s.system).kinds))
            message = f"system {where!r} has no {place!r} to place ranks on; {nearest(place, known)}"
            yield Finding(path=("parallel", key), message=message)
            continue
        left = max(room - sum(n for other, at, n in stands if at == place and other != key), 0)
        if ranks > left and place not in told:
            told.add(place)
            kind = f"devices{_of_kind(s, place)}"
            message = f"{ranks} ranks need as many {kind}, but system {where!r} offers {left}; use at most {left}"
            at = dict(WHERE.get(s.parallel.strategy, ())).get(key, "ranks")
            yield Finding(path=("parallel", at), message=message, kind=MistakeKind.INFEASIBLE)


def _of_kind(s: Scenario, place: str) -> str:
    """Which devices are meant, in words; nothing where there is one kind."""
    if place != DEVICE:
        return f" of kind {place}"
    kinds = () if s.system.name == HOST else catalogue_system(s.system).kinds
    return f" of kind {kinds[0]}" if len(kinds) > 1 else ""


def _algorithm(s: Scenario) -> Iterator[Finding]:
    """What is asked for is there, on something that ranks stand on."""
    from trainscape.algorithms import objections

    for path, message, kind in objections(s):
        yield Finding(path=path, message=message, kind=kind)


def _numerics(s: Scenario) -> Iterator[Finding]:
    """Fixed point is for inference, in a format that can be."""
    from graph.ops.quantize import ROUNDINGS
    from graph.parallel.strategies import STRATEGIES

    n = s.numerics
    if n is None:
        return
    if STRATEGIES[s.parallel.strategy].trains:
        does_not = " or ".join(name for name, other in STRATEGIES.items() if other.is_asked_for and not other.trains)
        message = (
            f"in fixed point there is inference alone, but strategy {short(s.parallel.strategy)} trains; remove it, or write "
            f"strategy: {does_not}"
        )
        yield Finding(path=("numerics",), message=message)
    if n.fraction >= n.word:
        message = f"a word of {n.word} bits has 0 to {n.word - 1} bits behind the point, got {n.fraction}"
        said = "fraction" if "fraction" in n.model_fields_set else "word"
        yield Finding(path=("numerics", said), message=message)
    if n.rounding not in ROUNDINGS:
        message = f"{n.rounding} rounding is for training, which is not built in fixed point; write {' or '.join(ROUNDINGS)}"
        yield Finding(path=("numerics", "rounding"), message=message)


def _nfu(s: Scenario) -> Iterator[Finding]:
    """An NFU has words of one length, and computes forward alone."""
    from graph.parallel.strategies import STRATEGIES

    try:
        system = None if s.system.name == HOST else catalogue_system(s.system)
    except HwError:  # `_system` says so
        return
    fixed = numerics(s, system)
    for key, device in nfus(s, system) if system is not None else ():
        if STRATEGIES[s.parallel.strategy].trains:
            message = (
                f"strategy {short(s.parallel.strategy)} trains, but {device.name} computes in fixed point, in which there is "
                f"inference alone; write strategy: inference, or name a system of other devices"
            )
            yield Finding(path=("parallel", "strategy"), message=message, kind=MistakeKind.INFEASIBLE)
            return
        yield from _words(s, key, device, fixed)


def _words(s: Scenario, key: str, device: Device, fixed: NumericsPart | None) -> Iterator[Finding]:
    """The words of a scenario on an NFU that ranks stand on, which key `key` of the section ``parallel`` says."""
    nfu = device.nfu
    if nfu is None or fixed is None:
        return
    if nfu.neuron.bits != nfu.synapse.bits:
        each = f"{nfu.neuron.bits} bits, its synapses {nfu.synapse.bits}"
        message = f"neurons of {device.name} have {each}, but a plan has words of one length"
        yield Finding(path=("system", "name"), message=message, kind=MistakeKind.INFEASIBLE)
    elif fixed.word != nfu.neuron.bits:
        message = f"a word of {fixed.word} bits, but those of {device.name} have {nfu.neuron.bits}"
        path = ("numerics", "word") if s.numerics is not None else ("parallel", key)
        yield Finding(path=path, message=message, kind=MistakeKind.INFEASIBLE)


def _data(s: Scenario) -> Iterator[Finding]:
    name, image = s.data.name, s.model.input
    if name in MADE_UP:
        if s.data.folder is not None:
            yield Finding(path=("run", "data", "folder"), message=f"{name} samples come from no folder; remove it")
        return
    if image != IMAGES[name.value]:
        ours, theirs = ("x".join(map(str, shape)) for shape in (image, IMAGES[name.value]))
        message = f"the model takes {ours} images, but those of {name} are {theirs}; write input: {name}"
        yield Finding(path=("model", "input"), message=message)
    if s.model.classes != 10:
        yield Finding(path=("model", "classes"), message=f"{name} has 10 classes, not {s.model.classes}")
    if name is DataName.DIGITS and s.data.folder is not None:
        yield Finding(path=("run", "data", "folder"), message="the digits come with the package, not from a folder; remove it")
    if name is not DataName.DIGITS and s.data.folder is None:
        message = f"{name} needs the folder of its files; write data: {{name: {name}, folder: ...}}"
        yield Finding(path=("run", "data"), message=message)
    if name is DataName.DIGITS and not 0 < s.run.held_out < DIGITS:
        yield Finding(path=("run", "held_out"), message=f"some of the {DIGITS} digits must be set aside and some trained on")


def _resident(s: Scenario) -> Iterator[Finding]:
    """Only inference finds its samples where the devices are, and nothing brings them there."""
    if s.run.data is None or s.run.data.name is not DataName.RESIDENT:
        return
    if s.parallel.strategy != "inference":
        message = f"resident samples are for strategy inference, not {short(s.parallel.strategy)}; write synthetic"
        yield Finding(path=("run", "data"), message=message)
    for key in ("storage", "sample", "decode", "prefetch"):
        if getattr(s.run.data, key) is not None:
            message = f"resident samples lie in the memory of the devices, so nothing makes them ready; remove {key}"
            yield Finding(path=("run", "data", key), message=message)


def _expect(s: Scenario) -> Iterator[Finding]:
    for key, e in s.expect.items():
        yield from _expectation(key, e)


def _expectation(key: str, e: Expectation) -> Iterator[Finding]:
    if key in LISTS:
        yield Finding(path=("expect", key), message=f"the result is a list; name an item: {key}.0")
    if e.value is None and e.at_least is None and e.at_most is None:
        yield Finding(path=("expect", key), message="give value and tolerance, at_least or at_most")
    if (e.value is None) != (e.tolerance is None):
        missing, there = ("tolerance", "value") if e.tolerance is None else ("value", "tolerance")
        yield Finding(path=("expect", key, there), message=f"{there} needs {missing} beside it")
    for name in ("value", "at_least", "at_most"):
        given = getattr(e, name)
        if given is None:
            continue
        try:
            bound(key, given)
        except HwError as why:
            yield Finding(path=("expect", key, name), message=str(why))


def _input(s: Scenario) -> Iterator[Finding]:
    """The input stage: it belongs to a system that is predicted, and its keys to one another."""
    data = s.run.data
    given = [k for k in ("storage", "sample", "decode", "prefetch") if data is not None and getattr(data, k) is not None]
    if given and s.system.name == HOST:
        message = "on this computer the input stage is the real one; remove it, or name a catalogue system"
        yield Finding(path=("run", "data", given[0]), message=message)
    elif "sample" in given and "storage" not in given:
        yield Finding(path=("run", "data", "sample"), message="says what storage has to deliver; add storage, e.g. 500 MB/s")
    elif given == ["prefetch"]:
        message = "nothing has to be made ready ahead; add storage, e.g. 500 MB/s, or decode, e.g. 10 ms"
        yield Finding(path=("run", "data", "prefetch"), message=message)


_DATA: tuple[Loc, ...] = (("model", "input"), ("model", "classes"), ("run", "data"), ("run", "held_out"))
_PLACED = tuple(key for pairs in WHERE.values() for pair in pairs for key in pair)
_RULES: dict[Callable[[Scenario], Iterator[Finding]], tuple[Loc, ...]] = {
    _model: (("model",), ("seed",)),
    _trains: (("model", "name"), ("parallel", "strategy")),
    _options: (("parallel", "strategy"),),
    _batch: (("model", "batch"), *(("parallel", key) for key in ("strategy", "ranks", "micro_batches"))),
    _system: (("system",),),
    _platform: (("system",),),
    _devices: (("system",), *(("parallel", key) for key in ("strategy", "ranks", *_PLACED))),
    _algorithm: (("system",), *(("parallel", key) for key in ("strategy", *_PLACED))),
    _numerics: (("parallel", "strategy"), ("numerics",)),
    _nfu: (("system",), ("numerics",), *(("parallel", key) for key in ("strategy", *_PLACED))),
    _input: (("run", "data"), ("system", "name")),
    _data: _DATA,
    _resident: (("parallel", "strategy"), ("run", "data")),
    _expect: (),  # a doubtful expectation is not there any more
}
"""Rule -> the keys that it looks at."""


def _warnings(s: Scenario) -> Iterator[str]:
    cores = free_cores()
    if s.system.name == HOST and s.parallel.ranks > cores:
        yield f"{s.parallel.ranks} ranks on {cores} free cores: timings will mean little"
