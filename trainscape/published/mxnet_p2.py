"""MXNet on 1 to 16 instances p2.16xlarge: synchronous data parallelism, the batch of a device always the same."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from trainscape.published.cases import FROM_HOST, case
from trainscape.published.data import published
from trainscape.published.table import Bar, Case, Row, Table, What

NAME = "mxnet_p2_scaling"
SYSTEM = "p2.16xlarge"
IN_A_NODE = 16
BUCKET = "16 MiB"


def _parallel(devices: int) -> Mapping[str, Any]:
    """kvstore ``device`` in a node; over nodes ``dist_device_sync``, with a server on every node."""
    if devices == 1:
        return {"strategy": "data", "ranks": 1, "bucket": BUCKET}
    if devices <= IN_A_NODE:
        return {"strategy": "parameter_server", "ranks": devices, "bucket": BUCKET, "servers": "devices"}
    return {"strategy": "parameter_server", "ranks": devices, "bucket": BUCKET, "servers": "host", "levels": 2}


@cache
def _case(model: str, devices: int) -> Case:
    what = published(NAME)["models"][model]
    made = {k: v for k, v in what.items() if k != "batch"}
    parts = {"nodes": devices // IN_A_NODE} if devices > IN_A_NODE else {}
    return case(
        f"{model}-{devices}", made, batch=what["batch"] * devices, system=SYSTEM, parallel=_parallel(devices), run=FROM_HOST,
        parts=parts,
    )  # fmt: skip


@cache
def rows() -> tuple[Row, ...]:
    """Efficiency on two devices and more."""
    found = []
    for column, model in enumerate(published(NAME)["columns"], 1):
        rates = {row[0]: row[column] for row in published(NAME)["rows"]}
        found += [
            Row(
                name=f"{model} {n}",
                series=model,
                published=rate / rates[1] / n,
                case=_case(model, n),
                baseline=_case(model, 1),
                devices=n,
                stack="mxnet-2016",
            )
            for n, rate in rates.items()
            if n > 1
        ]
    return tuple(found)


def tables() -> tuple[Table, ...]:
    """Scaling alone: what one device does is `mxnet_perf_2016`'s."""
    data = published(NAME)
    return (
        Table(
            name=NAME, what=What.SCALING, title=data["title"], source=data["source"], rows=rows,
            bar=Bar(median=0.06, most=0.12), notes=tuple(data["notes"]),
        ),
    )  # fmt: skip
