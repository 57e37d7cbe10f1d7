# cython: language_level=3
"""Clusters at run time: the balancer, pools, breaker and outlier detector behind a cluster's name.

A runtime outlives configuration updates of its cluster: hosts keep their counters and connections, and only what an
update changes is made anew.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import cython
import trio

from mesh.model.addr import Address
from mesh.model.cluster import Cluster, Discovery, Protocol
from mesh.model.endpoint import Endpoint, LoadAssignment, Locality
from mesh.model.failure import Failure
from mesh.proxy.balance import Balancer, make_balancer
from mesh.proxy.connect import Opening
from mesh.proxy.dialler import Dialler
from mesh.proxy.failures import HTTP2_UNSUPPORTED, OVERFLOW, DownstreamGone, UpstreamFailed
from mesh.proxy.outlier import OutlierDetector
from mesh.proxy.poller import HANGUP, Channel, Parker, Poller
from mesh.proxy.tls import security_at

if not cython.compiled:  # when compiled, clusters.pxd cimports these names
    from mesh.proxy.balance.host import Host
    from mesh.proxy.breaker import Breaker
    from mesh.proxy.deadlines import Deadline, Deadlines
    from mesh.proxy.pool import Pool, PoolSettings, Waiter
    from mesh.proxy.upstream_h1 import UpstreamConnection
if TYPE_CHECKING:
    # Cython 3.3 takes the return type of a coroutine for that of the function, unless it does not know the name.
    from mesh.proxy.upstream_h1 import UpstreamConnection as Acquired

# Destinations that an ORIGINAL_DST cluster remembers before it looks which of them are still in use.
_MAX_DESTINATIONS = 4096
_NO_HOSTS: tuple[Host, ...] = ()


class ClusterRuntime:
    """Concurrency: trio thread only.

    Attributes: model: the newest CDS resource. is_used: a request picked a host since the flag was last cleared
        (DNS is resolved again only for clusters in use); used is set then. changed: set when there is a new model.
        greets: the last time that a server and its client were raced for the first word, the server was faster.
        dialler: makes new connections.
    """

    model: Cluster
    balancer: Balancer
    breaker: Breaker
    outlier: OutlierDetector | None
    unsupported: Failure | None
    is_used: bool
    greets: bool
    used: trio.Event
    changed: trio.Event
    dialler: Dialler
    _assignment: LoadAssignment
    _deadlines: Deadlines
    _sweep: Deadline
    _settings: PoolSettings
    _pools: dict[Host, Pool]
    _by_destination: dict[Address, Host]
    _is_by_destination: bool

    def __init__(self, model: Cluster, assignment: LoadAssignment | None, poller: Poller, deadlines: Deadlines) -> None:
        self.dialler = Dialler(poller, model)
        self._deadlines = deadlines
        self._pools = {}
        self._by_destination = {}
        self._sweep = deadlines.new(self._sweep_outliers)
        self._assignment = LoadAssignment(model.name)
        self.breaker = Breaker(model.circuit_breaker)
        self.balancer = make_balancer(model, self._assignment, deadlines.now())
        self.outlier = None
        self.is_used = False
        self.greets = False
        self.used = trio.Event()
        self.changed = trio.Event()
        self._take_model(model)
        if assignment is not None:
            # The first assignment is warm; the empty one above must not count as the previous.
            self._assignment = assignment
            self.balancer = make_balancer(model, assignment, deadlines.now())
            self._configure_outlier()

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def assignment(self) -> LoadAssignment:
        return self._assignment

    @property
    def pools(self) -> Collection[Pool]:
        """For introspection."""
        return self._pools.values()

    def update(self, model: Cluster, assignment: LoadAssignment | None) -> None:
        """Take over a changed resource. assignment None: unchanged (DNS clusters resolve their own)."""
        is_new_model = model != self.model
        tls_before = {host: self.dialler.tls_of(host) for host in self._pools}
        if is_new_model:
            self._take_model(model)
            self.changed.set()
        if assignment is not None and assignment != self._assignment:
            self._assignment = assignment
        elif not is_new_model:
            return
        before = set(self.balancer.hosts)
        self.balancer = make_balancer(self.model, self._assignment, self._deadlines.now(), self.balancer)
        for gone in before.difference(self.balancer.hosts):
            self._drop_pool(gone)
        for host, tls in tls_before.items():
            pool = self._pools.get(host)
            if pool is not None and self.dialler.tls_of(host) != tls:
                pool.renew(self._deadlines.now())
        self._configure_outlier()

    def close(self) -> None:
        """The cluster is gone: what is in flight ends by itself."""
        self._sweep.close()
        for host in tuple(self._pools):
            self._drop_pool(host)

    def pick(
        self,
        now: cython.double,
        hash_value: int | None = None,
        exclude: Collection[Host] = _NO_HOSTS,
        destination: Address | None = None,
    ) -> Host | None:
        """The host for a request or connection; None: there is none (503 UH).

        Args: destination: where the client wanted to go; used by ORIGINAL_DST clusters alone.
        """
        if not self.is_used:
            self.is_used = True
            self.used.set()
        if self._is_by_destination:
            return self._host_of(destination, now) if destination is not None else None
        return self.balancer.pick(random.random, now, hash_value, exclude)

    def take(self, host: Host, now: cython.double) -> UpstreamConnection | None:
        """A pooled connection, if there is one: `acquire` without waiting."""
        pool: Pool | None = self._pools.get(host)
        if pool is None:
            return None
        connection: UpstreamConnection | None = pool.take(now)
        if connection is not None:
            connection.served += 1
        return connection

    async def acquire(
        self, parker: Parker, host: Host, now: float, down: Channel | None, fresh: bool
    ) -> Acquired:
        """A connection to the host, pooled or new; `release` or `discard` it.

        Args: fresh: not a pooled one. down: the client's side, watched while the request has to wait (None: there is none).
        Raises: UpstreamFailed: refused, timed out or over a limit. DownstreamGone: the client did not wait.
        """
        connection = None if fresh else self.take(host, now)
        if connection is not None:
            return connection
        pool = self._pools.get(host)
        if pool is None:
            pool = Pool(host, self._settings, self.breaker, self._deadlines, self._tidy)
            self._pools[host] = pool
        if not self.breaker.try_pending():
            raise UpstreamFailed(OVERFLOW)
        try:
            connection = await self._wait_or_connect(parker, pool, down)
        finally:
            self.breaker.end_pending()
        connection.served += 1
        return connection

    def release(self, host: Host, connection: UpstreamConnection, now: cython.double) -> None:
        """Its exchange ended well: keep it for the next one."""
        pool: Pool = self._pools[host]
        pool.give_back(connection, now)

    def discard(self, host: Host, connection: UpstreamConnection) -> None:
        """Its state is not known: close it."""
        self._pools[host].discard(connection)

    async def connect(self, parker: Parker, host: Host) -> Opening:
        """A connection of one's own, open, for opaque bytes; `disconnected` when it is closed. Raises: UpstreamFailed."""
        if not self.breaker.try_connection():
            raise UpstreamFailed(OVERFLOW)
        try:
            return Opening(await self.dialler.dial(parker, host, True))
        except BaseException:
            self.breaker.end_connection()
            raise

    def begin_connect(self, parker: Parker, host: Host) -> Opening | None:
        """Like `connect`, without waiting for any handshake; None when it cannot even begin."""
        try:
            secure = self.dialler.secure(host, True)
        except UpstreamFailed:
            return None
        if not self.breaker.try_connection():
            return None
        try:
            return self.dialler.begin(parker, host, secure)
        except OSError:
            self.breaker.end_connection()
            return None

    async def finish_connect(self, opening: Opening, host: Host) -> None:
        """Wait for what `begin_connect` began. Raises: UpstreamFailed (and `disconnected` is still to be called)."""
        await self.dialler.finish(opening, host)

    def disconnected(self) -> None:
        self.breaker.end_connection()

    def on_response(self, host: Host, status: cython.int, now: cython.double) -> None:
        """Tell outlier detection."""
        if self.outlier is not None and self.outlier.on_response(host, status, now):
            self._after_ejection(now)

    def on_failure(self, host: Host, now: float) -> None:
        """No response: connecting, sending or receiving failed."""
        if self.outlier is not None and self.outlier.on_local_failure(host, now):
            self._after_ejection(now)

    def _take_model(self, model: Cluster) -> None:
        self.model = model
        self._is_by_destination = model.discovery is Discovery.ORIGINAL_DST
        self.dialler.take_model(model)
        self._settings = PoolSettings(
            model.idle_timeout_seconds, model.max_connection_duration_seconds, model.max_requests_per_connection
        )
        for pool in self._pools.values():
            pool.settings = self._settings
        self.breaker.configure(model.circuit_breaker)
        self.unsupported = HTTP2_UNSUPPORTED if model.protocol is Protocol.HTTP2 else None

    def _configure_outlier(self) -> None:
        config = self.model.outlier
        if config is None:
            self.outlier = None
            self._sweep.lift()
        elif self.outlier is None:
            self.outlier = OutlierDetector(config, self.balancer.hosts)
        else:
            self.outlier.configure(config, self.balancer.hosts)

    def _after_ejection(self, now: float) -> None:
        assert self.outlier is not None
        self.balancer.on_health_change(now)
        self._sweep.arm(self.outlier.next_sweep_at)

    def _sweep_outliers(self) -> None:
        if self.outlier is None:
            return
        now = self._deadlines.now()
        if self.outlier.sweep(now):
            self.balancer.on_health_change(now)
        if self.outlier.next_sweep_at < float("inf"):
            self._sweep.arm(self.outlier.next_sweep_at)

    async def _wait_or_connect(self, parker: Parker, pool: Pool, down: Channel | None) -> Acquired:
        if self.unsupported is not None:
            raise UpstreamFailed(self.unsupported)
        # Envoy: a host without any connection may always have one, else its requests would wait for nothing.
        if not self.breaker.try_connection():
            if pool.open:
                waiting = await self._wait(parker, pool, down)
                if waiting is not None:
                    return waiting
            self.breaker.connections += 1
        pool.open += 1
        began_at = self._deadlines.now()
        try:
            channel = await self.dialler.dial(parker, pool.host, False)
        except BaseException:
            pool.forget()
            raise
        return UpstreamConnection(channel, began_at, security_at(channel))

    async def _wait(self, parker: Parker, pool: Pool, down: Channel | None) -> Acquired | None:
        # A connection that came free, or None: the right to open one.
        waiter = Waiter(parker)
        pool.waiters.append(waiter)
        try:
            while waiter.connection is None and not waiter.may_dial:
                if down is None:
                    await parker.park()
                    continue
                if down.hung_up:
                    raise DownstreamGone("closed while waiting for a connection")
                await down.wait(HANGUP)
        except BaseException:
            if waiter.connection is not None:
                pool.give_back(waiter.connection, self._deadlines.now())
            elif waiter.may_dial:
                pool.open += 1
                self.breaker.connections += 1
                pool.forget()  # pass the right on
            else:
                pool.waiters.remove(waiter)
            raise
        return waiter.connection

    def _host_of(self, destination: Address, now: float) -> Host:
        host = self._by_destination.get(destination)
        if host is None:
            if len(self._by_destination) >= _MAX_DESTINATIONS:
                self._by_destination = {
                    at: host for at, host in self._by_destination.items() if host in self._pools or host.active
                }
            address = destination
            if self.model.connect_to_port:
                address = replace(destination, port=self.model.connect_to_port)
            host = self._by_destination[destination] = Host(Endpoint(address), Locality(), 0, now)
        return host

    def _drop_pool(self, host: Host) -> None:
        pool = self._pools.get(host)
        if pool is not None:
            pool.drain()
            if not pool.open:
                self._tidy(pool)

    def _tidy(self, pool: Pool) -> None:
        # The pool's last connection is gone. Pools of hosts that are gone, or of destinations nobody asks for, go too.
        if pool.is_draining or self.model.discovery is Discovery.ORIGINAL_DST:
            self._pools.pop(pool.host, None)
