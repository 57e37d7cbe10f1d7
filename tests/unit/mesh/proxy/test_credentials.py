import ssl
from pathlib import Path

import pytest

from mesh.model.secret import FILE_ROOTS, Secret, TlsCertificate, TrustBundle
from mesh.proxy.credentials import SecretError, dns_names, find_secret, load_certificate, load_trust
from tests.support.proxy_tls import Authority

ROOT = Authority()


def context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def test_secrets_are_found_by_name_or_read_from_files(tmp_path: Path) -> None:
    here = ROOT.secret("a", "a.example.com")
    assert find_secret("a", {"a": here}) is here
    (tmp_path / "ca").write_bytes(ROOT.pem)
    assert find_secret(f"{FILE_ROOTS}{tmp_path}/ca", {}).trust == TrustBundle(ROOT.pem)
    for missing in ("b", f"{FILE_ROOTS}{tmp_path}/none"):
        with pytest.raises(SecretError) as caught:
            find_secret(missing, {"a": here})
        assert caught.value.secret == missing


def test_what_is_wrong_with_a_certificate_is_said() -> None:
    one, other = ROOT.issue("a.example.com"), ROOT.issue("b.example.com")
    load_certificate(context(), Secret("a", certificate=one))
    for bad, why in (
        (TlsCertificate(one.chain_pem, other.key_pem), "does not belong to the certificate"),
        (TlsCertificate(b"x", one.key_pem), "no certificate"),
        (TlsCertificate(one.chain_pem, b"x"), "no private key"),
    ):
        with pytest.raises(SecretError, match=why):
            load_certificate(context(), Secret("a", certificate=bad))


def test_roots_are_believed_if_there_are_any() -> None:
    trusting = context()
    load_trust(trusting, ROOT.trust("ca"))
    assert len(trusting.get_ca_certs()) == 1
    for bad in (Secret("ca"), Secret("ca", trust=TrustBundle(b"x"))):
        with pytest.raises(SecretError, match="secret ca: "):
            load_trust(context(), bad)


def test_a_certificate_serves_its_dns_names() -> None:
    assert dns_names(ROOT.secret("a", "A.example.com", "*.b.example.com", "10.0.0.1")) == {"a.example.com", "*.b.example.com"}
