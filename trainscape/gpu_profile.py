"""The calibration profile of this computer's GPU: is there one, and does it fit the kernels at hand?"""

from typing import TYPE_CHECKING

from graph.record import record
from hw.errors import HwError, StaleProfile
from trainscape.errors import MissingCapability
from trainscape.host_profile import Status, in_a_line

if TYPE_CHECKING:
    from pathlib import Path

    from hw.gpu_profile import GpuProfile


@record
class GpuState:
    """The profile's state.

    Parameters
    ----------
    gpu : name of the GPU.
    status : present, stale or missing.
    text : when it was made, or what is wrong with it.
    profile : the profile, where it can be used.
    """

    gpu: str
    status: Status
    text: str
    profile: "GpuProfile | None" = None


def state() -> GpuState:
    """Look at the profile; raises `MissingCapability` when there is no GPU."""
    from hw.gpu_profile import AGAIN, find_gpu_profile, load_gpu_profile
    from runtime.cuda.driver import require_gpu
    from runtime.cuda.hashes import source_hashes

    gpu = require_gpu().name
    path = find_gpu_profile(gpu)
    if path is None:
        return GpuState(gpu=gpu, status=Status.MISSING, text=AGAIN)
    try:
        profile = load_gpu_profile(path)
        profile.check(source_hashes())
    except StaleProfile as e:
        return GpuState(gpu=gpu, status=Status.STALE, text=in_a_line(e, AGAIN))
    except HwError as e:
        return GpuState(gpu=gpu, status=Status.MISSING, text=str(e))
    text = ", driver ".join(filter(None, (profile.created, profile.driver)))  # a simulator has none
    return GpuState(gpu=gpu, status=Status.PRESENT, text=text, profile=profile)


def require() -> "GpuProfile":
    """The profile; raises `MissingCapability` when there is no GPU, or no profile of it that can be used."""
    found = state()
    if found.profile is None:
        what = f"the GPU of this computer, {found.gpu}, is {found.status}: {found.text}"
        raise MissingCapability(found.text if found.status is Status.STALE else what)
    return found.profile


def place_of(gpu: str) -> "Path":
    """Where calibration writes the profile of a GPU: the catalogue of a checkout, or the user's data folder.

    What a simulator takes is no fact about any GPU, so its profile is never the catalogue's.
    """
    from hw.gpu_profile import CATALOGUE, places
    from runtime.cuda.driver import SIMULATOR

    own, catalogue = places(gpu)
    is_checkout = (CATALOGUE.parents[2] / "pyproject.toml").is_file()
    return catalogue if is_checkout and gpu != SIMULATOR else own
