"""What an emulated run has found, in words: accuracies side by side, differences of logits, what a step's cycles went into."""

from collections.abc import Mapping
from typing import Any

from trainscape.report.tables import share

_HEADER = ("logits of", "accuracy", "greatest difference", "rms")
_REFERENCES = {"cpu": "the same words, summed in float32 on this computer", "float32": "float32 on this computer"}


def value_cells(document: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: the NFU, and what its logits are held against, less the columns that are empty.

    Of a document with ``emulated`` and ``references``.
    """
    mine = document["emulated"]["accuracy"]
    rows = [("the NFU, bit by bit", _right(mine), "", "")]
    for name, words in _REFERENCES.items():
        r = document["references"][name]
        error = r["logits_error"]
        rows.append((words, _right(r["accuracy"]), f"{error['max']:.4g}", f"{error['rms']:.4g}"))
    used = [i for i in range(len(_HEADER)) if any(r[i] for r in rows)]
    return [_HEADER[i] for i in used], [[r[i] for i in used] for r in rows]


def _right(accuracy: float | None) -> str:
    return "" if accuracy is None else share(accuracy)


def sentences(document: Mapping[str, Any]) -> list[str]:
    """The verdict, and where time goes, in words."""
    e, all_well = document["emulated"], document["verdict"] == "ok"
    off = f"greatest error of an action {document['greatest_error']:.1g}, tolerance {document['tolerance']:g}"
    found = "closed form and instructions agree" if all_well else "closed form and instructions DIFFER"
    waits = {k: n for k, n in e["stalls"].items() if n >= 0.5}
    why = f" (waiting for {', '.join(f'{k} {n:,.0f}' for k, n in waits.items())})" if waits else ""
    return [
        f"{document['verdict']}: {found} ({off}); nothing was measured",
        f"a step: {e['instructions']:,} instructions, {e['cycles']:,} cycles of NFUs, {e['busy_cycles']:,} of them at work{why}",
        f"{e['samples']:,} samples set aside in {e['steps']:,} steps; parameters {e['parameters']}",
    ]
