# cython: language_level=3
"""Exchange: one request on one page. route -> filters -> balance -> connect -> forward -> observe.

Every decision is asked of a module that does no I/O. The routing table and the clusters are read once, from the snapshot
that is current when the request begins. `decide` says what to do with a request; `Forwarding` does what needs an upstream,
and `Attempts` what has to wait.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import cython
import trio

from mesh.codec.events import ProtocolError
from mesh.model.failure import Flag
from mesh.proxy.attempts import Attempts
from mesh.proxy.compiled_route import ActionKind
from mesh.proxy.faults import Draw
from mesh.proxy.filters import before_forward
from mesh.proxy.forwarded import scheme_of
from mesh.proxy.paths import BadPath, normalize, with_path
from mesh.proxy.poller import SMALL_READ
from mesh.proxy.reply import NO_ROUTE, LocalReply, no_cluster

if not cython.compiled:  # when compiled, exchange.pxd cimports these names
    from mesh.codec.h1 import RequestHead
    from mesh.proxy.clusters import ClusterRuntime
    from mesh.proxy.compiled_route import CompiledRoute
    from mesh.proxy.forwarding import Forwarding
    from mesh.proxy.observe.record import Record
    from mesh.proxy.seat import Seat

if TYPE_CHECKING:
    from mesh.proxy.downstream_h1 import Downstream

_random = random.random
_FORWARD = ActionKind.FORWARD
_BAD_PATH = LocalReply(400, b"bad path\n", details="path_normalization_failed")
_NO_CONNECT = LocalReply(
    405,
    b"CONNECT is not supported\n",
    b"allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n",
    details="connect_not_supported",
)
_NO_UPGRADE = LocalReply(403, b"this upgrade is not allowed\n", details="upgrade_failed")


def decide(down: Seat, head: RequestHead) -> Forwarding | LocalReply | Delayed:
    """What is to be done with a request. Sets `down.record`; the deadlines of the exchange run from here on."""
    proxy, terminal = down.proxy, down.terminal
    manager = terminal.manager
    now: cython.double = down.deadlines.now()
    snapshot = proxy.current
    record: Record = Record(head, down.connection, now)
    down.record = record
    down.head = head
    if not head.minor:
        record.protocol = "HTTP/1.0"
    if down.is_tls or not manager.use_remote_address:
        record.scheme = scheme_of(head, down.is_tls)
    idle_seconds: cython.double = manager.stream_idle_timeout_seconds
    if idle_seconds:
        down.idle.arm(now + idle_seconds)
    else:
        down.idle.lift()
    if manager.request_timeout_seconds and head.has_body:
        down.overall.arm(now + manager.request_timeout_seconds)
    if manager.normalize_path:
        try:
            path = normalize(head.path, manager.merge_slashes)
        except BadPath:
            return _BAD_PATH
        if path is not head.path:
            head = record.head = with_path(head, path)
    down.observer.begin(record)
    table = terminal.table(snapshot)
    route: CompiledRoute | None = table.find(head, record.scheme) if table is not None else None
    if route is None:
        return NO_ROUTE
    record.route = route
    if route.kind is not _FORWARD:
        return route.answer(head, record.scheme) or NO_ROUTE  # NON_FORWARDING is for proxyless gRPC servers alone
    if head.method == b"CONNECT":
        return _NO_CONNECT
    if head.upgrade and head.upgrade != b"h2c" and head.upgrade.decode("latin-1") not in manager.upgrades:
        return _NO_UPGRADE
    # Chosen before the filters have their say: an aborted or delayed request counts for whom it was meant for, too.
    share = route.pick(_random)
    record.share = share
    cluster: ClusterRuntime | None = snapshot.clusters.get(share.cluster)
    if cluster is not None:
        record.cluster = cluster.model
    draw: Draw | None = None
    if route.has_filters:
        stop = before_forward(route, head, _random)
        if isinstance(stop, LocalReply):
            return stop
        draw = stop
        if draw is not None and draw.delay_seconds:
            record.flag(Flag.DELAY_INJECTED)
        if draw is not None and draw.abort is not None and not draw.delay_seconds:
            return draw.abort
    if cluster is None:
        forwarding: Forwarding | LocalReply = no_cluster(route.missing_cluster_status)
    else:
        forwarding = Forwarding(down, record, head, route, share, cluster, now)
    return forwarding if draw is None else Delayed(draw, forwarding)


@dataclass(frozen=True, slots=True)
class Delayed:
    """An injected delay, and what comes after it."""

    draw: Draw
    then: Forwarding | LocalReply


Decision: TypeAlias = "Forwarding | LocalReply | Delayed"


def on_client_bytes(down: Seat) -> None:
    """The poller's callback for the client's connection between requests, while no task of its runs."""
    try:
        if down.forwarding is not None:
            if down.channel.hung_up:
                down.resume()
            return
        data: bytes | None = down.channel.try_recv(SMALL_READ)
        if data is None:
            return
        if data:
            begin_request(down, data)
        elif down.parser.is_idle:
            down.leave()
        else:
            down.resume()
    except OSError:
        down.resume()  # the task meets the same error, and knows what to do about it
    except Exception as exc:
        down.fail(exc)


def begin_request(down: Seat, data: bytes) -> None:
    """Bytes of the client's next request, from a callback: begin it, or leave it to the task if it has to wait."""
    try:
        down.parser.feed(data)
        head: RequestHead | None = down.parser.head()
        if head is None:
            down.resume()
            return
        decision = decide(down, head)
        if isinstance(decision, Forwarding) and not down.channel.hung_up:
            forwarding: Forwarding = decision
            if forwarding.begin():
                down.forwarding = forwarding
                return
        down.decision = decision
        down.resume()
    except ProtocolError:
        down.resume()  # the task meets the same error, and knows what to do about it
    except Exception as exc:
        down.fail(exc)


async def exchange(down: Downstream, decision: Decision) -> bool:
    """Serve one request as decided. Returns: the connection can serve another one.

    Raises: DownstreamGone: the client left. ProtocolError: malformed request body. Both before the record is finished.
    """
    if isinstance(decision, Delayed):
        await trio.sleep(decision.draw.delay_seconds)
        decision = decision.draw.abort or decision.then
        if isinstance(decision, Forwarding):
            decision.now = down.deadlines.now()  # Envoy: the route's timeout begins after the fault's delay
    if isinstance(decision, Forwarding):
        return await Attempts(down, decision).run()
    assert down.record is not None
    return await down.conclude(down.record, decision)
