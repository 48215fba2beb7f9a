"""Scenarios of inference on two kinds of devices, and in fixed point: what may be asked for, and what comes of it."""

from pathlib import Path

import pytest

from trainscape.build import Built
from trainscape.compare import compare, omitted
from trainscape.cross_check import cross_check
from trainscape.errors import MissingCapability, ScenarioError
from trainscape.explain import explain
from trainscape.fit import changed, changes
from trainscape.job import workers
from trainscape.load import Loaded, load, load_text
from trainscape.predict import predict
from trainscape.results import place, require_host
from trainscape.scenario import Scenario
from trainscape.strategies import VARIANTS, standing
from trainscape.systems import devices, offered

FILE = Path(__file__).parents[2] / "scenarios" / "lenet-features-nfu.yaml"
GPUS = """\
name: s
model: {name: lenet, batch: 48, input: mnist}
system: {name: dgx1-v100}
parallel: {strategy: features, ranks: 6, classifiers: 2}
run: {data: synthetic}
"""


def of_gpus(*overrides: str) -> Scenario:
    return load_text(GPUS, "s.yaml", overrides).scenario


def mixed(*overrides: str) -> Loaded:
    return load(str(FILE), overrides)


def messages(text: str, *overrides: str) -> str:
    with pytest.raises(ScenarioError) as e:
        load_text(text, "s.yaml", overrides)
    return str(e.value)


class TestPlaces:
    def test_what_stands_where(self) -> None:
        s = mixed().scenario
        assert standing(s.parallel) == [("features_on", "nfu", 4), ("classifier_on", "device", 1)]
        assert [offered(s, place) for place in ("nfu", "gpu", "device", "host", "npu")] == [4, 1, 1, 512, None]
        assert devices(s) == 4
        built = Built(s)
        assert built.placed.kind_of(built.plan.ranks[0]) == "nfu" and built.placed.places[built.plan.ranks[-1]] == "gpu0"
        assert {r.name: built.platform_of(r).value for r in built.plan.roles} == {"features": "nfu", "classifier": "cuda"}

    def test_both_on_one_kind(self) -> None:
        s = of_gpus()
        assert devices(s) == 8 - 2
        places = Built(s).placed.places
        assert len(set(places.values())) == 8

    def test_a_host_takes_all(self) -> None:
        s = of_gpus("parallel.features_on=host", "parallel.ranks=16", "parallel.classifiers=8")
        built = Built(s)
        assert set(list(built.placed.places.values())[:16]) == {"host"}

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (
                ["parallel.ranks=8"],
                "8 ranks need as many devices, but system 'dgx1-v100' offers 6; use at most 6",
            ),
            (["parallel.features_on=nfu"], "system 'dgx1-v100' has no 'nfu' to place ranks on; "),
            (
                ["parallel.classifier_on=hots"],
                "system 'dgx1-v100' has no 'hots' to place ranks on; did you mean",
            ),
            (
                ["system.name=k20-diannao", "parallel.features_on=nfu"],
                "6 ranks need as many devices of kind nfu, but",
            ),
            (
                ["system.name=k20-diannao", "parallel.features_on=nfu", "parallel.ranks=4"],
                "2 ranks need as many devices of kind gpu, but system 'k20-diannao' offers 1",
            ),
        ],
    )
    def test_refused(self, overrides: list[str], message: str) -> None:
        assert message in messages(GPUS, *overrides)

    def test_an_option_of_features_means_nothing_elsewhere(self) -> None:
        text = GPUS.replace("strategy: features, ", "strategy: data, ")
        assert "classifiers means nothing for strategy data" in messages(text)


