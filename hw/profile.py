"""The calibration profile of a host: fitted coefficients of its kernels and of its shared-memory link, with provenance.

`trainscape calibrate` writes it to the user's data folder; predictions for system ``host`` read it. A profile that was made on
another processor, or for kernels whose source has changed since, is refused as stale.
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, ClassVar, TypeVar

from graph.record import record
from hw.errors import HwError, StaleProfile
from hw.link import CoreCopies, Rate

T = TypeVar("T")
SCHEMA = "trainscape.profile/1"
FILE_NAME = "host-profile.json"
AGAIN = "run `trainscape calibrate`"
SMALL, LARGE = 256 << 10, 1280 << 10  # bytes that a step touches: well within a second-level cache of 1 MiB, and beyond it


@record
class Coefficients:
    """One kernel with a number of cores busy.

    Parameters
    ----------
    seconds_per : term -> seconds for one of it, in a step that touches `LARGE` bytes or more.
    small : factor on all of them in a step that touches `SMALL` bytes or less, which stay in the core's own caches.
    residuals : fitted / measured - 1, one for each measured size.
    unseen : likewise, but each size priced by a fit that has not seen it: what to expect of sizes that were not measured.
    """

    seconds_per: Mapping[str, float]
    small: float = 1.0
    residuals: tuple[float, ...] = ()
    unseen: tuple[float, ...] = ()
    caches: ClassVar[tuple[int, int]] = SMALL, LARGE

    def of_step(self, nbytes: int | None) -> dict[str, float]:
        """Term -> seconds for one of it, in a step that touches so many bytes; None: many. Between the two, by its logarithm."""
        few, many = self.caches
        reach = 1.0 if nbytes is None else math.log(max(nbytes, 1) / few) / math.log(many / few)
        large = min(max(reach, 0.0), 1.0)
        factor = large + (1 - large) * self.small
        return {t: factor * s for t, s in self.seconds_per.items()}

    @property
    def spread(self) -> float:
        """Relative standard deviation to expect of a size that was not measured: 68 % of the errors keep within it.

        It is not their root mean square, which a few calls of some nanoseconds would rule.
        """
        errors = sorted(map(abs, self.unseen or self.residuals))
        return errors[min(math.ceil(0.68 * len(errors)), len(errors)) - 1] if errors else 0.0

    @property
    def rms(self) -> float:
        """Root mean square of the residuals."""
        return math.sqrt(sum(r * r for r in self.residuals) / len(self.residuals)) if self.residuals else 0.0


@record
class KernelFit:
    """A kernel: which source was measured, and its coefficients by number of busy cores."""

    source_hash: str
    busy: Mapping[int, Coefficients]

    def at(self, busy: int) -> Coefficients:
        """Coefficients with so many cores busy: the most that was measured, when it asks for more."""
        return self.busy[max((b for b in self.busy if b <= busy), default=min(self.busy))]


@record
class LinkFit:
    """The shared-memory link: what sending and receiving take of the cores, and how long a message is under way."""

    send_overhead_s: float
    send_bytes_per_s: float
    recv_copy_overhead_s: float
    recv_copy_bytes_per_s: float
    recv_add_overhead_s: float
    recv_add_bytes_per_s: float
    latency_s: float
    residuals: tuple[float, ...] = ()

    @property
    def copies(self) -> CoreCopies:
        """As a core-driven link has it."""
        return CoreCopies(
            send=Rate(overhead_seconds=self.send_overhead_s, bytes_per_second=self.send_bytes_per_s),
            receive=Rate(overhead_seconds=self.recv_copy_overhead_s, bytes_per_second=self.recv_copy_bytes_per_s),
            receive_add=Rate(overhead_seconds=self.recv_add_overhead_s, bytes_per_second=self.recv_add_bytes_per_s),
        )


@record
class Probes:
    """Seconds of the reference loops that tell whether the machine is as fast as it was.

    Parameters
    ----------
    arith_s : arithmetic in registers.
    copy_s : copies in a core's cache.
    meeting_s : the way of a word from core to core and back; 0.0 with one core busy.
    """

    arith_s: float
    copy_s: float
    meeting_s: float = 0.0


@record
class Row:
    """One measured size, for the plot of residuals."""

    kernel: str
    busy: int
    what: str
    measured_s: float
    fitted_s: float


@record
class Profile:
    """Everything that calibration found.

    Parameters
    ----------
    created : ISO 8601 time.
    cpu : name of the processor.
    cores : how many the host has.
    memory_nbytes : of the host.
    memory_bytes_per_s : busy cores -> copy bandwidth of each.
    versions : package -> version, also ``"python"`` and ``"trainscape"``.
    kernels : record name -> fit.
    link : shared memory.
    probes : cores busy -> the probes; runs of so many workers must agree with these.
    step_overhead_s : of a step beyond its actions.
    action_overhead_s : of an action beyond its kernels.
    repeat : relative standard deviation of one kernel's time from one moment to another: what no model of kernels can know.
    rows : what was measured.
    """

    created: str
    cpu: str
    cores: int
    memory_nbytes: int
    memory_bytes_per_s: Mapping[int, float]
    versions: Mapping[str, str] = field(default_factory=dict)
    kernels: Mapping[str, KernelFit]
    link: LinkFit
    probes: Mapping[int, Probes]
    step_overhead_s: float = 0.0
    action_overhead_s: float = 0.0
    repeat: float = 0.0
    rows: tuple[Row, ...] = ()

    @property
    def again(self) -> str:
        """What to do where it does not serve."""
        return AGAIN

    def check(self, source_hashes: Mapping[str, str], cpu: str | None = None) -> None:
        """Raise `StaleProfile` unless the profile was made on this processor and for these sources.

        Parameters
        ----------
        source_hashes : record name -> hash of the source at hand; kernels that it does not name are not looked at.
        cpu : name of the processor at hand; None: not looked at.
        """
        if cpu is not None and cpu != self.cpu:
            raise StaleProfile(f"the profile is of {self.cpu!r}, but this is {cpu!r}; {AGAIN}")
        changed = sorted(k for k, h in source_hashes.items() if k in self.kernels and self.kernels[k].source_hash != h)
        missing = sorted(k for k in source_hashes if k not in self.kernels)
        if changed or missing:
            both = (("changed since", changed), ("not in it", missing))
            parts = [f"{', '.join(names)} {what}" for what, names in both if names]
            raise StaleProfile(f"the profile of {self.created} is stale: {'; '.join(parts)}; {AGAIN}")

    def to_json(self) -> dict[str, Any]:
        """A plain document; numbers in SI units, named by the suffix of their keys."""
        body = {"schema": SCHEMA, **asdict(self)}
        body["memory_bytes_per_s"] = {str(k): v for k, v in self.memory_bytes_per_s.items()}
        body["probes"] = {str(k): v for k, v in body["probes"].items()}
        for fit in body["kernels"].values():
            fit["busy"] = {str(k): v for k, v in fit["busy"].items()}
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Profile":
        """The inverse of `to_json`; raises `StaleProfile` on another schema and `HwError` on a broken document."""
        if body.get("schema") != SCHEMA:
            raise StaleProfile(f"the profile has schema {body.get('schema')!r}, not {SCHEMA!r}; {AGAIN}")
        try:
            return cls(
                **{k: _typed(k, body[k], kind) for k, kind in _PLAIN.items()},
                versions=dict(body["versions"]),
                memory_bytes_per_s=_levels("memory_bytes_per_s", body["memory_bytes_per_s"], _rate),
                kernels={name: _kernel_fit(fit) for name, fit in body["kernels"].items()},
                link=read_link(body["link"]),
                probes=_levels("probes", body["probes"], _probes),
                rows=tuple(Row(**r) for r in body["rows"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise HwError(f"the profile is broken ({type(e).__name__}: {e}); {AGAIN}") from e


_PLAIN: Mapping[str, type] = {
    "created": str, "cpu": str, "cores": int, "memory_nbytes": int,
    "step_overhead_s": float, "action_overhead_s": float, "repeat": float,
}  # fmt: skip


def _typed(what: str, value: Any, kind: type) -> Any:
    """A value of the document if it is of this kind and, where it is a number, finite and not negative."""
    is_right = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
    if not is_right or (kind is not str and not 0 <= value < math.inf):
        raise ValueError(f"{what} cannot be {value!r}")
    return value


def _rate(value: Any) -> float:
    """A number above 0."""
    if _typed("a rate or a time", value, float) == 0:
        raise ValueError("a rate or a time cannot be 0")
    return float(value)


def _levels(what: str, found: Mapping[str, Any], read: Callable[[Any], T]) -> dict[int, T]:
    """Busy cores -> value; there is at least one."""
    if not found:
        raise ValueError(f"{what} is empty")
    return {int(k): read(v) for k, v in found.items()}


def _probes(found: Mapping[str, Any]) -> Probes:
    meeting = float(_typed("meeting_s", found["meeting_s"], float))  # 0 with one core busy
    return Probes(arith_s=_rate(found["arith_s"]), copy_s=_rate(found["copy_s"]), meeting_s=meeting)


def read_link(found: Mapping[str, Any]) -> LinkFit:
    """A link as a profile's file has it; raises `ValueError` for what cannot be."""
    numbers = {k: _rate(v) if k.endswith("_bytes_per_s") else _typed(k, v, float) for k, v in found.items() if k != "residuals"}
    return LinkFit(**numbers, residuals=tuple(found["residuals"]))


