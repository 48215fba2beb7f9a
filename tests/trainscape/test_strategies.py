"""Strategies in scenarios: which option means something for which, short names, what an override of one leaves out."""

import inspect

import pytest

from graph.parallel.strategies import STRATEGIES
from trainscape.errors import ScenarioError
from trainscape.load import load_text
from trainscape.names import known
from trainscape.strategies import OPTIONS, VARIANTS, is_there, name_of, options, settings_as, short, variant_of

TEXT = """\
name: s
model: {name: lenet, batch: 64, input: mnist}
system: {name: dgx1-v100}
parallel: {ranks: 2, bucket: 1 MB}
run: {data: synthetic}
"""


def parallel(**settings: object):
    inside = ", ".join(f"{k}: {v}" for k, v in {"ranks": 2, **settings}.items())
    return load_text(TEXT.replace("ranks: 2, bucket: 1 MB", inside)).scenario.parallel


def test_every_strategy_that_may_be_asked_for_has_its_options() -> None:
    assert {short(name) for name in OPTIONS} >= set(known("strategy"))


@pytest.mark.parametrize("name", [n for n, s in STRATEGIES.items() if s.is_asked_for])
def test_options_are_those_of_the_build_function(name: str) -> None:
    build = STRATEGIES[name].build
    taken = inspect.signature(build).parameters
    if any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        from graph.parallel.strategies.data_parallel import data_parallel as whole

        taken = inspect.signature(whole).parameters
    for key in OPTIONS[name]:
        assert ("bucket_bytes" if key == "bucket" else key) in taken, key


def test_options_as_the_strategy_takes_them() -> None:
    assert options(parallel(bucket="1 MB")) == {
        "ranks": 2,
        "collective": "ring",
        "bucket_bytes": 1_000_000,
        "micro_batches": 1,
    }
    found = options(parallel(strategy="parameter_server", servers="host", levels=2))
    assert found == {"ranks": 2, "servers": "host", "levels": 2, "bucket_bytes": 32768, "micro_batches": 1}


def test_an_option_of_another_strategy_is_refused_with_what_would_be_right() -> None:
    with pytest.raises(ScenarioError) as e:
        load_text(TEXT.replace("bucket: 1 MB", "scheme: parts"), "s.yaml")
    assert str(e.value).splitlines()[0] == (
        "s.yaml:4:30: error: parallel.scheme: scheme means nothing for strategy data, which takes collective, bucket, "
        "micro_batches; remove it, or write strategy: hybrid"
    )


def test_an_override_of_the_strategy_leaves_out_what_the_file_says_of_another() -> None:
    text = TEXT.replace("bucket: 1 MB", "collective: tree, bucket: 1 MB")
    found = load_text(text, overrides=["parallel.strategy=parameter_server"])
    assert found.scenario.settings()["parallel"] == {
        "strategy": "parameter_server",
        "ranks": 2,
        "bucket": "1 MB",
        "micro_batches": 1,
    }
    assert found.warnings == ("parallel.collective means nothing for strategy parameter_server and is left out",)
    with pytest.raises(ScenarioError, match=r"--set parallel\.collective: error: collective means nothing"):
        load_text(text, overrides=["parallel.strategy=parameter_server", "parallel.collective=ring"])


def test_settings_of_each_variant_read_back_as_that_variant() -> None:
    for name, v in VARIANTS.items():
        if is_there(v):
            section = settings_as({"ranks": 2, "collective": "tree", "bucket": "1 MB", "micro_batches": 1}, v)
            assert name_of(parallel(**section)) == name


def test_a_scenario_without_options_has_the_name_of_the_default() -> None:
    assert [name_of(parallel(strategy=s)) for s in ("data", "parameter_server", "hybrid")] == [
        "ring",
        "parameter_server",
        "hybrid",
    ]
    assert name_of(parallel(collective="reduce_scatter")) == "data"
    assert variant_of("data").settings == {"strategy": "data"}


def test_parts_of_a_batch() -> None:
    assert parallel(micro_batches=4).parts == 8
    assert parallel(strategy="hybrid").parts == 2
    assert parallel(strategy="model", micro_batches=4).parts == 4
