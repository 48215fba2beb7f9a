"""From a scenario to everything that is played: model graph, training graph, plan, lowering, system and its model.

Both engines are given what is built here, and nothing else: so what is predicted is what is run.
"""

from collections.abc import Mapping
from functools import cached_property

from graph.errors import GraphError, InvalidPlan
from graph.ir import Graph
from graph.optimizer import Sgd
from graph.parallel.plan import Plan, Role
from graph.parallel.strategies import STRATEGIES
from graph.passes.join_layers import join_layers
from hw.catalogue import host_gpu_system, host_system
from hw.cost import cost_model
from hw.errors import DoesNotFit, StaleProfile
from hw.gpu_profile import AnyProfile, GpuProfile
from hw.input_stage import InputStage
from hw.kernels import KERNELS, chosen
from hw.kernels.record import Platform
from hw.lower import lower
from hw.lowered import Lowered
from hw.model import GPU_PAGE, PAGE, Overheads, PlacedModel
from hw.place import platform_here, role_device
from hw.profile import Profile
from hw.stack import Stack
from hw.system import System
from trainscape import gpu_profile, host_profile
from trainscape.algorithms import kept_f32, taken
from trainscape.errors import MissingCapability
from trainscape.fit import advice
from trainscape.numerics import numerics
from trainscape.scenario import RunsOn, Scenario
from trainscape.strategies import SPREAD, options
from trainscape.systems import HOST, catalogue_system, nodes_used
from trainscape.zoo_graph import model_graph

PREFETCH = 2  # batches made ready ahead, where a scenario with an input stage does not say


