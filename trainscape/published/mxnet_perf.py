"""MXNet on one device, 2016: images per second against batch in inference and training, and cells that ran out of memory."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

from hw import catalogue
from hw.system import System
from hw.units import Quantity, parse
from trainscape.published.cases import FROM_HOST, case
from trainscape.published.data import published
from trainscape.published.table import Bar, Case, Row, Table, What

NAME = "mxnet_perf_2016"
OUT_OF_MEMORY = "OOM"
INFERENCE = {"strategy": "inference"}
TRAINING = {"strategy": "data", "bucket": "16 MiB"}


def _system(name: str, machine: Mapping[str, Any]) -> str | System:
    """A system of the catalogue, or the share of a processor that a virtual machine has, with its memory."""
    if "system" in machine:
        return str(machine["system"])
    whole = catalogue.device(machine["device"])
    share = whole.scaled(Fraction(machine["cores"], whole.cores))
    return System(name=name, device=replace(share, memory_nbytes=int(parse(machine["memory"], Quantity.BYTES))), count=1)


def _cells() -> Iterator[tuple[str, str, str, int, float | str]]:
    """(mode, machine, model, batch, images per second or ``"OOM"``) of every cell that is covered."""
    data = published(NAME)
    for table in data["tables"]:
        for batch, *cells in table["rows"]:
            for model, cell in zip(table["columns"], cells, strict=True):
                if model in data["models"]:
                    times = data["models"][model].get("training_batch_times", 1) if table["mode"] == "training" else 1
                    yield table["mode"], table["machine"], model, batch * times, cell


@cache
def _case(mode: str, machine: str, model: str, batch: int) -> Case:
    data = published(NAME)
    made = {k: v for k, v in data["models"][model].items() if k != "training_batch_times"}
    parallel = INFERENCE if mode == "inference" else TRAINING
    system = _system(machine, data["machines"][machine])
    run = {} if mode == "inference" else FROM_HOST
    return case(f"{mode}-{model}-{batch}", made, batch=batch, system=system, parallel=parallel, run=run)


def _row(mode: str, machine: str, model: str, batch: int, figure: float) -> Row:
    return Row(
        name=f"{mode} {machine} {model} {batch}",
        series=f"{mode} {machine}",
        published=figure,
        case=_case(mode, machine, model, batch),
        stack=published(NAME)["machines"][machine]["stack"],
    )


@cache
def throughput_rows() -> tuple[Row, ...]:
    """GPUs only: what processors reach with MKL is not claimed to be known."""
    gpus = [m for m, what in published(NAME)["machines"].items() if "system" in what]
    return tuple(
        _row(mode, machine, model, batch, cell)
        for mode, machine, model, batch, cell in _cells()
        if machine in gpus and not isinstance(cell, str)
    )


@cache
def fits_rows() -> tuple[Row, ...]:
    """Every cell: 1.0 where it ran."""
    return tuple(
        _row(mode, machine, model, batch, float(cell != OUT_OF_MEMORY)) for mode, machine, model, batch, cell in _cells()
    )


def tables() -> tuple[Table, ...]:
    """Throughput of the GPUs, and what fits in memory."""
    data = published(NAME)
    common = {"name": NAME, "title": data["title"], "source": data["source"], "notes": tuple(data["notes"])}
    return (
        Table(what=What.THROUGHPUT, rows=throughput_rows, bar=Bar(mape=0.2), **common),
        Table(what=What.FITS, rows=fits_rows, bar=Bar(right=0.9), **common),
    )
