import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.proxy.certificate_request import CertificateRequest, RequestFailed, make_request, request_from_child


def check(made: CertificateRequest) -> None:
    csr = x509.load_pem_x509_csr(made.csr_pem.encode())
    key = serialization.load_pem_private_key(made.key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1"
    assert csr.is_signature_valid and csr.public_key() == key.public_key()
    assert "PRIVATE" not in repr(made)


def test_a_request_is_signed_by_its_own_new_key() -> None:
    made = make_request()
    check(made)
    assert made.key_pem != make_request().key_pem


async def test_a_child_makes_the_same() -> None:
    check(await request_from_child())


async def test_a_child_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RequestFailed, match=r"/bin/false -m mesh.proxy.certificate_request"):
        await request_from_child()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(RequestFailed, match=r"No such file"):
        await request_from_child()
    monkeypatch.setattr(sys, "executable", "/bin/echo")
    with pytest.raises(RequestFailed):
        await request_from_child()
