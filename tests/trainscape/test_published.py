"""Published tables: their figures are complete, scores are what they say, bars can be missed, and all are met."""

import math
from dataclasses import replace

import pytest

from hw.stacks import entry, names
from trainscape import published
from trainscape.exit_codes import ExitCode
from trainscape.published import TABLES, Guess, Score, tables
from trainscape.published.data import published as data
from trainscape.published.evaluate import Predictions, questions, score
from trainscape.published.score import Constant
from trainscape.published.table import Bar, Row, Table, What
from trainscape.report.published import cells, constant_lines, missed, verdict

COUNTS = {
    # 8 counts of devices above 1, 3 nets
    ("mxnet_p2_scaling", "scaling"): 24,
    ("krizhevsky_2014", "scaling"): 6,
    ("krizhevsky_2014", "hours"): 7,
    # synthetic and real, batch 64: 4 rows of 5 nets, less one cell; batch 32: 4 rows of 4 nets; of these a quarter on one device
    ("tf_benchmarks_2017_dgx1_p100", "throughput"): 4 * 5 + 4 * 5 - 1 + 2 * 4 * 4,
    ("tf_benchmarks_2017_dgx1_p100", "scaling"): 3 * 5 + 3 * 5 - 1 + 2 * 3 * 4,
    # 3 devices, 6 batches, 5 nets in inference and 3 in training; with 5 kinds of instances more for memory
    ("mxnet_perf_2016", "throughput"): 3 * 6 * (5 + 3),
    ("mxnet_perf_2016", "fits"): 3 * 6 * (5 + 3) + 5 * 6 * 5,
}


def test_every_figure_is_a_row():
    assert {(t.name, t.what): len(t.rows()) for t in tables()} == COUNTS


def test_rows_have_names_of_their_own():
    for table in tables():
        rows = [r.name for r in table.rows()]
        assert len(set(rows)) == len(rows)
        assert all(r.published > 0 or table.what is What.FITS for r in table.rows())


def test_constants_are_fitted_on_rows_that_exist():
    known = {f"{t.name}/{r.name}" for t in tables() for r in t.rows()}
    for name in names():
        for rows in entry(name).fitted.values():
            assert set(rows) <= known


def test_out_of_memory_cells():
    (table,) = (t for t in tables("mxnet_perf_2016") if t.what is What.FITS)
    assert [r.name for r in table.rows() if not r.published] == [
        "inference C4.large resnet_152 16",
        "inference C4.large resnet_50 32",
        "inference C4.large resnet_152 32",
    ]


def test_figures_are_those_of_the_source():
    """Spot checks against the source's own pages, read again."""
    assert data("mxnet_p2_scaling")["rows"][-1] == [256, 61938.36, 6660.98, 4630.42]
    assert data("krizhevsky_2014")["rows"][-1] == [8, 1024, 128, 15.91, 6.16]
    assert data("tf_benchmarks_2017_dgx1_p100")["tables"][0]["rows"][-1] == [8, 1131, 1734, 716, 17822, 1081]


def row(name: str, published_: float) -> Row:
    first = next(iter(tables("krizhevsky_2014")[0].rows()))
    return replace(first, name=name, published=published_)


def scored(what: What, bar: Bar, guesses: list[tuple[float, float]], *, constants: int = 0, fitted: int = 0) -> Score:
    table = Table(name="t", what=what, title="", source="", rows=tuple, bar=bar)
    found = tuple(Guess(row=row(str(k), a), predicted=b, is_fitted=k < fitted) for k, (a, b) in enumerate(guesses))
    made = tuple(Constant(name=str(k), text="1", rows=()) for k in range(constants))
    return Score(table=table, predictor="p", guesses=found, constants=made, is_held=True)


def test_relative_errors():
    s = scored(What.THROUGHPUT, Bar(mape=0.2), [(100, 110), (100, 80), (200, 260), (50, 50)])
    assert s.errors() == pytest.approx([0.1, -0.2, 0.3, 0.0])
    assert (s.mape, s.median, s.p90, s.most, s.bias) == pytest.approx((0.15, 0.15, 0.3, 0.3, 0.05))
    assert s.is_ok
    assert not s.meets(Bar(mape=0.14))
    assert not s.meets(Bar(most=0.29))


def test_fitted_rows_are_not_scored():
    s = scored(What.THROUGHPUT, Bar(mape=0.05), [(100, 200), (100, 104), (100, 96)], fitted=1)
    assert len(s.scored) == 2
    assert s.mape == pytest.approx(0.04)
    assert (s.document()["n"], s.document()["fitted"]) == (2, 1)


