"""Which kernels there are. Importing this fills `KERNELS`; operators that are registered later get their records when asked for.

To add a kernel for a new operator nothing is needed here: it gets an automatic record. A kernel whose loops are worth counting,
or a further algorithm of an operator, is added to `RECORDS` of its platform.
"""

from collections.abc import Mapping
from functools import lru_cache

from graph.errors import nearest
from graph.ops import OPS
from hw.errors import HwError
from hw.kernels.automatic import automatic
from hw.kernels.cpu import RECORDS
from hw.kernels.cuda import BUFFERS, cuda_record, has_loops
from hw.kernels.cuda import RECORDS as CUDA
from hw.kernels.nfu import NFU
from hw.kernels.record import KERNELS, Call, KernelRecord, Platform

for _record in (*RECORDS, *CUDA, *BUFFERS, *NFU):
    KERNELS.add(_record.name, _record)


@lru_cache(maxsize=1)
def _by_operator(count: int) -> Mapping[tuple[str, Platform], list[KernelRecord]]:
    """(operator, platform) -> its records, of the registry while it holds so many."""
    found: dict[tuple[str, Platform], list[KernelRecord]] = {}
    for r in KERNELS.values():
        found.setdefault((r.op, r.platform), []).append(r)
    return found


def _known(op: str, platform: Platform) -> list[KernelRecord]:
    found = _by_operator(len(KERNELS)).get((op, platform), [])
    if not found and platform is Platform.NFU:  # what it has not, its processor computes
        return _known(op, Platform.CPU)
    if not found and op in OPS and not OPS[op].is_view:  # a view only names the same memory anew
        made = cuda_record(OPS[op]) if platform is Platform.CUDA else automatic(OPS[op], platform)
        found = [KERNELS.add(made.name, made)]
    return found


for _op in OPS:
    for _platform in Platform:
        _known(_op, _platform)

_COUNTED = frozenset(r.name for r in (*RECORDS, *NFU))


def is_counted(kernel: KernelRecord) -> bool:
    """Its terms follow what its loops do; otherwise they are made from the operator alone: its calls, work and bytes."""
    return has_loops(kernel.op, kernel.algorithm) if kernel.platform is Platform.CUDA else kernel.name in _COUNTED


def records_of(op_name: str, platform: Platform) -> tuple[KernelRecord, ...]:
    """Records of an operator's kernels, the preferred one first; none of a view. Those of an NFU's processor are a CPU's."""
    return tuple(_known(op_name, platform))


def record_for(op_name: str, platform: Platform, algorithm: str | None = None) -> KernelRecord:
    """The record of the kernel for an operator (or for ``"input"`` and ``"accumulate"``).

    Parameters
    ----------
    op_name : name of the operator.
    platform : whose kernels. An NFU has few, and its processor has those of a CPU: where there is no ``"nfu.<op>"``, the answer
        is ``"cpu.<op>"``.
    algorithm : forces one; by default the preferred.

    Raises
    ------
    HwError : there is no such kernel; the message says which there are.
    """
    found = _known(op_name, platform)
    if not found:
        near = nearest(op_name, {r.op for r in KERNELS.values() if r.platform is platform})
        raise HwError(f"platform {platform.value!r} has no kernel for operator {op_name!r}; {near}")
    if algorithm is None:
        return found[0]
    named = {r.algorithm: r for r in found if r.algorithm}
    if algorithm not in named:
        raise HwError(f"operator {op_name!r} has no algorithm {algorithm!r} on {platform.value!r}; {nearest(algorithm, named)}")
    return named[algorithm]


def algorithms(platform: Platform) -> dict[str, tuple[str, ...]]:
    """Operator -> names of the algorithms that can be asked for, of those that have any. An NFU has none to choose from."""
    found: dict[str, list[str]] = {}
    for r in KERNELS.values():
        if r.platform is platform and r.algorithm and platform is not Platform.NFU:
            found.setdefault(r.op, []).append(r.algorithm)
    return {op: tuple(names) for op, names in found.items()}


def chosen(asked: str | Mapping[str, str] | None, platform: Platform) -> dict[str, str]:
    """Operator -> algorithm, as `hw.lower` takes it: of what is asked for that which a platform has.

    Parameters
    ----------
    asked : one name, for every operator that has an algorithm of that name; or operator -> name; None: nothing.
    platform : whose kernels.
    """
    has = algorithms(platform)
    wanted = dict.fromkeys(has, asked) if isinstance(asked, str) else asked or {}
    return {op: name for op, name in wanted.items() if name in has.get(op, ())}


__all__ = ["KERNELS", "Call", "KernelRecord", "Platform", "algorithms", "chosen", "is_counted", "record_for", "records_of"]
