"""Who sends what to which parameter server: axes of workers and servers, and the shares that they exchange.

Everything is relative, or the same for all, so like ranks can be folded: with as many nodes of servers as of workers each counts
nodes from its own.
"""

from graph.errors import InvalidPlan
from graph.parallel.instruction import Coordinate, Peer
from graph.parallel.programs.synchronous_server import Share
from graph.record import record


@record
class Layout:
    """Workers and servers.

    Parameters
    ----------
    workers, servers : axes; no axes of servers: the workers serve.
    pieces : what a bucket's size is a multiple of.
    cut : parts into which parameters, gradients and state are cut over those who serve.
    summed : axes of the workers over which buckets are cut before anybody serves; ``()``: none.
    is_turned : of the workers, see `graph.parallel.plan.Role`.
    of_worker, of_server : shares of each, see `graph.parallel.programs.synchronous_server`.
    """

    workers: dict[str, int]
    servers: dict[str, int]
    pieces: int
    cut: int
    summed: tuple[str, ...] = ()
    is_turned: bool = False
    of_worker: tuple[Share, ...] = ()
    of_server: tuple[Share, ...] = ()


def layout_of(ranks: int, *, nodes: int, on_hosts: bool, server_count: int | None, levels: int) -> Layout:
    """The layout; raises `InvalidPlan` when the numbers do not go together."""
    if ranks % nodes:
        less = max(ranks // nodes, 1) * nodes
        raise InvalidPlan(f"{ranks} ranks cannot be spread evenly over {nodes} nodes; use {less} or {less + nodes} ranks")
    if levels > 2:
        raise InvalidPlan(f"parameter_server has 1 or 2 levels, got {levels}; use levels=2")
    devices = ranks // nodes
    workers = {"node": nodes, "device": devices} if nodes > 1 else {"dp": ranks}
    if not on_hosts:
        if server_count is not None:
            raise InvalidPlan(
                f"server_count={server_count} counts servers on hosts, with servers='devices' every rank is one; "
                f"leave it out, or use servers='host'"
            )
        if levels > 1:
            raise InvalidPlan("levels=2 is for servers on hosts; use levels=1, or servers='host'")
        return Layout(workers=workers, servers={}, pieces=ranks, cut=ranks, summed=tuple(workers) if ranks > 1 else ())
    if levels > 1:
        return _two_levels(workers, nodes, devices, server_count)
    return _one_level(workers, nodes, devices, server_count)


def _one_level(workers: dict[str, int], nodes: int, devices: int, server_count: int | None) -> Layout:
    """Every worker exchanges an even part of each bucket with every server."""
    count = server_count or nodes
    if count > nodes > 1 and count % nodes:
        less = count // nodes * nodes
        raise InvalidPlan(
            f"{count} servers cannot be spread evenly over {nodes} nodes; use server_count={less} or {less + nodes}, "
            f"or at most {nodes}"
        )
    each = count // nodes if nodes > 1 and count > nodes else 1  # servers of a node
    servers = {"node": count // each, **({"server": each} if each > 1 else {})} if nodes > 1 or count == 1 else {"server": count}
    is_relative = count >= nodes > 1
    of_worker = []
    for k in range(count // each):
        for j in range(each):
            at: tuple[Coordinate, ...] = (Coordinate("server", plus=j),) if each > 1 else ()
            at = (Coordinate(next(iter(servers)), ("node",) if is_relative else (), plus=k), *at)
            turn = ("node",) if is_relative else ()
            of_worker.append(Share(peer=Peer("server", at=at), part=k * each + j, parts=count, turn=turn, stride=each))
    of_server = []
    for k in range(nodes):
        for d in range(devices):
            at = (
                (Coordinate("node", ("node",), plus=k), Coordinate("device", plus=d))
                if nodes > 1
                else (Coordinate("dp", plus=d),)
            )
            of_server.append(Share(peer=Peer("worker", at=at)))
    return Layout(
        workers=workers, servers=servers, pieces=count, cut=count, of_worker=tuple(of_worker), of_server=tuple(of_server)
    )  # fmt: skip


def _two_levels(workers: dict[str, int], nodes: int, devices: int, server_count: int | None) -> Layout:
    """Every device exchanges its part of each bucket with the one server that keeps it, or with the few that keep parts of it."""
    if nodes == 1:
        raise InvalidPlan("levels=2 adds up within each of several nodes first, and there is 1 node; use levels=1, or nodes >= 2")
    able = [s for s in range(1, nodes + 1) if not devices % s or not s % devices]
    count = server_count or able[-1]
    if count not in able:
        near = sorted(able, key=lambda s: abs(s - count))[:2]
        raise InvalidPlan(
            f"with levels=2 the parts of {devices} devices of a node are spread evenly over at most one server a node ({nodes}), "
            f"got {count}; use server_count={' or '.join(map(str, sorted(near)))}"
        )
    node, of_worker, of_server = ("node",), tuple[Share, ...](), tuple[Share, ...]()
    if not devices % count:
        each = devices // count  # devices whose parts a server keeps
        of_worker = (
            Share(peer=Peer("server", at=(Coordinate("node", ("device",), over=each),)), parts=devices, turn=("device",)),
        )
        of_server = tuple(
            Share(
                peer=_worker(Coordinate("node", node, plus=k), Coordinate("device", node, times=each, plus=y)), part=y, parts=each
            )
            for k in range(nodes)
            for y in range(each)
        )
    else:
        each = count // devices  # servers that keep the part of a device
        of_worker = tuple(
            Share(
                peer=Peer("server", at=(Coordinate("node", ("device",), times=each, plus=z),)),
                part=z, parts=count, turn=("device",), stride=each,
            )
            for z in range(each)
        )  # fmt: skip
        of_server = tuple(
            Share(peer=_worker(Coordinate("node", node, plus=k), Coordinate("device", node, over=each))) for k in range(nodes)
        )
    return Layout(
        workers=workers,
        servers={"node": count},
        pieces=max(devices, count),
        cut=count,
        summed=("device",) if devices > 1 else (),
        is_turned=count == nodes,  # then nodes are alike: a server keeps what the first of its own node have summed
        of_worker=of_worker,
        of_server=of_server,
    )


def _worker(*at: Coordinate) -> Peer:
    return Peer("worker", at=at)
