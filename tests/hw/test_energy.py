"""Energy and money of a step that was played."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from graph.errors import GraphError
from graph.ir import Graph
from graph.optimizer import Sgd
from graph.parallel.plan import Plan, Rank
from graph.parallel.strategies.parameter_server import parameter_server
from graph.timeline import Record, Timeline
from graph.zoo import MODELS
from hw.catalogue import system
from hw.cost import cost_model, price
from hw.cost.energy import energy_joules, joules
from hw.errors import HwError
from hw.kernels.record import Platform
from hw.lower import lower
from hw.model import PlacedModel
from hw.place import role_device
from hw.system import System
from sim.play import play


@pytest.fixture
def placed(trained: Callable[..., Graph], planned: Callable[..., Plan]) -> Callable[..., PlacedModel]:
    """(system, ranks) -> data parallel workers there."""

    def make(s: System, ranks: int) -> PlacedModel:
        plan = planned(trained(), ranks=ranks)
        return PlacedModel(system=s, plan=plan, lowered={"worker": lower(plan, "worker", Platform.CUDA)}, cost=cost_model)

    return make


def worked(rank: int, step: int, start: float, end: float, *, stream: str = "compute") -> Record:
    return Record(rank=Rank("worker", (rank,)), id=(step, "forward"), stream=stream, ready=start, start=start, end=end)


def test_a_step_by_hand(placed) -> None:
    """Two of the eight GPUs of a DGX-1 work, one for 3 s, the other for 1 s, of a step of 4 s; the first step is left out."""
    s = system("dgx1-v100")
    first = [worked(0, 0, 0.0, 10.0), worked(1, 0, 0.0, 10.0)]
    step = [worked(0, 1, 10.0, 13.0), worked(1, 1, 13.0, 14.0), worked(1, 1, 10.0, 14.0, stream="input")]
    found = energy_joules(Timeline([*first, *step]), placed(s, 2))
    gpus = joules(s.device, 3.0, 4.0) + joules(s.device, 1.0, 4.0) + 6 * joules(s.device, 0.0, 4.0)
    assert found.joules == pytest.approx(gpus + (3500 - 8 * 300) * 4.0)
    assert found.basis == "modelled: 300 W busy, 15% of it idle, for each device; 1100 W for the rest of each node throughout"


def test_processors_stand_in_for_a_node_whose_power_is_not_known(placed) -> None:
    """Two sockets that wait, of an instance that says no power."""
    s = system("p3.16xlarge")
    found = energy_joules(Timeline([worked(0, 0, 0.0, 2.0)]), placed(s, 1))
    host = s.host.whole
    assert found.joules == pytest.approx(joules(s.device, 2.0, 2.0) + 7 * joules(s.device, 0.0, 2.0) + 0.25 * 2 * 145 * 2.0)
    assert host.watts == 290
    assert found.basis.endswith("290 W busy, 25% of it idle, for each node's processors")
    bare = replace(s, host=None)
    assert energy_joules(Timeline([worked(0, 0, 0.0, 2.0)]), placed(bare, 1)).basis.endswith("hosts left out")


def test_servers_share_the_power_of_their_host() -> None:
    """Two servers on one host work for 1 s of 4 s at once, with half of its processors each: the host is busy for 1 s."""
    s = system("p3.16xlarge")
    host = s.host.whole
    plan = parameter_server(
        MODELS["mlp"].build(4, **MODELS["mlp"].tiny), Sgd(learning_rate=0.1), ranks=2, steps=1, bucket_bytes=1 << 20,
        servers="host", server_count=2,
    )  # fmt: skip
    lowered = {r.name: lower(plan, r.name, role_device(s, r).platform) for r in plan.roles}
    model = PlacedModel(system=s, plan=plan, lowered=lowered, cost=cost_model)
    rows = [replace(worked(k, 0, 0.0, 1.0), rank=Rank("server", (k,))) for k in (0, 1)]
    found = energy_joules(Timeline([*rows, worked(0, 0, 0.0, 4.0)]), model)
    gpus = joules(s.device, 4.0, 4.0) + 7 * joules(s.device, 0.0, 4.0)
    assert found.joules == pytest.approx(gpus + joules(host, 1.0, 4.0))


def test_only_nodes_that_are_used_count(placed) -> None:
    """One node of four, then two; every step costs as much as the next."""
    s = system("dgx1-v100", nodes=4)
    one, two = placed(s, 8), placed(s, 16)
    by_steps = [energy_joules(play(one.plan.shortened(n), one), one).joules for n in (2, 3)]
    assert by_steps[0] == pytest.approx(by_steps[1], rel=1e-4)
    assert energy_joules(play(two.plan.shortened(2), two), two).joules > 1.9 * by_steps[0]


def test_folded_ranks_work_too(placed) -> None:
    """One of eight alike was played; the energy is that of all."""
    model = placed(system("dgx-a100"), 8)
    plan = model.plan.shortened(2)
    plain, folded = play(plan, model), play(plan, model, fold=True)
    assert len(folded) < len(plain)
    assert energy_joules(folded, model).joules == pytest.approx(energy_joules(plain, model).joules)


def test_what_has_no_energy(placed) -> None:
    """No stated power, no timeline."""
    s = system("dgx1-v100")
    with pytest.raises(HwError, match="no stated power"):
        energy_joules(Timeline([worked(0, 0, 0.0, 1.0)]), placed(replace(s, device=replace(s.device, watts=0.0)), 1))
    with pytest.raises(GraphError, match="empty timeline"):
        energy_joules(Timeline(), placed(s, 1))


def test_nodes_are_rented_whole() -> None:
    """Nine devices take two nodes of eight; devices that are sold singly are paid for singly."""
    s = system("p2.8xlarge", nodes=4)
    assert price.usd_per_hour(s) == pytest.approx(4 * 7.2)
    assert [price.usd_per_hour(s, n) for n in (1, 8, 9)] == pytest.approx([7.2, 7.2, 14.4])
    assert price.usd_per_hour(replace(s, usd_per_hour=None), 9) == pytest.approx(9 * 0.9)
    assert price.usd_per_hour(system("k20x8-2014"), 8) is None
    assert price.usd(s, 1800.0, 9) == pytest.approx(14.4 / 2)
