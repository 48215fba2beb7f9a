"""Which part of a step is a rank's: its rows of an exchange, the numbers of its samples. The same on every device."""

from graph.ops.exchange import WHOLE, half, rounds_of
from graph.parallel.plan import Do, Plan, Rank
from graph.parallel.shard import GATHERED_SAMPLE
from hw.kernels.record import Call
from hw.lowered import MICRO_BATCH
from runtime.errors import InvalidJob
from runtime.table import Table

_EXCHANGES = ("gather_rows", "scatter_rows")


def is_exchange(call: Call) -> bool:
    """Whether a call is the local half of an exchange of rows."""
    return call.kernel.split(".")[1] in _EXCHANGES


def rows_moved(plan: Plan, rank: Rank, do: Do, call: Call) -> tuple[int, int] | None:
    """(bytes before the first row that is read, before the first that is written) of a rank's half of an exchange.

    None: it is not this rank's turn. Raises `InvalidJob` where the exchange is between other numbers of ranks.
    """
    scheme, ranks = str(call.attrs["scheme"]), call.attrs["ranks"]
    i, n = plan.index(rank, tuple(plan.role[rank.role].axes))
    if n != ranks:
        raise InvalidJob(f"{rank} is one of {n} ranks, {call.nodes[0]!r} is an exchange between {ranks}")
    is_gather, given = call.kernel.split(".")[1] == "gather_rows", call.types[0]
    rows = given.shape[0] // n if not is_gather and scheme == WHOLE else given.shape[0]
    found = half(scheme, n, rows, i, do.id[MICRO_BATCH] % rounds_of(scheme, n))
    if found is None:
        return None
    width = given.nbytes // given.shape[0]
    mine, gathered = found.mine * width, found.gathered * width
    return (mine, gathered) if is_gather else (gathered, mine)


def first_samples(table: Table, batch: int) -> dict[str, list[int]]:
    """The number of the first sample within the step, of each micro-batch (a rank's own samples) and of each round of one
    (those of all ranks together): the same in however many workers a step is cut. `batch` is that of a step over all ranks.
    """
    plan, rank = table.plan, table.rank
    i, n = plan.index(rank, plan.role[rank.role].sample_axes)
    ids = [a.id for a in table.leaves if isinstance(a.ins, Do)]
    count = 1 + max((id[MICRO_BATCH] for id in ids if len(id) > MICRO_BATCH), default=0)
    rounds = count // (table.inputs or count)  # of a micro-batch
    own = batch * rounds // (n * count)  # samples of a micro-batch of this rank
    return {
        "sample": [(i * count // rounds + k // rounds) * own for k in range(count)],
        GATHERED_SAMPLE: [k * (batch // count) for k in range(count)],
    }
