"""Systems with devices of several kinds: names, routes, rings, places, prices, energy, shared memory, the catalogue's form."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from graph.optimizer import Sgd
from graph.parallel.plan import Plan, Rank, Role
from graph.parallel.strategies import STRATEGIES
from graph.step_stats import step_stats
from graph.timeline import Record, Timeline
from graph.zoo import MODELS
from hw import catalogue
from hw.cost import cost_model, price
from hw.cost.energy import energy_joules, joules
from hw.cost.roofline import seconds, share_of
from hw.device import Device
from hw.errors import DoesNotFit, HwError
from hw.kernels.record import Call
from hw.lower import lower
from hw.model import PlacedModel
from hw.place import placed, role_device
from hw.system import Group, Host, Network, System, Wire
from hw.topology import Topology
from sim.play import play

K20, P100 = catalogue.device("k20"), catalogue.device("p100-pcie")
PCIE = catalogue.link("pcie3-x16")


def mixed(*, nodes: int = 1, pascals: int = 3, shares_memory: bool = False) -> System:
    """A K20 at the socket, and P100s behind a switch of their own."""
    names = [f"pascal{k}" for k in range(pascals)]
    wires = [Wire(a="gpu0", b="cpu0", link=PCIE), *(Wire(a=p, b="switch", link=PCIE) for p in names)]
    return System(
        name="mixed",
        device=K20,
        count=1,
        others=(Group(device=P100, count=pascals, prefix="pascal", shares_memory=shares_memory),),
        wires=(*wires, Wire(a="switch", b="cpu0", link=PCIE)),
        nodes=nodes,
        network=Network(link=catalogue.link("10gbe"), at=("cpu0",)),
        host=Host(cores=8, memory_nbytes=1 << 36, device=catalogue.device("xeon-e5-2650-v2"), at=("cpu0",)),
    )


def plan_of(ranks: int = 2, *, batch: int = 8, steps: int = 3, **options: object) -> Plan:
    """LeNet's features on the P100s, its classifier on the K20."""
    model = MODELS["lenet"].build(batch, image=(28, 28, 1))
    options = {"features_on": "pascal", "ranks": ranks, "steps": steps, **options}
    return STRATEGIES["features"].build(model, Sgd(learning_rate=0.1), **options)


def model_of(system: System, plan: Plan, cost: Callable[[Device], object] = cost_model) -> PlacedModel:
    lowered = {r.name: lower(plan, r.name, role_device(system, r).platform) for r in plan.roles}
    return PlacedModel(system=system, plan=plan, lowered=lowered, cost=cost)  # type: ignore[arg-type]


def role(name: str, place: str, **axes: int) -> Role:
    return Role(name=name, program="data_parallel", axes=axes, places={"compute": place})


class TestNames:
    def test_kind_by_kind_and_node_by_node(self) -> None:
        s = mixed(nodes=2, pascals=2)
        assert s.local == ("gpu0", "pascal0", "pascal1") and s.kinds == ("gpu", "pascal")
        assert s.places == ("node0/gpu0", "node0/pascal0", "node0/pascal1", "node1/gpu0", "node1/pascal0", "node1/pascal1")
        assert s.places_of("gpu") == ("node0/gpu0", "node1/gpu0")
        assert (s.device_at("node1/gpu0"), s.device_at("node1/pascal1")) == (K20, P100)
        assert [s.kind_at(p) for p in ("node1/pascal1", "node0/host")] == ["pascal", "host"]
        assert Topology(s).places == s.places

    def test_one_kind_is_as_it_was(self) -> None:
        s = catalogue.system("dgx1-v100")
        assert s.local == tuple(f"gpu{i}" for i in range(8)) and s.kinds == ("gpu",) and not s.others
        assert s.groups == (Group(device=s.device, count=8),)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: replace(mixed(), others=(Group(device=P100, count=1),)), "two kinds of devices have names alike"),
            (lambda: replace(mixed(), others=()).device_at("pascal0"), "has no devices of kind 'pascal'; "),
            (lambda: mixed().places_of("pasca"), "has no devices of kind 'pasca'; did you mean 'pascal'"),
            (
                lambda: replace(mixed(), others=(replace(mixed().others[0], count=2),)),
                "'pascal2', but the last device is pascal1",
            ),
            (lambda: Group(device=P100, count=1, prefix="p100"), "cannot begin with 'p100': use letters, no digit at the end"),
            (lambda: Group(device=P100, count=1, prefix="host"), "cannot begin with 'host'"),
            (lambda: Group(device=P100, count=1, prefix="a/b"), "cannot begin with 'a/b'"),
            (lambda: Group(device=P100, count=0), "at least one device of a kind, got 0 x 'p100-pcie'"),
        ],
    )
    def test_refused(self, make: Callable[[], object], message: str) -> None:
        with pytest.raises(HwError) as e:
            make()
        assert message in str(e.value)


