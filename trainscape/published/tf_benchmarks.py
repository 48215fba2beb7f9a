"""TensorFlow's benchmarks on 1 to 8 P100 of a DGX-1: parameters on the host, or NCCL; synthetic and real data."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from trainscape.published.cases import case
from trainscape.published.data import published
from trainscape.published.table import Bar, Case, Row, Table, What

NAME = "tf_benchmarks_2017_dgx1_p100"
SYSTEM = "dgx1-p100"
BUCKET = "16 MiB"
NCCL = "tensorflow-2017-nccl"


def _parallel(update: str, devices: int) -> Mapping[str, Any]:
    if update == "replicated_nccl":
        return {"strategy": "data", "ranks": devices, "bucket": BUCKET, "collective": "ring"}
    return {"strategy": "parameter_server", "ranks": devices, "bucket": BUCKET, "servers": "host"}


@cache
def _case(model: str, batch: int, is_real: bool, devices: int) -> Case:
    data = published(NAME)
    what = data["models"][model]
    made = {k: v for k, v in what.items() if k != "update"}
    run = {"data": {"name": "synthetic", **data["input"]}} if is_real else {}
    kind = "real" if is_real else "synthetic"
    parallel = _parallel(what["update"], devices)
    return case(f"{model}-{kind}-{batch}-{devices}", made, batch=batch * devices, system=SYSTEM, parallel=parallel, run=run)


def _rows(what: What) -> tuple[Row, ...]:
    found = []
    for table in published(NAME)["tables"]:
        kind = "real" if table["is_real"] else "synthetic"
        for column, model in enumerate(table["columns"], 1):
            batch = table["batch"].get(model, table["batch"]["others"])
            rates = {row[0]: row[column] for row in table["rows"] if row[column] != "n/a"}
            for n, rate in rates.items():
                if what is What.SCALING and n == 1:
                    continue
                found.append(
                    Row(
                        name=f"{kind} {batch} {model} {n}",
                        series=f"{model} {kind}",
                        published=rate if what is What.THROUGHPUT else rate / rates[1] / n,
                        case=_case(model, batch, table["is_real"], n),
                        baseline=_case(model, batch, table["is_real"], 1) if what is What.SCALING else None,
                        devices=n,
                        stack=NCCL if published(NAME)["models"][model]["update"] == "replicated_nccl" else None,
                    )
                )
    return tuple(found)


@cache
def throughput_rows() -> tuple[Row, ...]:
    """Images per second."""
    return _rows(What.THROUGHPUT)


@cache
def scaling_rows() -> tuple[Row, ...]:
    """Efficiency on two devices and more."""
    return _rows(What.SCALING)


def tables() -> tuple[Table, ...]:
    """Throughput and scaling. Where parameters are on the host, nothing of the stack is needed."""
    data = published(NAME)
    common = {"name": NAME, "title": data["title"], "source": data["source"], "notes": tuple(data["notes"])}
    return (
        Table(what=What.THROUGHPUT, rows=throughput_rows, bar=Bar(mape=0.2), **common),
        Table(what=What.SCALING, rows=scaling_rows, bar=Bar(median=0.06, most=0.12), **common),
    )
