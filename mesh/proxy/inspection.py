"""Inspection: the client's first bytes, where they decide between a listener's chains.

`detect` watches; here is what it watches: how long a client may be silent, and against which server's first bytes the client's are
raced. That server is dialled for the purpose, and the connection to it is of use if the bytes turn out to be for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mesh.model.addr import Address
from mesh.model.listener import FilterChain, HttpManager
from mesh.proxy.chains import NOTHING, Inspected, needs_http
from mesh.proxy.connect import Opening
from mesh.proxy.detect import HEAD_START_SECONDS, Detected, Patience, detect, hello_seconds, inspect, inspect_tls
from mesh.proxy.opaque import Dialled, begin_opaque
from mesh.proxy.poller import Channel, Parker
from mesh.proxy.snapshots import ListenerRuntime, TcpTerminal
from mesh.proxy.tls import NO_TLS

if TYPE_CHECKING:
    from mesh.proxy.pipeline import Proxy

Inspector = Callable[[bytes], Inspected | None]
# Envoy's listener_filters_timeout.
_SECONDS = 15.0


async def inspect_client(
    proxy: Proxy,
    runtime: ListenerRuntime,
    candidates: tuple[FilterChain, ...],
    channel: Channel,
    parker: Parker,
    remote: Address,
    destination: Address,
) -> tuple[Detected, Dialled | None]:
    """What the connection is, and the upstream that was dialled to find out, if one was: the caller's to use or close.

    Raises: OSError: the client is gone.
    """
    inspector = inspect if needs_http(candidates) else inspect_tls
    opaque = runtime.table.opaque(candidates, remote)
    terminal = runtime.terminal(opaque) if opaque is not None else None
    dialled: Dialled | None = None
    if isinstance(terminal, TcpTerminal):
        may_be_tls = any(chain.tls is not None for chain in candidates)
        detected, dialled = await _race(proxy, terminal, channel, parker, destination, inspector, may_be_tls)
    else:
        silent = runtime.table.choose(candidates, NOTHING, remote)
        detected = await _listen(proxy, channel, parker, inspector, _silence_seconds(runtime, silent))
    proxy.telemetry.detected(runtime.model.direction, _verdict(detected), proxy.deadlines.now())
    return detected, dialled


def _silence_seconds(runtime: ListenerRuntime, silent: FilterChain | None) -> float:
    # No server can be first here, so that a client that says nothing is only taking room: as long as the chain that
    # would have it (silent: for plaintext without a word) lets a client do that.
    seconds = runtime.model.filters_timeout_seconds or _SECONDS
    if silent is None or not isinstance(silent.filter, HttpManager):
        return seconds
    return max(seconds, silent.filter.request_headers_timeout_seconds or silent.filter.idle_timeout_seconds)


async def _listen(proxy: Proxy, channel: Channel, parker: Parker, inspector: Inspector, seconds: float) -> Detected:
    limit = proxy.deadlines.new(channel.end_recv)
    limit.arm(proxy.deadlines.now() + seconds)
    try:
        detected, _ = await detect(parker, channel, None, inspector)
    finally:
        limit.close()
    return detected


async def _race(
    proxy: Proxy,
    terminal: TcpTerminal,
    channel: Channel,
    parker: Parker,
    destination: Address,
    inspector: Inspector,
    may_be_tls: bool,
) -> tuple[Detected, Dialled | None]:
    dialled: list[Dialled] = []
    patience = Patience(proxy.deadlines, parker, hello_seconds(channel.socket)) if may_be_tls else None
    head_start = Patience(proxy.deadlines, parker, HEAD_START_SECONDS)

    def dial(failed: OSError | None) -> Opening | None:
        # Once; and once more when the server greeted before it had heard that we want TLS.
        if failed is not None and (len(dialled) > 1 or NO_TLS not in str(failed.strerror)):
            return None
        begun = begin_opaque(proxy, terminal, parker, destination)
        if begun is None:
            return None
        dialled.append(begun)
        if begun.cluster.greets:
            head_start.waive()
        return begun.opening

    used: Dialled | None = None
    try:
        detected, opening = await detect(parker, channel, dial, inspector, patience, head_start)
        used = next((begun for begun in dialled if begun.opening is opening), None)
        if used is not None:
            used.cluster.greets = detected.server_first
    finally:
        head_start.close()
        if patience is not None:
            patience.close()
        for begun in dialled:
            if begun is not used:
                begun.close()
    return detected, used


def _verdict(detected: Detected) -> str:
    if detected.server_first:
        return "server_first"
    if detected.inspected.transport == "tls":
        return "tls"
    protocols = detected.inspected.protocols
    if "h2c" in protocols:
        return "http2"
    return "http1" if protocols else "opaque"
