"""The cluster's DNS on UDP and TCP (trio). Decisions are in `dns`."""

import logging
import random
import socket
import struct

import trio

from mesh.sandbox.dns import Zone, answer, build_zone
from mesh.sandbox.informer import Informer
from mesh.sandbox.kubeclient import Json

_log = logging.getLogger("dns")
_TCP_IDLE_SECONDS = 10.0


class DnsServer:
    """Answers from the informers' copies; the zone is made anew at the first question after a change."""

    def __init__(self, services: Informer, slices: Informer, rng: random.Random) -> None:
        self._services, self._slices, self._rng = services, slices, rng
        self._zone: Zone | None = None

    async def run(self, address: str, port: int = 53) -> None:
        """Serve until cancelled."""
        self._services.subscribe(self._on_change)
        self._slices.subscribe(self._on_change)
        udp = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        await udp.bind((address, port))
        listeners = await trio.open_tcp_listeners(port, host=address)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve_udp, udp)
            nursery.start_soon(trio.serve_listeners, self._serve_tcp, listeners)

    def zone(self) -> Zone:
        """The present zone."""
        if self._zone is None:
            self._zone = build_zone(self._services.all(), self._slices.all())
        return self._zone

    async def _serve_udp(self, sock: trio.socket.SocketType) -> None:
        with sock:
            while True:
                try:
                    message, peer = await sock.recvfrom(65535)
                    if (reply := answer(self.zone(), message, self._rng)) is not None:
                        await sock.sendto(reply, peer)
                except OSError as exc:  # an ICMP error of an earlier answer, or a full queue: the client asks again
                    _log.debug("udp: %s", exc)

    async def _serve_tcp(self, stream: trio.SocketStream) -> None:
        buffer = b""
        with trio.move_on_after(_TCP_IDLE_SECONDS) as idle:
            try:
                while chunk := await stream.receive_some(65535):
                    buffer += chunk
                    while len(buffer) >= 2 and len(buffer) >= 2 + (size := struct.unpack_from("!H", buffer)[0]):
                        message, buffer = buffer[2 : 2 + size], buffer[2 + size :]
                        reply = answer(self.zone(), message, self._rng, max_bytes=65535)
                        if reply is None:
                            return
                        await stream.send_all(struct.pack("!H", len(reply)) + reply)
                    idle.deadline = trio.current_time() + _TCP_IDLE_SECONDS
            except trio.BrokenResourceError as exc:
                _log.debug("tcp: %s", exc)

    def _on_change(self, _old: Json | None, _new: Json | None) -> None:
        self._zone = None