class TestNumerics:
    def test_what_is_given_goes_to_the_strategy(self) -> None:
        s = of_gpus("numerics={word: 12, fraction: 6, rounding: floor}")
        assert {"word": 12, "fraction": 6, "rounding": "floor"}.items() <= Built(s).strategy_options.items()
        assert load_text(GPUS, "s.yaml", ["numerics={}"]).scenario.numerics is not None
        assert s.settings()["numerics"] == {"word": 12, "fraction": 6, "rounding": "floor"}
        assert "numerics" not in of_gpus().settings() and not {"word", "fraction"} & Built(of_gpus()).strategy_options.keys()
        assert s.hash != of_gpus().hash

    def test_words_are_half_of_floats(self) -> None:
        one, two = (predict(Built(of_gpus(*o)), steps=2).bytes_sent for o in ([], ["numerics={}"]))
        assert one == 2 * two == 48 * 5 * 5 * 16 * 4

    def test_inference_in_words(self) -> None:
        built = Built(of_gpus("parallel={strategy: inference, ranks: 2}", "numerics={}"))
        assert {n.op.name for n in built.plan.roles[0].graph} >= {"quantize", "dequantize"}  # type: ignore[union-attr]
        assert predict(built, steps=2).stats.step_s > 0

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["numerics={word: 8, fraction: 8}"], "a word of 8 bits has 0 to 7 bits behind the point, got 8"),
            (["numerics={word: 17}"], "numerics.word"),
            (
                ["numerics={rounding: stochastic}"],
                "stochastic rounding is for training, which is not built in fixed point; write floor",
            ),
            (["numerics={rounding: up}"], "numerics.rounding"),
            (
                ["parallel={strategy: data, ranks: 4}", "numerics={}"],
                "in fixed point there is inference alone, but strategy data trains; remove it, or write strategy: "
                "inference or features",
            ),
        ],
    )
    def test_refused(self, overrides: list[str], message: str) -> None:
        assert message in messages(GPUS, *overrides)

    def test_a_fraction_that_nobody_wrote_is_no_place_of_a_mistake(self) -> None:
        assert messages(GPUS, "numerics.word=8").startswith("--set numerics.word: error: a word of 8 bits has 0 to 7")
        both = messages(GPUS, "numerics.word=8", "numerics.fraction=9")
        assert both.startswith("--set numerics.fraction: error: a word of 8 bits has 0 to 7")


class TestWords:
    def test_where_it_stands_in_the_order_of_ranks(self) -> None:
        assert place(Built(mixed().scenario)) == "4 NFUs and 1 GPU of k20-diannao"

    def test_how_to_run_it_here(self) -> None:
        with pytest.raises(MissingCapability) as e:
            require_host(Built(mixed().scenario))
        said = [s.split()[0] for s in str(e.value).split("--set ")[1:]]
        assert Built(mixed(*said).scenario).is_host

    def test_sections_of_an_explanation(self) -> None:
        titles = [s.title for s in explain(predict(Built(mixed().scenario)))]
        assert {"Kernels of features, in a step", "Kernels of a classifier, in a step", "Memory of features"} <= set(titles)

    def test_who_plays(self) -> None:
        assert workers(Built(of_gpus()).plan) == "6 features and 2 classifiers"


class TestPredicted:
    def test_the_file(self, cli) -> None:  # type: ignore[no-untyped-def]
        """Proved, predicted, and what it expects holds; both kinds have prices and energies of their own."""
        assert cli("check", FILE, "--json").document["ok"]
        document = cli("predict", FILE, "--json").document
        found = document["predicted"]
        assert found["bytes_sent_total"] == 512 * 5 * 5 * 16 * 2
        assert found["cost_model"] == "nfu and roofline"
        assert len(found["memory_peak_bytes"]) == 5

    def test_the_slower_half_sets_the_pace(self) -> None:
        """A step is not shorter than a rank's work, and shorter than both halves one after another."""
        built = Built(mixed().scenario)
        placed, plan = built.placed, built.plan
        own = {
            r.name: sum(
                placed.call_seconds(plan.first_rank(r.name), c)
                for name, calls in built.lowered[r.name].segments.items()
                for c in calls
                if name != "input"
            )
            for r in plan.roles
        }
        step = predict(built).stats.step_s
        assert own["features"] <= step < own["features"] + 4 * own["classifier"]

    def test_trainers_are_no_rows(self) -> None:
        found = compare([mixed()])
        assert [r.strategy for r in found] == ["features"] and found[0].fits
        assert set(omitted(mixed().scenario)) == set(VARIANTS)
        assert all(why == "features trains nothing" for why in omitted(mixed().scenario).values())

    def test_advice_is_of_inference_too(self) -> None:
        """One rank too many for the devices: what would do is no strategy that trains, and keeps to the format."""
        s = changed(of_gpus("numerics={}"), {"parallel.ranks": 8})
        assert cross_check(s).findings
        for c in changes(s):
            assert "parallel" not in c.settings and not cross_check(changed(s, c.settings)).findings
        assert "parallel.ranks: 6" in [c.words for c in changes(s)]

    def test_every_number_of_every_kind_can_be_changed(self) -> None:
        from trainscape.sensitivity_numbers import system_numbers

        built = Built(mixed().scenario)
        found = {n.key: n for n in system_numbers(built)}
        power = found["system:diannao.watts"]
        other = power.system(2 * power.value)  # type: ignore[misc]
        assert other.group("nfu").device.watts == 2 * built.system.group("nfu").device.watts
        assert other.device == built.system.device
        assert "system:k20.watts" in found
