"""Why the winner of a comparison wins, in one sentence with its numbers."""

from collections.abc import Sequence

from trainscape.compare import Row
from trainscape.predict import Prediction
from trainscape.report.tables import nbytes, rate, seconds, share

CLOSE = 1.005  # factor below which two steps are as good as equal
WORTH = 0.05  # of a difference: less is not worth a word
TERMS = ("computing", "waiting for transfers", "waiting for other things")
TRANSFERS = 1


def winner_sentence(rows: Sequence[Row]) -> str:
    """One sentence about the first row against the second; about why nothing fits where nothing does.

    Parameters
    ----------
    rows : best first, at least one.
    """
    able = [r for r in rows if r.fits]
    if not able:
        first = rows[0]
        hint = f"; the smallest change that fits: {first.change.words}" if first.change else ""
        return f"Nothing fits: {_name(first, rows)}: {first.reason}{hint}."
    best = able[0]
    said = f"{_name(best, rows)} is the fastest with {seconds(_step(best))} a step ({rate(best.samples_per_s)} samples/s)"
    if len(able) == 1:
        return f"{said}; nothing else can be compared with it." if len(rows) > 1 else f"{said}."
    second = able[1]
    factor = best.samples_per_s / second.samples_per_s
    if factor < CLOSE:
        return f"{said}; {_name(second, rows)} is as good as equal ({seconds(_step(second))})."
    than = f"{factor:.2f} times as fast as {_name(second, rows)} ({seconds(_step(second))})"
    if best.scenario.model.batch != second.scenario.model.batch:
        return (
            f"{said}, {than}; they are different jobs, of {best.scenario.model.batch} and {second.scenario.model.batch} samples."
        )
    return f"{said}, {than}: {_why(best, second)}."


def _name(row: Row, rows: Sequence[Row]) -> str:
    return row.strategy if len({r.file for r in rows}) == 1 else f"{row.scenario.name} with {row.strategy}"


def _step(row: Row) -> float:
    return row.prediction.stats.step_s if row.prediction else 0.0


def terms(row: Row) -> tuple[float, float, float]:
    """Seconds of a step, a rank that trains: computing, waiting for transfers that nothing hides, the rest."""
    if row.prediction is None:
        return 0.0, 0.0, 0.0
    w = row.prediction.stats
    return w.compute_s, w.exposed_comm_s, row.prediction.waiting_s


def _why(best: Row, second: Row) -> str:
    """The term that differs most, with what lies behind it."""
    mine, theirs = terms(best), terms(second)
    saved = [b - a for a, b in zip(mine, theirs, strict=True)]
    k = max(range(len(TERMS)), key=lambda i: saved[i])
    said = f"a rank spends {seconds(mine[k])} of a step {TERMS[k]} instead of {seconds(theirs[k])}"
    if k == TRANSFERS and best.prediction and second.prediction:
        said += _transfers(best.prediction, second.prediction)
    lost = min(range(len(TERMS)), key=lambda i: saved[i])
    if saved[lost] < -WORTH * saved[k]:
        said += f", which outweighs {seconds(-saved[lost])} more {TERMS[lost]}"
    return said


def _transfers(best: Prediction, second: Prediction) -> str:
    """What lies behind the shorter wait: fewer bytes, or more of them beside computing; where neither, the way they take."""
    sent = [p.bytes_sent for p in (best, second)]
    comm = [p.stats.comm_s for p in (best, second)]
    hidden = [p.stats.comm_s - p.stats.exposed_comm_s for p in (best, second)]
    shares = [h / c if c else 1.0 for h, c in zip(hidden, comm, strict=True)]
    said = []
    if sent[0] < (1 - WORTH) * sent[1]:
        said.append(f"it sends {nbytes(sent[0])} instead of {nbytes(sent[1])}")
    if comm[0] < (1 - WORTH) * comm[1]:
        more = f" although it sends {nbytes(sent[0])} and not {nbytes(sent[1])}" if sent[0] > (1 + WORTH) * sent[1] else ""
        said.append(f"its transfers take {seconds(comm[0])} instead of {seconds(comm[1])}{more}")
    if shares[0] > shares[1] + WORTH:
        said.append(f"{share(shares[0])} of them lie beside computing instead of {share(shares[1])}")
    return f", for {' and '.join(said)}" if said else ""