def _coefficients(found: Mapping[str, Any]) -> Coefficients:
    per = {term: _typed(f"seconds per {term}", v, float) for term, v in found["seconds_per"].items()}
    residuals, unseen = (tuple(_finite(r) for r in found[k]) for k in ("residuals", "unseen"))
    return Coefficients(seconds_per=per, small=_rate(found["small"]), residuals=residuals, unseen=unseen)


def _finite(value: Any) -> float:
    if not math.isfinite(value):
        raise ValueError(f"a residual cannot be {value!r}")
    return float(value)


def _kernel_fit(fit: Mapping[str, Any]) -> KernelFit:
    busy = _levels("a kernel", fit["busy"], _coefficients)
    return KernelFit(source_hash=_typed("source_hash", fit["source_hash"], str), busy=busy)


def default_path() -> Path:
    """Where the profile of this user lies."""
    from platformdirs import user_data_dir

    return Path(user_data_dir("trainscape", appauthor=False)) / FILE_NAME


def save_profile(profile: Profile, path: Path | None = None) -> Path:
    """Write a profile; whoever reads meanwhile sees the old one or the new one, never a half. Returns where it lies."""
    path = path or default_path()
    write_whole(path, json.dumps(profile.to_json(), indent=1, allow_nan=False) + "\n")
    return path


def write_whole(path: Path, text: str) -> None:
    """Write a file; whoever reads it meanwhile sees the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=path.parent, prefix=path.name, suffix=".tmp", delete=False, encoding="utf-8") as f:
        try:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
            Path(f.name).replace(path)
        except BaseException:
            Path(f.name).unlink(missing_ok=True)
            raise


def load_profile(path: Path | None = None) -> Profile:
    """Read a profile; raises `HwError` when there is none or it cannot be read, `StaleProfile` when its schema is old."""
    path = path or default_path()
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HwError(f"this host has not been calibrated: no {path}; {AGAIN}") from None
    except (OSError, ValueError) as e:
        raise HwError(f"the profile {path} cannot be read ({e}); {AGAIN}") from e
    if not isinstance(body, dict):
        raise HwError(f"the profile {path} is no JSON object; {AGAIN}")
    return Profile.from_json(body)


def cpu_name() -> str:
    """Name of this host's processor."""
    import platform

    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"
