"""SecureDoor: the shell of port 15012: ADS, CSDS and certificates over TLS, in front of it the Authenticator."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

import grpc

from mesh.control.ads_server import AdsServer, Gate
from mesh.control.authenticator import Authenticator
from mesh.control.ca import Expiring
from mesh.control.certificate_server import CertificateServer, Issuer
from mesh.control.kube.client import KubeClient
from mesh.control.metrics import MetricsRegistry
from mesh.control.publisher import Publisher
from mesh.control.serving import ServingCertificate
from mesh.control.trust import Trust
from mesh.xds.certificate_service import METHOD, SERVICE

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 3600.0
_RETRY_SECONDS = 5.0


class SecureDoor:
    """Opened when there is a CA and a mesh configuration, then kept in a living certificate."""

    def __init__(
        self,
        ads: AdsServer,
        address: str,
        client: KubeClient,
        trust: Trust,
        publisher: Publisher,
        metrics: MetricsRegistry,
        namespace: str,
    ) -> None:
        self._ads = ads
        self._address = address
        self._trust = trust
        self._publisher = publisher
        self._authenticator = Authenticator(client)
        self._certificate = ServingCertificate(namespace)
        self._certificates = CertificateServer(self._authenticator, self._issuer, metrics)
        self._woken = asyncio.Event()
        self.opened = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return self.opened.is_set()

    def wake(self) -> None:
        """CA or mesh configuration may have changed."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled. Raises: OSError: cannot listen."""
        while True:
            self._woken.clear()
            issuer, wait = self._issuer(), _LOOK_SECONDS
            if issuer is not None:
                wait = await self._serve(issuer)
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._woken.wait()

    async def _serve(self, issuer: Issuer) -> float:
        """Seconds until the certificate must be looked at again."""
        now = time.time()
        try:
            renew_at = self._certificate.refresh(issuer.authority, issuer.trust_domain, now)
        except Expiring as error:
            _log.error("no certificate for the control plane itself: %s", error)
            return _RETRY_SECONDS
        if not self.is_open:
            await self._open()
        return max(0.0, min(renew_at - now, _LOOK_SECONDS))

    async def _open(self) -> None:
        services = {SERVICE: {METHOD: grpc.unary_unary_rpc_method_handler(self._certificates.create)}}
        gate = Gate(self._certificate.credentials(), self._authenticator, services)
        port = await self._ads.start(self._address, gate)
        self.opened.set()
        print(f"secure xds {self._address.rpartition(':')[0]}:{port}", flush=True)

    def _issuer(self) -> Issuer | None:
        graph, trust = self._publisher.graph, self._trust
        if graph is None or trust.authority is None:
            return None
        return Issuer(trust.authority, trust.roots_pem, graph.config.trust_domain)
