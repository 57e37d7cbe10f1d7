"""CertificateServer: the handler of Istio's CreateCertificate: a token's owner gets a certificate that names him."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from mesh.control.authenticator import Authenticator
from mesh.control.ca import Authority, BadRequest, Expiring, pem
from mesh.control.caller import REFUSALS
from mesh.control.metrics import MetricsRegistry
from mesh.xds.certificate_service import CertificateRequest, CertificateResponse, decode_request, encode_response
from mesh.xds.error import ProtocolError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Issuer:
    """What signs at this moment. roots_pem: the bundle that goes with the chain."""

    authority: Authority
    roots_pem: str
    trust_domain: str


class CertificateServer:
    """issuer: what signs now, None while there is nothing."""

    def __init__(
        self, authenticator: Authenticator, issuer: Callable[[], Issuer | None], metrics: MetricsRegistry
    ) -> None:
        self._authenticator = authenticator
        self._issuer = issuer
        self._metrics = metrics
        for name in (
            "csr_count",
            "success_cert_issuance_count",
            "authentication_failure_count",
            "csr_parsing_err_count",
        ):
            # Istio's dashboards take a rate: the first failure must not be the series' birth.
            metrics.count(f"citadel_server_{name}", by=0)

    async def create(self, data: bytes, context: Any) -> bytes:
        """One call. Aborts it: UNAUTHENTICATED, PERMISSION_DENIED, INVALID_ARGUMENT, UNAVAILABLE, RESOURCE_EXHAUSTED."""
        self._metrics.count("citadel_server_csr_count")
        try:
            caller = await self._authenticator.caller(context.invocation_metadata() or ())
        except tuple(REFUSALS) as refusal:
            self._metrics.count("citadel_server_authentication_failure_count")
            _log.warning("no certificate for %s: %s", context.peer(), refusal)
            await context.abort(REFUSALS[type(refusal)], str(refusal))
        issuer = self._issuer()
        if issuer is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the control plane has no CA yet")
            raise AssertionError  # abort raises
        try:
            request = decode_request(data)
            identity = caller.identity(issuer.trust_domain)
            issued = issuer.authority.sign(request.csr_pem, identity, request.validity_seconds, time.time())
        except (ProtocolError, BadRequest) as error:
            self._metrics.count("citadel_server_csr_parsing_err_count")
            _log.warning("no certificate for %s at %s: %s", caller, context.peer(), error)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Expiring as error:
            self._metrics.count("citadel_server_csr_sign_err_count")
            _log.error("no certificate for %s: %s", caller, error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        self._metrics.count("citadel_server_success_cert_issuance_count")
        _log.info("signed for %s, serial %x%s", identity, issued.chain[0].serial_number, _told(request))
        return encode_response(CertificateResponse((*(pem([each]) for each in issued.chain), issuer.roots_pem)))


def _told(request: CertificateRequest) -> str:
    """The workload's name, if the caller says it: a hint for who reads the log, nothing more."""
    name = request.metadata.get("WorkloadName")
    return f", says that it is {name!r:.100}" if name else ""