class TestRoutes:
    def test_no_device_forwards_for_another(self) -> None:
        t = Topology(mixed())
        assert t.route("pascal0", "gpu0") == ("pascal0>switch", "switch>cpu0", "cpu0>gpu0")
        assert t.route("pascal0", "pascal1") == ("pascal0>switch", "switch>pascal1")
        assert t.route("pascal0", "host")[-1] == "cpu0>host"
        # half of a link's latency to the switch, half from the socket, all of it between them
        assert t.latency("pascal0", "gpu0") == pytest.approx(2 * PCIE.latency_seconds)

    def test_a_ring_is_of_one_kind(self) -> None:
        t = Topology(mixed(nodes=2))
        assert t.ring_order() == ("node0/gpu0", "node1/gpu0")
        assert set(t.ring_order(3, "pascal")) == {f"node0/pascal{k}" for k in range(3)}
        assert t.ring_order(5, "pascal")[3:] == ("node1/pascal0", "node1/pascal1")
        with pytest.raises(HwError, match="a ring of 3 does not fit"):
            t.ring_order(3)


class TestPlaces:
    def places(self, s: System, *roles: Role) -> list[str]:
        return list(placed(Plan(roles), Topology(s)).values())

    def test_kinds_are_taken_one_by_one(self) -> None:
        s = mixed()
        both = self.places(s, role("features", "pascal", dp=2), role("classifier", "device"), role("more", "pascal"))
        assert both == ["pascal0", "pascal1", "gpu0", "pascal2"]
        assert self.places(s, role("a", "gpu"), role("b", "host")) == ["gpu0", "host"]
        assert role_device(s, role("a", "pascal")) is P100 and role_device(s, role("a", "gpu")) is K20

    def test_an_axis_that_says_the_node(self) -> None:
        found = self.places(mixed(nodes=2), role("features", "pascal", node=2, d=2), role("classifier", "device", n=2))
        assert found[:4] == ["node0/pascal0", "node0/pascal1", "node1/pascal0", "node1/pascal1"]
        assert found[4:] == ["node0/gpu0", "node1/gpu0"]

    @pytest.mark.parametrize(
        ("roles", "message"),
        [
            ((role("a", "device", dp=2),), "2 ranks on gpu, but mixed has 1 devices of this kind (k20); use at most 1 ranks"),
            ((role("a", "pascal", dp=4),), "4 ranks on pascal, but mixed has 3 devices of this kind (p100-pcie); use at most 3"),
        ],
    )
    def test_does_not_fit(self, roles: tuple[Role, ...], message: str) -> None:
        with pytest.raises(DoesNotFit) as e:
            self.places(mixed(), *roles)
        assert message in str(e.value)

    def test_an_unknown_kind(self) -> None:
        with pytest.raises(HwError, match="role 'a' is placed on 'pascall'; did you mean 'pascal'"):
            self.places(mixed(), role("a", "pascall"))
        with pytest.raises(HwError, match="placed on 'nfu'"):
            self.places(catalogue.system("dgx1-v100"), role("a", "nfu"))


