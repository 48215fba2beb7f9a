"""Published tables, predicted and scored: `trainscape validate --published`.

To add one, write its figures (``<name>.yaml``) and how its rows become scenarios (``<name>.py``), and add its line here.
"""

from collections.abc import Callable, Iterator

from graph.errors import nearest
from trainscape.errors import TrainscapeError
from trainscape.published import krizhevsky, mxnet_p2, mxnet_perf, tf_benchmarks
from trainscape.published.evaluate import Predictions, questions, score
from trainscape.published.score import Guess, Score
from trainscape.published.table import Table

__all__ = ["TABLES", "Guess", "Score", "Table", "scores", "tables"]

TABLES: dict[str, Callable[[], tuple[Table, ...]]] = {m.NAME: m.tables for m in (mxnet_p2, krizhevsky, tf_benchmarks, mxnet_perf)}
"""Name of a source -> what makes its tables."""


def tables(only: str | None = None) -> tuple[Table, ...]:
    """All tables, or those of one source; raises `TrainscapeError` when there is no such source."""
    if only is not None and only not in TABLES:
        raise TrainscapeError(f"no published table {only!r}; {nearest(only, TABLES)}")
    return tuple(t for name, make in TABLES.items() if only in (None, name) for t in make())


def scores(only: str | None = None) -> Iterator[Score]:
    """Both predictors on every table, one after the other; the one that a table's bar is for comes first."""
    predictions = Predictions()
    for table in tables(only):
        ways = (True, False) if table.stacks else (False,)
        predictions.ask(q for labelled in ways for q in questions(table, labelled=labelled))
        for labelled in ways:
            yield score(table, predictions, labelled=labelled)
