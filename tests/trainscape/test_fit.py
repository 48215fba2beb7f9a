"""What cannot be is refused with exit code 5 and the nearest that can, which really can."""

import pytest

from hw.errors import DoesNotFit
from trainscape.build import Built
from trainscape.fit import changed, changes, nearest, shortage
from trainscape.load import load_text
from trainscape.predict import predict

TEXT = """\
name: s
model: {name: alexnet-owt, batch: 1024}
system: {name: k20x8-2014}
parallel: {ranks: 8, bucket: 4 MB}
"""


def scenario(*overrides: str, text: str = TEXT):
    return load_text(text, overrides=overrides).scenario


def test_what_fits_has_no_shortage() -> None:
    assert shortage(Built(scenario())) is None


def test_a_layer_too_big_for_its_device_fits_when_it_is_cut() -> None:
    wide = scenario("model.width=4")
    with pytest.raises(
        DoesNotFit,
        match=r"a rank needs .* GB, but k20 has 5.03 GB: .* too few; "
        r"try parallel: \{strategy: hybrid, scheme: whole, fc_update: step\}",
    ):
        predict(Built(wide))
    found = [c.settings for c in changes(wide)]
    assert [list(s) for s in found] == [["parallel"]]


def test_a_batch_too_big_fits_in_micro_batches_or_smaller() -> None:
    text = "name: s\nmodel: {name: lenet, batch: 1048576, input: mnist, width: 8}\nsystem: {name: k20x8-2014}\n"
    big = scenario(text=text + "parallel: {ranks: 4}\nrun: {data: synthetic}\n")
    found = [c.settings for c in changes(big)]
    assert {"parallel.micro_batches", "model.batch"} <= {key for s in found for key in s}
    for settings in found:
        assert shortage(Built(changed(big, settings))) is None
    assert nearest(big) is not None and nearest(big).settings == found[0]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.name=mlp", "model.input=digits", "model.classes=10"], "hybrid wants convolutions"),
        (["parallel.ranks=4", "model.batch=1020", "parallel.scheme=parts"], "cannot cut the 255 samples"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_one_that_can(overrides: list[str], message: str) -> None:
    refused = scenario("parallel.strategy=hybrid", *overrides)
    with pytest.raises(DoesNotFit, match=f"{message}.*; try ") as e:
        _ = Built(refused).plan
    found = nearest(refused)
    assert found is not None and found.words in str(e.value)
    assert shortage(Built(changed(refused, found.settings))) is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["parallel.ranks=16"], "16 ranks need as many devices, but system 'k20x8-2014' offers 8; use at most 8"),
        (["model.batch=1023"], "a batch of 1023 does not divide over 8 ranks; the nearest that does is 1024"),
        (
            ["parallel.strategy=model", "parallel.micro_batches=3"],
            "divide over 3 micro-batches; the nearest that does is 1023",
        ),
        (["system.nodes=2"], "choose one of"),
    ],
)
def test_exit_code_5_on_the_command_line(overrides: list[str], message: str, cli, tmp_path) -> None:
    (tmp_path / "s.yaml").write_text(TEXT)
    for command in ("check", "predict"):
        found = cli(command, "s.yaml", *(x for o in overrides for x in ("--set", o)))
        assert found.code == 5 and message in found.err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["parallel.strategy=parameter_server", "parallel.levels=2"], "levels=2 is for servers on hosts"),
        (["model.width=8", "parallel.strategy=data"], "a rank needs"),
    ],
)
def test_what_turns_out_when_it_is_built_has_a_place(overrides: list[str], message: str, cli, tmp_path) -> None:
    (tmp_path / "s.yaml").write_text(TEXT)
    line = next(k for k, text in enumerate(TEXT.splitlines(), 1) if text.startswith("parallel:"))
    found = cli("predict", "s.yaml", "--json", *(x for o in overrides for x in ("--set", o)))
    assert found.code == 5 and f"s.yaml:{line}:11: error: parallel: {message}" in found.err
    (mistake,) = found.document["error"]["mistakes"]
    assert mistake["kind"] == "infeasible" and mistake["line"] == line


@pytest.mark.parametrize(("batch", "near"), [(1020, 1024), (1012, 1008), (8, 16)])
def test_a_batch_that_ranks_cannot_cut_once_more_has_the_nearest_that_they_can(batch: int, near: int) -> None:
    """With scheme parts each of 4 ranks cuts its samples into 4."""
    refused = scenario("parallel.strategy=hybrid", "parallel.scheme=parts", "parallel.ranks=4", f"model.batch={batch}")
    with pytest.raises(
        DoesNotFit, match=rf"use a batch of {near} samples \({near // 4} a rank\).*; try model\.batch: {near}, or"
    ):
        _ = Built(refused).plan
    assert nearest(refused).settings == {"model.batch": near}


def test_a_value_that_is_not_allowed_is_no_change() -> None:
    with pytest.raises(DoesNotFit, match=r"parallel\.strategy: unknown strategy 'rign'"):
        changed(scenario(), {"parallel.strategy": "rign"})


def test_a_computer_that_is_not_calibrated_is_told_why_a_plan_cannot_be(cli, tmp_path, monkeypatch) -> None:
    """Whether others fit its memory is not known, but whether there is such a plan is."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "nothing"))
    text = "name: s\nmodel: {name: mlp, batch: 16}\nparallel: {strategy: hybrid, ranks: 2}\n"
    (tmp_path / "s.yaml").write_text(text)
    for command in ("check", "train"):
        found = cli(command, "s.yaml")
        assert found.code == 5 and "hybrid wants convolutions" in found.err and "; try parallel: {strategy: data" in found.err
