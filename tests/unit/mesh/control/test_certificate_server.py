"""CreateCertificate's handler: what is answered, counted and logged. Over the wire: tests/feature/test_identity.py."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import grpc
import pytest
from cryptography import x509

from mesh.control.authenticator import Authenticator
from mesh.control.ca import ROOT_SECONDS, make_root, pem
from mesh.control.certificate_server import CertificateServer, Issuer
from mesh.control.metrics import MetricsRegistry
from mesh.xds.certificate_service import CertificateRequest, decode_response, encode_request
from tests.support.identity_ca import NOW
from tests.support.identity_control import csr
from tests.support.identity_reviews import Reviews, bearer


class Aborted(Exception):
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(code, details)


class Context:
    """What gRPC gives a handler; abort raises, as gRPC's does."""

    def __init__(self, token: str) -> None:
        self._metadata = bearer(token)

    def invocation_metadata(self) -> Any:
        return self._metadata

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise Aborted(code, details)


def _ask(data: bytes, token: str = "good", issuer: Issuer | None = None) -> tuple[bytes | Aborted, str]:
    """(answer, metrics)."""

    async def run() -> tuple[bytes | Aborted, str]:
        reviews, metrics = Reviews(), MetricsRegistry()
        async with asyncio.timeout(20), reviews.client() as client:
            server = CertificateServer(Authenticator(client), lambda: issuer, metrics)
            try:
                return await server.create(data, Context(token)), metrics.text()
            except Aborted as aborted:
                return aborted, metrics.text()

    return asyncio.run(run())


def _issuer(made_at: float | None = None) -> Issuer:
    authority = make_root(time.time() if made_at is None else made_at)
    return Issuer(authority, pem(authority.roots) * 2, "example.org")


def test_a_caller_gets_leaf_and_bundle(caplog: pytest.LogCaptureFixture) -> None:
    issuer = _issuer()
    with caplog.at_level(logging.INFO):
        answer, metrics = _ask(encode_request(CertificateRequest(csr(), 0, {"WorkloadName": "cart"})), issuer=issuer)
    assert isinstance(answer, bytes)
    found = decode_response(answer)
    leaf = x509.load_pem_x509_certificate(found.chain_pem.encode())
    assert found.roots_pem == issuer.roots_pem
    assert (
        f"signed for spiffe://example.org/ns/shop/sa/cart, serial {leaf.serial_number:x}, says that it is 'cart'"
        in caplog.text
    )
    assert "citadel_server_csr_count 1\n" in metrics
    assert "citadel_server_success_cert_issuance_count 1\n" in metrics
    assert "citadel_server_authentication_failure_count 0\n" in metrics


@pytest.mark.parametrize(
    ("data", "token", "issuer", "code", "counted"),
    [
        (b"", "bad", _issuer(), grpc.StatusCode.UNAUTHENTICATED, "authentication_failure_count"),
        (b"", "good", _issuer(), grpc.StatusCode.INVALID_ARGUMENT, "csr_parsing_err_count"),
        (encode_request(CertificateRequest("x")), "good", _issuer(), grpc.StatusCode.INVALID_ARGUMENT, "csr_parsing_err_count"),
        (encode_request(CertificateRequest(csr())), "good", None, grpc.StatusCode.UNAVAILABLE, "csr_count"),
        (encode_request(CertificateRequest(csr())), "good", _issuer(NOW - 2 * ROOT_SECONDS), grpc.StatusCode.UNAVAILABLE, "csr_sign_err_count"),
    ],
    ids=["nobody", "no request", "no CSR", "no CA", "a CA at its end"],
)  # fmt: skip
def test_everybody_else_is_told_why(
    data: bytes, token: str, issuer: Issuer | None, code: grpc.StatusCode, counted: str
) -> None:
    answer, metrics = _ask(data, token, issuer)
    assert isinstance(answer, Aborted)
    assert answer.args[0] is code
    assert answer.args[1]
    assert f"citadel_server_{counted} 1\n" in metrics
    assert "citadel_server_success_cert_issuance_count 0\n" in metrics
