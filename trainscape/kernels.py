"""Which kernels there are: for each operator on which devices, by which algorithms, and what else they take in.

Looks at records alone, so nothing heavy is imported; what becomes of CUDA kernels is `trainscape.device_kernels`'s.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from graph.op import OPS
from graph.record import record
from hw.kernels import KERNELS, KernelRecord, Platform, is_counted, records_of


@record
class Listed:
    """A kernel of an operator on a device.

    Parameters
    ----------
    operator : which; also ``"input"`` and ``"accumulate"``, which are no operators but have kernels.
    device : where.
    kernel : its record.
    is_preferred : taken where no algorithm is asked for.
    """

    operator: str
    device: Platform
    kernel: KernelRecord
    is_preferred: bool

    @property
    def is_on_processor(self) -> bool:
        """An NFU has no such kernel: its host's processor computes the operator."""
        return self.kernel.platform is not self.device

    def document(self) -> dict[str, Any]:
        """As plain data."""
        k = self.kernel
        return {
            "device": self.device.value,
            "kernel": k.name,
            "algorithm": k.algorithm or None,
            "preferred": self.is_preferred,
            "on_processor": self.is_on_processor,
            "prologue": k.prologue,
            "epilogue": k.epilogue,
            "epilogue_in_any_part": k.is_epilogue_optional,
            "terms": terms(k),
            "terms_counted": is_counted(k),
        }


def operators() -> tuple[str, ...]:
    """Everything that has kernels, views included: operators, then what is none."""
    return tuple(dict.fromkeys((*OPS, *(k.op for k in KERNELS.values()))))


def is_view(operator: str) -> bool:
    """It names the same memory anew, and needs no kernel."""
    return operator in OPS and OPS[operator].is_view


def listed(operator: str, devices: Iterable[Platform] = tuple(Platform)) -> list[Listed]:
    """An operator's kernels on some devices, on each the preferred one first. What an NFU's processor computes has no choice."""
    found = []
    for device in devices:
        records = records_of(operator, device)
        mine = [r for r in records if r.platform is device] or records[:1]
        found += [Listed(operator=operator, device=device, kernel=r, is_preferred=r is records[0]) for r in mine]
    return found


def terms(kernel: KernelRecord) -> list[str] | None:
    """Names of what its record counts; None: of a kernel without sizes to count on."""
    size = next(iter(kernel.sizes()), None)
    return None if size is None else list(kernel.terms(size.types, size.attrs))


def documents(names: Sequence[str], devices: Iterable[Platform]) -> list[dict[str, Any]]:
    """Operators with their kernels, as plain data."""
    devices = tuple(devices)
    return [{"operator": n, "view": is_view(n), "kernels": [k.document() for k in listed(n, devices)]} for n in names]
