"""Energy, modelled: a device draws its thermal design power while it works and a fraction of it while it waits.

This is an upper estimate for work that does not use all of a device (memory-bound kernels draw less than the design power), and
leaves out hosts, switches and cooling unless the system states a node's power.
"""

from graph.record import record
from hw.device import Device
from hw.errors import HwError
from hw.system import System


@record
class Energy:
    """Modelled joules, and what they rest on.

    Parameters
    ----------
    joules : the estimate.
    basis : in words, for reports.
    """

    joules: float
    basis: str


def joules(device: Device, busy_seconds: float, total_seconds: float) -> float:
    """Joules of one device that works for `busy_seconds` out of `total_seconds`.

    Raises `HwError` when the device has no stated power, or is busy for longer than the whole.
    """
    if not device.watts:
        raise HwError(f"device {device.name!r} has no stated power")
    if not 0 <= busy_seconds <= total_seconds * (1 + 1e-9):
        raise HwError(f"busy for {busy_seconds} s out of {total_seconds} s")
    idle = max(0.0, total_seconds - busy_seconds)
    return device.watts * (busy_seconds + device.idle_fraction * idle)


def energy(system: System, busy_seconds: float, total_seconds: float) -> Energy:
    """Joules of a system whose devices work for `busy_seconds` each, with the rest of its nodes where their power is stated."""
    devices = system.count * system.nodes * joules(system.device, busy_seconds, total_seconds)
    basis = f"modelled: {system.device.watts:g} W busy, {system.device.idle_fraction:.0%} of it idle, for each device"
    if system.watts is None:
        return Energy(joules=devices, basis=basis + "; hosts and switches left out")
    rest = max(0.0, system.watts - system.count * system.device.watts) * system.nodes
    return Energy(joules=devices + rest * total_seconds, basis=basis + f"; {rest:g} W for the rest of the nodes throughout")
