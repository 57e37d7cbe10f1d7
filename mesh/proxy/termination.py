"""Termination: TLS that ends here. The handshake with a client, and what is known of that client afterwards."""

from __future__ import annotations

from mesh.model.listener import HttpManager
from mesh.proxy.deadlines import Deadlines
from mesh.proxy.detect import Detected
from mesh.proxy.observe.record import Connection
from mesh.proxy.poller import Channel
from mesh.proxy.tls import Security, TlsChannel
from mesh.proxy.tls_context import TlsContext
from mesh.proxy.xfcc import client_certificate, rule_of

SECRET_NOT_READY = "TLS_error:|SECRET_NOT_READY:TLS_error_end"
"""Envoy's words for a chain whose certificate is bad or missing."""
# Istio's transport_socket_connect_timeout.
_HANDSHAKE_SECONDS = 15.0


def begin_tls(plain: Channel, context: TlsContext, detected: Detected) -> TlsChannel:
    """The channel that takes the plain one's place, before the handshake."""
    return TlsChannel(plain, context.to_answer(detected.inspected.protocols), server_side=True)


async def shake_hands(
    channel: TlsChannel, context: TlsContext, first: bytes, connection: Connection, deadlines: Deadlines
) -> None:
    """Until both sides are sure, and `connection` says who is there. Args: first: the client's bytes so far.

    Raises: TlsError: no agreement, or a certificate for somebody else. OSError: the client is gone.
    """
    limit = deadlines.new(channel.end_recv)
    limit.arm(deadlines.now() + _HANDSHAKE_SECONDS)
    try:
        await channel.handshake(first)
        security = context.verify_peer(channel)
    finally:
        limit.close()
    _note_peer(connection, security, has_certificate=bool(channel.tls.getpeercert()))


def _note_peer(connection: Connection, security: Security, has_certificate: bool) -> None:
    connection.tls_version = security.version
    connection.is_mutual_tls = has_certificate
    connection.peer_principal = security.peer_principal
    connection.local_principal = security.local_principal


def note_certificate(connection: Connection, channel: Channel, manager: HttpManager) -> None:
    """What x-forwarded-client-cert will say, for all requests of the connection. Also where there is no TLS."""
    rule = connection.certificate_rule = rule_of(manager.client_certificate, connection.is_mutual_tls)
    if connection.is_mutual_tls and rule.adds and isinstance(channel, TlsChannel):
        connection.client_certificate = client_certificate(
            channel.tls.getpeercert() or {},
            channel.tls.getpeercert(binary_form=True) or b"",
            manager.certificate_details,
            connection.local_principal,
        )
