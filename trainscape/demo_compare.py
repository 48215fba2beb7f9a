"""The part of the demo that asks how to share the work out over eight GPUs: two nets, three strategies, plain words."""

from collections.abc import Sequence
from typing import Any

from graph.record import record
from trainscape.compare import Row, compare
from trainscape.compare_words import winner_sentence
from trainscape.load import load_text
from trainscape.output import Output
from trainscape.report.comparison import comparison_rows_table, notes
from trainscape.report.tables import decimal, markdown_table, nbytes, seconds

SYSTEM = ("dgx1-v100", 8)
STRATEGIES = ("ring", "parameter_server", "hybrid")
JOBS = (("AlexNet", "alexnet-owt", 1024), ("ResNet-50", "resnet50", 256))
SCENARIO = """
name: {title}
model: {{name: {model}, batch: {batch}}}
system: {{name: {system}}}
parallel: {{strategy: data, ranks: {ranks}, bucket: 25 MB}}
"""
INTRODUCTION = (
    "Eight GPUs train one net together. In every step each of them works on its own images, and then all of them must agree on "
    "how to change the net: numbers have to travel between them. A ring passes the changes round from neighbour to neighbour. "
    "With parameter servers, each GPU collects the changes of an eighth of the net from everybody and hands the result back. The "
    "hybrid shares out only the part of the net that looks at pictures (convolutions), and cuts the part that decides (fully "
    "connected layers) into eight pieces, so that GPUs send one another what they see instead of what they changed."
)


@record
class Comparison:
    """What the demo found out about both nets.

    Parameters
    ----------
    rows : of all comparisons, each net's best first.
    titles : of the nets.
    said : two sentences a net: what there is to do, and who wins and why.
    """

    rows: Sequence[Row]
    titles: Sequence[str]
    said: Sequence[str]

    def documents(self) -> list[dict[str, Any]]:
        """The rows as plain data."""
        return [r.document() for r in self.rows]

    def page(self) -> list[str]:
        """Paragraphs for the report."""
        from trainscape.report.comparison import comparison_cells

        parts = ["## AlexNet and ResNet-50 on 8 GPUs", INTRODUCTION]
        for title, said in zip(self.titles, self.said, strict=True):
            rows = [d for d in self.documents() if d["scenario"] == title]
            parts += [f"### {title}", said, markdown_table(*comparison_cells(rows)).rstrip()]
        return [*parts, "![What the time of a step goes into, by strategy](compare.svg)"]


def compare_strategies(output: Output) -> Comparison:
    """Predict both nets under each strategy, show the tables and say what they mean; nothing is measured here."""
    rows: list[Row] = []
    titles, sentences = [], []
    output.show(INTRODUCTION)
    with output.progress() as bars:
        task = bars.add_task("comparing", total=len(JOBS) * len(STRATEGIES))
        for title, model, batch in JOBS:
            text = SCENARIO.format(title=title, model=model, batch=batch, system=SYSTEM[0], ranks=SYSTEM[1])
            loaded = load_text(text, title)
            found = compare([loaded], STRATEGIES, on_row=lambda name: bars.update(task, description=name, advance=1))
            rows += found
            titles.append(title)
            sentences.append(f"{task_sentence(title, found)} {winner_sentence(found)}")
    for title, said in zip(titles, sentences, strict=True):
        mine = [r.document() for r in rows if r.scenario.name == title]
        output.show(comparison_rows_table(mine, f"{title}, {mine[0]['batch']} images a step on {SYSTEM[1]} GPUs of {SYSTEM[0]}"))
        output.show(f"{said}\n")
    for line in notes([r.document() for r in rows]):
        output.note(line)
    return Comparison(rows=rows, titles=titles, said=sentences)


def task_sentence(title: str, rows: Sequence[Row]) -> str:
    """How much there is to compute, and how much to agree on, from the predictions themselves."""
    best = next(r for r in rows if r.prediction is not None)
    if best.prediction is None or best.footprint is None:
        return ""
    graph = best.prediction.built.model_graph
    from graph.summary import summary

    changes = 4 * summary(graph)["parameters"]
    each = best.footprint.model_flop / best.scenario.parallel.ranks
    return (
        f"{title} has {nbytes(changes)} of parameters to agree on, and a GPU computes {decimal(each, 'flop')} in a step, for "
        f"which it needs {seconds(best.prediction.stats.compute_s)}."
    )
