"""The calibration profile of a GPU: what this project's kernels, copies and letters take on it, and how that was found.

`trainscape calibrate --device cuda` writes it: in a checkout into the catalogue, ``hw/catalogue/profiles/<gpu>.yaml``, else into
the user's data folder. The user's own comes first when one is looked for. A profile made for kernels whose source has changed
since is refused as stale.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, ClassVar

from graph.record import record
from hw.errors import HwError, StaleProfile
from hw.kernels.record import VENDOR
from hw.profile import Coefficients, KernelFit, LinkFit, Profile, Row, default_path, read_link, write_whole

SCHEMA = "trainscape.gpu-profile/1"
AGAIN = "run `trainscape calibrate --device cuda`"
CATALOGUE = Path(__file__).parent / "catalogue" / "profiles"


@record
class GpuCoefficients(Coefficients):
    """One kernel of a GPU: a step that touches few bytes finds them in its second-level cache, 50 MB on an H100 or H200."""

    caches: ClassVar[tuple[int, int]] = 16 << 20, 64 << 20


@record
class GpuProfile:
    """Everything that calibration found of a GPU.

    Parameters
    ----------
    name : of the file: the GPU's, in lower case with dashes, e.g. ``"nvidia-h200"``.
    gpu : its name as the driver has it.
    created : ISO 8601 time.
    driver : version of CUDA that the driver is for.
    capability : compute capability, e.g. ``"9.0"``.
    multiprocessors : it has.
    memory_nbytes : its memory.
    memory_bytes_per_s : that a copy on the device reads and writes.
    versions : package -> version, also ``"python"`` and ``"trainscape"``.
    kernels : record name -> fit; ``"cuda.input"`` is the copy of a batch from the host.
    link : letters between processes that share it, through the host's memory.
    launch_s : of the host, to put a kernel on the device.
    step_overhead_s : of a captured step beyond its kernels.
    action_overhead_s : of an action beyond its kernels.
    repeat : relative standard deviation of one kernel's time from one moment to another.
    rows : what was measured.
    """

    name: str
    gpu: str
    created: str
    driver: str
    capability: str
    multiprocessors: int
    memory_nbytes: int
    memory_bytes_per_s: float
    versions: Mapping[str, str] = field(default_factory=dict)
    kernels: Mapping[str, KernelFit]
    link: LinkFit
    launch_s: float = 0.0
    step_overhead_s: float = 0.0
    action_overhead_s: float = 0.0
    repeat: float = 0.0
    rows: tuple[Row, ...] = ()

    def __post_init__(self) -> None:
        above = {"memory_nbytes": self.memory_nbytes, "memory_bytes_per_s": self.memory_bytes_per_s}
        least = {k: getattr(self, k) for k in ("launch_s", "step_overhead_s", "action_overhead_s", "repeat")}
        wrong = [k for k, v in above.items() if not 0 < v < math.inf] + [k for k, v in least.items() if not 0 <= v < math.inf]
        if wrong:
            raise HwError(f"the profile of {self.gpu!r} is broken: {wrong[0]} cannot be {getattr(self, wrong[0])!r}; {AGAIN}")

    @property
    def again(self) -> str:
        """What to do where it does not serve."""
        return AGAIN

    def check(self, source_hashes: Mapping[str, str]) -> None:
        """Raise `StaleProfile` unless it was made for these sources (record name -> hash).

        Kernels that are a vendor's libraries may be missing: they are calibrated where the library is installed.
        """
        changed = sorted(k for k, h in source_hashes.items() if k in self.kernels and self.kernels[k].source_hash != h)
        missing = sorted(k for k in source_hashes if k not in self.kernels and not k.endswith(f".{VENDOR}"))
        if changed or missing:
            both = (("changed since", changed), ("not in it", missing))
            parts = [f"{', '.join(names)} {what}" for what, names in both if names]
            raise StaleProfile(f"the profile of {self.gpu} of {self.created} is stale: {'; '.join(parts)}; {AGAIN}")

    def document(self) -> dict[str, Any]:
        """As its file has it; numbers in SI units, named by the suffix of their keys."""
        body = asdict(self)
        provenance = {k: body.pop(k) for k in ("created", "gpu", "driver", "capability", "versions")}
        kernels = {name: {"source_hash": fit.source_hash, **asdict(fit.busy[1])} for name, fit in sorted(self.kernels.items())}
        rows = [{k: v for k, v in r.items() if k != "busy"} for r in body.pop("rows")]
        return {
            "schema": SCHEMA, "name": body.pop("name"), "provenance": provenance, **body, "kernels": kernels, "rows": rows,
        }  # fmt: skip

    @classmethod
    def of_document(cls, body: Mapping[str, Any]) -> "GpuProfile":
        """The inverse of `document`; raises `StaleProfile` on another schema and `HwError` on a broken document."""
        if body.get("schema") != SCHEMA:
            raise StaleProfile(f"the profile has schema {body.get('schema')!r}, not {SCHEMA!r}; {AGAIN}")
        try:
            own = {k: v for k, v in body.items() if k not in ("schema", "provenance", "kernels", "link", "rows")}
            return cls(
                **own,
                **body["provenance"],
                kernels={name: _fit(fit) for name, fit in body["kernels"].items()},
                link=read_link(body["link"]),
                rows=tuple(Row(**r, busy=1) for r in body["rows"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise HwError(f"the profile is broken ({type(e).__name__}: {e}); {AGAIN}") from e


AnyProfile = Profile | GpuProfile
"""What calibration found, of a host or of a GPU."""


def _fit(found: Mapping[str, Any]) -> KernelFit:
    per = {term: float(s) for term, s in found["seconds_per"].items()}
    if any(not 0 <= s < math.inf for s in per.values()):
        raise ValueError(f"seconds per term cannot be {per}")
    residuals, unseen = (tuple(map(float, found[k])) for k in ("residuals", "unseen"))
    one = GpuCoefficients(seconds_per=per, small=float(found["small"]), residuals=residuals, unseen=unseen)
    return KernelFit(source_hash=str(found["source_hash"]), busy={1: one})


def file_name(gpu: str) -> str:
    """Name of a GPU as files have it: ``"NVIDIA H200"`` is ``"nvidia-h200"``."""
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")


def places(gpu: str) -> tuple[Path, Path]:
    """Where a GPU's profile may lie: in the user's data folder, which comes first, and in the catalogue."""
    name = f"{file_name(gpu)}.yaml"
    return default_path().parent / "gpus" / name, CATALOGUE / name


def find_gpu_profile(gpu: str) -> Path | None:
    """The profile of a GPU; None: there is none."""
    return next((p for p in places(gpu) if p.is_file()), None)


def save_gpu_profile(profile: GpuProfile, path: Path) -> Path:
    """Write a profile; whoever reads meanwhile sees the old one or the new one, never a half. Returns where it lies."""
    from io import StringIO

    from ruamel.yaml import YAML

    yaml, text = YAML(typ="safe", pure=True), StringIO()
    yaml.default_flow_style, yaml.width, yaml.sort_base_mapping_type_on_output = None, 120, False  # type: ignore[assignment]
    yaml.dump(profile.document(), text)
    write_whole(path, text.getvalue())
    return path


def load_gpu_profile(path: Path) -> GpuProfile:
    """Read a profile; raises `HwError` when it cannot be read, `StaleProfile` when its schema is old."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        body = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, YAMLError) as e:
        raise HwError(f"the profile {path} cannot be read ({e}); {AGAIN}") from e
    if not isinstance(body, dict):
        raise HwError(f"the profile {path} is no mapping; {AGAIN}")
    return GpuProfile.of_document(body)
