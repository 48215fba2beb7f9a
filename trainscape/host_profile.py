"""This computer's calibration profile: is there one, and does it fit the processor and the kernels at hand?"""

from enum import StrEnum
from textwrap import shorten
from typing import TYPE_CHECKING

from graph.record import record
from hw.errors import HwError, StaleProfile
from trainscape.errors import MissingCapability

if TYPE_CHECKING:
    from hw.profile import Profile


class Status(StrEnum):
    """What state the profile is in."""

    PRESENT = "calibrated"
    STALE = "stale"
    MISSING = "not calibrated"


@record
class State:
    """The profile's state.

    Parameters
    ----------
    status : present, stale or missing.
    text : when and for what it was made, or what is wrong with it.
    profile : the profile, where it can be used.
    """

    status: Status
    text: str
    profile: "Profile | None" = None


def state() -> State:
    """Look at the profile."""
    from hw.profile import AGAIN, cpu_name, default_path, load_profile
    from runtime.kernels.build import source_hashes  # reads text, imports no compiler

    if not default_path().is_file():
        return State(status=Status.MISSING, text="run trainscape calibrate")
    try:
        profile = load_profile()
        profile.check(source_hashes(), cpu_name())
    except StaleProfile as e:
        return State(status=Status.STALE, text=in_a_line(e, AGAIN))
    except HwError as e:
        return State(status=Status.MISSING, text=str(e))
    return State(status=Status.PRESENT, text=f"{profile.created}, {profile.cores} cores of {profile.cpu}", profile=profile)


def in_a_line(why: StaleProfile, again: str, most: int = 160) -> str:
    """What is stale, as far as a line holds it, and in any case what to do."""
    text = str(why)
    return text if len(text) <= most else f"{shorten(text, most - len(again), placeholder=' ...')}; {again}"


def require() -> "Profile":
    """The profile; raises `MissingCapability` when there is none that can be used."""
    found = state()
    if found.profile is None:
        raise MissingCapability(found.text if found.status is Status.STALE else f"this computer is {found.status}: {found.text}")
    return found.profile
