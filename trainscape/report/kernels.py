"""Tables of kernels: which there are, what they take in, and what became of those of CUDA."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from hw.kernels import Platform, is_counted
from trainscape.device_kernels import Compiled
from trainscape.kernels import Listed, is_view, listed
from trainscape.report.tables import plain_table

if TYPE_CHECKING:
    from rich.table import Table

WIDE = 120
"""Columns from which on instructions stand beside the other figures."""
NAME, LONG = 24, 30
"""Columns of a device kernel's name, beside many others and beside few; longer ones go on in the next line."""
WORDS = {
    "counted": "a kernel whose record counts what its loops do",
    "automatic": "a kernel whose record has the operator's calls, work and bytes",
    "processor": "what an NFU leaves to its host's processor",
    "view": "names the same memory anew, and needs no kernel",
    "default": "the algorithm that has no name",
}
"""What stands in the table -> what it means."""
CELLS = "Cells tell how a kernel's work is known; several algorithms are named before it, the preferred one first."


def kernels_table(operators: Sequence[str], devices: Sequence[Platform]) -> "Table":
    """A line for each operator, a column for each device: its algorithms, and how they are counted."""
    rows = [(n, *(_cell(n, listed(n, [d])) for d in devices)) for n in operators]
    return plain_table(("operator", *(d.value for d in devices)), rows)


def legend(operators: Sequence[str], devices: Sequence[Platform]) -> str:
    """What cells of the table tell, in a sentence, then what those words mean that are in it; a line each."""
    cells = " ".join(_cell(n, listed(n, [d])) for n in operators for d in devices)
    return "\n".join([CELLS, *(f"{word}: {meaning}" for word, meaning in WORDS.items() if word in cells)])


def _cell(operator: str, found: Sequence[Listed]) -> str:
    if not found:
        return "view" if is_view(operator) else "none"
    if found[0].is_on_processor:
        return "processor"
    counted = "counted" if is_counted(found[0].kernel) else "automatic"
    names = ", ".join(k.kernel.algorithm or "default" for k in found)
    return counted if names == "default" else f"{names}: {counted}"


def fused_table(operators: Sequence[str], devices: Sequence[Platform]) -> "Table | None":
    """Which kernels compute which operators besides their own; None: none does."""
    by: dict[tuple[str, str, str], list[str]] = {}
    for k in (k for d in devices for n in operators for k in listed(n, [d]) if k.is_preferred and not k.is_on_processor):
        r = k.kernel
        if r.epilogue or r.prologue:
            after = ", ".join(r.epilogue) + ("; any of them" if r.is_epilogue_optional and len(r.epilogue) > 1 else "")
            by.setdefault((k.device.value, ", ".join(r.prologue), after), []).append(k.operator)
    rows = [(device, ", ".join(ops), before, after) for (device, before, after), ops in by.items()]
    if not rows:
        return None
    used = [i for i in range(4) if any(r[i] for r in rows)]
    header = ("device", "kernels of", "on operands", "on the result, in this order")
    shown = [tuple(r[i] for i in used) for r in rows]
    return plain_table([header[i] for i in used], shown, title="what kernels compute besides")


Column = tuple[str, Callable[[Compiled], str]]
_FIGURES: tuple[Column, ...] = (
    ("regs", lambda r: str(r.figures.registers) if r.figures else ""),
    ("spill", lambda r: str(r.figures.spill_bytes) if r.figures else ""),
    ("shared", lambda r: str(r.figures.shared_bytes) if r.figures else ""),
    ("stack", lambda r: str(r.figures.stack_bytes) if r.figures else ""),
    ("threads", lambda r: str(r.threads)),
    ("blocks", lambda r: str(r.occupancy.blocks) if r.occupancy else ""),
)
_FULL: Column = ("full", lambda r: f"{100 * r.occupancy.fraction:.0f} %" if r.occupancy else "")
_LIMIT: Column = ("limited by", lambda r: ", ".join(r.occupancy.limited_by).replace("registers", "regs") if r.occupancy else "")
_NAME: Column = ("device kernel", lambda r: folded(r.kernel, NAME))
_INSTRUCTIONS: Column = ("instructions", lambda r: instructions(r))


def compiled_tables(rows: Iterable[Compiled], width: int) -> "list[Table]":
    """Figures of device kernels, and those that are left out; as wide as `width` allows."""
    rows = list(rows)
    made, left = [r for r in rows if r.figures], [r for r in rows if not r.figures]
    found = []
    if made:
        has_stack = any(r.figures and r.figures.stack_bytes for r in made)
        figures = [c for c in _FIGURES if has_stack or c[0] != "stack"]
        title = f"on {made[0].architecture}: registers a thread, bytes, blocks that a multiprocessor holds"
        if width >= WIDE:
            found.append(_table((_NAME, *figures, _FULL, _LIMIT, _INSTRUCTIONS), made, title))
        else:
            found.append(_table((_NAME, *figures, _LIMIT), made, title))
            wanted = [r for r in made if r.figures and r.figures.instructions]
            found += [_table((_NAME, _INSTRUCTIONS), wanted, "instructions meant to be there")] if wanted else []
    if left:
        why: Column = ("why", lambda r: r.left_out)
        name: Column = ("device kernel", lambda r: folded(r.kernel, LONG))
        older: Column = ("launched in its place", lambda r: "" if r.in_place_of else folded(r.older or "nothing", LONG))
        used = (name, why, *([older] if any(not r.in_place_of for r in left) else []))
        found.append(_table(used, left, f"not launched on {left[0].architecture}"))
    return found


def _table(columns: Sequence[Column], rows: Sequence[Compiled], title: str) -> "Table":
    return plain_table(
        [name for name, _ in columns], [tuple(text(r) for _, text in columns) for r in rows], title=title, is_dense=True
    )


def instructions(row: Compiled) -> str:
    """Those that are meant to be there, with how often each stands in the text."""
    return ", ".join(f"{name} {n}" for name, n in row.figures.instructions.items()) if row.figures else ""


def folded(name: str, width: int) -> str:
    """A long name in lines, cut before an underscore."""
    lines = [""]
    for part in name.replace("_", "\n_").split("\n"):
        if lines[-1] and len(lines[-1] + part) > width:
            lines.append(" ")
        lines[-1] += part
    return "\n".join(lines)