class TestPriced:
    def test_each_rank_by_its_own_device(self) -> None:
        """The same kernels, had they stood on the other kind, would take otherwise."""
        plan = plan_of()
        here, there = model_of(mixed(), plan), model_of(mixed(), plan_of(features_on="device", ranks=1, classifier_on="pascal"))
        assert here.device_of(Rank("features", (1,))) is P100 and here.device_of(Rank("classifier", (0,))) is K20
        assert here.kind_of(Rank("features", (1,))) == "pascal"
        for m in (here, there):
            for rank in m.plan.ranks:
                for call in m.lowered[rank.role].calls:
                    assert m.call_seconds(rank, call) == seconds(call, m.device_of(rank))
        assert here.memory_capacity_bytes(Rank("features", (0,))) == P100.memory_nbytes
        assert here.memory_capacity_bytes(Rank("classifier", (0,))) == K20.memory_nbytes

    def test_devices_that_share_a_memory_have_shares_of_it(self) -> None:
        """Two of three are used: each has half of the rate and of the room; the K20 has its own."""
        plan = plan_of()
        m = model_of(mixed(shares_memory=True), plan)
        first, last = Rank("features", (0,)), Rank("classifier", (0,))
        assert (m.busy(first), m.busy(last)) == (2, 1)
        for call in m.lowered["features"].calls:
            assert m.call_seconds(first, call) == seconds(call, share_of(P100, 2)) >= seconds(call, P100)
        assert m.memory_capacity_bytes(first) == P100.memory_nbytes // 2
        assert m.memory_capacity_bytes(last) == K20.memory_nbytes
        alone = model_of(mixed(shares_memory=True), plan_of(ranks=1))
        assert alone.busy(first) == 1

    def test_nodes_do_not_share(self) -> None:
        """Four on two nodes of three: three around one memory, one around the other."""
        m = model_of(mixed(nodes=2, shares_memory=True), plan_of(ranks=4))
        assert [m.busy(Rank("features", (k,))) for k in range(4)] == [3, 3, 3, 1]

    def test_both_kinds_work_at_once(self) -> None:
        """Played: a step takes as long as the slower half, not as both; and the same folded."""
        plan = plan_of(ranks=3, batch=256, steps=6)
        m = model_of(mixed(), plan)
        own = {
            r.name: sum(m.call_seconds(plan.first_rank(r.name), c) for c in m.lowered[r.name].calls if c.kernel != "cuda.input")
            for r in plan.roles
        }
        timeline = play(plan, m)
        step = step_stats(timeline).step_s
        longest = max(own["features"], 3 * own["classifier"])
        assert longest <= step < own["features"] + 3 * own["classifier"]
        assert step_stats(play(plan, m, fold=True)).step_s == pytest.approx(step, rel=0.05)


class Meter:
    """A cost model that knows energy: a joule for each 1000 operations; of pooling it knows none, when told so."""

    name = "meter"

    def __init__(self, device: Device, ignorant: bool = False) -> None:
        self.model, self.ignorant = cost_model(device), ignorant

    def joules(self, call: Call) -> float | None:
        return None if self.ignorant and "pool" in call.kernel else call.work.flop / 1000

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)


