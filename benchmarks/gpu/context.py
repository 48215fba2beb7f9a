"""What the items of a section share: where they run, who the rival is, what sections before have found."""

import gc
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gpu.part import Part

if TYPE_CHECKING:
    from benchmarks.gpu.peer import Peer
    from runtime.cuda.device import Device


class Context:
    """Of one process.

    Parameters
    ----------
    out : folder of the results.
    simulated : in Numba's simulator: everything is as small as shows that it runs.
    part : what the section leaves.
    stops : moment of `time.monotonic` from which nothing new is begun.
    """

    def __init__(self, out: Path, simulated: bool, part: Part, stops: float = 0.0) -> None:
        self.out, self.simulated, self.part, self.stops = out, simulated, part, stops

    @cached_property
    def device(self) -> "Device":
        """The GPU, or its double."""
        from runtime.cuda.device import device

        return device()

    @cached_property
    def peer(self) -> "Peer | None":
        """PyTorch, on the same device; None: it is not there, which the notes say."""
        from benchmarks.gpu.peer import Peer, PeerMissing

        try:
            return Peer(simulated=self.simulated)
        except PeerMissing as e:
            self.part.note(str(e))
            return None

    def found(self, section: str) -> dict[str, dict[str, Any]]:
        """Item -> result, of a section before; those that failed are not among them."""
        document = json.loads((self.out / "gpu.json").read_text(encoding="utf-8"))
        items = document["sections"].get(section, {}).get("items", {})
        return {name: r for name, r in items.items() if "error" not in r}

    def is_broken(self) -> bool:
        """Whether the device answers nothing any more."""
        return "device" in self.__dict__ and self.device.is_broken()

    def tidy(self) -> None:
        """Give back memory of the device that nothing refers to."""
        gc.collect()
        if "device" in self.__dict__ and self.device.can_capture:
            from numba import cuda

            cuda.current_context().deallocations.clear()
        if self.__dict__.get("peer") is not None:
            self.peer.empty()  # type: ignore[union-attr]
