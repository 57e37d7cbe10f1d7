"""ServingCertificate: the control plane's own certificate on port 15012, from the mesh's CA, changed while it serves.

gRPC asks for it at every handshake (on a thread of its own), so that connections that are open never notice.
"""

from __future__ import annotations

import logging

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mesh.control.ca import Authority, pem
from mesh.model.spiffe import SpiffeId

_log = logging.getLogger(__name__)
SERVICE = "triomesh-control"


class ServingCertificate:
    """`refresh` first, then `credentials`. Concurrency: one thread, but for gRPC's fetches."""

    def __init__(self, namespace: str, service_account: str = SERVICE) -> None:
        self._namespace = namespace
        self._service_account = service_account
        # In order of use: what a pod of the namespace, of the cluster, and an Istio agent's CA_ADDR would say.
        name = f"{SERVICE}.{namespace}"
        self.names = (f"{name}.svc", f"{name}.svc.cluster.local", name)
        self._made_of: tuple[bytes, str] = (b"", "")
        self._renew_at = 0.0
        self._configuration: grpc.ServerCertificateConfiguration | None = None
        self._given: grpc.ServerCertificateConfiguration | None = None

    def refresh(self, authority: Authority, trust_domain: str, now: float) -> float:
        """Make a certificate when there is none, it is at half its life, or CA or trust domain have changed.

        Returns: Unix seconds at which to call again. Raises: ca.Expiring.
        """
        made_of = (authority.certificate.public_bytes(Encoding.DER), trust_domain)
        if made_of == self._made_of and now < self._renew_at:
            return self._renew_at
        key = ec.generate_private_key(ec.SECP256R1())
        identity = SpiffeId(trust_domain, self._namespace, self._service_account)
        issued = authority.issue(key.public_key(), identity, self.names, 0, now)
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pair = (key_pem, pem(issued.chain).encode())
        self._configuration = grpc.ssl_server_certificate_configuration([pair])
        self._made_of, self._renew_at = made_of, now + (issued.not_after - now) / 2
        _log.info("serves with a new certificate, serial %x, issued for %s", issued.chain[0].serial_number, identity)
        return self._renew_at

    def credentials(self) -> grpc.ServerCredentials:
        """For a server's secure port. A client certificate is not asked for: callers show tokens."""
        if self._configuration is None:
            raise RuntimeError("refresh comes first")
        self._given = self._configuration
        # The stubs do not know that None means "as before".
        return grpc.dynamic_ssl_server_credentials(self._configuration, self._fetch, False)  # type: ignore[arg-type]

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """On gRPC's thread, at a handshake: the newer certificate, None when there is none."""
        newest = self._configuration
        if newest is self._given:
            return None
        self._given = newest
        return newest