class TestEnergy:
    @staticmethod
    def timeline() -> Timeline:
        """One step of 4 s: a P100 works for 1 s, the K20 for 3 s."""
        first, last = Rank("features", (0,)), Rank("classifier", (0,))
        rows = [
            Record(rank=first, id=(0, "forward", "conv1", 0), stream="compute", ready=0.0, start=0.0, end=1.0),
            Record(rank=last, id=(0, "forward", "fc1", 0), stream="compute", ready=1.0, start=1.0, end=4.0),
        ]
        return Timeline(rows)

    def test_each_kind_draws_its_own_power(self) -> None:
        s, host = mixed(), mixed().host
        assert host is not None and host.whole is not None
        found = energy_joules(self.timeline(), model_of(s, plan_of(ranks=1)))
        each = joules(K20, 3.0, 4.0) + joules(P100, 1.0, 4.0) + 2 * joules(P100, 0.0, 4.0)
        assert found.joules == pytest.approx(each + joules(host.whole, 0.0, 4.0))
        assert found.basis.startswith(
            "modelled: 225 W busy, 15% of it idle, for each gpu; 250 W busy, 15% of it idle, for each pascal; "
        )

    def test_the_rest_of_a_node_is_what_no_device_draws(self) -> None:
        found = energy_joules(self.timeline(), model_of(replace(mixed(), watts=1500.0), plan_of(ranks=1)))
        assert f"{1500 - 225 - 3 * 250} W for the rest" in found.basis

    def test_kernels_whose_energy_is_known_are_added_up(self) -> None:
        """What a P100 computes in a step, and its idle power for the other 3 s."""
        plan = plan_of(ranks=1)
        m = model_of(mixed(), plan, lambda d: Meter(d) if d is P100 else cost_model(d))
        flop = sum(c.work.flop for c in m.lowered["features"].calls)
        plain = energy_joules(self.timeline(), model_of(mixed(), plan)).joules
        found = energy_joules(self.timeline(), m)
        assert found.joules == pytest.approx(plain - 250 * 1.0 + flop / 1000)
        assert "what each kernel takes, and 15% of 250 W idle, for each pascal" in found.basis

    def test_where_one_is_unknown_the_device_draws_its_power(self) -> None:
        plan = plan_of(ranks=1)
        m = model_of(mixed(), plan, lambda d: Meter(d, ignorant=True) if d is P100 else cost_model(d))
        assert energy_joules(self.timeline(), m) == energy_joules(self.timeline(), model_of(mixed(), plan))


def test_money() -> None:
    """Nodes as many as the scarcest kind takes; or each device by its own price."""
    s = replace(mixed(nodes=3), usd_per_hour=2.0)
    assert price.usd_per_hour(s, {"gpu": 1, "pascal": 4}) == 4.0
    assert price.usd_per_hour(s) == 6.0 and price.usd_per_hour(s, 2) == 4.0
    sold = replace(
        mixed(),
        device=replace(K20, usd_per_hour=0.5),
        others=(Group(device=replace(P100, usd_per_hour=2.0), count=3, prefix="pascal"),),
    )
    assert price.usd_per_hour(sold, {"gpu": 1, "pascal": 2}) == 4.5
    assert price.usd_per_hour(sold) == 6.5
    assert price.usd_per_hour(mixed(), {"gpu": 1, "pascal": 2}) is None


class TestCatalogue:
    TEXT = """\
kind: system
name: two-kinds
title: two kinds
sources: {us: assumed for a test}
device: k20
count: {value: "1", source: us}
others:
  - device: p100-pcie
    count: {value: "2", source: us}
    prefix: pascal
    memory: shared
wires:
  - link: pcie3-x16
    between: [gpu0 cpu0, pascal0 cpu0, pascal1 cpu0]
"""

    def read(self, folder: Path, text: str) -> System:
        file = folder / "two-kinds.yaml"
        file.write_text(text)
        item, _ = catalogue.read_file(file)
        assert isinstance(item, System)
        return item

    def test_a_file(self, tmp_path: Path) -> None:
        s = self.read(tmp_path, self.TEXT)
        assert s.others == (Group(device=P100, count=2, prefix="pascal", shares_memory=True),) and not s.shares_memory
        whole = self.read(tmp_path, self.TEXT.replace("device: k20\n", "device: k20\nmemory: shared\n"))
        assert whole.shares_memory and whole.groups[0].shares_memory

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("memory: shared", "memory: ours", "two-kinds.yaml:11: memory is 'ours'; choose own | shared"),
            ("device: p100-pcie", "device: pcie3-x16", "two-kinds.yaml:8: device: 'pcie3-x16' is a link, not a device"),
            ("    prefix: pascal\n", "    prefiks: pascal\n", "unknown key 'others[0].prefiks'; did you mean 'prefix'"),
            ('    count: {value: "2", source: us}\n', "", "others[0].count is missing"),
            ("    prefix: pascal\n", "", "two kinds of devices have names alike"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, old: str, new: str, message: str) -> None:
        with pytest.raises(HwError) as e:
            self.read(tmp_path, self.TEXT.replace(old, new))
        assert message in str(e.value)
