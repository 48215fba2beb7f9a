"""The Chrome trace: valid, deterministic, sorted, sequential tracks, and arrows whose two ends lie inside slices."""

import gzip
import json
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import pytest

from graph.parallel.plan import Rank
from graph.parallel.programs.coordinator import coordinator_plan
from graph.parallel.programs.hogwild import hogwild_plan
from graph.parallel.programs.parameter_server import parameter_server_plan
from graph.parallel.programs.pipeline import pipeline_plan
from graph.timeline import Timeline
from sim.errors import SimError
from sim.model import UniformModel
from sim.play import play
from sim.tracing import Counter, chrome_events, write_chrome_trace

MODEL = UniformModel(alpha=2e-6, beta=1e9, compute=lambda rank, do: 1e-5)
CORES = UniformModel(alpha=2e-6, compute=lambda rank, do: 1e-5, shared=True, send_rate=1e9, recv_rate=1e9)


def ns(us):
    return round(us * 1000)


def check(events):
    """The rules of the format that a viewer relies on."""
    timed = [e for e in events if e["ph"] != "M"]
    assert [e["ts"] for e in timed] == sorted(e["ts"] for e in timed)
    assert min(e["ts"] for e in timed) == 0.0
    processes = {e["pid"] for e in events if e["name"] == "process_name"}
    threads = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    slices = defaultdict(list)
    for e in timed:
        assert e["pid"] in processes
        if e["ph"] == "X":
            assert (e["pid"], e["tid"]) in threads
            slices[e["pid"], e["tid"]].append((ns(e["ts"]), ns(e["ts"] + e["dur"])))
    for spans in slices.values():
        assert all(start < end for start, end in spans)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    ends = defaultdict(dict)
    for e in timed:
        if e["ph"] in "sf":
            assert e["ph"] not in ends[e["id"]]
            ends[e["id"]][e["ph"]] = e
            assert any(start <= ns(e["ts"]) < end for start, end in slices[e["pid"], e["tid"]])
    for arrow in ends.values():
        assert set(arrow) == {"s", "f"}
        assert arrow["s"]["ts"] <= arrow["f"]["ts"]
        assert arrow["f"]["bp"] == "e"
    return len(ends)


@pytest.mark.parametrize("model", [MODEL, CORES], ids=["links", "cores"])
def test_every_message_is_an_arrow(training, model):
    for plan in (
        training(4, steps=2, size=4000),
        pipeline_plan(3, 4),
        pipeline_plan(2, 2, dp=2, tp=2),
        parameter_server_plan(3, 5, 1),
        coordinator_plan(3, 6),
        hogwild_plan(2, 3),
    ):
        t = play(plan, model)
        assert check(chrome_events({"predicted": t})) == len({(r.rank, r.id) for r in t if r.id[-1] == "recv"})


def test_sources_stand_one_above_the_other(training):
    one, other = play(training(2, steps=1), MODEL), play(training(2, steps=1), CORES)
    bare = [replace(r, ready=r.ready + 5, start=r.start + 5, end=r.end + 5, peer=None) for r in other]
    measured = Timeline(bare, source="measured")  # as an engine writes it that does not note who a message is for
    events = chrome_events({"predicted": one, "measured": measured})
    sends = sum(r.id[-1] == "send" for r in one)
    assert check(events) == 2 * sends
    names = sorted((e["args"]["sort_index"], e["pid"]) for e in events if e["name"] == "process_sort_index")
    name_of = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    sources = "worker[0] predicted", "worker[0] measured", "worker[1] predicted", "worker[1] measured"
    assert tuple(name_of[pid] for _, pid in names) == sources
    threads = [e["args"]["name"] for e in events if e["name"] == "thread_name" and e["pid"] == 1]
    assert threads == ["input", "compute", "comm (whole)", "comm<", "comm>"]


def test_what_a_slice_says(training):
    t = play(training(2, steps=1), MODEL)
    events = chrome_events({"predicted": t})
    forward = next(e for e in events if e["name"] == "forward a 0")
    assert (forward["cat"], forward["args"]) == ("forward", {"id": "0/forward/a/0", "step": 0, "waited_us": 0.0, "flop": 2})
    receive = next(e for e in events if e["name"] == "allreduce b 0 recv")
    assert receive["args"] == {"id": "0/allreduce/b/0/recv", "step": 0, "waited_us": 2.004, "bytes": 4, "peer": "worker[1]"}
    assert receive["dur"] == 0.001


def test_file(training, tmp_path):
    t = play(training(2), MODEL)
    counter = Counter(source="predicted", rank=Rank("worker", (0,)), name="bytes/s", points=((0.0, 0.0), (1e-6, 2.0)))
    for name in ("trace.json.gz", "trace.json"):
        write_chrome_trace(tmp_path / name, {"predicted": t}, counters=[counter])
    data = (tmp_path / "trace.json.gz").read_bytes()
    document = json.loads(gzip.decompress(data))
    assert document == json.loads((tmp_path / "trace.json").read_bytes())
    assert check(document["traceEvents"]) > 0
    assert [e["args"]["value"] for e in document["traceEvents"] if e["ph"] == "C"] == [0.0, 2.0]
    write_chrome_trace(tmp_path / "trace.json.gz", {"predicted": t}, counters=[counter])
    assert (tmp_path / "trace.json.gz").read_bytes() == data
    assert sorted(p.name for p in tmp_path.iterdir()) == ["trace.json", "trace.json.gz"]


def test_nothing_is_left_when_it_cannot_be_written(training, tmp_path):
    t = play(training(1), MODEL)
    bad = Counter(source="predicted", rank=Rank("worker"), name="x", points=((0.0, float("nan")),))
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_chrome_trace(tmp_path / "trace.json", {"predicted": t}, counters=[bad])
    with pytest.raises(SimError, match="counter 'x' is of source 'predicted'; there are measured"):
        write_chrome_trace(tmp_path / "trace.json", {"measured": t}, counters=[bad])
    assert not list(tmp_path.iterdir())


def test_empty_timeline():
    assert chrome_events({"predicted": Timeline()}) == []
