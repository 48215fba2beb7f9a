"""Scores on published tables as text: the overall table, and what was missed by far."""

from collections.abc import Sequence

from trainscape.published import Guess, Score
from trainscape.published.score import worst
from trainscape.published.table import What

HEADER = ("table", "compared", "predictor", "rows", "fitted", "constants", "mean", "median", "p90", "most", "bias", "bar", "met")
FAR = {What.THROUGHPUT: 0.2, What.HOURS: 0.2, What.SCALING: 0.06, What.FITS: 0.5}
"""Error from which on a row counts as missed."""


def cells(score: Score) -> tuple[str, ...]:
    """A score as a line of the table; errors are relative, of scaling in points of efficiency."""
    constants = str(len(score.constants)) if score.constants else "none"
    head = (score.table.name, score.table.what.value, score.predictor, str(len(score.scored)))
    fitted = len(score.guesses) - len(score.scored)
    if score.table.what is What.FITS:
        found = ", ".join(f"{right} of {n} {name}" for name, (right, n) in score.classes.items())
        numbers: tuple[str, ...] = (found, "", "", "", "")
    else:
        numbers = tuple(error(x, score.table.what) for x in (score.mape, score.median, score.p90, score.most))
        numbers += (error(score.bias, score.table.what, is_signed=True),)
    met = "yes" if score.is_ok else "NO"
    return (*head, str(fitted), constants, *numbers, str(score.table.bar), met if score.is_held else f"({met.lower()})")


def error(x: float, what: What, *, is_signed: bool = False) -> str:
    """An error in percent, or points."""
    text = f"{100 * x:+.1f}" if is_signed else f"{100 * x:.1f}"
    return text if what is What.SCALING else f"{text} %"


def figure(x: float, what: What) -> str:
    """A figure of a table, with its unit."""
    match what:
        case What.THROUGHPUT:
            return f"{x:,.1f} images/s"
        case What.HOURS:
            return f"{x:.1f} h"
        case What.SCALING:
            return f"{x:.3f}"
        case What.FITS:
            return "fits" if x else "does not fit"


def missed(score: Score) -> list[Guess]:
    """Scored rows that are far off, the farthest first."""
    what = score.table.what
    return [g for g in worst(score.scored, what, len(score.scored)) if abs(g.error(what)) > FAR[what]]


def constant_lines(scores: Sequence[Score]) -> list[str]:
    """The constants that were fitted on whole models, each once, with the rows that they were fitted on."""
    known = dict.fromkeys((c.name, c.text, c.rows) for s in scores for c in s.constants)
    return [f"{name} = {text}, fitted on {'; '.join(rows)}" for name, text, rows in known]


def verdict(scores: Sequence[Score]) -> list[str]:
    """The bars that are missed, in words; empty when all are met."""
    found = []
    for s in scores:
        if s.is_held and not s.is_ok:
            why = "" if s.is_frugal else f", and {len(s.constants)} constants are too many for {len(s.scored)} rows"
            found.append(f"{s.table.name}, {s.table.what}, by {s.predictor}: {s.table.bar} is missed{why}")
    return found
