"""Dialler: how connections to a cluster's hosts are made, and encrypted. What became of it is said in Envoy's words."""

from __future__ import annotations

import os
from collections.abc import Mapping

import trio

from mesh.model.cluster import Cluster
from mesh.model.secret import UpstreamTls
from mesh.proxy.balance import Host
from mesh.proxy.connect import ConnectTimeout, DialOptions, Opening, Secure, dial, start_connect
from mesh.proxy.failures import CONNECT_FAILED, CONNECT_TIMEOUT, TLS_NOT_READY, UpstreamFailed
from mesh.proxy.poller import Channel, Parker, Poller
from mesh.proxy.tls import TlsError
from mesh.proxy.tls_context import TlsContext, TlsSettings


class Dialler:
    """contexts: of the present snapshot, for new connections."""

    __slots__ = ("_model", "_options", "_poller", "contexts")

    def __init__(self, poller: Poller, model: Cluster) -> None:
        self._poller = poller
        self.contexts: Mapping[TlsSettings, TlsContext] = {}
        self.take_model(model)

    def take_model(self, model: Cluster) -> None:
        """Dial by this from now on."""
        self._model = model
        self._options = DialOptions.of(model)

    def tls_of(self, host: Host) -> UpstreamTls | None:
        """How the host is to be spoken to; None: plaintext. The first match counts, before the cluster's own."""
        for match in self._model.tls_matches:
            if not match.tls_mode or match.tls_mode == host.endpoint.tls_mode:
                return match.tls
        return self._model.tls

    def secure(self, host: Host, is_opaque: bool) -> Secure | None:
        """How to encrypt; None: not at all. Raises: UpstreamFailed: it cannot be encrypted as it must."""
        tls = self.tls_of(host)
        if tls is None:
            return None
        context = self.contexts.get(tls)
        if context is None:
            # Its secret is bad or missing, and always was: better no connection than one without it.
            raise UpstreamFailed(TLS_NOT_READY, "TLS_error:|SECRET_NOT_READY:TLS_error_end")
        return Secure(context, tls.sni or (host.endpoint.host_name if tls.auto_sni else ""), is_opaque)

    async def dial(self, parker: Parker, host: Host, is_opaque: bool) -> Channel:
        """A connected channel. Raises: UpstreamFailed."""
        secure = self.secure(host, is_opaque)
        try:
            return await dial(self._poller, parker, host.endpoint.address, self._options, secure)
        except ConnectTimeout as exc:
            host.connect_failures += 1
            raise UpstreamFailed(CONNECT_TIMEOUT, str(exc.strerror)) from exc
        except OSError as exc:
            host.connect_failures += 1
            raise UpstreamFailed(CONNECT_FAILED, _reason_of(exc)) from exc

    def begin(self, parker: Parker, host: Host, secure: Secure | None) -> Opening:
        """Like `dial`, without waiting for any handshake: `finish` does. Raises: OSError: it cannot even begin."""
        return Opening(start_connect(self._poller, parker, host.endpoint.address, self._options), secure)

    async def finish(self, opening: Opening, host: Host) -> None:
        """Wait for what was begun. Raises: UpstreamFailed."""
        with trio.move_on_after(self._options.timeout_seconds):
            try:
                await opening.finish()
            except OSError as exc:
                host.connect_failures += 1
                raise UpstreamFailed(CONNECT_FAILED, _reason_of(exc)) from exc
            return
        host.connect_failures += 1
        raise UpstreamFailed(CONNECT_TIMEOUT)


def _reason_of(error: OSError) -> str:
    # TLS says more than its error number.
    return str(error.strerror) if isinstance(error, TlsError) else os.strerror(error.errno or 0)
