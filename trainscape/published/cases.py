"""Scenarios of published tables: nets as their sources have them, and the systems that they ran on."""

from collections.abc import Mapping
from typing import Any

from hw.system import System
from trainscape.published.table import Case
from trainscape.scenario import Scenario

FROM_HOST = {"data": {"name": "synthetic", "decode": "0 s", "prefetch": 1}}
"""Run section of what was trained on one batch over and over, which lies in the host's memory and is brought for every step."""


def case(
    name: str,
    model: Mapping[str, Any],
    *,
    batch: int,
    system: str | System,
    parallel: Mapping[str, Any],
    run: Mapping[str, Any] | None = None,
    parts: Mapping[str, Any] | None = None,
    **further: Any,
) -> Case:
    """A case.

    Parameters
    ----------
    name : of the scenario.
    model : its name and options, without the batch.
    batch : images of a step, over all devices.
    system : of the catalogue, or made here.
    parallel : section of the scenario.
    run : section of the scenario.
    parts : further keys of the scenario's system section, e.g. nodes.
    further : of the case.
    """
    named = system if isinstance(system, str) else "p2.xlarge"  # a scenario must name one; what is made here replaces it
    scenario = Scenario.model_validate(
        {
            "name": name,
            "model": {"classes": 1000, **model, "batch": batch},
            "system": {"name": named, **(parts or {})},
            "parallel": dict(parallel),
            "run": dict(run or {}),
        }
    )
    return Case(scenario=scenario, system=None if isinstance(system, str) else system, **further)
