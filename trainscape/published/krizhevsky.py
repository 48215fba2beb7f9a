"""Krizhevsky's hybrid on 1 to 8 K20: convolutions data parallel, fully connected layers cut."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from sim.play import Detail
from trainscape.published.cases import case
from trainscape.published.data import published
from trainscape.published.table import Bar, Case, Row, Table, What

NAME = "krizhevsky_2014"
SYSTEM = "k20x8-2014"
BATCH = 128  # of a GPU


def _parallel(devices: int, fc_batch: int) -> Mapping[str, Any]:
    """The layers that are cut see the samples of one GPU after another; with a batch of 128 they are renewed after each GPU's."""
    if devices == 1:
        return {"strategy": "data", "ranks": 1, "bucket": "1 B"}
    update = "round" if fc_batch == BATCH else "step"
    return {"strategy": "hybrid", "ranks": devices, "bucket": "1 B", "scheme": "turns", "fc_update": update}


@cache
def _case(devices: int, fc_batch: int) -> Case:
    data = published(NAME)
    return case(
        f"hybrid-{devices}-{fc_batch}", data["model"], batch=BATCH * devices, system=SYSTEM,
        parallel=_parallel(devices, fc_batch), joined=0, detail=Detail.FLOW, epochs=data["epochs"],
    )  # fmt: skip


def _rows(what: What) -> tuple[Row, ...]:
    found = []
    for devices, conv_batch, fc_batch, hours, speed_up in published(NAME)["rows"]:
        if devices == 1 and what is What.SCALING:
            continue
        found.append(
            Row(
                name=f"{devices} GPUs, batch {conv_batch} and {fc_batch}",
                series="large batch" if fc_batch == conv_batch else "variable batch",
                published=hours if what is What.HOURS else speed_up / devices,
                case=_case(devices, fc_batch),
                baseline=_case(1, BATCH) if what is What.SCALING else None,
                devices=devices,
            )
        )
    return tuple(found)


@cache
def scaling_rows() -> tuple[Row, ...]:
    """Efficiency on two GPUs and more."""
    return _rows(What.SCALING)


@cache
def hours_rows() -> tuple[Row, ...]:
    """Of the whole training."""
    return _rows(What.HOURS)


def tables() -> tuple[Table, ...]:
    """Speed-ups and hours; nothing is fitted, so both bars are the default predictor's."""
    data = published(NAME)
    common = {"name": NAME, "title": data["title"], "source": data["source"], "notes": tuple(data["notes"])}
    return (
        Table(what=What.SCALING, rows=scaling_rows, bar=Bar(median=0.06, most=0.12), **common),
        Table(what=What.HOURS, rows=hours_rows, bar=Bar(mape=0.2), **common),
    )
