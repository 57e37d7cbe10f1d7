"""Opaque: connections whose bytes nobody looks into, to one of a chain's weighted clusters."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import trio

from mesh.model.addr import Address
from mesh.model.failure import Flag
from mesh.proxy.balance import Host
from mesh.proxy.clusters import ClusterRuntime
from mesh.proxy.connect import Opening
from mesh.proxy.failures import NO_CLUSTER, NO_HEALTHY_UPSTREAM, UpstreamFailed
from mesh.proxy.observe.record import Connection, TcpRecord
from mesh.proxy.poller import Channel, Parker
from mesh.proxy.relay import RelayBroken, relay
from mesh.proxy.tls import NO_TLS, security_at

if TYPE_CHECKING:
    from mesh.proxy.pipeline import Proxy
    from mesh.proxy.snapshots import TcpTerminal


class Dialled:
    """A connection to an upstream, perhaps still being made. `close` is idempotent."""

    __slots__ = ("_is_closed", "cluster", "host", "opening")

    def __init__(self, opening: Opening, cluster: ClusterRuntime, host: Host) -> None:
        self.opening = opening
        self.cluster = cluster
        self.host = host
        self._is_closed = False
        host.active += 1

    @property
    def channel(self) -> Channel:
        return self.opening.channel

    def is_for(self, terminal: TcpTerminal) -> bool:
        """The chain's bytes may go there."""
        return any(target.name == self.cluster.name for target in terminal.proxy.clusters)

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self.channel.close()
        self.host.active -= 1
        self.cluster.disconnected()


def begin_opaque(proxy: Proxy, terminal: TcpTerminal, parker: Parker, destination: Address) -> Dialled | None:
    """Begin to connect to where the chain's bytes would go; None: there is nothing to connect to."""
    cluster = _pick_cluster(proxy, terminal)
    host = cluster.pick(proxy.deadlines.now(), destination=destination) if cluster is not None else None
    if cluster is None or host is None:
        return None
    opening = cluster.begin_connect(parker, host)
    return Dialled(opening, cluster, host) if opening is not None else None


async def serve_opaque(
    proxy: Proxy,
    terminal: TcpTerminal,
    channel: Channel,
    parker: Parker,
    connection: Connection,
    destination: Address,
    first: bytes,
    dialled: Dialled | None = None,
) -> None:
    """Relay until both sides are done. Args: first: the client's bytes so far. dialled: from the race, if there was one."""
    record = TcpRecord(connection, proxy.deadlines.now())
    try:
        try:
            dialled = await _connect(proxy, terminal, parker, destination, record, dialled)
        except UpstreamFailed as exc:
            record.flags = (*record.flags, exc.failure.flag)
            record.details = exc.failure.details
            record.transport_failure = exc.reason
            channel.abort()
            return
        record.upstream_local = _text(dialled.channel.socket.getsockname())
        record.upstream_security = security_at(dialled.channel)
        terminal.observer.begin(record, proxy.deadlines.now())
        await _relay(proxy, terminal, channel, parker, record, dialled, first)
    finally:
        if dialled is not None:
            dialled.close()
        terminal.observer.end(record, proxy.deadlines.now())


async def _connect(
    proxy: Proxy,
    terminal: TcpTerminal,
    parker: Parker,
    destination: Address,
    record: TcpRecord,
    dialled: Dialled | None,
) -> Dialled:
    # Other hosts are tried up to the chain's number of attempts. Closes: `dialled`, unless it is returned.
    tried: tuple[Host, ...] = ()
    attempts = max(1, terminal.proxy.max_connect_attempts)
    failed: UpstreamFailed | None = None
    while attempts:
        attempts -= 1
        try:
            if dialled is None:
                dialled = await _dial(proxy, terminal, parker, destination, record, tried)
                return dialled
            record.cluster, record.host = dialled.cluster.model, dialled.host
            await dialled.cluster.finish_connect(dialled.opening, dialled.host)
            return dialled
        except UpstreamFailed as exc:
            if record.host is None:
                raise  # nowhere to go at all
            if NO_TLS in exc.reason and failed is None:
                # It greeted before it had heard our ClientHello, and took nothing since: that host may be asked again.
                attempts += 1
            else:
                tried = (*tried, record.host)
            failed = exc
            if dialled is not None:
                dialled.cluster.on_failure(dialled.host, proxy.deadlines.now())
                dialled.close()
                dialled = None
        except BaseException:
            if dialled is not None:
                dialled.close()
            raise
    assert failed is not None
    raise failed


async def _dial(
    proxy: Proxy,
    terminal: TcpTerminal,
    parker: Parker,
    destination: Address,
    record: TcpRecord,
    tried: tuple[Host, ...],
) -> Dialled:
    cluster = _pick_cluster(proxy, terminal)
    if cluster is None:
        raise UpstreamFailed(NO_CLUSTER)
    record.cluster = cluster.model
    host = cluster.pick(proxy.deadlines.now(), None, tried, destination)
    if host is None:
        raise UpstreamFailed(NO_HEALTHY_UPSTREAM)
    record.host = host
    try:
        return Dialled(await cluster.connect(parker, host), cluster, host)
    except UpstreamFailed:
        cluster.on_failure(host, proxy.deadlines.now())
        raise


async def _relay(
    proxy: Proxy,
    terminal: TcpTerminal,
    channel: Channel,
    parker: Parker,
    record: TcpRecord,
    dialled: Dialled,
    first: bytes,
) -> None:
    up = dialled.channel
    up.parker = parker
    is_expired = False

    def expire() -> None:
        nonlocal is_expired
        is_expired = True
        scope.cancel()

    with trio.CancelScope() as scope:
        idle = proxy.deadlines.new(scope.cancel)
        age = proxy.deadlines.new(expire)
        if seconds := dialled.cluster.model.max_connection_duration_seconds:
            age.arm(proxy.deadlines.now() + seconds)
        try:
            await relay(parker, channel, up, record, idle, terminal.proxy.idle_timeout_seconds, from_down=first)
        except RelayBroken as exc:
            flag = Flag.UPSTREAM_CONNECTION_TERMINATION if exc.is_upstream else Flag.DOWNSTREAM_TERMINATION
            record.flags = (*record.flags, flag)
            record.termination_details = str(exc)
            up.abort()
            channel.abort()
        finally:
            idle.close()
            age.close()
    if scope.cancelled_caught:
        record.flags = (*record.flags, Flag.DURATION_TIMEOUT if is_expired else Flag.STREAM_IDLE_TIMEOUT)


def _pick_cluster(proxy: Proxy, terminal: TcpTerminal) -> ClusterRuntime | None:
    clusters = terminal.proxy.clusters
    name = clusters[0].name
    if len(clusters) > 1:
        name = random.choices(clusters, [cluster.weight for cluster in clusters])[0].name
    return proxy.current.clusters.get(name)


def _text(address: tuple[Any, ...]) -> str:
    return str(Address(address[0], address[1]))
