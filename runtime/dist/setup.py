"""What every process of a run works out alike from the job: plan, lowering of each role, whole values and who keeps them."""

from functools import cached_property

from graph.ir import Graph
from graph.optimizer import Sgd
from graph.parallel.plan import Do, Rank
from graph.parallel.strategies import STRATEGIES
from graph.parallel.unroll import unroll
from graph.passes.inference import inference_graph
from graph.tensor_type import TensorType
from hw.lowered import Lowered
from runtime.evaluate import lower_forward
from runtime.job import Job, build
from runtime.shards import Piece, keepers, whole_graph, whole_types

NUMERICS = ("word", "fraction", "rounding")
"""Parameters of strategies that say in which fixed-point words they compute."""


class Setup:
    """A job and what it comes to. Parts are made when they are first asked for, and kept.

    Parameters
    ----------
    job : what is run.

    Attributes
    ----------
    plan : who plays.
    lowered : role -> its calls and arena.

    Raises
    ------
    InvalidJob : see `runtime.job.build`.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.plan, self.lowered = build(job)

    @cached_property
    def graph(self) -> Graph | None:
        """The model's training graph on one rank; None when the job has no model."""
        return whole_graph(self.job)

    @cached_property
    def whole(self) -> dict[str, TensorType]:
        """Every parameter and state of the model, and its type; those that the forward pass reads, where nothing is trained."""
        return whole_types(self.graph if self.trains or self.graph is None else inference_graph(self.graph))

    @property
    def trains(self) -> bool:
        """Whether the job's strategy renews parameters."""
        return STRATEGIES[self.job.strategy].trains

    @cached_property
    def keepers(self) -> dict[str, dict[Rank, Piece]]:
        """See `runtime.shards.keepers`; raises `InvalidJob`."""
        return keepers(self.plan, self.whole)

    @property
    def evaluates(self) -> bool:
        """The accuracy is asked for, at the end or after a block."""
        return self.graph is not None and (self.job.evaluate or any(b.evaluate for b in self.job.blocks))

    @cached_property
    def forward(self) -> Lowered | None:
        """The forward pass that tells the accuracy; None when nobody asks for it."""
        if self.graph is None or not self.evaluates:
            return None
        numerics = {k: v for k, v in self.job.params.items() if k in NUMERICS}
        return lower_forward(self.graph, Sgd(**self.job.optimizer), self.job.platform, self.job.algorithms, numerics)

    def has_input(self, role: str) -> bool:
        """Whether ranks of a role take batches from an input stage."""
        return "input" in self.lowered[role].segments

    def part_of_step(self, rank: Rank) -> tuple[int, int, int]:
        """(number, parts, micro-batches): a rank takes this part of a step's samples, in so many micro-batches."""
        number, parts = self.plan.index(rank, self.plan.role[rank.role].sample_axes)
        actions = unroll(self.plan, self.plan.first_rank(rank.role))
        return number, parts, sum(isinstance(a.ins, Do) and a.ins.kernel == "input" for a in actions)
