"""Everything a run folder holds for readers: ``result.json``, ``trace.json.gz``, ``step.png``, ``report.md``."""

from collections.abc import Mapping, Sequence
from typing import Any

from graph.step_stats import step_of
from graph.timeline import Timeline
from trainscape.report.breakdown import draw_breakdown
from trainscape.report.markdown import report_markdown
from trainscape.report.run import Run
from trainscape.report.run_folder import RunFolder

STEPS = 5  # in the trace


def publish(
    folder: RunFolder,
    title: str,
    document: Mapping[str, Any],
    runs: Sequence[Run],
    *,
    notes: Sequence[str] = (),
    appendix: Sequence[str] = (),
) -> None:
    """Write all files of a run folder; the report comes last, so a folder that has one is complete.

    Parameters
    ----------
    folder : where to.
    title : of picture and report.
    document : the whole result.
    runs : in the order in which they are shown.
    notes : paragraphs under the report's title.
    appendix : paragraphs below the runs.
    """
    files = ["result.json"]
    folder.write_json("result.json", document)
    timelines = {f"{run.title}: {side}" if len(runs) > 1 else side: t for run in runs for side, t in run.timelines.items()}
    if timelines:
        from sim.tracing import write_chrome_trace

        write_chrome_trace(folder.path / "trace.json.gz", {source: first_steps(t) for source, t in timelines.items()})
        files.append("trace.json.gz")
    bars = [bar for run in runs for bar in run.bars()]
    if bars:
        draw_breakdown(folder.temporary("step.png"), bars, title=title)
        folder.publish("step.png")
        files.append("step.png")
    folder.write_text("report.md", report_markdown(title, runs, files=files, notes=notes, appendix=appendix))


def first_steps(timeline: Timeline, steps: int = STEPS) -> Timeline:
    """The first steps of a timeline: what a reader looks at, and as many as were predicted."""
    keep = set(sorted({step_of(r) for r in timeline})[:steps])
    records = [r for r in timeline if step_of(r) in keep]
    return Timeline(records, plan_hash=timeline.plan_hash, source=timeline.source, like=timeline.like)
