"""``trainscape hw``: the whole catalogue in short, and every part of a system."""

from hw import catalogue


def test_list_says_what_matters(cli) -> None:
    """A line an entry; systems by their devices and network ports, devices by their rates."""
    out = cli("hw", "list").out
    assert all(name in out for name in catalogue.names())
    assert "16 x k80-die, 1 x 20gbe" in " ".join(out.split())


def test_show_has_host_network_and_sources(cli) -> None:
    """Its host's processors at their sockets, its port, and each number with its source."""
    found = cli("hw", "show", "p2.16xlarge", "--json").document
    rows = {(p["part"], p["joined_to"]): (p["is"], p["by"], p["each_direction"]) for p in found["parts"]}
    assert rows["host", "cpu1"] == ("2 x xeon-e5-2686-v4", "1 x memory", "62.4 GB/s")
    assert rows["cpu0", "network"] == ("", "1 x 20gbe", "2.35 GB/s")
    assert rows["gpu15", "plx7"] == ("k80-die", "1 x pcie3-x16", "12 GB/s")
    assert {q["quantity"]: q["text"] for q in found["quantities"]}["host.sockets"] == "2"
    assert all(q["source"] for q in found["quantities"])


def test_show_says_where_nothing_is_known_of_convolutions(cli) -> None:
    """GPUs without times of single layers, and systems of them; of a processor nothing is said, for it computes none."""
    said = "so a convolution runs at the speed of a matrix product"
    for name in ("a100-sxm4-80gb", "dgx-h100", "gtx580-3gb"):
        found = cli("hw", "show", name, "--json")
        (note,) = found.document["notes"]
        assert said in note
        assert said in " ".join(cli("hw", "show", name).out.split())
    for name in ("v100-sxm2-16gb", "dgx1-v100", "epyc-7742", "nvlink3"):
        assert cli("hw", "show", name, "--json").document["notes"] == []


def test_show_has_figures_of_an_nfu_beside_the_published_ones(cli) -> None:
    """Operations, area and power follow from its numbers; of a design of ours nothing has been published."""
    notes = cli("hw", "show", "diannao", "--json").document["notes"]
    assert notes == [
        "operations of the template at full rate: 486 Gop/s (published: 485.33 Gop/s)",
        "area of the template: 3.02 mm2 (published: 3.02 mm2)",
        "power of the template at full rate: 485 mW (published: 485 mW)",
    ]
    anna = cli("hw", "show", "anna-like", "--json").document["notes"]
    assert anna[1] == "multiply-adds of the template at full rate: 81.9 Gop/s (published: 5 Gop/s)"
    assert "published" not in " ".join(cli("hw", "show", "nfu-4x4", "--json").document["notes"])
    assert cli("hw", "show", "dadiannao-64", "--json").document["notes"][1].startswith("area of the template:")
    assert "16 x 16 multipliers, 16 by 16 bits, 980 MHz, 250 GB/s" in " ".join(cli("hw", "list").out.split())