def test_at_most_one_constant_for_five_rows():
    guesses = [(100.0, 100.0)] * 9
    assert scored(What.THROUGHPUT, Bar(mape=0.2), guesses, constants=1).is_ok
    assert not scored(What.THROUGHPUT, Bar(mape=0.2), guesses, constants=2).is_ok


def test_points_of_efficiency():
    s = scored(What.SCALING, Bar(median=0.06, most=0.12), [(0.9, 0.95), (0.5, 0.61)])
    assert s.errors() == pytest.approx([0.05, 0.11])
    assert not s.is_ok  # the median is 8 points
    assert s.meets(Bar(median=0.08, most=0.12))


def test_classes():
    """A bar is for each class: the rare one counts as much as the frequent one."""
    s = scored(What.FITS, Bar(right=0.9), [(1.0, 1.0)] * 99 + [(0.0, 1.0)])
    assert s.classes == {"fits": (99, 99), "does not fit": (0, 1)}
    assert not s.is_ok
    assert scored(What.FITS, Bar(right=0.9), [(1.0, 1.0), (0.0, 0.0)]).is_ok


def test_what_cannot_be_predicted_meets_no_bar():
    assert not scored(What.THROUGHPUT, Bar(mape=9.0), [(100, math.nan), (100, 100)]).is_ok


def test_report():
    s = scored(What.SCALING, Bar(median=0.06, most=0.12), [(0.9, 0.95), (0.5, 0.65)], constants=1)
    assert cells(s)[-1] == "NO"
    assert [g.row.name for g in missed(s)] == ["1"]
    assert constant_lines([s]) == ["0 = 1, fitted on "]
    assert verdict([s]) == [
        "t, scaling, by p: median <= 6 points, most <= 12 points is missed, and 1 constants are too many for 2 rows"
    ]


def test_unknown_tables_are_refused(cli):
    found = cli("validate", "--published", "--only", "mxnet")
    assert found.code == ExitCode.USAGE
    assert "choose mxnet_p2_scaling, krizhevsky_2014" in found.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--published", "x.yaml"], "--published takes no FILE"),
        (["--only", "krizhevsky_2014"], "--only goes with --published"),
        ([], "Missing argument 'FILE...'"),
    ],
)
def test_options_that_do_not_go_together(cli, arguments, message):
    found = cli("validate", *arguments)
    assert found.code == ExitCode.USAGE
    assert message in found.err


def test_the_command_can_fail(cli, monkeypatch):
    """With a catalogue whose K20 is twice as fast the hours are far off: exit code 4, and the document says which bar."""
    from hw import catalogue

    k20, system = catalogue.device("k20"), catalogue.system("k20x8-2014")
    fast = replace(system, device=replace(k20, peak={t: 2 * x for t, x in k20.peak.items()}))
    monkeypatch.setattr("trainscape.build.catalogue_system", lambda part: fast)
    (hours,) = (t for t in tables("krizhevsky_2014") if t.what is What.HOURS)
    alone = replace(hours, rows=lambda: hours.rows()[:1])  # one GPU: quick
    monkeypatch.setattr(published, "tables", lambda only: (alone,))
    found = cli("validate", "--published", "--only", "krizhevsky_2014", "--json")
    assert found.code == ExitCode.OUTSIDE_TOLERANCE
    (table,) = found.document["tables"]
    assert table["name"] == "krizhevsky_2014"
    assert not table["ok"]
    assert table["bias"] < -0.3
    assert found.document["missed"] == ["krizhevsky_2014, hours, by kernels: MAPE <= 20 % is missed"]


def test_the_command(cli, monkeypatch):
    """The default predictor on one GPU: within 5 % of the published hours, with nothing fitted."""
    (hours,) = (t for t in tables("krizhevsky_2014") if t.what is What.HOURS)
    monkeypatch.setattr(published, "tables", lambda only: (replace(hours, rows=lambda: hours.rows()[:1]),))
    found = cli("validate", "--published", "--json")
    assert found.code == ExitCode.OK
    (table,) = found.document["tables"]
    assert {k: table[k] for k in ("n", "fitted", "predictor", "ok", "constants")} == {
        "n": 1, "fitted": 0, "predictor": "kernels", "ok": True, "constants": [],
    }  # fmt: skip
    assert table["max"] < 0.05


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize("name", TABLES)
def test_bars_are_met(name):
    predictions = Predictions()
    for table in tables(name):
        labelled = bool(table.stacks)
        predictions.ask(questions(table, labelled=labelled))
        found = score(table, predictions, labelled=labelled)
        assert found.is_ok, cells(found)
        assert all(g.predicted > 0 or table.what is What.FITS for g in found.guesses)
