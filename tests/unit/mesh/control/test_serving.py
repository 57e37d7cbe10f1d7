"""The control plane's own certificate, changed under a server that goes on serving."""

from __future__ import annotations

import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from cryptography import x509

from mesh.control.ca import DEFAULT_LEAF_SECONDS, Authority, make_root, pem
from mesh.control.serving import ServingCertificate

NAMES = ["triomesh-control.mesh.svc", "triomesh-control.mesh.svc.cluster.local", "triomesh-control.mesh"]


def _shown(port: int, authority: Authority) -> x509.Certificate:
    """What a handshake with a client that verifies brings."""
    context = ssl.create_default_context(cadata=pem(authority.roots))
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=NAMES[0]) as secure:
            found = secure.getpeercert(binary_form=True)
            assert found is not None
            return x509.load_der_x509_certificate(found)


def test_it_names_the_service_and_is_renewed_at_half_its_life() -> None:
    now = time.time()
    began = now - DEFAULT_LEAF_SECONDS / 2
    first, second = make_root(began), make_root(began)
    certificate = ServingCertificate("mesh")
    assert certificate.refresh(first, "example.org", began) == pytest.approx(now, abs=1)
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_secure_port("127.0.0.1:0", certificate.credentials())
    server.start()
    try:
        shown = _shown(port, first)
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == NAMES
        identity = "spiffe://example.org/ns/mesh/sa/triomesh-control"
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [identity]

        certificate.refresh(first, "example.org", now - 60)
        assert _shown(port, first) == shown
        certificate.refresh(first, "example.org", now)
        renewed = _shown(port, first)
        assert renewed != shown

        certificate.refresh(second, "example.org", now)
        other = _shown(port, second)
        other.verify_directly_issued_by(second.certificate)
        certificate.refresh(second, "example.net", now)
        assert _shown(port, second) != other
    finally:
        server.stop(None).wait()


def test_there_are_no_credentials_without_a_certificate() -> None:
    with pytest.raises(RuntimeError):
        ServingCertificate("mesh").credentials()
