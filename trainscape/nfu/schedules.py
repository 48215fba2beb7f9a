"""A schedule as text, ``rows=4,columns=8,order=synapses``: what is not said is 1, and the order ``inputs``."""

from dataclasses import fields
from typing import Any

from graph.errors import nearest
from hw.nfu.nest import Order, Schedule
from trainscape.errors import Mistake, ScenarioError

PLACE = "--schedule"


def read_schedule(text: str) -> Schedule:
    """The schedule that a text says; raises `ScenarioError` with all mistakes. Whether it fits a layer shows when it is used."""
    found: dict[str, Any] = {}
    mistakes: list[Mistake] = []
    names, column = [f.name for f in fields(Schedule)], 1
    for part in text.split(","):
        key, equals, value = (t.strip() for t in part.partition("="))
        wrong = ""
        if not equals:
            wrong = f"{part.strip()!r} is not of the form key=value"
        elif key not in names:
            wrong = f"unknown key {key!r}; {nearest(key, names)}"
        elif key in found:
            wrong = "stands here twice"
        elif key == "order" and value not in set(Order):
            wrong = f"must be {' or '.join(Order)}, got {value!r}"
        elif key != "order" and not (value.isascii() and value.isdigit() and int(value)):
            wrong = f"must be a whole number of at least 1, got {value!r}"
        else:
            found[key] = Order(value) if key == "order" else int(value)
        if wrong:
            mistakes.append(Mistake(place=PLACE, path=key, message=wrong, source=text, line=1, column=column))
        column += len(part) + 1
    if mistakes:
        raise ScenarioError(mistakes)
    return Schedule(**found)


def schedule_text(document: dict[str, Any]) -> str:
    """A schedule's document as `--schedule` reads it, less what need not be said."""
    plain = {f.name: getattr(Schedule(), f.name) for f in fields(Schedule)}
    said = [f"{k}={v}" for k, v in document.items() if v != plain[k]]
    return ",".join(said) or "rows=1"
