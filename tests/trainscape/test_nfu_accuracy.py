"""`trainscape nfu accuracy`: a net that was trained in float32, in fixed point."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graph.fixed_point import Fixed, Rounding
from graph.init import init_parameters
from hw.nfu.config import WIDE, Cut, Nfu, Overflow
from runtime import checkpoint
from runtime.errors import CheckpointError, DataError
from trainscape.nfu import nets
from trainscape.nfu.accuracy import Point, Study, digits_accuracy, lost, points, sweep
from trainscape.nfu.nets import Net, net
from trainscape.report import nfu_accuracy as report

ONE = 1 / 360
"""A digit."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nets")


@pytest.fixture(scope="module")
def lenet(cache: Path) -> Net:
    return net("lenet", cache=cache)


@pytest.fixture(scope="module")
def study(lenet: Net) -> Study:
    return Study(lenet, Nfu())


class TestNets:
    def test_is_trained_once(self, lenet: Net, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nets, "_train", None)
        again = net("lenet", cache=cache, samples=5)
        assert len(again.images) == 5 and len(lenet.images) == 360
        assert all(np.array_equal(again.values[k], a) for k, a in lenet.values.items())

    def test_another_seed_is_another_net(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nets, "_train", None)
        with pytest.raises(TypeError, match="NoneType"):
            net("lenet", seed=2, cache=cache)

    def test_weights_of_a_checkpoint(self, lenet: Net, tmp_path: Path) -> None:
        values = init_parameters(lenet.graph, 9)
        saved = checkpoint.Checkpoint(step=7, seed=0, batch=1, data="", values=values, hashes={})
        found = net("lenet", saved=checkpoint.save(tmp_path, saved))
        assert found.origin == "checkpoint of step 7"
        assert all(np.array_equal(found.values[k], a) for k, a in values.items())
        with pytest.raises(CheckpointError, match=r"conv1.weight.*has shape .* of another model"):
            net("lenet", ["model.width=0.5"], saved=tmp_path)
        with pytest.raises(CheckpointError, match="no checkpoint"):
            net("lenet", saved=tmp_path / "nowhere")

    def test_more_digits_than_there_are(self) -> None:
        with pytest.raises(DataError, match="360 digits"):
            net("lenet", samples=361)

    def test_noise(self) -> None:
        found = net("mlp", ["input=[4,4,1]", "classes=3"], samples=3)
        assert found.labels is None and found.images.shape == (3, 4, 4, 1)
        assert 0 <= found.images.min() < found.images.max() < 1


class TestFigures:
    def test_exact_sums_with_bits_enough_are_as_good_as_float32(self, study: Study) -> None:
        exact = study.float32()["accuracy"]
        assert exact > 0.95
        for point in (Point(fraction=8, cut=Cut.OUTPUT, rounding=Rounding.NEAREST), Point(fraction=10, cut=Cut.TREE)):
            row, _ = study.at(point)
            assert abs(row["accuracy"] - exact) < 1.5 * ONE and row["agreement"] > 0.99

    def test_exact_sums_are_the_ideal(self, study: Study) -> None:
        """Each neuron is rounded once, so only sums in f32 tell them apart: an ulp of theirs, where it decides a rounding."""
        ideal = study.ideal(8)["error"]
        row, _ = study.at(Point(fraction=8, cut=Cut.OUTPUT, rounding=Rounding.NEAREST))
        assert row["error"]["rms"] == pytest.approx(ideal["rms"], rel=1e-3)

    def test_errors_halve_with_each_bit(self, study: Study) -> None:
        rms = [study.at(Point(fraction=f, rounding=Rounding.FLOOR))[0]["error"]["rms"] for f in (6, 8, 10)]
        assert 3 < rms[0] / rms[1] < 5 and 3 < rms[1] / rms[2] < 5

    def test_sums_that_wrap_around_are_of_no_use(self, study: Study) -> None:
        greatest = study.float32()["greatest"]
        assert 8 < greatest < 32
        kept, lost_ = (study.at(Point(fraction=12, overflow=o))[0]["accuracy"] for o in (Overflow.SATURATE, Overflow.WRAP))
        assert kept > 0.5 > 0.3 > lost_

    def test_bias_of_a_layer(self, study: Study) -> None:
        """Floor: minus what its products can lose. Each is off by up to half a step from its mean, evenly, so with a deviation of
        1/sqrt(12). Sums of maps or neurons with weights of their own are independent; those of one map at many places may not be.
        """
        step = 2.0**-10
        for row, no in zip(study.biases(10), (6, 16, 120, 84, 10), strict=True):
            bound = 4 * np.sqrt(row["nonzero_products"] / 12 / no)
            measured = {k: v / step for k, v in row["measured"].items()}
            assert row["left_out"] == 0
            assert row["predicted"] == -row["products"] * 2.0**-11
            assert abs(measured["floor"] - row["predicted_by_operands"] / step) < bound, row["layer"]
            assert abs(measured["stochastic"]) < bound and abs(measured["nearest"]) < bound
            assert measured["floor"] > 0.8 * row["predicted"] / step  # half of the operands are zeros behind a ReLU

    def test_what_a_product_can_lose(self) -> None:
        bits = 6
        for x in (0, 1, -1, 2, 12, -40, 64, 96, 32767, -32768):
            parts = [(x * w) % 2**bits / 2**bits for w in range(2**bits)]
            assert lost(np.array([x], np.int16), bits)[0] == pytest.approx(np.mean(parts))

    def test_points(self) -> None:
        found = points((4, 10))
        assert len(found) == len(set(found)) == 2 * (4 + 2 * 4 + 2 * 4)
        for p in found:
            for bits in (11, 16):
                nfu = p.nfu(Nfu(), bits)
                assert nfu.neuron == nfu.synapse == Fixed(bits=bits, fraction=p.fraction)
                assert (nfu.arithmetic.cut, nfu.arithmetic.rounding) == (p.cut, p.rounding)
        assert Point(fraction=10, overflow=Overflow.WRAP).nfu(Nfu(), 16) == Nfu()

    def test_hook_of_explore(self, cache: Path, study: Study) -> None:
        assert abs(digits_accuracy(Nfu(arithmetic=WIDE), cache) - study.float32()["accuracy"]) < 1.5 * ONE
        coarse = Fixed(bits=6, fraction=2)
        assert digits_accuracy(replace(Nfu(), neuron=coarse, synapse=coarse), cache) < 0.9


