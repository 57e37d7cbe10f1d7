"""Identity: who this proxy is to its peers: a key, a chain and the roots that peers are verified by.

What arrives, from the CA or from disk, is judged as peers will judge it: by a mutual TLS handshake with itself, in memory. So
a chain that does not lead to the roots, a key of somebody else or a certificate that has expired is found here, in OpenSSL's
words, and not by the first request. Source of the names: SPIFFE, X.509-SVID; Istio's path `/ns/<namespace>/sa/<account>`.
"""

from __future__ import annotations

import json
import ssl
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mesh.model.secret import WORKLOAD_CERTIFICATE, WORKLOAD_ROOTS, Secret, TlsCertificate, TrustBundle
from mesh.proxy.match import CompileError
from mesh.proxy.peer_names import alternative_names
from mesh.proxy.tls import reason_of
from mesh.proxy.tls_context import mutual_contexts

_SCHEME: Final = "spiffe://"


class IdentityError(Exception):
    """A certificate is not one that we could work with. The message says why."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What a certificate must be for. The trust domain is the CA's to say."""

    namespace: str
    service_account: str

    @property
    def path(self) -> str:
        """Of the SPIFFE id."""
        return f"/ns/{self.namespace}/sa/{self.service_account}"


@dataclass(frozen=True, slots=True)
class Identity:
    """certificate: verified against roots_pem. principal: its SPIFFE id. Times are seconds since the epoch."""

    certificate: TlsCertificate
    roots_pem: bytes
    principal: str
    not_before: float
    not_after: float

    def secrets(self) -> Mapping[str, Secret]:
        """By the names that the configuration refers to."""
        return {
            WORKLOAD_CERTIFICATE: Secret(WORKLOAD_CERTIFICATE, certificate=self.certificate),
            WORKLOAD_ROOTS: Secret(WORKLOAD_ROOTS, trust=TrustBundle(self.roots_pem)),
        }


def verify(certificate: TlsCertificate, roots_pem: bytes, workload: Workload) -> Identity:
    """Raises: IdentityError: the chain does not lead to the roots, has expired, has another key, or is for somebody else."""
    secrets = (
        Secret(WORKLOAD_CERTIFICATE, certificate=certificate),
        Secret(WORKLOAD_ROOTS, trust=TrustBundle(roots_pem)),
    )
    try:
        client, server = mutual_contexts(*secrets)
    except CompileError as exc:
        raise IdentityError(str(exc)) from exc
    told = _shake_hands(client, server)
    ids = [value for kind, value in alternative_names(told) if kind == "URI"]
    principal = next((name for name in ids if _path_of(name) == workload.path), None)
    if principal is None:
        raise IdentityError(
            f"it is for {', '.join(ids) or 'nobody (it has no URI)'}, not for spiffe://<trust domain>{workload.path}"
        )
    not_before, not_after = (ssl.cert_time_to_seconds(str(told[key])) for key in ("notBefore", "notAfter"))
    return Identity(certificate, roots_pem, principal, not_before, not_after)


def _shake_hands(client_context: ssl.SSLContext, server_context: ssl.SSLContext) -> Mapping[str, object]:
    # Returns: the certificate as a peer sees it.
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    try:
        for side in (client, server, client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass  # the other side's turn
    except ssl.SSLError as exc:
        raise IdentityError(f"peers would refuse it: {reason_of(exc)}") from exc
    told = client.getpeercert()
    assert told is not None and server.getpeercert() is not None, "the handshake is not over"
    return told


def _path_of(name: str) -> str:
    if not name.startswith(_SCHEME):
        return ""
    domain, slash, path = name.removeprefix(_SCHEME).partition("/")
    return slash + path if domain else ""


def service_account_of(token: bytes) -> str:
    """Whose token it is, as it says itself (claim `sub`, `system:serviceaccount:<namespace>:<name>`); "" if it does not."""
    try:
        body = token.split(b".")[1]
        claims = json.loads(urlsafe_b64decode(body + b"=" * (-len(body) % 4)))
        parts = str(claims["sub"]).split(":")
    except (IndexError, ValueError, KeyError, TypeError):
        return ""
    return parts[3] if len(parts) == 4 and parts[:2] == ["system", "serviceaccount"] else ""
