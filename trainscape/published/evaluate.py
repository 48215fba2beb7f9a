"""Predicts the rows of tables, and scores them."""

import math
from collections.abc import Iterable, Sequence

from graph.record import record
from hw.errors import DoesNotFit
from hw.stack import Stack
from hw.stacks import entry
from trainscape.build import Built
from trainscape.predict import predict
from trainscape.published.score import Constant, Guess, Score
from trainscape.published.table import KERNELS, Case, Row, Table, What

STEPS = 2  # played; the first is left out of what a step takes


@record
class Answer:
    """What was predicted for a case.

    Parameters
    ----------
    images_per_second : NaN when it does not fit, or was not asked.
    fits : every rank has the memory that it needs.
    """

    images_per_second: float
    fits: bool


@record
class Question:
    """What is asked: a case, with a stack or without, and whether its time is wanted."""

    case: Case
    stack: Stack | None
    wants_time: bool


class Predictions:
    """Predictions, each made once. Plans and lowerings that several share are made once too."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Stack | None], Answer] = {}

    def ask(self, questions: Iterable[Question]) -> None:
        """Predict what is not known yet; those with one plan one after the other."""
        groups: dict[str, list[Question]] = {}
        for q in questions:
            groups.setdefault(_plan_key(q.case), []).append(q)
        for group in groups.values():
            like: Built | None = None
            for q in group:
                known = self._known.get(_key(q))
                if known is None or (q.wants_time and known.fits and math.isnan(known.images_per_second)):
                    built = _built(q, like)
                    like = like or built
                    self._known[_key(q)] = _answer(q, built)

    def of(self, case: Case, stack: Stack | None, *, wants_time: bool = True) -> Answer:
        """The prediction of a case."""
        question = Question(case=case, stack=stack, wants_time=wants_time)
        self.ask((question,))
        return self._known[_key(question)]

    def value(self, row: Row, what: What, stack: Stack | None) -> float:
        """The prediction of a row's figure, in its unit."""
        answer = self.of(row.case, stack, wants_time=what is not What.FITS)
        rate = answer.images_per_second
        match what:
            case What.THROUGHPUT:
                return rate
            case What.HOURS:
                return (row.case.scenario.samples or 0) * row.case.epochs / rate / 3600
            case What.FITS:
                return float(answer.fits)
            case What.SCALING:
                base = row.case if row.baseline is None else row.baseline
                return rate / self.of(base, stack).images_per_second / row.devices


def _key(q: Question) -> tuple[str, Stack | None]:
    c = q.case
    return repr((c.scenario.hash, c.system, c.joined, c.detail)), q.stack


def _plan_key(case: Case) -> str:
    """Equal for cases that share plan and lowering: all but the number of its devices and the data is of the plan."""
    s = case.scenario
    platform = case.system.device.platform if case.system is not None else "catalogue"
    return repr((s.model, s.parallel, s.system.nodes, s.run.model_copy(update={"data": None}), platform, case.joined))


def _built(q: Question, like: Built | None) -> Built:
    return Built(q.case.scenario, system=q.case.system, stack=q.stack, advise=False, joined=q.case.joined, like=like)


def _answer(q: Question, built: Built) -> Answer:
    model = built.placed
    fits = all(model.memory_bytes(r) <= model.memory_capacity_bytes(r) for r in model.plan.ranks)
    if not q.wants_time or not fits:
        return Answer(images_per_second=math.nan, fits=fits)
    try:
        step = predict(built, detail=q.case.detail, steps=STEPS, unfolded=1).stats.step_s
    except DoesNotFit:
        return Answer(images_per_second=math.nan, fits=False)
    return Answer(images_per_second=q.case.images / step, fits=True)


def _stack(row: Row, labelled: bool) -> Stack | None:
    return entry(row.stack).stack if labelled and row.stack is not None else None


def questions(table: Table, *, labelled: bool) -> Iterable[Question]:
    """What must be predicted to score a table."""
    for row in table.rows():
        stack = _stack(row, labelled)
        for case in (row.case, *((row.baseline,) if row.baseline is not None else ())):
            yield Question(case=case, stack=stack, wants_time=table.what is not What.FITS)


def score(table: Table, predictions: Predictions, *, labelled: bool) -> Score:
    """A predictor on a table.

    Parameters
    ----------
    table : the table.
    predictions : those that are known, and takes further ones.
    labelled : with the rows' software stacks; else the default predictor.
    """
    names = table.stacks
    fitted = {row for n in names for group in entry(n).fitted.values() for row in group} if labelled else set[str]()
    guesses = []
    for row in table.rows():
        predicted = predictions.value(row, table.what, _stack(row, labelled))
        guesses.append(Guess(row=row, predicted=predicted, is_fitted=f"{table.name}/{row.name}" in fitted))
    return Score(
        table=table,
        predictor=", ".join(names) if labelled else KERNELS,
        guesses=tuple(guesses),
        constants=constants(names) if labelled else (),
        is_held=labelled == bool(names),
    )


def constants(names: Sequence[str]) -> tuple[Constant, ...]:
    """The constants of these stacks that were fitted on whole models."""
    found = []
    for name in names:
        texts = {r.quantity: r.text for r in entry(name).rows}
        found += [Constant(name=f"{name}: {q}", text=texts[q], rows=rows) for q, rows in entry(name).fitted.items()]
    return tuple(found)