class TestCommand:
    @pytest.fixture
    def run(self, cli: Any, cache: Path, lenet: Net, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(nets, "_cache", lambda: cache)
        return lambda *args: cli("nfu", "accuracy", *args)

    def test_all_of_it(self, run: Any, tmp_path: Path) -> None:
        done = run("--samples", 40, "--fractions", "10,12", "--json")
        assert done.code == 0, done.err
        found = done.document
        folder = tmp_path / "runs" / "nfu-accuracy"
        assert sorted(p.name for p in folder.iterdir()) == [
            "accuracy.png", "accuracy.svg", "layers.png", "layers.svg", "report.md", "result.json", "run.json",
        ]  # fmt: skip
        assert json.loads((folder / "result.json").read_text()) == found
        assert len(found["points"]) == 2 * 20 and len(found["ideal"]) == 2
        assert found["layers_at"] == 10 and len(found["biases"]) == 5 and len(found["layers"]) == 12
        page = (folder / "report.md").read_text()
        assert all(s in page for s in report.sentences(found)) and "not re-read" in page
        assert "10 fraction bits. With more, words saturate" in page

    def test_a_net_of_random_weights(self, run: Any, tmp_path: Path) -> None:
        small = [a for t in ("input=[8,8,3]", "width=0.125", "classes=10") for a in ("--set", f"model.{t}")]
        done = run("--model", "alexnet", *small, "--out", tmp_path / "a", "--json", "--seed", 3)
        assert done.code == 0, done.err
        assert done.document["float32"]["accuracy"] is None and [r["fraction"] for r in done.document["ideal"]] == [10]
        assert not (tmp_path / "a" / "accuracy.png").exists() and (tmp_path / "a" / "layers.png").exists()
        off = {(r["cut"], r["rounding"]): r["error"]["rms"] for r in done.document["points"]}
        assert off["product", "floor"] > 5 * off["product", "nearest"] > 5 * off["output", "nearest"] > 0

    @pytest.mark.parametrize(
        ("args", "code", "said"),
        [
            (("--fractions", "8,16"), 2, "at most 15 fraction bits, not 16"),
            (("--word", "8", "--fractions", "6..9"), 2, "at most 7 fraction bits, not 8"),
            (("--fractions", "many"), 2, "names no fraction bits"),
            (("--fractions", "9..3"), 2, "names no fraction bits"),
            (("--model", "lenett"), 2, "lenet"),
            (("--samples", "361"), 3, "360 digits"),
            (("--set", "model.widht=2"), 3, "width"),
            (("--set", "nfu.reach=-1"), 3, "reach"),
            (("--checkpoint", "nowhere.npz"), 3, "nowhere.npz"),
        ],
    )
    def test_refusals(self, run: Any, args: tuple[str, ...], code: int, said: str) -> None:
        done = run(*args)
        assert done.code == code and said in done.err, done.err


def test_a_sweep_is_repeatable(lenet: Net) -> None:
    found = [sweep(Study(lenet, Nfu()), (5,), (Overflow.WRAP,)) for _ in range(2)]
    assert found[0] == found[1]
