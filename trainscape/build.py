"""From a scenario to everything that is played: model graph, training graph, plan, lowering, system and its model.

Both engines are given what is built here, and nothing else: so what is predicted is what is run.
"""

from collections.abc import Mapping
from functools import cached_property

from graph.errors import GraphError, InvalidPlan
from graph.ir import Graph
from graph.optimizer import Sgd
from graph.parallel.plan import Plan
from graph.parallel.strategies import STRATEGIES
from hw.catalogue import HOST, host_system
from hw.catalogue import system as catalogue_system
from hw.cost import cost_model
from hw.errors import DoesNotFit
from hw.kernels.record import Platform
from hw.lower import lower
from hw.lowered import Lowered
from hw.model import PAGE, Overheads, PlacedModel
from hw.profile import Profile
from hw.system import System
from trainscape import host_profile
from trainscape.cross_check import devices
from trainscape.scenario import Scenario
from trainscape.zoo_graph import model_graph


class Built:
    """What a scenario comes to. Parts are made when they are first asked for, and kept.

    Parameters
    ----------
    scenario : what was asked for.
    profile : of this host; by default the one that `trainscape calibrate` wrote, read when system is ``host``.

    Raises
    ------
    DoesNotFit : the model, plan or system cannot be: more ranks than devices, a depth that the image does not allow.
    """

    def __init__(self, scenario: Scenario, *, profile: Profile | None = None) -> None:
        self.scenario = scenario
        self._profile = profile

    @cached_property
    def model_graph(self) -> Graph:
        """Forward and loss of one micro-batch of one rank, before a strategy cuts it."""
        try:
            return model_graph(self.scenario.model, batch=self.scenario.micro_batch, seed=self.scenario.seed)
        except GraphError as e:
            raise DoesNotFit(str(e)) from e

    @property
    def optimizer(self) -> Sgd:
        """What makes the steps."""
        r = self.scenario.run
        return Sgd(learning_rate=r.learning_rate, momentum=r.momentum, weight_decay=r.weight_decay)

    @property
    def strategy_options(self) -> dict[str, int | str]:
        """Options of the strategy, plain, as a job carries them."""
        p = self.scenario.parallel
        return {
            "ranks": p.ranks,
            "steps": self.scenario.run.steps,
            "bucket_bytes": p.bucket,
            "micro_batches": p.micro_batches,
            "collective": p.collective,
        }

    @cached_property
    def plan(self) -> Plan:
        """Who computes, sends and waits."""
        try:
            return STRATEGIES[self.scenario.parallel.strategy].build(self.model_graph, self.optimizer, **self.strategy_options)
        except InvalidPlan as e:
            raise DoesNotFit(str(e)) from e

    @cached_property
    def lowered(self) -> Mapping[str, Lowered]:
        """Role -> kernel calls and arena."""
        return {r.name: lower(self.plan, r.name, self.platform) for r in self.plan.roles}

    @property
    def is_host(self) -> bool:
        """It runs on this computer."""
        return self.scenario.system.name == HOST

    @property
    def platform(self) -> Platform:
        """Whose kernels."""
        return Platform.CPU if self.is_host else self.system.device.platform

    @cached_property
    def profile(self) -> Profile | None:
        """The calibration profile, on the host; raises `MissingCapability` when there is none that fits."""
        return (self._profile or host_profile.require()) if self.is_host else None

    @cached_property
    def system(self) -> System:
        """Devices and links."""
        if self.profile is None:
            return catalogue_system(self.scenario.system.name)
        return host_system(self.profile, devices(self.scenario))

    @cached_property
    def placed(self) -> PlacedModel:
        """The plan on the system: what the simulator asks."""
        profile = self.profile
        overheads = Overheads(action=profile.action_overhead_s, step=profile.step_overhead_s) if profile else Overheads()
        beyond = PAGE if self.is_host else 0  # a worker's stack grows by a page while it trains
        return PlacedModel(
            system=self.system,
            plan=self.plan,
            lowered=self.lowered,
            cost=cost_model(self.system.device, profile),
            overheads=overheads,
            memory_beyond_arena=beyond,
        )
