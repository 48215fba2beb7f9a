"""The keys of result documents that an expectation may name. SI units stand in the names."""

_TIMES = ("step_s", "compute_s", "comm_s", "exposed_comm_s")
_USED = ("mfu", "energy_j", "epoch_s", "kwh_per_epoch", "usd_per_epoch")
_PREDICTED = (
    *_TIMES,
    "waiting_s",
    "input_wait_s",
    "step_interval_s",
    "samples_per_s",
    "bytes_sent_total",
    "memory_peak_bytes",
    "flop_total",
    *_USED,
)
_MEASURED = ("step_s", "step_p10_s", "step_p90_s", "samples_per_s", "bytes_sent_total", "memory_peak_bytes", "accuracy", "loss")
_EMULATED = ("step_s", "samples_per_s", "memory_peak_bytes", "accuracy")
_ERRORS = ("step", "forward", "backward", "update", "allreduce")

KINDS = (
    "forward", "backward", "accumulate", "update", "allreduce", "reduce", "gather", "scatter", "push", "pull", "input", "waiting",
)  # fmt: skip
"""Kinds of actions that a step's time is split into."""

KEYS: frozenset[str] = frozenset(
    [f"predicted.{k}" for k in _PREDICTED]
    + [f"measured.{k}" for k in _MEASURED]
    + [f"emulated.{k}" for k in _EMULATED]
    + [f"{side}.kinds_s.{k}" for side in ("predicted", "measured", "emulated") for k in KINDS]
    + [f"error.{k}" for k in _ERRORS]
    + [f"model.{k}" for k in ("parameters", "forward_macs_per_sample", "activation_bytes_per_sample")]
    + ["accuracy", "loss"]
)
"""Every key that an expectation may name; a list item is named by its index at the end."""

LISTS = frozenset({"predicted.step_interval_s", *(f"{side}.memory_peak_bytes" for side in ("predicted", "measured", "emulated"))})
"""Those that hold lists."""


def without_index(key: str) -> str:
    """The key less a trailing index: ``predicted.memory_peak_bytes.0`` names an item of a list."""
    head, _, last = key.rpartition(".")
    return head if last.isdigit() else key