class Built:
    """What a scenario comes to. Parts are made when they are first asked for, and kept.

    Parameters
    ----------
    scenario : what was asked for.
    profile : of this host or, on its GPU, of that; by default the one that `trainscape calibrate` wrote, read when system is
        ``host``.
    system : devices and links; by default those that the scenario names.
    stack : the software stack whose time and memory are added (`hw.stack`); None: kernels and links alone.
    advise : when it cannot be, look for the nearest that can, and say so.
    joined : layers are joined until their parameters hold so many bytes (`graph.passes.join_layers`): fewer actions to play.
        0: they are not.
    like : another with the same model, parallel and run section, and a system of the same platforms: its plan and lowering are
        taken.

    Raises
    ------
    DoesNotFit : the model, plan or system cannot be: more ranks than devices, a depth that the image does not allow.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        profile: AnyProfile | None = None,
        system: System | None = None,
        stack: Stack | None = None,
        advise: bool = True,
        joined: int = 0,
        like: "Built | None" = None,
    ) -> None:
        self.scenario, self.advise, self.stack = scenario, advise, stack
        self._profile, self._system, self._joined, self._like = profile, system, joined, like

    @cached_property
    def model_graph(self) -> Graph:
        """Forward and loss of one micro-batch of one rank, before a strategy cuts it."""
        try:
            graph = model_graph(self.scenario.model, batch=self.scenario.micro_batch, seed=self.scenario.seed)
        except GraphError as e:
            raise DoesNotFit(str(e)) from e
        return join_layers(graph, self._joined) if self._joined else graph

    @property
    def optimizer(self) -> Sgd:
        """What makes the steps."""
        r = self.scenario.run
        return Sgd(learning_rate=r.learning_rate, momentum=r.momentum, weight_decay=r.weight_decay)

    @property
    def strategy_options(self) -> dict[str, int | str]:
        """Options of the strategy, plain, as a job carries them."""
        found = {**options(self.scenario.parallel), "steps": self.scenario.run.steps}
        if self.scenario.parallel.strategy in SPREAD and (nodes := nodes_used(self.scenario)) > 1:
            found["nodes"] = nodes
        if (fixed := numerics(self.scenario, None if self.is_host else self.system)) is not None:
            found |= fixed.options
        if self.scenario.is_resident:
            found["resident"] = True
        return found

    @property
    def differs(self) -> str:
        """Why training is not equal to that of one worker with the same batch; empty where it is, or where nothing is trained."""
        strategy = STRATEGIES[self.scenario.parallel.strategy]
        return strategy.differs(self.model_graph, self.strategy_options) if strategy.trains else ""

    @cached_property
    def plan(self) -> Plan:
        """Who computes, sends and waits."""
        if self._like is not None:
            return self._like.plan
        try:
            return STRATEGIES[self.scenario.parallel.strategy].build(self.model_graph, self.optimizer, **self.strategy_options)
        except InvalidPlan as e:
            raise DoesNotFit(f"{e}{advice(self.scenario) if self.advise else ''}") from e

    @cached_property
    def lowered(self) -> Mapping[str, Lowered]:
        """Role -> kernel calls and arena, for the platform of what its ranks stand on."""
        if self._like is not None:
            return self._like.lowered
        return {r.name: self._lowered(r) for r in self.plan.roles}

    def _lowered(self, role: Role) -> Lowered:
        platform = self.platform_of(role)
        return lower(self.plan, role.name, platform, algorithms=chosen(self.scenario.system.algorithm, platform))

    @cached_property
    def algorithms(self) -> Mapping[str, str]:
        """Operator -> algorithm, of those that the scenario asks for and the plan has; empty where it asks for none."""
        return {} if self.scenario.system.algorithm is None else taken(self.scenario.system.algorithm, self.lowered.values())

    @cached_property
    def kept_f32(self) -> Mapping[str, str]:
        """Layer -> why it computes in f32 in spite of its algorithm, on this computer; a catalogue's GPU is priced as asked."""
        return kept_f32(self.lowered.values()) if self.is_host and self.algorithms else {}

    @cached_property
    def arithmetic(self) -> tuple[str, ...]:
        """Formats that the kernels round to before they multiply (`hw.kernels.record.KernelRecord.arithmetic`)."""
        found = (KERNELS[c.kernel].arithmetic for low in self.lowered.values() for c in low.calls)
        return tuple(dict.fromkeys(f for f in found if f))

    @property
    def is_host(self) -> bool:
        """It runs on this computer."""
        return self.scenario.system.name == HOST

    @property
    def is_emulated(self) -> bool:
        """All of its ranks stand on devices that this computer emulates: values real, time by the instruction."""
        return not self.is_host and all(role_device(self.system, r).nfu is not None for r in self.plan.roles)

    @property
    def platform(self) -> Platform:
        """Whose kernels, on the system's devices."""
        return self._here if self.is_host else self.system.device.platform

    @property
    def is_gpu(self) -> bool:
        """It runs on this computer's GPU."""
        return self.is_host and self.scenario.system.platform is RunsOn.CUDA

    @property
    def _here(self) -> Platform:
        return Platform.CUDA if self.is_gpu else Platform.CPU

    def platform_of(self, role: Role) -> Platform:
        """Whose kernels a role runs: those of the devices, or of the hosts around them."""
        return platform_here(role, self._here) if self.is_host else role_device(self.system, role).platform

    @cached_property
    def profile(self) -> AnyProfile | None:
        """The calibration profile, on this computer; raises `MissingCapability` when there is none that fits."""
        if not self.is_host:
            return None
        return self._profile or (gpu_profile if self.is_gpu else host_profile).require()

    @cached_property
    def gpu(self) -> tuple[str, int]:
        """Name and memory of this computer's GPU, calibrated or not; raises `MissingCapability`: there is none."""
        if isinstance(self._profile, GpuProfile):
            return self._profile.gpu, self._profile.memory_nbytes
        from runtime.cuda.driver import require_gpu

        found = require_gpu()
        return found.name, found.memory_nbytes

    @cached_property
    def system(self) -> System:
        """Devices and links. Of this computer as many cores as there are ranks, or all: then ranks take turns."""
        if self._system is not None:
            return self._system
        if self.profile is None:
            return catalogue_system(self.scenario.system)
        if isinstance(self.profile, GpuProfile):
            return host_gpu_system(self.profile, len(self.plan.ranks), self._around)
        return host_system(self.profile, self.scenario.system.devices or min(len(self.plan.ranks), self.profile.cores))

    @cached_property
    def _around(self) -> Profile | None:
        """The profile of the cores beside the GPU, where ranks stand on them; raises `StaleProfile`: none serves."""
        if not self.is_gpu or all(self.platform_of(r) is self.platform for r in self.plan.roles):
            return None
        try:
            return host_profile.require()
        except MissingCapability as e:  # it is of these ranks alone, and other strategies have none of them
            raise StaleProfile(f"ranks on cores beside the GPU are priced by the calibration of those: {e}") from e

    @property
    def input_stage(self) -> InputStage:
        """How batches come; at hand, unless the scenario says what storage or decoding they come from."""
        data = self.scenario.data
        if data.storage is None and data.decode is None:
            return InputStage()
        image = self.scenario.model.input
        host = self.system.host
        decode = data.decode or 0.0
        if self.stack is not None and self.stack.decode_seconds is not None and decode:
            decode = self.stack.decode_seconds
        return InputStage(
            storage_bytes_per_second=data.storage,
            sample_nbytes=data.sample or image[0] * image[1] * image[2],
            decode_seconds=decode,
            cores=host.cores if host else 1,
            depth=data.prefetch or PREFETCH,
        )

    @cached_property
    def placed(self) -> PlacedModel:
        """The plan on the system: what the simulator asks."""
        profile = self.profile
        overheads = Overheads(action=profile.action_overhead_s, step=profile.step_overhead_s) if profile else Overheads()
        beyond = PAGE if self.is_host and not self.is_gpu else 0  # a worker's stack grows by a page while it trains
        return PlacedModel(
            system=self.system,
            plan=self.plan,
            lowered=self.lowered,
            cost=lambda device: cost_model(device, profile if device.platform is self.platform else self._around),
            overheads=overheads,
            memory_beyond_arena=beyond,
            page=GPU_PAGE if self.is_gpu else PAGE,
            input_waits=self.is_gpu,
            input_stage=self.input_stage,
            oversubscribed=self.is_host,
            stack=self.stack,
        )
