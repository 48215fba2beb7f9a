"""This computer as a system: cores that share a memory, or its GPU, priced by what calibration measured."""

from hw.device import Device, Engines
from hw.errors import DoesNotFit, HwError
from hw.gpu_profile import GpuProfile
from hw.kernels.record import Platform
from hw.link import DrivenBy, Link
from hw.profile import Profile
from hw.system import Host, System, Wire

HOST = "host"
AHEAD = 1 << 20  # actions that a core knows of: the executor plays a table of the whole step, nobody has to issue anything


def host_system(profile: Profile, cores: int) -> System:
    """System ``host``: `cores` single-core devices around one memory, joined by a link that the cores drive themselves.

    Parameters
    ----------
    profile : of this host.
    cores : how many devices.

    Raises
    ------
    DoesNotFit
        The host has fewer cores: workers would take turns, and nothing measured tells how.
    """
    if cores < 1:
        raise HwError(f"a host system needs at least one core, got {cores}")
    if cores > profile.cores:
        raise DoesNotFit(f"{cores} single-core devices are asked for, but this host has {profile.cores} cores")
    core = _core(profile, profile.memory_nbytes // cores)
    rate = core.memory_bytes_per_second
    memory = Link(
        name="shared-memory",
        title="shared memory of this host",
        kind="memory",
        bytes_per_second=rate,
        latency_seconds=profile.link.latency_s,
        driven_by=DrivenBy.CORE,
        copies=profile.link.copies,
    )
    return System(
        name=HOST,
        title=f"this host: {cores} of {profile.cores} cores of {profile.cpu}",
        device=core,
        count=cores,
        wires=tuple(Wire(a=f"core{i}", b="memory", link=memory) for i in range(cores)),
        host=Host(cores=profile.cores, memory_nbytes=profile.memory_nbytes, title=profile.cpu),
    )


def _core(profile: Profile, memory_nbytes: int) -> Device:
    return Device(
        name="host-core",
        title=f"one core of {profile.cpu}",
        platform=Platform.CPU,
        engines=Engines.SHARED,
        peak={},
        memory_nbytes=memory_nbytes,
        memory_bytes_per_second=profile.memory_bytes_per_s[max(profile.memory_bytes_per_s)],
        launch_depth=AHEAD,
    )


def host_gpu_system(profile: GpuProfile, ranks: int, around: Profile | None = None) -> System:
    """System ``host`` on its GPU: all ranks take turns on one device, and send each other letters through the host's memory.

    Parameters
    ----------
    profile : of the GPU.
    ranks : that share it. One alone has its steps captured, and no host in the way; of several the host puts every kernel on it.
    around : of the cores beside it, where ranks stand on them; each has one of its own.
    """
    gpu = Device(
        name=f"host-{profile.name}",
        title=f"{profile.gpu} of this computer",
        platform=Platform.CUDA,
        engines=Engines.SEPARATE,
        peak={},
        memory_nbytes=profile.memory_nbytes,
        memory_bytes_per_second=profile.memory_bytes_per_s,
        cores=max(profile.multiprocessors, 1),
        issue_seconds=profile.launch_s if ranks > 1 else 0.0,
        launch_depth=AHEAD,
    )
    letters = Link(
        name="host-memory",
        title="letters through this host's memory",
        kind="memory",
        bytes_per_second=profile.link.send_bytes_per_s,
        latency_seconds=profile.link.latency_s,
        driven_by=DrivenBy.CORE,
        copies=profile.link.copies,
    )
    host = None
    if around is not None:
        nbytes = around.memory_nbytes
        host = Host(
            cores=around.cores, memory_nbytes=nbytes, title=around.cpu, device=_core(around, nbytes), at=("memory",)
        )  # fmt: skip
    return System(
        name=HOST,
        title=f"this host: {profile.gpu}",
        host=host,
        device=gpu,
        count=1,
        wires=(Wire(a="gpu0", b="memory", link=letters),),
    )
