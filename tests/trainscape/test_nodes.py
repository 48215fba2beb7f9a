"""Many nodes by a count and a network: devices, servers and places follow; many ranks are folded, and no number changes."""

import pytest

from trainscape.build import Built
from trainscape.errors import ScenarioError
from trainscape.load import load_text
from trainscape.predict import predict
from trainscape.systems import devices, nodes_used

TEXT = """\
name: s
model: {name: lenet, batch: 512, input: mnist}
system: {name: dgx1-v100, nodes: 2}
parallel: {ranks: 16, bucket: 25 MB}
run: {data: synthetic}
"""


def scenario(*overrides: str):
    return load_text(TEXT, overrides=overrides).scenario


def test_devices_of_all_nodes() -> None:
    s = scenario()
    assert (devices(s), nodes_used(s)) == (16, 2)
    assert nodes_used(scenario("parallel.ranks=8")) == 1
    with pytest.raises(ScenarioError, match="17 ranks need as many devices, but system '2 x dgx1-v100' offers 16"):
        scenario("parallel.ranks=17", "model.batch=510")


def test_servers_are_told_over_how_many_nodes_the_ranks_are_spread() -> None:
    servers = ("parallel.strategy=parameter_server", "parallel.servers=host", "parallel.levels=2")
    assert Built(scenario(*servers)).strategy_options["nodes"] == 2
    places = Built(scenario(*servers)).placed.places
    assert {p.split("/")[0] for r, p in places.items() if r.role == "server"} == {"node0", "node1"}
    assert "nodes" not in Built(scenario()).strategy_options


def test_a_slower_network_takes_longer() -> None:
    times = [predict(Built(scenario(f"system.network={n}"))).stats.step_s for n in ("10gbe", "100gbe", "edr")]
    assert times[0] > times[1] and times[0] > times[2]


def test_folded_ranks_take_as_long() -> None:
    built = Built(scenario())
    folded, whole = (predict(built, unfolded=n) for n in (1, 16))
    assert len(folded.timeline) < len(whole.timeline)
    assert folded.stats.step_s == pytest.approx(whole.stats.step_s, rel=1e-9)
    assert folded.bytes_sent == whole.bytes_sent == whole.stats.bytes_sent_total // whole.stats.steps


def test_two_levels_of_servers_make_all_nodes_alike() -> None:
    """However unlike the devices of a node: in each, those that deal with the node's own server stand at the same places."""
    servers = ("parallel.strategy=parameter_server", "parallel.servers=host", "parallel.levels=2", "parallel.ranks=32")
    built = Built(scenario("system.name=p2.8xlarge", "system.nodes=4", *servers))
    folded, whole = (predict(built, steps=2, unfolded=n) for n in (1, 36))
    assert len({r.rank for r in folded.timeline}) == 8 + 1
    assert len({r.rank for r in whole.timeline}) == 32 + 4
    assert folded.stats.step_s == pytest.approx(whole.stats.step_s, rel=1e-9)
