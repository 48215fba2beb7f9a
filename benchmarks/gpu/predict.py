"""Steps predicted from the profile, written down before any of them is measured."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

from benchmarks.gpu.context import Context
from benchmarks.gpu.nets import BUCKET, DECAY, MOMENTUM, RATE, Case, f32_cases
from hw.gpu_profile import GpuProfile, load_gpu_profile
from trainscape.build import Built
from trainscape.load import load_text
from trainscape.predict import predict

TEXT = """
name: step
model: {model}
system: {{name: host, platform: cuda}}
parallel: {{strategy: data, ranks: 1, bucket: {bucket} B}}
run: {{data: synthetic, learning_rate: {rate}, momentum: {momentum}, weight_decay: {decay}}}
"""


def built(case: Case, profile: GpuProfile | None) -> Built:
    """The scenario of a training of this net on the GPU of this computer."""
    options = {("input" if k == "image" else k): x for k, x in case.options.items()}
    model = json.dumps({"name": case.net, "batch": case.batch, **options})
    text = TEXT.format(model=model, bucket=BUCKET, rate=f"{RATE:f}", momentum=MOMENTUM, decay=f"{DECAY:f}")
    return Built(load_text(text).scenario, profile=profile)


@lru_cache(maxsize=1)
def _profile(c: Context) -> GpuProfile:
    found = c.found("calibrate").get("profile")
    if found is None:
        raise FileNotFoundError("there is no profile: the section 'calibrate' has made none in this run")
    return load_gpu_profile(c.out / found["file"])


def items(c: Context) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
    for case in f32_cases(c.simulated):
        yield str(case), partial(predicted, c, case)


def predicted(c: Context, case: Case) -> Mapping[str, Any]:
    """One step."""
    numbers = predict(built(case, _profile(c))).numbers()
    return {
        "step_s": numbers["step_s"], "interval_s": numbers["step_interval_s"], "memory_bytes": numbers["memory_peak_bytes"][0],
        "plan_hash": numbers["plan_hash"], "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }  # fmt: skip
