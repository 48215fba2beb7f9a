"""`check` proves the plan and says when it does not fit, without compiling or drawing anything."""

from dataclasses import replace

import pytest

from graph.errors import InvalidPlan
from hw.errors import DoesNotFit
from trainscape.build import Built
from trainscape.load import load_text
from trainscape.proof import prove

TEXT = """
name: s
model: {name: lenet, batch: %d, input: mnist, width: %s}
system: {name: %s}
parallel: {ranks: %d}
run: {data: synthetic}
"""


def built(batch=64, width=1.0, system="dgx1-v100", ranks=8):
    return Built(load_text(TEXT % (batch, width, system, ranks)).scenario)


def test_every_letter_of_two_steps_is_played():
    found = prove(built())
    buckets = sum(1 for name in built().plan.roles[0].buffers if name.startswith("g."))
    assert found["transfers"] == 2 * buckets * 2 * 8 * 7  # a ring of N has 2 N (N - 1) transfers
    assert found["arena_bytes"] > 0


def test_what_does_not_fit_is_told_with_a_way_out():
    with pytest.raises(DoesNotFit, match=r"a rank needs .* GB, but v100-sxm2-16gb has .*; try parallel.micro_batches: \d+"):
        prove(built(batch=1 << 20, width=4.0))


def test_a_plan_that_counts_a_gradient_twice_is_found():
    b = built()
    (role,) = b.plan.roles
    passes = role.params["passes"]
    twice = {**role.params, "passes": replace(passes, finished={k: v * 2 for k, v in passes.finished.items()})}
    b.plan = type(b.plan)((type(role)(**{f: getattr(role, f) for f in role.__slots__} | {"params": twice}),), b.plan.slots)
    with pytest.raises(InvalidPlan):
        prove(b)


def test_a_plan_of_very_many_ranks_is_not_played(monkeypatch):
    monkeypatch.setattr("trainscape.proof.MOST_RANKS", 7)
    found = prove(built())
    assert found["actions"] is None and found["transfers"] is None and found["arena_bytes"] > 0


def test_check_says_where_training_is_not_equal_to_one_workers(cli, tmp_path) -> None:
    """Batch statistics of a part of the batch are not those of all; one rank has all of it."""
    text = "name: s\nmodel: {name: resnet50, batch: 8}\nsystem: {name: dgx1-v100}\nparallel: {ranks: 2}\nrun: {data: synthetic}\n"
    for ranks, why in ((2, "batch normalization takes its statistics from one of 2 parts of the batch"), (1, None)):
        (tmp_path / "s.yaml").write_text(text.replace("ranks: 2", f"ranks: {ranks}"))
        found = cli("check", "s.yaml", "--json")
        assert found.code == 0 and found.document["differs"] == why
        assert (f"training is not equal to that of one worker: {why}" in found.err) is (why is not None)
