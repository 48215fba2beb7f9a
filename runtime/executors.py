"""The executor for what a plan was lowered to: of this process's core, or of this computer's GPU. They answer alike."""

from typing import TYPE_CHECKING, Any

from graph.parallel.plan import Rank
from hw.kernels.record import Platform
from hw.lowered import Lowered
from runtime.executor import Executor

if TYPE_CHECKING:
    from runtime.cuda.executor import GpuExecutor

    AnyExecutor = Executor | GpuExecutor
else:
    AnyExecutor = Any


def executor_of(lowered: Lowered, rank: Rank, *, is_careful: bool = False, **options: Any) -> AnyExecutor:
    """An executor of a rank.

    Parameters
    ----------
    lowered, rank : what to run, and as whom.
    is_careful : on a GPU, wait after every action, so that what fails is known.
    options : as of `Executor`.

    Raises
    ------
    MissingCapability : a GPU is asked for, and there is none.
    """
    if lowered.platform is not Platform.CUDA:
        return Executor(lowered, rank, **options)
    from runtime.cuda.executor import GpuExecutor

    return GpuExecutor(lowered, rank, is_careful=is_careful, **options)
